"""Tables and claims of chapter 20, from results/ltu_rows.csv and the paper's numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from shui_lib.core.places import ROOT
from shui_workbook.reports.claims import Claim, judged
from shui_workbook.reports.verdicts import Effect, effect_of
from shui_workbook.studies.ltu import access, against, interval, read
from shui_workbook.studies.ltu_judge import METRICS

NAMES = {
    "original": "Original", "retrained": "Retrained", "retrained_again": "Retrained, other seed", "ft": "FT",
    "randl": "RandL", "salun": "SalUn", "amnesiac": "Amnesiac", "fisher": "Fisher", "ssd": "SSD",
    "bad_teacher": "BadT", "gradient_ascent": "GA", "ltu": "LTU",
}  # fmt: skip
PAPER = {  # how the paper calls its ablations
    "w/o ForFeed": "LTU (w/o ForFeed)", "w/o RemFeed": "LTU (w/o RemFeed)", "w/o MetaOpt": "LTU (w/o MetaOpt)",
    "GradAdd": "LTU (w/ GradAdd)", "iterative": "LTU (w/ iterative Grad)",
}  # fmt: skip


def setting(rows: pd.DataFrame, dataset: str = "faces", share: float = 0.1, kept: float = 0.3) -> pd.DataFrame:
    """The rows of one data set, share of D_f and share of D_r′."""
    return rows[(rows["dataset"] == dataset) & (rows["share"] == share) & (rows["kept"] == kept)]


def forms(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Method and variant of every line, in the order of `NAMES`, Table 2's after Table 1's."""
    known = set(zip(rows["method"], rows["variant"], strict=True))
    order = [(method, variant) for variant in ("", "D_r′") for method in NAMES]
    return [form for form in order if form in known] + sorted(known - set(order))


def name_of(form: tuple[str, str]) -> str:
    """How a line is called."""
    method, variant = form
    return f"{NAMES[method]}, {variant}" if variant else NAMES[method]


def paper_gap(reported: pd.DataFrame, form: tuple[str, str]) -> float:
    """The paper's mean gap for ResNet-18, CIFAR-10, 10 %; nan where it has none."""
    method, variant = form
    words = {"": ("1 block 1", "10 %", NAMES[method]), "D_r′": ("2", "second column", NAMES[method])}
    table, where, called = words.get(variant, ("", "10 %", PAPER.get(variant, "")))
    mine = reported[(reported["method"] == called) & reported["setting"].str.contains(where, regex=False)]
    mine = mine[mine["table"].eq(table) if table else mine["table"].isin(["3", "4"])]
    return mine["gap_to_retrain"].iloc[:4].mean() if called != "Retrain" else np.nan


def gap_table(rows: pd.DataFrame, reported: pd.DataFrame, chosen: list[tuple[str, str]]) -> pd.DataFrame:
    """Mean gap of each line with its interval over seeds, and the paper's.

    Returns:
        Index is the line's name; columns mean, low, high, seeds, paper.
    """
    found = {}
    for form in chosen:
        mine = rows[(rows["method"] == form[0]) & (rows["variant"] == form[1]) & (rows["metric"] == "gap")]
        found[name_of(form)] = interval(mine["value"]) | {"paper": paper_gap(reported, form)}
    return pd.DataFrame(found).T


def result_table(rows: pd.DataFrame) -> pd.DataFrame:
    """Every line: what it sees, the four metrics and their gaps as means over seeds, average gap with its interval."""
    lines = {}
    for form in forms(rows):
        mine = rows[(rows["method"] == form[0]) & (rows["variant"] == form[1])]
        values = mine.pivot_table(index="seed", columns="metric", values="value")
        line = {"access": access(*form)}
        line |= {m: f"{values[m].mean():.1f} ({values[f'gap_{m}'].mean():.1f})" for m in METRICS}
        average = interval(values["gap"])
        line["avg. gap"] = "{mean:.1f} [{low:.1f}, {high:.1f}]".format_map(average)
        line["UT (s)"] = f"{values['UT'].mean():.1f}" if "UT" in values else ""
        lines[name_of(form)] = line | {"seeds": int(average["seeds"])}
    return pd.DataFrame(lines).T


def claims(rows: pd.DataFrame, reported: pd.DataFrame) -> list[Claim]:
    """The paper's claims against the rows of one setting: average gap of the other minus LTU's, paired over seeds."""
    baselines = [m for m in NAMES if m not in ("original", "retrained", "retrained_again", "ltu")]
    lines = [
        (f"LTU, with 30 % of D_r, is nearer to retrained than {NAMES[m]} with all of it", (m, "")) for m in baselines
    ]
    lines += [(f"… than {NAMES[m]} with the same 30 %", (m, "D_r′")) for m in ("ft", "randl", "salun", "bad_teacher")]
    lines += [(f"… than LTU {variant}", ("ltu", variant)) for variant in PAPER]
    return [Claim(claim, "20", "ltu", tuple(_nearer(rows, reported, form))) for claim, form in lines]


def _nearer(rows: pd.DataFrame, reported: pd.DataFrame, form: tuple[str, str]) -> list[Effect]:
    gaps = rows[rows["metric"] == "gap"].pivot_table(index="seed", columns=["method", "variant"], values="value")
    if form not in gaps or ("ltu", "") not in gaps:
        return []
    paper = paper_gap(reported, form) - paper_gap(reported, ("ltu", ""))
    return effect_of("faces", gaps[form] - gaps["ltu", ""], paper)


def verdicts(rows: pd.DataFrame, reported: pd.DataFrame) -> pd.DataFrame:
    """Every claim with its verdict (`shui_workbook.reports.verdicts`), our effect and the paper's, in points of gap."""
    lines = []
    for claim, found in judged(claims(rows, reported)):
        line = {"claim": claim.claim, "verdict": claim.verdict(found)}
        for e in claim.effects:
            line |= {"effect": f"{e.mean:+.1f} [{e.low:+.1f}, {e.high:+.1f}]", "paper": e.paper, "visible": e.visible}
        lines.append(line)
    return pd.DataFrame(lines)


def differences(rows: pd.DataFrame) -> pd.DataFrame:
    """Average gap of LTU minus that of each of its ablations, paired over seeds (below zero: the part helps)."""
    found = {}
    for form in forms(rows):
        if form[0] == "ltu" and form[1]:
            one = against(rows, ("ltu", ""), form)
            found[form[1]] = one
    return pd.DataFrame.from_dict(found, orient="index")


def load(folder: Path = ROOT / "results") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Our rows and the paper's."""
    return read(Path(folder) / "ltu_rows.csv"), pd.read_csv(Path(folder) / "ltu_reported.csv")
