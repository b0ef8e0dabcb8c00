"""How long the search for each form's settings was, as Markdown for docs/results.md."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from shui_lib.core.names import parse
from shui_workbook.records.searches import NOTHING, choose, read_trials
from shui_workbook.reports.tables import as_markdown, ordered, setting_in_words
from shui_workbook.studies.trials import FIRST, FURTHER


def searches_table(results: Path) -> str:
    """results/selection.csv: a line a form, a column a setting; how many trials count, and how the search ended."""
    if not (path := results / "selection.csv").is_file():
        return "Nothing was searched: `python -m shui_workbook.studies.selection` does it."
    trials = read_trials(path)
    cells = {}
    for setting, one in trials[trials["replaced"] == ""].groupby(["dataset", "preset", "n_ids"]):
        ends = {form.replace(":", " "): ended(mine) for form, mine in one.groupby("form")}
        cells[setting_in_words(*setting)] = ends
    table = pd.DataFrame(cells).fillna("–")
    return as_markdown(table.loc[ordered(table.index)])


def ended(trials: pd.DataFrame) -> str:
    """One search: its trials, `+` where it spent all that it had; and whether nothing was chosen."""
    form = trials["form"].iloc[0]
    mark = "+" if len(trials) >= FIRST + FURTHER else ""
    return f"{len(trials)}{mark}" + (" (nothing)" if choose(trials)[form] == NOTHING[parse(form).method] else "")
