"""The trade between forgetting and keeping, and where in the weights a step goes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shui_workbook.figures.style import HALO, NEUTRAL, canvas, look


def plot_tradeoff_curves(shares: pd.DataFrame, goal: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The price of forgetting: what each method has taken from those who stay, by how much it has forgotten.

    Means over seeds, each line with its name at its end; one that ends early does not get farther in most of them.
    Forms that forget nothing at any strength have no line, and are named above.

    Args:
        shares: points of retain lost by share of what retraining forgets (%), a column a form (`tradeoff.by_share`).
        goal: `forget` and `retain` that the retrained model lost, a line a seed.
    """
    ax = ax or canvas(7, 4.2)
    if shares.empty:
        ax.set_axis_off()
        ax.text(0.5, 0.5, "The retrained model forgets nothing here:\nnothing has a price.", ha="center", va="center")
        return ax
    still = [form for form in shares if shares[form].last_valid_index() == 0]
    if still:
        ax.set_title(f"forget nothing: {', '.join(look(form)[0] for form in still)}", loc="left", fontsize=9)
    ends = {}
    for form in shares.drop(columns=still):
        line = shares[form].dropna()
        _, colour, marker = look(form)
        ax.plot(line.index, line, color=colour, linewidth=2)
        ax.plot(line.index[-1], line.iloc[-1], marker, color=colour, markersize=7, clip_on=False, zorder=4)
        ends[form] = (line.index[-1], line.iloc[-1])
    _, colour, marker = look("retrained")
    ax.plot(100, goal["retain"].mean(), marker, color=colour, markersize=9, clip_on=False)
    ends["retrained"] = (100.0, goal["retain"].mean())
    low, high = min(-1.5, goal["retain"].mean() - 1), max(3.0, 1.08 * shares.max().max())
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(xlim=(0, 100), ylim=(low, high), ylabel="lost by those who stay (points)")
    ax.set_xlabel("forgotten, of what retraining forgets (%)")
    name_ends(ax, ends)
    return ax


def name_ends(ax: Axes, ends: Mapping[str, tuple[float, float]]) -> None:
    """Names beside points, moved up or down where they would lie over each other or over another point.

    Those at the right edge stand outside. No line strikes a name through: it is drawn last, in a white halo.
    """
    (low, high), wide = ax.get_ylim(), np.ptp(ax.get_xlim())
    apart, taken = 0.055 * (high - low), []
    for form, (x, y) in sorted(ends.items(), key=lambda end: end[1][1]):
        below = [other for at, other in taken if abs(at - x) < 0.3 * wide]  # names stay in the order of their points
        marks = [other for at, other in ends.values() if 0 < at - x < 0.3 * wide]
        places = (y + apart * shift / 2 for k in range(4 * len(ends)) for shift in (k, -k))
        free = (one for one in places if all(abs(one - mark) >= 0.99 * apart for mark in marks))
        place = next(one for one in free if all(one - other >= 0.99 * apart for other in below))
        taken.append((x, place))
        style = {"va": "center", "fontsize": 9, "annotation_clip": False, "path_effects": HALO, "zorder": 5}
        line = {"arrowstyle": "-", "linewidth": 0.6, "color": "#777777", "shrinkA": 0, "shrinkB": 3}
        ax.annotate(look(form)[0], (x, y), (x + 0.03 * wide, place), arrowprops=line, **style)


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
    ax.set(xscale="log", ylim=(0, 102), xlabel="directions, the most curved first (%)")
    ax.set_ylabel("of the step's squared length (%)")
    ax.legend(loc="upper left")
    return ax


def plot_split(gains: Mapping[str, pd.DataFrame], axes: Sequence[Axes]) -> Sequence[Axes]:
    """How a gain is made up, one axes a setting: from step to step one thing more, each with its interval.

    The number stands right of its interval. Each setting has a scale of its own.

    Args:
        gains: by setting a frame with index of steps, from the first to the last, columns mean, low and high; the gain
            over doing nothing, in points. A step without a mean is not drawn.
    """
    for ax, (setting, frame) in zip(axes, gains.items(), strict=True):
        for y, (_, one) in enumerate(frame.iterrows()):
            if np.isfinite(one["mean"]):
                ax.barh(y, one["mean"], color=NEUTRAL, height=0.6)
                ax.hlines(y, one["low"], one["high"], color="black", linewidth=1.6)
                end = np.nanmax([one["mean"], one["high"], 0])
                place = {"textcoords": "offset points", "va": "center", "fontsize": 9}
                ax.annotate(f"{one['mean']:+.1f}", (end, y), (4, 0), **place)
            else:
                place = {"ha": "center", "va": "center", "transform": ax.get_yaxis_transform()}
                ax.text(0.5, y, "not run", color="#707070", **place)
        ax.axvline(0, color="black", linewidth=0.8)
        low, high = ax.get_xlim()
        ax.set(yticks=range(len(frame)), ylim=(len(frame) - 0.5, -0.5), title=setting)
        ax.set_xlim(low, high + 0.3 * (high - low))  # room for the number of the widest interval
        ax.set_yticklabels(frame.index if ax is axes[0] else [])
        ax.set_xlabel("Tug-of-War gained (points)")
        ax.grid(axis="y", visible=False)
    return axes
