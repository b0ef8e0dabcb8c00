"""Curvature of the task loss by layer, as Kronecker factors found in one pass over the data (K-FAC).

A layer multiplies its weight, with the bias as a last column, W (out, d) with rows a of length d and passes the
result on; δ is the gradient of an image's loss with respect to one row of that result, so ∇W = Σ δ aᵀ over the rows.
Were rows independent, and a of δ, the Fisher information of W would be a Kronecker product,

    F ≈ A ⊗ G,   A = E[a aᵀ],  G = E[δ δᵀ]    (Martens and Grosse, 2015)

with the mean over images of the sum over an image's rows: tokens of a linear layer, patches of a convolution
("expand" of Eschenhagen et al., 2023). The groups of a grouped convolution share A, and G is zero between them: their
weights meet different rows, which one A cannot tell apart. Targets are drawn from the model's own answers, so that it
is the Fisher information and not the empirical one, which vanishes where the model is sure of what is noted. It is the
curvature of the task loss itself: that is a mean over K attributes, whose likelihoods multiply, so the squared gradient
of the mean counts K times (`averaged_over`).

Written here and not taken from a library (curvlinops has it): it needs no more than the rows that gradient subspaces
look at already, reads a `FaceModel`'s answers as they are, and keeps memory at the factors plus one batch.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for, task_loss
from shui_lib.methods.parts.subspaces import input_rows, layers_of, watching


class Factors(NamedTuple):
    """Both Kronecker factors of a layer's Fisher information, per image."""

    inputs: Tensor  # (d, d) mean of a aᵀ over rows; the last of d is the constant 1 of a bias that is trained
    outputs: Tensor  # (out, out) K times the mean over images of Σ δ δᵀ over rows


def kfac(model: FaceModel, faces: Faces, *, generator: torch.Generator, batch: int = 64) -> dict[str, Factors]:
    """The factors of every linear and convolutional layer over all images, on the model's device, in its dtype.

    One forward and one backward pass in eval mode. A layer has no entry if its weight is frozen, if no image passes it,
    or if the answer does not depend on it. The factors do not depend on the batch: where a layer's rows are not those
    of single images, a latent query that all of a batch share for instance, images pass one by one.
    """
    model = copy.deepcopy(model).eval()
    layers = layers_of(model)
    biased = {name for name, layer in layers.items() if layer.bias is not None and layer.bias.requires_grad}
    batch = batch if _rows_are_of_images(model, faces) else 1
    model.requires_grad_(False)  # gradients of layers' results are all that is looked at
    sums, n_rows = {}, Counter()

    def forward(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        rows = input_rows(layer, inputs[0].detach())  # (R, d)
        if name in biased:
            rows = F.pad(rows, (0, 1), value=1.0)
        n_rows[name] += len(rows)
        _add(sums, (name, "inputs"), rows)
        if not output.requires_grad:  # the layer does not see the image: a latent query of attention pooling
            output.requires_grad_()
        output.register_hook(partial(backward, name, layer))

    def backward(name: str, layer: nn.Module, gradient: Tensor) -> None:
        channels_last = gradient if isinstance(layer, nn.Linear) else gradient.movedim(1, -1)
        _add(sums, (name, "outputs"), channels_last.reshape(-1, channels_last.shape[-1]))  # (R, out)

    for name, layer in layers.items():
        layer.register_forward_hook(partial(forward, name))
    for part in faces.batches(batch, shown="curvature"):
        x = pixels_for(model, part).requires_grad_()
        logits = model(x).logits
        drawn = sampled_targets(logits.detach(), multilabel=part.multilabel, generator=generator)
        task_loss(logits, drawn, reduction="none").sum().backward()
    for name, layer in layers.items():
        if (name, "outputs") in sums and getattr(layer, "groups", 1) > 1:
            sums[name, "outputs"] *= _same_group(layer).to(sums[name, "outputs"])
    factors = {}
    for name in n_rows:
        if (name, "outputs") in sums:
            inputs = sums[name, "inputs"] * (1 / n_rows[name])
            factors[name] = Factors(inputs, sums[name, "outputs"] * (averaged_over(faces) / len(faces)))
    return factors


def averaged_over(faces: Faces) -> int:
    """K, of how many log-likelihoods the task loss of an image is the mean: one for each attribute, or the class's own.

    With ℓ = −log p = K·L the curvature of L is E[∇ℓ ∇ℓᵀ] / K = K·E[∇L ∇Lᵀ].
    """
    return len(faces.classes) if faces.multilabel else 1


def _same_group(layer: nn.Conv2d) -> Tensor:
    """(out, out), True where two channels belong to one group of a convolution."""
    group = torch.arange(layer.out_channels) // (layer.out_channels // layer.groups)
    return group[:, None] == group


@torch.no_grad()
def _rows_are_of_images(model: FaceModel, faces: Faces) -> bool:
    """Does every layer multiply twice as many rows for two images as for one?"""

    def rows_of(part: Faces) -> Counter[str]:
        found = Counter()
        with watching(model, lambda name, rows: found.update({name: len(rows)})):
            model(pixels_for(model, part))
        return found

    one, two = rows_of(faces[slice(0, 1)]), rows_of(faces[slice(0, 2)])
    return all(two[name] == 2 * n for name, n in one.items())


def sampled_targets(logits: Tensor, *, multilabel: bool, generator: torch.Generator) -> Tensor:
    """Targets drawn from what the model finds probable: (N, K) of attributes, (N,) of classes."""
    if multilabel:
        probable = logits.sigmoid()
        return torch.bernoulli(probable.cpu(), generator=generator).to(probable)
    return torch.multinomial(logits.softmax(1).cpu(), 1, generator=generator).flatten().to(logits.device)


class Preconditioner:
    """P of a preconditioned step θ − η P ∇: a gradient by parameter, divided by the curvature of its layer.

    F⁻¹ ∇ for a layer's gradient (out, d), with either factor damped: (G + √δ ḡ)⁻¹ ∇ (A + √δ ā)⁻¹. Linear and symmetric;
    zero for parameters that have no factors (norms' weights and biases, class token and position embeddings), and for
    layers that no image of the data depends on.

    Args:
        damping: δ, in units of a layer's mean curvature ā ḡ (means of the factors' eigenvalues).
    Raises:
        ValueError: the damping is too little to solve with factors that are singular.
    """

    def __init__(self, factors: Mapping[str, Factors], *, damping: float):
        used = {layer: known for layer, known in factors.items() if known.inputs.any() and known.outputs.any()}
        self.roots = {layer: _roots(layer, known, damping) for layer, known in used.items()}  # once for all

    def __call__(self, gradient: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """P ∇ by parameter, for all parameters that ∇ has."""
        held = {name: torch.zeros_like(value) for name, value in gradient.items()}
        for layer, roots in self.roots.items():
            left = torch.cholesky_solve(as_matrix(gradient, layer), roots.outputs)  # (out, d)
            held |= as_parameters(torch.cholesky_solve(left.mT, roots.inputs).mT, gradient, layer)
        return held


def as_matrix(gradient: Mapping[str, Tensor], layer: str) -> Tensor:
    """A layer's gradient (out, d), with that of the bias as last column."""
    weight, bias = gradient[f"{layer}.weight"].flatten(1), gradient.get(f"{layer}.bias")
    return weight if bias is None else torch.cat([weight, bias[:, None]], dim=1)


def as_parameters(matrix: Tensor, like: Mapping[str, Tensor], layer: str) -> dict[str, Tensor]:
    """The way back, by parameter."""
    weight, bias = f"{layer}.weight", f"{layer}.bias"
    found = {weight: matrix[:, : like[weight][0].numel()].reshape(like[weight].shape)}
    return found | {bias: matrix[:, -1]} if bias in like else found


def _roots(layer: str, factors: Factors, damping: float) -> Factors:
    """Cholesky roots of both damped factors."""
    try:
        return Factors(_root(factors.inputs, damping), _root(factors.outputs, damping))
    except torch.linalg.LinAlgError as error:
        rounding = max(map(len, factors)) * torch.finfo(factors.inputs.dtype).eps  # of eigenvalues, in their mean
        raise ValueError(
            f"damping={damping:g} is too little for {layer}, whose factors are singular but for rounding: "
            f"choose at least {(4 * rounding) ** 2:.0e}"
        ) from error


def _root(factor: Tensor, damping: float) -> Tensor:
    mean = factor.diagonal().mean()
    return torch.linalg.cholesky(factor + damping**0.5 * mean * torch.eye(len(factor)).to(factor))


class Scale:
    """P of a step that keeps each layer's direction: its gradient divided by the layer's mean curvature ā ḡ.

    What a preconditioned step tends to with much damping, but for its length. Linear and symmetric; zero where
    `Preconditioner` is.
    """

    def __init__(self, factors: Mapping[str, Factors]):
        self.mean: dict[str, float] = {}
        for layer, known in factors.items():
            self.mean[layer] = float(known.inputs.diagonal().mean() * known.outputs.diagonal().mean())

    def __call__(self, gradient: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """P ∇ by parameter, for all parameters that ∇ has."""
        held = {}
        for name, value in gradient.items():
            layer, _, part = name.rpartition(".")
            mean = self.mean.get(layer, 0.0) if part in ("weight", "bias") else 0.0
            held[name] = value / mean if mean > 0 else torch.zeros_like(value)
        return held


def packed(factors: Mapping[str, Factors]) -> dict[str, Tensor]:
    """Factors as artefacts: "LAYER/inputs" and "LAYER/outputs", on the CPU."""
    return {f"{layer}/{side}": t.cpu() for layer, known in factors.items() for side, t in known._asdict().items()}


def unpacked(tensors: Mapping[str, Tensor], *, like: Mapping[str, Tensor]) -> dict[str, Factors]:
    """Factors by layer from artefacts, on the device and in the dtype of the weights `like`; other keys are ignored."""
    found = {}
    for key, value in tensors.items():
        layer, _, side = key.rpartition("/")
        if side == "inputs":
            weight = like[f"{layer}.weight"]
            found[layer] = Factors(value.to(weight), tensors[f"{layer}/outputs"].to(weight))
    return found


def _add(sums: dict[tuple[str, str], Tensor], key: tuple[str, str], rows: Tensor) -> None:
    if key not in sums:
        sums[key] = rows.new_zeros(rows.shape[1], rows.shape[1])
    sums[key].addmm_(rows.T, rows)
