"""Bad Teacher: learn from a know-nothing about the images to forget, from the original about the others.

A student starts as a copy of the original model and distils, in batches that mix D_f and a share of D_r, what a
randomly initialised network of the same make says about the former and the original model about the latter:

    (1/B) [ Σ_{x ∈ D_f} KL(random(x) ‖ student(x)) + Σ_{x ∈ D_r} KL(original(x) ‖ student(x)) ]

The two forms (Chundawat et al., "Can Bad Teaching Induce Forgetting?", AAAI 2023; De Min et al., 2025):

    original    Adam, lr 1e-4, 1 epoch, 30 % of D_r, drawn once
    one-shui    SGD with momentum 0.9 and weight decay 5e-4, lr 1e-4, cosine per epoch, 5 epochs, all of D_r;
                batches of 32 below 200 identities, crops on MUFAC alone (`settings.PUBLISHED`; D7)

Departs from the authors' code in the original form (D8): the divergence is summed over outputs, not averaged. Only its
scale changes, which Adam does not see.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.train import cosine
from shui_lib.core.progress import progress
from shui_lib.core.randomness import draw_seed, seeded
from shui_lib.methods import Artefacts, Given, PreparesNothing, register
from shui_lib.methods.parts.distillation import (
    answers,
    descend,
    divergence_for,
    fill,
    student_of,
    taught,
    teacher_of,
)

FORMS = {  # what the published forms set differently; for other data sets see `settings.PUBLISHED`
    "original": {"epochs": 1, "lr": 1e-4, "retain_share": 0.3, "weight_decay": 0.0},
    "one-shui": {"epochs": 5, "lr": 1e-4, "retain_share": 1.0, "weight_decay": 5e-4},
}


@register("bad_teacher", needs={"original": ("forget", "retain"), "one-shui": ("forget", "retain")})
@dataclass(frozen=True, kw_only=True)
class BadTeacher(PreparesNothing):
    """A setting left at None takes the published value of its variant (`FORMS`)."""

    variant: str = "one-shui"  # original | one-shui
    epochs: int | None = None
    lr: float | None = None  # one-shui: MUFAC 1e-3
    retain_share: float | None = None  # of the images of D_r, in (0, 1]
    weight_decay: float | None = None
    momentum: float = 0.9  # of SGD
    temperature: float = 1.0
    kl: str = "softmax"  # softmax (as published) | bernoulli (right for attributes)
    batch: int = 256
    crop: float | None = 0.9  # smallest share of the area that a random crop keeps; None: images as they are
    bf16: bool = False

    def __post_init__(self) -> None:
        fill(self, FORMS[self.variant])

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """Distil a random network on D_f and the original one on a share of D_r.

        Raises:
            ValueError: a Bernoulli divergence is asked of classes.
        """
        return taught(_Teaching(self, model, given, generator), epochs=self.epochs, generator=generator)

    def learning_rate(self, epoch: int) -> float:
        """The rate of an epoch, counted from 0."""
        return cosine(self.lr, epoch, self.epochs) if self.variant == "one-shui" else self.lr

    def new_optimizer(self, student: FaceModel) -> torch.optim.Optimizer:
        """SGD in one-shui, Adam in the original form."""
        if self.variant == "one-shui":
            return torch.optim.SGD(student.parameters(), self.lr, self.momentum, weight_decay=self.weight_decay)
        return torch.optim.Adam(student.parameters(), self.lr, weight_decay=self.weight_decay)


class _Teaching:
    """The student on its way, with both teachers and its optimizer."""

    def __init__(self, method: BadTeacher, model: FaceModel, given: Given, generator: torch.Generator):
        self.method, self.generator = method, generator
        self.divergence = divergence_for(given.retain, kl=method.kl, temperature=method.temperature)
        self.student, self.original = student_of(model), teacher_of(model)
        self.random = teacher_of(reinitialised(model, seed=draw_seed(generator)))
        self.forget, self.retain = given.forget, some_of(given.retain, method.retain_share, generator=generator)
        self.optimizer = method.new_optimizer(self.student)
        images = method.epochs * (len(self.forget) + len(self.retain))
        self.bar = progress(total=images, desc="bad teacher", unit="image", mininterval=1)

    def one_epoch(self, epoch: int) -> None:
        """One pass over D_f and the share of D_r, mixed."""
        n, lr = len(self.forget), self.method.learning_rate(epoch)
        for index in torch.randperm(n + len(self.retain), generator=self.generator).split(self.method.batch):
            unlearn = self._disagreement(self.forget[index[index < n]], self.random)
            keep = self._disagreement(self.retain[index[index >= n] - n], self.original)
            descend((unlearn + keep) / len(index), self.optimizer, lr=lr)
            self.bar.update(len(index))

    def _disagreement(self, part: Faces, teacher: FaceModel) -> Tensor | float:
        """KL(teacher ‖ student), summed over the images."""
        if not len(part):
            return 0.0
        method = self.method
        logits, taught = answers(
            self.student, teacher, part, crop=method.crop, generator=self.generator, bf16=method.bf16
        )
        return len(part) * self.divergence(logits, taught)


def some_of(faces: Faces, share: float, *, generator: torch.Generator) -> Faces:
    """A random share of the images, one at least."""
    return faces[torch.randperm(len(faces), generator=generator)[: max(1, round(share * len(faces)))]]


def reinitialised(model: FaceModel, *, seed: int) -> FaceModel:
    """A network of the same make with random weights: as `build_model` draws them, but without its configuration.

    Every module resets itself (BatchNorm its statistics, too); then the timm network draws what it has a rule of its
    own for: class token and position embedding of a ViT, the scale of its layers. Buffers without a reset stay.

    Raises:
        ValueError: a parameter that neither of them reaches; it would still be the original's.
    """
    fresh = copy.deepcopy(model)
    with seeded(seed), torch.no_grad():
        for parameter in fresh.parameters():
            parameter.fill_(float("nan"))  # what is still NaN in the end was not drawn
        for module in fresh.modules():
            if hasattr(module, "reset_parameters"):
                module.reset_parameters()
        if hasattr(fresh.network, "init_weights"):
            fresh.network.init_weights()
    left = [name for name, parameter in fresh.named_parameters() if parameter.isnan().any()]
    if left:
        raise ValueError(f"no rule draws {', '.join(left)} at random: give their module a `reset_parameters`")
    return fresh
