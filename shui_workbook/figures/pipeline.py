"""The paper's method as a picture: what happens while the data exists, and what is left when somebody asks."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patches import FancyBboxPatch

from shui_workbook.figures.style import METHODS, PARTS, bare, canvas

BOX = (1.75, 0.86)  # width and height of a box
ROWS = {  # height of a row: its title and boxes, from left to right, each with its colour
    2.3: (
        "while the data exists (lines 1 to 8)",
        [
            ("rehearsal\nsome people\nplay the askers", PARTS["retain"]),
            ("one photo each\n$S$", PARTS["support"]),
            ("learned loss\n$h_\\varphi(f_\\theta(S))$", METHODS["meta_unlearn"][1]),
            ("one step\n$\\theta \\rightarrow \\theta_u$", PARTS["test"]),
            ("do their other\nphotos look like\nstrangers'?  $A$", PARTS["forget"]),
        ],
    ),
    0.0: (
        "when the request comes (line 9): the data is gone",
        [
            ("somebody asks", PARTS["forget"]),
            ("one photo each\n$S$", PARTS["support"]),
            ("learned loss\n$h_\\varphi$, now fixed", METHODS["meta_unlearn"][1]),
            ("one step\n$\\theta \\rightarrow \\theta_u$", PARTS["test"]),
            ("the model\nthat forgot", METHODS["meta_unlearn"][1]),
        ],
    ),
}


def plot_pipeline(ax: Axes | None = None) -> Axes:
    """Two rows of boxes: learning the loss by rehearsals, and the one step that a request takes."""
    ax = ax or canvas(10, 3.9)
    for y, (title, boxes) in ROWS.items():
        ax.text(0, y + 0.75, title, fontsize=11, fontweight="bold", va="bottom")
        for k, (text, colour) in enumerate(boxes):
            left = 2.15 * k
            look = {"boxstyle": "round,pad=0.06", "facecolor": "white", "edgecolor": colour, "linewidth": 2.2}
            ax.add_patch(FancyBboxPatch((left, y - BOX[1] / 2), *BOX, **look))
            ax.text(left + BOX[0] / 2, y, text, ha="center", va="center", fontsize=10)
            if k:
                arrow = {"arrowstyle": "-|>", "color": "black", "shrinkA": 0, "shrinkB": 0}
                ax.annotate("", (left - 0.08, y), (left - 0.32, y), arrowprops=arrow)
    top, (judged, loss) = 2.3, (4, 2)
    back = {"arrowstyle": "-|>", "color": METHODS["meta_unlearn"][1], "connectionstyle": "bar,fraction=-0.12"}
    under = top - BOX[1] / 2 - 0.08
    start, end = (2.15 * judged + BOX[0] / 2, under), (2.15 * loss + BOX[0] / 2, under)
    ax.annotate("", end, start, arrowprops=back)
    words = "move $\\varphi$ a little, so that $A$ falls; next rehearsal"
    ax.text((start[0] + end[0]) / 2, under - 0.62, words, ha="center", va="top", fontsize=10)
    ax.set(xlim=(-0.15, 2.15 * 4 + BOX[0] + 0.15), ylim=(-0.65, 3.45), xticks=[], yticks=[])
    return bare(ax)
