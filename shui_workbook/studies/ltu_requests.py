"""Random-sample requests: images, not people, are to be forgotten; some of everybody's photos stay.

The other kind stands in `shui_lib.benchmark.splits`: there identities ask. Here D_f is a share of the training images,
drawn uniformly, and D_r′, a share of the rest, is all that is left of the training data when the request comes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from shui_lib.benchmark.data import Faces

PARTS = ("train", "forget", "retain", "retain_subset", "val", "test")


@dataclass(frozen=True, eq=False)
class RandomRequest:
    """Positions in a data set: D = D_f ∪ D_r, D_r′ ⊂ D_r, and images that no model is trained on."""

    forget: np.ndarray
    retain: np.ndarray
    retain_subset: np.ndarray
    val: np.ndarray
    test: np.ndarray

    @property
    def train(self) -> np.ndarray:
        """D, what the original model is trained on."""
        return np.sort(np.concatenate([self.forget, self.retain]))

    def parts(self, faces: Faces) -> dict[str, Faces]:
        """The images of every part, by name."""
        return {name: faces[getattr(self, name)] for name in PARTS}


def check_shares(share: float, kept: float) -> None:
    """Nothing, if as much can be forgotten and kept.

    Raises:
        ValueError: a share out of range.
    """
    if not (0 < share < 1 and 0 < kept <= 1):
        raise ValueError(f"share={share} and kept={kept}: forget a share in (0, 1), keep one in (0, 1]")


def draw_random_request(
    faces: Faces,
    *,
    share: float,
    kept: float,
    shares: tuple[float, float, float] = (2 / 3, 2 / 15, 1 / 5),
    generator: torch.Generator,
) -> RandomRequest:
    """Split the images of each class by `shares` into train, val and test; draw D_f and D_r′ among those of train.

    With equal generators, requests of different `share` have the same train, val and test, and are nested; for one
    `share` so are D_r′ of different `kept`.

    Args:
        share: |D_f| / |D|, in (0, 1).
        kept: |D_r′| / |D_r|, in (0, 1].
    Raises:
        ValueError: a share out of range, or a part that would be empty.
    """
    check_shares(share, kept)
    parts: tuple[list[np.ndarray], ...] = ([], [], [])
    for label in faces.targets.unique():
        rows = np.flatnonzero((faces.targets == label).numpy())
        rows = rows[torch.randperm(len(rows), generator=generator).numpy()]
        ends = np.round(np.cumsum(shares[:2]) * len(rows)).astype(int)
        for part, some in zip(parts, np.split(rows, ends), strict=True):
            part.append(some)
    train, val, test = (np.sort(np.concatenate(part)) for part in parts)
    order = train[torch.randperm(len(train), generator=generator).numpy()]
    forget, retain = np.split(order, [round(share * len(order))])
    # From the end: the images that stay whatever the share come first into D_r′.
    subset = retain[::-1][: max(1, round(kept * len(retain)))]
    found = RandomRequest(*(np.sort(part) for part in (forget, retain, subset, val, test)))
    empty = [name for name in PARTS if not len(getattr(found, name))]
    if empty:
        raise ValueError(f"{len(faces)} images leave {', '.join(empty)} empty: prepare more of them")
    return found


def as_people(faces: Faces) -> Faces:
    """The same images with another question, who is it: every identity is a class."""
    people, numbers = np.unique(faces.identity, return_inverse=True)
    return replace(faces, targets=torch.from_numpy(numbers), classes=tuple(f"person {i}" for i in people))


def with_wrong_labels(faces: Faces, share: float, *, generator: torch.Generator) -> Faces:
    """A share of the images gets another class, drawn uniformly: what a model says of these it has learned by heart.

    Raises:
        ValueError: a share outside [0, 1), or attributes in place of classes.
    """
    if not 0 <= share < 1 or faces.multilabel:
        raise ValueError(f"wrong labels for a share of {share} of {faces.name}: takes classes and a share in [0, 1)")
    wrong = torch.randperm(len(faces), generator=generator)[: round(share * len(faces))]
    shift = torch.randint(1, len(faces.classes), (len(wrong),), generator=generator)
    targets = faces.targets.clone()
    targets[wrong] = (targets[wrong] + shift) % len(faces.classes)
    return replace(faces, targets=targets)
