"""The chain of one experiment, from the data set to result rows, with every stage stored on disk.

Methods' settings are looked up here, and requests are served from artefacts alone.
"""

from shui_workbook.runs.experiment import Experiment
from shui_workbook.runs.serve import load_model, unlearn_from
from shui_workbook.runs.settings import settings_for, spec_named
