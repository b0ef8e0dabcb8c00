"""How far the step along one photo is from the step along the person, for every proxy of the person's gradient.

python -m shui_workbook.studies.proxies --dataset faces --n-ids 10 --seeds 0 1 2

Curvature climbs P ∇L(S), and would climb P ∇L(D_f) if it had the images to forget. What a proxy loses on the way is
told by the cosine between both, person by person; what a step is worth that loses nothing, by the rows of the form
`curvature:forget-images`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.core.machine import git_commit
from shui_lib.core.places import RESULTS
from shui_lib.core.progress import progress
from shui_lib.methods.curvature import Curvature
from shui_lib.methods.parts.kfac import Preconditioner, unpacked
from shui_lib.methods.parts.meta_gradient import Theta, inner_product, parameters
from shui_workbook.arguments import Setting, command_line
from shui_workbook.records.files import check_results, lines_of, put
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies.sharpen import FEATURES, FIRST_MAPS, Sharpened, sharpened_by

KEY = ["dataset", "preset", "n_ids", "seed"]
COSINES = ["gradient", "step", "metric"]
COLUMNS = [*KEY, "identity", "proxy", *COSINES, "git"]
COPIES = 16


class Proxy(NamedTuple):
    """What stands for the images to forget of a person."""

    whose: str  # part that the photos are taken from
    photos: int = 1
    copies: int = 0  # of each; 0 for the photos as they are
    apart: bool = False  # is it compared with the images to forget without those that were taken?
    filtered: bool = False  # does it pass a Wiener filter (`sharpen`)?
    moved: float = 0.0  # by which share of other people's displacements (`sharpen`)
    place: str = FIRST_MAPS  # where it is moved


PROXIES = {
    "photo": Proxy("support"),
    "copies of the photo": Proxy("support", copies=COPIES),
    "… through a Wiener filter": Proxy("support", copies=COPIES, filtered=True),
    "… moved in feature space": Proxy("support", copies=COPIES, moved=1.0),
    "… moved by a third of that": Proxy("support", copies=COPIES, moved=1 / 3),
    "… moved in the features": Proxy("support", copies=COPIES, moved=1.0, place=FEATURES),
    "one trained photo, which is one of them": Proxy("forget"),
    "one trained photo, against the others": Proxy("forget", apart=True),
    "copies of a trained photo, against the others": Proxy("forget", copies=COPIES, apart=True),
    "three trained photos, which are among them": Proxy("forget", 3),
    "three trained photos, against the others": Proxy("forget", 3, apart=True),
    "someone else's photo": Proxy("other"),  # what everybody's gradients have in common
}


def cosines(
    method: Curvature,
    model: FaceModel,
    precondition: Callable[[Theta], Theta],
    *,
    support: Faces,
    forget: Faces,
    generator: torch.Generator,
    sharpened: Sharpened | None = None,
) -> pd.DataFrame:
    """The cosine between each proxy's gradient and that of a person's images to forget.

    A trained photo is one of those images, and its gradient a part of theirs; what it says of the *others* is told
    by proxies that are `apart`. Where a gradient is zero, or no other image is there, the cosine is nan.

    Args:
        support: one photo a person, of two persons or more.
        forget: the images of the same persons.
        sharpened: of people who do not ask; without it, the proxies that need it are left out.
    Returns:
        A line a person and proxy: identity, proxy; gradient, of the gradients themselves; step, of what Curvature moves
        the weights by; metric, of the same where lengths are measured by P: g·P·h / √(g·P·g h·P·h).
    """
    if len(support) < 2:
        raise ValueError("one person's photo is held against someone else's: give those of two or more")
    lines = []
    for k, person in enumerate(progress(support.identity.tolist(), desc="proxies", unit="person", leave=False)):
        photos = {"support": support[[k]], "other": support[[(k + 1) % len(support)]]}
        photos["forget"] = forget.of(np.array([person]))
        photos["forget"] = photos["forget"][torch.randperm(len(photos["forget"]), generator=generator)]
        goals = {}
        for left_out in {proxy.photos * proxy.apart for proxy in PROXIES.values()}:
            if len(rest := photos["forget"][slice(left_out, None)]):
                goal = replace(method, copies=0).gradient(model, rest, generator=generator)
                goals[left_out] = (goal, precondition(goal))
        for name, proxy in PROXIES.items():
            if (proxy.filtered or proxy.moved) and not sharpened:
                continue
            if proxy.moved and proxy.place not in sharpened.displacements:
                continue
            taken = photos[proxy.whose][slice(0, proxy.photos)]
            moves = sharpened.displacements[proxy.place].added(proxy.moved, generator) if proxy.moved else nullcontext()
            with moves:
                gradient = replace(method, copies=proxy.copies).gradient(model, taken, generator=generator)
            gradient = sharpened.wiener(gradient) if proxy.filtered else gradient
            goal = goals.get(proxy.photos * proxy.apart)
            found = _three(gradient, precondition(gradient), *goal) if goal else (np.nan,) * len(COSINES)
            lines.append({"identity": person, "proxy": name} | dict(zip(COSINES, found, strict=True)))
    return pd.DataFrame(lines)


def _three(proxy: Theta, step: Theta, goal: Theta, steered: Theta) -> tuple[float, float, float]:
    products = (
        (proxy, goal, proxy, proxy, goal, goal),
        (step, steered, step, step, steered, steered),
        (proxy, steered, proxy, step, goal, steered),
    )
    found = [[inner_product(*six[k : k + 2]) for k in (0, 2, 4)] for six in products]
    return tuple((across / (one * other).sqrt()).item() for across, one, other in found)


def measured(experiment: Experiment) -> pd.DataFrame:
    """`cosines` of an experiment's request, with the settings and the curvature that Curvature has there."""
    method, model = experiment.method("curvature"), experiment.model("original")
    factors = unpacked(experiment.artefacts("curvature").tensors, like=parameters(model))
    generator = torch.Generator().manual_seed(experiment.seed)
    sharpened = sharpened_by(method, model, factors, experiment.part("retain"), generator=generator)
    return cosines(
        method,
        model,
        Preconditioner(factors, damping=method.damping),
        support=experiment.part("support"),
        forget=experiment.part("forget"),
        generator=generator,
        sharpened=sharpened,
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
    asked = command_line(Command, argv, __doc__).without_settings("those that were searched")
    if asked.n_ids < 2:
        raise SystemExit(f"--n-ids {asked.n_ids}: give 2 or more, since one person's photo is held against another's")
    check_results(asked.results, COLUMNS)
    for seed in progress(asked.seeds, desc="proxies", unit="seed"):
        experiment = Experiment(**asked.of_seed(seed))
        found = measured(experiment).assign(**{name: getattr(experiment, name) for name in KEY}, git=git_commit())
        put(asked.results, found[COLUMNS].sort_values("proxy"), KEY, "identity")


if __name__ == "__main__":
    main()
