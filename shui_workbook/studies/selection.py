"""Choosing settings honestly: on requests made of the tuning pool, of seeds that are never reported.

Fold models, each trained without a fifth of the training identities, tell what a retrained model would say about pool
identities (with a bias, which `fold_bias.py` measures: a fold also misses people who did not ask). Every form of every
method gets the same number of first trials and the same right to go on (`trials.py`). The trial with the highest
Tug-of-War against the fold predictions is chosen (D27), or doing nothing where that scores higher. Validation
identities stand for the test set here. A of eq. 6 is recorded beside it and chooses nothing.

python -m shui_workbook.studies.selection --dataset faces --n-ids 10

Trials and choices are written to the runs folder, where experiments find them; with `--results results`, to the
repository's own. Trials are appended and never taken out: a later search of the same form marks the earlier ones as
`replaced`. What doing nothing would score, and where the search ended before its best trial was surrounded, is said.
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
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.metrics import Scores, UndefinedScore, score, tug_of_war
from shui_lib.benchmark.predict import predict, task_loss
from shui_lib.benchmark.presets import preset_named
from shui_lib.benchmark.splits import FEWEST_IMAGES, FEWEST_IMAGES_ALONE
from shui_lib.core.machine import git_commit
from shui_lib.core.names import parse
from shui_lib.core.places import DATA, RESULTS, RUNS
from shui_lib.core.progress import progress
from shui_lib.core.store import SOON, locked, save_frame, save_json
from shui_lib.methods import Given
from shui_lib.methods.parts.objectives import Alignment, alignment_objective
from shui_workbook.arguments import command_line, typed
from shui_workbook.records.files import check_committed, put
from shui_workbook.runs.experiment import Experiment
from shui_workbook.runs.serve import unlearn_from
from shui_workbook.runs.settings import OWN, SELECTED, selection, simulated_request_size
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

KEY = ["preset", "dataset", "n_ids", "form"]  # of a search
JUDGED = ("tow", "tow_before", "forget_drop", "retain_drop", "val_drop", "objective")  # what `judge` measures
SEEDS = (100,)  # reported seeds are 0, 1, 2, …
REQUESTS = 6  # of one seed, at most: everybody of the pool asks once, and again where that makes less than two
REQUESTS_WITH_DATA = 2  # for forms that train on retain data, which cost a hundred times as much
MOST = 400  # images of retain, and of validation, that a trial is judged on; of forget all


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


def trials_of(form: str, *, preset: str, multilabel: bool, outputs: int = 1) -> list[dict[str, object]]:
    """The settings that a form is tried with first, as many for every form; `outputs` is the number of attributes."""
    fixed = _same_in_all(form, preset=preset, multilabel=multilabel)
    return [{**fixed, **trial} for trial in first_trials(axes_of(form, multilabel=multilabel, outputs=outputs))]


def _same_in_all(form: str, *, preset: str, multilabel: bool) -> dict[str, object]:
    """What no axis moves: as for every preset, or as this one states."""
    return {**fixed_of(form, multilabel=multilabel), **preset_named(preset).methods.get(form, {})}


def pool_experiment(*, n_ids: int, seed: int = SEEDS[0], **where: object) -> tuple[Experiment, list[np.ndarray]]:
    """An experiment in which all pool identities handed in a photo, and up to `REQUESTS` groups of n_ids of them."""
    probe = Experiment(seed=seed, n_ids=n_ids, from_pool=True, **where)
    sizes = pd.Series(probe.faces.identity).value_counts()
    asking = int((sizes[probe.split.pool] >= FEWEST_IMAGES).sum())
    fewest = FEWEST_IMAGES_ALONE if n_ids == 1 else FEWEST_IMAGES
    everyone = Experiment(seed=seed, n_ids=asking, reserved=asking, from_pool=True, **where)
    generator, groups = torch.Generator().manual_seed(seed), []
    enough = int((sizes[everyone.request.identities] >= fewest).sum())
    if enough < n_ids:
        raise ValueError(f"the tuning pool has {enough} identities with {fewest} images or more: {n_ids} cannot ask")
    while len(groups) < min(2, REQUESTS):
        order = everyone.request.identities[torch.randperm(asking, generator=generator).numpy()]
        order = order[sizes[order] >= fewest]
        groups += list(order[: len(order) // n_ids * n_ids].reshape(-1, n_ids))
    return everyone, groups[:REQUESTS]


def some_of(rows: np.ndarray, most: int | None = MOST) -> np.ndarray:
    """At most so many of the rows, evenly spread over them."""
    return rows if most is None or len(rows) <= most else rows[np.linspace(0, len(rows) - 1, most).astype(int)]


def fold_scores(experiment: Experiment, group: np.ndarray, *, most: int | None = MOST) -> Scores:
    """What a model retrained without `group` would score, from models that have never seen its members.

    The images to forget are judged each by the fold model that did not train on its identity. Everybody else is to
    the retrained model what they are to the original one, so those scores are the original's; a fold's own would be
    too low, as a fold model misses a fifth of the people and of the steps (`fold_bias` measures both).
    """
    train = experiment.part("train")
    asked = np.isin(train.identity, group)
    forget = score(experiment.held_out_logits[asked], train.targets[asked])
    return untouched(experiment, group, most=most)._replace(forget=forget)


class Judged(NamedTuple):
    """Images that trials are judged on, and what the original model says of them."""

    faces: Faces
    before: Tensor


def judged_on(experiment: Experiment, group: np.ndarray, *, most: int | None = MOST) -> dict[str, Judged]:
    """By split, in the order of `Scores`: those who stay, the images of `group`, and validation in place of test."""
    asked, everyone = np.isin(experiment.part("train").identity, group), np.arange(len(experiment.part("val")))
    rows = {"retain": some_of(np.flatnonzero(~asked), most), "forget": np.flatnonzero(asked)}
    rows["val"] = some_of(everyone, most)
    found = {}
    for part, chosen in rows.items():
        split = "val" if part == "val" else "train"
        found[part] = Judged(experiment.part(split)[chosen], experiment.logits("original", split)[chosen])
    return found


def untouched(experiment: Experiment, group: np.ndarray, *, most: int | None = MOST) -> Scores:
    """What the original model scores there."""
    asked = judged_on(experiment, group, most=most).values()
    return Scores._make(score(before, faces.targets) for faces, before in asked)


def judge(experiment: Experiment, form: str, group: np.ndarray, wanted: Scores) -> dict[str, float]:
    """One trial on one request: Tug-of-War against `wanted` (percent), the drops of scores (fractions), A of eq. 6."""
    train, val = experiment.part("train"), experiment.part("val")
    asked = np.isin(train.identity, group)
    support = experiment.part("support").of(group)
    given = {"support": support, "forget": train[asked], "retain": train[~asked], "val": val}
    needed = Given(given).only(experiment.method(form).needs)
    model = unlearn_from(experiment.artefacts_folder(form), needed, seed=experiment.seed, device=experiment.device)
    parts, was, became, losses = judged_on(experiment, group), {}, {}, {}
    for part, (faces, before) in parts.items():
        logits = predict(model, faces, bf16=experiment.config.train.bf16).logits
        was[part], became[part] = score(before, faces.targets), score(logits, faces.targets)
        losses[part] = task_loss(logits, faces.targets)
    loss_v0 = task_loss(parts["val"].before, parts["val"].faces.targets)
    alignment = Alignment(losses["forget"], losses["val"], loss_v0, became["forget"], became["val"], was["val"])
    found = {"tow": tug_of_war(Scores._make(became.values()), wanted)}
    found["tow_before"] = tug_of_war(Scores._make(was.values()), wanted)
    for part in ("forget", "retain", "val"):
        found[f"{part}_drop"] = was[part] - became[part]
    return found | {"objective": alignment_objective(alignment).item()}


class PoolRequest(NamedTuple):
    """A request made of pool people, and what a model retrained without them would score."""

    experiment: Experiment
    group: np.ndarray
    wanted: Scores


def pool_requests(*, n_ids: int, seeds: Sequence[int] = SEEDS, **where: object) -> list[PoolRequest]:
    """The requests that every form is tried on, at most `REQUESTS` of each seed."""
    pools = [pool_experiment(n_ids=n_ids, seed=seed, **where) for seed in seeds]
    return [PoolRequest(e, group, fold_scores(e, group)) for e, groups in pools for group in groups]


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


def read_trials(path: Path) -> pd.DataFrame:
    """Recorded trials; `git` is their commit, `replaced` that of a later search that counts in their place."""
    texts = {name: str for name in (*KEY, "settings", "note", "git", "replaced") if name != "n_ids"}  # NA, 2024, 1e5
    found = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values={name: [""] for name in JUDGED})
    return found.assign(**{name: "" for name in ("git", "replaced") if name not in found})


def trials_known(runs_root: Path) -> list[pd.DataFrame]:
    """Recorded trials: those of the owner of a runs folder, if there are any, before the repository's."""
    files = [folder / "selection.csv" for folder in (runs_root, RESULTS)]
    return [read_trials(file) for file in files if file.is_file()]


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


def select(path: Path, key: str, chosen: dict[str, dict[str, object]]) -> None:
    """Note the chosen settings of some forms under "preset/dataset/n_ids"; those of other forms stay."""
    with locked(path):
        selected = json.loads(path.read_text()) if path.is_file() else {}
        save_json(path, {**selected, key: selected.get(key, {}) | chosen})


@dataclass(frozen=True, kw_only=True)
class PoolSetting:
    """Options of commands that make requests of the tuning pool."""

    dataset: str = "faces"
    n_ids: int = 10
    preset: str = "cpu"
    seeds: tuple[int, ...] = SEEDS
    data_root: Path = DATA
    runs_root: Path = RUNS
    results: Path | None = None  # folder of what is found; the runs folder by default

    @property
    def key(self) -> dict[str, object]:
        """What rows of the setting have in common."""
        return {"preset": self.preset, "dataset": self.dataset, "n_ids": self.n_ids}

    @property
    def where(self) -> dict[str, Path]:
        """Where data and stages lie."""
        return {"data_root": self.data_root, "runs_root": self.runs_root}

    @property
    def folder(self) -> Path:
        """Where trials are recorded."""
        return self.results or self.runs_root

    def requests(self) -> list[PoolRequest]:
        """Those of `pool_requests`."""
        return pool_requests(**self.key, seeds=self.seeds, **self.where)


@dataclass(frozen=True, kw_only=True)
class Command(PoolSetting):
    """Options of this command."""

    forms: tuple[str, ...] = ()  # all by default
    also: tuple[str, ...] = ()  # NAME=VALUE, settings of every trial besides, as a what-if: nothing is chosen
    resume: bool = False  # go on from recorded trials of the same pool models


def main(argv: Sequence[str] | None = None) -> None:
    """Record trials in selection.csv and choices in selected.json, or what-ifs in selection_also.csv."""
    asked = command_line(Command, argv, __doc__)
    check_committed(asked.folder)
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
