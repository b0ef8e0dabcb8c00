"""How long a chapter takes: its words at the pace of reading aloud, and the time that it ran.

python -m shui_workbook.course.minutes                 # run times of `make workbook`, where it has run
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from shui_workbook.course.notebooks import NOTEBOOKS, ROOT

PACE = 200  # words a minute
MOST, FIRST = 40, 10  # minutes to read at most; of chapter 00
FORMULA = re.compile(r"\$\$.+?\$\$|\$.+?\$", re.S)
LINK = re.compile(r"\]\([^)]*\)|<[^>]+>")


def words(notebook: NotebookNode) -> int:
    """Words of the prose, a formula counted as one; answers to exercises and code are left out."""
    told = [cell for cell in notebook.cells if cell.cell_type == "markdown"]
    told = [cell.source for cell in told if "solution" not in cell.metadata.get("tags", [])]
    text = LINK.sub(" ", FORMULA.sub(" formula ", "\n".join(told)))
    return len(re.findall(r"\w[\w'’-]*", text))


def ran(folder: Path, name: str) -> float | None:
    """Minutes that a chapter's executed copy took; None where there is none."""
    path = folder / name
    if not path.is_file():
        return None
    seconds = nbformat.read(path, as_version=4).metadata.get("papermill", {}).get("duration")
    return None if seconds is None else seconds / 60


def table(chapters: Path, executed: Path) -> list[tuple[str, int, float, float | None]]:
    """Of every chapter: its name, words, minutes to read, minutes to run."""
    found = []
    for path in sorted(chapters.glob("*.ipynb")):
        count = words(nbformat.read(path, as_version=4))
        found.append((path.stem, count, count / PACE, ran(executed, path.name)))
    return found


def too_long(name: str, reading: float) -> bool:
    """Is it beyond what a sitting should take?"""
    return reading > (FIRST if name.startswith("00") else MOST)


def main(argv: list[str] | None = None) -> int:
    """Command line; 1 where a chapter is too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--executed", type=Path, default=ROOT / "runs" / "notebooks", help="copies that have run")
    args = parser.parse_args(argv)
    print(f"{'chapter':32} {'words':>6} {'to read':>8} {'to run':>7}   (minutes; {PACE} words a minute)")
    long = False
    for name, count, reading, running in table(NOTEBOOKS, args.executed):
        run = "–" if running is None else f"{running:.1f}"
        print(f"{name:32} {count:6} {reading:8.1f} {run:>7}{'   too long' if too_long(name, reading) else ''}")
        long |= too_long(name, reading)
    return int(long)


if __name__ == "__main__":
    sys.exit(main())
