"""Scores, gaps, differences and trade-offs of models."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from shui_workbook.figures.style import METHODS, PARTS, SCORE_NAMES, canvas, look
from shui_workbook.figures.tradeoff import name_ends


def plot_scores(scores: pd.DataFrame, metric: str, ax: Axes | None = None) -> Axes:
    """Scores on retain, forget and test for each model, beside the retrained one's (dashed), with ToW in the legend.

    Args:
        scores: columns `method`, `split`, `value` (percent), `tow` (percent).
        metric: map or accuracy.
    """
    ax = ax or canvas(6.5, 3)
    splits, methods = list(dict.fromkeys(scores["split"])), list(dict.fromkeys(scores["method"]))
    for m, method in enumerate(methods):
        label, colour, marker = METHODS[method]
        mine = scores[scores["method"] == method].set_index("split").loc[splits]
        x = np.arange(len(splits)) + 0.16 * (m - (len(methods) - 1) / 2)
        tow = f"{label} (ToW {mine['tow'].iloc[0]:.1f})"
        ax.scatter(x, mine["value"], color=colour, marker=marker, s=55, label=tow, zorder=3)
        if method == "retrained":
            ax.hlines(mine["value"], np.arange(len(splits)) - 0.42, np.arange(len(splits)) + 0.42, colour, "--")
    ax.set(xticks=range(len(splits)), xticklabels=splits, ylabel=f"{SCORE_NAMES[metric]} (%)")
    ax.set_xlim(-0.55, len(splits) - 0.45)
    ax.grid(axis="x", visible=False)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_identity_losses(losses: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """One line per identity, from one model's mean loss to another's; columns named after methods, in nats."""
    ax = ax or canvas(6, 0.26 * len(losses) + 1.1)
    losses = losses.sort_values(next(iter(losses)))
    y = np.arange(len(losses))
    ax.hlines(y, losses.min(axis=1), losses.max(axis=1), color="#cccccc", linewidth=2, zorder=1)
    for method in losses:
        label, colour, marker = METHODS[method]
        ax.scatter(losses[method], y, color=colour, marker=marker, s=42, label=label, zorder=3)
    ax.set(yticks=y, yticklabels=losses.index, ylabel="identity", xlabel="mean task loss of an identity (nats)")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_gaps(gaps: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Memorisation gap of every identity by split; columns `split` and `gap` (nats), with the median of each split."""
    ax = ax or canvas(6, 2.7)
    order = [part for part in PARTS if part in set(gaps["split"])]
    colours = {part: PARTS[part] for part in order}
    sns.stripplot(
        gaps, x="gap", y="split", order=order, hue="split", palette=colours, size=4, jitter=0.25, legend=False,
        ax=ax,
    )  # fmt: skip
    medians = gaps.groupby("split")["gap"].median().reindex(order)
    ax.scatter(medians, range(len(order)), marker="|", s=600, color="black", zorder=4, linewidths=2)
    ax.legend(handles=[Line2D([], [], color="black", marker="|", linestyle="", markersize=14, label="median")])
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set(xlabel="loss of the retrained model − loss of the original (nats)", ylabel="")
    return ax


def plot_differences(found: pd.DataFrame, xlabel: str, ax: Axes | None = None) -> Axes:
    """Forest plot: mean paired difference of each form with its interval; filled where zero lies outside.

    Args:
        found: index of forms, columns `mean`, `low`, `high`; drawn from top to bottom.
    """
    ax = ax or canvas(6.5, 0.28 * len(found) + 1.1)
    for y, (form, row) in enumerate(found.iterrows()):
        _, colour, marker = look(str(form))
        clear = row["low"] > 0 or row["high"] < 0
        ax.hlines(y, row["low"], row["high"], color=colour, linewidth=2)
        ax.scatter(row["mean"], y, marker=marker, s=45, color=colour if clear else "white", edgecolor=colour, zorder=3)
    ax.axvline(0, color="black", linewidth=0.8)
    labels = [look(str(form))[0] for form in found.index]
    ax.set(yticks=range(len(found)), yticklabels=labels, ylim=(len(found) - 0.5, -0.5), xlabel=xlabel)
    ax.grid(axis="y", visible=False)
    return ax


def plot_klom(found: pd.DataFrame) -> list[Axes]:
    """KLoM over trainings (`studies/klom.py`): a panel a part, a bar a form; dashed is the floor of other retrained
    models.

    Args:
        found: of one setting; columns form, part, klom, low, high (nats).
    """
    forms = [form for form in dict.fromkeys(found["form"]) if form != "retrained_again"]
    parts = list(dict.fromkeys(found["part"]))
    size = (2.9 * len(parts) + 1.2, 0.34 * len(forms) + 1.1)
    fig, axes = plt.subplots(1, len(parts), figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, part in zip(axes.flat, parts, strict=True):
        here = found[found["part"] == part].set_index("form")
        for y, form in enumerate(forms):
            _, colour, marker = look(form)
            ax.hlines(y, here["low"][form], here["high"][form], color=colour, linewidth=2)
            ax.plot(here["klom"][form], y, marker, color=colour, markersize=7)
        ax.axvline(here["klom"]["retrained_again"], color=METHODS["retrained"][1], linestyle="--", label="floor")
        ax.set(title=part, yticks=range(len(forms)), yticklabels=[look(form)[0] for form in forms])
        ax.set(ylim=(len(forms) - 0.5, -0.5))
        ax.grid(axis="y", visible=False)
    axes.flat[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    fig.supxlabel("KLoM to the retrained trainings (nats)", fontsize=10)
    return list(axes.flat)


AT_ORIGIN = 1.0  # points; forms that move both scores by less are named in one list


def plot_tradeoff(drops: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """What each form takes from the forget score (right is more) against what it takes from retain (down is less).

    On the dotted line it takes as much of both. Forms that do next to nothing lie on top of each other at the origin:
    they are one hollow mark, and their names a list.

    Args:
        drops: index of forms, columns `forget` and `retain`: how far each score fell, in points.
    """
    ax = ax or canvas(7.5, 4.4)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.axline((0, 0), slope=1, color="black", linestyle=":", linewidth=0.8)
    shapes = {"original": "top", "forget-images": "top", "one-trained": "left"}  # half filled: forms that see more
    still = (drops[["forget", "retain"]].abs() < AT_ORIGIN).all(axis=1)
    for form, row in drops[~still].iterrows():
        label, colour, marker = look(str(form))
        fill = "none" if "published" in label else shapes.get(str(form).partition(" ")[2], "full")
        ax.plot(row["forget"], row["retain"], marker, color=colour, fillstyle=fill, markersize=8)
    ax.set(xlabel="forget score lost (points)", ylabel="retain score lost (points)")
    ax.margins(0.08)
    name_ends(ax, {str(form): (row["forget"], row["retain"]) for form, row in drops[~still].iterrows()})
    if still.any():
        ax.plot(0, 0, "o", color="black", fillstyle="none", markersize=13)
        names = "\n".join(look(str(form))[0] for form in drops.index[still])
        head = f"hardly moved ({AT_ORIGIN:g} point or less),\nall at the circle:"
        ax.text(1.2, 0.5, f"{head}\n\n{names}", transform=ax.transAxes, va="center", fontsize=9)
    return ax


def plot_bargain(lost: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """What each step takes from those who ask (wanted) and from those who stay (the price): a pair of bars a step.

    Args:
        lost: index of models, from top to bottom; columns `forget` and `retain`, points lost.
    """
    ax = ax or canvas(7, 0.75 * len(lost) + 1.1)
    for y, (_, row) in enumerate(lost.iterrows()):
        for part, shift, who in (("forget", -0.18, "who ask"), ("retain", 0.18, "who stay")):
            ax.barh(y + shift, row[part], 0.32, color=PARTS[part], label="" if y else f"lost by those {who}")
            side = {"ha": "left" if row[part] >= 0 else "right", "va": "center", "fontsize": 10}
            ax.annotate(f"{row[part]:.1f}", (row[part], y + shift), (4 if row[part] >= 0 else -4, 0),
                        textcoords="offset points", **side)  # fmt: skip
    labels = [look(str(form))[0] for form in lost.index]
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set(yticks=range(len(lost)), yticklabels=labels, ylim=(len(lost) - 0.5, -0.5), xlabel="score lost (points)")
    ax.margins(x=0.12)
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def plot_trials(search: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The search for settings: what every trial (dots) gains in Tug-of-War against the folds, by form; best one filled.

    Forms are judged on two to six requests, so each is compared with the original model on its own ones.

    Args:
        search: rows of results/selection.csv of one setting; trials that a later search has replaced are not drawn.
    """
    if "replaced" in search:
        search = search[search["replaced"].fillna("") == ""]
    forms = list(dict.fromkeys(search["form"]))
    ax = ax or canvas(6.5, 0.3 * len(forms) + 1.1)
    for y, form in enumerate(forms):
        trials = search[search["form"] == form]
        gained, (_, colour, marker) = trials["tow"] - trials["tow_before"], look(form)
        ax.scatter(gained, [y] * len(gained), marker=marker, s=28, facecolor="none", edgecolor=colour, alpha=0.8)
        ax.scatter(gained.max(), y, marker=marker, s=60, color=colour, zorder=3)
    ax.axvline(0, color="black", linestyle=":", linewidth=1.2, label="original model")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1))
    labels = [look(form)[0] for form in forms]
    ax.set(yticks=range(len(forms)), yticklabels=labels, ylim=(len(forms) - 0.5, -0.5))
    ax.set(xlabel="Tug-of-War gained, against the fold models (points)")
    ax.grid(axis="y", visible=False)
    return ax
