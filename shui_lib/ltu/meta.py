"""The gradient of "tune, then test", exactly, with one Hessian-vector product (LTU, eq. 1-5).

A step down the loss of a support is tried, θ′ = θ − α ∇L_tune(θ), and the queries are asked there:

    M(θ) = L_tune(θ) + Σᵢ L_test,i(θ′)
    ∇M(θ) = g_t + q − α H_tune(θ) q    with g_t = ∇L_tune(θ) and q = Σᵢ ∇L_test,i(θ′)

Only the support has a second-order graph. Each query is differentiated and let go, so memory does not grow with them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from shui_lib.methods.parts.meta_gradient import Theta, gradient_of, leaves_of

Loss = Callable[[Theta], Tensor]  # of parameters by name, a scalar


def gradient(loss: Loss, theta: Theta) -> Theta:
    """∇ loss(θ) by name, zero where the loss does not depend on a parameter."""
    leaves = leaves_of(theta)
    return gradient_of(loss(leaves), leaves)


def meta_gradient(tune: Loss, tests: Sequence[Loss], theta: Theta, *, alpha: float, order: int = 2) -> Theta:
    """∇M(θ), by name.

    Args:
        tune: L_tune, the loss of the support.
        tests: L_test,i, the losses of the queries; without any, M is L_tune.
        alpha: length of the step that is tried; 0 adds up the gradients at θ (the paper's "w/o MetaOpt").
        order: 2 is exact; 1 leaves the last term out.
    Raises:
        ValueError: another order.
    """
    if order not in (1, 2):
        raise ValueError(f"order={order}: choose 2 (exact) or 1 (without the Hessian)")
    curved = order == 2 and bool(tests) and alpha != 0
    leaves = leaves_of(theta)
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no double backward
        keep = {"create_graph": curved, "allow_unused": True, "materialize_grads": True}
        tuned = dict(zip(leaves, torch.autograd.grad(tune(leaves), [*leaves.values()], **keep), strict=True))
        tried = {name: value - alpha * tuned[name].detach() for name, value in theta.items()}
        asked = {name: torch.zeros_like(value) for name, value in theta.items()}
        for test in tests:
            for name, value in gradient(test, tried).items():
                asked[name] += value
        bent = _hessian_times(tuned, asked, leaves) if curved else asked
    factor = alpha if curved else 0.0
    return {name: tuned[name].detach() + asked[name] - factor * bent[name] for name in theta}


def _hessian_times(tuned: Theta, vector: Theta, leaves: Theta) -> Theta:
    """H_tune v: the gradient of ⟨∇L_tune, v⟩."""
    names = [name for name in leaves if tuned[name].requires_grad]
    if not names:  # a linear loss
        return {name: torch.zeros_like(value) for name, value in leaves.items()}
    product = sum((tuned[name] * vector[name]).sum() for name in names)
    return gradient_of(product, leaves)
