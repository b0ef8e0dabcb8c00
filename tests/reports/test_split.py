"""The split of Curvature's gain finds its rows by name, and a line without rows is empty."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from shui_lib.core.rows import make_rows
from shui_workbook import figures
from shui_workbook.records.files import read_rows, record
from shui_workbook.reports.split import SPLIT, gained_by, split
from shui_workbook.studies.gain import ARMS


@pytest.fixture
def results(tmp_path):
    gains = {"original": 0, "curvature": 10, "gradient_ascent": 7}
    arms = {"gradient_ascent": ("ascent", "ascent+copies"), "curvature": ("scale+copies", "curvature+copies")}
    names = [f"{method} arm={arm}" for method, two in arms.items() for arm in two]
    gains |= dict(zip(names, (2, 7, 8, 10), strict=True))
    chance = np.random.default_rng(0)
    for seed in range(3):
        for form, gain in gains.items():
            method, _, variant = form.partition(" ")
            about = {"dataset": "faces", "preset": "cpu", "model": "vit", "n_ids": 10, "seed": seed}
            values = {("all", "tow"): 80.0 + seed + gain + 0.05 * chance.normal()}
            record(tmp_path / "rows_a.csv", make_rows(values, about | {"method": method, "variant": variant}))
    return tmp_path


def test_lines_are_found_by_name_and_missing_ones_are_empty(results):
    (frame,) = split(results).values()
    assert list(split(results)) == ["faces, 10 people"] and list(frame.index) == list(SPLIT)
    assert frame["mean"].iloc[:4].tolist() == pytest.approx([2, 7, 8, 10], abs=0.4)
    assert np.isnan(frame.loc["directions without copies", "mean"])
    assert frame["seeds"].tolist() == [3, 3, 3, 3, 0, 3, 3]
    assert (frame["low"].iloc[:4] < frame["mean"].iloc[:4]).all()


def test_what_one_line_adds_to_another_is_paired(results):
    added = gained_by(results, "+ directions", "+ scale of each layer")
    assert float(added["faces, 10 people"].partition(" [")[0]) == pytest.approx(2, abs=0.3)
    assert gained_by(results, "directions without copies", "the photo's gradient") == {}


def test_a_setting_of_another_preset_has_its_own_rows(results):
    rows = read_rows(results / "rows_a.csv")
    wider = rows["method"].eq("curvature") & rows["variant"].eq("arm=curvature+copies")
    other = rows.assign(preset="smoke", value=rows["value"] + 5 * wider)
    record(results / "rows_a.csv", other)
    added = gained_by(results, "+ directions", "+ scale of each layer")
    means = {setting: float(said.partition(" [")[0]) for setting, said in added.items()}
    assert means["faces, 10 people, smoke"] == pytest.approx(means["faces, 10 people"] + 5, abs=0.11)


def test_a_line_that_was_not_run_says_so(results):
    axes = [figures.canvas(4, 2)]
    figures.plot_split(split(results), axes)
    assert "not run" in [text.get_text() for text in axes[0].texts] and len(axes[0].patches) == 6
    plt.close("all")


def test_every_arm_that_is_computed_has_a_line():
    assert {form.partition(" ")[2] for form in SPLIT.values()} - {""} == set(ARMS)
