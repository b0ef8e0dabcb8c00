"""How long a chapter takes: words are counted as they are read, and none is too long."""

import re

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from shui_workbook.course import minutes
from shui_workbook.course.notebooks import NOTEBOOKS, ROOT


def test_words_are_those_that_are_read():
    prose = new_markdown_cell("Two words, [one link](../docs/glossary.md#map), and $a + b = c$.\n\n$$x\n+y$$")
    answer = new_markdown_cell("not to be read yet", metadata={"tags": ["solution"]})
    assert minutes.words(new_notebook(cells=[prose, answer, new_code_cell("a b c")])) == 7


def test_run_times_come_from_the_executed_copy(tmp_path):
    notebook = new_notebook(cells=[new_markdown_cell("word " * 400)])
    nbformat.write(notebook, tmp_path / "07_x.ipynb")
    assert minutes.table(tmp_path, tmp_path / "none") == [("07_x", 400, 2.0, None)]
    notebook.metadata["papermill"] = {"duration": 90}
    (tmp_path / "ran").mkdir()
    nbformat.write(notebook, tmp_path / "ran" / "07_x.ipynb")
    assert minutes.table(tmp_path, tmp_path / "ran") == [("07_x", 400, 2.0, 1.5)]


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_no_chapter_takes_longer_than_a_sitting(path):
    reading = minutes.words(nbformat.read(path, as_version=4)) / minutes.PACE
    assert not minutes.too_long(path.stem, reading), f"{reading:.0f} minutes to read"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_chapter_and_the_readme_say_how_long_it_takes(path):
    notebook = nbformat.read(path, as_version=4)
    told = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    (reading, exercises) = map(int, re.search(r"\*\*Time\*\* (\d+) minutes to read, (\d+) for the exer", told).groups())
    assert reading == pytest.approx(minutes.words(notebook) / minutes.PACE, abs=1.5)
    assert exercises == sum(map(int, re.findall(r"\*Difficulty \d of 3 · (\d+) minutes", told)))
    (readme,) = re.findall(rf"\| \[{path.stem}\].*\| (\d+) \|", (ROOT / "README.md").read_text())
    assert int(readme) == pytest.approx(reading + exercises, abs=3), "minutes, with exercises"


def test_the_command_says_what_is_too_long(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(minutes, "NOTEBOOKS", tmp_path)
    nbformat.write(new_notebook(cells=[new_markdown_cell("word " * 2001)]), tmp_path / "00_x.ipynb")
    nbformat.write(new_notebook(cells=[new_markdown_cell("word " * 2001)]), tmp_path / "01_x.ipynb")
    assert minutes.main(["--executed", str(tmp_path)]) == 1
    _, first, second = capsys.readouterr().out.splitlines()
    assert "too long" in first and "too long" not in second
