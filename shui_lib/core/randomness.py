"""Randomness is an argument: generators, and a fence around the places where torch takes none."""

from __future__ import annotations

import numbers
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def checked_seed(seed: int) -> int:
    """The seed as it came.

    Raises:
        ValueError: it is no whole number from 0 to 2³² − 1. NumPy takes no other, and torch wraps them around, so that
            0 and 2³² would be two names of one experiment.
    """
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number from 0 to {2**32 - 1}, got {seed!r}")
    return int(seed)


def epoch_generator(seed: int, epoch: int) -> torch.Generator:
    """The randomness of one epoch. It depends on nothing that came before, so a resumed run draws the same."""
    return torch.Generator().manual_seed((seed * 100_003 + epoch) % 2**63)


def draw_seed(generator: torch.Generator) -> int:
    """A seed drawn from a generator."""
    return int(torch.randint(2**31, (), generator=generator))


def drawn_again(count: int, generator: np.random.Generator) -> np.ndarray:
    """(count,) how often each of so many occurs when as many are drawn with replacement: one draw of a bootstrap."""
    return np.bincount(generator.integers(count, size=count), minlength=count)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global randomness (initialisation, dropout) inside, and leave it as it was outside."""
    with torch.random.fork_rng(devices=range(torch.cuda.device_count())):
        torch.manual_seed(seed)
        yield
