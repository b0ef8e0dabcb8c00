"""How much one photo says: the gaps of persons, and the handle of every preset."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from shui_workbook.figures.style import PARTS

SIDES = {"trained": ("photos it was trained on", PARTS["forget"]), "held": ("other photos of them", PARTS["support"])}


def plot_handles(found: pd.DataFrame, axes: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """What a model knows of persons on photos it was trained on and on others (left), and their ratio (right).

    A preset without a handle has no mark on the right.

    Args:
        found: a line a data set and preset, as `shui_workbook.studies.handle.handles` gives them.
    """
    if axes is None:
        axes = plt.subplots(1, 2, figsize=(8.5, 1.2 + 0.55 * len(found)), sharey=True)[1]
    y = np.arange(len(found))
    for k, (side, (label, colour)) in enumerate(SIDES.items()):
        _intervals(axes[0], found, side, y - 0.15 + 0.3 * k, color=colour, label=label)
    _intervals(axes[1], found, "handle", y, scale=100, color="black")
    axes[0].set(xlabel="loss of a model that never met them, minus\nthat of one that did (nats)")
    axes[1].set(xlabel="handle: second gap in percent of the first")
    axes[0].set_yticks(y, [f"{line.dataset}, {line.preset}" for line in found.itertuples()])
    axes[0].set_ylim(len(found) - 0.5, -0.5)
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=9)
    _zeros(axes, found[["trained_low", "held_low"]])
    return axes


def plot_gain_by_handle(found: pd.DataFrame, axes: Sequence[Axes] | None = None) -> Sequence[Axes]:
    """What a model knows of persons beyond their photos (left), and what a step could gain at best (right).

    Args:
        found: a line a setting, as `shui_workbook.studies.upper_ends.beside_handles` gives them.
    """
    if axes is None:
        axes = plt.subplots(1, 2, figsize=(8.5, 1.3 + 0.55 * len(found)), sharey=True)[1]
    y = np.arange(len(found))
    _intervals(axes[0], found, "held", y, color=SIDES["held"][1])
    arms = [name.removesuffix("_low") for name in found if name.endswith("_low") and name != "held_low"]
    for k, (arm, colour) in enumerate(zip(arms, (PARTS["support"], PARTS["forget"]), strict=True)):
        _intervals(axes[1], found, arm, y - 0.15 + 0.3 * k, color=colour, label=arm)
    axes[0].set(xlabel="gap on photos that\nno model saw (nats)")
    axes[1].set(xlabel="highest Tug-of-War on the way,\nminus that of doing nothing")
    axes[0].set_yticks(y, [f"{line.dataset}, {line.n_ids} people, {line.preset}" for line in found.itertuples()])
    axes[0].set_ylim(len(found) - 0.5, -0.5)
    axes[1].legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=9)
    _zeros(axes, found[["held_low"]])
    return axes


def _zeros(axes: Sequence[Axes], lowest: pd.DataFrame) -> None:
    """A line at zero, or a left axis of ratios where all gaps are clear of it: classes have ten times larger ones."""
    clear = bool((lowest.to_numpy() > 0).all())
    if clear:
        axes[0].set_xscale("log")
        axes[0].xaxis.set(major_locator=LogLocator(subs=(1, 3)), major_formatter="{x:g}", minor_formatter="")
    for ax in axes[1:] if clear else axes:
        ax.axvline(0, color="black", linewidth=0.8)
    for ax in axes:
        ax.grid(axis="y", visible=False)


def _intervals(ax: Axes, found: pd.DataFrame, name: str, y: np.ndarray, *, scale: float = 1, **options: object) -> None:
    value, low, high = (scale * found[column].to_numpy() for column in (name, f"{name}_low", f"{name}_high"))
    spread = np.nan_to_num((value - low, high - value))  # none with one seed
    ax.errorbar(value, y, xerr=spread, fmt="o", capsize=3, linewidth=1.6, **options)
