"""The membership attack: ratios, scores, ROC, laboratory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shui_workbook.figures.style import PARTS, canvas, look

MEMBERS = {"member": PARTS["forget"], "non-member": PARTS["test"], "population": PARTS["val"]}


def plot_ratios(population: np.ndarray, asked: Mapping[str, np.ndarray], gamma: float, ax: Axes | None = None) -> Axes:
    """RMIA's comparison: ratios of the population as a histogram, those of a few images on top of it.

    Args:
        population: (N_z,) ratios.
        asked: ratios (Q,) of an image's queries, by "member" and "non-member"; the deciding one is drawn large.
        gamma: the share to the left of deciding ratio / γ is the image's score.
    """
    ax = ax or canvas(6.5, 2.9)
    ax.hist(population, bins=40, color=MEMBERS["population"], label="population z, first query")
    top = ax.get_ylim()[1]
    for row, (name, ratios) in enumerate(asked.items()):
        colour, y = MEMBERS[name], top * (1.08 + 0.13 * row)
        deciding = np.sort(ratios)[(len(ratios) - 1) // 2]
        share = (population <= deciding / gamma).mean()
        ax.plot(ratios, np.full(len(ratios), y), "|", color=colour, markersize=9)
        ax.plot(deciding, y, "o", color=colour, label=f"{name}: above {100 * share:.0f} % of z")
        ax.vlines(deciding / gamma, 0, y, color=colour, linewidth=1.5)
    ax.set(xlabel=r"ratio $p_\theta(x)\,/\,p(x)$", ylabel="images", ylim=(0, top * (1.1 + 0.13 * len(asked))))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_rmia_scores(scores: pd.DataFrame, ax: Axes | None = None, *, threshold: float | None = None) -> Axes:
    """Scores in [0, 1] as two histograms, each adding up to 100 %; columns `group` (member, non-member) and `score`."""
    ax = ax or canvas(6, 2.9)
    for group in ("non-member", "member"):
        mine = scores.loc[scores["group"] == group, "score"]
        weights = np.full(len(mine), 100 / len(mine))
        ax.hist(mine, bins=np.linspace(0, 1, 26), weights=weights, color=MEMBERS[group], alpha=0.65, label=group)
    if threshold is not None:
        ax.axvline(threshold, color="black", linestyle=":", label="threshold")
    ax.set(xlabel="RMIA score (share of the population dominated)", ylabel="% of images", xlim=(0, 1))
    ax.legend()
    return ax


def plot_roc(
    curves: pd.DataFrame,
    ax: Axes | None = None,
    *,
    negatives: int | None = None,
    log: bool = True,
    left: float | None = None,
) -> Axes:
    """ROC as steps, one for each form; the diagonal is guessing, and what lies below 1/N₋ is shaded.

    Args:
        curves: columns `form`, `fpr`, `tpr` (fractions).
        negatives: N₋; none leaves the shade out.
        log: both axes logarithmic, where the smallest FPR and TPR count most.
        left: the smallest FPR to show; half of what the curves resolve unless this is less.
    """
    ax = ax or canvas(4.6, 4.2)
    least = min(curves.loc[curves["fpr"] > 0, "fpr"].min(), 1 / negatives if negatives else 1) / 2
    least = min(least, left or 1)
    for form, curve in curves.groupby("form", sort=False):
        label, colour, _ = look(str(form))
        style = "--" if str(form).startswith("retrained") else "-"
        fpr = curve["fpr"].clip(lower=least) if log else curve["fpr"]
        ax.plot(fpr, curve["tpr"], style, drawstyle="steps-post", color=colour, label=label, linewidth=1.6)
    ax.plot([least, 1], [least, 1], color="black", linestyle=":", linewidth=1)  # guessing
    if negatives:
        ax.axvspan(0, 1 / negatives, color="#f0e4d8", zorder=0)
    ax.set(xlabel="false positive rate", ylabel="true positive rate")
    if log:
        lowest = 0.9 * min(least, curves.loc[curves["tpr"] > 0, "tpr"].min())
        ax.set(xscale="log", yscale="log", xlim=(least, 1.05), ylim=(lowest, 1.1))
    return ax


def plot_rocs(curves: pd.DataFrame, areas: Mapping[str, float], *, columns: int = 6) -> np.ndarray:
    """A small ROC for each form, the first one behind all others in grey; the area stands in each.

    Args:
        curves: as `plot_roc`; the first form is the one to compare with.
        areas: AUC by form, percent.
    """
    forms = list(dict.fromkeys(curves["form"]))
    rows = -(-len(forms) // columns)
    size = {"figsize": (1.9 * columns, 2.0 * rows), "sharex": True, "sharey": True, "squeeze": False}
    axes = plt.subplots(rows, columns, **size)[1]
    behind = curves[curves["form"] == forms[0]]
    for ax, form in zip(axes.flat, forms, strict=False):
        label, colour, _ = look(form)
        mine = curves[curves["form"] == form]
        ax.plot(behind["fpr"], behind["tpr"], drawstyle="steps-post", color="#bbbbbb", linewidth=1.2)
        ax.plot(mine["fpr"], mine["tpr"], drawstyle="steps-post", color=colour, linewidth=2)
        ax.plot([0, 1], [0, 1], color="black", linestyle=":", linewidth=1)  # guessing
        ax.text(0.97, 0.05, f"AUC {areas[form]:.0f}", ha="right", transform=ax.transAxes)
        ax.set_title(label.replace(" (", "\n("), fontsize=9)
        ax.set(xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    for ax in axes.flat[len(forms) :]:
        ax.set_axis_off()
    axes[0, 0].figure.supxlabel("false positive rate", fontsize=10)
    axes[0, 0].figure.supylabel("true positive rate", fontsize=10)
    return axes


def plot_identity_scores(scores: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """One line for each identity, one dot for each of its images; columns `identity`, `group` and `score`."""
    order = scores.groupby("identity")["score"].mean().sort_values().index
    ax = ax or canvas(6.5, 0.2 * len(order) + 1)
    spot = {identity: y for y, identity in enumerate(order)}
    for group, colour in MEMBERS.items():
        mine = scores[scores["group"] == group]
        if len(mine):
            y = mine["identity"].map(spot)
            ax.scatter(mine["score"], y, color=colour, s=18, alpha=0.6, linewidths=0, label=group)
    means = scores.groupby("identity")["score"].mean()[order]
    ax.scatter(means, range(len(order)), marker="|", s=110, color="black", label="mean of an identity")
    ax.set(yticks=[], ylim=(-0.8, len(order) - 0.2), xlabel="RMIA score", ylabel="identities")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_laboratory(
    curves: pd.DataFrame,
    scores: pd.DataFrame,
    readings: pd.DataFrame,
    *,
    fpr: float,
    negatives: int,
    axes: Sequence[Axes] | None = None,
) -> Sequence[Axes]:
    """The metric laboratory: ROC with the FPR asked for, the first form's scores, and what can be read off.

    Args:
        curves: as `plot_roc`. scores: as `plot_rmia_scores`, of one form.
        readings: index of forms, columns `auc`, `tpr`, `tied` (percent) and `reason`, why there is no `tpr`.
        fpr: where the curves are read, a fraction. negatives: how many there are.
    """
    axes = plt.subplots(1, 2, figsize=(12.5, 3.3))[1] if axes is None else axes
    ax = plot_roc(curves, axes[0], negatives=negatives, left=fpr / 2)
    ax.axvline(fpr, color="black", linewidth=1.2)
    for form, one in readings.iterrows():
        if one["tpr"] > 0:
            ax.plot(fpr, one["tpr"] / 100, look(str(form))[2], color=look(str(form))[1], markersize=7)
    verdict = "" if fpr >= 1 / negatives else ": not resolvable"
    ax.set_title(f"FPR {100 * fpr:.3g} % with N₋ = {negatives}{verdict}")
    ax = plot_rmia_scores(scores, axes[1])
    ax.set_title(f"{look(str(readings.index[0]))[0]}: {readings['tied'].iloc[0]:.0f} % of scores tie at zero")
    ax.add_artist(ax.get_legend())  # keeps it beside the next
    lines = [_reading(str(form), one) for form, one in readings.iterrows()]
    handles = axes[0].get_lines()[: len(lines)]
    ax.legend(handles, lines, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9, labelspacing=1)
    return axes


def _reading(form: str, one: pd.Series) -> str:
    tpr = one["reason"] or f"TPR {one['tpr']:.1f} %"
    return f"{look(form)[0]}\nAUC {one['auc']:.1f} %, {tpr}"
