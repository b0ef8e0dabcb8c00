"""Pages that are written in part: sections of Markdown files between markers, and their figures."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from shui_lib.core.store import replacing, save_text


def save_section(path: Path, name: str, text: str, *, by: str) -> None:
    """Put text between `<!-- NAME: written by `BY` -->` and `<!-- end of NAME -->` of a Markdown file.

    Raises:
        ValueError: a marker is missing.
    """
    begin, end = f"<!-- {name}: written by `{by}` -->", f"<!-- end of {name} -->"
    whole = path.read_text(encoding="utf-8")
    if begin not in whole or end not in whole:
        raise ValueError(f"{path} lacks the markers {begin} and {end}: put them around the section")
    before, rest = whole.split(begin)
    save_text(path, f"{before}{begin}\n\n{text}\n\n{end}{rest.split(end)[1]}")


def save_figure(path: Path, figure: Figure, **how: object) -> None:
    """Write a figure as PNG; `how` goes to matplotlib's `savefig`."""
    replacing(path, lambda temporary: figure.savefig(temporary, format="png", **how))
