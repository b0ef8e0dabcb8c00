"""Result rows side by side: which form a row is of, differences paired over seeds, intervals over seeds."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd


def form_of(rows: pd.DataFrame) -> pd.Series:
    """Method and variant of every row in one word, as tables name their lines: "pgu one-shui published"."""
    return (rows["method"] + " " + rows["variant"]).str.strip()


def benchmark_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that Tables 1-4 are about: no step of a sequence of requests, no ablation ("inputs=logits")."""
    return rows[(rows["step"] == 0) & ~rows["variant"].str.contains("=")]


def paired_difference(
    rows: pd.DataFrame,
    form: str,
    other: str,
    *,
    metric: str = "tow",
    split: str = "all",
    away_from: float | None = None,
) -> dict[str, float]:
    """Mean of form − other over the seeds that have both, with a 95 % interval from Student's t.

    Args:
        rows: of one setting.
        form, other: method and variant, as `form_of` writes them.
        away_from: distances from this value are compared: of an attack's AUC 50, since 25 tells as much as 75.
    Returns:
        mean, low, high (nan with fewer than two seeds) and seeds.
    """
    chosen = rows[(rows["metric"] == metric) & (rows["split"] == split)]
    value = chosen["value"] if away_from is None else (chosen["value"] - away_from).abs()
    wide = chosen.assign(form=form_of(chosen), value=value).pivot(index="seed", columns="form", values="value")
    return over_seeds(wide[form] - wide[other])


def over_seeds(by_seed: pd.Series) -> dict[str, float]:
    """Mean of one number a seed, with a 95 % interval from Student's t: mean, low, high (nan below two), seeds."""
    from scipy.stats import t  # here: a second for whoever only starts chapters

    values = by_seed.dropna().to_numpy(dtype=float)
    seeds, mean = len(values), values.mean() if len(values) else np.nan
    half = t.ppf(0.975, seeds - 1) * values.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else np.nan
    return {"mean": mean, "low": mean - half, "high": mean + half, "seeds": seeds}


def interval(found: Mapping[str, float], form: str = "+.1f") -> str:
    """Mean and interval in words, "+2.1 [-0.3, +4.5]"; the mean alone where one seed gives no interval.

    Args:
        found: mean, low and high, as of `over_seeds`.
    """
    mean, low, high = (_written(found[name], form) for name in ("mean", "low", "high"))
    return mean if np.isnan(found["low"]) else f"{mean} [{low}, {high}]"


def _written(value: float, form: str) -> str:
    """The number in this form; whole, where a form of few digits would write thousands as a power of ten."""
    text = format(value, form)
    return format(value, f"{form.rpartition('.')[0]}.0f") if "e+" in text else text
