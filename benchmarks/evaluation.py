"""Every metric from one pass of the model over the images, against one pass for each metric.

Scores need the plain images; attacks need what the model says about augmented views. The reference model's losses are
given to both sides. Point estimates only: intervals are the same arithmetic on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Row, check_close, measured_in_turn, row
from benchmarks.synthetic import CPU_PRESET, DEVICE, MODELS, noise, random_model
from shui_lib.attack.estimates import likelihoods
from shui_lib.attack.rmia import FPRS, Signals, auc, loss_scores, one_shui, roc, scores, tpr_at
from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.metrics import Scores, score, tug_of_war
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import predict, query_losses, task_loss

SIZES = {"support": 10, "forget": 60, "retain": 290, "val": 120, "test": 120}
QUERIES = {"members": 8, "non_members": 8, "population": 1, "trained": 8}  # views of each image
PARTS = {"members": "forget", "non_members": "val", "population": "test", "trained": "retain"}
RETRAINED = Scores(0.5, 0.5, 0.5)  # what Tug-of-War compares with
TOLERANCE = 1e-5

Losses = Mapping[str, np.ndarray]  # (Q, N) by part
Logits = Mapping[str, Tensor]  # (N, K) by split
Attack = Callable[[Losses, Losses], tuple[np.ndarray, np.ndarray]]  # to scores of members and non-members

METRICS: dict[str, Callable[[Logits, Mapping[str, Faces]], list[float]]] = {
    "loss": lambda logits, faces: [task_loss(logits[part], faces[part].targets).item() for part in SIZES],
    "map": lambda logits, faces: [score(logits[part], faces[part].targets) for part in SIZES],
    "tow": lambda logits, faces: [
        tug_of_war(Scores(*(score(logits[part], faces[part].targets) for part in Scores._fields)), RETRAINED)
    ],
}


def rmia(target: Losses, reference: Losses) -> tuple[np.ndarray, np.ndarray]:
    """Scores of members and non-members by RMIA as published."""
    likely = likelihoods(target, reference)
    return tuple(scores(likely[part], likely["population"]) for part in ("members", "non_members"))


def authors(target: Losses, reference: Losses) -> tuple[np.ndarray, np.ndarray]:
    """Scores by RMIA as the authors of the paper ran it."""
    losses = {part: Signals(target[part], reference[part]) for part in target}
    parts = [losses[part] for part in ("trained", "members", "non_members")]
    return one_shui(parts[1], parts[2], Signals(*map(np.hstack, zip(*parts, strict=True))))[:2]


def threshold(target: Losses, _: Losses) -> tuple[np.ndarray, np.ndarray]:
    """Scores by the loss itself."""
    return loss_scores(target["members"]), loss_scores(target["non_members"])


ATTACKS = (rmia, authors, threshold)
NUMBERS = (auc, *(partial(tpr_at, fpr=fpr) for fpr in FPRS))  # of each attack's ROC


def scored(model: FaceModel, faces: Mapping[str, Faces], metric: str) -> list[float]:
    """The twin: ask the model about every split that one metric looks at."""
    looks_at = Scores._fields if metric == "tow" else SIZES
    return METRICS[metric]({part: predict(model, faces[part]).logits for part in looks_at}, faces)


def all_scored(model: FaceModel, everything: Faces) -> list[float]:
    """Ours: ask once about all images, then read every metric off."""
    outputs, views = predict(model, everything).logits, split(everything)
    logits = dict(zip(SIZES, outputs.split([*SIZES.values()]), strict=True))
    return [value for metric in METRICS.values() for value in metric(logits, views)]


def asked(model: FaceModel, faces: Mapping[str, Faces]) -> Losses:
    """The model's losses on augmented views of each part."""
    return {
        part: query_losses(
            model, faces[PARTS[part]], queries=queries, crop=0.9, generator=torch.Generator().manual_seed(0)
        ).numpy()
        for part, queries in QUERIES.items()
    }


def split(everything: Faces) -> dict[str, Faces]:
    """The images of each split, one after the other."""
    ends = np.cumsum([*SIZES.values()])
    return {part: everything[slice(end - n, end)] for (part, n), end in zip(SIZES.items(), ends, strict=True)}


def compared(
    case: str, ours: Callable[[], list[float]], twin: Callable[[], list[float]], metrics: int, *, repeats: int = 1
) -> Row:
    """Both ways to the same numbers."""
    ours, twin = measured_in_turn(ours, twin, device=DEVICE, repeats=repeats)
    check_close(case, torch.tensor(ours.result), torch.tensor(twin.result), tolerance=TOLERANCE)
    return row("evaluation", f"{case}, {metrics} metrics", ours, twin)


def rows() -> list[Row]:
    """Scores on five splits, and three attacks with an AUC and three TPRs each."""
    model, everything = random_model(CPU_PRESET), noise(sum(SIZES.values()), MODELS[CPU_PRESET][1])
    faces, reference = split(everything), asked(random_model(CPU_PRESET, seed=1), split(everything))
    predict(model, faces["support"])  # the first call is slower

    def attacked(attacks: Sequence[Attack], numbers: Sequence[Callable], losses: Losses) -> list[float]:
        curves = [roc(*attack(losses, reference)) for attack in attacks]
        return [number(curve) for curve in curves for number in numbers]

    def one_by_one() -> list[float]:
        pairs = product(ATTACKS, NUMBERS)
        return [value for a, n in pairs for value in attacked([a], [n], asked(model, faces))]

    return [
        compared(
            "scores",
            lambda: all_scored(model, everything),
            lambda: [value for metric in METRICS for value in scored(model, faces, metric)],
            len(METRICS),
            repeats=5,
        ),
        compared(
            "attacks",
            lambda: attacked(ATTACKS, NUMBERS, asked(model, faces)),
            one_by_one,
            len(ATTACKS) * len(NUMBERS),
        ),
    ]
