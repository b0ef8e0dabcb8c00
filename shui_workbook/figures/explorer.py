"""The explorer's picture: what a model says of four photos, its scores, and a map of people, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from PIL import Image

from shui_lib.benchmark.data import Faces
from shui_workbook.figures.photos import thumbnails
from shui_workbook.figures.style import HALO, METHODS, PARTS, SCORE_NAMES, bare, canvas, look

MARKERS = {"forget": "*", "retain": "o", "test": "D"}
LIMIT = 0.5  # nats at the ends of the map's colours, the same for every method
SIZES = {"forget": 190, "retain": 34, "test": 26}


def plot_answers(answers: pd.DataFrame, form: str, ax: Axes | None = None) -> Axes:
    """What the model says of one photo, before and after; a black tick where the truth lies.

    Args:
        answers: index of classes, columns `before`, `after`, `truth`: probabilities in percent.
        form: the method in one of its forms ("pgu one-shui"), for colour and marker.
    """
    ax = ax or canvas(2.6, 0.22 * len(answers) + 0.6)
    _, colour, marker = look(form)
    y = np.arange(len(answers))
    ax.hlines(y, answers["before"], answers["after"], color=colour, linewidth=1.5, alpha=0.6)
    ax.scatter(answers["truth"], y, marker="|", s=90, color="black", linewidths=2, zorder=3)
    ax.scatter(answers["before"], y, marker="o", s=22, color=METHODS["original"][1], zorder=4)
    ax.scatter(answers["after"], y, marker=marker, s=22, color=colour, zorder=5)
    names = [str(name).replace("_", " ") for name in answers.index]
    ax.set(xlim=(-4, 104), xticks=[0, 50, 100], yticks=y, yticklabels=names, ylim=(len(y) - 0.5, -0.5))
    ax.set_xlabel("probability (%)", fontsize=8.5, labelpad=1)
    ax.tick_params(labelsize=8, length=0)
    return ax


def plot_photo(photo: Faces, part: str, *, show_faces: bool = False, ax: Axes | None = None) -> Axes:
    """One photo in the frame of its part, with the identity over it."""
    ax = ax or canvas(1, 1.2)
    (picture,) = thumbnails(photo, show_faces=show_faces)
    ax.imshow(picture, interpolation="nearest")
    whole = {"xy": (0, 0), "width": 1, "height": 1, "transform": ax.transAxes, "clip_on": False}
    ax.add_patch(Rectangle(**whole, fill=False, edgecolor=PARTS[part], linewidth=4))
    ax.set(xticks=[], yticks=[])
    ax.set_title(f"{part} · identity {photo.identity[0]}", loc="center", fontsize=9.5)
    return bare(ax)


def plot_moves(scores: pd.DataFrame, form: str, metric: str, ax: Axes | None = None) -> Axes:
    """From the original model to the unlearned one, beside what is wanted, one line for each score.

    Args:
        scores: index `forget`, `retain`, `test`, `tow`; columns `original`, `unlearned`, `reference` (percent).
        metric: map or accuracy.
    """
    ax = ax or canvas(4.6, 2.6)
    colour = look(form)[1]
    y = np.arange(len(scores))
    ax.hlines(y, scores["original"], scores["unlearned"], color=colour, linewidth=2, alpha=0.6)
    for label, column, (tint, shape) in _key(form):
        ax.scatter(scores[column], y, color=tint, marker=shape, s=52, label=label, zorder=3)
    for row, one in zip(y, scores.itertuples(), strict=True):
        text = f"{one.original:.1f} → {one.unlearned:.1f}"
        ax.text(1.03, row, text, transform=ax.get_yaxis_transform(), va="center", fontsize=9.5)
    names = [f"{part} {SCORE_NAMES[metric]}" if part != "tow" else "Tug-of-War" for part in scores.index]
    ax.set(yticks=y, yticklabels=names, ylim=(len(y) - 0.5, -0.5), xlabel="%")
    ax.set_xlim(min(40, scores.min(axis=None) - 3), 102)
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=9, handletextpad=0.1, columnspacing=1)
    return ax


def _key(form: str) -> list[tuple[str, str, tuple[str, str]]]:
    """Label, column, and (colour, marker) of what is compared; the unlearned model is drawn last."""
    label, *mine = look(form)
    original, wanted = (METHODS[name][1:] for name in ("original", "retrained"))
    return [("Original", "original", original), ("Wanted", "reference", wanted), (label, "unlearned", tuple(mine))]


def plot_people(people: pd.DataFrame, explained: Sequence[float], ax: Axes | None = None, *, named: int = 5) -> Axes:
    """A map of identities, coloured by how much worse (red) or better (blue) the model knows them now.

    The colours mean the same at every choice: methods can be compared, and a gentle one leaves the map pale.

    Args:
        people: index identity; columns `x`, `y`, `part` (forget, retain, test), `change` of the mean loss (nats).
        explained: share of the variance on each axis.
        named: how many of those who stay and suffer most have their identity written beside them.
    """
    ax = ax or canvas(6.2, 4)
    for part in ("test", "retain", "forget"):
        mine, edge = people[people["part"] == part], "black" if part == "forget" else PARTS[part]
        drawn = ax.scatter(
            mine["x"], mine["y"], c=mine["change"], cmap="RdBu_r", vmin=-LIMIT, vmax=LIMIT, marker=MARKERS[part],
            s=SIZES[part], edgecolor=edge, linewidths=0.9, zorder=3,
        )  # fmt: skip
        ax.scatter([], [], c="#d9d9d9", marker=MARKERS[part], s=SIZES[part], edgecolor=edge, linewidths=0.9, label=part)
    _name(ax, people[people["part"] == "retain"].nlargest(named, "change"))
    labels = (f"{which} component ({100 * s:.0f} %)" for which, s in zip(("first", "second"), explained, strict=True))
    ax.set(xlabel=next(labels), ylabel=next(labels), xticks=[], yticks=[])
    ax.figure.colorbar(drawn, ax=ax, label="change of the mean loss (nats)", pad=0.02, extend="both")
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=9, handletextpad=0.1, columnspacing=1)
    return ax


BESIDE = ((4, 3), (4, -10), (-24, 3), (-24, -10))  # points from a mark to its number: the first place that is free
NUMBER = (22, 10)  # points that a number takes up


def _name(ax: Axes, people: pd.DataFrame) -> None:
    """The numbers of people beside their marks, none over another; columns `x` and `y`."""
    ax.autoscale_view()
    taken = []
    for identity, (x, y) in people[["x", "y"]].iterrows():
        at = ax.transData.transform((x, y)) * 72 / ax.figure.dpi
        gaps = {place: [np.abs(at + place - other) for other in taken] for place in BESIDE}
        free = [place for place, others in gaps.items() if all((gap > NUMBER).any() for gap in others)]
        place = (*free, BESIDE[-1])[0]
        taken.append(at + place)
        style = {"textcoords": "offset points", "fontsize": 8, "zorder": 6, "path_effects": HALO}
        ax.annotate(str(identity), (x, y), place, **style)


def plot_paths(paths: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Where each method goes as it is made stronger: points of score lost, from the origin outwards.

    Args:
        paths: columns `form`, `forget`, `retain`, in the order of strength; a form with one row is a single mark.
    """
    ax = ax or canvas(6.2, 3.8)
    for form, mine in paths.groupby("form", sort=False):
        label, colour, marker = look(str(form))
        ax.plot(mine["forget"], mine["retain"], marker, color=colour, linestyle="-", markersize=6, label=label)
    far = paths[["forget", "retain"]].max(axis=None)
    ax.plot([0, far], [0, far], color="black", linestyle=":", linewidth=1, label="as much from both")
    ax.set(xlabel="forget score lost (points)", ylabel="retain score lost (points)")
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)
    return ax


def plot_explorer(
    photos: Mapping[str, Faces],
    answers: Mapping[str, pd.DataFrame],
    scores: pd.DataFrame,
    people: pd.DataFrame,
    *,
    form: str,
    metric: str,
    explained: Sequence[float],
    show_faces: bool = False,
) -> list[Axes]:
    """The whole picture: photos and answers by part on top, scores and map below; see `quarters`."""
    figure = plt.figure(figsize=(11.6, 7.4), layout="none")  # fixed places: laying out anew costs as much as drawing
    axes, pairs = [], [[*photos][:2], [*photos][2:]]
    for half, parts in enumerate(pairs):
        places = figure.add_gridspec(
            2, 2, left=0.5 * half + 0.115, right=0.5 * half + 0.49, top=0.955, bottom=0.47,
            height_ratios=(1, 2.4), hspace=0.06,
        )  # fmt: skip
        for column, part in enumerate(parts):
            top, below = (figure.add_subplot(places[row, column]) for row in (0, 1))
            axes += [
                plot_photo(photos[part], part, show_faces=show_faces, ax=top),
                plot_answers(answers[part], form, below),
            ]
            if column:
                below.set_yticklabels([])
    moves = plot_moves(scores, form, metric, figure.add_axes((0.115, 0.07, 0.27, 0.28)))
    marks = [*moves.get_legend().legend_handles, Line2D([], [], color="black", marker="|", linestyle="", markersize=9)]
    labels = [*(text.get_text() for text in moves.get_legend().get_texts()), "truth"]
    moves.get_legend().remove()
    for half in (0, 0.5):
        figure.legend(marks, labels, loc="upper left", bbox_to_anchor=(half, 0.965), fontsize=9, handletextpad=0.2)
    return [*axes, moves, plot_people(people, explained, figure.add_axes((0.53, 0.05, 0.455, 0.33)))]


def quarters(picture: Image.Image) -> list[Image.Image]:
    """The drawn picture cut into its four parts, which a narrow screen shows one below the other."""
    wide, high = picture.size
    middle = round(0.575 * high)
    return [
        picture.crop((x * wide // 2, y, (x + 1) * wide // 2, end))
        for y, end in ((0, middle), (middle, high))
        for x in (0, 1)
    ]
