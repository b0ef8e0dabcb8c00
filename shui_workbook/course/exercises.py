"""Exercises: find them in the chapters, cut student copies, and mark what students hand in.

python -m shui_workbook.course.exercises                     # student copies of every chapter, below exercises/
python -m shui_workbook.course.exercises --mark FILE ...     # execute copies that were handed in, say what passes

An exercise is a run of cells with tags, from Jupyter's own tag list. `exercise`, a stub that gives the names to fill
(`gap = ...`); `solution`, the cells that fill them, code or prose; `check`, asserts on what the names hold now. A
student copy is the chapter without its `solution` cells, which is one preprocessor of nbconvert: the stub is a cell
that can be read, run and linted where it stands, and not a comment that a tool has to understand.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbconvert.preprocessors import TagRemovePreprocessor
from nbformat import NotebookNode

from shui_lib.core.progress import progress
from shui_lib.core.store import save_text
from shui_workbook.arguments import command_line
from shui_workbook.course.notebooks import CELL_LIMIT, NOTEBOOKS, ROOT, in_a_line, one_thread


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
    is_check: bool = False  # of the chapter's exercises


class Marked(NamedTuple):
    """What came of one file."""

    name: str
    chapter: str  # whose exercises these are; empty where that cannot be told
    marks: Sequence[Mark]
    ended: str = ""  # what kept the file from being executed to its end; empty if nothing did

    @property
    def solved(self) -> bool:
        """Every exercise of a chapter is solved, and no other cell raised."""
        return bool(self.marks) and not self.ended and not any(one.error for one in self.marks)


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
        text = f"{path.stem}: {len(exercises(chapter))} exercises"
        if to.exists():
            print(f"{text}; {to} is there already and was left alone: delete it for a new one")
        else:
            save_text(to, nbformat.writes(student_copy(chapter)))
            print(f"{text}: {to}")


def with_checks(handed_in: NotebookNode, chapter: NotebookNode) -> tuple[NotebookNode, list[int]]:
    """What was handed in with the chapter's own checks in place of those in it, and where these checks stand.

    A check stands where the handed-in one stood. Where that is gone, it stands before the next exercise, at the end
    for the last one. Outputs are removed.
    """
    found, cells, checks = exercises(chapter), [], []

    def put(number: int) -> None:
        checks.append(len(cells))
        cells.append(deepcopy(found[number].check))

    left = [*range(len(found))]
    for cell in handed_in["cells"]:
        stub = next((k for k, one in enumerate(found) if _same(cell, one.stub)), 0)
        mine = [k for k in left if k < stub or _same(cell, found[k].check)]
        for number in mine:
            put(number)
            left.remove(number)
        if "check" not in tags(cell) and not any(_same(cell, one.check) for one in found):
            cells.append(deepcopy(cell))
    for number in left:
        put(number)
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"  # some programs write none, or one twice
        if cell["cell_type"] == "code":
            cell.update(outputs=[], execution_count=None)
    return nbformat.v4.new_notebook(cells=cells), checks


def _same(cell: NotebookNode, original: NotebookNode) -> bool:
    """Is it this cell of the chapter, by its id, or by its source where a program has given it another id?"""
    if cell["cell_type"] != original["cell_type"]:
        return False
    return cell.get("id") == original["id"] or cell["source"] == original["source"]


def chapter_of(handed_in: NotebookNode, chapters: Mapping[str, NotebookNode]) -> str:
    """The name of the chapter that most of the cells are from, whatever the file is called.

    Raises:
        ValueError: it shares no cell with any chapter.
    """
    mine = {cell["source"] for cell in handed_in["cells"] if cell["source"]}
    shared = {name: len(mine & {cell["source"] for cell in one["cells"]}) for name, one in chapters.items()}
    name = max(shared, key=lambda name: shared[name], default="")
    if not shared.get(name):
        raise ValueError("no cell of it is from a chapter: hand in a file of exercises/, filled")
    return name


class _Errors(NotebookClient):
    """Keeps nothing but errors of what cells show: one that prints without end would fill our memory."""

    def output(self, outs: list[NotebookNode], msg: dict, display_id: str, cell_index: int) -> NotebookNode | None:
        """As nbclient's; None for what is not kept."""
        return super().output(outs, msg, display_id, cell_index) if msg["msg_type"] == "error" else None


def mark(handed_in: NotebookNode, chapter: NotebookNode, *, limit: float = CELL_LIMIT) -> tuple[list[Mark], str]:
    """Execute a copy in the chapters' folder, in a kernel of its own, with the chapter's own checks.

    This tells who has solved an exercise from who has not. It is no defence against somebody who changes how Python
    itself works: read what was handed in.

    Args:
        limit: seconds for all cells together.
    Returns:
        What came of every check, and of any other cell that raised; and what ended the kernel, if something did.
    """
    os.environ.setdefault("SHUI_PROGRESS", "off")
    one_thread()
    notebook, checks = with_checks(handed_in, chapter)
    ran, ended, until = set(), "", time.monotonic() + limit

    def executed(cell: NotebookNode, cell_index: int, execute_reply: object) -> None:
        ran.add(cell_index)

    options = {"allow_errors": True, "kernel_name": "python3", "shutdown_kernel": "immediate"}
    client = _Errors(
        notebook,
        resources={"metadata": {"path": str(NOTEBOOKS)}},
        timeout_func=lambda cell: max(1, int(until - time.monotonic())),
        on_cell_executed=executed,
        **options,
    )
    try:
        client.execute()
    except CellTimeoutError:
        ended = f"stopped after {limit:.0f} seconds"
    except DeadKernelError:
        ended = "its kernel died"
    return [*_marks(notebook, checks, ran)], ended


def _marks(notebook: NotebookNode, checks: Sequence[int], ran: set[int]) -> Iterator[Mark]:
    for number, cell in enumerate(notebook["cells"]):
        errors = [output for output in cell.get("outputs", []) if output["output_type"] == "error"]
        if errors:
            yield Mark(cell, errors[0]["ename"], errors[0]["evalue"], number in checks)
        elif number in checks:
            yield Mark(cell, *(("", "") if number in ran else ("NotReached", "an earlier cell ended it")), True)


def mark_file(path: Path, chapters: Mapping[str, NotebookNode], *, limit: float) -> Marked:
    """What came of one file; whatever is wrong with it is told and keeps no other from being marked."""
    chapter = ""
    try:
        handed_in = nbformat.read(path, as_version=4)
        chapter = chapter_of(handed_in, chapters)
        return Marked(path.stem, chapter, *mark(handed_in, chapters[chapter], limit=limit))
    except Exception as error:  # no notebook, half a notebook, no file
        return Marked(path.stem, chapter, [], f"not marked: {in_a_line(error)}")


def report(one: Marked, of: int) -> str:
    """A line about one file, and one more for everything that is not as it should be.

    Args:
        of: exercises that its chapter has.
    """
    checks = [mark for mark in one.marks if mark.is_check]
    solved = sum(not mark.error for mark in checks)
    lines = [f"{one.name:24} {one.chapter or '-':28} {solved} of {of} solved{one.ended and f'; {one.ended}'}"]
    for number, mark in enumerate(checks, 1):
        if mark.error:
            lines.append(f"  {number}. {mark.error}: {mark.message}")
    for mark in one.marks:
        if not mark.is_check:
            lines.append(f"  a cell raised {mark.error}: {mark.message} in {mark.cell['source'][:60]!r}")
    return "\n".join(lines)


def mark_all(paths: Sequence[Path], chapters: Mapping[str, NotebookNode], *, limit: float) -> bool:
    """Mark every file and print what came of it; True if all exercises of all of them are solved."""
    solved = True
    for path in progress(paths, desc="mark"):
        one = mark_file(path, chapters, limit=limit)
        print(report(one, len(exercises(chapters[one.chapter])) if one.chapter else 0), flush=True)
        solved &= one.solved
    return solved


@dataclass(frozen=True, kw_only=True)
class Command:
    """Options of this command."""

    out: Path = ROOT / "exercises"  # a folder from where ../data is found
    mark: tuple[Path, ...] = ()  # runs the code in these files: read it before
    minutes: float = 30  # for one file


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    args = command_line(Command, argv, __doc__)
    paths = sorted(NOTEBOOKS.glob("*.ipynb"))
    if not args.mark:
        cut_all(args.out, paths)
        return 0
    chapters = {path.stem: nbformat.read(path, as_version=4) for path in paths}
    return 0 if mark_all(args.mark, chapters, limit=60 * args.minutes) else 1


if __name__ == "__main__":
    sys.exit(main())
