"""Splits, requests and simulated requests: what holds for every data set and every seed."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shui_lib.benchmark.presets import SplitConfig
from shui_lib.benchmark.splits import (
    FEWEST_IMAGES,
    FEWEST_IMAGES_ALONE,
    Split,
    cross_folds,
    draw_request,
    simulated_requests,
    split_identities,
)

PARTS = ("train", "val", "test")
always_the_same = settings(derandomize=True, deadline=None, max_examples=60)
counts = st.lists(st.integers(1, 12), min_size=12, max_size=60)
seeds = st.integers(0, 2**31)


def images_of(counts: list[int], *, gap: int = 1, shuffled: int | None = None) -> np.ndarray:
    """(N,) identity of every image; identity numbers may have gaps."""
    identity = np.repeat(np.arange(len(counts)) * gap, counts)
    return identity if shuffled is None else np.random.default_rng(shuffled).permutation(identity)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def split_and_request(identity, seed, **wanted):
    draws = generator(seed)
    split = split_identities(identity, generator=draws)
    return split, draw_request(identity, split, generator=draws, **wanted)


def sizes_of(identity: np.ndarray) -> dict[int, int]:
    return dict(zip(*np.unique(identity, return_counts=True), strict=True))


def equal(one, other) -> bool:
    return all(np.array_equal(value, getattr(other, name)) for name, value in vars(one).items())


# Splits


@always_the_same
@given(counts, seeds, st.integers(1, 5))
def test_parts_are_disjoint_and_cover_all_identities(counts, seed, gap):
    identity = images_of(counts, gap=gap)
    split = split_identities(identity, generator=generator(seed))
    everyone = np.concatenate([getattr(split, part) for part in PARTS])
    assert np.array_equal(np.sort(everyone), np.unique(identity))
    assert set(split.pool) <= set(split.train)


@always_the_same
@given(counts, seeds)
def test_parts_hold_their_share_to_within_one_identity(counts, seed):
    identity = images_of(counts)
    config = SplitConfig()
    split = split_identities(identity, generator=generator(seed))
    shares = dict(zip(PARTS, config.shares, strict=True)) | {"pool": config.pool}
    for part, share in shares.items():
        held = np.isin(identity, getattr(split, part)).sum()
        assert abs(held - share * len(identity)) <= max(counts), part


@always_the_same
@given(counts, seeds, seeds)
def test_order_of_the_images_does_not_matter_and_a_seed_says_it_all(counts, seed, shuffle):
    identity = images_of(counts)
    once, again, shuffled = (
        split_identities(rows, generator=generator(seed))
        for rows in (identity, identity, images_of(counts, shuffled=shuffle))
    )
    assert equal(once, again)
    assert equal(once, shuffled)


@always_the_same
@given(counts, seeds, seeds)
def test_pool_is_the_same_for_every_seed(counts, seed, other):
    identity = images_of(counts)
    pools = [split_identities(identity, generator=generator(s)).pool for s in (seed, other)]
    assert np.array_equal(*pools)


def test_the_pool_is_that_of_the_seed_that_it_was_first_drawn_from():
    # Settings were chosen on these people. With another seed they would be among those who ask.
    split = split_identities(images_of([5] * 60), generator=generator(0))
    assert split.pool.tolist() == [2, 3, 19, 25, 31, 43, 44, 47, 49]


def test_seeds_differ():
    identity = images_of([5] * 60)
    one, other = (split_identities(identity, generator=generator(seed)) for seed in (0, 1))
    assert not np.array_equal(one.train, other.train)


@pytest.mark.parametrize("counts", [[3], [3, 3], [1000, 1, 1]])
def test_too_few_identities_are_refused(counts):
    with pytest.raises(ValueError, match=rf"{len(counts)} identities are too few .* prepare more"):
        split_identities(images_of(counts), generator=generator(0))


# Requests


@always_the_same
@given(counts, seeds, st.integers(1, 10), st.integers(0, 12), st.booleans())
def test_what_holds_for_every_request(counts, seed, n_ids, reserved, from_pool):
    identity = images_of(counts, shuffled=0)
    wanted = {"n_ids": n_ids, "reserved": reserved, "from_pool": from_pool}
    try:
        split, request = split_and_request(identity, seed, **wanted)
    except ValueError:
        assume(False)
    sizes = sizes_of(identity)
    asking = set(request.identities)
    assert len(asking) == len(request.identities) == n_ids
    # Who may ask: training identities with a photo to hand in and one to forget, in the pool or all outside it.
    assert asking <= set(split.train)
    assert asking <= set(split.pool) if from_pool else asking.isdisjoint(split.pool)
    assert all(sizes[i] >= (FEWEST_IMAGES_ALONE if n_ids == 1 else FEWEST_IMAGES) for i in asking)
    # What they hand in: one photo each, in order, that no model trains on.
    assert np.array_equal(identity[request.support], request.identities)
    held_out = np.concatenate([request.support, request.reserved])
    assert len(np.unique(held_out)) == len(held_out) >= n_ids
    # Training images are those to forget, those to retain, and nothing else.
    assert set(request.forget).isdisjoint(request.retain)
    assert set(identity[request.forget]) == asking
    assert set(identity[request.retain]).isdisjoint(asking)
    every = np.concatenate([request.train, held_out])
    assert np.array_equal(np.sort(every), np.flatnonzero(np.isin(identity, split.train)))
    assert equal(request, split_and_request(identity, seed, **wanted)[1])


@always_the_same
@given(st.lists(st.integers(1, 12), min_size=40, max_size=60), seeds, st.integers(0, 10))
def test_requests_of_different_size_are_nested_and_share_one_original(counts, seed, reserved):
    identity = images_of(counts)
    try:
        requests = [split_and_request(identity, seed, n_ids=n, reserved=reserved)[1] for n in (1, 5, 10)]
    except ValueError:
        assume(False)
    for small, large in pairwise(requests):
        n = len(small.identities)
        assert np.array_equal(small.identities, large.identities[:n])
        assert np.array_equal(small.support, large.support[:n])
        assert set(small.forget) <= set(large.forget)
    shared = [request for request in requests if len(request.identities) <= max(reserved, 1)]
    for request in shared:
        assert np.array_equal(request.train, shared[0].train)
        assert set(request.support) | set(request.reserved) == set(shared[0].support) | set(shared[0].reserved)


def test_any_photo_may_be_the_one_that_is_handed_in():
    identity = images_of([5] * 60)
    split, request = split_and_request(identity, 0, n_ids=20, reserved=20)
    assert set(request.support % 5) == set(range(5)), "of the five photos of each person"
    simulated = simulated_requests(identity, split.train, n_ids=10, generator=generator(0))
    assert set(np.concatenate([support for support, _ in simulated]) % 5) == set(range(5))


@pytest.mark.parametrize("n_ids", [0, -1, 1000])
@pytest.mark.parametrize(("photos", "fewest"), [(6, 1), (5, 2)])
def test_a_request_that_cannot_be_drawn_says_how_many_can_ask(n_ids, photos, fewest):
    identity = images_of([photos] * 30)
    split = split_identities(identity, generator=generator(0))
    able = len(np.setdiff1d(split.train, split.pool))
    with pytest.raises(ValueError, match=rf"n_ids={n_ids} .* outside the tuning pool .*: ask for {fewest} to {able}$"):
        draw_request(identity, split, n_ids=n_ids, generator=generator(0))


def test_a_request_of_one_needs_someone_with_six_images():
    """And what is advised is not what was just refused."""
    identity = images_of([5] * 30)
    split = split_identities(identity, generator=generator(0))
    with pytest.raises(ValueError, match="nobody has the 6 that a request of one needs: ask for 2 to [0-9]+$"):
        draw_request(identity, split, n_ids=1, generator=generator(0))
    assert len(draw_request(identity, split, n_ids=2, generator=generator(0)).support) == 2


def test_where_nobody_can_ask_no_other_number_is_advised():
    identity = images_of([1] * 30)
    split = split_identities(identity, generator=generator(0))
    for n_ids in (1, 2, 40):
        with pytest.raises(ValueError, match="but 0 training identities .*: prepare identities with more images$"):
            draw_request(identity, split, n_ids=n_ids, generator=generator(0))


# Simulated requests


@always_the_same
@given(counts, seeds, st.integers(1, 12))
def test_what_holds_for_one_epoch_of_simulated_requests(counts, seed, n_ids):
    identity = images_of(counts, gap=3, shuffled=1)
    candidates = np.unique(identity)[::2]
    usable = {i for i in candidates if sizes_of(identity)[i] >= FEWEST_IMAGES}
    assume(len(usable) >= n_ids)
    requests = simulated_requests(identity, candidates, n_ids=n_ids, generator=generator(seed))
    for support, forget in requests:
        asking = identity[support]
        assert len(set(asking)) == n_ids
        rows = np.concatenate([support, forget])
        assert np.array_equal(np.sort(rows), np.flatnonzero(np.isin(identity, asking)))
    asked = np.concatenate([identity[support] for support, _ in requests])
    assert set(asked) == usable
    assert len(set(asked[: len(usable)])) == len(usable)  # without replacement
    assert np.array_equal(asked[len(usable) :], asked[: len(asked) - len(usable)])  # filled up from the start
    assert len(requests) == -(-len(usable) // n_ids)
    again = simulated_requests(identity, candidates, n_ids=n_ids, generator=generator(seed))
    assert all(np.array_equal(a, b) for pair in zip(requests, again, strict=True) for a, b in zip(*pair, strict=True))


def test_too_few_identities_to_simulate_are_refused():
    with pytest.raises(ValueError, match="2 identities with two images or more cannot simulate a request of 3"):
        simulated_requests(images_of([1, 2, 1, 4]), np.arange(4), n_ids=3, generator=generator(0))


# Size


def test_full_celeba_size():
    identities, images = 10_177, 202_599
    chance = np.random.default_rng(0)
    counts = 1 + chance.multinomial(images - identities, chance.dirichlet(np.full(identities, 4.0)))  # 1 … about 60
    identity = images_of(counts, shuffled=2)
    split, request = split_and_request(identity, 0, n_ids=10)
    assert abs(np.isin(identity, split.train).sum() - 0.6 * images) <= counts.max()
    assert len(request.train) + 10 == np.isin(identity, split.train).sum()
    assert len(simulated_requests(identity, split.train, n_ids=10, generator=generator(0))) > 500


def test_folds_are_disjoint_and_cover_everybody():
    folds = cross_folds(np.arange(3, 25), count=5, generator=torch.Generator().manual_seed(0))
    assert sorted(np.concatenate(folds)) == list(range(3, 25))
    assert {len(fold) for fold in folds} == {4, 5}
    again = cross_folds(np.arange(3, 25)[::-1], count=5, generator=torch.Generator().manual_seed(0))
    assert all(np.array_equal(one, other) for one, other in zip(folds, again, strict=True))


def test_folds_are_shuffled():
    one, other = (cross_folds(np.arange(40), count=5, generator=generator(seed)) for seed in (0, 1))
    assert not any(np.array_equal(fold, np.arange(fold[0], fold[0] + 8)) for fold in one), "runs of neighbours"
    assert not all(np.array_equal(*folds) for folds in zip(one, other, strict=True)), "the generator has no say"


def test_where_one_person_can_ask_that_is_the_advice_and_all_of_it():
    identity = np.repeat([0, 1, 2], 6)
    split = Split(train=np.array([0]), val=np.array([1]), test=np.array([2]), pool=np.array([], dtype=np.int64))
    with pytest.raises(ValueError, match=r"1 training identities outside .* have 2 images or more: ask for 1 to 1$"):
        draw_request(identity, split, n_ids=2, generator=torch.Generator().manual_seed(0))


def test_a_request_of_the_pool_is_told_of_the_pool():
    identity, nobody = np.repeat([0, 1, 2], 6), np.array([], dtype=np.int64)
    split = Split(train=np.array([0]), val=np.array([1]), test=nobody, pool=np.array([0]))
    with pytest.raises(ValueError, match=r"1 training identities of the tuning pool .*: ask for 1 to 1$"):
        draw_request(identity, split, n_ids=2, generator=torch.Generator().manual_seed(0), from_pool=True)
