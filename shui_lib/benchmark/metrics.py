"""Scores: mean average precision, accuracy, Tug-of-War."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor


class UndefinedScore(ValueError):
    """A score that these images, or such answers, do not define."""


class Scores(NamedTuple):
    """Scores of one model on the three splits that Tug-of-War looks at, as fractions in [0, 1]."""

    retain: float
    forget: float
    test: float


def finite(logits: Tensor) -> Tensor:
    """The answers as they came: ranks and argmax would make a score of nan.

    Raises:
        UndefinedScore: some are nan or infinite, as those of a model that has diverged.
    """
    bad = int((~logits.isfinite()).any(1).sum())
    if bad:
        raise UndefinedScore(f"{bad} of {len(logits)} answers are not finite numbers: the model has diverged")
    return logits


@torch.no_grad()
def average_precision(logits: Tensor, targets: Tensor) -> Tensor:
    """Average precision of every attribute; equal scores count as one threshold.

    Departs from the authors' code (D29), which ranks sigmoids in bfloat16: above a logit of about 6 they are equal.

    Args:
        logits: (N, K) scores, any increasing function of the probability.
        targets: (N, K) of 0 and 1.
    Returns:
        (K,) in [0, 1], nan where an attribute has no positive.
    Raises:
        UndefinedScore: answers that are no numbers.
    """
    score, order = finite(logits).T.contiguous().sort(dim=1, descending=True, stable=True)  # (K, N): rows lie together
    positives = targets.T.gather(1, order).double().cumsum(1)  # true positives down to each rank
    ranks = torch.arange(1, len(logits) + 1, dtype=torch.float64, device=logits.device)
    last = torch.ones_like(score, dtype=torch.bool)  # does a threshold end here?
    last[:, :-1] = score[:, :-1] != score[:, 1:]
    at_end = torch.where(last, positives, 0).cummax(1).values
    gained = at_end.diff(dim=1, prepend=torch.zeros_like(at_end[:, :1]))
    return (gained * positives / ranks).T.contiguous().sum(0) / positives[:, -1]


def mean_average_precision(logits: Tensor, targets: Tensor) -> float:
    """Macro mAP as a fraction; attributes without a positive are left out (D15).

    The paper does not say what becomes of them. The authors' torchmetrics 1.3.0 leaves them out, with a warning; later
    versions count them as 0.

    Raises:
        UndefinedScore: no attribute has a positive, or answers are no numbers.
    """
    per_attribute = average_precision(logits, targets)
    known = ~per_attribute.isnan()
    if not known.any():
        raise UndefinedScore("no attribute has a positive among these images: mAP is not defined for them")
    return per_attribute[known].mean().item()


def accuracy(logits: Tensor, targets: Tensor) -> float:
    """Share of images whose highest logit is their class. UndefinedScore: answers that are no numbers."""
    return (finite(logits).argmax(1) == targets).double().mean().item()


def score(logits: Tensor, targets: Tensor) -> float:
    """The score of the task: mAP for attributes (N, K), accuracy for classes (N,); a fraction."""
    return mean_average_precision(logits, targets) if targets.ndim == 2 else accuracy(logits, targets)


def score_or_nan(logits: Tensor, targets: Tensor) -> float:
    """`score`, nan where it is not defined: for a history, which goes on."""
    try:
        return score(logits, targets)
    except UndefinedScore:
        return math.nan


def score_by_class(logits: Tensor, targets: Tensor) -> Tensor:
    """(K,) average precision of every attribute, or share of every class's images recognised; nan where undefined."""
    if targets.ndim == 2:
        return average_precision(logits, targets)
    right = (finite(logits).argmax(1) == targets).double()
    return torch.stack([right[targets == k].mean() for k in range(logits.shape[1])])


def score_name(targets: Tensor) -> str:
    """`map` or `accuracy`, the word used in result rows."""
    return "map" if targets.ndim == 2 else "accuracy"


def tug_of_war(unlearned: Scores, retrained: Scores) -> float:
    """Closeness to the retrained model on three splits, in percent (Zhao et al., 2024; paper eq. 7).

    Args:
        unlearned, retrained: retain, forget and test score as fractions in [0, 1].
    Raises:
        ValueError: a score outside [0, 1], percent passed by mistake for instance.
    """
    product = 100.0
    for name, ours, theirs in zip(Scores._fields, unlearned, retrained, strict=True):
        if not (0 <= ours <= 1 and 0 <= theirs <= 1):
            raise ValueError(f"{name} scores {ours} and {theirs}: Tug-of-War takes fractions in [0, 1], not percent")
        product *= 1 - abs(ours - theirs)
    return product
