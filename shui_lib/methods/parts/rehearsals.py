"""Simulated requests for meta-training, with people who have one image or without them."""

from __future__ import annotations

import numpy as np
import torch

from shui_lib.benchmark.splits import simulated_requests


def rehearsals(
    identity: np.ndarray, candidates: np.ndarray, *, n_ids: int, generator: torch.Generator, lone: bool
) -> list[tuple[np.ndarray, np.ndarray]]:
    """One epoch of simulated requests, as `simulated_requests`.

    Args:
        lone: a person with one image takes part too; it is their support and their image to forget.
    Returns:
        Pairs (support, forget) of positions in `identity`.
    """
    if not lone:
        return simulated_requests(identity, candidates, n_ids=n_ids, generator=generator)
    _, first, counts = np.unique(identity, return_index=True, return_counts=True)
    rows = np.append(np.arange(len(identity)), first[counts == 1])  # a second time: one to hand in, one to forget
    drawn = simulated_requests(identity[rows], candidates, n_ids=n_ids, generator=generator)
    return [(rows[support], np.sort(rows[forget])) for support, forget in drawn]
