"""Objectives at matched strength: the retain term is what it says, and rows stop where all forget as much."""

import numpy as np
import pandas as pd
import pytest
import torch
from teaching import two_layers
from tiny import prepare_tiny, tiny_faces

from shui_lib.benchmark.metrics import score
from shui_lib.benchmark.predict import predict, task_loss
from shui_lib.methods import with_parameters
from shui_lib.methods.parts.meta_gradient import parameters
from shui_lib.methods.parts.objectives import DISTANCES, MetaBatch, alignment_with_gradient
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies import matched
from shui_workbook.studies.matched import GOAL, compared, eq6_and_retain, main, matched_row, objectives, retaining_name
from shui_workbook.studies.tradeoff import at_goal

SIZE = {"micro_batch": 8, "bf16": False}


def rehearsal():
    """A model that has moved, and one simulated request under the model before."""
    model, faces = two_layers(), tiny_faces(multilabel=True)
    parts = {name: faces.of(ids) for name, ids in {"forget": [0, 1], "val": [2, 3, 4], "retain": range(5, 12)}.items()}
    said = {name: predict(model, part).logits.double() for name, part in parts.items()}
    known = MetaBatch(parts["forget"], parts["val"], said["val"], said["forget"], parts["retain"], said["retain"])
    torch.manual_seed(1)
    theta = {name: value + 0.1 * torch.randn_like(value) for name, value in parameters(model).items()}
    return model, theta, known


def by_hand(model, theta, known, weight):
    """The third term as a function of θ, with the score as a constant."""
    moved = with_parameters(model, theta)
    missed = [1 - score(predict(m, known.retain).logits, known.retain.targets) for m in (moved, model)]
    logits = torch.func.functional_call(model, theta, (known.retain.pixels().double(),)).logits
    losses = task_loss(logits, known.retain.targets), task_loss(known.retain_logits, known.retain.targets)
    return weight * DISTANCES["smooth_l1"](missed[0] * losses[0], missed[1] * losses[1])


def test_the_retain_term_and_its_gradient_are_those_of_the_formula():
    model, theta, known = rehearsal()
    plain = alignment_with_gradient(model, theta, known, size=SIZE, detached=True)
    found = eq6_and_retain(3.0)(model, theta, known, size=SIZE)
    leaves = {name: value.clone().requires_grad_() for name, value in theta.items()}
    term = by_hand(model, leaves, known, 3.0)
    gradient = torch.autograd.grad(term, list(leaves.values()))
    assert (found.value - plain.value).item() == pytest.approx(term.item(), rel=1e-6) and term > 0
    for (name, g), wanted in zip(found.gradient.items(), gradient, strict=True):
        torch.testing.assert_close(g - plain.gradient[name], wanted, rtol=1e-5, atol=1e-9)


def test_a_model_that_has_not_moved_pays_nothing_for_who_stays():
    model, _, known = rehearsal()
    theta = parameters(model)
    plain = alignment_with_gradient(model, theta, known, size=SIZE, detached=True)
    found = eq6_and_retain(10.0)(model, theta, known, size=SIZE)
    assert found.value.item() == pytest.approx(plain.value.item(), abs=1e-9)


def test_what_is_lost_is_read_where_the_goal_is_first_reached():
    curve = pd.DataFrame({"forget": [0.0, 4.0, 2.0, 8.0], "retain": [0.0, 1.0, 5.0, 9.0], "tow": [80.0, 82, 81, 70]})
    assert at_goal(curve, 2) == pytest.approx(0.5) and at_goal(curve, 6) == pytest.approx(5 + 4 * 4 / 6)
    assert at_goal(curve, 2, "tow") == 81 and np.isnan(at_goal(curve, 9)) and np.isnan(at_goal(curve, 0))


def test_rows_are_compared_over_the_seeds_that_both_reach():
    rows = pd.DataFrame({"seed": [0, 1, 2, 0, 1, 2], "form": ["a"] * 3 + ["b"] * 3,
                         "retain": [5.0, 6, np.nan, 3, 5, 1]})  # fmt: skip
    found = compared(rows, "a", "b")
    assert found["mean"] == pytest.approx(1.5) and found["seeds"] == 2 and found["low"] < 1.5 < found["high"]


def test_rows_say_where_they_stand(tmp_path, monkeypatch):
    prepare_tiny(tmp_path / "data" / "tiny")
    monkeypatch.setitem(matched.BASE, "epochs", 1)
    few = {name: objectives()[name] for name in ("aux_loss=first", retaining_name(10.0))}
    monkeypatch.setattr(matched, "objectives", lambda: few)
    told = ["--dataset", "tiny", "--n-ids", "2", "--reserved", "3", "--preset", "smoke", "--data-root"]
    told += [str(tmp_path / "data"), "--runs-root", str(tmp_path / "runs"), "--results", str(tmp_path / "found.csv")]
    main([*told, "--seeds", "0"])
    rows = pd.read_csv(tmp_path / "found.csv")
    assert len(rows) == 4 and set(rows["form"]) == set(few) and set(rows["eta"]) == set(matched.ETAS)
    there = rows[rows["reached"] == 1]
    assert np.allclose(there["forget"], GOAL * there["gap"]) and rows[rows["reached"] == 0]["retain"].isna().all()


def test_learned_is_what_the_objective_asks_for(tmp_path, monkeypatch):
    prepare_tiny(tmp_path / "data" / "tiny")
    where = {"data_root": tmp_path / "data", "runs_root": tmp_path / "runs", "device": "cpu"}
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, **where)
    monkeypatch.setitem(matched.BASE, "epochs", 1)
    kept = {}
    flat = pd.DataFrame({"forget": [0.0], "retain": 0.0, "test": 0.0, "tow": 0.0, "gap": 1.0})
    curve = lambda e, form, artefacts, **how: kept.update({len(kept): artefacts}) or flat  # noqa: E731
    monkeypatch.setattr(matched, "curve", curve)
    for name in ("aux_loss=scrub_loss", "eq6+1retain", "eq6+10retain"):
        assert matched_row(one, name, 1e-2)["reached"] == 0
    phi = [torch.cat([v.flatten() for k, v in a.tensors.items() if k.startswith("phi")]) for a in kept.values()]
    assert not torch.equal(phi[0], phi[1]) and not torch.equal(phi[1], phi[2])


def test_trials_of_the_pool_are_read_between_step_sizes():
    lines = [("a", 3e-3, 0.08, 0.10), ("a", 1e-3, 0.02, 0.04), ("b", 1e-3, 0.01, 0.03)]  # form, eta, forget, retain
    trials = pd.DataFrame(lines, columns=["form", "eta", "forget_drop", "retain_drop"])
    trials = trials.assign(form="meta_unlearn " + trials["form"], settings=[f'{{"eta": {e}}}' for e in trials["eta"]])
    found = matched.on_the_pool(trials, [1, 5])
    assert found.loc["a"].tolist() == pytest.approx([2, 7]) and found.loc["b", 1] == pytest.approx(3)
    assert np.isnan(found.loc["b", 5])
