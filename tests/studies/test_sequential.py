"""Sequences of requests: what every strategy serves, from where, and what its rows say."""

import json
from importlib.resources import files

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import prepare_tiny, tiny_faces

from shui_lib.methods import REGISTRY, with_parameters
from shui_lib.methods.parts.meta_gradient import loss_gradient, parameters
from shui_workbook.records.files import check_rows
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies import sequential

PHOTOS = tiny_faces()[:4]
PLAIN = {"gradient_ascent": {"copies": 0}}  # copies are drawn anew for every step


def served(model: list, photos) -> list:
    """Instead of a model: the list of requests that have led to it, each the photos served at once."""
    return [*model, photos.rows.tolist()]


@pytest.fixture(scope="module")
def one(tmp_path_factory) -> Experiment:
    where = tmp_path_factory.mktemp("sequence")
    prepare_tiny(where / "data" / "tiny")
    folders = {"data_root": where / "data", "runs_root": where / "runs", "device": "cpu"}
    return Experiment(dataset="tiny", n_ids=4, reserved=4, preset="smoke", settings=PLAIN, **folders)


def test_what_is_served_at_once_and_from_where():
    a, b, c, d = PHOTOS.rows.tolist()
    assert [*sequential.latest([], served, PHOTOS)] == [[[a]], [[a], [b]], [[a], [b], [c]], [[a], [b], [c], [d]]]
    assert [*sequential.united([], served, PHOTOS)] == [[[a]], [[a, b]], [[a, b, c]], [[a, b, c, d]]]
    assert [*sequential.queued([], served, PHOTOS, size=2)] == [[], [[a, b]], [[a, b]], [[a, b], [c, d]]]
    assert [*sequential.queued([], served, PHOTOS, size=3)][-1] == [[a, b, c]], "the fourth is still waiting"


def test_an_unknown_strategy_is_named(one):
    with pytest.raises(ValueError, match="strategy 'later' is unknown: choose one of latest, share, union, queue"):
        sequential.sequence(one, "gradient_ascent", "later", size=2)


def test_a_union_needs_only_the_mean_gradient_of_photos_that_are_gone(one):
    model, support = one.model("original"), one.part("support")
    theta, kept = parameters(model), {}
    eta = 1e-2
    fixed = one.with_settings({"gradient_ascent": {"eta": eta, "copies": 0}})
    for k in range(len(support)):  # a photo comes, its gradient is added, the photo goes
        gradient = loss_gradient(model, theta, support[[k]])[2]
        kept = {name: kept.get(name, 0) + g / len(support) for name, g in gradient.items()}
    *_, last = sequential.united(model, lambda m, s: step(fixed, m, s), support)
    for name, value in parameters(last).items():
        torch.testing.assert_close(value, theta[name] + eta * kept[name], rtol=1e-4, atol=1e-6)


def step(experiment, model, support):
    method = experiment.method("gradient_ascent")
    given = type("Given", (), {"support": support})
    return method.unlearn(model, given, experiment.artefacts("gradient_ascent"), generator=torch.Generator())


@pytest.mark.parametrize("strategy", ["latest", "union"])
def test_the_first_request_is_served_alike_and_all_at_once_is_the_experiment_itself(one, strategy, monkeypatch):
    monkeypatch.setattr(sequential, "_with_settings_for", lambda experiment, form, n_ids: experiment)
    models = [*sequential.sequence(one, "gradient_ascent", strategy, size=4)]
    first = parameters(step(one, one.model("original"), one.part("support")[[0]]))
    for name, value in parameters(models[0]).items():
        torch.testing.assert_close(value, first[name])
    whole = parameters(one.model("gradient_ascent"))
    same = all(torch.allclose(value, whole[name], atol=1e-6) for name, value in parameters(models[-1]).items())
    assert same == (strategy == "union")


def test_a_reference_has_the_settings_of_its_target(one, monkeypatch):
    seen = []

    def watched(self, model, *rest, **options):
        seen.append(self.simulated_n_ids)
        return model

    monkeypatch.setattr(REGISTRY["meta_unlearn"], "unlearn", watched)
    at = one.with_n_ids(3)
    [*sequential.sequence(one, "meta_unlearn", "union", size=2)]
    target = seen.pop(2)
    seen.clear()
    sequential._reference(at, "meta_unlearn", "union", 2, like=one)
    assert seen[-1] == target != at.method("meta_unlearn").simulated_n_ids


def test_a_share_is_a_part_of_the_step_for_all_at_once(one, monkeypatch):
    monkeypatch.setattr(sequential, "_with_settings_for", lambda experiment, form, n_ids: experiment)
    theta = parameters(one.model("original"))
    share, *_ = sequential.sequence(one, "gradient_ascent", "share", size=4)
    whole = parameters(step(one, one.model("original"), one.part("support")[[0]]))
    for name, value in parameters(share).items():
        torch.testing.assert_close(4 * (value - theta[name]), whole[name] - theta[name], rtol=1e-3, atol=1e-6)


def test_rows_of_a_sequence(one):
    rows = sequential.rows(one, "gradient_ascent", "queue", size=2, every=2, attacked=True)
    untouched = sequential.rows(one, "original", "", size=2, every=2, attacked=True)
    check_rows(pd.concat([rows, untouched]))
    assert set(rows["variant"]) == {"queue 2"} and set(rows["step"]) == {1, 2, 3, 4}
    assert rows.loc[rows["metric"] == "tow", "step"].tolist() == [2, 4]
    for attack in (found[found["metric"] == "rmia_auc"] for found in (rows, untouched)):
        assert attack["step"].tolist() == [2, 4] and attack["value"].between(0, 100).all()
    value = rows.set_index(["step", "split", "metric"])["value"]
    at = Experiment(**where_of(one), n_ids=1, reserved=4)
    assert value[1, "forget", "map"] == pytest.approx(100 * at.score("original", "forget")), "nobody was served yet"
    kept = one.part("retain")
    assert value[1, "retain", "map"] == pytest.approx(100 * one.score("original", "retain"))
    assert not np.isin(one.request.identities, kept.identity).any()


def test_a_model_that_diverges_on_the_way_leaves_its_rows_empty_and_the_earlier_ones_whole(one, monkeypatch):
    original = one.model("original")
    broken = with_parameters(original, {name: value * torch.nan for name, value in parameters(original).items()})
    ways = {"original": [original, original, original, broken], "retrained": [one.model("retrained")]}
    monkeypatch.setattr(sequential, "sequence", lambda *_, base="original", **__: iter(ways[base]))
    rows = check_rows(sequential.rows(one, "gradient_ascent", "latest", size=2, every=2, attacked=True))
    last, before = rows[rows["step"] == 4], rows[rows["step"] < 4]
    assert last["value"].isna().all() and last["note"].str.contains("not finite numbers").all()
    assert before["value"].notna().all() and set(last["metric"]) == {"map", "tow", "rmia_auc"}


def where_of(experiment: Experiment) -> dict[str, object]:
    roots = {"data_root": experiment.folder.parent, "runs_root": experiment.runs.parent}
    return {"dataset": "tiny", "preset": "smoke", "device": "cpu", **roots}


def test_the_retrained_model_of_every_step_is_its_own_goal(one):
    rows = sequential.retrained_rows(one, every=2).set_index(["step", "split", "metric"])["value"]
    assert rows[2, "all", "tow"] == rows[4, "all", "tow"] == 100
    two = Experiment(**where_of(one), n_ids=2, reserved=4)
    assert rows[2, "forget", "map"] == pytest.approx(100 * two.score("retrained", "forget"))
    untouched = sequential.rows(one, "original", "", size=2, every=2)
    tow = untouched[untouched["metric"] == "tow"].set_index("step")["value"]
    assert tow[2] == pytest.approx(two.tug_of_war("original"))


def test_fewer_requests_than_the_interval_are_compared_at_their_end(one):
    assert set(sequential.retrained_rows(one, every=10)["step"]) == {4}
    untouched = sequential.rows(one, "original", "", size=2, every=10)
    assert untouched.loc[untouched["metric"] == "tow", "step"].tolist() == [4]


def test_the_settings_of_a_sequence_are_those_of_its_task_and_of_its_owner(tmp_path):
    """Classes are never unlearned with steps for attributes, and what a user tuned comes before what we did."""
    prepare_tiny(tmp_path / "data" / "mine")
    about, index = json.loads((tmp_path / "data/mine/dataset.json").read_text()), tmp_path / "data/mine/index.csv"
    table = pd.read_csv(index)
    table[["image", "identity"]].assign(label=table[about["classes"][0]]).to_csv(index, index=False)
    classes = about | {"task": "multiclass", "classes": ["dark", "bright"]}
    (tmp_path / "data/mine/dataset.json").write_text(json.dumps(classes))
    where = {"preset": "smoke", "n_ids": 3, "reserved": 4, "device": "cpu", "data_root": tmp_path / "data"}
    mine = Experiment(dataset="mine", **where, runs_root=tmp_path / "runs")
    ours = json.loads((files("shui_workbook.runs") / "selected.json").read_text())["cpu/ages/10"]["gradient_ascent"]
    assert sequential._with_settings_for(mine, "gradient_ascent", 3).settings["gradient_ascent"] == ours
    chosen = {"smoke/mine/3": {"gradient_ascent": {"eta": 0.5}}}
    (tmp_path / "runs").mkdir(exist_ok=True)
    (tmp_path / "runs" / "selected.json").write_text(json.dumps(chosen))
    assert sequential._with_settings_for(mine, "gradient_ascent", 3).settings["gradient_ascent"] == {"eta": 0.5}
