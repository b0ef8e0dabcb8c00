"""Sequences are compared seed by seed after the last request, and every difference has its interval."""

import pandas as pd
import pytest

from shui_lib.core.rows import make_rows
from shui_workbook.records import record
from shui_workbook.reports.sequences import sequences


@pytest.fixture
def results(tmp_path):
    ends = {"original": 76.0, "curvature union": 86.0, "curvature latest": 83.0}
    for seed in range(3):
        for form, tow in ends.items():
            method, _, variant = form.partition(" ")
            about = {"dataset": "faces", "preset": "cpu", "model": "vit", "n_ids": 4, "seed": seed}
            for step in (2, 4):
                values = {("all", "tow"): tow + 5 * seed + (step == 2) * 50 - (variant == "latest") * 0.1 * seed}
                values["all", "rmia_auc"] = {0: 40.0, 1: 60.0, 2: 55.0}[seed]
                key = about | {"method": method, "variant": variant, "step": step}
                record(tmp_path / "rows_sequential.csv", make_rows(values, key))
    return tmp_path


def test_ends_are_paired_within_seeds(results):
    found = sequences(results).set_index("way")
    assert found["seeds"].tolist() == [3, 3] and set(found["method"]) == {"curvature"}
    assert found.loc["union", "− doing nothing [95 %]"] == "+10.0 [+10.0, +10.0]"  # though seeds are 5 points apart
    assert found.loc["latest", "− union [95 %]"].startswith("-3.1 [") and found.loc["union", "− union [95 %]"] == ""


def test_an_area_is_judged_by_its_distance_from_a_half(results):
    (auc,) = set(sequences(results)["AUC, distance from 50"])
    assert auc.startswith("8.3 ["), "40 is as telling as 60"


def test_a_way_without_union_is_compared_with_nothing_alone(results):
    rows = pd.read_csv(results / "rows_sequential.csv")
    rows[rows["variant"] != "union"].to_csv(results / "rows_sequential.csv", index=False)
    found = sequences(results)
    assert found["− union [95 %]"].tolist() == [""] and found["− doing nothing [95 %]"].iloc[0].startswith("+6.9")
