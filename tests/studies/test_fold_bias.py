"""The bias of fold models is measured on retrained ones, and changes a choice pooled it is large enough."""

import json

import numpy as np
import pandas as pd
import pytest

from shui_workbook.records.searches import append
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies.fold_bias import choices_without_bias, corrected, fold_bias, main
from shui_workbook.studies.pool import SEEDS, pool_experiment, pool_requests
from shui_workbook.studies.selection import search
from shui_workbook.studies.trials import AXES, Axis


def test_the_bias_of_the_folds_is_measured_on_a_retrained_model(pooled):
    options = {name: value for name, value in pooled.items() if name not in ("dataset", "preset")}
    found = fold_bias(dataset=pooled["dataset"], preset=pooled["preset"], sizes=(2,), **options)
    assert found["split"].tolist() == ["retain", "forget", "val"]
    everyone, _ = pool_experiment(n_ids=2, **pooled)
    one = Experiment(n_ids=2, reserved=everyone.reserved, from_pool=True, seed=SEEDS[0], **pooled)
    assert one.stage("fold_0").folder == everyone.stage("fold_0").folder
    assert found["retrained"].tolist() == pytest.approx([100 * one.score("retrained", p) for p in found["split"]])


def test_a_bias_of_the_folds_is_taken_off_what_is_wanted(pooled):
    (one, *_), (other, *_) = (requests := pool_requests(n_ids=2, **pooled)), corrected(requests, -0.05)
    assert other.wanted == one.wanted._replace(forget=one.wanted.forget + 0.05)


def test_the_bias_changes_a_choice_where_it_is_large_enough(pooled, monkeypatch):
    requests = pool_requests(n_ids=2, **pooled)[:2]

    def judge(experiment, form, group, wanted):  # the model scores η on the images to forget
        tow = 100 * (1 - abs(experiment.method(form).eta - wanted.forget))
        return dict.fromkeys(("forget_drop", "retain_drop", "val_drop", "objective"), 0.0) | {
            "tow": tow,
            "tow_before": 0.0,
        }

    monkeypatch.setattr("shui_workbook.studies.selection.judge", judge)
    level = np.mean([request.wanted.forget for request in requests])
    monkeypatch.setitem(AXES, "gradient_ascent", {"eta": Axis((round(level, 2), round(level + 0.2, 2)))})
    found = search("gradient_ascent", requests)
    assert not choices_without_bias(found, requests, 0.0)["changes"].item()
    (line,) = choices_without_bias(found, requests, -0.2).to_dict("records")
    assert line["changes"] and json.loads(line["without_bias"])["eta"] == round(level + 0.2, 2)


def test_choices_are_tested_with_the_bias_that_was_recorded(pooled, monkeypatch, tmp_path):
    monkeypatch.setitem(AXES, "gradient_ascent", {"eta": Axis((0.0, 0.01))})
    told = ["--dataset", "tiny", "--preset", "smoke", "--n-ids", "2", "--results", str(tmp_path)]
    told += [f"--{name}-root={pooled[f'{name}_root']}" for name in ("data", "runs")]
    with pytest.raises(SystemExit, match="measure it first, without --choices"):
        main([*told, "--choices"])
    main([*told, "--sizes", "2"])
    (bias,) = pd.read_csv(tmp_path / "fold_bias.csv").query("split == 'forget'")["difference"]
    append(tmp_path / "selection.csv", search("gradient_ascent", pool_requests(n_ids=2, **pooled)))
    main([*told, "--choices"])
    (line,) = pd.read_csv(tmp_path / "fold_bias_choices.csv").to_dict("records")
    assert line["form"] == "gradient_ascent" and line["bias"] == pytest.approx(bias, abs=1e-4)
