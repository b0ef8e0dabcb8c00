"""One look for each method, however its form is spelt."""

import pytest

from shui_workbook.figures import METHODS, PARTS, look
from shui_workbook.figures.style import OTHERS


def test_both_spellings_of_a_form_look_the_same():
    assert look("pgu:one-shui") == look("pgu one-shui")
    assert look("pgu:original:published")[0] == f"{METHODS['pgu'][0]} (original, published)"
    with pytest.raises(KeyError):
        look("nobody")


def test_no_colour_means_two_things():
    methods = {colour for _, colour, _ in METHODS.values()}
    assert not methods & set(PARTS.values()) and not set(OTHERS) & (methods | set(PARTS.values()))
    assert len(set(OTHERS)) == len(OTHERS)
