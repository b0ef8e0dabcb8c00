"""The profile charges every stage to the chapter that made it."""

import json
import re

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from shui_workbook.course.notebooks import Outcome
from shui_workbook.sweep.profile import WRITES, main, profile

KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
LIGHT = """\
from pathlib import Path

from shui_lib.core.stages import load_or_compute

load_or_compute(Path(runs_root) / "tiny", "light", {}, lambda folder: (folder / "a.txt").write_text("a") and None);
"""


def test_a_stage_is_charged_to_the_chapter_that_made_it():
    made = {"runs/original-1": {"seconds": 60.0, "made": True}, "runs/ssd-1": {"seconds": 6.0, "made": True}}
    found = {"runs/original-1": {"seconds": 60.0, "made": False}, "runs/ssd-2": {"seconds": None, "made": True}}
    table = profile([Outcome("00", 90.0, 84.0, ""), Outcome("01", 30.0, 12.0, "")], {"00": made, "01": found})
    assert table.loc["00", ["clock", "CPU", "original", "ssd"]].tolist() == [1.5, 1.4, 1.0, pytest.approx(0.1)]
    assert table.loc["01", ["clock", "CPU", "original", "ssd"]].tolist() == [0.5, 0.2, 0.0, 0.0]
    assert table.loc["all", "clock"] == 2.0


def test_a_profile_empties_no_other_folder_and_charges_what_really_was_made(tmp_path, capsys, monkeypatch):
    parameters = 'data_root: str = ""  # where\nruns_root: str = ""  # where'
    cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]}), new_code_cell(LIGHT)]
    for name in ("00_a", "01_b"):
        nbformat.write(new_notebook(cells=cells, metadata=KERNEL), tmp_path / f"{name}.ipynb")
    out, mine = tmp_path / "profile", tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("mine")
    command = ["--notebooks", *(str(tmp_path / f"{name}.ipynb") for name in ("00_a", "01_b")), "--out"]
    with pytest.raises(SystemExit, match="is there and is no profile"):
        main([*command, str(mine)])
    assert (mine / "thesis.txt").exists()
    assert main([*command, str(out)]) == 0
    known = json.loads((out / "outcomes.json").read_text())
    made = {chapter: [stage["made"] for stage in one["stages"].values()] for chapter, one in known.items()}
    assert made == {"00_a": [True], "01_b": [False]}
    assert "light" in capsys.readouterr().out.splitlines()[-5]
    assert pd.read_csv(out / "profile.csv")["chapter"].tolist() == ["00_a", "01_b", "all"]
    page = tmp_path / "speed.md"
    page.write_text(f"<!-- chapters: written by `{WRITES}` -->\n<!-- end of chapters -->")
    monkeypatch.setattr("shui_workbook.sweep.profile.SPEED", page)
    assert main([*command, str(out), "--go-on", "--write"]) == 0  # nothing runs again
    assert re.search(r"\| 00_a \| \d+\.\d \|", page.read_text())


def test_a_chapter_that_failed_is_measured_again_and_written_nowhere(tmp_path, monkeypatch, capsys):
    errors = ["it broke", "", ""]

    def run_all(out, values, notebooks):
        (out / "stages").mkdir(parents=True, exist_ok=True)
        return [Outcome(notebooks[0].stem, 60.0, 30.0, errors.pop(0))]

    monkeypatch.setattr("shui_workbook.sweep.profile.run_all", run_all)
    page = tmp_path / "speed.md"
    page.write_text(before := f"<!-- chapters: written by `{WRITES}` -->\n<!-- end of chapters -->")
    monkeypatch.setattr("shui_workbook.sweep.profile.SPEED", page)
    chapter = tmp_path / "00_a.ipynb"
    parameters = new_code_cell('data_root: str = ""\nruns_root: str = ""', metadata={"tags": ["parameters"]})
    nbformat.write(new_notebook(cells=[parameters], metadata=KERNEL), chapter)
    command = ["--out", str(tmp_path / "out"), "--notebooks", str(chapter), "--write"]
    assert main(command) == 1 and page.read_text() == before
    assert "00_a failed" in capsys.readouterr().err
    assert main([*command, "--go-on"]) == 0 and "| 00_a |" in page.read_text()
    assert len(errors) == 1, "and what did not fail is not run a third time"
    assert main([*command, "--go-on"]) == 0 and len(errors) == 1


def test_a_profile_that_was_stopped_goes_on(tmp_path, monkeypatch):
    asked = []

    def run_all(out, values, notebooks):
        asked.append(notebooks[0].stem)
        return [Outcome(notebooks[0].stem, 60.0, 30.0, "")]

    monkeypatch.setattr("shui_workbook.sweep.profile.run_all", run_all)
    chapters = [tmp_path / f"{name}.ipynb" for name in ("00_a", "01_b")]
    for path in chapters:
        parameters = new_code_cell('seed: int = 0\ndata_root: str = ""\nruns_root: str = ""')
        parameters["metadata"]["tags"] = ["parameters"]
        nbformat.write(new_notebook(cells=[parameters], metadata=KERNEL), path)
    command = ["--out", str(tmp_path / "out"), "--parameters", "SEED=3"]
    assert main([*command, "--notebooks", str(chapters[0])]) == 0
    assert main([*command, "--go-on", "--notebooks", *map(str, chapters)]) == 0
    assert asked == ["00_a", "01_b"]
    with pytest.raises(SystemExit, match="no chapter has a parameter colour"):
        main(["--out", str(tmp_path / "new"), "--parameters", "COLOUR=red", "--notebooks", *map(str, chapters)])
    (tmp_path / "out" / "stages").mkdir()  # as `run_all` leaves it
    assert main([*command, "--notebooks", str(chapters[1])]) == 0
    assert list(json.loads((tmp_path / "out" / "outcomes.json").read_text())) == ["01_b"], "it was not emptied"
