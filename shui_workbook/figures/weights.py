"""What methods change in the weights, and why there."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from shui_workbook.figures.style import METHODS, canvas, look


def plot_importance_ratio(ratio: np.ndarray, threshold: float, ax: Axes | None = None) -> Axes:
    """Histogram of I_f / I_D over all weights, with the threshold α right of which weights are shrunk."""
    ax = ax or canvas(6.5, 2.8)
    shown = np.log10(ratio[ratio > 0])
    edges = np.linspace(*np.quantile(shown, [0.001, 0.999]), 80)
    colour = METHODS["ssd"][1]
    ax.hist(shown, edges, color=colour, alpha=0.45)
    ax.hist(shown[shown > np.log10(threshold)], edges, color=colour)
    ax.axvline(np.log10(threshold), color="black", linewidth=1.2, label=f"α = {threshold:g}")
    ax.axvline(0, color="black", linestyle=":", linewidth=1, label="equally important")
    ax.set(xlabel="importance to the support photos over importance to the training data (log₁₀)", ylabel="weights")
    ax.legend()
    return ax


def plot_by_layer(values: pd.DataFrame, ylabel: str, ax: Axes | None = None) -> Axes:
    """Bars for each layer (index), one for each form (columns; shades of its method's colour)."""
    ax = ax or canvas(min(max(0.36 * len(values) + 1.5, 6.5), 9.5), 4)
    width = 0.8 / len(values.columns)
    for k, form in enumerate(values):
        label, colour, _ = look(form)
        place = np.arange(len(values)) + (k - (len(values.columns) - 1) / 2) * width
        ax.bar(place, values[form], width, color=colour, alpha=1 - 0.5 * k / len(values.columns), label=label)
    _name_layers(ax, values.index, range(len(values)))
    ax.set(ylabel=textwrap.fill(ylabel, 24))
    ax.grid(axis="x", visible=False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def plot_weight_changes(changes: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Heat map: relative change of each weight (columns, stem to head) by each form (rows), logarithmic."""
    ax = ax or canvas(min(0.25 * changes.shape[1] + 3, 9.5), 0.3 * len(changes) + 2)
    shown = np.log10(changes.clip(lower=1e-5))
    labels = [look(form)[0] for form in changes.index]
    bar = {"label": "relative change (log₁₀)", "shrink": 0.8}
    sns.heatmap(
        shown, cmap="mako_r", vmin=-5, vmax=0, yticklabels=labels, cbar_kws=bar, linewidths=0.5, ax=ax,
    )  # fmt: skip
    ax.tick_params(length=0)
    _name_layers(ax, changes.columns, np.arange(changes.shape[1]) + 0.5)
    return ax


def _name_layers(ax: Axes, names: Sequence[object], places: Sequence[float]) -> None:
    """Short names of layers below the axis: "network.blocks.3.attn.qkv.weight" is "3 attn.qkv"; a few lie flat."""
    short = [re.sub(r"^network\.|\.weight$", "", str(name)) for name in names]
    short = [re.sub(r"^blocks\.(\d+)\.", r"\1 ", name) for name in short]
    short = [re.sub(r"^blocks\.(\d+)$", r"block \1", name) for name in short]
    ax.set_xticks(places, short, rotation=0 if sum(map(len, short)) < 50 else 90, fontsize=9)
