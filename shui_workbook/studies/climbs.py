"""What to climb on a photo that was never trained on: what the model gets wrong there, or what it remembers?

The gradient of the task loss is largest where the model is wrong about the photo. Memory is something else: what the
original model answers beyond what a model that never met the person does, Δz = z_original − z_held_out. Fold models
tell it of people of the tuning pool, on photos that neither model was trained on. Each way to climb weighs the
gradients of the photo's logits, Σ_k c_k ∇z_k, and is compared with the step along the person's own images to forget.

    python -m shui_workbook.studies.climbs --dataset faces
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.core.machine import git_commit
from shui_lib.core.places import DATA, RESULTS, RUNS
from shui_lib.core.progress import progress
from shui_lib.methods.parts.copies import copies_of
from shui_lib.methods.parts.kfac import Preconditioner, unpacked
from shui_lib.methods.parts.meta_gradient import Theta, inner_product, parameters, streamed_gradient
from shui_workbook.arguments import check_setting, command_line
from shui_workbook.records.files import check_results, lines_of, put
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies.pool import SEEDS, pool_experiment

KEY = ["dataset", "preset", "seed"]
COLUMNS = [*KEY, "identity", "climb", "gradient", "step", "git"]
COPIES = 16
OTHER = "labels of someone else's photo"  # what everybody's gradients have in common
Weights = Callable[[Tensor, Tensor], Tensor]  # from logits and targets, (B, K) and (B, K) or (B,), to c, (B, K)


def told(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the model says (fractions), what is right, and what it would say if it had to decide; each (B, K)."""
    if targets.ndim == 2:
        return logits.sigmoid(), targets.to(logits), (logits > 0).to(logits)
    one_hot = partial(torch.nn.functional.one_hot, num_classes=logits.shape[1])
    return logits.softmax(1), one_hot(targets.long()).to(logits), one_hot(logits.argmax(1)).to(logits)


def labels(logits: Tensor, targets: Tensor) -> Tensor:
    """The task loss: what is wrong is made worse, the most where the model is most wrong."""
    said, right, _ = told(logits, targets)
    return said - right


def answers(logits: Tensor, targets: Tensor) -> Tensor:
    """The task loss with the model's own answers for targets: whatever it says is said less surely."""
    said, _, own = told(logits, targets)
    return said - own


def margins(logits: Tensor, targets: Tensor) -> Tensor:
    """Every right answer loses as much, whether the model knows it or not."""
    _, right, _ = told(logits, targets)
    return right.mean(1, keepdim=True) - right if targets.ndim == 1 else 1 - 2 * right


def features(logits: Tensor, targets: Tensor) -> Tensor:
    """(B, K, 4) what memory may be seen by: a constant, the answer, the right one, and how wrong it is."""
    said, right, _ = told(logits, targets)
    return torch.stack([torch.ones_like(said), logits, 2 * right - 1, said - right], dim=2)


def learned(logits: Tensor, targets: Tensor, memory: Tensor) -> Weights:
    """Against memory as it was learned: Δz as a linear function of `features`, the same for all K, by least squares."""
    seen = features(logits, targets).flatten(0, 1).double()
    factors = torch.linalg.lstsq(seen, memory.flatten().double().unsqueeze(1)).solution[:, 0].float()
    return lambda logits, targets: -(features(logits, targets) @ factors.to(logits.device))


def climbed(model: FaceModel, images: Faces, weights: Weights, *, batch: int = 64) -> Theta:
    """Σ_k c_k ∇z_k by parameter, mean over images; c is held fixed."""

    def summed(logits: Tensor, rows: slice) -> Tensor:
        fixed = weights(logits.detach(), images.targets[rows].to(logits.device))
        return (fixed * logits).sum() / logits.shape[1]

    return streamed_gradient(model, parameters(model), images, summed, micro_batch=batch)[2]


def measured(experiment: Experiment) -> pd.DataFrame:
    """The cosines of every climb, person by person, of an experiment in which the pool's people asked.

    What is learned of memory is learned on half of the people and measured on the other half, both ways round.

    Returns:
        A line a person and climb: identity, climb; gradient, the cosine of Σ c ∇z with the gradient of the images to
        forget; step, that of what both become divided by the curvature.
    """
    method, model = experiment.method("curvature"), experiment.model("original")
    factors = unpacked(experiment.artefacts("curvature").tensors, like=parameters(model))
    divide, draws = Preconditioner(factors, damping=method.damping), torch.Generator().manual_seed(experiment.seed)
    support, forget = experiment.part("support"), experiment.part("forget")
    before = experiment.logits("original", "support")
    memory = before - never_met(experiment, support)
    halves = torch.randperm(len(support), generator=draws) % 2
    by_half = [learned(before[halves != h], support.targets[halves != h], memory[halves != h]) for h in (0, 1)]
    lines = []
    copied = partial(copies_of, model=model, copies=COPIES, crop=method.crop, generator=draws)
    for k, person in enumerate(progress(support.identity.tolist(), desc="climbs", unit="person", leave=False)):
        goal = replace(method, copies=0, loss="task").gradient(model, forget.of(np.array([person])), generator=draws)
        ways = {"labels": labels, "own answers": answers, "margins": margins, "memory, learned": by_half[halves[k]]}
        ways["memory, of this photo"] = lambda logits, _, known=memory[k]: -known.to(logits).expand_as(logits)
        images, there = copied(support[[k]]), divide(goal)
        steps = {name: climbed(model, images, weights) for name, weights in ways.items()}
        steps[OTHER] = climbed(model, copied(support[[(k + 1) % len(support)]]), labels)
        for name, step in steps.items():
            found = {"gradient": cosine(step, goal), "step": cosine(divide(step), there)}
            lines.append({"identity": person, "climb": name} | found)
    return pd.DataFrame(lines)


def never_met(experiment: Experiment, photos: Faces) -> Tensor:
    """(N, K) logits of photos, each by the fold model that was trained without its person."""
    found = torch.full((len(photos), len(experiment.faces.classes)), torch.nan)
    for k, fold in enumerate(experiment.folds):
        without = torch.from_numpy(np.isin(photos.identity, fold))
        if without.any():
            found[without] = experiment.logits(f"fold_{k}", "support")[without]
    return found


def cosine(one: Theta, other: Theta) -> float:
    """Between two directions in the weights; nan where one is zero."""
    return (inner_product(one, other) / (inner_product(one, one) * inner_product(other, other)).sqrt()).item()


def read(results: Path = RESULTS) -> pd.DataFrame:
    """What was recorded, columns `COLUMNS`; no lines where nothing was."""
    return lines_of(Path(results) / "climbs.csv", COLUMNS, ["dataset", "preset", "climb", "git"])


@dataclass(frozen=True, kw_only=True)
class Command:
    """Options of this command."""

    dataset: str = "faces"
    preset: str = "cpu"
    seeds: tuple[int, ...] = SEEDS  # of tuning pools
    data_root: Path = DATA
    runs_root: Path = RUNS
    results: Path = RESULTS / "climbs.csv"

    def __post_init__(self) -> None:
        """ValueError: as `check_setting`."""
        check_setting(self.preset, self.seeds)


def main(argv: Sequence[str] | None = None) -> None:
    """Record the cosines of the given pools in results/climbs.csv, and print their means."""
    asked = command_line(Command, argv, __doc__)
    check_results(asked.results, COLUMNS)
    where = {"dataset": asked.dataset, "preset": asked.preset}
    where |= {"data_root": asked.data_root, "runs_root": asked.runs_root}
    for seed in progress(asked.seeds, desc="climbs", unit="pool"):
        experiment, _ = pool_experiment(n_ids=2, seed=seed, **where)
        about = {name: getattr(experiment, name) for name in KEY}
        found = measured(experiment).assign(**about, git=git_commit())
        every = put(asked.results, found[COLUMNS].sort_values("climb"), KEY, "identity")
    print(every.groupby(["dataset", "preset", "climb"], sort=False)[["gradient", "step"]].mean().round(3).to_string())


if __name__ == "__main__":
    main()
