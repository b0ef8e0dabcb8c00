"""Membership inference: was this image trained on? RMIA in two forms, the loss threshold, ROC and its limits.

The attacker sees how likely two models find the targets of an image: the model under attack and a reference that
never saw the person, each asked several times (augmented queries). Arrays only; everything in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from shui_lib.core.randomness import drawn_again
from shui_lib.core.rows import Measured

# Official: γ is 2 on CIFAR-10, 1 elsewhere. Here 1: a geometric mean of K Bernoulli likelihoods evens images out, their
# ratios seldom differ by a factor of 2, and γ = 2 sends most scores to a tie at zero (chapter 05).
GAMMA, A = 1.0, 0.3
ONE_SHUI_GAMMAS, ONE_SHUI_AS = (1.0, 2.0, 4.0, 8.0), (0.2, 0.3, 0.5, 1.0)  # what `one_shui` picks from
TINY = float(np.finfo(np.float64).tiny)  # keeps quotients finite
LEAST_LOSS = 1e-12  # nats; a loss of exactly 0 has no ratio
FPRS = (1e-2, 1e-3, 1e-4)


class Signals(NamedTuple):
    """What two models say about one group of N images: likelihoods, or losses for `one_shui`."""

    model: ArrayLike  # (Q, N), or (N,) for one query: the model under attack
    reference: ArrayLike  # the same shape


# Scores ---------------------------------------------------------------------------------------------------------------


def likelihood(loss: ArrayLike) -> np.ndarray:
    """p_θ(x) = exp(−loss), in (0, 1]; any shape.

    For classes the softmax probability of the label; for attributes, whose loss is a mean, the geometric mean of the
    Bernoulli likelihoods.
    """
    return np.exp(-np.asarray(loss, np.float64))


def ratio(signals: Signals, *, a: float = A) -> np.ndarray:
    """p_θ(x) / p(x), with p(x) = ½[(1+a)·p_ref(x) + (1−a)] from one reference model (RMIA, offline); (Q, N).

    Raises:
        ValueError: shapes differ, a number is not finite, or it or `a` lies outside [0, 1], losses for instance.
    """
    model, reference = _pair(signals)
    if not (0 <= a <= 1 and all(np.all((p >= 0) & (p <= 1)) for p in (model, reference))):
        raise ValueError("likelihoods and `a` lie in [0, 1]: pass `likelihood(...)`, not losses or logits")
    return model / np.maximum(_affine(reference, a), TINY)


def scores(
    x: Signals,
    z: Signals,
    *,
    gamma: float | Sequence[float] = GAMMA,
    a: float = A,
    strict: bool = False,
    paired: bool = False,
) -> np.ndarray:
    """RMIA scores (Zarifzadeh et al., 2024): the share of z that each x dominates, ratio_x / ratio_z ≥ γ.

    Several queries vote: x dominates z if more than half of its queries do. Against z's first query that is a question
    to one order statistic of x's ratios, so one sort of z and one search answer it: O((N_x + N_z) log N_z).

    Args:
        x: likelihoods of positives and negatives together, (Q, N_x).
        z: likelihoods of the population: non-members, none of them among the x; (Q, N_z).
        gamma: how many times z's ratio; several share the sort.
        a: how far the reference is trusted; 1 takes p_ref for p.
        strict: LR > γ, as in the official code.
        paired: x's k-th query faces z's k-th, as in the official code (D44); slower, O(Q·N_x·N_z).
    Returns:
        (N_x,) in [0, 1], higher for members; (G, N_x) for G values of γ.
    Raises:
        ValueError: as `ratio`, or paired queries of different number.
    """
    share = _paired_share if paired else _share
    return share(ratio(x, a=a), ratio(z, a=a), np.asarray(gamma, np.float64), strict)


def loss_scores(loss: ArrayLike) -> np.ndarray:
    """The loss-threshold attack (Yeom et al., 2018): minus the loss, averaged over queries; (Q, N) or (N,) to (N,)."""
    return -np.atleast_2d(np.asarray(loss, np.float64)).mean(0)


# The authors' variant -------------------------------------------------------------------------------------------------


class OneShui(NamedTuple):
    """Result of `one_shui`: the pair it picked, and what that pair scored."""

    positive: np.ndarray  # (N₊,) scores
    negative: np.ndarray  # (N₋,) scores
    gamma: float
    a: float
    auc: float  # fraction
    tpr: float  # fraction, at FPR 0.01 % by linear interpolation


def one_shui(positive: Signals, negative: Signals, population: Signals) -> OneShui:
    """RMIA as the authors of the paper ran it. For comparison with their tables; its defects:

    - The signal is the loss L where RMIA takes a likelihood, so members score low and the share is negated.
    - c = ½[(1+a)·L_ref + (1−a)] comes on top of the ratio, twice the reference: L/L_ref/c for x. For z it is divided
      once more where it should be multiplied, so LR(x, z) = (L/L_ref/c)(x) · (L_ref/L/c)(z).
    - The population is train + val: it holds members and the negatives.
    - γ ∈ {1, 2, 4, 8} and a ∈ {0.2, 0.3, 0.5, 1} are those with the highest TPR on the very model under attack.
    - The TPR at FPR 0.01 % is interpolated, so it reads a number where there are too few negatives for one.

    As in their code LR > γ, and each pair of x and z takes a majority vote over matching queries (a draw is a no).
    Where several pairs reach the same TPR, often 0, the AUC is that of the first: lowest γ, then lowest a (D17).
    Departs from it (D16): float64, not bfloat16; the same images in every query; a loss below 1e-12 counts as 1e-12.

    Args:
        positive, negative, population: losses in nats, (Q, N) each.
    Raises:
        ValueError: shapes differ, or a loss is not finite.
    """
    n, tries = _pair(positive)[0].shape[1], []
    x, x_ref = (np.maximum(np.hstack(pair), LEAST_LOSS) for pair in zip(_pair(positive), _pair(negative), strict=True))
    z, z_ref = (np.maximum(loss, LEAST_LOSS) for loss in _pair(population))
    for a in ONE_SHUI_AS:
        ratio_x, ratio_z = x / x_ref / _affine(x_ref, a), z / z_ref * _affine(z_ref, a)
        shares = _paired_share(ratio_x, ratio_z, np.array(ONE_SHUI_GAMMAS), strict=True)
        for gamma, score in zip(ONE_SHUI_GAMMAS, -shares, strict=True):
            curve = roc(score[:n], score[n:])
            tries.append(OneShui(score[:n], score[n:], gamma, a, auc(curve), tpr_between(curve, 1e-4)))
    return max(tries, key=lambda one: (one.tpr, -one.gamma, -one.a))  # of ties the first, γ before a, as their loops


# ROC ------------------------------------------------------------------------------------------------------------------


class Roc(NamedTuple):
    """The curve's points from (0, 0) to (1, 1), one for each threshold; fractions."""

    fpr: np.ndarray
    tpr: np.ndarray


def roc(positive: ArrayLike, negative: ArrayLike) -> Roc:
    """ROC of scores, higher for members; equal scores are one threshold; (N₊,), (N₋,) to (T + 1,)."""
    level = _levels(positive, negative)
    return _curve(level, np.ones(len(level)), len(positive))


def auc(curve: Roc) -> float:
    """Area under the curve: how often a positive outranks a negative, ties counted half; fraction."""
    return float(np.trapezoid(curve.tpr, curve.fpr))


def tpr_at(curve: Roc, fpr: float) -> float:
    """TPR as a step of the ROC: that of its last point with FPR ≤ fpr; fractions."""
    return float(curve.tpr[np.searchsorted(curve.fpr, fpr, side="right") - 1])


def tpr_between(curve: Roc, fpr: float) -> float:
    """TPR on the straight line between the points around an FPR, as the authors read it; fractions.

    It is a number even where nothing can be resolved: for comparison with their tables.
    """
    return float(np.interp(fpr, *curve))


def resolvable(fpr: float, negatives: int) -> bool:
    """Can so many negatives show this FPR? The smallest that is not zero is 1/N₋."""
    return negatives > 0 and fpr >= 1 / negatives


def unresolved(curve: Roc, fpr: float, negatives: int) -> str:
    """Why the curve cannot show a TPR at this FPR, or "" if it can.

    A score is a share of the population. Where members share the highest with more negatives than the FPR allows, the
    step would read 0 whoever of them ranks first: only a larger population tells them apart.
    """
    if not resolvable(fpr, negatives):
        return f"not resolvable (N₋ = {negatives})"
    if curve.tpr[1] > 0 and curve.fpr[1] > fpr:
        return f"not resolvable ({curve.fpr[1] * negatives:.0f} of N₋ = {negatives} tie at the top)"
    return ""


def evaluate(
    positive: ArrayLike,
    negative: ArrayLike,
    *,
    positive_ids: ArrayLike,
    negative_ids: ArrayLike,
    generator: np.random.Generator,
    fprs: Sequence[float] = FPRS,
    resamples: int = 500,
    name: str = "rmia",
) -> dict[str, Measured]:
    """AUC and TPR at each FPR, with 95 % percentile intervals from a bootstrap over identities; fractions.

    Images of one identity are not independent, so identities are drawn, of positives and of negatives apart, each with
    all its images. Where one identity is all there is, the interval is nan and the reason says so.

    Args:
        positive, negative: (N,) scores, higher for members.
        positive_ids, negative_ids: (N,) the identity of each image.
        name: what keys begin with: rmia_auc, rmia_tpr_at_1e-2, ...
    Raises:
        ValueError: no positives, no negatives, or not one identity for each score.
    """
    ids = [np.unique(i, return_inverse=True)[1] for i in (positive_ids, negative_ids)]
    if not len(positive) or not len(negative) or [*map(len, ids)] != [len(positive), len(negative)]:
        raise ValueError(
            f"expected one identity per score, got {len(ids[0])} and {len(ids[1])} identities for "
            f"{len(positive)} positive and {len(negative)} negative scores"
        )
    level = _levels(positive, negative)
    curve = _curve(level, np.ones(len(level)), len(positive))
    values = _measure(curve, fprs)
    low, high = _interval(level, ids, fprs, generator, resamples)
    alone = "" if np.isfinite(low[0]) else "no interval from one identity"
    numbers = zip(measures(fprs), values, low, high, strict=True)
    found = {f"{name}_{key}": Measured(*number, alone) for key, *number in numbers}
    for key, fpr in zip([*found][1:], fprs, strict=True):
        if reason := unresolved(curve, fpr, len(negative)):
            found[key] = Measured(np.nan, np.nan, np.nan, reason)
    return found


def measures(fprs: Sequence[float]) -> list[str]:
    """What `evaluate` measures, as its keys end: auc, tpr_at_1e-2, …"""
    return ["auc", *("tpr_at_" + np.format_float_scientific(fpr, trim="-", exp_digits=1) for fpr in fprs)]


# Arithmetic -----------------------------------------------------------------------------------------------------------


def _pair(signals: Signals) -> tuple[np.ndarray, np.ndarray]:
    """Both models' numbers as float64 (Q, N). ValueError: shapes differ, or a number is not finite."""
    model, reference = (np.atleast_2d(np.asarray(part, np.float64)) for part in signals)
    if model.shape != reference.shape:
        raise ValueError(f"one number of each model for each query and image, not {model.shape} and {reference.shape}")
    if not (np.isfinite(model).all() and np.isfinite(reference).all()):
        raise ValueError("a model's likelihoods or losses are not finite: look at its training")
    return model, reference


def _affine(reference: np.ndarray, a: float) -> np.ndarray:
    """½[(1+a)·reference + (1−a)]."""
    return ((1 + a) * reference + (1 - a)) / 2


def _below(ordered: np.ndarray, limit: np.ndarray, strict: bool) -> np.ndarray:
    """How many of the ordered values are ≤ each limit, or < with `strict`."""
    return np.searchsorted(ordered, limit, side="left" if strict else "right")


def _share(ratio_x: np.ndarray, ratio_z: np.ndarray, gamma: np.ndarray, strict: bool) -> np.ndarray:
    """Share of z whose first query most queries of x dominate; (Q, N_x), (Q, N_z), γ of any shape to (*γ, N_x)."""
    lost = (len(ratio_x) - 1) // 2  # so many queries may fail
    decisive = np.partition(ratio_x, lost, axis=0)[lost]  # (N_x,)
    ordered = np.sort(ratio_z[0])
    return _below(ordered, decisive / gamma[..., None], strict) / len(ordered)


def _paired_share(ratio_x: np.ndarray, ratio_z: np.ndarray, gamma: np.ndarray, strict: bool) -> np.ndarray:
    """Share of z dominated in most queries, the k-th of x facing the k-th of z; shapes as `_share`.

    Ranks in place of ratios: z is dominated in a query if its rank is below the number of z that x reaches there.
    """
    if len(ratio_x) != len(ratio_z):
        raise ValueError(f"x has {len(ratio_x)} queries and z {len(ratio_z)}: paired queries need as many of each")
    small = np.uint16 if ratio_z.shape[1] < 2**16 else np.uint32
    rank = ratio_z.argsort(1).argsort(1).astype(small)  # (Q, N_z)
    ordered = np.sort(ratio_z, 1)
    shares, counts = np.empty((*gamma.shape, ratio_x.shape[1])), np.min_scalar_type(len(rank))  # holds all Q votes
    for at in np.ndindex(gamma.shape):
        limits = ratio_x / gamma[at]
        reach = np.stack([_below(o, limit, strict) for o, limit in zip(ordered, limits, strict=True)]).astype(small)
        for first in range(0, shares.shape[-1], 64):  # 64 × N_z votes at a time
            block = slice(first, first + 64)
            votes = sum((r < c[block, None]).astype(counts) for r, c in zip(rank, reach, strict=True))
            shares[(*at, block)] = (votes > len(rank) // 2).mean(1)
    return shares


def _levels(positive: ArrayLike, negative: ArrayLike) -> np.ndarray:
    """Number of every score's threshold, 0 for the highest; (N₊ + N₋,). ValueError: a score is nan."""
    every = np.concatenate([positive, negative])
    if np.isnan(every).any():
        raise ValueError(f"{np.isnan(every).sum()} scores are nan: the model's outputs are not finite")
    return np.unique(-every, return_inverse=True)[1]


def _curve(level: np.ndarray, weight: np.ndarray, positives: int) -> Roc:
    """ROC of weighted images, the positives first; O(N), no sort."""
    halves = (slice(None, positives), slice(positives, None))
    tpr, fpr = (np.cumsum(np.bincount(level[h], weight[h], minlength=level.max() + 1)) for h in halves)
    return Roc(np.append(0, fpr / fpr[-1]), np.append(0, tpr / tpr[-1]))


def _measure(curve: Roc, fprs: Sequence[float]) -> list[float]:
    return [auc(curve), *(tpr_at(curve, fpr) for fpr in fprs)]


def _interval(
    level: np.ndarray, ids: Sequence[np.ndarray], fprs: Sequence[float], generator: np.random.Generator, times: int
) -> list[list[float]]:
    """Low and high of every measure over resampled identities; nan where one identity is all there is."""
    sizes, drawn = [i.max() + 1 for i in ids], []
    if min(sizes) == 1:
        return np.full((2, 1 + len(fprs)), np.nan).tolist()
    for _ in range(times):
        often = [drawn_again(size, generator) for size in sizes]
        weight = np.concatenate([count[i] for count, i in zip(often, ids, strict=True)])  # (N₊ + N₋,)
        drawn.append(_measure(_curve(level, weight, len(ids[0])), fprs))
    return np.quantile(drawn, [0.025, 0.975], axis=0).tolist()
