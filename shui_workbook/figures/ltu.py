"""Learning to Unlearn: two gradients that disagree, what samplers pick, guides, and gaps with their floor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shui_lib.benchmark.data import Faces
from shui_workbook.figures.photos import thumbnails
from shui_workbook.figures.style import METHODS, OTHERS, PARTS, bare, canvas

ARROWS = {  # label, colour
    "remember": ("to remember, $g_r$", PARTS["train"]),
    "forget": ("to forget, $g_f$", PARTS["forget"]),
    "kept": ("what is kept of $g_f$", OTHERS[1]),
    "sum": ("step that is taken", "#000000"),
}
LINES = {"UA": PARTS["forget"], "RA": PARTS["train"], "TA": PARTS["test"], "MI": OTHERS[2]}
GUIDES = dict(zip(("sorted", "labelled", "statistics", "shadow"), OTHERS, strict=False))
RIVALS = [(colour, marker, "--") for colour, marker in zip(OTHERS, "s^Dv<>", strict=True)]
OURS = ("#000000", "o", "-")


def plot_conflict(arrows: Mapping[str, np.ndarray], ax: Axes | None = None) -> Axes:
    """Directions in a plane, from one point; keys as in `ARROWS`."""
    ax = ax or canvas(5, 3.4)
    for name, (x, y) in arrows.items():
        label, colour = ARROWS[name]
        ax.annotate("", (x, y), (0, 0), arrowprops={"arrowstyle": "-|>", "color": colour, "lw": 2.2})
        ax.plot([], [], color=colour, linewidth=2.2, label=label)
    ends = np.array([[0, 0], *arrows.values()])
    low, high = ends.min(0) - 0.15, ends.max(0) + 0.15
    ax.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
    ax.set(xlabel="first weight", ylabel="second weight")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_harmony(turns: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """The cosine of both gradients, and the share of g_f that was taken away, by iteration.

    Args:
        turns: columns t, cosine, removed.
    """
    ax = ax or canvas(6.5, 2.8)
    ax.axhline(0, color="black", linewidth=0.8)
    ax.plot(turns["t"], turns["cosine"], "o-", color=OTHERS[0], markersize=4, label="cosine of $g_r$ and $g_f$")
    ax.bar(turns["t"], turns["removed"], color=OTHERS[1], alpha=0.6, label="share of $g_f$ taken away")
    ax.set(xlabel="iteration", ylabel="cosine; share", ylim=(-1, 1))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_picks(
    rows: Mapping[str, Faces], *, show_faces: bool = False, figsize: tuple[float, float] = (7.5, 3.4)
) -> Sequence[Axes]:
    """Pictures in rows, each over its class: the support, then what each sampler picked, column by column."""
    columns = len(next(iter(rows.values())))
    _, grid = plt.subplots(len(rows), columns, figsize=figsize, squeeze=False)
    for axes, (name, faces) in zip(grid, rows.items(), strict=True):
        pictures = thumbnails(faces, show_faces=show_faces)
        for ax, picture, target in zip(axes, pictures, faces.targets.tolist(), strict=True):
            bare(ax).imshow(picture)
            ax.set(xticks=[], yticks=[])
            ax.set_xlabel(f"{target}", fontsize=8, labelpad=1)
        axes[0].set_ylabel(name, rotation=0, ha="right", va="center")
    return grid[:, 0]


def plot_course(course: pd.DataFrame, goal: Mapping[str, float], ax: Axes | None = None) -> Axes:
    """UA, RA, TA and MI by iteration (columns of `course`, beside t); dashed where the retrained model stands."""
    ax = ax or canvas(6.5, 3.2)
    for name, colour in LINES.items():
        ax.plot(course["t"], course[name], color=colour, linewidth=2, label=name)
        ax.axhline(goal[name], color=colour, linestyle="--", linewidth=1)
    ax.set(xlabel="iteration", ylabel="percent", ylim=(0, 100))
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="dashed: retrained")
    return ax


def plot_guides(course: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """AUC of each guide (a column each, in percent) on D_f against test, by iteration `t`."""
    ax = ax or canvas(6.5, 2.8)
    ax.axhline(50, color="black", linewidth=0.8)
    for kind in [name for name in GUIDES if name in course]:
        ax.plot(course["t"], course[kind], color=GUIDES[kind], linewidth=2, label=kind)
    ax.set(xlabel="iteration", ylabel="AUC (%)")
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), title="guide")
    return ax


def plot_kept(curve: pd.DataFrame, floor: float, ax: Axes | None = None) -> Axes:
    """Average gap by the share of the retain images that is at hand, a line a method; dotted, a second retrained model.

    The first line is drawn in black, the others in a colour, a marker and dashes each; their bars stand side by side.

    Args:
        curve: columns line, kept (fraction), mean, low, high.
    """
    ax = ax or canvas(7.5, 3.6)
    names, shares = list(dict.fromkeys(curve["line"])), sorted(curve["kept"].unique())
    looks = [OURS, *(RIVALS[k % len(RIVALS)] for k in range(len(names) - 1))]
    for k, (name, (colour, marker, style)) in enumerate(zip(names, looks, strict=True)):
        one = curve[curve["line"] == name].sort_values("kept")
        x = np.array([shares.index(kept) for kept in one["kept"]]) + 0.13 * (k - (len(names) - 1) / 2)
        error = [one["mean"] - one["low"], one["high"] - one["mean"]]
        drawn = {"color": colour, "marker": marker, "markersize": 6, "label": name}
        ax.errorbar(x, one["mean"], error, linestyle="", linewidth=1.8, **drawn)
        ax.plot(x, one["mean"], style, color=colour, linewidth=1, alpha=0.5)
    for border in range(1, len(shares)):
        ax.axvline(border - 0.5, color="#cccccc", linewidth=0.8)
    ax.axhline(floor, color=METHODS["retrained"][1], linestyle=":", label="second retrained")
    ax.set(xlabel="retain images at hand (%)", ylabel="average gap (points)", ylim=(0, None))
    ax.set_xticks(range(len(shares)), [f"{100 * share:g}" for share in shares])
    ax.grid(axis="x", visible=False)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax


def plot_average_gaps(found: pd.DataFrame, floor: float, ax: Axes | None = None) -> Axes:
    """Mean gap to the retrained model of each line, with its interval; dotted, a second retrained model.

    Args:
        found: index is the line's name; columns mean, low, high; `paper` where it has a number.
    """
    ax = ax or canvas(6.5, 0.32 * len(found) + 0.8)
    y = np.arange(len(found))[::-1]
    spread = np.abs(found[["low", "high"]].sub(found["mean"], axis=0)).T.to_numpy()
    ax.errorbar(found["mean"], y, xerr=spread, fmt="o", color=OURS[0], markersize=5, capsize=2, label="here")
    if "paper" in found:
        ax.plot(found["paper"], y, "x", color="#949494", label="the paper, CIFAR-10")
    ax.axvline(floor, color=METHODS["retrained"][1], linestyle=":", label="second retrained")
    ax.set(yticks=y, yticklabels=found.index, xlabel="average gap to retrained (points)", xlim=(0, None))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax
