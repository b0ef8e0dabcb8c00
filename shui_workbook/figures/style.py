"""The workbook's look: one style, one colour and marker for each method and split."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke

# Okabe-Ito-like colours (seaborn's "colorblind"), and a marker each, so that colour is never the only cue.
METHODS: dict[str, tuple[str, str, str]] = {  # label, colour, marker
    "original": ("Original", "#0173b2", "o"),
    "retrained": ("Retrained", "#029e73", "D"),
    "retrained_again": ("Retrained, other seed", "#029e73", "d"),
    "gradient_ascent": ("Gradient ascent", "#cc78bc", "^"),
    "meta_unlearn": ("MetaUnlearn", "#d55e00", "s"),
    "curvature": ("Curvature", "#000000", "*"),
    "ssd": ("SSD", "#de8f05", "v"),
    "jit": ("JiT", "#56b4e9", "<"),
    "pgu": ("PGU", "#ca9161", ">"),
    "scrub": ("SCRUB", "#949494", "P"),
    "mu_mis": ("MU-Mis", "#fbafe4", "p"),
    "bad_teacher": ("Bad Teacher", "#ece133", "X"),
}


PARTS = {  # a second palette, so that no split is taken for a method
    "support": "#e0a800",
    "forget": "#882255",
    "retain": "#88ccee",
    "train": "#4f8fb0",
    "val": "#c9c9c9",
    "test": "#707070",
}


OTHERS = ("#332288", "#cc6677", "#999933", "#44aa99", "#aa4499", "#661100")  # what is neither a method nor a split
NEUTRAL = "#b5b5b5"

HALO = [withStroke(linewidth=3, foreground="white")]  # words stay legible where a line runs below them


STYLE = {
    "figure.dpi": 90,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


SCORE_NAMES = {"map": "mAP", "accuracy": "accuracy"}


def use_style() -> None:
    """Make the workbook's look the default of this session."""
    plt.rcParams.update(STYLE)


def canvas(width: float, height: float) -> Axes:
    """New axes of the given size in inches."""
    return plt.subplots(figsize=(width, height))[1]


def bare(ax: Axes) -> Axes:
    """Axes without frame and grid, for pictures."""
    ax.grid(False)
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    return ax


def look(form: str) -> tuple[str, str, str]:
    """Label ("PGU (one-shui)"), colour and marker of a form, spelt "pgu one-shui" or "pgu:one-shui"."""
    method, *variant = str(form).replace(":", " ").split()
    label, colour, marker = METHODS[method]
    return f"{label} ({', '.join(variant)})" if variant else label, colour, marker
