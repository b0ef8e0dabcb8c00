"""MU-Mis: take from an image the say that it had in its own answer.

An image that a model was trained on has made the answer to itself sensitive: the logit of its true class changes more
with the pixels than that of a class that is not its own. MU-Mis brings both together again, and needs no other data:

    ℓ(S) = mean over images of ‖∇_x f_c(x)‖² − ‖∇_x f_c'(x)‖²,    θ ← θ − η ∇_θ ℓ

with c the true class and c' another, drawn for every image and step (Cheng and Huang, "Remaining-data-free Machine
Unlearning by Suppressing Sample Contribution", arXiv 2402.15109).

Departs from the paper (D1): its images to forget were trained on. Here it has the Support Set, which was not: what is
suppressed is what the images to forget left in the answer to a photo that looks like them.

Attributes are derived here (D2), as the paper has classes only. One attribute on its own offers no other class: the
logits of yes and no are z/2 and −z/2, equally sensitive, so that ℓ is zero whatever the model. What stands for classes
are the attributes of an image: c is drawn among those that it has, c' among those that it lacks. With one-hot targets
this is the loss above. An image without either leaves that term out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for
from shui_lib.methods import Artefacts, Given, PreparesNothing, register
from shui_lib.methods.parts.copies import copies_of
from shui_lib.methods.parts.meta_gradient import Theta, gradient_of, leaves_of, parameters, with_parameters


@register("mu_mis", needs=("support",))
@dataclass(frozen=True, kw_only=True)
class MUMis(PreparesNothing):
    """Plain gradient steps down ℓ, in eval mode, on all of S in each step."""

    eta: float = 1e-3  # η
    steps: int = 10
    copies: int = 0  # augmented copies of every photo; 0: the photos as they are
    crop: float = 0.9  # smallest share of the area that a copy keeps
    batch: int = 64  # images per backward pass

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """`steps` full-batch steps."""
        model, theta = copy.deepcopy(model).eval(), parameters(model)
        images = copies_of(given.support, model, copies=self.copies, crop=self.crop, generator=generator)
        for _ in range(self.steps):
            gradient = self.gradient(model, theta, images, generator=generator)
            theta = {name: value - self.eta * gradient[name] for name, value in theta.items()}
        return with_parameters(model, theta)

    def gradient(self, model: FaceModel, theta: Theta, images: Faces, *, generator: torch.Generator) -> Theta:
        """∇_θ ℓ by parameter, in batches."""
        total = {name: torch.zeros_like(value) for name, value in theta.items()}
        leaves = leaves_of(theta)

        def answers(x: Tensor) -> Tensor:
            return functional_call(model, leaves, (x,)).logits

        for part in images.batches(self.batch):
            x = pixels_for(model, part)
            own, other = drawn_classes(part.target_matrix, generator=generator)
            with sdpa_kernel(SDPBackend.MATH):  # fused attention has no second derivative
                gap = sensitivity_gap(answers, x, own, other) * len(part) / len(images)
                found = gradient_of(gap, leaves)
            for name, value in found.items():
                total[name] += value
        return total


def drawn_classes(targets: Tensor, *, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One of what is true of every image, and one of what is not, drawn evenly.

    Args:
        targets: (N, K) of 0 and 1; one-hot for classes.
    Returns:
        (N, K) each, one-hot; zero for an image that has nothing to draw from.
    """
    chosen = []
    for candidates in (targets > 0.5, targets <= 0.5):
        lots = torch.rand(targets.shape, generator=generator).masked_fill(~candidates.cpu(), -1.0)
        one = torch.nn.functional.one_hot(lots.argmax(1), targets.shape[1])
        chosen.append(one * candidates.cpu().any(1, keepdim=True))
    return chosen[0].float(), chosen[1].float()


def sensitivity_gap(f: Callable[[Tensor], Tensor], x: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """ℓ, mean over images: ‖∇_x f_c(x)‖² − ‖∇_x f_c'(x)‖²; differentiable in what f depends on.

    Args:
        f: images (B, ...) to logits (B, K), every image on its own.
        own, other: (B, K) one-hot, c and c'.
    """
    x = x.detach().requires_grad_()
    logits = f(x)
    squares = []
    for one in (own, other):
        (slope,) = torch.autograd.grad((logits * one.to(logits)).sum(), x, create_graph=True)
        squares.append(slope.flatten(1).square().sum(1))  # (B,)
    return (squares[0] - squares[1]).mean()
