"""What Curvature's gain is made of: copies of the photo, the scale of each layer's step, its directions.

Each line of a split has one thing more than the line before. Lines are found by the names of their rows; one that was
not run stays empty, and says so.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from shui_workbook.records.compare import benchmark_rows, form_of, interval, paired_difference
from shui_workbook.records.files import read_rows
from shui_workbook.reports.tables import setting_in_words

SPLIT = {  # by line: the rows of `studies.gain` that fill it, then the tuned forms for comparison
    "the photo's gradient": "gradient_ascent arm=ascent",
    "+ sixteen copies": "gradient_ascent arm=ascent+copies",
    "+ scale of each layer": "curvature arm=scale+copies",
    "+ directions": "curvature arm=curvature+copies",
    "directions without copies": "curvature arm=curvature",
    "Gradient ascent, as tuned": "gradient_ascent",
    "Curvature, as tuned": "curvature",
}


def split(results: Path | str) -> dict[str, pd.DataFrame]:
    """By setting ("faces, 10 people"): the gain of Tug-of-War over doing nothing of every line of `SPLIT`.

    Returns:
        Frames with the lines as index and columns mean, low, high (95 % over seeds), seeds, and form; nan and "" where
        a line has no rows. Settings without Curvature's rows, and those with one seed, are left out.
    """
    return {setting: _lines(rows, set(form_of(rows))) for setting, rows in _settings(results).items()}


def _settings(results: Path | str) -> dict[str, pd.DataFrame]:
    """Rows of Tug-of-War by setting, where Curvature has several seeds."""
    rows = read_rows(results)
    rows = rows[(rows["step"] == 0) & rows["metric"].eq("tow") & ~rows["dataset"].str.contains("+", regex=False)]
    found = {}
    for setting, group in rows.groupby(["dataset", "preset", "n_ids"]):
        if {"curvature", "original"} <= set(form_of(group)) and benchmark_rows(group)["seed"].nunique() > 1:
            found[setting_in_words(*setting)] = group
    return found


def _lines(rows: pd.DataFrame, known: set[str]) -> pd.DataFrame:
    empty = {"mean": np.nan, "low": np.nan, "high": np.nan, "seeds": 0, "form": ""}
    lines = {}
    for line, form in SPLIT.items():
        lines[line] = {**paired_difference(rows, form, "original"), "form": form} if form in known else empty
    return pd.DataFrame(lines).T.astype({"mean": float, "low": float, "high": float, "seeds": int})


def gained_by(results: Path | str, more: str, less: str) -> dict[str, str]:
    """What a line of `SPLIT` gains over another, paired over seeds, in words, by each setting that has both."""
    pair, found = [SPLIT[more], SPLIT[less]], {}
    for setting, rows in _settings(results).items():
        if set(pair) <= set(form_of(rows)):
            found[setting] = interval(paired_difference(rows, *pair))
    return found
