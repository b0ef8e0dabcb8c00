"""What meta-training asks of a model that has forgotten: the alignment of eq. 5 and 6, its ablations, other losses.

Each judges θ_u on the images to forget and on others, and comes with its gradient at θ_u, which is all that the exact
meta-gradient needs of it. Images pass in micro-batches, so memory grows with none of the parts (`rank_objective` keeps
a few numbers for every pair of images to forget); the paper ran out of it with SCRUB's loss (Table 5).

Three are not in the paper, which looks at losses. A loss can be moved without forgetting: by making the model less sure
of everything. Average precision cannot, so `rank_objective` takes a smooth form. `held_out_objective` asks for what
is wanted itself: on the images to forget the answers of models that never saw the person, on others the original's.
`match_objective` looks at no answers: the step shall point where a step on the images to forget would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, smooth_l1_loss

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.metrics import score_or_nan
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import task_loss
from shui_lib.methods.parts.distillation import divergence_for
from shui_lib.methods.parts.meta_gradient import Theta, inner_product, loss_gradient, streamed_gradient

DISTANCES = {"squared": mse_loss, "smooth_l1": smooth_l1_loss}
TERMS = ("both", "first", "second")  # of the alignment: with validation under θ_u, with validation under θ (Table 5)
STEP = 0.1  # width of a smooth step between two ranks, in standard deviations of a class's logits
SCRUB_ALPHA, SCRUB_GAMMA, SCRUB_TEMPERATURE = 0.001, 0.99, 4.0  # as published (Kurmanji et al., 2023)
Size = Mapping[str, object]  # how images pass: micro_batch and bf16 of `loss_gradient`


class Alignment(NamedTuple):
    """What the objective compares: the images to forget and validation images under θ_u, and the latter under θ."""

    loss_f: Tensor
    loss_v: Tensor
    loss_v0: Tensor
    score_f: float
    score_v: float
    score_v0: float


class ObjectiveResult(NamedTuple):
    """An objective at θ_u."""

    value: Tensor  # A, a scalar
    gradient: Theta  # ∇A(θ_u) by parameter
    alignment: Alignment  # what eq. 6 looks at, whatever the objective


class MetaBatch(NamedTuple):
    """The images of one simulated request, and what other models say of those that they are asked about."""

    forget: Faces
    val: Faces
    val_logits: Tensor  # (|D_v|, K) logits under θ
    # For SCRUB's loss and the held-out answers only:
    forget_logits: Tensor | None = None  # (|D_f|, K) logits under θ, or of models that never saw the person
    retain: Faces | None = None
    retain_logits: Tensor | None = None  # logits under θ
    # For matching only, by parameter:
    theta: Theta | None = None  # θ, from which the step starts
    wanted: Theta | None = None  # the step on the images to forget themselves, of any length


def alignment_objective(
    a: Alignment,
    *,
    distance: str = "smooth_l1",
    accuracy_factor: bool = True,
    terms: str = "both",
    detached: bool = True,
) -> Tensor:
    """A of eq. 6, or of eq. 5 without the accuracy factor: people to forget should look like people never seen.

    Losses in nats, scores as fractions; a loss whose score is nan, because none of its images has an attribute, has no
    accuracy factor. Differentiable in `loss_f`, and in `loss_v` if not `detached`.

    Raises:
        ValueError: unknown terms.
    """
    if terms not in TERMS:
        raise ValueError(f"terms {terms!r} are unknown: choose one of {', '.join(TERMS)}")
    d = DISTANCES[distance]
    scores = (a.score_f, a.score_v, a.score_v0)
    weights = [1 - m if accuracy_factor and not math.isnan(m) else 1.0 for m in scores]
    forget, val, val0 = weights[0] * a.loss_f, weights[1] * a.loss_v, weights[2] * a.loss_v0
    # Departs from the paper's equations (D3): validation terms are constants, as in the authors' code.
    first, second = d(forget, val.detach() if detached else val), d(forget, val0.detach())
    return {"first": first, "second": second, "both": first + second}[terms]


def alignment_with_gradient(
    model: FaceModel, theta: Theta, known: MetaBatch, *, detached: bool, size: Size, **objective: object
) -> ObjectiveResult:
    """The alignment and its gradient, the slope of A in each loss times that loss's gradient."""
    loss_f, logits_f, gradient_f = loss_gradient(model, theta, known.forget, **size)
    loss_v, logits_v, gradient_v = loss_gradient(model, theta, known.val, **size, wanted=not detached)
    alignment = _alignment(known, loss_f, logits_f, loss_v, logits_v)
    value = alignment_objective(alignment, detached=detached, **objective)
    slope_f, slope_v = torch.autograd.grad(value, alignment[:2], allow_unused=True, materialize_grads=True)
    gradient = {name: slope_f * part for name, part in gradient_f.items()}
    if not detached:
        gradient = {name: part + slope_v * gradient_v[name] for name, part in gradient.items()}
    return ObjectiveResult(value.detach(), gradient, alignment)


def mean_over_batches(
    model: FaceModel, theta: Theta, known: MetaBatch, *, batch: int, **options: object
) -> ObjectiveResult:
    """The mean of A over pairs of a batch of D_f and a batch of validation, each with its own losses and scores.

    As in the authors' code, with batches of 64, each weighted by its images of D_f. A is not linear in the losses nor
    in the scores, so this is another objective than A of all images. Batches are cut in the order of `known`; a batch
    without a partner takes no part.

    Returns:
        Alignment: the means over batches; scores that a batch does not define are left out.
    """
    found, seen, weights = [], [], []
    for start in range(0, min(len(known.forget), len(known.val)), batch):
        rows = slice(start, start + batch)
        pair = MetaBatch(known.forget[rows], known.val[rows], known.val_logits[rows])
        found.append(alignment_with_gradient(model, theta, pair, **options))
        seen.append([float(torch.as_tensor(number).detach()) for number in found[-1].alignment])
        weights.append(len(pair.forget))
    shares = [weight / sum(weights) for weight in weights]
    gradient = {n: sum(share * one.gradient[n] for share, one in zip(shares, found, strict=True)) for n in theta}
    value = sum(share * one.value for share, one in zip(shares, found, strict=True))
    return ObjectiveResult(value, gradient, Alignment._make(torch.tensor(seen, dtype=torch.float64).nanmean(0)))


def scrub_objective(model: FaceModel, theta: Theta, known: MetaBatch, *, size: Size) -> ObjectiveResult:
    """SCRUB's loss: disagree with θ about D_f, agree with it about D_r and stay right there (its two kinds of step).

    Departs from the authors' code (D20), whose divergence is a mean over outputs too.
    """
    kl = divergence_for(known.forget, kl="softmax", temperature=SCRUB_TEMPERATURE)
    square = SCRUB_TEMPERATURE**2

    def disagree(logits: Tensor, taught: Tensor, _: Tensor) -> Tensor:
        return -square * kl(logits, taught) * len(logits)

    def agree(logits: Tensor, taught: Tensor, targets: Tensor) -> Tensor:
        likeness = square * kl(logits, taught) * len(logits)
        return SCRUB_ALPHA * likeness + SCRUB_GAMMA * task_loss(logits, targets, reduction="sum")

    return _two_sided_objective(model, theta, known, disagree, agree, size)


def held_out_objective(model: FaceModel, theta: Theta, known: MetaBatch, *, size: Size) -> ObjectiveResult:
    """Divergence from the held-out answers on D_f plus divergence from the original's on others; not in the paper."""
    kl = divergence_for(known.forget, kl="bernoulli" if known.forget.multilabel else "softmax", temperature=1.0)

    def apart(logits: Tensor, taught: Tensor, _: Tensor) -> Tensor:
        return kl(logits, taught) * len(logits)

    return _two_sided_objective(model, theta, known, apart, apart, size)


def rank_objective(model: FaceModel, theta: Theta, known: MetaBatch, *, size: Size) -> ObjectiveResult:
    """Eq. 5 with 1 − AP in the place of the losses, AP smoothed (`soft_average_precision`); not in the paper."""
    loss_f, logits_f, _ = loss_gradient(model, theta, known.forget, **size, wanted=False)
    loss_v, logits_v, _ = loss_gradient(model, theta, known.val, **size, wanted=False)
    ap_f, slopes = soft_average_precision(logits_f.to(loss_f), known.forget.target_matrix)
    ap_v, _ = soft_average_precision(logits_v.to(loss_f), known.val.target_matrix)
    ap_v0, _ = soft_average_precision(known.val_logits.to(loss_f), known.val.target_matrix)
    missed = (1 - ap_f).requires_grad_()
    value = alignment_objective(Alignment(missed, 1 - ap_v, 1 - ap_v0, 0, 0, 0), accuracy_factor=False)
    (slope,) = torch.autograd.grad(value, missed)

    def along(logits: Tensor, rows: slice) -> Tensor:  # its gradient in the logits is that of the value
        return -slope * (logits * slopes[rows]).sum() * len(known.forget)

    gradient = streamed_gradient(model, theta, known.forget, along, **size)[2]
    return ObjectiveResult(value.detach(), gradient, _alignment(known, loss_f, logits_f, loss_v, logits_v))


def match_objective(model: FaceModel, theta: Theta, known: MetaBatch, *, size: Size) -> ObjectiveResult:
    """1 − the cosine between θ_u − θ and the step on D_f itself; not in the paper. How long either is plays no part.

    Where one has no length there is no cosine: 1, with a gradient of zeros.
    """
    step = {name: value - known.theta[name] for name, value in theta.items()}
    square = inner_product(step, step)
    length = (square * inner_product(known.wanted, known.wanted)).sqrt()
    if length > 0:
        cosine = inner_product(step, known.wanted) / length
        along, across = cosine / square, 1 / length
        gradient = {name: (along * value - across * known.wanted[name]).to(value) for name, value in step.items()}
    else:
        cosine, gradient = length, {name: torch.zeros_like(value) for name, value in step.items()}
    loss_f, logits_f, _ = loss_gradient(model, theta, known.forget, **size, wanted=False)
    loss_v, logits_v, _ = loss_gradient(model, theta, known.val, **size, wanted=False)
    return ObjectiveResult(1 - cosine, gradient, _alignment(known, loss_f, logits_f, loss_v, logits_v))


def soft_average_precision(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Average precision over images (N), mean over classes (K), with logistic steps in place of ranks.

    A positive's rank is 1 + Σ σ((z_j − z_i)/τ) over the other images j (as in Smooth-AP, Brown et al., 2020), with τ in
    standard deviations of the class's logits: like ranks, it does not change when all logits shrink. Where all are the
    same, which leaves no such unit, τ is in logits, and AP that of chance, (N₊ + 1) / (N + 1). Memory is N² numbers,
    for one class at a time; classes that all images or none have are left out.

    Args:
        logits, targets: (N, K).
    Returns:
        AP, a scalar, and its gradient in the logits (N, K).
    """
    targets = targets.to(logits)
    mixed = torch.nonzero((targets.mean(0) > 0) & (targets.mean(0) < 1)).flatten().tolist()
    total, gradient = logits.new_zeros(()), torch.zeros_like(logits)
    for k in mixed:
        z = logits[:, k].detach().requires_grad_()
        has = targets[:, k] > 0
        apart = z.max() > z.min() and z.std() > 0  # of equal logits it may be 1e-9 instead, by rounding
        above = ((z - z[has, None]) / (STEP * z.std() if apart else STEP)).sigmoid()  # (N₊, N)
        above = above - 0.5 * torch.eye(len(z)).to(z)[has]  # nobody stands above oneself
        precision = (1 + above[:, has].sum(1)) / (1 + above.sum(1))
        (gradient[:, k],) = torch.autograd.grad(precision.mean() / len(mixed), z)
        total += precision.mean().detach() / len(mixed)
    return total, gradient


def _two_sided_objective(
    model: FaceModel,
    theta: Theta,
    known: MetaBatch,
    on_forget: Callable[[Tensor, Tensor, Tensor], Tensor],
    on_retain: Callable[[Tensor, Tensor, Tensor], Tensor],
    size: Size,
) -> ObjectiveResult:
    """A mean over D_f plus a mean over D_r of losses that compare logits (B, K) with another model's and with targets,
    summed over the batch."""

    def compared(loss: Callable, faces: Faces, taught: Tensor) -> tuple[Tensor, Tensor, Theta]:
        def summed(logits: Tensor, rows: slice) -> Tensor:
            return loss(logits, taught[rows].to(logits), faces.targets[rows].to(logits.device))

        return streamed_gradient(model, theta, faces, summed, **size)

    forgotten, logits_f, gradient = compared(on_forget, known.forget, known.forget_logits)
    kept, _, more = compared(on_retain, known.retain, known.retain_logits)
    loss_v, logits_v, _ = loss_gradient(model, theta, known.val, **size, wanted=False)
    loss_f = task_loss(logits_f, known.forget.targets.to(logits_f.device))
    alignment = _alignment(known, loss_f, logits_f, loss_v, logits_v)
    return ObjectiveResult(forgotten + kept, {name: g + more[name] for name, g in gradient.items()}, alignment)


def _alignment(known: MetaBatch, loss_f: Tensor, logits_f: Tensor, loss_v: Tensor, logits_v: Tensor) -> Alignment:
    def score_of(logits: Tensor, faces: Faces) -> float:
        return score_or_nan(logits.float().cpu(), faces.targets)

    scores = score_of(logits_f, known.forget), score_of(logits_v, known.val), score_of(known.val_logits, known.val)
    loss_v0 = task_loss(known.val_logits, known.val.targets).to(loss_f)
    return Alignment(loss_f.requires_grad_(), loss_v.requires_grad_(), loss_v0, *scores)


OTHER_OBJECTIVES = {
    "scrub": scrub_objective,
    "held_out": held_out_objective,
    "rank": rank_objective,
    "match": match_objective,
}
COMPARE = {"scrub", "held_out"}  # those that compare with what others say of D_f, and of images of others
