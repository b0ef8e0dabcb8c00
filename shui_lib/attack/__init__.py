"""Membership inference: RMIA as published and as its users ran it, and what is estimated of one model.

Arrays in, numbers out: no model and no image is needed here.
"""

from shui_lib.attack.estimates import attack, likelihoods
from shui_lib.attack.rmia import Signals, evaluate, roc
