"""GAN unlearning: sheets and strips of pictures, what the discriminator says, the race of a cascade."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from shui_workbook.figures.style import OTHERS, PARTS, bare, canvas

COLOURS = {**PARTS, "learn": PARTS["retain"], "fresh": PARTS["train"], "generated": OTHERS[4]}
LABELS = {"forget": "to be forgotten", "fresh": "trained on, to stay", "learn": "learning pictures", "test": "test"}


def _tiles(pictures: np.ndarray, columns: int) -> np.ndarray:
    """One picture (rows·S, columns·S, 3) in [0, 1] of pictures (N, 3, S, S) in [-1, 1]; N is a multiple of columns."""
    x = np.clip(np.asarray(pictures) / 2 + 0.5, 0, 1)
    count, _, size, _ = x.shape
    x = x.reshape(count // columns, columns, 3, size, size)
    return x.transpose(0, 3, 1, 4, 2).reshape(-1, columns * size, 3)


def plot_sheet(pictures: np.ndarray, names: Sequence[str], ax: Axes | None = None, *, title: str = "") -> Axes:
    """A row of pictures for each name.

    Args:
        pictures: (len(names) · columns, 3, S, S) in [-1, 1], row after row.
    Raises:
        ValueError: the number of pictures is no multiple of the number of names.
    """
    if not len(names) or len(pictures) % len(names):
        raise ValueError(f"{len(pictures)} pictures do not fill {len(names)} rows: give as many for each name")
    columns, size = len(pictures) // len(names), pictures.shape[-1]
    ax = bare(ax or canvas(min(9.5, 0.55 * columns + 1), 0.55 * len(names) + 0.3))
    ax.imshow(_tiles(pictures, columns), interpolation="nearest")
    ax.set(xticks=[], title=title)
    ax.set_yticks(size * (np.arange(len(names)) + 0.5) - 0.5, names)
    return ax


def plot_scores(logits: Mapping[str, np.ndarray], ax: Axes | None = None, *, title: str = "") -> Axes:
    """Histogram of what the discriminator says of each part (logits), as shares of the part."""
    ax = ax or canvas(6, 3)
    everything = np.concatenate([np.asarray(part) for part in logits.values()])
    edges = np.linspace(*np.quantile(everything, [0.002, 0.998]), 31)
    for name, part in logits.items():
        part = np.clip(np.asarray(part), edges[0], edges[-1])
        weights, dashed = np.full(len(part), 1 / len(part)), "--" if name == "test" else "-"
        look = {"color": COLOURS[name], "linestyle": dashed, "linewidth": 1.8, "label": LABELS.get(name, name)}
        ax.hist(part, edges, weights=weights, histtype="step", **look)
    ax.set(xlabel="discriminator's logit", ylabel="share of pictures", title=title)
    ax.legend(fontsize=9)
    return ax


def plot_race(
    courses: Mapping[str, pd.DataFrame],
    column: str,
    ax: Axes | None = None,
    *,
    goal: float | None = None,
    name: str = "",
) -> Axes:
    """One measure over the steps of several cascades, with the value that it shall reach as a dashed line."""
    ax = ax or canvas(4.5, 3)
    for (label, course), style, colour in zip(courses.items(), ("-", "--", "-.", ":"), OTHERS, strict=False):
        ax.plot(course["step"], course[column], style, color=colour, marker="o", markersize=3, label=label)
    if goal is not None:
        ax.axhline(goal, color="#707070", linewidth=1, linestyle=(0, (4, 3)), label=f"goal: {goal:g}")
    ax.set(xlabel="step of the cascade", ylabel=name or column)
    ax.legend(fontsize=9)
    return ax


def plot_audit(frame: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Re-inversion: PSNR (dB) of forgotten and of test pictures in each generator.

    Args:
        frame: index the generators, columns psnr_forget and psnr_test.
    """
    ax = ax or canvas(6, 2.6)
    place = np.arange(len(frame))
    for shift, (column, part) in zip((-0.19, 0.19), (("psnr_forget", "forget"), ("psnr_test", "test")), strict=True):
        label = "forgotten pictures" if part == "forget" else "test pictures"
        bars = ax.barh(place + shift, frame[column], 0.36, color=COLOURS[part], label=label)
        ax.bar_label(bars, fmt="%.1f", padding=3, fontsize=9)
    ax.set_yticks(place, frame.index)
    ax.invert_yaxis()
    ax.set(
        xlabel="PSNR of the inversion (dB): higher, the generator draws it better",
        xlim=(0, frame.max(axis=None) * 1.15),
    )
    ax.legend(fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def plot_people(found: Mapping[str, pd.DataFrame], ax: Axes | None = None, *, name: str = "") -> Axes:
    """What one photo changes for each person: mean and 95 % interval over seeds, a colour a way of asking.

    Args:
        found: frames with columns mean, low, high; their index ends in the person's number ("person-3"). The order is
            that of the first.
    """
    order = [label.rpartition("-")[2] for label in next(iter(found.values())).index]
    ax = ax or canvas(6, 0.36 * len(order) + 1)
    place = np.arange(len(order))
    for shift, (label, frame), colour in zip((-0.15, 0.15), found.items(), OTHERS, strict=False):
        frame = frame.set_axis([one.rpartition("-")[2] for one in frame.index]).reindex(order)
        error = [frame["mean"] - frame["low"], frame["high"] - frame["mean"]]
        ax.errorbar(frame["mean"], place + shift, xerr=error, fmt="o", color=colour, markersize=4, label=label)
    ax.axvline(0, color="#707070", linewidth=1)
    ax.set_yticks(place, [f"class {label}" for label in order])
    ax.invert_yaxis()
    ax.set(xlabel=name)
    ax.legend(fontsize=9, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax


def beside_reported(rows: pd.DataFrame, reported: pd.DataFrame, table: str) -> pd.DataFrame:
    """The paper's numbers of one of its tables, and ours of the same form: before, after, mean over seeds.

    Args:
        rows: results/gan_rows.csv. reported: results/gan_reported.csv. table: "IIIa" for instance.
    Returns:
        A line a shot, substitute and metric; the data sets differ, so the two are not the same quantity.
    Raises:
        KeyError: the paper has no such table.
    """
    theirs = reported[reported["table"] == table]
    if theirs.empty:
        raise KeyError(
            f"the paper has no table {table!r}: choose one of {', '.join(sorted(reported['table'].unique()))}"
        )
    names = {
        "AUC_lu": "auc_lu",
        "FID": "fd_l",
        "FID_u": "fd_u",
        "ACC": "acc",
        "T_seconds": "seconds",
        "LOGAN_AUC": "logan",
    }
    kind = theirs["unlearn"].iloc[0]  # "class", or "item-64": then the same number of pictures
    own = rows[rows["request"].str.fullmatch(r"class-\d+" if kind == "class" else kind)]
    own = own[own["fake_label"].isin(["", "0.01 quantile"]) & own["budget"].isin([0, 60]) & (own["perceptual"] == 0)]
    before = own[own["method"] == "original"].groupby("metric")["value"].mean()
    after = own[own["method"] == "cascade"].groupby(["shot", "mechanism", "metric"])["value"].mean()
    lines = []
    for line in theirs.itertuples():
        key = (line.shot, line.substitute, names.get(line.metric))
        told = {"shot": line.shot, "substitute": line.substitute, "metric": line.metric}
        told |= {"paper before": line.before, "paper after": line.after}
        lines.append(told | {"ours before": before.get(key[2], np.nan), "ours after": after.get(key, np.nan)})
    return pd.DataFrame(lines)
