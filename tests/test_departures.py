"""docs/departures.md and the comments in the code name the same departures, and their tests exist."""

import re
from pathlib import Path

import pytest

from shui_lib.benchmark.presets import preset_named

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "departures.md"
LINES = [line.strip("|").split("|") for line in PAGE.read_text().splitlines() if line.startswith("| D")]
TABLE = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in LINES}


def in_the_code() -> dict[str, set[str]]:
    """By number, the files that a comment or docstring carries it in."""
    found: dict[str, set[str]] = {}
    for room in ("shui_lib", "shui_workbook", "data_prep"):
        for path in (ROOT / room).rglob("*.py"):
            for number in re.findall(r"\((?:[^()]*; )?(D\d+)\)", path.read_text()):
                found.setdefault(number, set()).add(str(path.relative_to(ROOT)))
    return found


def test_every_line_has_all_its_cells_and_numbers_follow_each_other():
    assert [*TABLE] == [f"D{k}" for k in range(1, len(TABLE) + 1)] and len(LINES) == len(TABLE)
    assert all(len(cells) == 5 and all(cells) for cells in TABLE.values())


def test_every_number_in_the_code_is_in_the_table_and_stands_where_it_says():
    found = in_the_code()
    assert not set(found) - set(TABLE), "add a line to docs/departures.md"
    for number, (where, *_) in TABLE.items():
        files = [name for name in re.findall(r"`([^`]+\.py)`", where)]
        for name in files:
            assert any(path.endswith(name) for path in found.get(number, ())), f"{number}: no comment in {name}"
        assert files or (ROOT / where).is_file(), f"{number}: {where} is no file"


@pytest.mark.parametrize("number", TABLE)
def test_its_tests_or_figures_exist(number):
    for held in TABLE[number][-1].split("; "):
        path, _, name = held.partition("::")
        assert (ROOT / path).is_file(), path
        assert not name or f"def {name}(" in (ROOT / path).read_text(), f"{number}: {path} has no {name}"


@pytest.mark.parametrize(("dataset", "decay"), [("celebahq", 1e-3), ("celeba", 1e-4), ("mufac", 1e-4), ("", 1e-3)])
def test_preset_paper_has_the_weight_decay_of_each_data_set(dataset, decay):
    assert preset_named("paper", dataset=dataset).train.weight_decay == decay
    assert preset_named("cpu", dataset=dataset) == preset_named("cpu")


def test_the_guide_says_what_the_paper_keeps():
    assert "--min-images 13" not in (ROOT / "docs" / "gpu.md").read_text()
    assert "--min-images 13" in (ROOT / "README.md").read_text()


def test_small_presets_have_a_recipe_of_their_own():
    for name in ("cpu", "face-resnet", "vit-s14"):
        train = preset_named(name).train
        assert (train.optimizer, train.clip, train.crop, train.keep) == ("adamw", 1.0, 0.9, "last")
    paper = preset_named("paper").train
    assert (paper.optimizer, paper.clip, paper.crop, paper.keep) == ("sgd", None, 0.08, "best")
