"""RMIA scores by sort and search, against the outer product of all images with the whole population."""

from __future__ import annotations

from itertools import product

import numpy as np

from benchmarks.measure import Row, check_equal, measured_arrays, row
from shui_lib.attack.rmia import Signals, ratio, scores

POSITIVES, NEGATIVES, POPULATION, QUERIES = 200, 7_000, 30_000, 8
GAMMAS, SLOPES = (1.0, 2.0, 4.0, 8.0), (0.2, 0.3, 0.5, 1.0)  # 16 pairs
BLOCK = 64  # images that the twin multiplies at a time: three times faster than 1,000; all 7,200 would take 1.6 GiB


def sort_and_search(x: Signals, z: Signals, paired: bool) -> np.ndarray:
    """Ours; (a · γ, N_x)."""
    return np.concatenate([scores(x, z, gamma=GAMMAS, a=a, paired=paired) for a in SLOPES])


def outer_products(x: Signals, z: Signals, paired: bool) -> np.ndarray:
    """The twin: N_x × N_z ratios for every (γ, a) and query, then a vote over queries; (a · γ, N_x)."""
    shares = []
    for a, gamma in product(SLOPES, GAMMAS):
        ratio_x, ratio_z = ratio(x, a=a), ratio(z, a=a)
        for first in range(0, ratio_x.shape[1], BLOCK):
            votes = np.zeros((len(ratio_x[0, first : first + BLOCK]), ratio_z.shape[1]), np.uint8)
            for k in range(QUERIES):
                votes += ratio_x[k, first : first + BLOCK, None] / ratio_z[k if paired else 0] >= gamma
            shares.append((votes > QUERIES // 2).mean(1))
    return np.concatenate(shares).reshape(len(SLOPES) * len(GAMMAS), -1)


def compare(case: str, x: Signals, z: Signals, *, paired: bool) -> Row:
    """Both ways to the same scores, bit by bit."""
    ours = measured_arrays(lambda: sort_and_search(x, z, paired))
    twin = measured_arrays(lambda: outer_products(x, z, paired))
    check_equal(case, ours.result, twin.result)
    return row("rmia", case, ours, twin)


def rows() -> list[Row]:
    """Both ways to vote; about two minutes on one core."""
    generator = np.random.default_rng(0)
    x = Signals(*(1 - generator.random((2, QUERIES, POSITIVES + NEGATIVES))))  # in (0, 1]
    z = Signals(*(1 - generator.random((2, QUERIES, POPULATION))))
    return [
        compare("vote (default)", x, z, paired=False),
        compare("vote, paired queries", x, z, paired=True),
    ]
