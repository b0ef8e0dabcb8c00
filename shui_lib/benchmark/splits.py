"""Who is trained on, who asks to be forgotten, and what they hand in (paper, section 3)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from shui_lib.benchmark.presets import SplitConfig

FEWEST_IMAGES = 2  # one to hand in, one to forget
FEWEST_IMAGES_ALONE = 6  # a request of one identity: its own mAP must be computable (authors' code)


@dataclass(frozen=True, eq=False)
class Split:
    """Disjoint identities. `pool` is the part of `train` that settings are chosen on, and that never asks (D43)."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    pool: np.ndarray


@dataclass(frozen=True, eq=False)
class Request:
    """Identities that ask to be forgotten, and rows of the data set: support, forget, retain.

    `reserved` are Support Samples of larger requests of the same seed; like `support`, no model trains on them.
    """

    identities: np.ndarray  # (n_ids,)
    support: np.ndarray  # (n_ids,) one row per identity, in the order of `identities`
    forget: np.ndarray
    retain: np.ndarray
    reserved: np.ndarray

    @property
    def train(self) -> np.ndarray:
        """Rows the original model is trained on: D_tr = D_r ∪ D_f."""
        return np.sort(np.concatenate([self.retain, self.forget]))


def _permuted(values: np.ndarray, generator: torch.Generator) -> np.ndarray:
    """Sorted first, so that the order of the files does not matter."""
    return np.sort(values)[torch.randperm(len(values), generator=generator).numpy()]


def _fill(order: np.ndarray, size_of: dict[int, int], target: float) -> int:
    """How many identities of `order` come nearest to `target` images in total."""
    filled = np.concatenate([[0], np.cumsum([size_of[i] for i in order])])
    return int(np.abs(filled - target).argmin())


def split_identities(identity: np.ndarray, *, generator: torch.Generator, config: SplitConfig = SplitConfig()) -> Split:
    """Split identities, not images, so that the parts hold about `config.shares` of the images.

    The tuning pool depends on the data alone, not on the generator: its identities train every model and are
    never requested, whatever the seed, so that no setting is ever chosen on a request of any seed.

    Args:
        identity: (N,) identity of every image.
    Raises:
        ValueError: a part would be empty.
    """
    ids, counts = np.unique(identity, return_counts=True)
    size_of = dict(zip(ids.tolist(), counts.tolist(), strict=True))
    fixed = _permuted(ids, torch.Generator().manual_seed(0))
    pool = fixed[: _fill(fixed, size_of, config.pool * counts.sum())]
    order = np.concatenate([pool, _permuted(np.setdiff1d(ids, pool), generator)])
    first = _fill(order, size_of, config.shares[0] * counts.sum())
    second = _fill(order, size_of, sum(config.shares[:2]) * counts.sum())
    parts = order[:first], order[first:second], order[second:]
    if not all(len(part) for part in parts):
        raise ValueError(f"{len(ids)} identities are too few for the shares {config.shares}: prepare more of them")
    return Split(*(np.sort(part) for part in parts), pool=np.sort(pool))


def draw_request(
    identity: np.ndarray,
    split: Split,
    *,
    n_ids: int,
    generator: torch.Generator,
    reserved: int = 10,
    from_pool: bool = False,
) -> Request:
    """Draw who asks to be forgotten and the one photo that each of them hands in.

    Requests of different size drawn with equal generators and `reserved` are nested and share their supports, so
    that they share one original model; the first identity is eligible for a request of one.

    Args:
        identity: (N,) identity of every image.
        reserved: identities whose support is held out of training, if more than n_ids.
        from_pool: draw from the tuning pool (to choose settings) in place of the other training identities.
    Raises:
        ValueError: fewer eligible identities than n_ids.
    """
    sizes = {i: int(n) for i, n in zip(*np.unique(identity, return_counts=True), strict=True)}
    candidates = split.pool if from_pool else np.setdiff1d(split.train, split.pool)
    order = np.array([i for i in _permuted(candidates, generator) if sizes[i] >= FEWEST_IMAGES], dtype=np.int64)
    alone = next((k for k, i in enumerate(order) if sizes[i] >= FEWEST_IMAGES_ALONE), None)
    if n_ids < 1 or n_ids > len(order) or (n_ids == 1 and alone is None):
        where = "of" if from_pool else "outside"
        raise ValueError(
            f"n_ids={n_ids} identities asked for, but {len(order)} training identities {where} the tuning pool have "
            f"{FEWEST_IMAGES} images or more{_advice(len(order), alone)}"
        )
    if alone:
        order = np.concatenate([order[[alone]], np.delete(order, alone)])
    asking = order[: max(n_ids, min(reserved, len(order)))]
    rows_of = _rows_by_identity(identity)
    support = np.array([_pick(rows_of[i], generator) for i in asking])
    train = np.setdiff1d(np.flatnonzero(np.isin(identity, split.train)), support)
    of_request = np.isin(identity[train], asking[:n_ids])
    return Request(asking[:n_ids], support[:n_ids], train[of_request], train[~of_request], support[n_ids:])


def _advice(able: int, alone: int | None) -> str:
    """What to ask for in place of a request that cannot be drawn."""
    fewest = 1 if alone is not None else 2
    if able < fewest:
        return ": prepare identities with more images"
    nobody = f", and nobody has the {FEWEST_IMAGES_ALONE} that a request of one needs" if fewest > 1 else ""
    return f"{nobody}: ask for {fewest} to {able}"


def simulated_requests(
    identity: np.ndarray, candidates: np.ndarray, *, n_ids: int, generator: torch.Generator
) -> list[tuple[np.ndarray, np.ndarray]]:
    """One epoch of simulated requests: shuffle, cut into groups of n_ids, one support image each (Algorithm 1).

    The last group is filled up from the start of the list. Identities with a single image cannot be split into
    support and forget images, and are left out.

    Args:
        identity: (N,) identity of every image at hand.
        candidates: identities to draw from.
    Returns:
        Pairs (support, forget): positions in `identity`; n_ids supports, and all other images of the same identities.
    Raises:
        ValueError: fewer usable candidates than n_ids.
    """
    rows_of = _rows_by_identity(identity)
    usable = np.array(
        [i for i in np.unique(candidates).tolist() if len(rows_of.get(i, ())) >= FEWEST_IMAGES],
        dtype=np.int64,
    )
    if len(usable) < n_ids:
        raise ValueError(f"{len(usable)} identities with two images or more cannot simulate a request of {n_ids}")
    order = _permuted(usable, generator)
    order = np.concatenate([order, order[: -len(order) % n_ids]])
    requests = []
    for group in order.reshape(-1, n_ids):
        support = np.array([_pick(rows_of[i], generator) for i in group])
        requests.append((support, np.setdiff1d(np.concatenate([rows_of[i] for i in group]), support)))
    return requests


def cross_folds(identities: np.ndarray, *, count: int, generator: torch.Generator) -> list[np.ndarray]:
    """Cut identities into `count` disjoint groups of equal size; a fold model is trained without one of them."""
    return [np.sort(group) for group in np.array_split(_permuted(identities, generator), count)]


def _rows_by_identity(identity: np.ndarray) -> dict[int, np.ndarray]:
    order = np.argsort(identity, kind="stable")
    ids, starts = np.unique(identity[order], return_index=True)
    return dict(zip(ids.tolist(), np.split(order, starts[1:]), strict=True))


def _pick(rows: np.ndarray, generator: torch.Generator) -> int:
    return int(rows[torch.randint(len(rows), (), generator=generator)])
