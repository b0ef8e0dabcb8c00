"""Margins over trainings of one request: what differs between trainings, what is the same, and what is recorded."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import prepare_tiny

from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies import klom


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("klom")
    prepare_tiny(folder / "data" / "tiny")
    where = {"data_root": folder / "data", "runs_root": folder / "runs"}
    settings = {"gradient_ascent": {"eta": 0.5, "copies": 0}}
    return Experiment(dataset="tiny", n_ids=2, reserved=2, preset="smoke", settings=settings, **where)


def test_a_margin_is_the_log_odds_of_the_truth():
    logits = torch.tensor([[2.0, -1.0, 0.5]])
    assert klom.margin(logits, torch.tensor([[1.0, 0.0, 0.0]])).item() == pytest.approx((2 + 1 - 0.5) / 3)
    p = logits.softmax(1)[0, 2]
    assert klom.margin(logits, torch.tensor([2])).item() == pytest.approx((p / (1 - p)).log().item(), rel=1e-5)


def test_trainings_differ_and_are_repeated_exactly(small):
    first, second = (klom.margins(small, "retrained", training) for training in (0, 1))
    assert first.shape == (len(small.faces),) and not np.allclose(first, second)
    np.testing.assert_array_equal(klom.margins(small, "retrained", 0), first)
    assert not np.allclose(first, klom.margins(small, "original", 0)), "it has seen the images to forget"


def test_a_method_starts_from_the_training_and_its_settings_count(small):
    plain = klom.margins(small, "original", 0)
    still, far = ({"gradient_ascent": {"eta": eta, "copies": 0}} for eta in (0.0, 5.0))
    np.testing.assert_allclose(klom.margins(small.with_settings(still), "gradient_ascent", 0), plain, atol=1e-5)
    assert not np.allclose(klom.margins(small.with_settings(far), "gradient_ascent", 0), plain, atol=1e-3)
    prepared = klom.margins(small, "curvature", 0)
    assert np.isfinite(prepared).all() and not np.allclose(prepared, plain)


def test_the_table_has_its_floor_and_people_make_the_interval(small):
    found = klom.table(small, ["original"], 3).set_index(["form", "part"])
    assert set(found.index) == {(form, part) for form in ("original", klom.FLOOR) for part in klom.PARTS}
    assert (found["low"] <= found["klom"]).all() and (found["klom"] <= found["high"]).all()
    rows = small.rows_of["test"]
    mine, goal = (np.stack([klom.margins(small, "retrained", t) for t in which]) for which in (range(3), range(3, 6)))
    wanted = klom.klom(mine[:, rows], goal[:, rows])
    assert found.loc[(klom.FLOOR, "test"), "klom"] == pytest.approx(wanted.mean())
    assert found.loc[(klom.FLOOR, "test"), "images"] == len(rows)


def test_the_command_writes_lines_that_name_their_code(small, tmp_path, capsys):
    where = ["--data-root", str(small.folder.parent), "--runs-root", str(small.runs.parent)]
    setting = ["--dataset", "tiny", "--n-ids", "2", "--reserved", "2", "--preset", "smoke", "--trainings", "3"]
    settings = ["--settings", json.dumps({"gradient_ascent": {"eta": 0.5, "copies": 0}})]
    klom.main([*setting, *where, *settings, "--forms", "original", "--results", str(tmp_path)])
    lines = pd.read_csv(tmp_path / "klom.csv")
    assert len(lines) == 6 and lines["git"].notna().all() and set(lines["form"]) == {"original", klom.FLOOR}
    assert "retrained_again" in capsys.readouterr().out


def test_the_repositorys_own_lines_come_from_committed_code(small, tmp_path, monkeypatch):
    monkeypatch.setattr("shui_workbook.records.files.git_commit", lambda: "abc-dirty")
    monkeypatch.setattr(klom, "Experiment", lambda **_: small)
    monkeypatch.setattr(klom, "table", lambda *_: pd.DataFrame({"form": ["original"], "part": ["test"], "klom": [1.0]}))
    monkeypatch.setattr("shui_workbook.records.files.RESULTS", tmp_path)  # nothing real is at stake
    with pytest.raises(SystemExit, match="of no commit .abc-dirty."):
        klom.main(["--results", str(tmp_path)])
    assert not (tmp_path / "klom.csv").exists()
