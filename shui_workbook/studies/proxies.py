"""How far the step along one photo is from the step along the person, for every proxy of the person's gradient.

python -m shui_workbook.studies.proxies --dataset faces --n-ids 10 --seeds 0 1 2

Curvature climbs P ∇L(S), and would climb P ∇L(D_f) if it had the images to forget. What a proxy loses on the way is
told by the cosine between both, person by person; what a step is worth that loses nothing, by the rows of the form
`curvature:forget-images`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.core.machine import git_commit
from shui_lib.core.places import RESULTS
from shui_lib.core.progress import progress
from shui_lib.methods.curvature import Curvature
from shui_lib.methods.parts.kfac import Preconditioner, unpacked
from shui_lib.methods.parts.meta_gradient import parameters
from shui_workbook.arguments import Setting, command_line
from shui_workbook.records.files import lines_of, put
from shui_workbook.runs.experiment import Experiment

KEY = ["dataset", "preset", "n_ids", "seed"]
COSINES = ["gradient", "step", "metric"]
COLUMNS = [*KEY, "identity", "proxy", *COSINES, "git"]
COPIES = 16
# By proxy: whose photos are taken, and how many; and how many copies of each, 0 for the photos as they are.
PROXIES: dict[str, tuple[str, int, int]] = {
    "photo": ("support", 1, 0),
    "copies of the photo": ("support", 1, COPIES),
    "one trained photo": ("forget", 1, 0),
    "three trained photos": ("forget", 3, 0),
    "someone else's photo": ("other", 1, 0),  # what everybody's gradients have in common
}
Gradient = Mapping[str, Tensor]


def cosines(
    method: Curvature,
    model: FaceModel,
    precondition: Callable[[Gradient], Gradient],
    *,
    support: Faces,
    forget: Faces,
    generator: torch.Generator,
) -> pd.DataFrame:
    """The cosine between each proxy's gradient and that of a person's images to forget.

    Trained photos are among those images, so that they resemble them for that too. Where a gradient is zero the cosine
    is nan.

    Args:
        support: one photo a person, of two persons or more.
        forget: the images of the same persons.
    Returns:
        A line a person and proxy: identity, proxy; gradient, of the gradients themselves; step, of what Curvature moves
        the weights by; metric, of the same where lengths are measured by P: g·P·h / √(g·P·g h·P·h).
    """
    lines = []
    for k, person in enumerate(progress(support.identity.tolist(), desc="proxies", unit="person", leave=False)):
        photos = {"support": support[[k]], "other": support[[(k + 1) % len(support)]]}
        photos["forget"] = forget.of(np.array([person]))
        photos["forget"] = photos["forget"][torch.randperm(len(photos["forget"]), generator=generator)]
        goal = replace(method, copies=0).gradient(model, photos["forget"], generator=generator)
        steered = precondition(goal)
        for name, (whose, most, copies) in PROXIES.items():
            taken = photos[whose][slice(0, most)]
            proxy = replace(method, copies=copies).gradient(model, taken, generator=generator)
            found = _three(proxy, precondition(proxy), goal, steered)
            lines.append({"identity": person, "proxy": name} | dict(zip(COSINES, found, strict=True)))
    return pd.DataFrame(lines)


def _three(proxy: Gradient, step: Gradient, goal: Gradient, steered: Gradient) -> tuple[float, float, float]:
    return (
        _inner(proxy, goal) / (_inner(proxy, proxy) * _inner(goal, goal)) ** 0.5,
        _inner(step, steered) / (_inner(step, step) * _inner(steered, steered)) ** 0.5,
        _inner(proxy, steered) / (_inner(proxy, step) * _inner(goal, steered)) ** 0.5,
    )


def _inner(one: Gradient, other: Gradient) -> np.float64:
    return np.float64(sum((value.double() * other[name].double()).sum().item() for name, value in one.items()))


def measured(experiment: Experiment) -> pd.DataFrame:
    """`cosines` of an experiment's request, with the settings and the curvature that Curvature has there."""
    method, model = experiment.method("curvature"), experiment.model("original")
    factors = unpacked(experiment.artefacts("curvature").tensors, like=parameters(model))
    return cosines(
        method,
        model,
        Preconditioner(factors, damping=method.damping),
        support=experiment.part("support"),
        forget=experiment.part("forget"),
        generator=torch.Generator().manual_seed(experiment.seed),
    )


def read(results: Path = RESULTS) -> pd.DataFrame:
    """What was recorded, columns `COLUMNS`; no lines where nothing was."""
    return lines_of(Path(results) / "proxies.csv", COLUMNS, ["dataset", "preset", "proxy", "git"])


@dataclass(frozen=True, kw_only=True)
class Command(Setting):
    """Options of this command."""

    results: Path = RESULTS / "proxies.csv"


def main(argv: Sequence[str] | None = None) -> None:
    """Record the cosines of the given seeds in results/proxies.csv."""
    asked = command_line(Command, argv, __doc__)
    for seed in progress(asked.seeds, desc="proxies", unit="seed"):
        experiment = Experiment(**asked.of_seed(seed))
        found = measured(experiment).assign(**{name: getattr(experiment, name) for name in KEY}, git=git_commit())
        put(asked.results, found[COLUMNS].sort_values("proxy"), KEY, "identity")


if __name__ == "__main__":
    main()
