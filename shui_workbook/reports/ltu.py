"""Tables and claims of chapter 20, from results/ltu_rows.csv and the paper's numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from shui_lib.core.places import RESULTS
from shui_workbook.records.compare import interval, over_seeds
from shui_workbook.reports.claims import Claim, judged
from shui_workbook.reports.verdicts import VERDICTS, Effect, effect_of
from shui_workbook.studies.ltu import ABLATIONS, GENTLE, GENTLE_PARTS, TEST, access, against, read
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
TRACES = {  # metrics that the paper has not
    "rmia_auc": "RMIA AUC", "relearn_steps": "steps to relearn", "over_forgotten": "farther than before (%)",
}  # fmt: skip
COLUMNS = {0.1: "first column", 0.3: "second column"}  # of the paper's Table 2, by the share of D_r that is kept
LTU, FLOOR, SMALL = ("ltu", ""), ("retrained_again", ""), "D_r′"
BROKEN = 0.75  # of the original's accuracy on D_r: a model below it is called broken


def setting(rows: pd.DataFrame, dataset: str = "faces", share: float = 0.1, kept: float = 0.3) -> pd.DataFrame:
    """The rows of one data set, share of D_f and share of D_r′."""
    return rows[(rows["dataset"] == dataset) & (rows["share"] == share) & (rows["kept"] == kept)]


def settings(rows: pd.DataFrame) -> Iterator[tuple[str, float, pd.DataFrame]]:
    """Data set, share and rows of every setting of Table 1, where 30 % are kept."""
    for (dataset, share), _ in rows.groupby(["dataset", "share"]):
        yield dataset, share, setting(rows, dataset, share)


def of(rows: pd.DataFrame, form: tuple[str, str], metric: str = "gap") -> pd.Series:
    """A metric of one form, by seed."""
    mine = rows[(rows["method"] == form[0]) & (rows["variant"] == form[1]) & (rows["metric"] == metric)]
    return mine.set_index("seed")["value"]


def forms(rows: pd.DataFrame) -> list[tuple[str, str]]:
    """Method and variant of every line in the order of `NAMES`, Table 2's after Table 1's, then changes of LTU."""
    known = set(zip(rows["method"], rows["variant"], strict=True))
    order = [(method, variant) for variant in ("", SMALL) for method in NAMES]
    gentle = (f"{GENTLE} {part}".strip() for part in GENTLE_PARTS)
    order += [("ltu", variant) for variant in (*ABLATIONS, TEST, *gentle)]
    return [form for form in order if form in known]


def of_tables(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of Tables 1 and 2: all but those of a changed LTU."""
    return rows[(rows["method"] != "ltu") | (rows["variant"] == "")]


def name_of(form: tuple[str, str]) -> str:
    """How a line is called."""
    method, variant = form
    return f"{NAMES[method]}, {variant}" if variant else NAMES[method]


# Ours and the paper's -------------------------------------------------------------------------------------------------


def paper_gaps(reported: pd.DataFrame, form: tuple[str, str], share: float = 0.1, kept: float = 0.3) -> pd.Series:
    """The paper's four gaps for ResNet-18 and CIFAR-10, by metric; empty where it has none.

    Table 1 at either share; Table 2 for what has D_r′ alone, and for LTU where less than 30 % are kept; Tables 3 and 4.
    """
    method, variant = form
    called, tables, where = PAPER.get(variant, ""), ["3", "4"], "10 %"
    if variant == SMALL or (form == LTU and kept != 0.3):
        called, tables, where = "LTU (Ours)" if form == LTU else NAMES[method], ["2"], COLUMNS.get(kept, "none")
    elif not variant:
        called, tables, where = NAMES[method], ["1 block 1"], f"{100 * share:g} %"
    if share != 0.1 and tables != ["1 block 1"]:
        where = "none"
    mine = reported["table"].isin(tables) & reported["method"].eq(called) & reported["setting"].str.contains(where)
    return reported[mine].drop_duplicates("metric").set_index("metric")["gap_to_retrain"]


def paper_gap(reported: pd.DataFrame, form: tuple[str, str], share: float = 0.1, kept: float = 0.3) -> float:
    """The mean of `paper_gaps`; nan where the paper has none."""
    return paper_gaps(reported, form, share, kept).mean()


def gap_table(rows: pd.DataFrame, reported: pd.DataFrame, chosen: list[tuple[str, str]]) -> pd.DataFrame:
    """Mean gap of each line of one setting with its interval over seeds, and the paper's.

    Returns:
        Index is the line's name; columns mean, low, high, seeds, paper.
    """
    share, kept = rows[["share", "kept"]].iloc[0]
    found = {
        name_of(form): over_seeds(of(rows, form)) | {"paper": paper_gap(reported, form, share, kept)} for form in chosen
    }
    return pd.DataFrame(found).T


def result_table(rows: pd.DataFrame, reported: pd.DataFrame) -> pd.DataFrame:
    """Every line of one setting as text: what it sees; each metric, its gap in parentheses and the paper's in brackets.

    Then the average gap with its interval over seeds, the paper's, the number of `broken` models, and seconds.
    """
    share, kept = rows[["share", "kept"]].iloc[0]
    lines = {}
    for form in forms(rows):
        theirs = paper_gaps(reported, form, share, kept)
        line = {"access": access(*form)}
        for metric in METRICS:
            value, gap = (of(rows, form, name).mean() for name in (metric, f"gap_{metric}"))
            line[metric] = f"{value:.1f} ({gap:.1f})" + (f" [{theirs[metric]:.1f}]" if len(theirs) else "")
        average = over_seeds(of(rows, form))
        line["avg. gap"] = interval(average, ".1f")
        line["the paper's"] = f"{theirs.mean():.1f}" if len(theirs) else "–"
        line |= {"broken": broken(rows, form), "UT (s)": f"{of(rows, form, 'UT').mean():.1f}"}
        line["seeds"] = int(average["seeds"])
        lines[name_of(form)] = line
    return pd.DataFrame(lines).T


def traces(rows: pd.DataFrame) -> pd.DataFrame:
    """What else shows a trace of D_f, a line a model of one setting: means with intervals over seeds, as text."""
    lines = {}
    for form in forms(rows):
        found = {name: over_seeds(of(rows, form, metric)) for metric, name in TRACES.items()}
        if all(one["seeds"] for one in found.values()):
            lines[name_of(form)] = {name: interval(one, ".1f") for name, one in found.items()}
    return pd.DataFrame(lines).T


def by_setting(rows: pd.DataFrame) -> pd.DataFrame:
    """Average gap with its interval as text: a line a method, a column a setting; how many models broke, if any."""
    cells: dict[str, dict[str, str]] = {}
    for dataset, share, group in settings(rows):
        mine = of_tables(group)
        column = cells.setdefault(f"{dataset}, {100 * share:g} % ({group['seed'].nunique()} seeds)", {})
        for form in [form for form in forms(mine) if form[0] != "retrained"]:
            lost = broken(mine, form)
            told = interval(over_seeds(of(mine, form)), ".1f")
            column[name_of(form)] = told + (f", {lost} broken" if lost else "")
    return pd.DataFrame(cells).fillna("–")


def at_every_share(rows: pd.DataFrame, dataset: str = "faces", share: float = 0.1) -> pd.DataFrame:
    """Rows of the seeds that every share of D_r′ has, so that the points of a line are of the same."""
    mine = rows[(rows["dataset"] == dataset) & (rows["share"] == share)]
    shares = mine.groupby("seed")["kept"].nunique()
    return mine[mine["seed"].isin(shares.index[shares == shares.max()])]


def kept_curve(rows: pd.DataFrame, reported: pd.DataFrame, dataset: str = "faces", share: float = 0.1) -> pd.DataFrame:
    """Table 2 as a curve: average gap of LTU and of what has D_r′ alone, by the share of D_r that is kept.

    Args:
        rows: of seeds that are at one share alone nothing is taken (`at_every_share`).
    Returns:
        Columns line, kept (fraction), mean, low, high, seeds, paper.
    """
    lines = []
    for kept, group in at_every_share(rows, dataset, share).groupby("kept"):
        for form in [form for form in forms(group) if form == LTU or form[1] == SMALL]:
            found = over_seeds(of(group, form)) | {"paper": paper_gap(reported, form, share, kept)}
            lines.append({"line": name_of(form), "kept": kept, **found})
    return pd.DataFrame(lines)


# Part by part ---------------------------------------------------------------------------------------------------------


def differences(rows: pd.DataFrame, reported: pd.DataFrame) -> pd.DataFrame:
    """Average gap of LTU minus that of each changed LTU, paired over seeds (below zero: the part helps).

    Lines at a third of the step are set against LTU at that step.

    Returns:
        Columns mean, low, high, seeds; ahead, seeds in which LTU is nearer to retrained; broken, those in which the
        changed model lost `BROKEN` of the original's accuracy on D_r; says; paper, the paper's difference.
    """
    found = {}
    for form in [form for form in forms(rows) if form[0] == "ltu" and form[1]]:
        part = form[1].removeprefix(GENTLE).strip()
        base = ("ltu", GENTLE) if form[1].startswith(GENTLE) and part else LTU
        if not of(rows, form).notna().any() or base not in forms(rows):
            continue
        one = against(rows, base, form)
        says = "helps" if one["high"] < 0 else "harms" if one["low"] > 0 else "cannot tell"
        ahead = int((of(rows, form) - of(rows, base) > 0).sum())
        paper = paper_gap(reported, base) - paper_gap(reported, form) if base == LTU else np.nan
        found[form[1]] = one | {"ahead": ahead, "broken": broken(rows, form), "says": says, "paper": paper}
    return pd.DataFrame.from_dict(found, orient="index")


QUESTIONS = {  # what one seed could not tell
    "Forgetting by guides": "w/o ForFeed", "Remembering": "w/o RemFeed", "Meta-optimisation": "w/o MetaOpt",
    "Its second order": "order=1", "Harmonising": "GradAdd",
}  # fmt: skip


def answers(found: pd.DataFrame) -> str:
    """What `differences` says of each part, at the chosen step and at a third of it: a line a part."""
    lines = []
    for part, variant in QUESTIONS.items():
        told = []
        for words, key in (("chosen step", variant), ("a third of it", f"{GENTLE} {variant}")):
            if key in found.index:
                one = found.loc[key]
                told.append(f"{words}: {interval(one)}, {one['says']} ({one['seeds']:.0f} seeds)")
        lines.append(f"{part}. " + ("; ".join(told) or "not tested") + ".")
    return "\n".join(lines)


def taught(rows: pd.DataFrame) -> str:
    """How much nearer in MI, the evaluation's own number, LTU comes with the evaluation as its guide, as a line."""
    test = ("ltu", TEST)
    if not {LTU, test} <= set(forms(rows)):
        return "Teaching to the test. not tested."
    one = against(rows, LTU, test, "gap_MI")
    told = f"{interval(one)} ({one['seeds']} seeds)"
    return f"Teaching to the test. Gap in MI of LTU, minus with the evaluation as guide: {told}."


def broken(rows: pd.DataFrame, form: tuple[str, str]) -> int:
    """Seeds in which a model keeps less than `BROKEN` of the original's accuracy on D_r."""
    left = of(rows, form, "RA") - BROKEN * of(rows, ("original", ""), "RA")
    return int((left < 0).sum())


# Claims ---------------------------------------------------------------------------------------------------------------


def claims(rows: pd.DataFrame, reported: pd.DataFrame) -> list[Claim]:
    """The paper's claims, by setting: average gap of the other minus LTU's, paired over seeds."""
    baselines = [m for m in NAMES if m not in ("original", "retrained", "retrained_again", "ltu")]
    lines = [
        (f"LTU, with 30 % of D_r, is nearer to retrained than {NAMES[m]} with all of it at hand", (m, ""))
        for m in baselines
    ]
    lines += [(f"… than {NAMES[m]} with the same D_r′", (m, SMALL)) for m in ("ft", "randl", "salun", "bad_teacher")]
    lines += [(f"… than LTU {variant}", ("ltu", variant)) for variant in PAPER]
    return [Claim(claim, "20", "ltu", tuple(_nearer(rows, reported, form))) for claim, form in lines]


def _nearer(rows: pd.DataFrame, reported: pd.DataFrame, form: tuple[str, str]) -> list[Effect]:
    """One effect a setting; shares of D_r′ other than 30 % belong to the lines of Table 2."""
    found = []
    for (dataset, share, kept), group in rows.groupby(["dataset", "share", "kept"]):
        if kept != 0.3 and (form[1] != SMALL or kept == 1):  # the paper has no such line
            continue
        words = f"{dataset}, {100 * share:g} %" + (f", D_r′ {100 * kept:g} %" if form[1] == SMALL else "")
        paper = paper_gap(reported, form, share, kept) - paper_gap(reported, LTU, share, kept)
        found += effect_of(words, of(group, form) - of(group, LTU), paper)
    return found


def verdicts(rows: pd.DataFrame, reported: pd.DataFrame) -> pd.DataFrame:
    """A line a claim: its verdict (`shui_workbook.reports.claims`), how its settings are divided, effects in points."""
    lines = []
    for claim, found in judged(claims(rows, reported)):
        divided = ", ".join(f"{count} {word}" for word, count in Counter(found).items())
        effects = "; ".join(f"{e.setting}: {interval(e._asdict())}" for e in claim.effects)
        papers = sorted({f"{e.paper:+.1f}" for e in claim.effects if not np.isnan(e.paper)}, key=float)
        line = {"claim": claim.claim, "verdict": claim.verdict(found), "settings": divided or "–"}
        lines.append(line | {"effect": effects or "–", "the paper's": " to ".join(papers[:1] + papers[1:][-1:]) or "–"})
    return pd.DataFrame(lines)


def in_short(found: pd.DataFrame) -> str:
    """How many claims have which verdict, and which of them are more than inconclusive."""
    count = Counter(found["verdict"])
    told = ", ".join(f"{count[word]} {word}" for word in (*VERDICTS, "not tested") if count[word])
    clear = found[found["verdict"].isin(["supported", "reversed", "equivalent"])]
    named = "; ".join(f"{line.verdict}: {line.claim}" for line in clear.itertuples())
    return f"Of {len(found)} claims: {told}." + (f" ({named})" if named else "")


# Files ----------------------------------------------------------------------------------------------------------------


def load(folder: Path = RESULTS, size: str = "cpu") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Our rows of one size of the world (`shui_workbook.studies.ltu_world`), and the paper's."""
    rows = read(Path(folder) / "ltu_rows.csv")
    return rows[rows["size"] == size], pd.read_csv(Path(folder) / "ltu_reported.csv")
