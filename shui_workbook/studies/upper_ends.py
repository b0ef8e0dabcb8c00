"""What a form could reach at best: the highest Tug-of-War along its way, its strength chosen on the request itself.

python -m shui_workbook.studies.upper_ends --dataset celebahq --n-ids 20 --reserved 50 --preset face-resnet

Where a model takes many minutes, a search on the tuning pool costs more than the table that it is for. Upper ends need
none: strength and damping are the best on the request itself, so they are no results of a method. Of the dampings those
of `--dampings` are tried, and no others. The best of many places is never worse than doing nothing, so an arm that can
know nothing of those who ask, strangers' photos, tells how much of an upper end is luck. Three arms see what the method
must not see: they tell a bad step from a bad proxy of the person. (Two others learn how photos vary from the images of
those who stay, as if one knew beforehand who will.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.metrics import Scores
from shui_lib.core.machine import git_commit
from shui_lib.core.places import RESULTS
from shui_lib.core.progress import progress
from shui_lib.methods import Given
from shui_lib.methods.parts.copies import copies_of
from shui_lib.methods.parts.kfac import Factors, Preconditioner, unpacked
from shui_lib.methods.parts.meta_gradient import Theta, parameters
from shui_workbook.arguments import Setting, command_line
from shui_workbook.records.compare import over_seeds
from shui_workbook.records.files import check_results, lines_of, put
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies.climbs import answers, climbed
from shui_workbook.studies.pool import some_of
from shui_workbook.studies.sharpen import FEATURES, sharpened_by
from shui_workbook.studies.steps import DividedInBasis, KroneckerBasis, corrected_eigenvalues
from shui_workbook.studies.tradeoff import along

KEY = ["dataset", "preset", "n_ids", "seed", "arm"]
CURVE = [*KEY, "damping"]  # 0: none has a part in the arm's step
COLUMNS = [*CURVE, "strength", *Scores._fields, "tow", "gap", "git"]
DAMPINGS = (1.0, 0.05)  # above those that searches choose, and among them


class Arm(NamedTuple):
    """A form of one step and its settings, of which the step's size plays no part; or another step in its place.

    Settings with a damping have it replaced by each of those that are asked for.
    """

    form: str
    settings: Mapping[str, object]
    step: str = ""  # of `other_step`, in place of the form's own


COPIES = "Curvature, copies"  # that the others are compared with
_STEP = {"eta": 4e-4, "damping": 1.0}
_LEARNED = {"alpha": 1e-3, "epochs": 1, "inputs": ("logits", "targets")}
_MATCHED = {"objective": "match", "preconditioner": "kfac", "residual": True, "copies": 16}
ARMS = {
    "gradient ascent": Arm("gradient_ascent", {"eta": 0.03, "copies": 0}),
    "gradient ascent, copies": Arm("gradient_ascent", {"eta": 0.03, "copies": 16}),
    "MetaUnlearn": Arm("meta_unlearn", {"eta": 1e-3, **_LEARNED}),
    "Curvature": Arm("curvature", {**_STEP, "copies": 0}),
    COPIES: Arm("curvature", {**_STEP, "copies": 16}),
    "Curvature, copies, exact damping": Arm("curvature", {**_STEP, "copies": 16}, "exact"),
    "Curvature, copies, corrected eigenvalues": Arm("curvature", {**_STEP, "copies": 16}, "corrected"),
    "Curvature, copies, a Wiener filter": Arm("curvature", {**_STEP, "copies": 16}, "filtered"),
    "Curvature, copies moved in the features": Arm("curvature", {**_STEP, "copies": 16}, "moved"),
    "Curvature, copies, its own answers for targets": Arm("curvature", {**_STEP, "copies": 16}, "answers"),
    "Curvature, copies, a loss taught by matching": Arm("meta_unlearn", {**_STEP, **_MATCHED, **_LEARNED}),
    "Curvature, copies of strangers' photos": Arm("curvature", {**_STEP, "copies": 16}, "strangers"),
    "Curvature, copies of one trained photo": Arm("curvature:one-trained", {**_STEP, "copies": 16}),
    "Curvature, copies of three trained photos": Arm("curvature", {**_STEP, "copies": 16}, "three"),
    "Curvature, the images to forget": Arm("curvature:forget-images", {**_STEP, "copies": 0}),
}
BOTH_ENDS = COPIES, "Curvature, the images to forget"  # one photo, and all that there is to know
SOME = 500  # training images that corrected eigenvalues are measured on


def ways(experiment: Experiment, arm: Arm, dampings: Sequence[float] = DAMPINGS) -> pd.DataFrame:
    """The curves of an arm (`tradeoff.along`), one for each damping: of one step each, whose direction is found once.

    Where images have classes Curvature's arms and gradient ascent take PGU's loss, but the one with its own answers.
    """
    loss = {} if arm.form == "meta_unlearn" else {"loss": "task" if experiment.faces.multilabel else "unlikelihood"}
    found = []
    for damping in dampings if "damping" in arm.settings else (0.0,):
        damped = {"damping": damping} if damping else {}
        one = experiment.with_settings({arm.form: {**arm.settings, **damped, **loss}})
        step = other_step(one, arm.step) if arm.step else own_step(one, arm.form)
        found.append(along(one, step).assign(damping=damping))
    return pd.concat(found, ignore_index=True)


def own_step(experiment: Experiment, form: str) -> Theta:
    """By how much a form moves the weights, by parameter."""
    method, original = experiment.method(form), experiment.model("original")
    given = Given({part: experiment.part(part) for part in method.needs})
    draws = torch.Generator().manual_seed(experiment.seed)
    moved = parameters(method.unlearn(original, given, experiment.artefacts(form), generator=draws))
    return {name: moved[name] - value for name, value in parameters(original).items()}


def other_step(experiment: Experiment, kind: str) -> Theta:
    """What moves the weights in place of Curvature's own step, by parameter.

    Args:
        kind: exact (damping) or corrected (eigenvalues), filtered (by Wiener), moved (in the features) or answers (the
            model's own, for targets) on the same copies of the Support Set; three: on copies of three images to forget
            of each person; strangers: of an image of as many validation people.
    Raises:
        ValueError: there are fewer validation people than those who ask.
    """
    method, model = experiment.method("curvature"), experiment.model("original")
    factors = unpacked(experiment.artefacts("curvature").tensors, like=parameters(model))
    draws = partial(torch.Generator().manual_seed, experiment.seed)  # the same copies whatever is done with them
    gradient = other_gradient(experiment, kind, factors, draws)
    if kind not in ("exact", "corrected"):
        return Preconditioner(factors, damping=method.damping)(gradient)
    basis, train = KroneckerBasis(factors), experiment.part("train")
    some = train[some_of(np.arange(len(train)), SOME)]
    known = basis.products if kind == "exact" else corrected_eigenvalues(model, some, basis, generator=draws())
    return DividedInBasis(basis, known, damping=method.damping)(gradient)


def other_gradient(
    experiment: Experiment, kind: str, factors: Mapping[str, Factors], draws: Callable[[], torch.Generator]
) -> Theta:
    """What a step of this kind divides, by parameter: the gradient of copies of the Support Set, or another's."""
    method, model = experiment.method("curvature"), experiment.model("original")
    photos = experiment.part("support")
    if kind == "answers":
        size = {"copies": method.copies, "crop": method.crop, "together": method.batch}
        return climbed(model, copies_of(photos, model, **size, generator=draws()), answers)
    if kind in ("three", "strangers"):
        photos = some_each(experiment.part("forget"), 3) if kind == "three" else strangers(experiment)
    if kind not in ("filtered", "moved"):
        return method.gradient(model, photos, generator=draws())
    others = sharpened_by(method, model, factors, experiment.part("retain"), generator=draws(), places=(FEATURES,))
    if kind == "filtered":
        return others.wiener(method.gradient(model, photos, generator=draws()))
    with others.displacements[FEATURES].added(1.0, draws()):
        return method.gradient(model, photos, generator=draws())


def some_each(faces: Faces, most: int) -> Faces:
    """The first images of every identity, so many at most."""
    return faces[np.flatnonzero(pd.Series(faces.identity).groupby(faces.identity).cumcount().to_numpy() < most)]


def strangers(experiment: Experiment) -> Faces:
    """An image each of as many validation people as ask: they say nothing of those who do."""
    found, n = some_each(experiment.part("val"), 1), len(experiment.part("support"))
    if len(found) < n:
        raise ValueError(f"{experiment.dataset}: validation has {len(found)} people, and {n} ask: leave out strangers")
    return found[slice(n)]


def upper_ends(curves: pd.DataFrame) -> pd.DataFrame:
    """Of each arm the line with the highest Tug-of-War, whatever its damping, and what it gains.

    Args:
        curves: columns `COLUMNS`, points and percent.
    Returns:
        A line a setting, seed and arm, index `KEY`: strength, the length of the way; damping; how many points retain,
        forget and test fell; tow (%); untouched, that of doing nothing; gain, the difference of both, never below zero.
    """
    ordered = curves.sort_values([*KEY, "strength"], ignore_index=True)
    groups = ordered.groupby(KEY)["tow"]
    best, untouched = ordered.loc[groups.idxmax()].set_index(KEY), groups.first()
    return best.assign(untouched=untouched, gain=best["tow"] - untouched)


def beside_handles(ends: pd.DataFrame, handles: pd.DataFrame, arms: Sequence[str] = BOTH_ENDS) -> pd.DataFrame:
    """Of every setting that has both: what a model knows of persons beyond their photos, and what a step could gain.

    Args:
        ends: of `upper_ends`.
        handles: of `handle.handles`.
    Returns:
        A line a setting, those whose models know most last: dataset, preset, n_ids; held with _low and _high (nats);
        under the name of each arm its gain over seeds, with _low and _high (points).
    """
    lines = []
    for setting, mine in ends.reset_index().groupby(KEY[:3]):
        line = dict(zip(KEY[:3], setting, strict=True))
        for arm in arms:
            found = over_seeds(mine.loc[mine["arm"] == arm, "gain"])
            line |= {arm: found["mean"], f"{arm}_low": found["low"], f"{arm}_high": found["high"]}
        lines.append(line)
    held = ["held", "held_low", "held_high"]
    if not lines or handles.empty:
        return pd.DataFrame(
            columns=[*KEY[:3], *(f"{arm}{end}" for arm in arms for end in ("", "_low", "_high")), *held]
        )
    known = handles[["dataset", "preset", *held]]
    return pd.DataFrame(lines).merge(known).sort_values("held", ignore_index=True)


def read(results: Path = RESULTS) -> pd.DataFrame:
    """What was recorded, columns `COLUMNS`; no lines where nothing was."""
    return lines_of(Path(results) / "upper_ends.csv", COLUMNS, ["dataset", "preset", "arm", "git"])


@dataclass(frozen=True, kw_only=True)
class Command(Setting):
    """Options of this command."""

    arms: tuple[str, ...] = tuple(ARMS)  # which ones, by name
    dampings: tuple[float, ...] = DAMPINGS  # of arms that have one
    results: Path = RESULTS / "upper_ends.csv"


def main(argv: Sequence[str] | None = None) -> None:
    """Record the curves of the given seeds in results/upper_ends.csv, and print the ends."""
    asked = command_line(Command, argv, __doc__).without_settings("those of ARMS")
    check_results(asked.results, COLUMNS)
    once = len(set(asked.dampings)) == len(asked.dampings) > 0
    if not once or not all(0 < damping < np.inf for damping in asked.dampings):
        raise SystemExit(f"--dampings {' '.join(map(str, asked.dampings))}: give numbers above 0, each once")
    if not asked.arms or set(asked.arms) - set(ARMS):
        raise SystemExit(f"--arms {', '.join(asked.arms)}: choose one or more of {', '.join(ARMS)}")
    for seed in progress(asked.seeds, desc="upper ends", unit="seed"):
        experiment = Experiment(**asked.of_seed(seed))
        key = {name: getattr(experiment, name) for name in KEY[:-1]}
        for name in progress(asked.arms, desc=f"seed {seed}", unit="arm", leave=False):
            found = ways(experiment, ARMS[name], asked.dampings).assign(**key, arm=name, git=git_commit())
            every = put(asked.results, found[COLUMNS], CURVE, "strength", decimals=None)
    print(upper_ends(every)[["gain", "damping", *Scores._fields]].round(1).to_string())


if __name__ == "__main__":
    main()
