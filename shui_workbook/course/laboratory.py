"""The metric laboratory: likelihoods of models that were asked once, and what the attack's knobs make of them.

`measure` is a pure function and `draw` its picture; `panel` puts sliders above any such picture, for live sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import ipywidgets as widgets
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shui_lib.attack.rmia import GAMMA, A, Signals, auc, roc, scores, tpr_at, unresolved
from shui_lib.core.progress import mode
from shui_workbook.figures import plot_laboratory


class Measured(NamedTuple):
    """What one position of the knobs gives."""

    curves: pd.DataFrame  # form, fpr, tpr: fractions
    scores: pd.DataFrame  # form, group (member or non-member), score; images of a group in the order given
    readings: pd.DataFrame  # index form; auc, tpr, tied (percent) and reason, why there is no tpr


def measure(
    cached: Mapping[str, Mapping[str, Signals]],
    *,
    gamma: float = GAMMA,
    a: float = A,
    fpr: float = 0.01,
    negatives: int | None = None,
    seed: int = 0,
) -> Measured:
    """RMIA on cached likelihoods, no model needed.

    Args:
        cached: by form ("ssd one-shui"), likelihoods of `members`, `non_members` and `population`.
        gamma, a: as `rmia.scores`.
        fpr: where TPR is read, a fraction.
        negatives: how many non-members are used, drawn at random, fewer of them a part of more; none for all.
        seed: draws them.
    Raises:
        ValueError: no negatives, or more than there are.
    """
    curves, shown, readings = [], [], {}
    for form, likely in cached.items():
        z = likely["population"]
        members, others = (scores(likely[x], z, gamma=gamma, a=a) for x in ("members", "non_members"))
        if not 1 <= (count := len(others) if negatives is None else negatives) <= len(others):
            raise ValueError(f"{count} negatives asked for: there are 1 to {len(others)}")
        others = others[np.sort(np.random.default_rng(seed).permutation(len(others))[:count])]
        curve = roc(members, others)
        reason = unresolved(curve, fpr, count)
        readings[form] = {
            "auc": 100 * auc(curve),
            "tpr": np.nan if reason else 100 * tpr_at(curve, fpr),
            "tied": 100 * np.mean(np.concatenate([members, others]) == 0),
            "reason": f"TPR {reason}" if reason else "",
        }
        curves.append(pd.DataFrame({"form": form, **curve._asdict()}))
        group = np.repeat(["member", "non-member"], [len(members), count])
        shown.append(pd.DataFrame({"form": form, "group": group, "score": np.concatenate([members, others])}))
    readings = pd.DataFrame.from_dict(readings, orient="index")
    return Measured(pd.concat(curves, ignore_index=True), pd.concat(shown, ignore_index=True), readings)


def draw(cached: Mapping[str, Mapping[str, Signals]], **knobs: float) -> list[Axes]:
    """The picture of `measure(cached, **knobs)`; the first form's scores stand at the right."""
    found, first = measure(cached, **knobs), next(iter(cached))
    mine = found.scores[found.scores["form"] == first]
    negatives = int((mine["group"] == "non-member").sum())
    axes = plot_laboratory(found.curves, mine, found.readings, fpr=knobs.get("fpr", 0.01), negatives=negatives)
    return list(axes)


def in_words(row: pd.Series) -> str:
    """A result row's number with its interval, "61.4 [33.9, 79.2]", or why there is none."""
    value, low, high = row[["value", "low", "high"]]
    reason = str(row["note"]).rpartition("; ")[2]  # the note may begin with where the settings come from
    if np.isnan(value):
        return reason
    return f"{value:.1f} {reason}" if np.isnan(low) else f"{value:.1f} [{low:.1f}, {high:.1f}]"


def live() -> bool:
    """Is somebody there to move a slider? Headless runs say so with SHUI_PROGRESS."""
    return mode() == "live"


def panel(picture: Callable[..., object], most: int) -> widgets.Widget:
    """Sliders for γ, a, FPR and the number of negatives, up to `most`, above the picture that they redraw."""
    wide = {"style": {"description_width": "90px"}, "layout": {"width": "420px"}, "continuous_update": False}
    few = min(10, most)
    knobs = {
        "gamma": widgets.FloatSlider(GAMMA, min=0.5, max=4, step=0.05, description="γ", **wide),
        "a": widgets.FloatSlider(A, min=0, max=1, step=0.05, description="a", **wide),
        "fpr": widgets.FloatLogSlider(0.01, base=10, min=-4, max=-0.5, step=0.1, description="FPR", **wide),
        "negatives": widgets.IntSlider(most, min=few, max=most, step=10, description="negatives", **wide),
    }
    shown = widgets.interactive_output(lambda **knobs: picture(**knobs) and None, knobs)
    return widgets.VBox([*knobs.values(), shown])
