"""What the paper claims of its cascade, and what our rows say: each verdict follows from an interval by a rule.

A claim is a difference that should be above zero, one value a seed. It holds where the 95 % interval of its mean
(Student's t) lies above zero, does not hold where it lies below, and is inconclusive where it holds zero. Over several
settings it holds in part where it does in some. With fewer than three seeds nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from scipy.stats import t

SEEDS = 3


def interval(values: pd.Series) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % interval; nan ends with fewer than two seeds."""
    mean, count = values.mean(), len(values)
    half = t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count) if count > 1 else np.nan
    return mean, mean - half, mean + half


def verdict(differences: list[pd.Series]) -> str:
    """One of: holds, holds in part, does not hold, inconclusive, not tested (too few seeds everywhere)."""
    ends = [interval(part.dropna())[1:] for part in differences if part.notna().sum() >= SEEDS]
    if not ends:
        return "not tested"
    above, below = (sum(held) for held in zip(*((low > 0, high < 0) for low, high in ends), strict=True))
    if above == len(ends):
        return "holds"
    if above:
        return "holds in part"
    return "does not hold" if below else "inconclusive"


def of(rows: pd.DataFrame, metric: str, **form: object) -> pd.Series:
    """A metric of one form, by seed."""
    chosen = rows["metric"].eq(metric)
    for name, value in form.items():
        chosen &= rows[name].eq(value)
    return rows[chosen].set_index("seed")["value"]


def summary(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """A line a model and form, a column a metric: the mean over seeds, with its 95 % interval where two or more are."""

    def told(values: pd.Series) -> str:
        mean, low, high = interval(values)
        return f"{mean:.3g}" if len(values) < 2 else f"{mean:.3g} [{low:.3g}, {high:.3g}]"

    form = ["request", "method", "shot", "mechanism", "fake_label", "perceptual"]
    chosen = rows[rows["metric"].isin(metrics)]
    cells = chosen.groupby([*form, "metric"])["value"].agg(told).unstack(fill_value="")
    seeds = chosen.groupby(form)["seed"].nunique().rename("seeds")
    return cells.reindex(columns=list(metrics), fill_value="").join(seeds)


DEFAULTS = {"method": "cascade", "mechanism": "average", "fake_label": "0.01 quantile", "perceptual": 0.0}


def table_of_claims(rows: pd.DataFrame, *, item: str = "item-64", label: str = "class-0") -> pd.DataFrame:
    """The paper's claims in its own order: claim, where, verdict, seeds, and what was measured in each setting.

    Args:
        rows: results/gan_rows.csv, of one data set, one length of training and one GAN.
    """

    def after(metric: str, kind: str, shot: str, **changed: object) -> pd.Series:
        return of(rows, metric, request=kind, shot=shot, **{**DEFAULTS, **changed})

    def before(metric: str, kind: str, method: str = "original") -> pd.Series:
        return of(rows, metric, request=kind, method=method)

    def both(value: Callable[[str], pd.Series]) -> list[pd.Series]:
        return [value("few"), value("zero")]

    def nearness(when: Callable[..., pd.Series], *form: str) -> pd.Series:
        return when("psnr_nearest", *form) - when("psnr_nearest_test", *form)

    claims = {
        ("items: AUC_lu on fresh pictures passes 0.8", "III, IV"): both(lambda s: after("auc_lu", item, s) - 0.8),
        ("class: pictures of it get further than the next class", "V, VI"): both(
            lambda s: after("fd_u", label, s) - before("fd_u_ceiling", label)
        ),
        ("items: accuracy falls by less than 0.05", "III"): both(
            lambda s: after("acc", item, s) - before("acc", item) + 0.05
        ),
        ("items: another substitute than the average forgets more (AUC_lu)", "III"): [
            after("auc_lu", item, "few", mechanism=name) - after("auc_lu", item, "few")
            for name in ("truncation", "projection")
        ],
        ("items: another substitute than the average draws better (distance)", "III"): [
            after("fd_l", item, "few") - after("fd_l", item, "few", mechanism=name)
            for name in ("truncation", "projection")
        ],
        ("y_f = 0.1 is enough: AUC_lu passes 0.8", "VII"): [after("auc_lu", item, "few", fake_label="0.1") - 0.8],
        ("y_f = −1 forgets more than 0.1 (AUC_lu)", "VII"): [
            after("auc_lu", item, "few", fake_label="-1") - after("auc_lu", item, "few", fake_label="0.1")
        ],
        ("items: the perceptual term costs quality", "IX"): [
            after("fd_l", item, "few", perceptual=0.5) - after("fd_l", item, "few")
        ],
        ("items: LOGAN's AUC falls to 0.5 or below", "XI, XII"): both(lambda s: 0.5 - after("logan", item, s)),
        ("items: it is as hard to tell as after retraining (|AUC − ½|)", "XI, XIV"): both(
            lambda s: before("logan_away", item, "retrained") + 0.05 - after("logan_away", item, s)
        ),
        ("items: the generator loses them (re-inversion, 1 dB or more)", "none"): both(
            lambda s: before("psnr_gap", item) - after("psnr_gap", item, s) - 1
        ),
        ("items: nearest drawn pictures move away from them (1 dB or more)", "none"): both(
            lambda s: nearness(before, item) - nearness(after, item, s) - 1
        ),
    }
    lines = []
    for (claim, where), settings in claims.items():
        told = [f"{interval(part.dropna())[0]:+.3g}" for part in settings if part.notna().any()]
        seeds = max(int(part.notna().sum()) for part in settings)
        line = {"claim": claim, "table": where, "verdict": verdict(settings), "seeds": seeds}
        lines.append(line | {"mean distance from the claim": ", ".join(told)})
    return pd.DataFrame(lines)
