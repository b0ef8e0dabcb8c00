"""Exercises: find them in the chapters, cut student copies, and mark what students hand in.

python -m shui_workbook.course.exercises                     # student copies of every chapter, below exercises/
python -m shui_workbook.course.exercises --mark FILE ...     # execute copies that were handed in, say what passes

An exercise is a run of cells with tags, from Jupyter's own tag list. `exercise`, a stub that gives the names to fill
(`gap = ...`); `solution`, the cells that fill them, code or prose; `check`, asserts on what the names hold now. A
student copy is the chapter without its `solution` cells, which is one preprocessor of nbconvert: the stub is a cell
that can be read, run and linted where it stands, and not a comment that a tool has to understand.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbclient import NotebookClient
from nbconvert.preprocessors import TagRemovePreprocessor
from nbformat import NotebookNode

from shui_lib.core.progress import progress
from shui_lib.core.store import save_text
from shui_workbook.course.notebooks import CELL_LIMIT, NOTEBOOKS, ROOT


class Exercise(NamedTuple):
    """The code cells of one exercise; its prose stands around them."""

    stub: NotebookNode
    solution: list[NotebookNode]
    check: NotebookNode


class Mark(NamedTuple):
    """What came of executing one check, or any other cell that failed."""

    cell: NotebookNode
    error: str  # the exception's name; empty where the cell ran
    message: str

    @property
    def is_check(self) -> bool:
        """Whether the cell is a check, and no cell of the chapter."""
        return "check" in tags(self.cell)


def tags(cell: NotebookNode) -> set[str]:
    """The tags of a cell."""
    return set(cell["metadata"].get("tags", []))


def exercises(notebook: NotebookNode) -> list[Exercise]:
    """Every exercise of a chapter, in order.

    Raises:
        ValueError: a stub, solution or check that stands alone.
    """
    found, open_ = [], None
    for cell in notebook["cells"]:
        kind = next(iter({"exercise", "solution", "check"} & tags(cell)), "")
        if not kind or cell["cell_type"] != "code":
            continue
        begins = "".join(cell["source"])[:60]
        if (kind == "exercise") is not (open_ is None):
            raise ValueError(f"{kind} out of order; the order is exercise, solution, check: {begins!r}")
        if kind == "exercise":
            open_ = Exercise(cell, [], cell)
        elif kind == "solution":
            open_.solution.append(cell)
        elif not open_.solution:
            raise ValueError(f"a check whose exercise has no cell tagged `solution`: {begins!r}")
        else:
            found, open_ = [*found, open_._replace(check=cell)], None
    if open_:
        raise ValueError(f"an exercise without a cell tagged `check`: {''.join(open_.stub['source'])[:60]!r}")
    return found


def student_copy(notebook: NotebookNode) -> NotebookNode:
    """A chapter without its solutions; the other cells keep their outputs, so that it can be read before it is run."""
    cut = TagRemovePreprocessor(enabled=True, remove_cell_tags={"solution"})
    return cut.preprocess(deepcopy(notebook), {})[0]


def cut_all(out: Path, notebooks: Sequence[Path]) -> None:
    """Write the student copies; a copy that is there already may hold somebody's work and is left alone."""
    for path in notebooks:
        chapter, to = nbformat.read(path, as_version=4), out / path.name
        said = f"{path.stem}: {len(exercises(chapter))} exercises"
        if to.exists():
            print(f"{said}; {to} is there already and was left alone: delete it for a new one")
        else:
            save_text(to, nbformat.writes(student_copy(chapter)))
            print(f"{said}: {to}")


def mark(notebook: NotebookNode) -> list[Mark]:
    """Execute a copy in the chapters' folder; what came of its checks, and of any other cell that raised."""
    os.environ.setdefault("SHUI_PROGRESS", "off")
    where = {"metadata": {"path": str(NOTEBOOKS)}}
    options = {"allow_errors": True, "kernel_name": "python3", "timeout": CELL_LIMIT}
    executed = NotebookClient(deepcopy(notebook), resources=where, **options).execute()
    marks = []
    for cell in executed["cells"]:
        errors = [output for output in cell.get("outputs", []) if output["output_type"] == "error"]
        if errors or "check" in tags(cell):
            error = errors[0] if errors else {"ename": "", "evalue": ""}
            marks.append(Mark(cell, error["ename"], error["evalue"]))
    return marks


def report(name: str, marks: Sequence[Mark]) -> bool:
    """Print what came of one copy; True if every check passed and nothing else raised."""
    checks = [one for one in marks if one.is_check]
    print(f"{name}: {sum(not one.error for one in checks)} of {len(checks)} exercises solved")
    for number, one in enumerate(checks, 1):
        print(f"  {number}. " + (f"{one.error}: {one.message}" if one.error else "solved"))
    for one in marks:
        if not one.is_check:
            print(f"  a cell raised {one.error}: {one.message} in {one.cell['source'][:60]!r}")
    return not any(one.error for one in marks)


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "exercises", help="a folder from where ../data is found")
    parser.add_argument("--mark", type=Path, nargs="+", metavar="FILE", help="runs the code in them: read it before")
    args = parser.parse_args(argv)
    if not args.mark:
        cut_all(args.out, sorted(NOTEBOOKS.glob("*.ipynb")))
        return 0
    solved = [report(path.stem, mark(nbformat.read(path, as_version=4))) for path in progress(args.mark, desc="mark")]
    return 0 if all(solved) else 1


if __name__ == "__main__":
    sys.exit(main())
