"""Sequences of requests after the last one: every way of serving against doing nothing and against union, over seeds.

python -m shui_workbook.reports.sequences        # as Markdown, of the repository's rows
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from shui_lib.core.places import ROOT
from shui_workbook.records import form_of, over_seeds, read_rows
from shui_workbook.records.compare import interval
from shui_workbook.reports.tables import as_markdown


def sequences(results: Path | str) -> pd.DataFrame:
    """A line a data set, method and way: paired differences of Tug-of-War after the last request, in words.

    Returns:
        Columns dataset, preset, method, way, seeds, "− doing nothing [95 %]", "− union [95 %]" ("" for union itself,
        and where it was not run), and how far the attack's AUC lies from 50, its mean over seeds and interval.
    """
    path = Path(results) / "rows_sequential.csv"
    rows, lines = read_rows(path), []
    rows = rows[rows["split"].eq("all") & rows["metric"].isin(["tow", "rmia_auc"])]
    for (dataset, preset), group in rows.groupby(["dataset", "preset"]):
        last = group[group["step"] == group["step"].max()]
        by_form = last.assign(form=form_of(last)).pivot(index="seed", columns=["metric", "form"], values="value")
        tow, auc = (by_form[metric] if metric in by_form else pd.DataFrame() for metric in ("tow", "rmia_auc"))
        for form in [form for form in tow if form.partition(" ")[2]]:
            method, _, way = form.partition(" ")
            line = {"dataset": dataset, "preset": preset, "method": method, "way": way, "seeds": tow[form].count()}
            for rival, words in (("original", "doing nothing"), (f"{method} union", "union")):
                line[f"− {words} [95 %]"] = _said(tow[form] - tow[rival]) if rival in tow and rival != form else ""
            away = (auc[form] - 50).abs() if form in auc else pd.Series(dtype=float)
            lines.append(line | {"AUC, distance from 50": _said(away, "")})
    return pd.DataFrame(lines)


def _said(by_seed: pd.Series, sign: str = "+") -> str:
    found = over_seeds(by_seed)
    return interval(found, f"{sign}.1f") if found["seeds"] else ""


def markdown(results: Path) -> str:
    """`sequences` as Markdown."""
    return as_markdown(sequences(results).set_index("dataset"))


if __name__ == "__main__":
    print(markdown(ROOT / "results"))
