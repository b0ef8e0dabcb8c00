"""Student copies: cut from the chapters, failing where a student has work to do, passing where it is done."""

import os
from pathlib import Path

import nbformat
import pytest
from answers import ch07, ch30
from chapters import once, results_of
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from data_prep.faces import prepare as draw
from shui_workbook.course import exercises as course
from shui_workbook.course.exercises import (
    chapter_of,
    cut_all,
    exercises,
    main,
    mark,
    mark_all,
    student_copy,
    tags,
    with_checks,
)
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


# Marking


def two_exercises():
    """A chapter whose second check needs what its cells define."""
    second = [
        cell("exercise", "far = ..."),
        cell("solution", "far = gap + 1"),
        cell("check", "assert far == 2, f'{far}'"),
    ]
    first = [cell("exercise", STUB), cell("solution", SOLUTION), cell("check", CHECK)]
    whole = small(*first, new_markdown_cell("**2.**"), *second, new_markdown_cell("## Take-aways"))
    for number, one in enumerate(whole.cells):
        one["id"] = f"c{number}"
    return whole


def filled(chapter, *sources):
    copy = student_copy(chapter)
    stubs = [one for one in copy.cells if "exercise" in tags(one)]
    for stub, source in zip(stubs, sources, strict=True):
        stub.source = source
    return copy


def sources_of(notebook):
    return [one.source for one in notebook.cells if one.cell_type == "code"]


@pytest.mark.parametrize("how", ["as they were", "deleted", "weakened", "retagged", "twice", "without ids"])
def test_the_checks_that_run_are_the_chapters_own(how):
    chapter = two_exercises()
    copy = filled(chapter, "gap = 1", "far = 2")
    where = [k for k, one in enumerate(copy.cells) if "check" in tags(one)]
    for k in reversed(where):
        if how == "deleted":
            del copy.cells[k]
        elif how == "twice":
            copy.cells.insert(k, new_code_cell("assert True", id=copy.cells[k].id, metadata={"tags": ["check"]}))
        elif how == "weakened":
            copy.cells[k].source = "assert True"
        elif how == "retagged":
            copy.cells[k].update(source="assert True", metadata={})
    if how == "without ids":
        for one in copy.cells:
            del one["id"]
    merged, checks = with_checks(copy, chapter)
    wanted = [one.check.source for one in exercises(chapter)]
    assert sources_of(merged) == ["2 - 1", "gap = 1", wanted[0], "far = 2", wanted[1]]
    assert [merged.cells[k].source for k in checks] == wanted


def test_a_renamed_file_is_known_by_its_cells():
    chapter, other = two_exercises(), new_notebook(cells=[new_markdown_cell("# Another"), new_code_cell("7")])
    chapters = {"00_small": other, "01_two": chapter}
    assert chapter_of(filled(chapter, "gap = 1", "far = 2"), chapters) == "01_two"
    with pytest.raises(ValueError, match="no cell of it is from a chapter"):
        chapter_of(new_notebook(cells=[new_code_cell("print()")]), chapters)


# These start kernels


def test_a_stub_fails_and_says_what_to_do(chapter):
    (only,), ended = mark(student_copy(chapter), chapter)
    assert only.is_check and only.error == "AssertionError" and not ended
    assert only.message == "`gap` should be a number; it is Ellipsis"


def test_what_cells_print_is_not_kept_so_that_none_can_fill_our_memory(chapter, monkeypatch):
    kept, marks = [], course._marks
    monkeypatch.setattr(course, "_marks", lambda notebook, *rest: kept.append(notebook) or marks(notebook, *rest))
    loud = student_copy(chapter)
    loud.cells.insert(1, new_code_cell("for _ in range(3):\n    print('x' * 1000, flush=True)\n1 / 0"))
    (other, only), ended = mark(loud, chapter)
    assert other.error == "ZeroDivisionError" and only.error == "AssertionError" and not ended
    outputs = [output for cell in kept[0].cells for output in cell.get("outputs", [])]
    assert [output.output_type for output in outputs] == ["error", "error"]


def hand_in(folder, chapter):
    """Eight files as they are handed in."""
    right = ("gap = 1", "far = 2")
    made = {
        "1_solved": filled(chapter, *right),
        "2_empty": student_copy(chapter),
        "3_crashing": filled(chapter, "gap = 1", "import os\nos._exit(3)"),
        "4_endless": filled(chapter, "gap = 1", "import time\nwhile True:\n    time.sleep(1)"),  # and keeps nobody busy
        "6_check_deleted": filled(chapter, "gap = 7", "far = 2"),
        "7_check_weakened": filled(chapter, "gap = 7", "far = 2"),
        "8_wrong_kernel": filled(chapter, *right),
    }
    deleted, weakened = made["6_check_deleted"], made["7_check_weakened"]
    deleted.cells = [one for one in deleted.cells if "check" not in tags(one)]
    for one in weakened.cells:
        if "check" in tags(one):
            one.source = "assert True"
    made["8_wrong_kernel"].metadata["kernelspec"] = {"name": "ir", "display_name": "R", "language": "R"}
    for name, notebook in made.items():
        nbformat.write(notebook, folder / f"{name}.ipynb")
    (folder / "5_no_notebook.ipynb").write_text("my answer is 1")
    return sorted(folder.glob("*.ipynb"))


def test_every_file_of_a_folder_is_marked_whatever_it_does(tmp_path, capsys):
    chapter = two_exercises()
    assert not mark_all(hand_in(tmp_path, chapter), {"01_two": chapter}, limit=20)
    said = capsys.readouterr().out
    lines = {line.split()[0][0]: line for line in said.splitlines() if not line.startswith(" ")}
    solved = {number: line.partition(" solved")[0].split()[-3:] for number, line in lines.items()}
    counted = {number: int(words[0]) for number, words in solved.items()}
    assert counted == {"1": 2, "2": 0, "3": 1, "4": 1, "5": 0, "6": 1, "7": 1, "8": 2}
    assert "its kernel died" in lines["3"] and "stopped after 20 seconds" in lines["4"]
    assert "not marked: NotJSONError" in lines["5"]
    assert said.count("AssertionError: 7 is not 1") == 2, "of the deleted check and of the weakened one"
    assert said.count("NotReached: an earlier cell ended it") == 2


def test_the_exit_status_says_whether_everything_is_solved(tmp_path, monkeypatch, capsys):
    chapter = two_exercises()
    (tmp_path / "chapters").mkdir()
    nbformat.write(chapter, tmp_path / "chapters" / "01_two.ipynb")
    monkeypatch.setattr(course, "NOTEBOOKS", tmp_path / "chapters")
    bad = filled(chapter, "gap = 1", "far = 2")
    bad.cells[1].source = "1 / 0"
    for name, notebook in {"good": filled(chapter, "gap = 1", "far = 2"), "bad": bad}.items():
        nbformat.write(notebook, tmp_path / f"{name}.ipynb")
    assert main(["--mark", str(tmp_path / "good.ipynb")]) == 0
    assert main(["--mark", str(tmp_path / "good.ipynb"), str(tmp_path / "bad.ipynb")]) == 1
    assert "a cell raised ZeroDivisionError: division by zero in '1 / 0'" in capsys.readouterr().out
    assert main(["--mark", str(tmp_path / "nowhere.ipynb")]) == 1
    assert "not marked: FileNotFoundError" in capsys.readouterr().out


# The chapters themselves. That their checks pass with the solutions is nbval's to say: the chapters hold the solutions.


SMOKE = {"preset": "smoke"}
# Chapters 07 and 30 need pictures that are drawn; under `smoke` chapter 20's model remembers too little for a guide.
OTHERWISE = {"20_learning_to_unlearn": {"dataset": "faces"}}
OTHERWISE |= {"07_support_distance": SMOKE | ch07.PARAMETERS, "30_gan_unlearning": SMOKE | ch30.PARAMETERS}


@pytest.fixture(scope="session")
def drawn(small_world) -> None:
    """What chapters 20 and 30 need beside the tiny data: sixty rendered people of 32 pixels, and three of the GAN's."""
    data = Path(small_world["data_root"])
    once(data / "faces", lambda folder: draw(folder, identities=60, size=32))
    ch30.prepare(data)


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
@pytest.mark.usefixtures("drawn")
def test_in_the_student_copy_of_a_chapter_every_check_fails_and_nothing_else(path: Path, small_world, monkeypatch):
    """In small and in this process, as `tests/chapters.py` executes chapters; `mark` uses a kernel, see above."""
    if os.environ.get("SHUI_STUDENT_COPIES") != "run":
        pytest.skip("executes whole chapters: `make test` does it with SHUI_STUDENT_COPIES=run")
    monkeypatch.chdir(path.parent)
    monkeypatch.setenv("SHUI_PROGRESS", "off")
    chapter = nbformat.read(path, as_version=4)
    checks = 0
    for one, error in results_of(student_copy(chapter), small_world | OTHERWISE.get(path.stem, SMOKE)):
        is_check = "check" in tags(one)
        checks += is_check
        assert is_check == isinstance(error, AssertionError), f"{error or 'passes'}: {one.source}"
        assert not is_check or len(str(error)) > 20, f"no helpful message: {error!r}"
        assert is_check or error is None, f"{type(error).__name__}: {error} in {one.source}"
    assert checks == len(exercises(chapter))
