"""Two ways to make the gradient of one photo more of the person's, learned while the data exists.

A *Wiener filter* keeps of each direction the share of its variance that lies between people and not between photos of
one person. *Copies in feature space* vary a photo as people vary: two photos of somebody else differ there by some
displacement, which is added to the photo's own maps. `shui_workbook.studies.proxies` tells what either is worth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for
from shui_lib.methods.parts.kfac import Factors
from shui_lib.methods.parts.meta_gradient import Theta
from shui_workbook.studies.steps import KroneckerBasis


class WienerFilter:
    """A gradient by parameter, each of its directions shrunk to the person's share, b / (b + w).

    The directions are those of a layer's Kronecker basis, U_G ⊗ U_A. In each, b is the variance over people of the
    gradient of their other images, and w that of what one photo's gradient is away from it. All these photos were
    trained on; the one that is filtered was not.
    """

    def __init__(self, factors: Mapping[str, Factors], alone: Sequence[Theta], others: Sequence[Theta]):
        """`alone`: of one photo of each of some people, who do not ask; `others`: of their other images."""
        self.basis = KroneckerBasis(factors)
        self.shares: dict[str, Tensor] = {}
        for layer in factors:
            one, rest = (torch.stack([self.basis.turned(layer, g) for g in part]) for part in (alone, others))
            between, within = rest.var(0), (one - rest).var(0)
            self.shares[layer] = torch.nan_to_num(between / (between + within))

    def __call__(self, gradient: Theta) -> dict[str, Tensor]:
        """The filtered gradient; parameters of layers without factors, which a step does not move, as they are."""
        held = dict(gradient)
        for layer, share in self.shares.items():
            held |= self.basis.back(layer, share * self.basis.turned(layer, gradient), gradient)
        return held


class Displacements:
    """How the maps of a layer differ between two photos of one person.

    Args:
        one, another: a photo of each of some people, who do not ask; in the same order.
        place: the layer, by name.
    """

    def __init__(self, model: FaceModel, one: Faces, another: Faces, *, place: str):
        self.layer = model.get_submodule(place)
        self.maps = self._maps(model, another) - self._maps(model, one)  # (people, ...)

    @torch.no_grad()
    def _maps(self, model: FaceModel, faces: Faces) -> Tensor:
        seen: list[Tensor] = []
        hook = self.layer.register_forward_hook(lambda module, inputs, output: seen.append(output))
        model(pixels_for(model, faces))
        hook.remove()
        return seen[0]

    @contextmanager
    def added(self, share: float, generator: torch.Generator) -> Iterator[None]:
        """Inside, every image that passes the layer is moved by a share of how a person, drawn at random, varies."""

        def moved(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            drawn = torch.randint(len(self.maps), (len(output),), generator=generator)
            return output + share * self.maps[drawn]

        hook = self.layer.register_forward_hook(moved)
        try:
            yield
        finally:
            hook.remove()
