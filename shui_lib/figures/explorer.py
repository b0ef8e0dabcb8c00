"""The explorer's picture: what a model says of four photos, its scores, and a map of people, before and after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from shui_lib.data import Faces
from shui_lib.figures.photos import thumbnails
from shui_lib.figures.style import METHODS, PARTS, SCORE_NAMES, bare, canvas, look

MARKERS = {"forget": "*", "retain": "o", "test": "D"}
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
    """From the original model to the unlearned one, beside the reference, one line for each score.

    Args:
        scores: index `forget`, `retain`, `test`, `tow`; columns `original`, `unlearned`, `reference` (percent).
        metric: map or accuracy.
    """
    ax = ax or canvas(4.6, 2.6)
    label, colour, marker = look(form)
    y = np.arange(len(scores))
    ax.hlines(y, scores["original"], scores["unlearned"], color=colour, linewidth=2, alpha=0.6)
    shown = {"original": METHODS["original"], "reference": METHODS["retrained"], "unlearned": (label, colour, marker)}
    for column, (name, tint, shape) in shown.items():
        ax.scatter(scores[column], y, color=tint, marker=shape, s=52, label=name, zorder=3)
    for row, (_, one) in enumerate(scores.iterrows()):
        ax.text(1.02, row, f"{one['original']:.1f} → {one['unlearned']:.1f}", transform=ax.get_yaxis_transform(), va="center")
    names = [f"{part} {SCORE_NAMES[metric]}" if part != "tow" else "Tug-of-War" for part in scores.index]
    least = scores.min(axis=None)
    ax.set(yticks=y, yticklabels=names, ylim=(len(y) - 0.5, -0.5), xlim=(min(40, least - 3), 102), xlabel="%")
    ax.grid(axis="y", visible=False)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=9, handletextpad=0.1, columnspacing=1)
    return ax


def plot_people(people: pd.DataFrame, axis_labels: Sequence[str], ax: Axes | None = None, *, named: int = 5) -> Axes:
    """A map of identities, coloured by how much worse (red) or better (blue) the model knows them now.

    Args:
        people: index identity; columns `x`, `y`, `part` (forget, retain, test), `change` of the mean loss (nats).
        named: how many of those who stay and suffer most have their identity written beside them.
    """
    ax = ax or canvas(6.2, 4)
    limit = max(people["change"].abs().quantile(0.98), 1e-3)
    for part in ("test", "retain", "forget"):
        mine, edge = people[people["part"] == part], "black" if part == "forget" else PARTS[part]
        drawn = ax.scatter(
            mine["x"], mine["y"], c=mine["change"], cmap="RdBu_r", vmin=-limit, vmax=limit, marker=MARKERS[part],
            s=SIZES[part], edgecolor=edge, linewidths=0.9, label=part, zorder=3,
        )  # fmt: skip
    for identity, one in people[people["part"] == "retain"].nlargest(named, "change").iterrows():
        ax.annotate(str(identity), one[["x", "y"]], (4, 3), textcoords="offset points", fontsize=8, zorder=4)
    ax.set(xlabel=axis_labels[0], ylabel=axis_labels[1], xticks=[], yticks=[])
    ax.figure.colorbar(drawn, ax=ax, label="change of the mean loss (nats)", shrink=0.85, pad=0.02)
    ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3, fontsize=9, handletextpad=0.1, columnspacing=1)
    return ax


def plot_explorer(
    photos: Mapping[str, Faces],
    answers: Mapping[str, pd.DataFrame],
    scores: pd.DataFrame,
    people: pd.DataFrame,
    *,
    form: str,
    metric: str,
    axis_labels: Sequence[str],
    show_faces: bool = False,
) -> list[Axes]:
    """The whole picture: photos and answers by part on top, scores and map below."""
    figure = plt.figure(figsize=(11.6, 8), layout="none")  # fixed places: laying out anew costs as much as drawing
    top = figure.add_gridspec(2, len(photos), left=0.12, right=0.985, top=0.955, bottom=0.5, height_ratios=(1, 2.5), hspace=0.06)
    axes = []
    for column, (part, photo) in enumerate(photos.items()):
        axes.append(plot_photo(photo, part, show_faces=show_faces, ax=figure.add_subplot(top[0, column])))
        ax = plot_answers(answers[part], form, figure.add_subplot(top[1, column]))
        axes.append(ax if column == 0 else ax)
        if column:
            ax.set_yticklabels([])
    axes.append(plot_moves(scores, form, metric, figure.add_axes((0.12, 0.07, 0.25, 0.3))))
    axes.append(plot_people(people, axis_labels, figure.add_axes((0.53, 0.05, 0.45, 0.35))))
    return axes
