"""Requests of the tuning pool, on which settings are chosen, and what a trial of a method is worth on one.

Pool people are in no reported request, and the seeds are never reported. Fold models, each trained without a fifth of
the training identities, tell what a retrained model would say about pool people (D27). They have a bias, which
`fold_bias.py` measures: a fold also misses people who did not ask. Validation identities stand for the test set here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.metrics import Scores, score, tug_of_war
from shui_lib.benchmark.predict import predict, task_loss
from shui_lib.benchmark.splits import FEWEST_IMAGES, FEWEST_IMAGES_ALONE
from shui_lib.core.places import DATA, RUNS
from shui_lib.methods import Given
from shui_lib.methods.parts.objectives import Alignment, alignment_objective
from shui_workbook.arguments import check_setting
from shui_workbook.runs.experiment import Experiment
from shui_workbook.runs.serve import unlearn_from

SEEDS = (100,)  # reported seeds are 0, 1, 2, …
REQUESTS = 6  # of one seed, at most: everybody of the pool asks once, and again where that makes less than two
MOST = 400  # images of retain, and of validation, that a trial is judged on; of forget all


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

    def __post_init__(self) -> None:
        """ValueError: as `check_setting`."""
        check_setting(self.preset, self.seeds)

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
