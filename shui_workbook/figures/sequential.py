"""What becomes of the scores as requests arrive one after another."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from shui_workbook.figures.style import look

STRATEGIES = {  # colour, marker and line by the first word of a variant; no method has one of these colours
    "latest": ("#cc6677", "^", "-"),
    "share": ("#999933", "v", ":"),
    "union": ("#332288", "o", "-"),
    "queue": ("#661100", "s", "--"),
}


def plot_sequences(
    rows: pd.DataFrame, axes: Sequence[Axes], measures: Sequence[tuple[str, str, str]]
) -> Sequence[Axes]:
    """One axes a measure (percent), one line a strategy: the mean over seeds by the number of requests served.

    Args:
        rows: result rows of one method under several strategies (`variant`), of the original and the retrained model.
        measures: split, metric and what to call it, left to right.
    """
    for ax, (split, metric, name) in zip(axes, measures, strict=True):
        mine = rows[(rows["split"] == split) & (rows["metric"] == metric)]
        for (method, variant), line in mine.groupby(["method", "variant"], sort=False):
            mean = line.groupby("step")["value"].mean()
            if variant:
                colour, marker, style = STRATEGIES[variant.partition(" ")[0]]
                few = [k for k, step in enumerate(mean.index) if len(mean) < 8 or step % 5 == 0]
                marks = {"marker": marker, "markersize": 5, "markevery": few}
                ax.plot(mean.index, mean, linestyle=style, color=colour, linewidth=1.6, label=variant, **marks)
            else:
                label, colour, marker = look(method)
                style = {"linestyle": "--", "marker": ""} if method == "original" else {"linestyle": ""}
                ax.plot(mean.index, mean, color=colour, label=label, **{"marker": marker, "markersize": 6, **style})
        ax.set(xlabel="requests so far" if ax.get_subplotspec().is_last_row() else "", title=name)
    axes[0].set_ylabel("percent")
    axes[-1].legend(*axes[0].get_legend_handles_labels(), loc="center left", bbox_to_anchor=(1, 0.5))
    return axes
