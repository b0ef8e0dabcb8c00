"""Photos, requests, and what a data set holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
import torch
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from shui_lib.benchmark.data import Faces
from shui_workbook.figures.style import PARTS, bare, canvas

THUMBNAIL = 64  # pixels at most


def thumbnails(faces: Faces, *, show_faces: bool) -> np.ndarray:
    """(N, S, S, 3) uint8 pictures; blanks in place of real photos, unless `show_faces is True`.

    Every plot asks here. A word does not do, nor a number: "no" from a command line would count as true.
    """
    size = min(faces.size, THUMBNAIL)
    if show_faces is True or faces.name == "faces":  # rendered people may always be shown
        pictures = faces.pixels(size=size).add(1).mul(127.5).round().clamp(0, 255)  # (N, 3, S, S)
        coarse = pictures.to(torch.uint8).permute(0, 2, 3, 1).numpy() & 0xF8  # 32 shades: saved notebooks stay small
        return coarse | 0x04
    blank = np.full((len(faces), size, size, 3), 225, np.uint8)
    blank[:, np.arange(size), np.arange(size)] = 190
    return blank


def plot_faces(
    rows: Sequence[Faces],
    labels: Sequence[str] = (),
    *,
    most: int = 12,
    frames: Sequence[Sequence[str | None]] = (),
    show_faces: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Rows of at most `most` pictures, with a label at the left; `frames` holds a colour or None for each picture."""
    pictures = [thumbnails(row[slice(0, most)], show_faces=show_faces) for row in rows]
    step, widest = pictures[0].shape[1] + 4, max(map(len, pictures))
    ax = ax or canvas(0.62 * widest + 1.5, 0.66 * len(rows) + 0.3)
    sheet = np.full((step * len(rows), step * widest, 3), 255, np.uint8)
    for r, row in enumerate(pictures):
        for c, picture in enumerate(row):
            _tile(sheet, picture, c * step, r * step)
            if r < len(frames) and frames[r][c]:
                _frame(ax, c * step, r * step, step, frames[r][c])
    ax.imshow(sheet, interpolation="nearest")
    ax.set_xticks([])
    ax.set_yticks([(r + 0.5) * step for r in range(len(labels))], labels)
    return bare(ax)


def plot_request(
    groups: Mapping[str, Sequence[Faces]],
    support: Sequence[Faces],
    titles: Mapping[str, str],
    *,
    tallest: int = 5,
    show_faces: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """Split and request as a picture (the paper's Figure 2): a column per identity, the Support Samples on top.

    Args:
        groups: columns by split, in the order in which they are drawn; "forget" ones get their support on top.
        support: one picture for each forget column.
        titles: a line of text over each group.
    """
    handed_in = [thumbnails(one, show_faces=show_faces)[0] for one in support]
    step = len(handed_in[0]) + 4
    columns, gap = sum(map(len, groups.values())), step // 2
    width, height = columns * step + gap * (len(groups) - 1), int((tallest + 1.9) * step)
    ax = ax or canvas(0.56 * width / step + 0.3, 0.58 * height / step + 0.9)
    sheet = np.full((height, width, 3), 255, np.uint8)
    top, left = int(1.35 * step), 0
    for c, picture in enumerate(handed_in):
        _tile(sheet, picture, c * step, 0)
        _frame(ax, c * step, 0, step, PARTS["support"])
    for part, group in groups.items():
        for person in group:
            _column(ax, sheet, person, left, top, tallest, PARTS[part], show_faces)
            left += step
        over = -0.12 * step if part == "forget" else top - 0.12 * step
        ax.text(left - len(group) * step / 2, over, titles[part], ha="center", va="bottom", fontsize=9.5)
        left += gap
    ax.text(-0.15 * step, step / 2, "support", ha="right", va="center", fontsize=9.5)
    ax.imshow(sheet, interpolation="nearest")
    ax.set(xticks=[], yticks=[], xlim=(-3, width + 3))
    return bare(ax)


def _column(
    ax: Axes, sheet: np.ndarray, person: Faces, x: int, top: int, tallest: int, colour: str, show_faces: bool
) -> None:
    pictures = thumbnails(person[slice(0, tallest)], show_faces=show_faces)
    step = pictures.shape[1] + 4
    for r, picture in enumerate(pictures):
        _tile(sheet, picture, x, top + r * step)
        _frame(ax, x, top + r * step, step, colour)
    if len(person) > tallest:
        more = top + (tallest + 0.28) * step
        ax.text(x + step / 2, more, f"+{len(person) - tallest}", ha="center", va="center", fontsize=9)


def _tile(sheet: np.ndarray, picture: np.ndarray, x: int, y: int) -> None:
    size = len(picture)
    sheet[y + 2 : y + 2 + size, x + 2 : x + 2 + size] = picture


def _frame(ax: Axes, x: float, y: float, step: int, colour: str) -> None:
    ax.add_patch(Rectangle((x + 0.5, y + 0.5), step - 2, step - 2, fill=False, edgecolor=colour, linewidth=2))


def plot_images_per_identity(people: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Stacked histogram; `people` has one row per identity, with columns `images` and `split`."""
    ax = ax or canvas(6.5, 2.8)
    order = [part for part in PARTS if part in set(people["split"])]
    sns.histplot(
        people, x="images", hue="split", hue_order=order, palette=PARTS, multiple="stack", discrete=True,
        alpha=1, edgecolor="white", shrink=0.9, ax=ax,
    )  # fmt: skip
    ax.set(xlabel="images of one identity", ylabel="identities")
    ax.yaxis.get_major_locator().set_params(integer=True)
    ax.get_legend().set_title(None)
    return ax


def plot_recognition(found: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Bars of nearest-neighbour accuracy; columns `representation`, `split`, `accuracy`, `chance` (fractions)."""
    ax = ax or canvas(6, 2.4)
    shown = found.assign(accuracy=100 * found["accuracy"])
    palette = {part: PARTS[part] for part in shown["split"].unique()}
    sns.barplot(shown, y="representation", x="accuracy", hue="split", palette=palette, ax=ax)
    for bars in ax.containers:
        ax.bar_label(bars, fmt="%.0f", padding=3, fontsize=9)
    ax.axvline(100 * found["chance"].mean(), color="black", linestyle=":", linewidth=1.2, label="chance")
    ax.set(xlabel="nearest other photo shows the same identity (% of photos)", ylabel="", xlim=(0, 100))
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return ax
