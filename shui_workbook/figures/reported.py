"""The paper's Tables 1 to 4 as a picture, with ours below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes

from shui_workbook.figures.style import look


def plot_tows(frame: pd.DataFrame, ax: Axes, *, lowest: float = 0.0) -> Axes:
    """Tug-of-War of every form in one setting: a dot and its spread; a dotted line at what doing nothing gives.

    Args:
        frame: index of forms, from top to bottom; columns tow and std (percent; std nan for one seed).
        lowest: where the axis begins; what lies below it is drawn as an arrow at the edge, with its number.
    """
    for y, (form, row) in enumerate(frame.iterrows()):
        _, colour, marker = look(str(form))
        if row["tow"] < lowest:
            ax.plot(lowest, y, "<", color=colour, markersize=6, clip_on=False)
            ax.annotate(f"{row['tow']:.0f}", (lowest, y), (7, 0), textcoords="offset points", va="center", fontsize=8)
        elif row["tow"] == row["tow"]:
            ax.errorbar(row["tow"], y, xerr=row["std"] if row["std"] == row["std"] else None, color=colour)
            ax.plot(row["tow"], y, marker, color=colour, markersize=6)
    if "original" in frame.index:
        ax.axvline(frame.loc["original", "tow"], color="black", linestyle=":", linewidth=1)
    labels = [look(str(form))[0] for form in frame.index]
    ax.set(xlim=(lowest, 101), yticks=range(len(frame)), yticklabels=labels, ylim=(len(frame) - 0.5, -0.5))
    ax.grid(axis="y", visible=False)
    return ax


def plot_reported(found: Mapping[str, pd.DataFrame], *, across: int = 4, lowest: float = 40.0) -> Sequence[Axes]:
    """A panel a setting, in rows of `across`, one line a form in all of them.

    Args:
        found: by title, `tables.tug_of_wars`.
    """
    forms = list(dict.fromkeys(form for frame in found.values() for form in frame.index))
    size = (2.6 * across + 1.2, -(-len(found) // across) * (0.19 * len(forms) + 0.75))
    fig, grid = plt.subplots(-(-len(found) // across), across, figsize=size, sharex=True, sharey=True, squeeze=False)
    for ax, (title, frame) in zip(grid.flat, found.items(), strict=False):
        plot_tows(frame.reindex(forms), ax, lowest=lowest).set_title(title, fontsize=9.5)
        ax.tick_params(labelsize=8)
        ax.set_facecolor("#f3f3f3" if title.startswith("paper") else "white")
    fig.supxlabel("Tug-of-War (%); dotted: doing nothing", fontsize=10)
    return list(grid.flat)
