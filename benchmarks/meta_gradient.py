"""One step of meta-training: one Jacobian-vector product, against two ways of double backward.

The fair twin differentiates through the step on S alone and in φ alone; what the step does to the images to forget is
evaluated as ours does, in micro-batches. The authors' way holds S and all images to forget in one graph and asks for
the gradients of everything. A is the task loss on the images to forget.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.measure import Row, check_close, measured_in_turn, row
from benchmarks.synthetic import CPU_PRESET, DEVICE, MODELS, VIT_B, K, noise, random_model
from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for, task_loss
from shui_lib.methods.parts.learned_loss import LearnedLoss
from shui_lib.methods.parts.meta_gradient import Theta, loss_gradient, meta_gradient, parameters, unlearning_step

ETA, TOLERANCE = 1e-3, 1e-4
MICRO_BATCH = {CPU_PRESET: 64, VIT_B: 8}  # the method's own, and what is left of a small memory
N_S, TIMES = (50 if DEVICE == "cuda" else 8), 4  # |D_f| = 4 N_S


class Problem(NamedTuple):
    """A model, a loss to be learned, and one simulated request."""

    model: FaceModel
    loss: LearnedLoss
    support: Faces
    forget: Faces
    direction: Theta | None  # ∇A, where S alone is measured
    micro_batch: int

    @property
    def ids(self) -> Tensor:
        """Rows of the identity embedding."""
        return torch.arange(len(self.support), device=DEVICE)


Way = Callable[[Problem], Tensor]  # to ∇_φ A, flattened


def problem(name: str, n_support: int, n_forget: int) -> Problem:
    """Random weights and noise for images; with no image to forget, ∇A is a random direction."""
    model, size = random_model(name), MODELS[name][1]
    loss = LearnedLoss(n_outputs=K, n_features=model.network.num_features, n_identities=n_support).to(DEVICE)
    direction = None if n_forget else {key: torch.randn_like(value) for key, value in parameters(model).items()}
    return Problem(model, loss, noise(n_support, size), noise(n_forget, size), direction, MICRO_BATCH[name])


def ours(p: Problem) -> Tensor:
    """By one Jacobian-vector product."""
    theta, size = parameters(p.model), {"eta": ETA, "micro_batch": p.micro_batch}
    torch.manual_seed(0)  # the dropout of h_φ
    step = unlearning_step(p.model, theta, p.loss, p.support, p.ids, **size, differentiable=True)
    found = meta_gradient(p.model, theta, p.loss, p.support, step, outer_gradient(p, step.theta), **size)
    return torch.cat([value.flatten() for value in found.values()])


def fair_twin(p: Problem) -> Tensor:
    """Double backward through the step on S, in φ alone."""
    theta = {name: value.requires_grad_() for name, value in parameters(p.model).items()}
    gradient = differentiable_gradient(p, theta)
    stepped = {name: value.detach() - ETA * gradient[name].detach() for name, value in theta.items()}
    outer = outer_gradient(p, stepped)
    cotangents = [-ETA * outer[name] for name in gradient]
    phi = list(p.loss.parameters())
    return flattened(phi, torch.autograd.grad(list(gradient.values()), phi, cotangents, allow_unused=True))


def authors_way(p: Problem) -> Tensor:
    """Double backward through S and all images to forget, in φ and θ."""
    theta = {name: value.requires_grad_() for name, value in parameters(p.model).items()}
    stepped = {name: theta[name] - ETA * g for name, g in differentiable_gradient(p, theta).items()}
    if p.direction is not None:
        objective = sum((p.direction[name] * value).sum() for name, value in stepped.items())
    else:
        with sdpa_kernel(SDPBackend.MATH):
            outputs = [logits(p.model, stepped, part) for part in p.forget.batches(p.micro_batch)]
        objective = task_loss(torch.cat(outputs), p.forget.targets.to(DEVICE))
    phi = list(p.loss.parameters())
    found = torch.autograd.grad(objective, [*phi, *theta.values()], allow_unused=True)
    return flattened(phi, found[: len(phi)])


def differentiable_gradient(p: Problem, theta: Theta) -> Theta:
    """∇_θ h_φ(f_θ(S)) with its graph; fused attention has no double backward."""
    torch.manual_seed(0)
    with sdpa_kernel(SDPBackend.MATH):
        outputs = functional_call(p.model, theta, (pixels_for(p.model, p.support),))
        value = p.loss(*outputs, p.ids, p.support.targets.to(DEVICE))
        return dict(zip(theta, torch.autograd.grad(value, list(theta.values()), create_graph=True), strict=True))


def outer_gradient(p: Problem, theta: Theta) -> Theta:
    """∇A(θ_u)."""
    if p.direction is not None:
        return p.direction
    return loss_gradient(p.model, theta, p.forget, micro_batch=p.micro_batch)[2]


def logits(model: FaceModel, theta: Theta, faces: Faces) -> Tensor:
    """(N, K) at other parameters."""
    return functional_call(model, theta, (pixels_for(model, faces),)).logits


def flattened(phi: list[Tensor], gradients: tuple[Tensor | None, ...]) -> Tensor:
    """All gradients in one row, zero where there is none."""
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(phi, gradients, strict=True)])


def against(name: str, n_support: int, n_forget: int, *, repeats: int = 1) -> list[Row]:
    """Ours against both twins, on one request."""
    given = problem(name, n_support, n_forget)
    part = f"whole step, N_S = {n_support}, |D_f| = {n_forget}" if n_forget else f"S alone, N_S = {n_support}"
    ways = [partial(way, given) for way in (ours, *TWINS)]
    costs = measured_in_turn(*ways, device=DEVICE, repeats=repeats)
    found = []
    for words, twin in zip(TWINS.values(), costs[1:], strict=True):
        case = f"{name}, {part}, against {words}"
        check_close(case, costs[0].result, twin.result, tolerance=TOLERANCE)
        found.append(row("meta_gradient", case, costs[0], twin))
    return found


TWINS = {fair_twin: "double backward", authors_way: "the authors' way"}


def rows() -> list[Row]:
    """Both models, the whole step and S alone."""
    ours(problem(CPU_PRESET, 10, 40))  # the first call is slower
    return [
        *against(CPU_PRESET, 10, 40, repeats=5),
        *against(CPU_PRESET, 10, 0, repeats=5),
        *against(VIT_B, N_S, TIMES * N_S),
        *against(VIT_B, N_S, 0),
    ]
