"""Settings are chosen on people who are never in a reported request, with equal effort for every method."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import small_vit, tiny_faces

import shui_workbook
from shui_lib.benchmark.metrics import tug_of_war
from shui_lib.benchmark.predict import predict
from shui_lib.benchmark.presets import PRESETS
from shui_lib.core.names import parse
from shui_lib.methods import REGISTRY, Given, make_method
from shui_workbook.forms import every_form, forms_named
from shui_workbook.records.searches import JUDGED, NOTHING, append, choose, read_trials
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies.pool import judge, pool_requests, untouched
from shui_workbook.studies.selection import (
    REQUESTS_WITH_DATA,
    Trying,
    acting,
    main,
    recorded_trials,
    remarks,
    search,
    trials_of,
)
from shui_workbook.studies.trials import AXES, FIRST, FURTHER, Axis

CHOSEN = Path(shui_workbook.__file__).parent / "runs" / "selected.json"


# How much effort


def variant_of(form: str) -> dict[str, str]:
    return {"variant": parse(form).variant} if parse(form).variant else {}


def test_every_form_gets_the_same_number_of_trials():
    forms = {f"{name}:{variant}".strip(":") for name, method in REGISTRY.items() for variant in method.variants or [""]}
    assert set(AXES) == forms
    assert {len(trials_of(form, preset="cpu", multilabel=kind)) for form in AXES for kind in (True, False)} == {FIRST}


@pytest.mark.parametrize("multilabel", [True, False], ids=["attributes", "classes"])
@pytest.mark.parametrize("form", AXES)
def test_trials_are_valid_and_differ(form, multilabel):
    variant = variant_of(form)
    trials = trials_of(form, preset="cpu", multilabel=multilabel)
    assert len({repr(make_method(parse(form).method, settings | variant)) for settings in trials}) == len(trials)


def test_forms_are_named_one_by_one_or_by_a_word():
    assert forms_named("ssd pgu:original") == ["ssd", "pgu:original"]
    assert forms_named("tuned") == every_form(published=False) and forms_named("all") == every_form()
    support = ["curvature", "gradient_ascent", "jit:one-shui", "meta_unlearn", "mu_mis", "pgu:one-shui"]
    support += ["ssd:one-shui"]
    assert forms_named("support") == support, "in their original form, PGU, SSD and JiT saw what is to be forgotten"


def test_trials_of_every_form_of_curvature_count_attributes():
    forms = ("curvature", "curvature:forget-images", "curvature:one-trained")
    one, *others = (trials_of(form, preset="cpu", multilabel=True, outputs=14) for form in forms)
    assert others == [one, one] and one[0]["eta"] == 1.68e-4


def test_a_search_is_the_mean_of_its_trials_over_requests(pooled, monkeypatch):
    requests = pool_requests(n_ids=2, **pooled)
    monkeypatch.setitem(AXES, "gradient_ascent", {"eta": Axis((0.0, 0.1))})
    found = search("gradient_ascent", requests)
    assert found["settings"].tolist() == ['{"eta": 0.0}', '{"eta": 0.1}']
    assert (found["requests"] == len(requests)).all() and (found["n_ids"] == 2).all()
    one = requests[0].experiment.with_settings({"gradient_ascent": {"eta": 0.1}})
    by_hand = [judge(one, "gradient_ascent", group, wanted)["tow"] for _, group, wanted in requests]
    assert found["tow"][1] == pytest.approx(np.mean(by_hand))
    monkeypatch.setitem(AXES, "scrub:original", {"epochs max_epochs": Axis(((1, 1),))})
    assert search("scrub:original", requests)["requests"].tolist() == [REQUESTS_WITH_DATA]


def test_what_if_is_recorded_apart_and_chooses_nothing(pooled, monkeypatch, tmp_path):
    monkeypatch.setitem(AXES, "scrub:original", {"epochs max_epochs": Axis(((2, 2),)), "lr": Axis((0.1,))})
    before, roots = CHOSEN.read_text(), [f"--{n}-root={pooled[f'{n}_root']}" for n in ("data", "runs")]
    told = ["--dataset", "tiny", "--n-ids", "2", "--preset", "smoke", "--forms", "scrub:original", *roots]
    main([*told, "--also", "kl=bernoulli", "--results", str(tmp_path)])
    (found,) = pd.read_csv(tmp_path / "selection_also.csv").to_dict("records")
    assert json.loads(found["settings"])["kl"] == "bernoulli" and found["also"] == "kl=bernoulli"
    assert [path.name for path in tmp_path.glob("*.csv")] == ["selection_also.csv"] and CHOSEN.read_text() == before


# What is chosen


def some_trials(**tows: list[float]) -> pd.DataFrame:
    setting = {"preset": "cpu", "dataset": "tiny", "n_ids": 2}
    return pd.DataFrame(
        {**setting, "form": form, "settings": f'{{"eta": {k}}}', "tow": v, "tow_before": 0.0}
        for form, values in tows.items()
        for k, v in enumerate(values)
    )


def test_the_trial_closest_to_what_is_wanted_is_chosen():
    found = some_trials(gradient_ascent=[80, 95, 90], meta_unlearn=[70, 60, 50])
    assert choose(found) == {"gradient_ascent": {"eta": 1}, "meta_unlearn": {"eta": 0}}


@pytest.mark.parametrize("form", AXES)
def test_doing_nothing_is_a_setting_of_every_method(form):
    faces, model = tiny_faces(), small_vit()
    method = make_method(parse(form).method, NOTHING[parse(form).method] | variant_of(form))
    parts = {"forget": faces.of([0, 1]), "retain": faces.of(range(2, 8)), "val": faces.of(range(8, 12))}
    parts |= {"support": faces[[0, 5]], "train": faces.of(range(8))}
    chance = torch.Generator().manual_seed(0)
    artefacts = method.prepare(model, {part: parts[part] for part in method.prepares_on}, generator=chance)
    after = method.unlearn(model, Given(parts).only(method.needs), artefacts, generator=chance)
    assert torch.equal(predict(after, faces).logits, predict(model, faces).logits)


def test_doing_nothing_is_chosen_where_every_trial_harms():
    found = some_trials(gradient_ascent=[70, 80], meta_unlearn=[90, 99]).assign(tow_before=85.0)
    assert choose(found) == {"gradient_ascent": {"eta": 0.0}, "meta_unlearn": {"eta": 1}}
    assert choose(found, or_nothing=False)["gradient_ascent"] == {"eta": 1}
    assert remarks(found[found["form"] == "gradient_ascent"]) == [
        "gradient_ascent: the best trial reaches 80.0, doing nothing 85.0"
    ]


def test_a_form_that_was_chosen_to_do_nothing_acts_as_its_best_trial(pooled, monkeypatch):
    one = Experiment(n_ids=2, reserved=3, **pooled)

    def chosen(form, **setting):
        return "smoke/tiny/2", {"eta": 0.0 if form == "gradient_ascent" else 0.5}

    monkeypatch.setattr("shui_workbook.studies.selection.selection", chosen)
    line = {"preset": "smoke", "dataset": "tiny", "n_ids": 2, "form": "gradient_ascent", "tow_before": 90.0}
    tried = [("1", 70.0, ""), ("0.3", 80.0, ""), ("2", 85.0, "abc")]
    lines = [{**line, "settings": f'{{"eta": {eta}}}', "tow": tow, "replaced": old} for eta, tow, old in tried]
    trials = pd.DataFrame(lines)
    assert acting(one, "gradient_ascent", trials).method("gradient_ascent").eta == 0.3, "of the last search, the best"
    ours = trials.assign(settings='{"eta": 9}')
    assert acting(one, "gradient_ascent", trials[:0], trials, ours).method("gradient_ascent").eta == 0.3
    assert acting(one, "curvature", trials) is one, "it was chosen to do something"
    by_hand = one.with_settings({"gradient_ascent": {"eta": 0.0}})
    assert acting(by_hand, "gradient_ascent", trials) is by_hand
    with pytest.raises(ValueError, match="no trial that does is recorded.*--forms gradient_ascent"):
        acting(one, "gradient_ascent", trials[trials["replaced"] != ""])


def test_an_edge_of_the_grid_is_said():
    found = some_trials(gradient_ascent=[80, 85, 90]).assign(tow_before=70.0)
    assert remarks(found) == ["gradient_ascent: eta=2 is an edge of its grid, the best may lie beyond"]
    assert not remarks(some_trials(gradient_ascent=[80, 95, 90]).assign(tow_before=70.0))


def test_a_trial_that_diverges_is_left_out_and_said(pooled, monkeypatch, capsys):
    requests = pool_requests(n_ids=2, **pooled)[:1]
    monkeypatch.setitem(AXES, "gradient_ascent", {"eta": Axis((1e38, 0.01))})
    found = search("gradient_ascent", requests)
    assert np.isnan(found["tow"][0]) and "not finite numbers: the model has diverged" in found["note"][0]
    assert found["note"][1] == ""
    assert choose(found, or_nothing=False) == {"gradient_ascent": {"eta": 0.01}}
    assert 'gradient_ascent {"eta": 1e+38} is left out' in capsys.readouterr().err


def test_how_long_the_first_trials_take_is_said_after_the_first(pooled, monkeypatch, capsys):
    monkeypatch.setattr("shui_workbook.studies.selection.judge", judged_by(lambda eta: 80.0))
    trying = Trying("gradient_ascent", pool_requests(n_ids=2, **pooled)[:1], {})
    trying.started -= 60
    for eta in (0.1, 0.2):
        trying.one({"eta": eta}, of=12)
    assert capsys.readouterr().err.splitlines() == ["gradient_ascent: about 12 minutes for 12 trials"]


def test_a_users_choice_lies_in_their_folder_and_is_found_again(pooled, monkeypatch, capsys):
    monkeypatch.setitem(AXES, "gradient_ascent", {"eta": Axis((0.0,))})
    before, roots = CHOSEN.read_text(), [f"--{n}-root={pooled[f'{n}_root']}" for n in ("data", "runs")]
    main(["--dataset", "tiny", "--n-ids", "2", "--preset", "smoke", "--forms", "gradient_ascent", *roots])
    assert CHOSEN.read_text() == before
    assert (pooled["runs_root"] / "selection.csv").is_file()
    assert f"choices in {pooled['runs_root'] / 'selected.json'}" in capsys.readouterr().out
    one = Experiment(n_ids=2, **pooled)
    assert one.method("gradient_ascent").eta == 0.0
    assert one.whose_settings("gradient_ascent").tolist() == ["chosen on its own tuning pool"]


# Growing


def eta_of(found: pd.DataFrame) -> list[float]:
    return [json.loads(settings)["eta"] for settings in found["settings"]]


def judged_by(value):
    """A judge whose Tug-of-War is a function of η."""

    def judge(experiment, form, group, wanted):
        eta = experiment.method(form).eta
        return dict.fromkeys(("forget_drop", "retain_drop", "val_drop", "objective"), 0.0) | {
            "tow": value(eta),
            "tow_before": 50.0,
        }

    return judge


def test_a_grid_grows_where_its_best_trial_lies_at_an_edge_until_it_does_not(pooled, monkeypatch):
    requests = pool_requests(n_ids=2, **pooled)[:1]
    monkeypatch.setitem(AXES, "gradient_ascent", {"eta": Axis((0.1, 0.2, 0.4), 2)})
    monkeypatch.setattr("shui_workbook.studies.selection.judge", judged_by(lambda eta: 90 - abs(eta - 1.6)))
    found = search("gradient_ascent", requests)
    assert eta_of(found)[:6] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2] and choose(found) == {"gradient_ascent": {"eta": 1.6}}
    assert eta_of(found)[6:] == [1.13, 2.26, 1.34, 1.9], "then halfway to its neighbours, until they are close"
    assert not remarks(found)
    monkeypatch.setattr("shui_workbook.studies.selection.judge", judged_by(lambda eta: 90 - abs(eta - 0.2)))
    found = eta_of(search("gradient_ascent", requests))
    assert min(found) == 0.1 and max(found) == 0.4, "in the middle, nothing beyond is tried"


def test_a_grid_stops_growing_at_the_stated_limit_and_the_edge_is_said(pooled, monkeypatch):
    requests = pool_requests(n_ids=2, **pooled)[:1]
    monkeypatch.setitem(AXES, "gradient_ascent", {"eta": Axis((0.1, 0.2, 0.4), 2)})
    monkeypatch.setattr("shui_workbook.studies.selection.judge", judged_by(lambda eta: 60 - 1 / (1 + eta)))
    found = search("gradient_ascent", requests)
    assert len(found) == FIRST + FURTHER and "is an edge of its grid" in remarks(found)[0]


def test_a_search_goes_on_from_recorded_trials_and_none_is_lost(pooled, monkeypatch, tmp_path):
    requests = pool_requests(n_ids=2, **pooled)[:1]
    monkeypatch.setitem(AXES, "gradient_ascent", {"eta": Axis((0.1, 0.2), 2)})
    monkeypatch.setattr("shui_workbook.studies.selection.judge", judged_by(lambda eta: 90 - abs(eta - 0.2)))
    path = tmp_path / "selection.csv"
    first = search("gradient_ascent", requests).assign(git="aaa")
    append(path, first)
    made = read_trials(path).drop(columns="replaced")
    monkeypatch.setattr("shui_workbook.studies.selection.judge", judged_by(lambda eta: 1 / 0))
    again = search("gradient_ascent", requests, made=made)  # all are made: nobody is judged
    append(path, again)
    held = read_trials(path)
    assert eta_of(held) == eta_of(first) and (held["replaced"] == "").all()
    append(path, first.assign(git="bbb", tow=70.0))
    held = read_trials(path)
    assert held.groupby("replaced")["git"].unique().map(list).to_dict() == {"": ["bbb"], "bbb": ["aaa"]}


def test_a_killed_search_goes_on_at_the_trial_that_it_was_in(pooled, monkeypatch, tmp_path):
    requests = pool_requests(n_ids=2, **pooled)[:1]
    monkeypatch.setitem(AXES, "gradient_ascent", {"eta": Axis((0.1, 0.2, 0.3))})
    path, judged = tmp_path / "selection.csv", []

    def judge(experiment, form, group, wanted):
        judged.append(experiment.method(form).eta)
        if judged == [0.1, 0.2]:
            raise KeyboardInterrupt
        before = tug_of_war(untouched(experiment, group), wanted)
        return dict.fromkeys(JUDGED, 0.0) | {"tow": 1.0, "tow_before": before}

    monkeypatch.setattr("shui_workbook.studies.selection.judge", judge)
    with pytest.raises(KeyboardInterrupt):
        search("gradient_ascent", requests, keep=partial(append, path))
    made = recorded_trials(path, "gradient_ascent", requests)
    assert eta_of(made) == [0.1]
    found = search("gradient_ascent", requests, made=made, keep=partial(append, path))
    assert judged == [0.1, 0.2, 0.2, 0.3] and eta_of(read_trials(path)) == eta_of(found) == [0.1, 0.2, 0.3]


def test_what_a_preset_states_is_the_same_in_all_trials_unless_an_axis_moves_it():
    told = {preset: trials_of("meta_unlearn", preset=preset, multilabel=True) for preset in PRESETS}
    assert {trial["epochs"] for trial in told["face-resnet"]} == {1}
    assert {trial["epochs"] for trial in told["cpu"]} == {3}
    assert len({trial["eta"] for trial in told["paper"]}) > 1, "it states one, too, and the axis moves it"


def test_what_is_resumed_scored_the_same_before_unlearning(pooled, tmp_path, capsys):
    requests = pool_requests(n_ids=2, **pooled)
    path, form = tmp_path / "selection.csv", "gradient_ascent"
    assert recorded_trials(path, form, requests) is None
    before = np.mean([tug_of_war(untouched(request.experiment, request.group), request.wanted) for request in requests])
    row = {"preset": "smoke", "dataset": "tiny", "n_ids": 2, "form": form, "settings": '{"eta": 0.1}', "note": ""}
    append(path, pd.DataFrame([{**row, "tow": 1.0, "tow_before": before, "git": ""}]))
    assert len(recorded_trials(path, form, requests)) == 1
    append(path, pd.DataFrame([{**row, "tow": 1.0, "tow_before": before + 1, "git": "b"}]))
    assert recorded_trials(path, form, requests) is None and "all are made" in capsys.readouterr().err
