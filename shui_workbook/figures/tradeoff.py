"""The trade between forgetting and keeping, and where in the weights a step goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shui_workbook.figures.style import PARTS, canvas, look


def plot_tradeoff_curves(curves: pd.DataFrame, goal: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Every method at growing strength: forget score lost (right is more) against retain score lost (down is less).

    On the dotted line it takes as much of both.

    Args:
        curves: columns `form`, `seed`, `forget`, `retain` (points lost), in the order of growing strength.
        goal: `forget` and `retain` that the retrained model lost, a line a seed.
    """
    ax = ax or canvas(6.5, 4)
    for form, one in curves.groupby("form", sort=False):
        label, colour, marker = look(form)
        for k, (_, line) in enumerate(one.groupby("seed")):
            options = {"color": colour, "markersize": 4, "linewidth": 1.3, "alpha": 0.85}
            ax.plot(line["forget"], line["retain"], marker=marker, label="" if k else label, **options)
    _, colour, marker = look("retrained")
    ax.plot(goal["forget"], goal["retain"], marker, color=colour, markersize=9, label="Retrained")
    ax.axhline(0, color="black", linewidth=0.8)
    ax.axline((0, 0), slope=1, color="black", linestyle=":", linewidth=0.8)
    top = max(3.0, 1.1 * curves.loc[curves["forget"] <= 1.15 * goal["forget"].max(), "retain"].max())
    bottom = min(-1.5, goal["retain"].min() - 0.06 * top)
    ax.set(xlabel="forget score lost (points)", ylabel="retain score lost (points)", ylim=(bottom, top))
    ax.set_xlim(-1, 1.15 * goal["forget"].max())
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_valley(
    loss: Callable[[np.ndarray, np.ndarray], np.ndarray],
    paths: Mapping[str, np.ndarray],
    points: Mapping[str, np.ndarray],
    ax: Axes | None = None,
) -> Axes:
    """Contours of a loss over two weights, the paths that methods take from the original, and points to compare with.

    Args:
        loss: of two arrays of weights, elementwise.
        paths: by method, (T, 2) weights at growing strength.
        points: by trained model, (2,) weights.
    """
    ax = ax or canvas(6.5, 4)
    every = np.concatenate([*paths.values(), *(p[None] for p in points.values())])
    low, high = every.min(0), every.max(0)
    pad = 0.15 * (high - low).max()
    grid = np.meshgrid(*(np.linspace(a - pad, b + pad, 200) for a, b in zip(low, high, strict=True)))
    height = loss(*grid)
    levels = height.min() + np.geomspace(1e-3, 1, 12) * np.ptp(height)
    ax.contour(*grid, height, levels=levels, colors="#bbbbbb", linewidths=0.8)
    for form, path in paths.items():
        label, colour, _ = look(form)
        ax.plot(*path.T, color=colour, linewidth=2, label=label)
        ax.annotate("", path[-1], path[-2], arrowprops={"arrowstyle": "->", "color": colour, "lw": 2})
    for form, point in points.items():
        label, colour, marker = look(form)
        ax.plot(*point, marker, color=colour, markersize=9, linestyle="", label=label, zorder=4)
    ax.set(xlabel="weight of what everybody shares", ylabel="weight of what only this person has")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    ax.grid(False)
    return ax


def plot_where_the_step_goes(shares: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """How much of a step lies in the directions of highest curvature.

    Args:
        shares: index: share of directions, the most curved first (%); a column a form: share of the step's squared
            length that lies in them (%).
    """
    ax = ax or canvas(6.5, 3.2)
    for form in shares:
        label, colour, _ = look(str(form))
        ax.plot(shares.index, shares[form], color=colour, linewidth=2, label=label)
    ax.set(xscale="log", ylim=(0, 102), xlabel="directions, the most curved first (%)", ylabel="of the step (%)")
    ax.legend(loc="upper left")
    return ax


def plot_split(gains: Mapping[str, pd.DataFrame], axes: Sequence[Axes]) -> Sequence[Axes]:
    """How a gain is made up, one axes a setting: from step to step one thing more, each with its interval.

    Args:
        gains: by setting a frame with index of steps, from the first to the last, columns mean, low and high; the gain
            over doing nothing, in points. A step without a mean is not drawn.
    """
    for ax, (setting, frame) in zip(axes, gains.items(), strict=True):
        for y, (_, one) in enumerate(frame.iterrows()):
            if np.isfinite(one["mean"]):
                ax.barh(y, one["mean"], color=PARTS["retain"], height=0.6)
                ax.hlines(y, one["low"], one["high"], color="black", linewidth=1.6)
                ax.text(1.02, y, f"{one['mean']:+.1f}", va="center", transform=ax.get_yaxis_transform())
            else:
                ax.text(
                    0.5, y, "not run", ha="center", va="center", color="#707070", transform=ax.get_yaxis_transform()
                )
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set(yticks=range(len(frame)), ylim=(len(frame) - 0.5, -0.5), title=setting)
        ax.set_yticklabels(frame.index if ax is axes[0] else [])
        ax.set_xlabel("Tug-of-War gained (points)")
        ax.grid(axis="y", visible=False)
    return axes
