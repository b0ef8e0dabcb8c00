"""Student copies: cut from the chapters, failing where a student has work to do, passing where it is done."""

import os
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from shui_workbook.course.exercises import cut_all, exercises, main, mark, student_copy, tags
from shui_workbook.course.notebooks import NOTEBOOKS

CHAPTERS = sorted(NOTEBOOKS.glob("*.ipynb"))
STUB = "gap = ...  # a number"
SOLUTION = "gap = 2 - 1\nprint('solved')"
CHECK = "assert isinstance(gap, int), f'`gap` should be a number; it is {gap!r}'\nassert gap == 1, f'{gap} is not 1'"


def cell(kind: str, source: str):
    return new_code_cell(source, metadata={"tags": [kind]})


def small(*cells):
    return new_notebook(cells=[new_markdown_cell("# A chapter"), new_code_cell("2 - 1"), *cells])


@pytest.fixture
def chapter():
    answer = new_markdown_cell("One.", metadata={"tags": ["solution"]})
    return small(cell("exercise", STUB), cell("solution", SOLUTION), cell("check", CHECK), answer)


# Cutting


def test_exercises_are_found_by_their_tags(chapter):
    ((stub, solution, check),) = exercises(chapter)
    assert (stub.source, [c.source for c in solution], check.source) == (STUB, [SOLUTION], CHECK)


@pytest.mark.parametrize(
    ("kinds", "words"),
    [
        (["exercise", "check"], "no cell tagged `solution`"),
        (["exercise", "solution"], "without a cell tagged `check`"),
        (["solution", "check"], "out of order"),
        (["exercise", "solution", "exercise"], "out of order"),
        (["exercise", "solution", "check", "check"], "out of order"),
    ],
)
def test_half_an_exercise_is_an_error(kinds, words):
    with pytest.raises(ValueError, match=words):
        exercises(small(*(cell(kind, "gap = 1") for kind in kinds)))


def test_a_student_copy_lacks_the_solutions_and_nothing_else(chapter):
    before = chapter.copy()
    copy = student_copy(chapter)
    assert copy.cells == [c for c in chapter.cells if "solution" not in tags(c)] and len(copy.cells) == 4
    assert chapter == before and len(chapter.cells) == 6


def test_copies_that_are_there_are_left_alone(chapter, tmp_path, capsys):
    nbformat.write(chapter, tmp_path / "00_small.ipynb")
    out = tmp_path / "exercises"
    cut_all(out, [tmp_path / "00_small.ipynb"])
    assert "00_small: 1 exercises" in capsys.readouterr().out
    (out / "00_small.ipynb").write_text("somebody's work")
    cut_all(out, [tmp_path / "00_small.ipynb"])
    assert "left alone" in capsys.readouterr().out
    assert (out / "00_small.ipynb").read_text() == "somebody's work"
    assert [path.name for path in out.iterdir()] == ["00_small.ipynb"], "nothing half-written is left"


# Marking: these start a kernel


def test_a_stub_fails_and_says_what_to_do(chapter):
    (only,) = mark(student_copy(chapter))
    assert only.is_check and only.error == "AssertionError"
    assert only.message == "`gap` should be a number; it is Ellipsis"


def test_marks_of_what_was_handed_in(chapter, tmp_path, capsys):
    good, bad = student_copy(chapter), student_copy(chapter)
    good.cells[2].source = "gap = 1"
    bad.cells[2].source = "gap = 7"
    bad.cells[1].source = "1 / 0"
    paths = [tmp_path / "good.ipynb", tmp_path / "bad.ipynb"]
    for path, notebook in zip(paths, (good, bad), strict=True):
        nbformat.write(notebook, path)
    assert main(["--mark", str(paths[0])]) == 0
    assert "good: 1 of 1 exercises solved" in capsys.readouterr().out
    assert main(["--mark", *map(str, paths)]) == 1
    said = capsys.readouterr().out
    assert "bad: 0 of 1 exercises solved\n  1. AssertionError: 7 is not 1\n" in said
    assert "a cell raised ZeroDivisionError: division by zero in '1 / 0'" in said


# The chapters themselves. That their checks pass with the solutions is nbval's to say: the chapters hold the solutions.


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_in_the_student_copy_of_a_chapter_every_check_fails_and_nothing_else(path: Path):
    if os.environ.get("SHUI_STUDENT_COPIES") != "run":
        pytest.skip("executes a whole chapter: `make test` does it with SHUI_STUDENT_COPIES=run, once runs/ is filled")
    chapter = nbformat.read(path, as_version=4)
    marks = mark(student_copy(chapter))
    for one in marks:
        assert one.is_check, f"{one.error}: {one.message} in {one.cell.source}"
        assert one.error == "AssertionError", f"{one.error or 'passes'} with the stub: {one.cell.source}"
        assert len(one.message) > 20, f"no helpful message: {one.message!r}"
    assert len(marks) == len(exercises(chapter))
