"""What the paper claims, and whether it holds in the committed rows: each verdict follows from an interval by a rule.

Differences of Tug-of-War (or of RMIA's AUC) are paired over seeds, with 95 % intervals; ρ is Spearman's, with an
interval from a bootstrap over identities. A claim "holds" if its interval lies on the claimed side of zero in every
setting, holds "in part" if it does in some, and otherwise does not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from shui_lib.core.rows import benchmark_rows, form_of, paired_difference, read_rows
from shui_workbook.studies.people import Trend, mean_of_best, trend

OURS = "meta_unlearn"
DEFAULT = f"{OURS} aux_loss=first+second+accuracy"
SETTING = ["preset", "dataset", "n_ids"]
SEEDS = 3  # a setting with fewer is left out


class Claim(NamedTuple):
    """A line of the table."""

    claim: str
    verdict: str  # holds, holds in part, does not hold, not tested
    evidence: str
    where: str


def claims(folder: Path) -> list[Claim]:
    """Every claim of the paper with what a results folder says of it."""
    rows = read_rows(folder)
    main, ablated = _settings(benchmark_rows(rows)), _settings(rows[_is_ablation(rows)])
    found = [
        _against(main, rival, f"MetaUnlearn is ahead of {name} (Tables 1–3)", "[06](notebooks/06_result_tables.ipynb)")
        for rival, name in {"ssd one-shui": "SSD", "jit one-shui": "JiT", "pgu one-shui": "PGU"}.items()
    ]
    several = {setting: group for setting, group in main.items() if not setting.endswith("/1")}
    alone = {setting: group for setting, group in main.items() if setting.endswith("/1")}
    chapter6, chapter5 = "[06](notebooks/06_result_tables.ipynb)", "[05](notebooks/05_membership_inference.ipynb)"
    found += [
        _against(several, "original", "MetaUnlearn is ahead of doing nothing in every setting (Tables 1–3)", chapter6),
        _against(alone, "original", "… and for a single identity (Table 4)", chapter6),
        _against(
            main, "original", "MetaUnlearn makes RMIA harder (AUC, against doing nothing)", chapter5, "rmia_auc", -1
        ),
        _distances(folder, "asking", "The gap grows with the support distance (Fig. 4)", 1, "07_support_distance"),
        _distances(
            folder,
            "staying",
            "The drop shrinks with the distance to forgotten identities (Fig. 5)",
            -1,
            "08_retain_proximity",
        ),
    ]
    return [*found, *_ablations(ablated)]


def markdown(found: Sequence[Claim]) -> str:
    """The table of claims."""
    head = ["| the paper's claim | here | evidence | chapter |", "| --- | --- | --- | --- |"]
    return "\n".join([*head, *(f"| {' | '.join(claim)} |" for claim in found)])


def _ablations(ablated: dict[str, pd.DataFrame]) -> list[Claim]:
    """Tables 5-7: each part against MetaUnlearn without it, and sizes that need not match."""
    chapter = "[09](notebooks/09_ablations.ipynb)"

    def better(other: str, claim: str) -> Claim:
        return _against(ablated, f"{OURS} {other}", claim, chapter, ours=DEFAULT)

    found = [
        better("aux_loss=first", "The first term of the auxiliary loss alone is not enough (Table 5)"),
        better("aux_loss=first+second", "The accuracy factor helps (Table 5)"),
        better("aux_loss=scrub_loss", "The auxiliary loss is better than SCRUB's (Table 5)"),
        better("inputs=logits", "More inputs than logits help (Table 6)"),
    ]
    same = []
    for setting, rows in ablated.items():
        real = setting.rpartition("/")[2]
        other = next((v for v in form_of(rows).unique() if "simulated" in v and not v.endswith(f"={real}")), None)
        same += [(setting, paired_difference(rows, f"{OURS} simulated_n_ids={real}", other))] if other else []
    verdict = _verdict([d["low"] < 0 < d["high"] for _, d in same])
    said = _said(same) + (" (holds if zero lies inside)" if same else "")
    return [*found, Claim("Rehearsals may be of another size (Table 7)", verdict, said, chapter)]


def _against(
    settings: dict[str, pd.DataFrame],
    rival: str,
    claim: str,
    where: str,
    metric: str = "tow",
    sign: int = 1,
    ours: str = OURS,
) -> Claim:
    """Is `ours` ahead of the rival in every setting that has both? `sign` is the side that is better."""
    found = []
    for setting, rows in settings.items():
        known = set(form_of(rows[rows["metric"] == metric]))
        if {ours, rival} <= known:
            found.append((setting, paired_difference(rows, ours, rival, metric=metric)))
    holds = [d["low"] > 0 if sign > 0 else d["high"] < 0 for _, d in found]
    return Claim(claim, _verdict(holds), _said(found), where)


def _distances(folder: Path, who: str, claim: str, sign: int, chapter: str) -> Claim:
    """The paper's figure: mAP, averaged over the three methods with the highest Tug-of-War."""
    found = {}
    for path in sorted(folder.glob(f"people_{who}_*.csv")):
        for setting, people in pd.read_csv(path).groupby(SETTING):
            _, mean = mean_of_best(people, [*set(people["form"]) - {"original", "retrained", "retrained_again"}])
            within = {"identity": mean["identity"], "within": mean["seed"], "generator": np.random.default_rng(0)}
            found[_named(setting)] = trend(mean["euclid"], mean["score"], **within)
    verdict = _verdict([t.low > 0 if sign > 0 else t.high < 0 for t in found.values()])
    said = "; ".join(f"{setting}: {_rho(t)}" for setting, t in found.items())
    return Claim(claim, verdict, said, f"[{chapter[:2]}](notebooks/{chapter}.ipynb)")


def _settings(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows by setting, of those with enough seeds; strangers change nothing but the attack."""
    rows = rows[~rows["dataset"].str.contains("+", regex=False)]
    groups = {_named(setting): group for setting, group in rows.groupby(SETTING)}
    return {setting: group for setting, group in groups.items() if group["seed"].nunique() >= SEEDS}


def _named(setting: tuple[str, str, int]) -> str:
    """ "celebahq/20"; a preset other than `cpu` stands before: "paper/celebahq/20"."""
    return "/".join(map(str, setting)).removeprefix("cpu/")


def _is_ablation(rows: pd.DataFrame) -> pd.Series:
    return (rows["step"] == 0) & rows["variant"].str.contains("=")


def _verdict(holds: Sequence[bool]) -> str:
    if not holds:
        return "not tested"
    return "holds" if all(holds) else "holds in part" if any(holds) else "does not hold"


def _said(found: Sequence[tuple[str, dict[str, float]]]) -> str:
    return "; ".join(f"{s}: " + "{mean:+.1f} [{low:+.1f}, {high:+.1f}]".format_map(d) for s, d in found) or "–"


def _rho(found: Trend) -> str:
    return f"ρ = {found.rho:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"
