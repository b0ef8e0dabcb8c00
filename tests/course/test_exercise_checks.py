"""What an exercise's check lets pass: two right answers and more, and no wrong one of those that were tried.

A chapter is run once, on tiny data and with its own solutions. At every check the answers of tests/answers are filled
in one after the other.
"""

import re
from importlib import import_module
from itertools import pairwise
from pathlib import Path

import nbformat
import pytest
from answers import Answers
from chapters import chapter, code_cells, run, shell_of

from shui_workbook.course.exercises import exercises
from shui_workbook.course.notebooks import NOTEBOOKS

CHAPTERS = [path.name[:2] for path in sorted(NOTEBOOKS.glob("*.ipynb"))]
EFFORT = re.compile(r"^\*\*\d\. Predict, then run\.\*\* \*Difficulty [123] of 3 · \d+ minutes\.\* ", re.M)
HINT = re.compile(r"<details><summary>Hint</summary>\n\n.+\n\n</details>", re.S)


def answers_of(number):
    """The module of a chapter's answers."""
    return import_module(f"answers.ch{number}")


@pytest.mark.parametrize("number", CHAPTERS)
def test_every_exercise_says_its_effort_has_a_hint_and_answers(number):
    notebook = nbformat.read(chapter(number), as_version=4)
    known = answers_of(number).ANSWERS
    assert list(known) == [one.check["id"] for one in exercises(notebook)]
    for check, one in known.items():
        assert len(one.right) >= 1, f"{check}: a right answer beside the chapter's own"
        assert len(one.wrong) >= 2, f"{check}: two wrong answers"
    for before, stub in pairwise(notebook.cells):
        if "exercise" in stub.metadata.get("tags", []):
            asked = before.source[before.source.rindex("Predict, then run.") - 5 :]
            assert EFFORT.search(before.source), f"say how hard and how long: {asked[:60]!r}"
            assert HINT.search(asked), f"a hint, folded: {asked[:60]!r}"


def copied(names):
    """The names with their values; what can be copied is, so that an answer may change it in place."""
    kinds = ("DataFrame", "Series", "dict", "list", "ndarray")
    return {name: value.copy() if type(value).__name__ in kinds else value for name, value in names.items()}


def tried(shell, source, answer, filled, capsys):
    """Run a check after an answer: what it printed, and the message with which it refused; names are restored."""
    known = dict(shell.user_ns)
    shell.user_ns.update(copied({name: known[name] for name in filled if name in known}))
    capsys.readouterr()
    try:
        _answer(shell, answer)
        capsys.readouterr()
        run(shell, source)
        return capsys.readouterr().out, None
    except AssertionError as refused:
        return "", str(refused)
    finally:
        shell.user_ns.clear()
        shell.user_ns.update(known)


def _answer(shell, answer):
    """Run an answer; one that fails by itself is no answer that a check has refused."""
    try:
        run(shell, answer)
    except AssertionError as failed:
        raise RuntimeError(f"the answer itself fails: {answer!r}") from failed


def judge(shell, check, stub, one: Answers, capsys):
    """Fill in every answer of an exercise, its stub included."""
    filled = [name for name in shell.user_ns if not name.startswith("_")]
    for answer in ("", *one.right):
        said, refused = tried(shell, check["source"], answer, filled, capsys)
        assert refused is None, f"{check['id']} refuses a right answer, {answer or 'the solution'!r}: {refused}"
        assert said.strip(), f"{check['id']} passes without a word: print what was shown"
    for answer in (stub["source"], *one.wrong):
        _, refused = tried(shell, check["source"], answer, filled, capsys)
        assert refused is not None, f"{check['id']} passes a wrong answer: {answer!r}"
        assert len(refused) > 20, f"{check['id']} does not help: {refused!r} after {answer!r}"


@pytest.mark.parametrize("number", CHAPTERS)
def test_checks_pass_right_answers_and_no_wrong_one(number, small_world, monkeypatch, capsys):
    monkeypatch.chdir(chapter(number).parent)
    found, path = answers_of(number), chapter(number)
    skip, before = getattr(found, "SKIP", ()), getattr(found, "BEFORE", {})
    getattr(found, "prepare", lambda data_root: None)(Path(small_world["data_root"]))
    parameters = {**small_world, "preset": "smoke", **getattr(found, "PARAMETERS", {})}
    left, stub = set(found.ANSWERS), None
    cells = code_cells(path)

    def visit(shell, cell):
        nonlocal stub
        if cell["id"] in before:
            run(shell, before[cell["id"]])
        if "exercise" in cell["metadata"].get("tags", []):
            stub = cell
        if cell["id"] in left:
            one = found.ANSWERS[cell["id"]]
            run(shell, one.helpers)
            judge(shell, cell, stub, one, capsys)
            left.remove(cell["id"])

    last = max((k for k, cell in enumerate(cells) if cell["id"] in found.ANSWERS), default=-1)
    shell_of(path, parameters, cells=cells[: last + 1], skip=skip, visit=visit)
    assert not left
