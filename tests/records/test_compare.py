"""An interval in words; paired differences are tested where they are told."""

import numpy as np
import pytest

from shui_workbook.records.compare import interval


@pytest.mark.parametrize(
    ("form", "numbers", "words"),
    [
        ("+.1f", (2.14, -0.26, 4.5), "+2.1 [-0.3, +4.5]"),
        (".3g", (499.2, -1000.4, 1999.6), "499 [-1000, 2000]"),  # no power of ten
        ("+.2g", (-470.0, -1413.0, 0.0123), "-470 [-1413, +0.012]"),
        ("+.1f", (2.14, np.nan, np.nan), "+2.1"),  # one seed
    ],
)
def test_an_interval_in_words(form, numbers, words):
    assert interval(dict(zip(("mean", "low", "high"), numbers, strict=True)), form) == words
