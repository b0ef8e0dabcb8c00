"""Searches of settings, as recorded: every trial ever made (selection.csv), and what was chosen (selected.json).

Trials are appended and never taken out. A later search of the same form marks the earlier ones as `replaced`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd

from shui_lib.core.names import parse
from shui_lib.core.places import RESULTS
from shui_lib.core.store import locked, save_frame, save_json

KEY = ["preset", "dataset", "n_ids", "form"]  # of a search
JUDGED = ("tow", "tow_before", "forget_drop", "retain_drop", "val_drop", "objective")  # what `judge` measures

# What leaves a model as it is, in each method's own words.
NOTHING = {
    "gradient_ascent": {"eta": 0.0},
    "meta_unlearn": {"eta": 0.0, "epochs": 0},
    "curvature": {"eta": 0.0},
    "ssd": {"alpha": 1e30},
    "jit": {"eta": 0.0},
    "pgu": {"lr": 0.0},
    "scrub": {"lr": 0.0},
    "bad_teacher": {"lr": 0.0},
    "mu_mis": {"eta": 0.0},
}


def read_trials(path: Path) -> pd.DataFrame:
    """Recorded trials; `git` is their commit, `replaced` that of a later search that counts in their place."""
    texts = {name: str for name in (*KEY, "settings", "note", "git", "replaced") if name != "n_ids"}  # NA, 2024, 1e5
    found = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values={name: [""] for name in JUDGED})
    return found.assign(**{name: "" for name in ("git", "replaced") if name not in found})


def trials_known(runs_root: Path) -> list[pd.DataFrame]:
    """Recorded trials: those of the owner of a runs folder, if there are any, before the repository's."""
    files = [folder / "selection.csv" for folder in (runs_root, RESULTS)]
    return [read_trials(file) for file in files if file.is_file()]


def append(path: Path, found: pd.DataFrame) -> None:
    """Add a search's trials to a file. Those of earlier searches of the setting stay, marked as `replaced` by it."""
    found = found.assign(replaced="").round(6)
    with locked(path):
        if path.is_file():
            earlier = read_trials(path)
            same = [*KEY, "settings", "git"]
            earlier = earlier[~earlier[same].apply(tuple, axis=1).isin(found[same].apply(tuple, axis=1))]  # resumed
            old = earlier[KEY].apply(tuple, axis=1).isin(found[KEY].apply(tuple, axis=1)) & (earlier["replaced"] == "")
            earlier.loc[old, "replaced"] = found["git"].iloc[-1] or "later"
            found = pd.concat([earlier, found])
        save_frame(path, found.sort_values(KEY, kind="stable"))


def choose(found: pd.DataFrame, *, or_nothing: bool = True) -> dict[str, dict[str, object]]:
    """Per form, the settings of the trial with the highest Tug-of-War against the folds, of those that have one.

    Doing nothing is one of the trials (`NOTHING`), and the only one where all others diverge; without `or_nothing` the
    best of the others is chosen, even if it harms.
    """
    chosen = {}
    for form, trials in found.groupby("form"):
        known = trials[trials["tow"].notna()]
        if or_nothing and (known.empty or known["tow"].max() < known["tow_before"].iloc[0]):
            chosen[form] = dict(NOTHING[parse(form).method])
        elif not known.empty:
            chosen[form] = json.loads(known.loc[known["tow"].idxmax(), "settings"])
    return chosen


def select(path: Path, key: str, chosen: dict[str, dict[str, object]]) -> None:
    """Note the chosen settings of some forms under "preset/dataset/n_ids"; those of other forms stay."""
    with locked(path):
        selected = json.loads(path.read_text()) if path.is_file() else {}
        save_json(path, {**selected, key: selected.get(key, {}) | chosen})
