"""Just in Time unlearning: make the model answer alike on an image to forget and on noisy copies of it.

What a model has memorised of an image shows in how sharply its answer changes around it. The change per distance is a
local Lipschitz quotient, and JiT takes one step down its gradient for each batch B, in one pass over the images:

    ℓ(B; θ) = Σ over x in B of the mean over n copies of ‖f_θ(x) − f_θ(x')‖₂ / ‖x − x'‖₂,    θ ← θ − η ∇_θ ℓ(B; θ)
    x' = clamp(x + σ ε, min B, max B),    ε ~ N(0, 1) for every pixel

f_θ are logits, and f_θ(x') is a constant: the answer to the image moves to those of its copies. Neither training data
nor targets are needed (Foster et al., 2024, "Zero-shot machine unlearning at scale via Lipschitz regularization").
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call

from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for
from shui_lib.methods import Artefacts, Given, PreparesNothing, register
from shui_lib.methods.parts.meta_gradient import Theta, gradient_of, leaves_of, parameters, with_parameters


@register("jit", needs={"original": ("forget",), "one-shui": ("support",)})
@dataclass(frozen=True, kw_only=True)
class JiT(PreparesNothing):
    """One pass of Lipschitz regularisation, over D_f (`original`) or over the Support Set (`one-shui`).

    The step is the same; the constants make it another method. Published for a ViT as `original` are σ = 0.8 and
    η = 1.5 to forget a class, 0.5 and 0.1 to forget random images. `one-shui` is σ = 30 and η = 0.01, on pixels between
    −1 and 1: clamping then sets about 97 % of them to the darkest or brightest value. Such a copy is noise in black and
    white with hardly a trace of the face, and the answer to a person moves to the answer to noise.

    ℓ is a sum: the step grows with the number of images, until they fill more than one batch.
    """

    variant: str = "one-shui"  # original | one-shui
    sigma: float = 30.0  # σ, standard deviation of the noise; pixels lie between −1 and 1
    eta: float = 0.01  # η, learning rate (SGD without momentum)
    copies: int = 25  # n, noisy copies of each image
    batch: int = 128  # images per step
    accumulate: bool = False  # a step goes along the sum of all gradients so far, as in its authors' code (D13)

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """One step per batch, in an order drawn at random, in eval mode: batch norm keeps its statistics."""
        asked = given.forget if self.variant == "original" else given.support
        asked = asked[torch.randperm(len(asked), generator=generator)]
        model, theta = copy.deepcopy(model).eval(), parameters(model)
        earlier = {name: torch.zeros_like(value) for name, value in theta.items()}
        for part in asked.batches(self.batch):
            gradient = self.gradient(model, theta, pixels_for(model, part), generator=generator)
            gradient = {name: g + self.accumulate * earlier[name] for name, g in gradient.items()}
            theta, earlier = {name: value - self.eta * gradient[name] for name, value in theta.items()}, gradient
        return with_parameters(model, theta)

    def gradient(self, model: FaceModel, theta: Theta, x: Tensor, *, generator: torch.Generator) -> Theta:
        """∇_θ ℓ(x; θ) for one batch of images (B, 3, S, S)."""
        leaves = leaves_of(theta)

        def answers(images: Tensor) -> Tensor:
            return functional_call(model, leaves, (images,)).logits

        loss = lipschitz(answers, x, sigma=self.sigma, copies=self.copies, generator=generator)
        return gradient_of(loss, leaves)


def lipschitz(
    f: Callable[[Tensor], Tensor], x: Tensor, *, sigma: float, copies: int, generator: torch.Generator
) -> Tensor:
    """ℓ: the sum over images of the mean quotient over noisy copies; differentiable through f(x) only.

    Args:
        f: images (B, ...) to logits (B, K).
        x: images (B, ...).
    Returns:
        A scalar. A copy that equals its image (σ = 0, or a batch of one colour) counts as zero.
    """
    logits = f(x)  # (B, K)
    total = torch.zeros_like(logits[:, 0])
    for _ in range(copies):
        noisy = noisy_copy(x, sigma=sigma, generator=generator)
        with torch.no_grad():
            logits_of_noisy = f(noisy)
        distance = (x - noisy).flatten(1).norm(dim=1)  # (B,)
        total = total + (logits - logits_of_noisy).norm(dim=1) / distance.masked_fill(distance == 0, torch.inf)
    return total.sum() / copies


def noisy_copy(x: Tensor, *, sigma: float, generator: torch.Generator) -> Tensor:
    """x + σ ε, clamped to the range that the whole batch spans. Noise is drawn on the CPU, alike for every device."""
    noise = torch.randn(x.shape, generator=generator).to(x)
    return (x + sigma * noise).clamp(x.min(), x.max())
