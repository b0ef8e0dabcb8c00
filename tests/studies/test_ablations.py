"""Ablations: every row of Tables 5-7 is there, changes what its name says, and is recorded with its own η."""

import json
from pathlib import Path
from unittest.mock import Mock

import pandas as pd
import pytest
from tiny import prepare_tiny

from shui_lib.methods import make_method
from shui_workbook.records.files import read_rows
from shui_workbook.studies import ablations as module
from shui_workbook.studies.ablations import (
    BASE,
    ETAS,
    ETAS_OF_ASCENT,
    ablations,
    choose_eta,
    main,
    steps_and_objectives,
)
from shui_workbook.studies.pool import PoolRequest

REPORTED = Path(__file__).parents[2] / "results" / "reported.csv"


def test_every_row_of_the_papers_tables_5_to_7_is_there():
    paper = pd.read_csv(REPORTED).query("table >= 5")
    for (dataset, n_ids), group in paper.groupby(["dataset", "n_ids"]):
        assert set(group["variant"]) <= set(ablations(n_ids)), f"{dataset}/{n_ids}"


@pytest.mark.parametrize("n_ids", [1, 5, 10, 20, 50, 7])
def test_every_row_is_a_method_of_its_own_but_for_those_that_are_the_default(n_ids):
    methods = {name: make_method("meta_unlearn", {**BASE, "simulated_n_ids": n_ids, **change})
               for name, change in ablations(n_ids).items()}  # fmt: skip
    default = make_method("meta_unlearn", {**BASE, "simulated_n_ids": n_ids})
    same = {name for name, method in methods.items() if method == default}
    assert same == {"aux_loss=first+second+accuracy", "inputs=logits+features+ids+targets", f"simulated_n_ids={n_ids}"}
    assert len(set(methods.values())) == len(methods) - len(same) + 1


def test_every_step_is_taken_with_every_objective():
    methods = {name: make_method("meta_unlearn", {**BASE, **change}) for name, change in steps_and_objectives().items()}
    assert len(set(methods.values())) == len(methods) == 17
    for name, method in methods.items():
        step, learned, *sizes = name.removeprefix("step=").split("+")
        assert method.preconditioner == step and method.residual and method.learned_steps == bool(sizes)
        assert method.objective == {"eq6": "both", "ascent": "both"}.get(learned, learned)
        assert (method.epochs == 0) == (learned == "ascent")


def test_only_the_rows_that_are_asked_for_are_computed(tmp_path, monkeypatch):
    computed, trial = [], pd.DataFrame([{"settings": "{}", "tow": 1.0}])
    monkeypatch.setattr(module, "pool_requests", lambda **where: [])
    monkeypatch.setattr(module, "choose_eta", lambda row, requests: trial)
    monkeypatch.setattr(module, "Experiment", lambda **where: None)
    monkeypatch.setattr(module, "ablation_rows", lambda experiment, name, settings: computed.append(name))
    monkeypatch.setattr(module, "record", lambda path, rows: None)
    main(["--only", "step=kfac+held_out", "--seeds", "0", "1", "--results", str(tmp_path)])
    assert computed == ["step=kfac+held_out"] * 2 + ["step=kfac+held_out+sizes"] * 2


def test_rows_that_are_not_there_are_named(tmp_path):
    with pytest.raises(SystemExit, match="no row's name begins with 'stride='"):
        main(["--only", "stride=", "--results", str(tmp_path)])


@pytest.mark.parametrize("name", ["step=pgu+rank", "step=kfac+eq6", "steps=4"])
def test_every_row_is_tried_with_steps_that_fit_it(name, monkeypatch):
    row = {**BASE, **steps_and_objectives(), **ablations(10)}[name]
    monkeypatch.setattr(module, "judge", lambda *asked: {"tow": 1.0})
    request = PoolRequest(Mock(), [0], None)
    tried = [json.loads(settings)["eta"] for settings in choose_eta(row, [request])["settings"]]
    wanted = ETAS_OF_ASCENT[row["preconditioner"]] if "preconditioner" in row else [eta / 4 for eta in ETAS]
    assert tried == pytest.approx(list(wanted))


def test_rows_and_trials_are_recorded(tmp_path, monkeypatch):
    prepare_tiny(tmp_path / "data" / "tiny")
    few = {name: ablations(2)[name] for name in ("aux_loss=scrub_loss", "steps=2")}
    monkeypatch.setattr(module, "ablations", lambda n_ids: few | {"steps=2 again": few["steps=2"]})
    monkeypatch.setattr(module, "steps_and_objectives", dict)
    searched, choose = [], module.choose_eta
    monkeypatch.setattr(module, "choose_eta", lambda row, requests: searched.append(row) or choose(row, requests))
    monkeypatch.setitem(BASE, "epochs", 1)
    told = ["--dataset", "tiny", "--preset", "smoke", "--n-ids", "2", "--reserved", "3", "--seeds", "0", "1"]
    for name in ("data", "runs", "results"):
        told += [f"--{name}" + ("-root" if name != "results" else ""), str(tmp_path / name)]
    (tmp_path / "results").mkdir()
    main(told)
    rows, trials = (
        read_rows(tmp_path / "results" / "rows_ablations.csv"),
        pd.read_csv(tmp_path / "results/selection_ablations.csv"),
    )
    rehearsing = {**BASE, "simulated_n_ids": 2}
    assert searched == [rehearsing | change for change in few.values()], "what is the same is searched once"
    few |= {"steps=2 again": few["steps=2"]}
    assert set(rows["variant"]) == set(few) and set(rows["seed"]) == {0, 1}
    assert trials.groupby("form").size().to_dict() == {f"meta_unlearn {name}": len(ETAS) for name in few}
    etas = [json.loads(s)["eta"] for s in trials.query("form == 'meta_unlearn steps=2'")["settings"]]
    assert sorted(etas) == [eta / 2 for eta in ETAS], "two steps go as far as one"
