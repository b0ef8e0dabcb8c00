"""Other ways to divide a gradient by the curvature than `Curvature` does, to see whether the step is what is missing.

*Exact damping*: the product of both factors is damped, δ λ̄ on every eigenvalue of A ⊗ G, where K-FAC damps each factor
for itself. *Corrected eigenvalues* (EK-FAC; George et al., 2018): the factors' basis is kept, and along each of its
directions the curvature is measured, image by image, and not taken to be a product.

`shui_workbook.studies.upper_ends` tells what either is worth. A third way is not tried: to take the photos' own
curvature out of that of all images by Woodbury's formula (as WIN-U does with the images to forget, arXiv 2604.13438).
The step that it gives is a mixture of the photos' own steps, and they count at most twice as much as before where half
of the curvature along them stays.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for, task_loss
from shui_lib.core.progress import progress
from shui_lib.methods.parts.kfac import Factors, as_matrix, as_parameters, averaged_over, sampled_targets
from shui_lib.methods.parts.meta_gradient import Theta, gradient_of
from shui_lib.methods.parts.subspaces import eigh

Eigenvalues = Mapping[str, Tensor]  # by layer, (out, d)


class KroneckerBasis:
    """The eigenvectors U_G ⊗ U_A of every layer's factors."""

    def __init__(self, factors: Mapping[str, Factors]):
        self.vectors: dict[str, tuple[Tensor, Tensor]] = {}
        self.products: dict[str, Tensor] = {}
        for layer, known in factors.items():
            (a, of_inputs), (g, of_outputs) = eigh(known.inputs), eigh(known.outputs)
            self.vectors[layer] = of_inputs, of_outputs
            self.products[layer] = torch.outer(g.clamp(min=0), a.clamp(min=0))  # rounding may have made some negative

    def turned(self, layer: str, gradient: Theta) -> Tensor:
        """A layer's gradient (out, d) in the basis."""
        of_inputs, of_outputs = self.vectors[layer]
        return of_outputs.mT @ as_matrix(gradient, layer) @ of_inputs

    def back(self, layer: str, matrix: Tensor, like: Theta) -> dict[str, Tensor]:
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

    def __call__(self, gradient: Theta) -> dict[str, Tensor]:
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


def image_gradients(model: FaceModel, faces: Faces, *, generator: torch.Generator) -> Iterator[Theta]:
    """The gradient of every image's task loss by parameter, of targets drawn from the model's own answers."""
    model = copy.deepcopy(model).eval()
    weights = {name: value for name, value in model.named_parameters() if value.requires_grad}
    for k in range(len(faces)):
        one = faces[[k]]
        logits = model(pixels_for(model, one)).logits
        drawn = sampled_targets(logits.detach(), multilabel=one.multilabel, generator=generator)
        yield gradient_of(task_loss(logits, drawn), weights)
