"""Distillation: a student learns what a teacher says (Hinton et al., 2015). SCRUB and Bad Teacher are made of it.

The student learns in train mode, on augmented images, as it was trained; the teacher sees the very same pixels, in eval
mode and without gradient. Departs from the authors' codes of both methods (D9): the student's BatchNorm layers stay in
eval mode. A pass over the few images to forget would otherwise drag their statistics along, and a batch of one would
fail.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, logsigmoid
from tqdm import tqdm

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for
from shui_lib.core.randomness import draw_seed, seeded
from shui_lib.methods.parts.subspaces import learning

Divergence = Callable[[Tensor, Tensor], Tensor]  # (student, teacher) logits (B, K) to nats


def softmax_divergence(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """KL(softmax(teacher/T) ‖ softmax(student/T)), mean over images ("batchmean"); nats.

    Right for classes. Published for attributes too, where it takes K separate questions for one with K answers: it does
    not see what all logits of an image have in common.
    """
    log_q, log_p = ((logits / temperature).log_softmax(1) for logits in (student, teacher))
    return kl_div(log_q, log_p, reduction="batchmean", log_target=True)


def bernoulli_divergence(student: Tensor, teacher: Tensor, *, temperature: float) -> Tensor:
    """KL(Bernoulli(σ(teacher/T)) ‖ Bernoulli(σ(student/T))), mean over images and attributes, like the task loss; nats.

    K times this is the divergence between the joint answers of two models that answer each attribute on its own.
    """
    q, p = student / temperature, teacher / temperature
    yes = p.sigmoid() * (logsigmoid(p) - logsigmoid(q))
    no = (-p).sigmoid() * (logsigmoid(-p) - logsigmoid(-q))
    return (yes + no).mean()


DIVERGENCES = {"softmax": softmax_divergence, "bernoulli": bernoulli_divergence}


def divergence_for(faces: Faces, *, kl: str, temperature: float) -> Divergence:
    """The divergence named `kl`, of outputs softened by the temperature.

    Raises:
        ValueError: the name is unknown, or the outputs are classes and the divergence is one of attributes.
    """
    if kl not in DIVERGENCES:
        raise ValueError(f"kl={kl!r} is unknown: choose {' or '.join(DIVERGENCES)}")
    if kl == "bernoulli" and not faces.multilabel:
        raise ValueError(f"kl='bernoulli' is for attributes, but {faces.name} has classes: choose kl='softmax'")
    return partial(DIVERGENCES[kl], temperature=temperature)


def student_of(model: FaceModel) -> FaceModel:
    """A copy that learns: in train mode, except for its BatchNorm layers."""
    return learning(copy.deepcopy(model))


def teacher_of(model: FaceModel) -> FaceModel:
    """A copy that does not learn."""
    return copy.deepcopy(model).eval().requires_grad_(False)


def answers(
    student: FaceModel,
    teacher: FaceModel,
    faces: Faces,
    *,
    crop: float | None,
    generator: torch.Generator,
    bf16: bool = False,
) -> tuple[Tensor, Tensor]:
    """Logits (B, K) of student and teacher on the same view of the images; only the student's carry a gradient."""
    x = pixels_for(student, faces, crop=crop, generator=generator)
    with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
        logits, taught = student(x).logits, teacher(x).logits
    return logits.to(x.dtype), taught.to(x.dtype)


class Course(Protocol):
    """A student on its way."""

    student: FaceModel
    optimizer: torch.optim.Optimizer
    bar: tqdm

    def one_epoch(self, epoch: int) -> None:
        """Every step of an epoch, counted from 0."""
        ...


def taught(course: Course, *, epochs: int, generator: torch.Generator) -> FaceModel:
    """The student after all epochs, in eval mode; at a rate of 0, at which nothing moves, after none."""
    moves = any(group["lr"] for group in course.optimizer.param_groups)
    with seeded(draw_seed(generator)):  # dropout
        for epoch in range(epochs if moves else 0):
            course.one_epoch(epoch)
    course.bar.close()
    course.optimizer.zero_grad()
    return course.student.eval()


def descend(loss: Tensor, optimizer: torch.optim.Optimizer, *, lr: float, clip: float = 0.0) -> None:
    """One step down the loss; `clip` is the largest norm of its gradient, 0 for none."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad()
    loss.backward()
    if clip:
        nn.utils.clip_grad_norm_(parameters, clip)
    optimizer.step()


def fill(settings: object, published: Mapping[str, object]) -> None:
    """Give the settings that were left open (None) their published values; for a frozen dataclass being made."""
    for name, value in published.items():
        if getattr(settings, name) is None:
            object.__setattr__(settings, name, value)
