"""Training, meta-training, and the learned loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from shui_workbook.figures.style import METHODS, PARTS, SCORE_NAMES, bare, canvas


def plot_losses(histories: Mapping[str, pd.DataFrame], ax: Axes | None = None) -> Axes:
    """Training loss (solid) and validation loss (dashed) of each model, by epoch."""
    ax = ax or canvas(5, 3)
    for name, history in histories.items():
        label, colour, _ = METHODS[name]
        ax.plot(history["epoch"], history["loss"], color=colour, label=f"{label}, training")
        ax.plot(history["epoch"], history["val_loss"], color=colour, linestyle="--", label=f"{label}, validation")
    ax.set(xlabel="epoch", ylabel="task loss (nats)", ylim=(0, None))
    ax.legend(fontsize=9)
    return ax


def plot_validation(histories: Mapping[str, pd.DataFrame], metric: str, ax: Axes | None = None) -> Axes:
    """Validation score of each model, by epoch; `metric` is map or accuracy."""
    ax = ax or canvas(5, 3)
    for name, history in histories.items():
        label, colour, _ = METHODS[name]
        ax.plot(history["epoch"], 100 * history["val_score"], color=colour, label=label)
    ax.set(xlabel="epoch", ylabel=f"validation {SCORE_NAMES[metric]} (%)")
    ax.legend()
    return ax


def plot_alignment(history: pd.DataFrame, quantity: str, ax: Axes | None = None) -> Axes:
    """Meta-training: images to forget against validation images after the step; `quantity` is loss or score."""
    ax = ax or canvas(5, 3)
    scale = 100 if quantity == "score" else 1
    request = np.arange(1, len(history) + 1)
    lines = {
        "f": ("forget, after the step", PARTS["forget"], "-"),
        "v": ("validation, after the step", PARTS["test"], "-"),
        "v0": ("validation, before", PARTS["test"], ":"),
    }
    for end, (label, colour, style) in lines.items():
        ax.plot(request, scale * history[f"{quantity}_{end}"], color=colour, linestyle=style, label=label)
    ax.set(xlabel="simulated request", ylabel="task loss (nats)" if quantity == "loss" else "score (%)")
    ax.legend(fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
    return _epoch_marks(ax, history)


def plot_objective(history: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Meta-training: the objective A of each simulated request, and the mean of each epoch."""
    ax = ax or canvas(5, 3)
    request = pd.Series(np.arange(1, len(history) + 1), index=history.index)
    colour = METHODS["meta_unlearn"][1]
    ax.plot(request, history["objective"], "o", color=colour, markersize=4, alpha=0.6, label="one request")
    for epoch, rows in history.groupby("epoch"):
        span = request.loc[rows.index].agg(["min", "max"])
        mean = [rows["objective"].mean()] * 2
        ax.plot(span, mean, color="black", linewidth=2, label="mean of an epoch" if epoch == 1 else None)
    ax.set(xlabel="simulated request", ylabel="objective A (eq. 6)", ylim=(0, None))
    ax.legend(fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), borderpad=0)
    return _epoch_marks(ax, history)


def _epoch_marks(ax: Axes, history: pd.DataFrame) -> Axes:
    for place in np.flatnonzero(history["epoch"].diff() > 0):
        ax.axvline(place + 0.5, color="#999999", linewidth=0.8, linestyle=(0, (2, 3)))
    return ax


def plot_loss_inputs(parts: Mapping[str, np.ndarray], ax: Axes | None = None) -> Axes:
    """The input vector of the learned loss as a strip of cells, one segment for each of its parts."""
    ax = ax or canvas(9.5, 1.3)
    total = sum(map(len, parts.values()))
    left, gap = 0, 0.03 * total
    for name, values in parts.items():
        scaled = values / max(np.abs(values).max(), 1e-9)
        where = (left, left + len(values), 0, 1)
        ax.imshow(scaled[None], extent=where, aspect="auto", cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
        ax.add_patch(Rectangle((left, 0), len(values), 1, fill=False, edgecolor="black", linewidth=0.8))
        ax.text(left + len(values) / 2, 1.12, name, ha="center", va="bottom", fontsize=9)
        ax.text(left + len(values) / 2, -0.12, f"{len(values)}", ha="center", va="top", fontsize=9)
        left += len(values) + gap
    arrow = {"arrowstyle": "->", "color": "black"}
    ax.annotate("", (left + 0.05 * total, 0.5), (left, 0.5), arrowprops=arrow)
    ax.text(left + 0.06 * total, 0.5, r"MLP $\rightarrow h_\varphi$", va="center")
    ax.set(xlim=(-0.01 * total, left + 0.2 * total), ylim=(-0.5, 1.5), xticks=[], yticks=[])
    return bare(ax)


def plot_push(push: np.ndarray, people: Sequence[str], classes: Sequence[str], ax: Axes | None = None) -> Axes:
    """Heat map (N_S, K): where one step along the learned loss moves what the model says, identity by identity.

    Each row has a scale of its own, so that a few people with a strong push do not blank the others; how strong it is
    stands beside the row, as the length of the push per unit of η.
    """
    ax = ax or canvas(min(0.42 * len(classes) + 3.2, 14), 0.3 * len(people) + 1.9)
    strongest = np.abs(push).max(axis=1, keepdims=True)
    bar = {"label": "push, of the person's strongest", "shrink": 0.8}
    labels = [f"{who}: {np.linalg.norm(row):.1g}" for who, row in zip(people, push, strict=True)]
    sns.heatmap(
        push / np.where(strongest > 0, strongest, 1), cmap="PuOr", vmin=-1, vmax=1, xticklabels=classes,
        yticklabels=labels, cbar_kws=bar, linewidths=0.5, ax=ax,
    )  # fmt: skip
    ax.tick_params(length=0)
    ax.set_xticks(ax.get_xticks(), ax.get_xticklabels(), rotation=60, ha="right", rotation_mode="anchor")
    ax.set_yticks(ax.get_yticks(), ax.get_yticklabels(), rotation=0)
    ax.set_ylabel("who: length of the push")
    return ax


def plot_by_row(
    frame: pd.DataFrame, row: str, value: str, xlabel: str, *, mark: float | None = None, ax: Axes | None = None
) -> Axes:
    """Dots: one line for each entry of column `row`, one dot for each `method` at column `value` (in percent).

    Columns `ceiling` and `chance`, where there are some, are drawn as black and grey ticks; `mark` is a dotted line.
    """
    rows = list(dict.fromkeys(frame[row]))
    ax = ax or canvas(6.5, 0.27 * len(rows) + 1.2)
    spot = {name: y for y, name in enumerate(rows)}
    y = frame[row].map(spot)
    span = frame.assign(y=y).groupby("y")[value].agg(["min", "max"])
    ax.hlines(span.index, span["min"], span["max"], color="#cccccc", linewidth=2, zorder=1)
    for method in dict.fromkeys(frame["method"]):
        label, colour, marker = METHODS[method]
        mine = frame["method"] == method
        ax.scatter(frame.loc[mine, value], y[mine], color=colour, marker=marker, s=42, label=label, zorder=3)
    if "ceiling" in frame:
        ax.scatter(frame["ceiling"], y, marker="|", s=120, color="black", label="ceiling", zorder=2)
    if "chance" in frame:
        ax.scatter(frame["chance"], y, marker="|", s=120, color="#888888", label="chance", zorder=2)
    if mark is not None:
        ax.axvline(mark, color="black", linestyle=":", linewidth=1)
    ax.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax
