"""Which retained images the queries of the remembering gradient are made of (LTU, eq. 8-10).

    feat     those that look most alike to the support, to a feature extractor
    label    those whose class is nearest to the support's label
    rand     any

Each image of the support takes its nearest image of D_r′ that is still free, in random order. Without "still free" a
few images in the middle of the crowd would be nearest to all.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

SAMPLERS = ("feat", "label", "rand")


def nearest_free(support: Tensor, pool: Tensor, *, generator: torch.Generator) -> Tensor:
    """Positions in `pool`, one for each of `support`, all different: (n, D), (m, D) to (n,).

    Equally near ones are chosen at random.

    Raises:
        ValueError: the pool is smaller than the support.
    """
    if len(pool) < len(support):
        raise ValueError(
            f"{len(support)} images want a neighbour each, D_r′ has {len(pool)}: keep more, or `batch` less"
        )
    shuffled = torch.randperm(len(pool), generator=generator)
    distance = torch.cdist(support, pool[shuffled.to(pool.device)])  # (n, m)
    chosen = torch.empty(len(support), dtype=torch.long)
    for one in torch.randperm(len(support), generator=generator).tolist():
        best = int(distance[one].argmin())
        chosen[one] = shuffled[best]
        distance[:, best] = torch.inf
    return chosen


def class_means(features: Tensor, targets: Tensor, classes: int) -> Tensor:
    """v(y), a vector for each class: the mean of its unit features; (N, D), (N,) to (K, D).

    A class without images gets the mean of all: it is equally near to every other.
    """
    unit = normalize(features, dim=1)
    sums = torch.zeros(classes, unit.shape[1]).index_add_(0, targets, unit)
    counts = torch.bincount(targets, minlength=classes)[:, None]
    return torch.where(counts > 0, sums / counts.clamp(min=1), unit.mean(0))


class Samplers:
    """D_r′ as the three samplers see it."""

    def __init__(self, features: Tensor, targets: Tensor, *, classes: int, vectors: str = "means"):
        """`features` (m, D) and `targets` (m,) of D_r′; `vectors` says what v(y) is: means | one-hot."""
        if vectors not in ("means", "one-hot"):
            raise ValueError(f"vectors={vectors!r}: choose means or one-hot")
        self.features, self.targets = normalize(features, dim=1), targets
        self.vectors = class_means(features, targets, classes) if vectors == "means" else torch.eye(classes)

    def draw(self, name: str, features: Tensor, labels: Tensor, *, generator: torch.Generator) -> Tensor:
        """Positions in D_r′ for a support with these features (n, D) and labels (n,), by one sampler."""
        if name == "feat":
            return nearest_free(normalize(features, dim=1), self.features, generator=generator)
        if name == "label":
            return nearest_free(self.vectors[labels], self.vectors[self.targets], generator=generator)
        if name == "rand":
            return torch.randperm(len(self.targets), generator=generator)[: len(labels)]
        raise ValueError(f"sampler {name!r} is unknown: choose from {', '.join(SAMPLERS)}")
