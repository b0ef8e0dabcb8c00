"""Slides of the chapters, from cells with the tag `slide`: `make slides`.

python -m shui_workbook.course.slides --out site/slides

Each heading of a text cell begins a slide; what stands before its first heading speaks of the picture above, and is
left out. What a code cell shows follows without its code, on the slide of its section; a tall picture, and one that
follows a picture or a table, has a slide of its own. Minutes and what to read next are for readers, and left out.
nbconvert makes a reveal.js page of it; to show the page, a browser fetches reveal.js from unpkg.com.
"""

from __future__ import annotations

import argparse
import base64
import html
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

WIDTH, HEIGHT = 1280, 960  # of a slide, which the browser scales to its window
TALL = 500  # pixels: a picture of this height has a slide without words
LOOK = """
<style>
:root { --jp-content-font-size1: 25px; --jp-ui-font-size1: 19px; --jp-code-font-size: 18px; }
.reveal .slides section { text-align: left; }
.reveal .jp-RenderedImage img { width: 100%; max-width: 100%; object-fit: contain; object-position: left top; }
</style>
<script>
// A picture is as large as the room that the words of its slide leave, and at most twice its size.
function fit(event) {
  const slide = event.currentSlide;
  if (!slide) return;
  const pictures = [...slide.querySelectorAll(".jp-RenderedImage img")];
  pictures.forEach(picture => { picture.style.height = "0px"; });
  const room = (ROOM - slide.scrollHeight) / Math.max(pictures.length, 1);
  pictures.forEach(picture => {
    const most = 2 * picture.naturalHeight, wide = slide.clientWidth * picture.naturalHeight / picture.naturalWidth;
    picture.style.height = `${Math.max(Math.min(room, most, wide), 120)}px`;
  });
  window.dispatchEvent(new Event("resize"));  // reveal.js centres the slide again
}
for (const moment of ["ready", "slidechanged"]) document.querySelector(".reveal").addEventListener(moment, fit);
</script>
""".replace("ROOM", str(HEIGHT - 10))
UNDESCRIBED = 'alt="No description has been provided for this image"'  # what nbconvert writes


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
            cells += [_text(part) for part in _parts(cell.source, section)]
            shown = section
            continue
        for k, part in enumerate(_pictures(cell)):
            goes_on = section == shown and k == 0 and _height(part) < TALL
            cells += [] if goes_on else [_text(section)]
            cells.append(_marked(part, "-", section.strip("# ")))  # "-" goes on with the slide before
            shown = "" if _height(part) else section
    slides = deepcopy(chapter)
    slides.cells = cells if any("slide" in cell.metadata.get("tags", []) for cell in chapter.cells) else []
    return slides


def _headings(cell: NotebookNode) -> list[str]:
    return re.findall(r"^#+ .*$", cell.source, re.MULTILINE)


def _parts(source: str, section: str) -> list[str]:
    """A text from heading to heading, without what stands before the first one; under its section's if it has none."""
    source = re.sub(r"^\*\*(Time|Read next:)\*\*.*\n?", "", source, flags=re.MULTILINE)
    before, *parts = re.split(r"^(?=#+ )", source, flags=re.MULTILINE)
    return parts or [f"{section}\n\n{before}"]


def _pictures(cell: NotebookNode) -> list[NotebookNode]:
    """A code cell as one cell for each of its pictures: a picture begins a new one after a picture or a table."""
    parts = [[]]
    for output in cell.outputs:
        kinds = {kind for before in parts[-1] for kind in before.get("data", {})}
        parts += [[]] if "image/png" in output.get("data", {}) and kinds & {"image/png", "text/html"} else []
        parts[-1].append(output)
    return [NotebookNode({**deepcopy(cell), "id": f"{cell.id}-{k}", "outputs": part}) for k, part in enumerate(parts)]


def _height(cell: NotebookNode) -> int:
    """Pixels of a code cell's picture; 0 if it has none."""
    pictures = [output.data["image/png"] for output in cell.get("outputs", []) if "image/png" in output.get("data", {})]
    return int.from_bytes(base64.b64decode(pictures[0])[20:24]) if pictures else 0  # where a PNG has its height


def _text(source: str) -> NotebookNode:
    """A text cell that begins a slide."""
    return _marked(nbformat.v4.new_markdown_cell(source), "slide")


def _marked(cell: NotebookNode, kind: str, title: str = "") -> NotebookNode:
    cell.metadata = NotebookNode({"slideshow": {"slide_type": kind}, **({"title": title} if title else {})})
    return cell


def page(slides: NotebookNode, title: str) -> str:
    """The slides as an HTML page; a picture's alternative is the title of its section."""
    shown = {"exclude_input": True, "exclude_input_prompt": True, "exclude_output_prompt": True}
    exporter = SlidesExporter(**shown, reveal_width=str(WIDTH), reveal_height=str(HEIGHT), reveal_scroll=True)
    made = exporter.from_notebook_node(slides, resources={"metadata": {"name": title}})[0]
    for cell in slides.cells:
        if _height(cell):
            made = made.replace(UNDESCRIBED, f'alt="{html.escape("Picture: " + cell.metadata.title)}"', 1)
    before, end, after = made.rpartition("</html>")
    return before + LOOK + end + after


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
