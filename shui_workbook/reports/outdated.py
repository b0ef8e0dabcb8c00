"""Rows of settings that are no longer the selected ones: a new search leaves its form's old rows behind.

Result rows (`rows_*.csv`), what chapters 07 and 08 record of single people (`people_*.csv`), price curves, KLoM and
costs. A row names the commit that made it, and that commit holds what was selected then. A line of a table that takes
some seeds from before a search and some from after it is of two methods. Not looked at: settings by hand, as in
ablations, published constants, and what presets state.

    python -m shui_workbook.reports.outdated             # names the rows
    python -m shui_workbook.reports.outdated --remove    # and takes them out of results/ (`make results` adds new ones)
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd

from shui_lib.core.places import RESULTS, ROOT
from shui_lib.core.store import save_frame
from shui_lib.methods import REGISTRY
from shui_workbook.arguments import command_line
from shui_workbook.records.compare import form_of
from shui_workbook.records.files import lines_of, read_rows
from shui_workbook.runs.settings import Selected, settings_for, spec_named

ROW = ["dataset", "preset", "n_ids", "method", "variant", "git"]
LINE = ["dataset", "preset", "n_ids", "form", "git"]
# Files with a form in one column, where result rows have method and variant.
OF_FORMS = ("people_*.csv", "tradeoff.csv", "klom.csv", "costs.csv")
# Where the file of selected settings has lain, the latest place first.
PLACES = ("shui_workbook/runs/selected.json", "shui_lib/runs/selected.json", "shui_lib/selected.json")


def outdated(rows: pd.DataFrame) -> pd.Series:
    """For each result row, whether its form has been given other settings since the commit that made it.

    Raises:
        ValueError: a commit that is not there, or holds no selected settings.
    """
    kinds = rows[ROW].drop_duplicates()
    kinds = kinds.assign(changed=[_has_changed(*kind) for kind in kinds.itertuples(index=False, name=None)])
    return rows[ROW].merge(kinds, how="left")["changed"].set_axis(rows.index)


def files(results: Path) -> list[Path]:
    """Every file that is looked at."""
    return [path for pattern in ("rows_*.csv", *OF_FORMS) for path in sorted(results.glob(pattern))]


def read(path: Path) -> pd.DataFrame:
    """Its lines, with the columns of `ROW`; where no form is named it is gradient ascent (`people_pairs_*.csv`)."""
    if path.name.startswith("rows_"):
        return read_rows(path)
    lines = lines_of(path, LINE, [name for name in LINE if name != "n_ids"])
    form = lines.get("form", pd.Series("gradient_ascent", lines.index))
    form = form.str.replace(":", " ").str.partition(" ")
    return lines.assign(method=form[0], variant=form[2], git=lines.get("git", ""))


def _has_changed(dataset: str, preset: str, n_ids: int, method: str, variant: str, commit: str) -> bool:
    if method not in REGISTRY or "=" in variant or "published" in variant:
        return False
    if not commit:  # people that were recorded before their commit was
        return True
    variants = getattr(REGISTRY[method], "variants", ())
    form = spec_named(f"{method}:{variant}" if variant in variants else method).name
    setting = {"preset": preset, "dataset": dataset.partition("+")[0]}  # "faces+strangers" has the settings of "faces"
    then = selected_at(commit)
    return any(
        settings_for(form, **setting, n_ids=n, known=then) != settings_for(form, **setting, n_ids=n)
        for n in _sizes(variant, n_ids)
    )


def _sizes(variant: str, n_ids: int) -> range | list[int]:
    """For how many photos at once a row's settings were taken; those of sequences name their way in `variant`."""
    way, _, number = variant.partition(" ")
    if way == "union":
        return range(1, n_ids + 1)
    return [1] if way == "latest" else [int(number)] if way in ("share", "queue") else [n_ids]


@cache
def selected_at(commit: str) -> Selected:
    """What was selected at a commit."""
    for place in PLACES:
        found = subprocess.run(["git", "show", f"{commit}:{place}"], cwd=ROOT, capture_output=True)
        if found.returncode == 0:
            return json.loads(found.stdout)
    raise ValueError(f"no selected settings at commit {commit!r}: fetch the whole history, or compute its rows again")


@dataclass(frozen=True, kw_only=True)
class Command:
    """Options of this command."""

    results: Path = RESULTS
    remove: bool = False  # take the rows out of their files


def main(argv: Sequence[str] | None = None) -> None:
    """Name the outdated rows of a results folder, and remove them if asked."""
    asked = command_line(Command, argv, __doc__)
    for path in files(asked.results):
        rows = read(path)
        old = outdated(rows)
        for setting, mine in rows[old].groupby(["dataset", "preset", "n_ids", form_of(rows[old])]):
            (dataset, preset, n_ids, form), seeds = setting, ", ".join(map(str, sorted(mine["seed"].unique())))
            print(f"{path.name}: {form}, {dataset}, {n_ids} people, {preset}: seeds {seeds}: {len(mine)} rows")
        if asked.remove and old.any():
            every = pd.read_csv(path, dtype=str, keep_default_na=False)
            save_frame(path, every[~old])


if __name__ == "__main__":
    main()
