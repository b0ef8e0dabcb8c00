"""Gradient subspaces: which directions of a layer's weight the data uses, found in one pass over it.

A layer multiplies its weight W (out, d) with rows a of length d: the tokens of a linear layer, the patches of a
convolution. The gradient ∇W = Σ δ aᵀ lies in the span of these rows, and a change ΔW with ΔW a = 0 leaves the layer's
answer to a alone. What rows there were is told by their Gram matrix

    G = Σ a aᵀ = U diag(σ²) Uᵀ    (d, d)

which is summed image by image and does not grow with the data. σ are the singular values of the stacked rows; the
leading columns of U are the directions that the data uses most.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from typing import NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for
from shui_lib.core.randomness import draw_seed, seeded

LAYERS = (nn.Linear, nn.Conv2d)
M = TypeVar("M", bound=nn.Module)


class Spectrum(NamedTuple):
    """The directions that a layer's inputs span, the most used first."""

    values: Tensor  # (n,) singular values σ of the stacked rows, descending
    directions: Tensor  # (d, n) orthonormal columns


def layers_of(model: nn.Module) -> dict[str, nn.Module]:
    """Every linear and convolutional layer whose weight is trained, by name.

    Not their subclasses, which may use a weight otherwise, and no frozen ones, whose weight no step may move.
    """
    layers = {name: layer for name, layer in model.named_modules() if type(layer) in LAYERS}
    return {name: layer for name, layer in layers.items() if layer.weight.requires_grad}


def input_rows(layer: nn.Module, x: Tensor) -> Tensor:
    """The rows (R, d) that the layer multiplies `weight.flatten(1)` (out, d) with.

    Linear: every token of x (..., d). Convolution: every patch that the kernel meets in x (B, C, H, W), with its
    own stride, padding and dilation. A grouped convolution gives one row per patch and group, so that its groups share
    one Gram matrix.

    Raises:
        ValueError: a convolution that pads with something else than a fixed number of zeros.
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1])
    if isinstance(layer.padding, str) or layer.padding_mode != "zeros":
        raise ValueError(f"{layer} cannot be unfolded: give it a number of zeros as padding")
    patches = F.unfold(x, layer.kernel_size, layer.dilation, layer.padding, layer.stride)  # (B, C·kh·kw, L)
    return patches.transpose(1, 2).reshape(-1, layer.weight[0].numel())


@contextmanager
def watching(model: nn.Module, see: Callable[[str, Tensor], None]) -> Iterator[None]:
    """Inside, every forward pass of the model tells `see` the name and input rows (R, d) of each of `layers_of`."""

    def tell(name: str, layer: nn.Module, inputs: tuple[Tensor, ...], _: Tensor) -> None:
        see(name, input_rows(layer, inputs[0].detach()))

    handles = [layer.register_forward_hook(partial(tell, name)) for name, layer in layers_of(model).items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def learning(model: M) -> M:
    """The model itself, in train mode except for its BatchNorm layers, which keep their statistics."""
    for module in model.train().modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    return model


@contextmanager
def stochastic(model: M) -> Iterator[M]:
    """Inside, the model draws (dropout, stochastic depth) as in training; outside it is in eval mode."""
    try:
        yield learning(model)
    finally:
        model.eval()


@torch.no_grad()
def input_grams(
    model: FaceModel,
    faces: Faces,
    *,
    dtype: torch.dtype = torch.float64,
    batch: int = 64,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """The Gram matrix (d, d) of every layer's inputs over all images, by layer name, on the model's device.

    One pass over the images as they are, without augmentation, on a copy of the model with dropout on. Memory is that
    of the matrices and of one layer's rows for one batch. A layer that is frozen or that no image passes has no entry.
    """
    model, grams = copy.deepcopy(model), {}

    def add(name: str, rows: Tensor) -> None:
        rows = rows.to(dtype)
        if name not in grams:
            grams[name] = rows.new_zeros(rows.shape[1], rows.shape[1])
        grams[name].addmm_(rows.T, rows)

    with watching(model, add), stochastic(model), seeded(draw_seed(generator)):
        for part in faces.batches(batch, shown="grams"):
            model(pixels_for(model, part))
    return grams


def spectrum(gram: Tensor, *, magnitudes: bool = False) -> Spectrum:
    """Singular values and directions from a Gram matrix (d, d), or from a difference of two.

    A difference need not be positive semi-definite. A direction with a negative eigenvalue is one that less than
    nothing is left of: it counts as unused (σ = 0).

    Args:
        magnitudes: count it by its size instead, as a singular value decomposition of the matrix does.
    Returns:
        n ≤ d directions: inputs that are always zero (a patch's rim where all is padding) span none.
    """
    used = gram.any(dim=0).nonzero().flatten()
    eigenvalues, vectors = eigh(gram[used][:, used])
    energy = eigenvalues.abs() if magnitudes else eigenvalues.clamp(min=0)
    order = energy.argsort(descending=True, stable=True)
    directions = gram.new_zeros(len(gram), len(used))
    directions[used] = vectors[:, order]
    return Spectrum(energy[order].sqrt(), directions)


def eigh(symmetric: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors; in double precision where the matrix's own does not converge.

    LAPACK says that it has failed, or says nothing and answers with nan.
    """
    with suppress(torch.linalg.LinAlgError):
        found = torch.linalg.eigh(symmetric)
        if all(part.isfinite().all() for part in found):
            return tuple(found)
    return tuple(part.to(symmetric) for part in torch.linalg.eigh(symmetric.double()))


def leading(values: Tensor, share: float) -> int:
    """k, the most leading values whose sum is at most `share` of the sum of all; 0 where all are zero."""
    return int((values.cumsum(0) / values.sum() <= share).sum())


def without(gradient: Tensor, basis: Tensor) -> Tensor:
    """g − g P with P = U Uᵀ: the part of a gradient (out, d) that does not touch the basis U (d, k), orthonormal."""
    return gradient - (gradient @ basis) @ basis.T


def protected(gram: Tensor, share: float, *, magnitudes: bool = False, further: int = 0) -> Tensor:
    """U_k (d, k): the leading directions up to a share of the summed singular values, and some `further` ones.

    Args:
        gram, magnitudes: as in `spectrum`.
    """
    values, directions = spectrum(gram, magnitudes=magnitudes)
    return directions[:, : leading(values, share) + further].clone()  # frees the other directions


class Projector:
    """P of a projected step: what of a gradient does not touch the directions that the data uses.

    Linear, symmetric, and P P = P; zero for parameters other than the weights of layers with a basis.
    """

    def __init__(self, bases: Mapping[str, Tensor]):
        self.bases = bases  # by layer, (d, k) orthonormal

    def __call__(self, gradient: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """P ∇ by parameter, for all parameters that ∇ has."""
        held = {name: torch.zeros_like(value) for name, value in gradient.items()}
        for layer, basis in self.bases.items():
            whole = gradient[f"{layer}.weight"]
            held[f"{layer}.weight"] = without(whole.flatten(1), basis.to(whole)).view_as(whole)
        return held
