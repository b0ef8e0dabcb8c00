"""Slides of the chapters, from cells with the tag `slide`: `make slides`.

python -m shui_workbook.course.slides --out site/slides

Each heading of a text cell begins a slide; what stands before its first heading speaks of the picture above, and is
left out. What a code cell shows follows without its code, on the slide of its section. nbconvert makes a reveal.js page
of it; to show the page, a browser fetches reveal.js from unpkg.com.
"""

from __future__ import annotations

import argparse
import re
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
    """The cells of a chapter that are slides, marked as nbconvert wants it; the first one has the chapter's title.

    A picture goes on with the slide before it if that is of its section, and else begins one with the section's title.
    """
    first, section, shown = chapter.cells[0], "", ""
    cells = [] if "slide" in first.metadata.get("tags", []) else [_text(_headings(first)[0])]
    for cell in chapter.cells:
        section = [section, *(_headings(cell) if cell.cell_type == "markdown" else [])][-1]
        if "slide" not in cell.metadata.get("tags", []):
            continue
        if cell.cell_type == "markdown":
            cells += [_text(part) for part in _parts(cell.source)]
        else:
            cells += [] if section == shown else [_text(section)]
            cells.append(_marked(deepcopy(cell), "-"))  # "-" goes on with the slide before
        shown = section
    slides = deepcopy(chapter)
    slides.cells = cells if any("slide" in cell.metadata.get("tags", []) for cell in chapter.cells) else []
    return slides


def _headings(cell: NotebookNode) -> list[str]:
    return re.findall(r"^#+ .*$", cell.source, re.MULTILINE)


def _parts(source: str) -> list[str]:
    """A text from heading to heading, without what stands before the first one; whole if there is none."""
    before, *parts = re.split(r"^(?=#+ )", source, flags=re.MULTILINE)
    return parts or [before]


def _text(source: str) -> NotebookNode:
    """A text cell that begins a slide."""
    return _marked(nbformat.v4.new_markdown_cell(source), "slide")


def _marked(cell: NotebookNode, kind: str) -> NotebookNode:
    cell.metadata = {"slideshow": {"slide_type": kind}}
    return cell


def page(slides: NotebookNode, title: str) -> str:
    """The slides as an HTML page."""
    shown = {"exclude_input": True, "exclude_input_prompt": True, "exclude_output_prompt": True}
    exporter = SlidesExporter(**shown, reveal_width="1280", reveal_height="960", reveal_scroll=True)
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
