"""Result rows side by side: which form a row is of, differences paired over seeds, intervals over identities."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import t

from shui_lib.core.randomness import drawn_again

RESAMPLES = 2000


def form_of(rows: pd.DataFrame) -> pd.Series:
    """Method and variant of every row in one word, as tables name their lines: "pgu one-shui published"."""
    return (rows["method"] + " " + rows["variant"]).str.strip()


def benchmark_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that Tables 1-4 are about: no step of a sequence of requests, no ablation ("inputs=logits")."""
    return rows[(rows["step"] == 0) & ~rows["variant"].str.contains("=")]


def paired_difference(
    rows: pd.DataFrame, form: str, other: str, *, metric: str = "tow", split: str = "all"
) -> dict[str, float]:
    """Mean of form − other over the seeds that have both, with a 95 % interval from Student's t.

    Args:
        rows: of one setting.
        form, other: method and variant, as `form_of` writes them.
    Returns:
        mean, low, high (nan with fewer than two seeds) and seeds.
    """
    chosen = rows[(rows["metric"] == metric) & (rows["split"] == split)]
    wide = chosen.assign(form=form_of(chosen)).pivot(index="seed", columns="form", values="value")
    difference = (wide[form] - wide[other]).dropna().to_numpy()
    seeds, mean = len(difference), difference.mean()
    half = t.ppf(0.975, seeds - 1) * difference.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else np.nan
    return {"mean": mean, "low": mean - half, "high": mean + half, "seeds": seeds}


def resampled(identity: ArrayLike, generator: np.random.Generator, times: int = RESAMPLES) -> np.ndarray:
    """(times, N) how often each line occurs when identities are drawn with replacement, each with all its lines."""
    people, of = np.unique(np.asarray(identity), return_inverse=True)
    return np.stack([drawn_again(len(people), generator)[of] for _ in range(times)])


def weighted_means(y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """(times,) means of y (N,) under each row of weights (times, N)."""
    return weights @ y / weights.sum(1)


def mean_interval(y: ArrayLike, identity: ArrayLike, generator: np.random.Generator) -> tuple[float, float, float]:
    """Mean of y with its 95 % interval from a bootstrap over identities."""
    y = np.asarray(y, np.float64)
    low, high = np.quantile(weighted_means(y, resampled(identity, generator)), [0.025, 0.975])
    return y.mean(), low, high
