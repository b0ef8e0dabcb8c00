"""What single identities gain and pay: bars and scatter by distance, doses, and whose photo moves whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shui_workbook.figures.style import METHODS, PARTS, canvas, look

OWN, OTHERS, MARK = PARTS["support"], PARTS["val"], "#a11d33"


def plot_by_distance(
    people: pd.DataFrame,
    bars: pd.DataFrame,
    x: str,
    y: str,
    *,
    labels: tuple[str, str],
    colour: str = PARTS["forget"],
    marked: Sequence[bool] | None = None,
    mark: str = "",
    ax: Axes | None = None,
) -> Axes:
    """Every identity as a dot over bars of the mean in bins of increasing distance (the paper's Fig. 4 and 5).

    Args:
        people: a line an identity, columns x and y. labels: what they are, with units.
        bars: `analyses.binned` of them.
        marked: (N,) the identities that are ringed; `mark` says in the legend what they are.
    """
    ax = ax or canvas(5.6, 3.4)
    left, width = bars["left"], bars["right"] - bars["left"]
    ax.bar(left, bars["mean"], width, align="edge", color=colour, alpha=0.3, edgecolor=colour, linewidth=1.2)
    middle, spread = left + width / 2, np.nan_to_num((bars["mean"] - bars["low"], bars["high"] - bars["mean"]))
    ax.errorbar(middle, bars["mean"], spread, fmt="none", color="black", linewidth=1.6, zorder=4)
    size, alpha = (20, 0.75) if len(people) < 150 else (10, 0.35)
    ax.scatter(people[x], people[y], s=size, color=colour, alpha=alpha, linewidths=0, zorder=3)
    if marked is not None and np.any(marked):
        ringed = people[np.asarray(marked)]
        ax.scatter(ringed[x], ringed[y], s=90, facecolor="none", edgecolor=MARK, linewidths=1.6, label=mark, zorder=5)
        ax.legend(loc="best", fontsize=9)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.set(xlabel=labels[0], ylabel=labels[1])
    return ax


def plot_fifths(
    lines: Mapping[str, pd.DataFrame], ylabel: str, ax: Axes | None = None, *, ends: tuple[str, str] = ("near", "far")
) -> Axes:
    """Means of people in bins of increasing distance, with intervals over seeds; a faint line is one seed.

    Args:
        lines: `people.binned` by form; a name that is no form is drawn in dark red, with its seeds behind it.
        ends: words for the first and the last bin.
    """
    ax, lines = ax or canvas(5.6, 3.4), {form: bars for form, bars in lines.items() if len(bars)}
    seed_is_named = False
    for k, (form, bars) in enumerate(lines.items()):
        label, colour, marker = (form, PARTS["forget"], "o") if form.partition(" ")[0] not in METHODS else look(form)
        x = np.arange(len(bars)) + 0.09 * (k - (len(lines) - 1) / 2)
        for seed in bars["by_seed"].iloc[0] if k == 0 else ():
            faint = {"color": colour, "alpha": 0.3, "linewidth": 0.8, "label": None if seed_is_named else "one seed"}
            ax.plot(x, [means.get(seed, np.nan) for means in bars["by_seed"]], **faint)
            seed_is_named = True
        spread = np.nan_to_num((bars["mean"] - bars["low"], bars["high"] - bars["mean"]))
        ax.errorbar(x, bars["mean"], spread, marker=marker, color=colour, markersize=6, linewidth=2, label=label)
    ax.axhline(0, color="black", linewidth=0.8)
    words = [str(k + 1) for k in range(max(map(len, lines.values()), default=0))]
    for at, end in zip((0, -1) if words else (), ends, strict=False):
        words[at] += f"\n{end}"
    ax.set(xticks=range(len(words)), xlabel=f"{'fifths' if len(words) == 5 else 'bins'} by distance", ylabel=ylabel)
    ax.set_xticklabels(words)
    ax.grid(axis="x", visible=False)
    return ax


def plot_trends(found: pd.DataFrame, axes: Sequence[Axes], titles: Sequence[str]) -> Sequence[Axes]:
    """Spearman's ρ of every form with its interval, one axes a measure; filled where zero lies outside.

    Args:
        found: columns form (or "mean of three"), measure, rho, low, high; forms from top to bottom, measures from
            left to right.
    """
    reach = min(1, max(0.4, 1.1 * found[["rho", "low", "high"]].abs().max(axis=None)))
    for ax, title, (_, mine) in zip(axes, titles, found.groupby("measure", sort=False), strict=True):
        for y, row in enumerate(mine.itertuples()):
            _, colour, marker = _look(row.form)
            clear = row.low > 0 or row.high < 0
            ax.hlines(y, row.low, row.high, color=colour, linewidth=2)
            ax.scatter(row.rho, y, marker=marker, s=45, color=colour if clear else "white", edgecolor=colour, zorder=3)
        ax.axvline(0, color="black", linewidth=0.8)
        ax.set(xlim=(-reach, reach), ylim=(len(mine) - 0.5, -0.5), yticks=range(len(mine)), xlabel="Spearman's ρ")
        ax.set_yticklabels([_look(form)[0] for form in mine["form"]] if ax is axes[0] else [])
        ax.set_title(title)
        ax.grid(axis="y", visible=False)
    return axes


def plot_doses(doses: pd.DataFrame, axes: Sequence[Axes], ylabel: str) -> Sequence[Axes]:
    """What changes with the dose of one factor, one axes a factor, one line a form, with intervals.

    Args:
        doses: columns factor, dose (a number), form, mean, low, high; "" as the form draws a line in grey without a
            label.
    """
    for ax, (factor, mine) in zip(axes, doses.groupby("factor", sort=False), strict=True):
        for f, (form, line) in enumerate(mine.groupby("form", sort=False)):
            label, colour, marker = look(form) if form else (None, PARTS["test"], "o")
            x = np.arange(len(line)) + 0.08 * f
            spread = np.nan_to_num((line["mean"] - line["low"], line["high"] - line["mean"]))  # none with one seed
            ax.errorbar(x, line["mean"], spread, color=colour,
                        marker=marker, markersize=6, capsize=0, linewidth=1.6, label=label)  # fmt: skip
        ax.axhline(0, color="black", linewidth=0.8)
        ax.set(
            xticks=range(len(line)),
            xticklabels=[f"{dose:g}" for dose in line["dose"]],
            xlabel=factor,
            xlim=(-0.3, len(line) - 0.5),
        )
        ax.set_ylabel(ylabel if ax is axes[0] else "")
        ax.label_outer()  # of axes above others the lowest names the factor
    if axes[-1].get_legend_handles_labels()[0]:
        axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return axes


def plot_influence(influence: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """What a step does to each identity: the push of its own photo, that of the others, and their sum.

    Args:
        influence: columns own and others, nats; drawn from the largest sum down.
    """
    ax = ax or canvas(6.5, 0.16 * len(influence) + 1.1)
    shown = influence.assign(total=influence["own"] + influence["others"]).sort_values("total", ignore_index=True)
    for name, colour, shift in (("own", OWN, 0.2), ("others", OTHERS, -0.2)):
        label = "its own photo" if name == "own" else "the others' photos"
        ax.barh(shown.index + shift, shown[name], 0.4, color=colour, label=label)
    ax.scatter(shown["total"], shown.index, color="black", marker="|", s=60, label="both together", zorder=3)
    ax.axvline(0, color="black", linewidth=0.8)
    ax.set(yticks=[], ylabel="identities", xlabel="first-order change of an identity's loss (nats)")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def _look(form: str) -> tuple[str, str, str]:
    """As `look`; what is no form, a mean of several for instance, is grey."""
    return look(form) if form.partition(" ")[0] in METHODS else (form, PARTS["test"], "o")
