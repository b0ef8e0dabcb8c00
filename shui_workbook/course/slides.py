"""Slides of the chapters, from cells with the tag `slide`: `make slides`.

python -m shui_workbook.course.slides --out site/slides

A text cell begins a slide. What a code cell shows follows on the same slide, without its code. nbconvert makes a
reveal.js page of it; to show the page, a browser fetches reveal.js from unpkg.com.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import nbformat
from nbconvert import SlidesExporter
from nbformat import NotebookNode

from shui_lib.core.store import save_text
from shui_workbook.course.notebooks import NOTEBOOKS, ROOT


def chosen(chapter: NotebookNode) -> NotebookNode:
    """The cells of a chapter that are slides, marked as nbconvert wants it.

    Raises:
        ValueError: a picture before the first text, which would have no slide to stand on.
    """
    slides = deepcopy(chapter)
    slides.cells = [cell for cell in slides.cells if "slide" in cell.metadata.get("tags", [])]
    if slides.cells and slides.cells[0].cell_type != "markdown":
        raise ValueError(f"the first cell tagged `slide` is code: tag the text before it too: {slides.cells[0].id}")
    for cell in slides.cells:
        kind = "slide" if cell.cell_type == "markdown" else "-"  # "-" goes on with the slide before
        cell.metadata = {"tags": cell.metadata["tags"], "slideshow": {"slide_type": kind}}
    return slides


def page(slides: NotebookNode, title: str) -> str:
    """The slides as an HTML page."""
    exporter = SlidesExporter(exclude_input=True, exclude_input_prompt=True, exclude_output_prompt=True)
    return exporter.from_notebook_node(slides, resources={"metadata": {"name": title}})[0]


def write(chapters: Sequence[Path], out: Path) -> list[Path]:
    """Write a page for each chapter that has slides; the pages."""
    written = []
    for path in chapters:
        slides = chosen(nbformat.read(path, as_version=4))
        if slides.cells:
            save_text(out / f"{path.stem}.html", page(slides, path.stem))
            written.append(out / f"{path.stem}.html")
    return written


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "site" / "slides")
    parser.add_argument("--notebooks", type=Path, nargs="*", help="all chapters by default")
    args = parser.parse_args(argv)
    for path in (written := write(args.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")), args.out)):
        print(path)
    return 0 if written else 1


if __name__ == "__main__":
    sys.exit(main())
