"""Selective Synaptic Dampening: shrink the weights that matter more to the images to forget than to all others.

A weight's importance is how strongly the loss responds to it, squared (the diagonal of the empirical Fisher matrix):

    I(θᵢ) = mean over batches B of (∂L(B; θ) / ∂θᵢ)²
    θᵢ ← θᵢ · min(λ I_D / I_f, 1)    where I_f(θᵢ) > α I_D(θᵢ), and θᵢ stays as it is elsewhere

I_D is kept while the training data exists; I_f is found when the request comes. No gradient step is taken: forgetting
costs one pass over the images to forget (Foster, Schoepf, Brintrup, AAAI 2024).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for, task_loss
from shui_lib.methods import Artefacts, Given, register
from shui_lib.methods.parts.copies import copies_of
from shui_lib.methods.parts.meta_gradient import Theta, loss_gradient, parameters, with_parameters

CHUNK = 8  # gradients of single images held at a time; each is as large as the model


@register(
    "ssd",
    needs={"original": ("forget",), "one-shui": ("support",)},
    prepares_on=("train",),
    at_request=("variant", "alpha", "shrink", "copies", "crop"),
)
@dataclass(frozen=True, kw_only=True)
class SSD:
    """Dampening in two forms, which differ in what I_f is measured on; I_D is measured on D_tr in both.

    `original` sees D_f (published for a ViT with λ = 1, and α = 10 to forget random images, 5 to forget a class).
    `one-shui` has the Support Set only, with α and λ for each setting: (50, 0.1) for up to 20 identities of CelebA-HQ
    and 5 of MUFAC, (10, 0.5) for 50 of CelebA-HQ, (50, 2) on CelebA, (1, 0.1) for 10 of MUFAC.

    Published is the square of the *batch's* mean gradient, in which what images disagree about cancels: where they
    share nothing, I is 1/|B| of the importance to single images. So α depends on the batch size; and as S is one batch
    of fewer images than those of I_D, I_f is larger for that alone. `per_sample` has neither defect (D14).
    """

    variant: str = "one-shui"  # original | one-shui
    alpha: float = 50.0  # α, how many times more important to the images to forget a weight is to be dampened
    shrink: float = 0.1  # λ, strength: smaller shrinks more; above α some chosen weights stay whole
    batch: int = 128  # images whose mean gradient is squared
    per_sample: bool = False  # square the gradients of single images; `batch` is without effect then
    copies: int = 0  # augmented copies of every image that I_f is measured on; 0: the images as they are
    crop: float = 0.9  # smallest share of the area that a copy keeps

    def prepare(
        self,
        model: FaceModel,
        data: Mapping[str, Faces],
        *,
        generator: torch.Generator,
        checkpoint: Path | None = None,
    ) -> Artefacts:
        """I_D by name ("importance/…"). It is one pass over the training data: a killed run starts again."""
        found = importances(model, data["train"], batch=self.batch, per_sample=self.per_sample, generator=generator)
        return Artefacts({f"importance/{name}": value.cpu() for name, value in found.items()})

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """Measure I_f, and dampen."""
        asked = given.forget if self.variant == "original" else given.support
        asked = copies_of(asked, model, copies=self.copies, crop=self.crop, generator=generator)
        forget = importances(model, asked, batch=self.batch, per_sample=self.per_sample, generator=generator)
        train = {name: artefacts.tensors[f"importance/{name}"].to(value) for name, value in forget.items()}
        return with_parameters(model, dampened(parameters(model), forget, train, alpha=self.alpha, shrink=self.shrink))


def importances(
    model: FaceModel, faces: Faces, *, batch: int, per_sample: bool = False, generator: torch.Generator
) -> Theta:
    """Mean over batches of the squared gradient of the batch's mean task loss, in eval mode, by parameter name.

    Images are shuffled, as those of one identity lie side by side and resemble each other. The last batch may be
    smaller and counts as much as the others.

    Args:
        per_sample: mean over images of the squared gradient of each, which is `batch` = 1, in less time.
    """
    model, theta = copy.deepcopy(model).eval(), parameters(model)
    faces = faces[torch.randperm(len(faces), generator=generator)]
    total, terms = {name: torch.zeros_like(value) for name, value in theta.items()}, 0
    for part in faces.batches(CHUNK if per_sample else batch, shown="importances"):
        squares = _squares_of_singles(model, theta, part) if per_sample else _square_of_mean(model, theta, part)
        for name, value in squares.items():
            total[name] += value
        terms += len(part) if per_sample else 1
    return {name: value / terms for name, value in total.items()}


def _square_of_mean(model: FaceModel, theta: Theta, part: Faces) -> Theta:
    _, _, gradient = loss_gradient(model, theta, part)
    return {name: g.square() for name, g in gradient.items()}


def _squares_of_singles(model: FaceModel, theta: Theta, part: Faces) -> Theta:
    """The squared gradients of single images, summed over the part."""

    def loss(theta: Theta, image: Tensor, target: Tensor) -> Tensor:
        return task_loss(functional_call(model, theta, (image[None],)).logits, target[None])

    x = pixels_for(model, part)  # (B, 3, S, S)
    with sdpa_kernel(SDPBackend.MATH):  # fused attention has no batching rule on a CPU
        gradients = vmap(grad(loss), in_dims=(None, 0, 0))(theta, x, part.targets.to(x.device))  # (B, *shape) each
    return {name: g.square().sum(0) for name, g in gradients.items()}


def dampened(theta: Theta, forget: Theta, train: Theta, *, alpha: float, shrink: float) -> Theta:
    """θ · min(λ I_D / I_f, 1) where I_f > α I_D, θ elsewhere.

    A weight with I_D = 0 becomes zero if the images to forget use it (I_f > 0), and stays as it is if nothing does.

    Args:
        forget, train: I_f and I_D by parameter name.
    """
    changed = {}
    for name, value in theta.items():
        factor = (shrink * train[name] / forget[name]).clamp(max=1)  # 0 / 0 is not chosen below
        changed[name] = torch.where(forget[name] > alpha * train[name], value * factor, value)
    return changed
