"""Searches as recorded: no trial is lost, and what the package uses is what its trials choose."""

import json
from pathlib import Path

import pandas as pd
import pytest

import shui_workbook
from shui_workbook.records.searches import append, choose, read_trials, select
from shui_workbook.runs.settings import settings_for
from shui_workbook.studies.selection import trials_of
from shui_workbook.studies.trials import FIRST, FURTHER

CHOSEN = Path(shui_workbook.__file__).parent / "runs" / "selected.json"
FOUND = Path(__file__).parents[2] / "results" / "selection.csv"


@pytest.mark.parametrize("dataset", ["NA", "None", "2024", "1e5"])
def test_trials_of_a_data_set_with_any_name_replace_those_of_before(tmp_path, dataset):
    line = {"preset": "cpu", "dataset": dataset, "n_ids": 2, "form": "gradient_ascent", "settings": '{"eta": 0}'}
    path, trial = tmp_path / "selection.csv", pd.DataFrame([line | {"tow": 80.0, "tow_before": 0.0}])
    for git in ("aaa", "bbb"):
        append(path, trial.assign(git=git))
    held = read_trials(path)
    assert held["dataset"].tolist() == [dataset] * 2 and sorted(held["replaced"]) == ["", "bbb"]


def test_a_choice_leaves_those_of_other_forms_and_settings(tmp_path):
    path = tmp_path / "selected.json"
    path.write_text(json.dumps({"cpu/faces/5": {"ssd": {"alpha": 1}}, "cpu/faces/10": {"jit": {"eta": 2}}}))
    select(path, "cpu/faces/5", {"jit": {"eta": 3}})
    select(path, "cpu/ages/5", {"ssd": {"alpha": 4}})
    assert json.loads(path.read_text()) == {
        "cpu/faces/5": {"ssd": {"alpha": 1}, "jit": {"eta": 3}},
        "cpu/faces/10": {"jit": {"eta": 2}},
        "cpu/ages/5": {"ssd": {"alpha": 4}},
    }


def counted() -> pd.DataFrame:
    """Trials of the repository's searches that no later search took the place of."""
    if not FOUND.is_file():
        pytest.skip("results/selection.csv is not there: `make tune` writes it")
    found = read_trials(FOUND)
    return found[found["replaced"] == ""]


def test_what_the_package_uses_is_what_the_recorded_trials_choose():
    selected, recorded = json.loads(CHOSEN.read_text()), counted()
    for (preset, dataset, n_ids), found in recorded.groupby(["preset", "dataset", "n_ids"]):
        chosen = choose(found)
        assert selected[f"{preset}/{dataset}/{n_ids}"] == chosen
        for form, settings in chosen.items():
            used = settings_for(form, preset=preset, dataset=dataset, n_ids=n_ids)
            assert used == used | settings
    assert len(selected) == recorded.groupby(["preset", "dataset", "n_ids"]).ngroups


def test_the_recorded_trials_are_those_that_the_code_would_run():
    for (preset, dataset, _, form), found in counted().groupby(["preset", "dataset", "n_ids", "form"]):
        assert FIRST <= len(found) <= FIRST + FURTHER and (found["git"] != "").all(), (dataset, form)
        recorded = [{k: v for k, v in json.loads(s).items() if k != "simulated_n_ids"} for s in found["settings"]]
        outputs = {"faces": 14, "celebahq": 40}.get(dataset, 1)
        wanted = json.loads(json.dumps(trials_of(form, preset=preset, multilabel=dataset != "ages", outputs=outputs)))
        assert all(trial in recorded for trial in wanted), (dataset, form)
