"""Each verdict's rule, and Holm's correction against statsmodels' numbers."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import ttest_1samp

from shui_workbook.reports.verdicts import Effect, effect_of, effect_verdict, holm


@pytest.mark.parametrize(
    ("low", "high", "clear", "verdict"),
    [
        (1.0, 3.0, True, "supported"),
        (1.0, 3.0, False, "inconclusive"),  # Holm's correction takes it back
        (-3.0, -1.0, True, "reversed"),
        (-1.0, 1.5, False, "equivalent"),
        (-1.0, 2.5, False, "inconclusive"),  # wider than the paper's effect
        (0.5, 1.5, False, "inconclusive"),  # within the margin, but zero is not inside
    ],
)
def test_four_verdicts(low, high, clear, verdict):
    assert effect_verdict(Effect("a", (low + high) / 2, low, high, 5, paper=2.0), clear) == verdict


def test_without_the_papers_effect_nothing_is_equivalent():
    assert effect_verdict(Effect("a", 0.0, -0.1, 0.1, 5), False) == "inconclusive"


def test_an_effect_has_students_interval_and_p():
    values = pd.Series([1.0, 2.0, 4.0, 2.5, np.nan])
    (effect,) = effect_of("a", values, 1.0)
    known = ttest_1samp(values.dropna(), 0)
    assert effect.seeds == 4 and effect.p == pytest.approx(known.pvalue)
    assert (effect.low, effect.high) == pytest.approx(tuple(known.confidence_interval()))
    assert effect_of("a", values[:2], 1.0) == []


@pytest.mark.parametrize("seeds", [3, 5, 10])
@pytest.mark.parametrize("level", [0.05, 0.05 / 20])  # alone, and the clearest of twenty
def test_the_visible_effect_is_seen_in_four_tries_of_five(seeds, level):
    rng, spread = np.random.default_rng(0), 2.0
    values = rng.normal(size=seeds)
    (effect,) = effect_of("a", pd.Series(spread * values / values.std(ddof=1)), 1.0)
    tries = rng.normal(effect.visible(level), spread, size=(8000, seeds))
    assert np.mean(ttest_1samp(tries, 0, axis=1).pvalue < level) == pytest.approx(0.8, abs=0.02)


def test_holm_steps_down():
    assert holm([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.09, 0.09, 0.5])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0]) and holm([]) == []
