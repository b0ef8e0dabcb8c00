"""The gradient through one unlearning step, exactly, without a second-order graph.

One step on the Support Set S is θ_u = θ − η ∇_θ h_φ(f_θ(S)). Meta-training asks how an objective A(θ_u) changes with
φ. Write z = f_θ(S) for what the model says about S, g_z(φ) = ∂h_φ/∂z, and J for the Jacobian of z in θ. Then
∇_θ h = Jᵀ g_z(φ), and φ appears in g_z only:

    ∇_φ A = −η ∇_φ ⟨∇A(θ_u), Jᵀ g_z(φ)⟩ = −η ∇_φ ⟨u, g_z(φ)⟩    with u = J ∇A(θ_u).

A preconditioned step θ_u = θ − η P ∇_θ h with a symmetric P, curvature for instance, has u = J P ∇A(θ_u). If every
parameter's step has a learned size, θ_u = θ − η D P ∇_θ h with D = diag(exp s), then u = J P D ∇A(θ_u), and ∂A/∂s is
⟨∇A(θ_u), θ_u − θ⟩ over the parameter.

u is one Jacobian-vector product (forward mode, no saved activations). Every other gradient is first order, so images
pass in micro-batches and memory grows neither with S nor with the images to be forgotten.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel, Output
from shui_lib.benchmark.predict import pixels_for, task_loss
from shui_lib.methods.parts.learned_loss import LearnedLoss

Theta = dict[str, Tensor]  # parameters by name
Precondition = Callable[[Theta], Theta]  # P: linear and symmetric


class Step(NamedTuple):
    """One unlearning step, and what the meta-gradient needs of it."""

    theta: Theta  # θ_u
    cotangent: Output  # g_z(φ), differentiable in φ when the step was asked to be
    loss: Tensor  # h_φ(f_θ(S))


def parameters(model: FaceModel) -> Theta:
    """θ: the model's trainable parameters by name, detached.

    Departs from the authors' code (D19), whose inner step passes over parameters of modules that have children: class
    token and position embeddings never move there.
    """
    return {name: value.detach() for name, value in model.named_parameters() if value.requires_grad}


def with_parameters(model: FaceModel, theta: Mapping[str, Tensor]) -> FaceModel:
    """A copy of the model, in eval mode, with other parameters."""
    changed = copy.deepcopy(model).eval()
    changed.load_state_dict({**changed.state_dict(), **theta})
    return changed


def leaves_of(theta: Theta) -> Theta:
    """The same values, ready to be differentiated by."""
    return {name: value.detach().requires_grad_() for name, value in theta.items()}


def gradient_of(value: Tensor, theta: Mapping[str, Tensor]) -> Theta:
    """∇ of a scalar by parameter; zero where it does not depend on one."""
    found = torch.autograd.grad(value, list(theta.values()), allow_unused=True, materialize_grads=True)
    return dict(zip(theta, found, strict=True))


def inner_product(one: Theta, other: Theta) -> Tensor:
    """⟨one, other⟩ over all parameters, in double precision."""
    return sum((value.double() * other[name].double()).sum() for name, value in one.items())


def _forward(model: FaceModel, theta: Theta, faces: Faces) -> Output:
    return functional_call(model, theta, (pixels_for(model, faces),))


def _joined(parts: list[Output]) -> Output:
    """Detached answers of all micro-batches in one."""
    logits, features = torch.cat([part.logits for part in parts]), torch.cat([part.features for part in parts])
    return Output(logits.detach(), features.detach())


def _inner(one: Output, other: Output) -> Tensor:
    """⟨z, g⟩ over logits and features."""
    return (one.logits * other.logits).sum() + (one.features * other.features).sum()


def _add(total: Theta, more: Theta) -> None:
    for name, value in more.items():
        total[name] += value


def unlearning_step(
    model: FaceModel,
    theta: Theta,
    loss: LearnedLoss,
    support: Faces,
    ids: Tensor,
    *,
    eta: float,
    micro_batch: int = 64,
    differentiable: bool = False,
    precondition: Precondition | None = None,
) -> Step:
    """θ_u = θ − η ∇_θ h_φ(f_θ(S)), with the model in eval mode (line 6 of Algorithm 1); with P, θ − η P ∇_θ h_φ.

    Args:
        support: S, one image per identity asking.
        ids: (N_S,) rows of the loss's identity embedding.
        differentiable: keep the graph from φ to the cotangent, for `meta_gradient`.
    """
    device = next(iter(theta.values())).device
    leaves = leaves_of(theta)
    outputs = []
    for part in support.batches(micro_batch):
        with torch.set_grad_enabled(not outputs):  # the first graph is kept: one forward pass less
            outputs.append(_forward(model, leaves, part))
    z = _joined(outputs)
    logits, features = z.logits.requires_grad_(), z.features.requires_grad_()
    value = loss(logits, features, ids.to(device), support.targets.to(device))
    keep = {"create_graph": differentiable, "allow_unused": True, "materialize_grads": True}
    cotangent = Output(*torch.autograd.grad(value, (logits, features), **keep))

    gradient = {name: torch.zeros_like(value) for name, value in theta.items()}
    for start in range(0, len(support), micro_batch):
        rows = slice(start, start + micro_batch)
        output = outputs[0] if start == 0 else _forward(model, leaves, support[rows])
        asked = Output(cotangent.logits[rows].detach(), cotangent.features[rows].detach())
        _add(gradient, gradient_of(_inner(output, asked), leaves))
    gradient = _sized(precondition(gradient) if precondition else gradient, loss)
    stepped = {name: value - eta * gradient[name] for name, value in theta.items()}
    return Step(stepped, cotangent, value.detach())


def loss_gradient(
    model: FaceModel, theta: Theta, faces: Faces, *, micro_batch: int = 64, bf16: bool = False, wanted: bool = True
) -> tuple[Tensor, Tensor, Theta]:
    """The mean task loss over all images, their logits, and the loss's gradient in θ; as `streamed_gradient`."""

    def summed(logits: Tensor, rows: slice) -> Tensor:
        return task_loss(logits, faces.targets[rows].to(logits.device), reduction="sum")

    return streamed_gradient(model, theta, faces, summed, micro_batch=micro_batch, bf16=bf16, wanted=wanted)


def streamed_gradient(
    model: FaceModel,
    theta: Theta,
    faces: Faces,
    summed: Callable[[Tensor, slice], Tensor],
    *,
    micro_batch: int = 64,
    bf16: bool = False,
    wanted: bool = True,
) -> tuple[Tensor, Tensor, Theta]:
    """The mean of a loss over all images, and its gradient, in micro-batches.

    Args:
        summed: from logits (B, K) and the rows of `faces` that they belong to, the loss summed over these images.
        wanted: is the gradient wanted?
    Returns:
        loss (scalar), logits (N, K), gradient by name, {} if not wanted; memory is that of one micro-batch.
    """
    device = next(iter(theta.values())).device
    gradient = {name: torch.zeros_like(value) for name, value in theta.items()} if wanted else {}
    leaves = leaves_of(theta)
    logits, total = [], 0
    for start, part in zip(range(0, len(faces), micro_batch), faces.batches(micro_batch), strict=True):
        with torch.set_grad_enabled(wanted), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            outputs = _forward(model, leaves, part).logits
        share = summed(outputs.float() if bf16 else outputs, slice(start, start + micro_batch)) / len(faces)
        if wanted:
            _add(gradient, gradient_of(share, leaves))
        total = total + share.detach()
        logits.append(outputs.detach())
    return total, torch.cat(logits), gradient


def meta_gradient(
    model: FaceModel,
    theta: Theta,
    loss: LearnedLoss,
    support: Faces,
    step: Step,
    outer: Theta,
    *,
    eta: float,
    micro_batch: int = 64,
    precondition: Precondition | None = None,
) -> dict[str, Tensor]:
    """∇_φ A from ∇A(θ_u), by one forward-mode product on S.

    Args:
        step: a differentiable step from the same θ, φ, S and P; the dropout mask is the step's own.
        outer: g_A = ∇A(θ_u), by parameter name.
    Returns:
        Gradient by name of φ, zero where φ has no influence.
    """
    held = _sized(outer, loss)
    held = precondition(held) if precondition else held
    pushed = []
    with sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():  # fused attention has no forward-mode derivative
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated", FutureWarning)  # torch's own use of it
        for part in support.batches(micro_batch):
            pushed.append(_pushed(model, theta, part, held))
    product = -eta * _inner(_joined(pushed), step.cotangent)
    found = gradient_of(product, dict(loss.named_parameters()))
    if loss.log_steps is not None:
        found["log_steps"] = torch.stack([(outer[name] * (step.theta[name] - theta[name])).sum() for name in theta])
    return found


def _pushed(model: FaceModel, theta: Theta, faces: Faces, direction: Theta) -> Output:
    """J v: how the answers change along a direction of the weights."""
    x = pixels_for(model, faces)

    def answers(theta: Theta) -> tuple[Tensor, Tensor]:
        return tuple(functional_call(model, theta, (x,)))

    return Output(*jvp(answers, (theta,), (direction,))[1])


def _sized(gradient: Theta, loss: LearnedLoss) -> Theta:
    """D ∇, the learned size of every parameter's step times its gradient."""
    if loss.log_steps is None:
        return gradient
    sizes = loss.log_steps.detach().exp()
    return {name: size * value for size, (name, value) in zip(sizes, gradient.items(), strict=True)}
