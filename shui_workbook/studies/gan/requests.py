"""What is to be forgotten: some pictures of mixed classes (items), or every picture of one class."""

from __future__ import annotations

from typing import NamedTuple

import torch

from shui_lib.benchmark.data import Faces


class Request(NamedTuple):
    """Training pictures by their part: D_u is forget, D_l is split in what the cascade may see and what it may not."""

    forget: Faces  # D_u
    learn: Faces  # D_l for few-shot, as many as in D_u at most
    fresh: Faces  # D_l that no cascade sees: what AUC_lu is reported on
    label: int | None  # the class, None for items


def held_out(faces: Faces, share: float = 1 / 6, *, seed: int = 0) -> tuple[Faces, Faces]:
    """Training and test pictures, the same share of every class."""
    chance, labels = torch.Generator().manual_seed(seed), faces.targets
    test = torch.zeros(len(faces), dtype=torch.bool)
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        test[own[torch.randperm(len(own), generator=chance)[: round(share * len(own))]]] = True
    return faces[(~test).nonzero()[:, 0]], faces[test.nonzero()[:, 0]]


def request_of(train: Faces, kind: str, *, seed: int) -> Request:
    """The request of a seed: "item-64", 64 random pictures; "class-3", all pictures of class 3.

    Raises:
        ValueError: another word, a class without pictures, or nothing that would stay.
    """
    word, _, number = kind.partition("-")
    if word not in ("item", "class") or not number.isdecimal():
        raise ValueError(f"request {kind!r} is unknown: write item-COUNT or class-LABEL, item-64 for instance")
    labels, chance = train.targets, torch.Generator().manual_seed(seed)
    order = torch.randperm(len(train), generator=chance)
    asked = torch.zeros(len(train), dtype=torch.bool)
    asked[order[: int(number)] if word == "item" else labels == int(number)] = True
    if word == "class" and not asked.any():
        known = ", ".join(map(str, labels.unique().tolist()))
        raise ValueError(f"class {number} does not exist: choose one of {known}")
    if not 0 < int(asked.sum()) <= len(train) // 2:
        raise ValueError(
            f"{kind} asks for {int(number)} of {len(train)} pictures: at least half must stay to learn from"
        )
    rest = order[~asked[order]]
    few = min(int(asked.sum()), len(rest) // 2)
    learn, fresh = rest[:few], rest[few:]
    return Request(train[asked.nonzero()[:, 0]], train[learn], train[fresh], int(number) if word == "class" else None)
