"""What a forgotten picture's latent shall show instead: a picture of the frozen original generator."""

from __future__ import annotations

import torch
from torch import Tensor

from shui_lib.gan.inversion import all_labels, mean_latent
from shui_lib.gan.stylegan2 import Generator

ITEM, CLASS = ("average", "truncation", "projection"), ("average", "other-class")
SHARE = 0.5  # ψ of truncation; the paper gives no value


def check_mechanism(mechanism: str, *, label: int | None) -> None:
    """Raise ValueError unless the mechanism fits a request for items (label None) or for a class."""
    known = ITEM if label is None else CLASS
    if mechanism not in known:
        kind = "items" if label is None else "a class"
        raise ValueError(f"substitute {mechanism!r} does not serve {kind}: choose {', '.join(known)}")


def towards_average(w: Tensor, average: Tensor, share: float) -> Tensor:
    """w_avg + ψ (w − w_avg): the picture itself at ψ = 1, the average at 0."""
    return average + share * (w - average)


def class_latents(generator: Generator) -> Tensor:
    """Mean latent of every class, (K, Z)."""
    return torch.stack([mean_latent(generator, label[None]) for label in all_labels(generator)])


def other_class(w: Tensor, means: Tensor, label: int) -> Tensor:
    """Of each w (N, Z), the nearest mean latent (K, Z) of another class than `label` (eq. 4)."""
    distance = torch.cdist(w, means)
    distance[:, label] = torch.inf
    return means[distance.argmin(1)]


class Substitutes:
    """Latents of the substitutes at each moment of a cascade, `passed` in [0, 1].

    Projection moves from the picture itself to the average, which it reaches at half of the budget.
    """

    def __init__(self, generator: Generator, w: Tensor, mechanism: str, *, label: int | None):
        check_mechanism(mechanism, label=label)
        self.w, self.mechanism = w, mechanism
        self.average = mean_latent(generator, all_labels(generator))
        self.others = other_class(w, class_latents(generator), label) if mechanism == "other-class" else None

    def at(self, passed: float) -> Tensor:
        """(N, Z)."""
        if self.others is not None:
            return self.others
        share = {"average": 0.0, "truncation": SHARE, "projection": max(0.0, 1 - 2 * passed)}[self.mechanism]
        return towards_average(self.w, self.average, share)


@torch.no_grad()
def render(generator: Generator, w: Tensor) -> Tensor:
    """Pictures (N, 3, S, S) without noise."""
    return generator.synthesis(w)
