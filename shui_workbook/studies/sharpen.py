"""Two ways to make the gradient of one photo more of the person's, learned from photos of people who stay.

A *Wiener filter* keeps of each direction the share of its variance that lies between people and not between photos of
one person. *Copies in feature space* vary a photo as people vary: two photos of somebody else differ there by some
displacement, which is added to the photo's own maps, early in the network or at the features. What either is worth is
told by `shui_workbook.studies.proxies` (cosines) and `upper_ends` (Tug-of-War).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for
from shui_lib.methods.curvature import Curvature
from shui_lib.methods.parts.kfac import Factors
from shui_lib.methods.parts.meta_gradient import Theta
from shui_workbook.studies.steps import KroneckerBasis

FIRST_MAPS, FEATURES = "network.patch_embed", "features"  # the first maps that a ViT makes; what the head is given
PLACES = (FIRST_MAPS, FEATURES)  # where photos are moved
PEOPLE = 60  # who stay, from whom is learned how people vary


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
        place: the layer, by name; or `FEATURES`, for what the head is given.
    """

    def __init__(self, model: FaceModel, one: Faces, another: Faces, *, place: str):
        self.head = place == FEATURES
        self.layer = model.network.get_classifier() if self.head else model.get_submodule(place)
        self.maps = self._maps(model, another) - self._maps(model, one)  # (people, ...)

    def _hooked(self, change: Callable[[Tensor], Tensor | None]) -> RemovableHandle:
        """Hand the maps that pass the place to `change`, and let what it returns, if anything, pass in their stead."""
        if self.head:
            return self.layer.register_forward_pre_hook(lambda module, inputs: change(inputs[0]))
        return self.layer.register_forward_hook(lambda module, inputs, output: change(output))

    @torch.no_grad()
    def _maps(self, model: FaceModel, faces: Faces) -> Tensor:
        seen: list[Tensor] = []
        hook = self._hooked(seen.append)
        model(pixels_for(model, faces))
        hook.remove()
        return seen[0]

    @contextmanager
    def added(self, share: float, generator: torch.Generator) -> Iterator[None]:
        """Inside, every image that passes the place is moved by a share of how a person, drawn at random, varies."""

        def moved(maps: Tensor) -> Tensor:
            drawn = torch.randint(len(self.maps), (len(maps),), generator=generator)
            return maps + share * self.maps[drawn]

        hook = self._hooked(moved)
        try:
            yield
        finally:
            hook.remove()


class Sharpened(NamedTuple):
    """What is known of other people: a filter, and displacements by place, where the network has such a layer."""

    wiener: WienerFilter
    displacements: Mapping[str, Displacements]


def sharpened_by(
    method: Curvature,
    model: FaceModel,
    factors: Mapping[str, Factors],
    retain: Faces,
    *,
    generator: torch.Generator,
    places: Sequence[str] = PLACES,
) -> Sharpened:
    """Filter and displacements, from the people who stay.

    Raises:
        ValueError: fewer than two of them have two photos.
    """
    alone, others, pairs = [], [], []
    people, photos = np.unique(retain.identity, return_counts=True)
    for person in people[photos > 1][:PEOPLE]:
        own = np.flatnonzero(retain.identity == person)
        own = own[torch.randperm(len(own), generator=generator).numpy()]
        pairs.append(own[:2])
        alone.append(method.gradient(model, retain[own[:1]], generator=generator))
        others.append(replace(method, copies=0).gradient(model, retain[own[1:]], generator=generator))
    if len(pairs) < 2:
        raise ValueError(f"{len(pairs)} of those who stay have two photos or more: two people are needed at least")
    one, another = (retain[rows] for rows in np.array(pairs).T)
    there = {FEATURES, *dict(model.named_modules())}.intersection(places)
    moves = {place: Displacements(model, one, another, place=place) for place in sorted(there)}
    return Sharpened(WienerFilter(factors, alone, others), moves)
