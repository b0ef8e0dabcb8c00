"""Every figure of the membership attack on one model, from the losses that it and its reference gave."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shui_lib.attack.rmia import (
    FPRS,
    Signals,
    evaluate,
    likelihood,
    loss_scores,
    measures,
    one_shui,
    roc,
    scores,
    tpr_between,
)
from shui_lib.core.rows import Measured

# Images in the authors' population, at most: the votes on it cost members and non-members times these. All of the
# workbook's own data sets have fewer.
AUTHORS_POPULATION = 12_000
ATTACKS = ("rmia", "rmia_one_shui", "loss")
INTERPOLATED = "rmia_one_shui_interpolated_tpr_at_1e-4"


def attack(
    target: Mapping[str, np.ndarray],
    reference: Mapping[str, np.ndarray],
    identity: Mapping[str, np.ndarray],
    *,
    seed: int = 0,
) -> dict[str, Measured]:
    """RMIA as published (rmia_…), as the authors ran it (rmia_one_shui_…), and the loss threshold (loss_…); fractions.

    Of the authors' form also the TPR between steps of the ROC, which is what their tables hold, without an interval.

    Args:
        target, reference: losses (Q, N) in nats of both models, for `members` (D_f), `non_members`, `population`
            (non-members apart from those) and `trained` (a sample of D_r, which the authors' population holds).
        identity: (N,) of members and of non-members.
    Returns:
        Every figure by name; nan with the reason where a model's answers are no numbers.
    """
    if reason := diverged(target, "the model") or diverged(reference, "its reference"):
        names = [f"{name}_{measure}" for name in ATTACKS for measure in measures(FPRS)]
        return dict.fromkeys([*names, INTERPOLATED], Measured(np.nan, np.nan, np.nan, reason))
    ids = {"positive_ids": identity["members"], "negative_ids": identity["non_members"]}
    found, every = {}, attack_scores(target, reference)
    for name, (positive, negative) in every.items():
        generator = np.random.default_rng(seed)  # the same identities are drawn for every attack
        found |= evaluate(positive, negative, **ids, generator=generator, name=name)
    positive, negative = every["rmia_one_shui"]
    between = tpr_between(roc(positive, negative), 1e-4)
    return found | {INTERPOLATED: Measured(between, np.nan, np.nan, "interpolated")}


def diverged(losses: Mapping[str, np.ndarray], who: str) -> str:
    """Why a model cannot be attacked: how many of its losses are nan or infinite; "" if none is."""
    bad = sum(int((~np.isfinite(loss)).sum()) for loss in losses.values())
    every = sum(loss.size for loss in losses.values())
    return f"{bad} of {every} answers of {who} are not finite numbers: it has diverged" if bad else ""


def attack_scores(
    target: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Scores of members (N₊,) and non-members (N₋,) by attack, higher for members.

    Departs from the authors (D16): of a population larger than `AUTHORS_POPULATION`, so many images at equal distances.
    """
    likely = likelihoods(target, reference)
    members, others = (Signals(target[part], reference[part]) for part in ("members", "non_members"))
    theirs = Signals(_authors_population(target), _authors_population(reference))
    authors = one_shui(members, others, theirs)
    return {
        "rmia": (scores(likely["members"], likely["population"]), scores(likely["non_members"], likely["population"])),
        "rmia_one_shui": (authors.positive, authors.negative),
        "loss": (loss_scores(members.model), loss_scores(others.model)),
    }


def _authors_population(losses: Mapping[str, np.ndarray]) -> np.ndarray:
    every = np.hstack([losses["trained"], losses["members"], losses["non_members"]])
    size = every.shape[1]
    return every[:, np.linspace(0, size - 1, min(size, AUTHORS_POPULATION)).round().astype(int)]


def likelihoods(target: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> dict[str, Signals]:
    """What both models say about each part as likelihoods; (Q, N) each."""
    return {part: Signals(likelihood(target[part]), likelihood(reference[part])) for part in target}
