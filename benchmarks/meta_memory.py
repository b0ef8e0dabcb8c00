"""Memory of one step of meta-training for every further image: ours stays flat, the authors' way grows.

ViT-B/16, whole steps as in `benchmarks.meta_gradient`; where an 80 GB card ends follows from the slopes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks.measure import Measured, Row, measured, row
from benchmarks.meta_gradient import N_S, TIMES, Way, authors_way, ours, problem
from benchmarks.synthetic import DEVICE, VIT_B, random_model

CARD = 80e9 / 2**20  # MiB
FEW, MANY = N_S, 4 * TIMES * N_S  # images to forget: ours up to |D_f| = 16 N_S


@contextmanager
def all_cores() -> Iterator[None]:
    """Inside, as many threads as there are cores: memory is asked for, not time."""
    before = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak(way: Way, n_support: int, n_forget: int) -> float:
    """MiB above the model."""
    given = problem(VIT_B, n_support, n_forget)
    mib = measured(lambda: way(given), device=DEVICE).mib
    if mib is None:
        raise RuntimeError("peak memory is read from Linux's /proc or from a GPU: leave meta_memory out with --only")
    return mib


def rows() -> list[Row]:
    """MiB for every further image of S and of D_f."""
    s, f = N_S, FEW
    with all_cores():
        mine, mine_s, mine_f = peak(ours, s, f), peak(ours, 2 * s, f), peak(ours, s, MANY)
        # With few images to forget double backward on S is the peak and hides what they take: so twice and 4 times.
        sizes = ((s, f), (s // 2, f), (s, 2 * f), (s, 4 * f))
        theirs, theirs_s, theirs_f, theirs_ff = (peak(authors_way, *size) for size in sizes)
    slopes = (mine_s - mine) / s, (theirs - theirs_s) / (s - s // 2)
    further = (mine_f - mine) / (MANY - f), (theirs_ff - theirs_f) / (2 * f)
    weights = sum(p.numel() * p.element_size() for p in random_model(VIT_B).parameters()) / 2**20
    ends = where_it_ends(weights + theirs_ff - s * slopes[1] - 4 * f * further[1], slopes[1], further[1])
    note = f"theirs fills an 80 GB card at N_S = {ends}, |D_f| = {TIMES * ends}, in float32"
    return [
        slope(f"{VIT_B}, MiB per image of S, {s} to {2 * s} (theirs {s // 2} to {s})", *slopes, note),
        slope(f"{VIT_B}, MiB per image of D_f, {f} to {MANY} (theirs {2 * f} to {4 * f})", *further),
    ]


def where_it_ends(fixed: float, per_support: float, per_forget: float) -> int:
    """The largest N_S, with |D_f| = 4 N_S, that an 80 GB card holds; MiB, and MiB per image."""
    return int((CARD - fixed) / (per_support + TIMES * per_forget))


def slope(case: str, ours: float, theirs: float, note: str = "", *, name: str = "meta_memory") -> Row:
    """MiB per image; what falls by a page or two counts as flat."""
    return row(name, case, Measured(None, None, max(ours, 0.0)), Measured(None, None, theirs), note)
