"""What of the gain belongs to which part."""

import json

import pandas as pd
import pytest

from shui_workbook.records.searches import append
from shui_workbook.studies.gain import ARMS, PARTS, settings_of_arms, split

KEY = {"preset": "cpu", "dataset": "tiny", "n_ids": 2}


def trials(form: str, *found: tuple[dict, float]) -> pd.DataFrame:
    rows = [{"settings": json.dumps(s), "tow": tow, "tow_before": 50.0, "note": "", "git": "aaa"} for s, tow in found]
    return pd.DataFrame([{**KEY, "form": form, **row} for row in rows])


def test_every_arm_takes_the_best_of_its_own_trials(tmp_path):
    both = [({"eta": 1.0, "copies": 0}, 60.0), ({"eta": 2.0, "copies": 0}, 70.0), ({"eta": 1.0, "copies": 16}, 65.0)]
    append(tmp_path / "selection.csv", trials("gradient_ascent", *both))
    append(tmp_path / "selection.csv", trials("curvature", ({"eta": 3.0}, 80.0), ({"eta": 4.0}, 75.0)))
    trials("curvature", ({"eta": 5.0, "copies": 0}, 60.0)).assign(also="").to_csv(tmp_path / "selection_also.csv")
    found = settings_of_arms(tmp_path, KEY)
    assert found == {
        "arm=ascent": ("gradient_ascent", {"eta": 2.0, "copies": 0}),
        "arm=ascent+copies": ("gradient_ascent", {"eta": 1.0, "copies": 16}),
        "arm=curvature": ("curvature", {"eta": 5.0, "copies": 0}),
        "arm=curvature+copies": ("curvature", {"eta": 3.0}),
    }


def test_parts_add_up_to_the_whole():
    level = {"arm=ascent": 82.0, "arm=ascent+copies": 87.0, "arm=scale+copies": 88.5, "arm=curvature+copies": 90.0}
    rows = [("original", "", 80.0), *(("curvature", arm, value) for arm, value in level.items())]
    about = {"metric": "tow", "split": "all"}
    frame = pd.DataFrame(
        {**about, "method": m, "variant": v, "seed": seed, "value": value + seed}
        for m, v, value in rows
        for seed in (0, 1)
    )
    found = split(frame)
    steps = ["ascent on the photo", "+ copies of the photo", "+ scale of each layer", "+ directions"]
    assert found.loc[steps, "mean"].tolist() == pytest.approx([2.0, 5.0, 1.5, 1.5])
    assert found.loc["all together", "mean"] == pytest.approx(found.loc[steps, "mean"].sum())
    assert "curvature without copies" not in found.index, "that arm has no rows"
    assert {arm for pair in PARTS.values() for arm in pair} == {*ARMS, "original"}
