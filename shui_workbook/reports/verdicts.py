"""Verdicts by rule, stated before any row was looked at.

An effect is a difference paired over seeds, with a 95 % interval from Student's t, turned so that the claimed side is
above zero. It is

- *supported*: the interval lies above zero, and Holm's correction within the family of claims leaves p below 5 %;
- *reversed*: the same below zero;
- *equivalent*: zero lies inside, and the whole interval within ± the effect that was claimed, the margin;
- *inconclusive*: anything else. Too few seeds say nothing of a claim, neither for it nor against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import chi2, norm, t

from shui_workbook.records.compare import over_seeds

SEEDS = 3  # with fewer there is no effect
LEVEL = 0.05
POWER = 0.8
VERDICTS = ("supported", "reversed", "equivalent", "inconclusive")


class Effect(NamedTuple):
    """A paired difference in one setting; positive on the paper's side."""

    setting: str
    mean: float
    low: float
    high: float
    seeds: int
    paper: float = np.nan  # the paper's own effect there, nan where it states none

    @property
    def error(self) -> float:
        """Standard error of the mean."""
        return (self.high - self.low) / 2 / t.ppf(0.975, self.seeds - 1)

    @property
    def p(self) -> float:
        """Two-sided, of no effect at all."""
        return float(2 * t.sf(abs(self.mean) / self.error, self.seeds - 1)) if self.error > 0 else float(self.mean == 0)

    def visible(self, level: float = LEVEL) -> float:
        """The effect that these seeds would show at this level with a power of 80 %."""
        return visible_errors(self.seeds, level) * self.error


@cache
def visible_errors(seeds: int, level: float) -> float:
    """How many standard errors an effect must have to be shown with a power of 80 % (by the noncentral t)."""
    freedom, draws = seeds - 1, (np.arange(2000) + 0.5) / 2000
    estimated = np.sqrt(chi2.ppf(draws, freedom) / freedom)  # what the seeds may find the error to be
    needed = t.ppf(1 - level / 2, freedom)
    return brentq(lambda size: norm.cdf(size - needed * estimated).mean() - POWER, 0, 4 * needed + 4)


def effect_of(setting: str, by_seed: pd.Series, paper: float) -> list[Effect]:
    """Mean and interval of one difference a seed; nothing with fewer than `SEEDS`."""
    found = over_seeds(by_seed)
    return [Effect(setting, **found, paper=paper)] if found["seeds"] >= SEEDS else []


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction: p-values that may be compared with the level as if each stood alone."""
    order = np.argsort(p)
    steps = np.maximum.accumulate(np.asarray(p, dtype=float)[order] * np.arange(len(p), 0, -1))
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(steps, 1)
    return corrected.tolist()


def effect_verdict(effect: Effect, clear: bool) -> str:
    """One of `VERDICTS`, of one setting; `clear` says that the corrected p-value is below the level."""
    if clear and effect.low > 0:
        return "supported"
    if clear and effect.high < 0:
        return "reversed"
    margin = abs(effect.paper)
    return "equivalent" if -margin < effect.low <= 0 <= effect.high < margin else "inconclusive"
