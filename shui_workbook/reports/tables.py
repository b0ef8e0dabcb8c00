"""Tables 1-4 from result rows: one line for each method and variant, the paper's values beside ours."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from pandas.io.formats.style import Styler

from shui_lib.methods import REGISTRY
from shui_workbook.forms import needs_of
from shui_workbook.records import form_of, paired_difference

ORDER = (
    "original", "retrained", "retrained_again",
    "gradient_ascent", "meta_unlearn", "curvature", "ssd", "jit", "pgu", "mu_mis", "scrub", "bad_teacher",
)  # fmt: skip
SCORES = ("retain", "forget", "test")
COLUMNS = {  # metric of split "all": heading
    "tow": "ToW",
    "rmia_auc": "RMIA AUC",
    "rmia_tpr_at_1e-2": "TPR at 1 %",
    "rmia_tpr_at_1e-3": "TPR at 0.1 %",
    "rmia_tpr_at_1e-4": "TPR at 0.01 %",
}
COSTS = {"seconds": "seconds", "peak_mib": "MiB"}
IDEAL = {"ToW": 100.0, "RMIA AUC": 50.0, "TPR at 1 %": 1.0, "TPR at 0.1 %": 0.1, "TPR at 0.01 %": 0.01}  # if forgotten
BORROWED = r"settings selected for ([^;,]+)"  # how a row's note says so


def setting_in_words(dataset: str, preset: str, n_ids: int) -> str:
    """ "faces, 10 people"; a preset other than `cpu` is named: "celebahq, 20 people, face-resnet"."""
    words = f"{dataset}, {n_ids} {'person' if n_ids == 1 else 'people'}"
    return words if preset == "cpu" else f"{words}, {preset}"


class Table(NamedTuple):
    """One setting. Frames have a line per form ("pgu one-shui") and a column per heading."""

    mean: pd.DataFrame
    std: pd.DataFrame  # over seeds; nan for one seed
    away: pd.DataFrame  # of those that are ranked (`marks`): mean distance to what is best, nan where a seed lacks
    access: pd.Series  # what unlearning may see
    paper: pd.DataFrame  # the paper's value, nan where it has none
    reason: pd.DataFrame  # why a value is missing, or in how many seeds, or ""
    borrowed: pd.Series  # the setting that a form's settings were selected for, if it is another one, or ""


def result_table(rows: pd.DataFrame, reported: pd.DataFrame | None = None) -> Table:
    """The table of one setting.

    Raises:
        ValueError: rows of more than one preset, data set or request size.
    """
    settings = rows[["dataset", "preset", "n_ids"]].drop_duplicates()
    if len(settings) != 1:
        raise ValueError(f"one table shows one setting, not {len(settings)}: {settings.to_dict('records')}")
    rows = _with_headings(rows)
    grouped = rows.groupby(["form", "heading"], sort=False)
    mean, std = (_laid_out(values) for values in (grouped["value"].mean(), grouped["value"].std()))
    why, had = grouped[["value", "note"]].apply(_why_missing), grouped["seed"].nunique()
    seeds = rows.groupby("form")["seed"].nunique().reindex(had.index, level="form")
    few = (had.astype(str) + " of " + seeds.astype(str) + " seeds").where(had < seeds, "")  # the others: not attacked
    reason = _laid_out(why.where(why != "", few)).fillna("")
    costs = rows.drop_duplicates(["form", "seed"]).groupby("form")[list(COSTS)].mean().rename(columns=COSTS)
    mean = mean.join(costs.dropna(axis=1, how="all"))
    std = std.reindex(columns=mean.columns)
    same = {"index": mean.index, "columns": mean.columns}
    paper = _paper(reported, settings.iloc[0], mean.index).reindex(**same)
    access = pd.Series({form: access_of(form) for form in mean.index})
    elsewhere = rows["note"].str.extract(BORROWED, expand=False).fillna("")
    borrowed = elsewhere.groupby(rows["form"]).max().reindex(mean.index)
    away = _distances(rows, [form for form in mean.index if access[form] == "support" and "published" not in form])
    return Table(mean, std, away, access, paper, reason.reindex(**same, fill_value=""), borrowed)


def access_of(form: str) -> str:
    """What a method's form may see when the request comes: "support", or "forget + retain"; "" for trained models."""
    method, _, variant = form.removesuffix("published").strip().partition(" ")
    if method not in REGISTRY:
        return ""
    return " + ".join(needs_of(method, variant))


def texts(table: Table, *, digits: int = 1) -> pd.DataFrame:
    """Every cell as text: "mean ± std [the paper's]", or why there is no mean; the access column first."""
    cells = table.mean.copy().astype(object)
    for form in cells.index:
        for heading in cells.columns:
            found = (frame.loc[form, heading] for frame in (table.mean, table.std, table.paper, table.reason))
            cells.loc[form, heading] = _cell(*found, ".3g" if heading in COSTS.values() else f".{digits}f")
    return pd.concat([table.access.rename("access"), cells], axis=1) if table.access.any() else cells


def marks(table: Table) -> pd.DataFrame:
    """ "best" and "second" among the support-only methods with tuned settings in each column, "" elsewhere.

    Best is what comes nearest to the retrained model: for scores its score of the same seed, for Tug-of-War 100, for
    RMIA's AUC 50, and for a TPR the FPR. Each seed's distance counts, not that of the mean: 25 and 75 are not 50; and
    only seeds that all of these methods have. Equals are marked alike, the last never. Costs, and cells that lack one
    of these seeds, are not ranked.
    """
    marked = pd.DataFrame("", index=table.mean.index, columns=table.mean.columns)
    away = table.away[table.away.index.isin(marked.index)]
    for heading in marked.columns.intersection(away.columns):
        rank = away[heading].round(6).rank(method="min")
        for place, mark in {1: "best", 2: "second"}.items():
            marked.loc[rank.index[(rank == place) & (rank < rank.max())], heading] = mark
    return marked


def markdown(table: Table, **more: pd.Series) -> str:
    """The table as Markdown: best **bold**, second <u>underlined</u>; `more` columns go to the right."""
    shown, marked = texts(table), marks(table)
    dress = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}
    for heading in marked:
        shown[heading] = [dress[m].format(cell) for m, cell in zip(marked[heading], shown[heading], strict=True)]
    return as_markdown(shown.assign(**more).fillna(""))


def as_markdown(cells: pd.DataFrame) -> str:
    """A frame of texts as a Markdown table, its index to the left."""
    head = ["", *cells.columns]
    body = [[name, *row] for name, row in zip(cells.index, cells.to_numpy(), strict=True)]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in [head, ["---"] * len(head), *body])


def styled(table: Table) -> Styler:
    """The table for a notebook: best bold, second underlined."""
    css = {"best": "font-weight: bold", "second": "text-decoration: underline", "": ""}
    shown, marked = texts(table), marks(table)
    looks = marked.map(css.get).reindex(columns=shown.columns, fill_value="")
    own = hashlib.sha256(shown.to_csv().encode()).hexdigest()[:8]  # the same table, the same HTML
    return shown.style.set_uuid(own).apply(lambda _: looks, axis=None)


def table(rows: pd.DataFrame) -> pd.DataFrame:
    """The cells of `result_table(rows)` as text, without access and costs: for a look at a few models."""
    cells = texts(result_table(rows))
    return cells.drop(columns=["access", *COSTS.values()], errors="ignore")


def differences(rows: pd.DataFrame, forms: Sequence[str], other: str = "original", **what: object) -> pd.DataFrame:
    """Paired difference of each form to `other` (`paired_difference`; Tug-of-War by default): one line a form."""
    found = {form: paired_difference(rows, form, other, **what) for form in forms}
    return pd.DataFrame(found, index=["mean", "low", "high", "seeds"]).T


OURS = ("gradient_ascent", "mu_mis", "curvature")  # and not the paper's
PAPERS = ("original", "ssd", "jit", "pgu", "meta_unlearn", "scrub", "bad_teacher")  # its lines, in our order
BESIDE = {  # a setting of the paper's and the one of ours that is nearest in kind: attributes or classes, how many ask
    ("celebahq", 20): ("celebahq", 20),
    ("celebahq", 50): ("celebahq", 50),
    ("celeba", 5): ("faces", 5),
    ("celeba", 10): ("faces", 10),
    ("celebahq", 1): ("faces", 1),
    ("mufac", 5): ("ages", 5),
    ("mufac", 10): ("ages", 10),
}
LEFT_OVER = {("celeba", 1): ("ages", 1)}  # shown one above the other; the paper has no classes with one person


def tug_of_wars(rows: pd.DataFrame, reported: pd.DataFrame, *, across: int = 4) -> dict[str, pd.DataFrame]:
    """The paper's Tug-of-War of Tables 1-4, and ours below it, in rows of `across` settings.

    Args:
        rows: of the preset `cpu`; one-shui forms with tuned settings are shown.
    Returns:
        By title ("paper: celebahq, 20", "here: faces, 10"): index of forms, columns tow and std, in percent. Ours are
        compared with doing nothing within seeds.
    """
    paper = reported[reported["metric"].eq("tow") & reported["variant"].isna()]
    found, pairs = {}, list((BESIDE | LEFT_OVER).items())
    for first in range(0, len(pairs), across):
        for (name, size), _ in pairs[first : first + across]:
            one = paper[paper["dataset"].eq(name) & paper["n_ids"].eq(size)].set_index("method")
            values = {"tow": pd.to_numeric(one["mean"], errors="coerce"), "std": pd.to_numeric(one["std"], "coerce")}
            found[f"paper: {name}, {size}"] = pd.DataFrame(values).reindex([*PAPERS])
        for _, (name, size) in pairs[first : first + across]:
            mine = rows[rows["dataset"].eq(name) & rows["n_ids"].eq(size) & rows["preset"].eq("cpu")]
            mine = mine[mine["metric"].eq("tow") & mine["variant"].isin(["", "one-shui"])]
            found[f"here: {name}, {size}"] = _beside_original(mine).reindex([*PAPERS, *OURS])
    return found


def _beside_original(rows: pd.DataFrame) -> pd.DataFrame:
    """By method its mean and deviation over seeds; the mean moved so that it lies as far from doing nothing as it does
    within the seeds that both have. Seeds differ more than methods do, and not every method has all of them.
    """
    spread = rows.groupby("method")["value"].agg(tow="mean", std="std")
    nothing = rows[rows["method"] == "original"].set_index("seed")["value"]
    gained = (rows["value"] - rows["seed"].map(nothing)).groupby(rows["method"]).mean()
    return spread.assign(tow=(nothing.mean() + gained).fillna(spread["tow"]))


def _with_headings(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that a table shows, with their line (`form`) and column (`heading`)."""
    score = rows["split"].isin(SCORES) & rows["metric"].isin(["map", "accuracy"])
    rows = rows[score | (rows["split"].eq("all") & rows["metric"].isin(list(COLUMNS)))]
    return rows.assign(form=form_of(rows), heading=rows["split"].where(score, rows["metric"].map(COLUMNS)))


def ordered(forms: Iterable[str]) -> list[str]:
    """Forms in the order of tables: by method, as in `ORDER`, then by variant."""
    rank = {method: place for place, method in enumerate(ORDER)}
    return sorted(forms, key=lambda form: (rank.get(form.split()[0], len(rank)), form))


def _laid_out(values: pd.Series) -> pd.DataFrame:
    """Lines in the order of methods, columns in the order of headings."""
    wide = values.unstack("heading")
    return wide.loc[ordered(wide.index), [c for c in (*SCORES, *COLUMNS.values()) if c in wide]]


def _paper(reported: pd.DataFrame | None, setting: pd.Series, lines: pd.Index) -> pd.DataFrame:
    """The paper's values: it has one form of each method, which stands beside our one-shui, published or else tuned."""
    if reported is None:
        return pd.DataFrame()
    same = (reported["dataset"] == setting["dataset"]) & (reported["n_ids"] == setting["n_ids"])
    same &= reported["variant"].isna()
    values = reported[same].assign(variant="").assign(value=pd.to_numeric(reported["mean"], errors="coerce"))
    values = _with_headings(values)
    wide = values.pivot_table(index="form", columns="heading", values="value")
    forms = [[f"{m} one-shui published", f"{m} published", f"{m} one-shui", m] for m in wide.index]
    return wide.set_axis([next((form for form in some if form in lines), some[-1]) for some in forms])


def _distances(rows: pd.DataFrame, forms: Sequence[str]) -> pd.DataFrame:
    """Mean distance of each form from what its columns should come near to: `IDEAL`, or the retrained model's score.

    Over the seeds that all of the forms have; nan where one of them has no value. Empty if they share none.
    """
    mine = rows[rows["form"].isin(forms)]
    shared = set.intersection(*map(set, mine.groupby("form")["seed"].unique())) if len(mine) else set()
    mine = mine[mine["seed"].isin(shared)]
    retrained = rows[rows["form"] == "retrained"].set_index(["seed", "heading"])["value"]
    same_seed = retrained.reindex(pd.MultiIndex.from_frame(mine[["seed", "heading"]])).to_numpy()
    goal = mine["heading"].map(IDEAL)
    far = (mine["value"] - goal.where(goal.notna(), same_seed)).abs().groupby([mine["form"], mine["heading"]])
    return far.mean().where(far.count() == len(shared)).unstack("heading")


def _why_missing(cell: pd.DataFrame) -> str:
    """Why seeds of a cell have no value: of "N₋ = 98" and "N₋ = 512" the larger; how many, unless it is all."""
    missing = cell.loc[cell["value"].isna(), "note"].str.replace(f"^{BORROWED}[^;]*(; )?", "", regex=True)
    reason = max(missing, key=lambda note: (len(note), note), default="")
    return reason if len(missing) in (0, len(cell)) else f"{len(missing)} of {len(cell)} seeds: {reason}"


def _cell(mean: float, std: float, paper: float, reason: str, form: str) -> str:
    if np.isnan(mean):
        text = reason or "–"
    else:
        text = f"{mean:{form}}" + ("" if np.isnan(std) else f" ± {std:{form}}") + (f" ({reason})" if reason else "")
    return text + ("" if np.isnan(paper) else f" [{paper:{form}}]")
