"""Chapter 20's tables and claims as Markdown, for docs/results.md: everything from rows, nothing typed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from shui_workbook.records.compare import interval
from shui_workbook.reports.claims import evidence
from shui_workbook.reports.ltu import (
    answers,
    claims,
    differences,
    in_short,
    kept_curve,
    load,
    of_tables,
    result_table,
    settings,
    taught,
    traces,
    verdicts,
)
from shui_workbook.reports.tables import as_markdown


def section(folder: Path | str) -> str:
    """Tables of every setting, the curve over |D_r′|, parts and claims; a sentence where there are no rows."""
    if not (Path(folder) / "ltu_rows.csv").is_file():
        return "No rows: `python -m shui_workbook.studies.ltu main` makes them."
    rows, reported = load(folder)
    parts = []
    for dataset, share, group in settings(rows):
        title = f"**{dataset}, {100 * share:g} % to be forgotten, 30 % of the others at hand**"
        parts += [title, as_markdown(result_table(of_tables(group), reported))]
        if len(left := traces(of_tables(group))):
            parts += [f"**Traces: {title.strip('*')}**", as_markdown(left)]
    if len(curve := kept_curve(rows, reported)):
        seeds = f"{curve['seeds'].max():.0f} seeds, the same at every share"
        title = f"**Average gap by the share of the others that is at hand (faces, 10 %; {seeds})**"
        parts += [title, as_markdown(curve_cells(curve))]
    for dataset, share, group in settings(rows):
        if len(found := differences(group, reported)):
            title = f"**Average gap of LTU minus that of LTU with one thing changed ({dataset}, {100 * share:g} %)**"
            parts += [title, as_markdown(difference_cells(found))]
            parts += ["\n".join(f"- {line}" for line in (*answers(found).splitlines(), taught(group)))]
    told = verdicts(rows, reported)
    short = told.drop(columns="effect").set_index("claim")
    parts += ["**Claims**", in_short(told), as_markdown(short), evidence(claims(rows, reported))]
    return "\n\n".join(parts)


def curve_cells(curve: pd.DataFrame) -> pd.DataFrame:
    """Texts of `kept_curve`: a line a form, a column a share."""
    cells = curve.apply(_with_paper, axis=1)
    wide = curve.assign(cell=cells).pivot(index="line", columns="kept", values="cell").fillna("–")
    return wide.rename(columns=lambda kept: f"{100 * kept:g} %")


def difference_cells(found: pd.DataFrame) -> pd.DataFrame:
    """Texts of `differences`."""
    columns = {
        "difference [95 %]": [interval(line) for _, line in found.iterrows()],
        "the part": found["says"],
        "LTU is nearer": [f"{line.ahead} of {line.seeds:.0f} seeds" for line in found.itertuples()],
        "broken models": found["broken"],
        "the paper's": ["–" if np.isnan(value) else f"{value:+.1f}" for value in found["paper"]],
    }
    return pd.DataFrame(columns, index=found.index)


def _with_paper(line: pd.Series) -> str:
    paper = "" if np.isnan(line["paper"]) else f"; the paper {line['paper']:.1f}"
    return interval(line, ".1f") + paper
