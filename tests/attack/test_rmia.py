"""The attack against slow twins: outer products, a transcription of the authors' variant, literal resampling."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from shui_lib.attack import rmia
from shui_lib.attack.rmia import (
    Signals,
    auc,
    evaluate,
    likelihood,
    loss_scores,
    one_shui,
    ratio,
    resolvable,
    roc,
    scores,
    tpr_at,
)
from shui_lib.benchmark.predict import task_loss


def signals(n: int, seed: int, *, queries: int = 8, levels: int | None = None) -> Signals:
    """Likelihoods in (0, 1]; with `levels`, so few different ones that ratios tie."""
    chance = np.random.default_rng(seed)
    shape = (2, queries, n)
    values = chance.integers(1, levels + 1, shape) / levels if levels else 1 - chance.random(shape)
    return Signals(*values)


def losses(n: int, seed: int, *, queries: int = 8) -> Signals:
    return Signals(*np.random.default_rng(seed).gamma(2, 0.3, (2, queries, n)))


def outer_product(x: Signals, z: Signals, *, gamma: float, a: float, strict: bool, paired: bool) -> np.ndarray:
    """The definition: every pair of x and z, one query after the other, then a vote."""
    ratio_x, ratio_z = ratio(x, a=a), ratio(z, a=a)
    votes = 0
    for k, row in enumerate(ratio_x):
        lr = row[:, None] / ratio_z[k if paired else 0]  # (N_x, N_z)
        votes = votes + (lr > gamma if strict else lr >= gamma)
    return (votes > len(ratio_x) / 2).mean(1)


# Scores


def test_five_numbers_by_hand():
    # a = 1 takes the reference for p, so x has ratio 0.8 / 0.4 = 2, and the population ¼, ½, 1 and 2.
    x, z = Signals([0.8], [0.4]), Signals([0.125, 0.25, 0.5, 1], [0.5, 0.5, 0.5, 0.5])
    assert scores(x, z, a=1, gamma=1).tolist() == [4 / 4]
    assert scores(x, z, a=1, gamma=1, strict=True).tolist() == [3 / 4]
    assert scores(x, z, a=1, gamma=[2, 4, 8, 16]).tolist() == [[3 / 4], [2 / 4], [1 / 4], [0]]


def test_ratio_by_hand():
    # p = ½[1.3 · 0.2 + 0.7] = 0.48
    assert ratio(Signals([0.6], [0.2])).tolist() == [[pytest.approx(0.6 / 0.48)]]


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("queries", [1, 2, 3, 8])
@pytest.mark.parametrize("levels", [None, 4])
def test_scores_are_those_of_the_outer_product(levels, queries, strict, paired):
    x, z = (signals(n, seed, queries=queries, levels=levels) for seed, n in enumerate([150, 400]))
    found = scores(x, z, gamma=[0.5, 1, 2, 4], a=0.5, strict=strict, paired=paired)
    for row, gamma in zip(found, [0.5, 1, 2, 4], strict=True):
        assert np.array_equal(row, outer_product(x, z, gamma=gamma, a=0.5, strict=strict, paired=paired))
        assert np.array_equal(row, scores(x, z, gamma=gamma, a=0.5, strict=strict, paired=paired))
    assert len(np.unique(found)) > 10


few = st.lists(st.sampled_from([0.125, 0.25, 0.5, 1.0]), min_size=3, max_size=3)  # one image, three queries
group = st.lists(st.tuples(few, few), min_size=1, max_size=6).map(lambda g: Signals(*np.array(g).transpose(1, 2, 0)))


@settings(derandomize=True, deadline=None, max_examples=100)
@given(group, group, st.sampled_from([0.5, 1, 2, 8]), st.sampled_from([0.3, 1]), st.booleans(), st.booleans())
def test_scores_are_those_of_the_outer_product_whatever_the_ties(x, z, gamma, a, strict, paired):
    options = {"gamma": gamma, "a": a, "strict": strict, "paired": paired}
    assert np.array_equal(scores(x, z, **options), outer_product(x, z, **options))


def test_a_population_of_more_than_two_bytes():
    x, z = signals(5, 0, queries=2), signals(70_000, 1, queries=2)
    options = {"gamma": 1, "a": 0.3, "strict": False, "paired": True}
    assert np.array_equal(scores(x, z, **options), outer_product(x, z, **options))


def test_strict_and_not_strict_differ_where_ratios_tie_only():
    tied, apart = signals(50, 0, levels=3), signals(50, 0)
    assert (scores(tied, tied, gamma=1) > scores(tied, tied, gamma=1, strict=True)).any()
    assert np.array_equal(scores(apart, signals(9, 1)), scores(apart, signals(9, 1), strict=True))


def test_a_draw_among_queries_is_a_no():
    x, z = Signals([[0.9], [0.1]], [[0.5], [0.5]]), Signals([[0.5], [0.5]], [[0.5], [0.5]])
    for paired in (False, True):
        assert scores(x, z, gamma=1, paired=paired).tolist() == [0]


def test_z_stands_by_its_first_query_unless_paired():
    x, z = signals(40, 0), signals(90, 1)
    first = Signals(*(part[:1] for part in z))
    assert np.array_equal(scores(x, z), scores(x, first))
    with pytest.raises(ValueError, match="x has 8 queries and z 1"):
        scores(x, first, paired=True)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.integers(0, 99), st.floats(0.1, 8), st.floats(1, 4), st.floats(0, 1))
def test_a_higher_gamma_never_raises_a_score(seed, gamma, factor, a):
    x, z = signals(20, seed), signals(30, seed + 1)
    low, high = scores(x, z, gamma=[gamma, gamma * factor], a=a)
    assert (high <= low).all()


def test_an_impossible_image_scores_as_low_as_can_be():
    found = scores(Signals([0.0, 1.0], [0.0, 0.0]), Signals([0.5, 0.7], [0.5, 0.7]), a=1)
    assert found.tolist() == [0, 1]


def test_losses_are_no_likelihoods():
    with pytest.raises(ValueError, match="not losses"):
        ratio(Signals([1.2], [0.3]))
    for call in (ratio, lambda bad: one_shui(bad, losses(3, 0, queries=1), losses(3, 1, queries=1))):
        with pytest.raises(ValueError, match="not finite"):
            call(Signals([math.nan], [0.3]))
    with pytest.raises(ValueError, match="`a` lie"):
        ratio(Signals([0.2], [0.3]), a=2)
    with pytest.raises(ValueError, match=r"not \(1, 2\) and \(1, 1\)"):
        ratio(Signals([0.2, 0.1], [0.3]))


def test_likelihood_is_the_geometric_mean():
    logits = torch.tensor([[0.5, 0.125], [0.2, 0.2]])
    loss = task_loss(logits.logit(), torch.ones(2, 2), reduction="none")
    assert likelihood(loss).tolist() == pytest.approx([0.25, 0.2])


def test_loss_scores_are_higher_for_what_is_known_better():
    assert loss_scores([0.2, 3]).tolist() == [-0.2, -3]
    assert loss_scores([[0.2, 3], [0.4, 1]]).tolist() == pytest.approx([-0.3, -2])
    assert loss_scores(np.float16([[2048], [1]])).item() == -1024.5, "means of small numbers are not rounded to them"


# The authors' variant


def authors(positive: Signals, negative: Signals, population: Signals):
    """Word for word from the description: all pairs, all constants, scikit-learn's ROC, linear interpolation."""
    best = None
    for gamma in (1, 2, 4, 8):
        for a in (0.2, 0.3, 0.5, 1):
            found = []
            for group in (positive, negative):
                votes = 0
                for loss, ref, loss_z, ref_z in zip(*group, *population, strict=True):
                    x = loss / ref / ((1 + a) / 2 * ref + (1 - a) / 2)
                    z = 1 / (loss_z / ref_z) / ((1 + a) / 2 * ref_z + (1 - a) / 2)
                    votes = votes + (x[:, None] * z > gamma)
                found.append(-(votes >= 5).mean(1))
            truth, score = [1] * len(found[0]) + [0] * len(found[1]), np.concatenate(found)
            fpr, tpr, _ = roc_curve(truth, score)
            at = np.interp(1e-4, fpr, tpr)
            if best is None or at > best[0]:
                best = at, roc_auc_score(truth, score), gamma, a, found
    return best


@pytest.mark.parametrize("seed", range(4))
def test_one_shui_is_the_authors_variant(seed):
    positive, negative = losses(30, seed), losses(80, seed + 10)
    positive = Signals(positive.model * 0.5, positive.reference)  # members are known better
    population = Signals(*(np.hstack(pair) for pair in zip(losses(120, seed + 20), negative, strict=True)))
    found, (tpr, area, gamma, a, shares) = (f(positive, negative, population) for f in (one_shui, authors))
    assert found.tpr == pytest.approx(tpr) and found.tpr > 0
    assert (found.gamma, found.a) == (gamma, a)
    assert np.array_equal(found.positive, shares[0]) and np.array_equal(found.negative, shares[1])
    assert found.auc == pytest.approx(area)


def test_of_pairs_with_the_same_tpr_the_authors_first_tells_the_auc():
    """Seed 7, where several pairs reach the highest TPR and other loops would report another pair's AUC."""
    positive, negative = losses(30, 7), losses(80, 17)
    positive = Signals(positive.model * 0.9, positive.reference)
    population = Signals(*(np.hstack(pair) for pair in zip(losses(120, 27), negative, strict=True)))
    found, (tpr, area, gamma, a, _) = (f(positive, negative, population) for f in (one_shui, authors))
    assert (found.tpr, found.gamma, found.a) == (pytest.approx(tpr), gamma, a)
    assert found.auc == pytest.approx(area)


def test_one_shui_takes_losses_of_zero():
    sure = Signals(np.zeros((8, 5)), np.zeros((8, 5)))
    for found in (one_shui(sure, losses(20, 0), losses(30, 1)), one_shui(losses(20, 0), losses(30, 1), sure)):
        assert np.isfinite([found.auc, found.tpr, *found.positive]).all()


def test_a_loss_below_a_trillionth_counts_as_that():
    chance = np.random.default_rng(0)
    tiny = [Signals(*10 ** chance.uniform(-14, -10, (2, 8, n))) for n in (30, 80, 120)]
    floored = [Signals(*(np.where(loss < 1e-12, 1e-12, loss) for loss in group)) for group in tiny]
    found, (_, _, gamma, a, shares) = one_shui(*tiny), authors(*floored)
    assert (found.gamma, found.a) == (gamma, a) and len(np.unique(shares[1])) > 20
    assert np.array_equal(found.positive, shares[0]) and np.array_equal(found.negative, shares[1])


def test_losses_that_differ_by_a_billionth_are_told_apart():
    """In bfloat16, and in float32, all three are 1."""
    members, others, population = (Signals(np.full((8, 3), loss), np.ones((8, 3))) for loss in (1 - 1e-9, 1 + 1e-9, 1))
    found = one_shui(members, others, population)
    assert found.auc == 1 and found.positive.tolist() == [0] * 3 and found.negative.tolist() == [-1] * 3


def test_one_shui_reads_a_number_where_nothing_can_be_resolved():
    positive = losses(30, 0)
    found = one_shui(Signals(positive.model / 50, positive.reference), losses(80, 1), losses(120, 2))
    assert found.tpr > 0 and not resolvable(1e-4, 80)


# ROC


def u_statistic(positive, negative) -> float:
    pairs = np.subtract.outer(np.asarray(positive), np.asarray(negative))
    return ((pairs > 0) + (pairs == 0) / 2).mean()


score_lists = st.lists(st.integers(0, 5), min_size=1, max_size=20)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(score_lists, score_lists)
def test_auc_counts_pairs_and_ties_half(positive, negative):
    found = auc(roc(positive, negative))
    assert found == pytest.approx(u_statistic(positive, negative))
    assert found == pytest.approx(roc_auc_score([1] * len(positive) + [0] * len(negative), positive + negative))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(score_lists, score_lists, st.floats(0, 1))
def test_tpr_is_that_of_the_best_threshold_allowed(positive, negative, fpr):
    positive, negative = np.array(positive), np.array(negative)
    allowed = [(positive >= t).mean() for t in [*range(7)] if (negative >= t).mean() <= fpr]
    assert tpr_at(roc(positive, negative), fpr) == pytest.approx(max(allowed))


def test_tpr_is_a_step_by_hand():
    # Down the ranking: +, −, + and − tied, −, −. Points (0, ½), (¼, ½), (½, 1), (¾, 1), (1, 1).
    curve = roc([9, 7], [8, 7, 2, 1])
    assert curve.fpr.tolist() == [0, 0, 0.25, 0.5, 0.75, 1]
    assert curve.tpr.tolist() == [0, 0.5, 0.5, 1, 1, 1]
    assert [tpr_at(curve, f) for f in (0, 0.1, 0.25, 0.49, 0.5, 1)] == [0.5, 0.5, 0.5, 0.5, 1, 1]


@pytest.mark.parametrize("n", [100, 7000, 30_000])
def test_an_fpr_of_whole_negatives_is_met_exactly(n):
    # One false positive above every member: allowed at FPR 1/n, not below.
    curve = roc([5, 5], np.concatenate([[9], np.zeros(n - 1)]))
    assert tpr_at(curve, 1 / n) == 1 and tpr_at(curve, 0.99 / n) == 0


def test_perfect_separation_and_none():
    apart, alike = roc([3, 4], [1, 2]), roc([1, 1], [1, 1])
    assert auc(apart) == 1 and tpr_at(apart, 0) == 1
    assert auc(alike) == 0.5 and tpr_at(alike, 0) == 0 and tpr_at(alike, 1) == 1


# What can be said of it


def clustered(people: int, images: int, seed: int, *, lift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores that vary between identities more than within, and the identities."""
    chance = np.random.default_rng(seed)
    ids = np.repeat(np.arange(people), images)
    return lift + chance.normal(size=people)[ids] + 0.2 * chance.normal(size=len(ids)), ids


def judged(positive, negative, positive_ids, negative_ids, **options):
    options.setdefault("generator", np.random.default_rng(0))
    return evaluate(positive, negative, positive_ids=positive_ids, negative_ids=negative_ids, **options)


def test_estimates_are_plain_numbers_within_their_intervals():
    (positive, ids), (negative, others) = clustered(12, 10, 0, lift=1), clustered(100, 12, 1)
    found = judged(positive, negative, ids, others)
    assert [*found] == ["rmia_auc", "rmia_tpr_at_1e-2", "rmia_tpr_at_1e-3", "rmia_tpr_at_1e-4"]
    assert found["rmia_auc"].value == pytest.approx(u_statistic(positive, negative))
    for one in [*found.values()][:3]:
        assert 0 <= one.low <= one.value <= one.high <= 1 and one.low < one.high and one.note == ""


def test_weights_are_literal_copies():
    (positive, ids), (negative, others) = clustered(4, 3, 0), clustered(5, 2, 1)
    positive, negative = positive.round(), negative.round()  # ties
    chance = np.random.default_rng(7)
    areas, tprs = [], []
    for _ in range(40):
        people, strangers = chance.integers(4, size=4), chance.integers(5, size=5)
        copies = np.concatenate([positive[ids == p] for p in people])
        foils = np.concatenate([negative[others == p] for p in strangers])
        areas.append(u_statistic(copies, foils))
        tprs.append(tpr_at(roc(copies, foils), 0.4))
    options = {"generator": np.random.default_rng(7), "resamples": 40, "fprs": [0.4]}
    found = judged(positive, negative, ids, others, **options)
    for one, drawn in zip(found.values(), [areas, tprs], strict=True):
        assert (one.low, one.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])))


def test_identities_tell_less_than_as_many_images():
    (positive, ids), (negative, others) = clustered(10, 20, 0, lift=1), clustered(50, 20, 1)
    by_identity = judged(positive, negative, ids, others)["rmia_auc"]
    by_image = judged(positive, negative, np.arange(len(ids)), np.arange(len(others)))["rmia_auc"]
    assert by_identity.value == by_image.value
    assert by_identity.high - by_identity.low > 2 * (by_image.high - by_image.low)


def test_the_interval_covers():
    # 60 draws from a population of AUC Φ(1/√2.08): about 95 % of intervals hold it.
    truth = (1 + math.erf(0.5 / math.sqrt(1.04))) / 2
    held = 0
    for seed in range(60):
        (positive, ids), (negative, others) = clustered(25, 4, 2 * seed, lift=1), clustered(60, 4, 2 * seed + 1)
        one = judged(positive, negative, ids, others, resamples=200)["rmia_auc"]
        held += one.low <= truth <= one.high
    assert held >= 52


def test_labels_and_order_of_identities_do_not_matter():
    (positive, ids), (negative, others) = clustered(6, 5, 0, lift=1), clustered(30, 5, 1)
    shuffle = np.random.default_rng(3).permutation(len(negative))
    found = judged(positive, negative[shuffle], ids * 10 + 3, others[shuffle], fprs=[0.1])
    for name, one in judged(positive, negative, ids, others, fprs=[0.1]).items():
        assert found[name][:3] == pytest.approx(one[:3])


def test_what_cannot_be_resolved_is_said():
    assert [resolvable(1e-4, n) for n in (10_000, 9_999, 0)] == [True, False, False]
    assert resolvable(1.0, 1) and not resolvable(0.5, 1)
    negative = np.random.default_rng(0).random(7000)
    found = judged([0.5, 2], negative, [1, 2], np.arange(7000), resamples=5)
    one = found["rmia_tpr_at_1e-4"]
    assert one.note == "not resolvable (N₋ = 7000)" and np.isnan(one[:3]).all()
    assert found["rmia_tpr_at_1e-3"].note == "" and found["rmia_tpr_at_1e-3"].value == 0.5


def test_members_who_tie_at_the_top_with_too_many_others_have_no_tpr():
    # RMIA with 519 images to compare with: five non-members dominate all of them, as every member does.
    chance = np.random.default_rng(0)
    others = chance.permutation(np.append(chance.integers(0, 519, 10_118), [519] * 5)) / 519
    ids = {"positive_ids": np.arange(50), "negative_ids": np.arange(10_123), "resamples": 5}
    for highest, lower, value in [(1.0, 0.5, np.nan), (2.0, 2.0, 1), (518 / 519, 0.5, 0)]:
        found = judged([highest] * 25 + [lower] * 25, others, **ids)
        one, coarser = found["rmia_tpr_at_1e-4"], found["rmia_tpr_at_1e-3"]
        assert one.value == pytest.approx(value, nan_ok=True), "members on top of all, or of none, tie with nobody"
        assert one.note == ("not resolvable (5 of N₋ = 10123 tie at the top)" if np.isnan(value) else "")
        assert coarser.note == "", "ten are allowed"


def test_a_larger_population_tells_the_highest_apart():
    def drawn(n, low, high, seed):
        model = np.random.default_rng(seed).uniform(low, high, (1, n))
        return Signals(model, np.full((1, n), 0.5))

    members, others = drawn(30, 0.95, 1, seed=0), drawn(10_123, 0, 0.95, seed=1)
    for size, value in [(519, np.nan), (5000, 1)]:
        z = drawn(size, 0, 0.95, seed=5)
        found = judged(scores(members, z), scores(others, z), np.arange(30), np.arange(10_123), resamples=5)
        assert found["rmia_tpr_at_1e-4"].value == pytest.approx(value, nan_ok=True)


def test_one_identity_has_a_value_and_no_interval():
    found = judged([2.0, 3], [0.0, 1, 2], [4, 4], [1, 2, 3], fprs=[0.5], name="loss")
    assert found["loss_auc"].value == pytest.approx(5.5 / 6)
    assert found["loss_tpr_at_5e-1"].value == 1
    for one in found.values():
        assert np.isnan([one.low, one.high]).all() and one.note == "no interval from one identity"


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ValueError, match="got 1 and 1 identities for 2 positive and 1 negative"):
        judged([1, 2], [0], [1], [2])
    with pytest.raises(ValueError, match="0 positive and 1 negative scores"):
        judged([], [0], [], [2])
    with pytest.raises(ValueError, match="1 scores are nan"):
        roc([1, math.nan], [0])


def test_the_generator_decides():
    (positive, ids), (negative, others) = clustered(6, 5, 0), clustered(30, 5, 1)
    one, again, other = (
        judged(positive, negative, ids, others, fprs=[0.1], generator=np.random.default_rng(s)) for s in (1, 1, 2)
    )
    assert one == again != other


def test_defaults_are_the_official_constants():
    assert (rmia.GAMMA, rmia.A) == (1.0, 0.3)
    x, z = signals(20, 0), signals(30, 1)
    assert np.array_equal(scores(x, z), scores(x, z, gamma=1.0, a=0.3, strict=False, paired=False))


def test_gamma_merges_scores_and_never_reorders_them():
    # Many attributes: likelihoods are geometric means, their ratios seldom reach 2, and γ = 2 ties most scores at zero.
    chance = np.random.default_rng(0)

    def drawn(n):
        return likelihood(-np.log(chance.uniform(0.3, 1, (n, 14))).mean(1))

    x, z = (Signals(*(drawn(n) for _ in range(2))) for n in (200, 400))
    one, two = scores(x, z, gamma=[1, 2])
    order = np.argsort(one, kind="stable")
    assert (np.diff(two[order]) >= 0).all()
    assert len(np.unique(two)) < len(np.unique(one)) / 4
    assert (two == 0).mean() > 0.9 > 0.1 > (one == 0).mean()


@pytest.mark.parametrize("queries", [255, 256, 400])
def test_many_paired_queries_are_all_counted(queries):
    x, z = signals(5, 0, queries=queries), signals(7, 1, queries=queries)
    how = {"gamma": 0.5, "a": 0.3, "strict": True}
    assert np.array_equal(scores(x, z, paired=True, **how), outer_product(x, z, paired=True, **how))
