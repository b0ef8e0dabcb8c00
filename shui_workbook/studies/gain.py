"""Where the gain of Curvature comes from: copies of the photo, the scale of each layer's step, its directions.

Five arms, each with the best of its own trials on the tuning pool: gradient ascent on the photo and on copies of it,
a step of the curvature's scale along plain gradients, and the preconditioned step, on copies and on the photo. What
one part adds is the difference of two arms, paired over seeds.

    python -m shui_workbook.studies.selection --forms gradient_ascent curvature curvature:scale --results results
    python -m shui_workbook.studies.selection --forms curvature --also copies=0 --results results
    python -m shui_workbook.studies.gain --seeds 0 1 2 3 4 5 6 7 8 9
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from shui_lib.core.places import RESULTS
from shui_lib.core.progress import progress
from shui_workbook.arguments import Setting, command_line
from shui_workbook.records import paired_difference, read_rows, record
from shui_workbook.records.files import check_results
from shui_workbook.records.searches import read_trials
from shui_workbook.runs.experiment import Experiment

ROWS = "rows_gain.csv"


class Arm(NamedTuple):
    """A form, and which of its trials belong to the arm."""

    form: str
    copies: int

    def trials(self, results: Path, key: Mapping[str, object]) -> pd.DataFrame:
        """Those of its trials that count and have a score, also those of a what-if search (`--also copies=0`)."""
        files = [path for name in ("selection", "selection_also") if (path := results / f"{name}.csv").is_file()]
        if not files:
            return pd.DataFrame()
        every = pd.concat([read_trials(path) for path in files])
        mine = every[(every[[*key]] == pd.Series(key)).all(axis=1) & (every["form"] == self.form)]
        mine = mine[(mine["replaced"] == "") & (mine["git"] != "") & mine["tow"].notna()]
        usual = 16 if self.form.startswith("curvature") else 0
        copies = mine["settings"].map(lambda text: json.loads(text).get("copies", usual))
        return mine[copies == self.copies]


ARMS = {
    "arm=ascent": Arm("gradient_ascent", 0),
    "arm=ascent+copies": Arm("gradient_ascent", 16),
    "arm=scale+copies": Arm("curvature:scale", 16),
    "arm=curvature": Arm("curvature", 0),
    "arm=curvature+copies": Arm("curvature", 16),
}
PARTS = {  # what adds what: the arm with it, the arm without it
    "ascent on the photo": ("arm=ascent", "original"),
    "+ copies of the photo": ("arm=ascent+copies", "arm=ascent"),
    "+ scale of each layer": ("arm=scale+copies", "arm=ascent+copies"),
    "+ directions": ("arm=curvature+copies", "arm=scale+copies"),
    "all together": ("arm=curvature+copies", "original"),
    "curvature without copies": ("arm=curvature", "original"),
    "what copies add to it": ("arm=curvature+copies", "arm=curvature"),
}


def settings_of_arms(results: Path, key: Mapping[str, object]) -> dict[str, tuple[str, dict[str, object]]]:
    """Form and settings of every arm that was searched: those of its best trial."""
    found = {}
    for name, arm in ARMS.items():
        trials = arm.trials(results, key)
        if len(trials):
            found[name] = arm.form, json.loads(trials.loc[trials["tow"].idxmax(), "settings"])
    return found


def gain_rows(experiment: Experiment, arms: Mapping[str, tuple[str, Mapping[str, object]]]) -> pd.DataFrame:
    """Result rows of every arm of one seed, `variant` the arm's name."""
    rows = []
    for name, (form, settings) in arms.items():
        rows.append(experiment.with_settings({form: settings}).rows(form).assign(variant=name, note=""))
    return pd.concat(rows, ignore_index=True)


def split(rows: pd.DataFrame) -> pd.DataFrame:
    """What each part adds in Tug-of-War (`paired_difference`), from the rows of one setting; a line a part.

    The original's come from the tables' rows, so a part that needs them is left out where no seed has both.
    """
    rows = rows[rows["variant"].isin(ARMS) | (rows["method"] == "original")]
    rows = rows.assign(method=rows["method"].where(rows["method"] == "original", ""))
    known = {*rows["variant"], "original"}
    found = {part: paired_difference(rows, *pair) for part, pair in PARTS.items() if known.issuperset(pair)}
    return pd.DataFrame({part: one for part, one in found.items() if one["seeds"]}).T


@dataclass(frozen=True, kw_only=True)
class Command(Setting):
    """Options of this command."""

    results: Path = RESULTS


def main(argv: Sequence[str] | None = None) -> None:
    """Rows of every arm and seed into results/rows_gain.csv, and the split as a table."""
    asked = command_line(Command, argv, __doc__).without_settings("those of each arm's best trial")
    check_results(asked.results)
    key = {name: getattr(asked, name) for name in ("preset", "dataset", "n_ids")}
    arms = settings_of_arms(asked.results, key)
    if not arms:
        told = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in key.items())
        raise SystemExit(
            f"no arm was searched for this setting: python -m shui_workbook.studies.selection {told} "
            f"--results {asked.results} --forms gradient_ascent curvature curvature:scale"
        )
    for seed in progress(asked.seeds, desc="gain", unit="seed"):
        rows = gain_rows(Experiment(**asked.of_seed(seed)), arms)
        record(asked.results / ROWS, rows)
    every = read_rows(asked.results)
    print(split(every[(every[[*key]] == pd.Series(key)).all(axis=1)]).round(1).to_string())


if __name__ == "__main__":
    main()
