"""Other ways to divide a gradient by the curvature than `Curvature` does, to see whether the step is what is missing.

*Exact damping*: the product of both factors is damped, δ λ̄ on every eigenvalue of A ⊗ G, where K-FAC damps each factor
for itself. *Corrected eigenvalues* (EK-FAC; George et al., 2018): the factors' basis is kept, and along each of its
directions the curvature is measured, image by image, and not taken to be a product. *Without the photos' own
curvature*: what is asked for is a model of those who stay, whose curvature is that of all without those who go (as in
WIN-U, arXiv 2604.13438); the photos stand for them, and Woodbury's formula takes them out.

`shui_workbook.studies.upper_ends` tells what each is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for, task_loss
from shui_lib.core.progress import progress
from shui_lib.methods.parts.kfac import Factors, as_matrix, as_parameters, averaged_over, sampled_targets

Gradient = Mapping[str, Tensor]
Eigenvalues = Mapping[str, Tensor]  # by layer, (out, d)
HALF = 0.5


class KroneckerBasis:
    """The eigenvectors U_G ⊗ U_A of every layer's factors."""

    def __init__(self, factors: Mapping[str, Factors]):
        spectra = {layer: tuple(torch.linalg.eigh(one) for one in known) for layer, known in factors.items()}
        self.vectors = {layer: tuple(one.eigenvectors for one in known) for layer, known in spectra.items()}
        self.products: Eigenvalues = {  # rounding may have made the smallest negative
            layer: torch.outer(of_outputs.eigenvalues.clamp(min=0), of_inputs.eigenvalues.clamp(min=0))
            for layer, (of_inputs, of_outputs) in spectra.items()
        }

    def turned(self, layer: str, gradient: Gradient) -> Tensor:
        """A layer's gradient (out, d) in the basis."""
        of_inputs, of_outputs = self.vectors[layer]
        return of_outputs.mT @ as_matrix(gradient, layer) @ of_inputs

    def back(self, layer: str, matrix: Tensor, like: Gradient) -> dict[str, Tensor]:
        """The way back, by parameter."""
        of_inputs, of_outputs = self.vectors[layer]
        return as_parameters(of_outputs @ matrix @ of_inputs.mT, like, layer)


class DividedInBasis:
    """P of a step: along every direction of the basis a gradient divided by λ + δ λ̄, λ̄ a layer's mean eigenvalue.

    Zero for parameters without factors, and for layers without curvature, as `Preconditioner`.
    """

    def __init__(self, basis: KroneckerBasis, eigenvalues: Eigenvalues, *, damping: float):
        self.basis = basis
        self.by = {layer: value + damping * value.mean() for layer, value in eigenvalues.items() if value.any()}

    def __call__(self, gradient: Gradient) -> dict[str, Tensor]:
        """P ∇ by parameter."""
        held = {name: torch.zeros_like(value) for name, value in gradient.items()}
        for layer, by in self.by.items():
            held |= self.basis.back(layer, self.basis.turned(layer, gradient) / by, gradient)
        return held


def corrected_eigenvalues(
    model: FaceModel, faces: Faces, basis: KroneckerBasis, *, generator: torch.Generator
) -> dict[str, Tensor]:
    """By layer (out, d): K times the mean over images of the squared gradient along each direction of the basis.

    Targets are drawn from the model's own answers, as for the factors.
    """
    sums = {layer: torch.zeros_like(value) for layer, value in basis.products.items()}
    for gradient in progress(image_gradients(model, faces, generator=generator), total=len(faces), desc="eigenvalues"):
        for layer, total in sums.items():
            total += basis.turned(layer, gradient).square()
    return {layer: total * (averaged_over(faces) / len(faces)) for layer, total in sums.items()}


def image_gradients(
    model: FaceModel, faces: Faces, *, generator: torch.Generator | None = None
) -> Iterator[dict[str, Tensor]]:
    """The gradient of every image's task loss by parameter, in eval mode; with a generator, of drawn targets."""
    model.eval()
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    for k in range(len(faces)):
        one = faces[[k]]
        logits, targets = model(pixels_for(model, one)).logits, one.targets
        if generator:
            targets = sampled_targets(logits.detach(), multilabel=one.multilabel, generator=generator)
        found = torch.autograd.grad(
            task_loss(logits, targets.to(logits.device)), [*weights.values()], allow_unused=True
        )
        yield {
            name: torch.zeros_like(value) if part is None else part
            for (name, value), part in zip(weights.items(), found, strict=True)
        }


def without_own_curvature(
    divide: Callable[[Gradient], Gradient], photos: Sequence[Gradient], *, weight: float, most: float = HALF
) -> dict[str, Tensor]:
    """(H − w C)⁻¹ ḡ by Woodbury's formula, C = Σ gᵢ gᵢᵀ / n and ḡ the mean of the n photos' gradients gᵢ.

    Args:
        divide: H⁻¹, linear and symmetric.
        photos: gᵢ by parameter.
        weight: w. The images of those who ask are a share of all, and C counts K times (`averaged_over`).
        most: of the curvature along any mixture of the photos, so much may go. A few photos hold all of their curvature
            in as many directions, where H, which is of many images, may have less: w is cut.
    """
    steps, count = [divide(one) for one in photos], len(photos)
    inner = torch.tensor([[_inner(one, step) for step in steps] for one in photos], dtype=torch.float64)
    weight = min(weight, most * count / torch.linalg.eigvalsh((inner + inner.mT) / 2).max().item())
    left = torch.eye(count, dtype=torch.float64) - weight / count * inner  # I − w GᵀH⁻¹G / n
    weights = torch.linalg.solve(left, torch.full((count,), 1 / count, dtype=torch.float64))
    return {name: sum(w * step[name] for w, step in zip(weights.tolist(), steps, strict=True)) for name in steps[0]}


def _inner(one: Gradient, other: Gradient) -> float:
    return sum((value.double() * other[name].double()).sum().item() for name, value in one.items())
