"""What meta-training asks of a model that has forgotten: the alignment of eq. 5 and 6, its ablations, SCRUB's loss.

Each judges θ_u on the images to forget and on others, and comes with its gradient at θ_u, which is all that the exact
meta-gradient needs of it. Images pass in micro-batches, so memory grows with none of the parts; the paper ran out of it
with SCRUB's loss (Table 5).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, smooth_l1_loss

from shui_lib.data import Faces
from shui_lib.distillation import divergence_for
from shui_lib.meta_gradient import Theta, loss_gradient, streamed_gradient
from shui_lib.metrics import score
from shui_lib.models import FaceModel
from shui_lib.predict import task_loss

DISTANCES = {"squared": mse_loss, "smooth_l1": smooth_l1_loss}
TERMS = ("both", "first", "second")  # of the alignment: with validation under θ_u, with validation under θ (Table 5)
OBJECTIVES = (*TERMS, "scrub")
SCRUB_ALPHA, SCRUB_GAMMA, SCRUB_TEMPERATURE = 0.001, 0.99, 4.0  # as published (Kurmanji et al., 2023)


class Alignment(NamedTuple):
    """What the objective compares: the images to forget and validation images under θ_u, and the latter under θ."""

    loss_f: Tensor
    loss_v: Tensor
    loss_v0: Tensor
    score_f: float
    score_v: float
    score_v0: float


class Verdict(NamedTuple):
    """An objective at θ_u."""

    value: Tensor  # A, a scalar
    gradient: Theta  # ∇A(θ_u) by parameter
    alignment: Alignment  # what eq. 6 looks at, whatever the objective


class Knowledge(NamedTuple):
    """The images of one simulated request, and what the original model says of those that it is asked about."""

    forget: Faces
    val: Faces
    val_said: Tensor  # (|D_v|, K) logits under θ
    forget_said: Tensor | None = None  # this and the others are read by SCRUB's loss alone
    retain: Faces | None = None
    retain_said: Tensor | None = None


def alignment_objective(
    a: Alignment,
    *,
    distance: str = "smooth_l1",
    accuracy_factor: bool = True,
    terms: str = "both",
    detached: bool = True,
) -> Tensor:
    """A of eq. 6, or of eq. 5 without the accuracy factor: people to forget should look like people never seen.

    Losses in nats, scores as fractions; differentiable in `loss_f`, and in `loss_v` if not `detached`.

    Raises:
        ValueError: unknown terms.
    """
    if terms not in TERMS:
        raise ValueError(f"terms {terms!r} are unknown: choose one of {', '.join(TERMS)}")
    d = DISTANCES[distance]
    weights = [1 - m if accuracy_factor else 1.0 for m in (a.score_f, a.score_v, a.score_v0)]
    forget, val, val0 = (w * loss for w, loss in zip(weights, (a.loss_f, a.loss_v, a.loss_v0), strict=True))
    # Departs from the paper's equations: validation terms are constants, as in the authors' code.
    first, second = d(forget, val.detach() if detached else val), d(forget, val0.detach())
    return {"first": first, "second": second, "both": first + second}[terms]


def judge_alignment(
    model: FaceModel,
    theta: Theta,
    known: Knowledge,
    *,
    micro_batch: int,
    bf16: bool,
    detached: bool,
    **objective: object,
) -> Verdict:
    """The alignment and its gradient, the slope of A in each loss times that loss's gradient."""
    size = {"micro_batch": micro_batch, "bf16": bf16}
    loss_f, said_f, gradient_f = loss_gradient(model, theta, known.forget, **size)
    loss_v, said_v, gradient_v = loss_gradient(model, theta, known.val, **size, wanted=not detached)
    alignment = _alignment(known, loss_f, said_f, loss_v, said_v)
    value = alignment_objective(alignment, detached=detached, **objective)
    slopes = torch.autograd.grad(value, alignment[:2], allow_unused=True)
    gradient = {name: torch.zeros_like(weight) for name, weight in theta.items()}
    for slope, part in zip(slopes, (gradient_f, gradient_v), strict=True):
        for name in gradient if slope is not None and part else ():
            gradient[name] += slope * part[name]
    return Verdict(value.detach(), gradient, alignment)


def judge_as_scrub(model: FaceModel, theta: Theta, known: Knowledge, *, micro_batch: int, bf16: bool) -> Verdict:
    """SCRUB's loss: disagree with θ about D_f, agree with it about D_r and stay right there (its two kinds of step)."""
    kl = divergence_for(known.forget, kl="softmax", temperature=SCRUB_TEMPERATURE)
    square = SCRUB_TEMPERATURE**2

    def disagree(said: Tensor, rows: slice) -> Tensor:
        return -square * kl(said, known.forget_said[rows].to(said)) * len(said)

    def agree(said: Tensor, rows: slice) -> Tensor:
        likeness = square * kl(said, known.retain_said[rows].to(said)) * len(said)
        right = task_loss(said, known.retain.targets[rows].to(said.device), reduction="sum")
        return SCRUB_ALPHA * likeness + SCRUB_GAMMA * right

    size = {"micro_batch": micro_batch, "bf16": bf16}
    apart, said_f, gradient = streamed_gradient(model, theta, known.forget, disagree, **size)
    near, _, kept = streamed_gradient(model, theta, known.retain, agree, **size)
    loss_v, said_v, _ = loss_gradient(model, theta, known.val, **size, wanted=False)
    loss_f = task_loss(said_f, known.forget.targets.to(said_f.device))
    alignment = _alignment(known, loss_f, said_f, loss_v, said_v)
    return Verdict(apart + near, {name: g + kept[name] for name, g in gradient.items()}, alignment)


def _alignment(known: Knowledge, loss_f: Tensor, said_f: Tensor, loss_v: Tensor, said_v: Tensor) -> Alignment:
    asked = ((said_f, known.forget), (said_v, known.val), (known.val_said, known.val))
    scores = (score(said.float().cpu(), faces.targets) for said, faces in asked)
    loss_v0 = task_loss(known.val_said, known.val.targets).to(loss_f)
    return Alignment(loss_f.requires_grad_(), loss_v.requires_grad_(), loss_v0, *scores)
