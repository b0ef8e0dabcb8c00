"""What becomes of two gradients that disagree (LTU, eq. 12, and what it may be compared with).

one-sided    if ⟨g_r, g_f⟩ < 0, forgetting gives up its part along g_r; the two are added (LTU)
both         each gives up its part along the other (PCGrad; Yu et al., 2020)
layers       one-sided, parameter by parameter
none         added as they are (the paper's GradAdd)
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from shui_lib.methods.parts.meta_gradient import Theta

WAYS = ("one-sided", "both", "layers", "none")


class Harmony(NamedTuple):
    """A direction to descend along, and how much the two disagreed."""

    gradient: Theta
    cosine: float  # of g_r and g_f
    removed: float  # share of the length of g_f that was taken away


def harmonise(remember: Theta, forget: Theta, *, way: str = "one-sided") -> Harmony:
    """g_r and the projected g_f, added.

    Raises:
        ValueError: an unknown way.
    """
    if way not in WAYS:
        raise ValueError(f"way={way!r} is unknown: choose from {', '.join(WAYS)}")
    r, f = flat(remember), flat(forget)
    kept_f, kept_r = f, r
    if way == "layers":
        kept_f = flat({name: without(forget[name], remember[name]) for name in forget})
    elif way != "none":
        kept_f = without(f, r)
        kept_r = without(r, f) if way == "both" else r
    norm = (r.norm() * f.norm()).item()
    cosine = torch.dot(r, f).item() / norm if norm else 0.0
    removed = ((f - kept_f).norm() / f.norm()).item() if f.norm() else 0.0
    return Harmony(named(kept_r + kept_f, remember), cosine, removed)


def without(vector: Tensor, other: Tensor) -> Tensor:
    """`vector` minus its part along `other` where the two point apart, else as it is; any shape."""
    along, squared = (vector * other).sum(), other.square().sum()
    return vector - along / squared * other if along < 0 else vector  # along < 0, so other is not zero


def flat(theta: Theta) -> Tensor:
    """All parameters in one vector."""
    return torch.cat([value.flatten() for value in theta.values()])


def named(vector: Tensor, like: Theta) -> Theta:
    """The inverse of `flat`."""
    parts = vector.split([value.numel() for value in like.values()])
    return {name: part.view_as(value) for part, (name, value) in zip(parts, like.items(), strict=True)}
