"""Choosing settings honestly: on requests of the tuning pool, of seeds that are never reported (`pool.py`).

Every form of every method gets the same number of first trials and the same right to go on (`trials.py`). The trial
with the highest Tug-of-War against the fold models is chosen (D27), or doing nothing where that scores higher. A of
eq. 6 is recorded beside it and chooses nothing.

python -m shui_workbook.studies.selection --dataset faces --n-ids 10

Trials and choices are written to the runs folder, where experiments find them; with `--results results`, to the
repository's own (`shui_workbook/records/searches.py`). What doing nothing would score, and where the search ended
before its best trial was surrounded, is said.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd

from shui_lib.benchmark.metrics import UndefinedScore, tug_of_war
from shui_lib.benchmark.presets import preset_named
from shui_lib.core.machine import git_commit
from shui_lib.core.names import parse
from shui_lib.core.places import RESULTS
from shui_lib.core.progress import progress
from shui_lib.core.store import SOON
from shui_workbook.arguments import command_line, typed
from shui_workbook.records.files import check_results, put
from shui_workbook.records.searches import JUDGED, KEY, NOTHING, append, choose, read_trials, select
from shui_workbook.runs.experiment import Experiment
from shui_workbook.runs.settings import OWN, SELECTED, selection, simulated_request_size
from shui_workbook.studies.pool import PoolRequest, PoolSetting, judge, untouched
from shui_workbook.studies.trials import (
    AXES,
    FIRST,
    FURTHER,
    Axis,
    axes_of,
    first_trials,
    fixed_of,
    untried_neighbours,
)

REQUESTS_WITH_DATA = 2  # for forms that train on retain data, which cost a hundred times as much


def trials_of(form: str, *, preset: str, multilabel: bool, outputs: int = 1) -> list[dict[str, object]]:
    """The settings that a form is tried with first, as many for every form; `outputs` is the number of attributes."""
    fixed = _same_in_all(form, preset=preset, multilabel=multilabel)
    return [{**fixed, **trial} for trial in first_trials(axes_of(form, multilabel=multilabel, outputs=outputs))]


def _same_in_all(form: str, *, preset: str, multilabel: bool) -> dict[str, object]:
    """What no axis moves: as for every preset, or as this one states."""
    return {**fixed_of(form, multilabel=multilabel), **preset_named(preset).methods.get(form, {})}


def search(
    form: str,
    requests: Sequence[PoolRequest],
    also: Mapping[str, object] = MappingProxyType({}),
    made: pd.DataFrame | None = None,
    keep: Callable[[pd.DataFrame], None] = lambda found: None,
) -> pd.DataFrame:
    """The first trials of a form, then neighbours of the best one until it is surrounded (`trials.py`).

    One row per trial, averaged over the requests, with the settings of `also` in each. A trial that makes the model
    diverge in any request has no score; its note says so. How long the first trials take is said after the first.

    Args:
        made: recorded trials of the same search, which are not made again.
        keep: is given the trials so far after every one that is made.
    """
    trying = Trying(form, requests, also)
    faces = requests[0].experiment.faces
    kind = {"multilabel": faces.multilabel, "outputs": len(faces.classes)}
    preset = requests[0].experiment.preset
    axes, fixed = axes_of(form, **kind), _same_in_all(form, preset=preset, multilabel=faces.multilabel)
    found = [] if made is None else made.to_dict("records")
    first = _not_made(trials_of(form, preset=preset, **kind), found, also)
    for trial in progress(first, desc=f"tune {form}", unit="trial"):
        found.append(trying.one(trial, of=len(first)))
        keep(pd.DataFrame(found))
    while further := _further(found, axes):
        for trial in further:
            found.append(trying.one({**fixed, **trial}))
            keep(pd.DataFrame(found))
    return pd.DataFrame(found)


def _further(found: Sequence[Mapping], axes: Mapping[str, Axis]) -> list[dict[str, object]]:
    """Untried neighbours of the best trial, as many as may still be made."""
    known, tried = pd.DataFrame(found).dropna(subset="tow"), [json.loads(row["settings"]) for row in found]
    if known.empty:
        return []
    best = json.loads(known.loc[known["tow"].idxmax(), "settings"])
    return untried_neighbours(best, tried, axes)[: max(0, FIRST + FURTHER - len(found))]


def _not_made(trials: list[dict], found: Sequence[Mapping], also: Mapping[str, object]) -> list[dict]:
    """The trials without those that were made, whose settings may hold more."""
    made = [json.loads(row["settings"]) for row in found]
    wanted = [json.loads(json.dumps({**trial, **also})) for trial in trials]
    return [trial for trial, whole in zip(trials, wanted, strict=True) if not any(m == m | whole for m in made)]


class Trying:
    """One form on one set of requests."""

    def __init__(self, form: str, requests: Sequence[PoolRequest], also: Mapping[str, object]):
        experiment, n_ids = requests[0].experiment, len(requests[0].group)
        if "retain" in experiment.method(form).needs:
            requests = requests[:REQUESTS_WITH_DATA]
        self.form, self.requests, self.also = form, requests, dict(also)
        if parse(form).method == "meta_unlearn":  # the pool's experiment holds one large request
            self.also["simulated_n_ids"] = simulated_request_size(n_ids)
        self.key = {"preset": experiment.preset, "dataset": experiment.dataset, "n_ids": n_ids, "form": form}
        self.started, self.told = time.monotonic(), False

    def one(self, trial: Mapping[str, object], *, of: int = 0) -> dict[str, object]:
        """A trial's row; the first of several says how long all `of` them take."""
        form, settings, note = self.form, {**trial, **self.also}, ""
        try:
            judged = [judge(e.with_settings({form: settings}), form, who, wanted) for e, who, wanted in self.requests]
        except UndefinedScore as error:
            judged, note = [dict.fromkeys(JUDGED, np.nan)] * len(self.requests), f"no score: {error}"
            print(f"{form} {json.dumps(settings)} is left out: {error}", file=sys.stderr)
        if not self.told and (whole := (time.monotonic() - self.started) * of) > SOON:
            print(f"{form}: about {whole / 60:.0f} minutes for {of} trials", file=sys.stderr, flush=True)
        self.told = True
        counts = {"seeds": len({r.experiment.seed for r in self.requests}), "requests": len(judged)}
        means = pd.DataFrame(judged).mean()
        return {**self.key, "settings": json.dumps(settings), **means, **counts, "note": note, "git": git_commit()}


def remarks(found: pd.DataFrame) -> list[str]:
    """What to know of the search of one form: where it ended before the best trial was surrounded, what it loses."""
    known, form = found[found["tow"].notna()], found["form"].iloc[0]
    if known.empty:
        return [f"{form}: every trial made the model diverge"]
    best, told = known.loc[known["tow"].idxmax()], []
    tried = pd.DataFrame([json.loads(settings) for settings in found["settings"]])
    for name, value in json.loads(best["settings"]).items():
        values = sorted({v for v in tried[name] if isinstance(v, (int, float))}) if name in tried else []
        if len(values) > 2 and value in (values[0], values[-1]):
            told.append(f"{form}: {name}={value} is an edge of its grid, the best may lie beyond")
    if best["tow"] < best["tow_before"]:
        told.append(f"{form}: the best trial reaches {best['tow']:.1f}, doing nothing {best['tow_before']:.1f}")
    return told


def acting(experiment: Experiment, form: str, *trials: pd.DataFrame) -> Experiment:
    """The experiment; where the form's search chose to do nothing, with the settings of its best trial.

    Args:
        trials: recorded ones, of `read_trials`; the first file that holds the search counts.
    Raises:
        ValueError: nothing was chosen, and no trial of that search that moves the model is recorded.
    """
    if form in experiment.settings:
        return experiment
    key, chosen = selection(form, **experiment.setting)
    if not NOTHING[parse(form).method].items() <= chosen.items():
        return experiment
    preset, dataset, n_ids = key.split("/")
    searched = dict(zip(KEY, (preset, dataset, int(n_ids), form), strict=True))
    recorded = (t[(t[KEY] == pd.Series(searched)).all(axis=1) & (t["replaced"] == "")] for t in trials)
    best = next((choose(mine, or_nothing=False) for mine in recorded if len(mine)), {})
    if form not in best:
        told = f"--preset {preset} --dataset {dataset} --n-ids {n_ids} --forms {form}"
        raise ValueError(
            f"{form} does nothing with the settings selected for {key}, and no trial that does is recorded: "
            f"python -m shui_workbook.studies.selection {told}, or give --settings"
        )
    return experiment.with_settings({**experiment.settings, form: best[form]})


def recorded_trials(path: Path, form: str, requests: Sequence[PoolRequest]) -> pd.DataFrame | None:
    """The trials that count of a form's earlier search, if it was of models that score the same before unlearning."""
    if not path.is_file():
        return None
    found, trying = read_trials(path), Trying(form, requests, {})
    mine = found[(found[KEY] == pd.Series(trying.key)).all(axis=1) & (found["replaced"] == "")]
    before = np.mean([tug_of_war(untouched(r.experiment, r.group), r.wanted) for r in trying.requests])
    if mine.empty or not np.allclose(mine["tow_before"].dropna(), before, atol=1e-4):
        print(f"{form}: no trials of these pool models are recorded, all are made", file=sys.stderr)
        return None
    return mine.drop(columns="replaced")


@dataclass(frozen=True, kw_only=True)
class Command(PoolSetting):
    """Options of this command."""

    forms: tuple[str, ...] = ()  # all by default
    also: tuple[str, ...] = ()  # NAME=VALUE, settings of every trial besides, as a what-if: nothing is chosen
    resume: bool = False  # go on from recorded trials of the same pool models


def main(argv: Sequence[str] | None = None) -> None:
    """Record trials in selection.csv and choices in selected.json, or what-ifs in selection_also.csv."""
    asked = command_line(Command, argv, __doc__)
    check_results(asked.folder)
    also, path = typed(asked.also), asked.folder / "selection.csv"
    shipped = path.parent.resolve() == RESULTS.resolve()
    selected = SELECTED if shipped else asked.runs_root / OWN
    requests = asked.requests()
    for form in asked.forms or AXES:
        if also:
            found = search(form, requests, also).assign(also=" ".join(asked.also))
            put(asked.folder / "selection_also.csv", found, [*KEY, "also"], "settings")
            print(found[["settings", "tow", "tow_before"]].round(1).to_string(index=False))
            continue
        made = recorded_trials(path, form, requests) if asked.resume else None
        found = search(form, requests, made=made, keep=partial(append, path))  # a killed search loses a trial
        chosen = choose(found)
        select(selected, "{preset}/{dataset}/{n_ids}".format(**asked.key), chosen)
        print(*remarks(found), json.dumps(chosen), sep="\n", flush=True)
    print(f"trials are in {path}, choices in {selected}")


if __name__ == "__main__":
    main()
