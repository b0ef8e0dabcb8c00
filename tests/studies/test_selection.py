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
from shui_lib.benchmark.metrics import Scores, score, tug_of_war
from shui_lib.benchmark.predict import predict
from shui_lib.benchmark.presets import PRESETS, preset_named
from shui_lib.core.names import parse
from shui_lib.methods import REGISTRY, Given, make_method
from shui_workbook.forms import every_form, forms_named
from shui_workbook.records.files import put
from shui_workbook.runs.experiment import Experiment
from shui_workbook.runs.settings import PUBLISHED, published_for, selected_key, settings_for
from shui_workbook.studies.selection import (
    JUDGED,
    NOTHING,
    REQUESTS,
    REQUESTS_WITH_DATA,
    SEEDS,
    Trying,
    acting,
    append,
    choose,
    fold_scores,
    judge,
    main,
    pool_experiment,
    pool_requests,
    read_trials,
    recorded_trials,
    remarks,
    search,
    select,
    trials_of,
    untouched,
)
from shui_workbook.studies.trials import AXES, FIRST, FURTHER, Axis

REPORTED_SEEDS = range(5)
CHOSEN = Path(shui_workbook.__file__).parent / "runs" / "selected.json"
FOUND = Path(__file__).parents[2] / "results" / "selection.csv"


# On whom


def test_requests_come_from_the_pool_and_nobody_asks_twice_in_one(pooled):
    experiment, groups = pool_experiment(n_ids=2, **pooled)
    assert 2 <= len(groups) <= REQUESTS and all(len(set(group)) == 2 for group in groups)
    assert len({tuple(group) for group in groups}) > 1
    assert set(np.concatenate(groups)) <= set(experiment.split.pool)
    assert set(np.concatenate(groups)) <= set(experiment.part("support").identity)
    again = pool_experiment(n_ids=2, **pooled)[1]
    assert np.array_equal(groups, again)


@pytest.mark.parametrize("seed", REPORTED_SEEDS)
def test_nobody_of_the_pool_is_in_a_reported_request(pooled, seed):
    asking = np.concatenate(pool_experiment(n_ids=2, **pooled)[1])
    reported = Experiment(seed=seed, n_ids=10, **pooled)
    assert set(asking).isdisjoint(reported.request.identities)
    assert set(asking) <= set(reported.split.pool)
    assert seed not in SEEDS


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


@pytest.mark.parametrize("method", PUBLISHED)
def test_published_constants_are_settings(method):
    for variant, known in PUBLISHED[method].items():
        for key in known:
            dataset, _, n_ids = key.partition("/")
            settings = published_for(method, variant, dataset=dataset, n_ids=int(n_ids or 5))
            assert settings == {name: None if value == "none" else value for name, value in known[key].items()}
            make_method(method, settings | ({"variant": variant} if variant else {}))


def test_each_form_borrows_from_where_it_was_tuned(monkeypatch):
    found = {
        "cpu/faces/10": {
            "ssd:original": {"alpha": 1},
            "pgu:original": {"lr": 1},
            "meta_unlearn": {"simulated_n_ids": 10},
        },
        "cpu/photos/20": {"ssd:original": {"alpha": 2}, "meta_unlearn": {"simulated_n_ids": 20}},
        "cpu/photos/50": {"ssd:original": {"alpha": 3}},
    }
    monkeypatch.setattr("shui_workbook.runs.settings.selected", lambda: found)
    photos = {"preset": "cpu", "dataset": "photos"}
    assert [settings_for("ssd:original", **photos, n_ids=n) for n in (20, 25, 50)] == [{"alpha": v} for v in (2, 2, 3)]
    assert settings_for("pgu:original", **photos, n_ids=20) == {"lr": 1}
    assert selected_key("pgu:original", **photos, n_ids=20) == "cpu/faces/10"
    assert settings_for("meta_unlearn", **photos, n_ids=20) == {"simulated_n_ids": 20}
    assert settings_for("meta_unlearn", **photos, n_ids=50) == {}
    assert (selected_key("jit:original", **photos, n_ids=20), settings_for("jit:original", **photos, n_ids=20)) == (
        "",
        {},
    )


def test_what_a_preset_states_comes_before_borrowed_settings_and_after_its_own(monkeypatch):
    found = {"cpu/faces/10": {"meta_unlearn": {"eta": 7.0, "objective": "first"}}}
    monkeypatch.setattr("shui_workbook.runs.settings.selected", lambda: found)
    paper = {"preset": "paper", "dataset": "celebahq", "n_ids": 20}
    borrowed = settings_for("meta_unlearn", **paper)
    assert borrowed["eta"] == 0.1 and borrowed["objective"] == "first"
    found["paper/celebahq/20"] = {"meta_unlearn": {"eta": 0.3}}
    stated = preset_named("paper").methods["meta_unlearn"]
    assert settings_for("meta_unlearn", **paper) == {**stated, "eta": 0.3}, (
        "a trial ran with all that the preset states"
    )


def test_one_person_has_published_constants_of_their_own():
    one = published_for("meta_unlearn", "", dataset="celebahq", n_ids=1)
    assert (one["alpha"], one["simulated_n_ids"]) == (1e-4, 50)
    one = published_for("meta_unlearn", "", dataset="celeba", n_ids=1)
    assert (one["alpha"], one["simulated_n_ids"]) == (1e-3, 10)
    for dataset, n_ids in (("celeba", 5), ("celebahq", 20), ("faces", 10)):
        several = published_for("meta_unlearn", "", dataset=dataset, n_ids=n_ids)
        assert several["alpha"] == 1e-4 and "simulated_n_ids" not in several


def test_whoever_asks_alone_has_images_enough(pooled, monkeypatch):
    monkeypatch.setattr("shui_workbook.studies.selection.FEWEST_IMAGES_ALONE", 7)
    everyone, groups = pool_experiment(**{**pooled, "n_ids": 1})
    sizes = pd.Series(everyone.faces.identity).value_counts()
    assert 2 <= len(groups) <= REQUESTS and all(len(group) == 1 and sizes[group[0]] >= 7 for group in groups)
    assert sizes[everyone.request.identities].min() < 7, "others were left out"


def test_more_than_the_pool_holds_cannot_ask(pooled, monkeypatch):
    monkeypatch.setattr("shui_workbook.studies.selection.FEWEST_IMAGES_ALONE", 1000)
    with pytest.raises(ValueError, match="the tuning pool has 0 identities with 1000 images or more: 1 cannot ask"):
        pool_experiment(**{**pooled, "n_ids": 1})


def test_forms_are_named_one_by_one_or_by_a_word():
    assert forms_named("ssd pgu:original") == ["ssd", "pgu:original"]
    assert forms_named("tuned") == every_form(published=False) and forms_named("all") == every_form()
    support = ["curvature", "gradient_ascent", "jit:one-shui", "meta_unlearn", "mu_mis", "pgu:one-shui"]
    support += ["ssd:one-shui"]
    assert forms_named("support") == support, "in their original form, PGU, SSD and JiT saw what is to be forgotten"


def test_a_form_for_which_no_settings_were_selected_runs_by_name_only(monkeypatch):
    untuned = {"curvature:forget-images", "curvature:one-trained", "curvature:scale"}
    for word in ("tuned", "all", "support"):
        assert "curvature" in forms_named(word) and not untuned & set(forms_named(word))
    assert set(forms_named(" ".join(untuned))) == untuned
    chosen = {"cpu/faces/5": {"curvature": {}, "curvature:one-trained": {}}}
    monkeypatch.setattr("shui_workbook.runs.settings.selected", lambda: chosen)
    named = forms_named("tuned")
    assert {"curvature", "curvature:one-trained", "ssd:original"} <= set(named), "nobody tuned SSD: all its forms run"
    assert "curvature:forget-images" not in named
    assert "curvature:one-trained" not in forms_named("support"), "it sees what is to be forgotten"


def test_trials_of_every_form_of_curvature_count_attributes():
    forms = ("curvature", "curvature:forget-images", "curvature:one-trained")
    one, *others = (trials_of(form, preset="cpu", multilabel=True, outputs=14) for form in forms)
    assert others == [one, one] and one[0]["eta"] == 1.68e-4


def test_published_constants_of_the_nearest_setting():
    assert published_for("ssd", "one-shui", dataset="faces", n_ids=10)["alpha"] == 50
    assert published_for("ssd", "one-shui", dataset="celebahq", n_ids=50)["alpha"] == 10
    assert published_for("pgu", "one-shui", dataset="ages", n_ids=10)["gamma"] == 0.75
    assert published_for("pgu", "one-shui", dataset="faces", n_ids=10, multilabel=False)["gamma"] == 0.75, "by the task"
    assert published_for("pgu", "one-shui", dataset="faces", n_ids=10, multilabel=True)["gamma"] == 0.9
    with pytest.raises(ValueError, match="no published constants are known of gradient_ascent"):
        published_for("gradient_ascent", "", dataset="faces", n_ids=10)


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


@pytest.mark.parametrize("dataset", ["NA", "None", "2024", "1e5"])
def test_trials_of_a_data_set_with_any_name_replace_those_of_before(tmp_path, dataset):
    path, trial = tmp_path / "selection.csv", some_trials(gradient_ascent=[80.0]).assign(dataset=dataset)
    for git in ("aaa", "bbb"):
        append(path, trial.assign(git=git))
    held = read_trials(path)
    assert held["dataset"].tolist() == [dataset] * 2 and sorted(held["replaced"]) == ["", "bbb"]


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


def test_settings_that_were_selected_keep_what_the_preset_states(tmp_path):
    """Trials of preset `paper` run in bfloat16; the chosen one is reported as it was tried."""
    chosen = {"paper/celebahq/20": {"scrub:one-shui": {"lr": 0.01}}}
    (tmp_path / "selected.json").write_text(json.dumps(chosen))
    where = {"preset": "paper", "dataset": "celebahq", "n_ids": 20, "own": tmp_path}
    assert settings_for("scrub:one-shui", **where) == {"bf16": True, "lr": 0.01}


def test_settings_are_borrowed_from_the_same_task_and_the_nearest_kind(pooled, tmp_path, monkeypatch):
    eta = {"cpu/faces/10": 1.0, "cpu/ages/10": 2.0, "cpu/celebahq/20": 3.0}
    found = {key: {"gradient_ascent": {"eta": value}} for key, value in eta.items()}
    monkeypatch.setattr("shui_workbook.runs.settings.selected", lambda: found)

    def donor(dataset: str, multilabel: bool, **about: str) -> str:
        setting = {"preset": "cpu", "dataset": dataset, "n_ids": 5, "multilabel": multilabel}
        return selected_key("gradient_ascent", **setting, **about)

    assert donor("digits", False) == donor("mufac", False) == "cpu/ages/10"
    assert donor("birds", True) == "cpu/faces/10"
    assert donor("celebahq", True) == "cpu/celebahq/20"
    assert donor("celebahq_clean", True) == "cpu/faces/10", "by its folder alone"
    assert donor("celebahq_clean", True, name="celebahq") == "cpu/celebahq/20"
    assert donor("more_ages", False, name="faces") == "cpu/ages/10", "rendered ages are called faces"
    found |= {f"cpu/{name}/5": {"gradient_ascent": {"eta": 4.0}} for name in ("celeba", "writers")}
    assert donor("celeba_clean", True, name="celeba") == "cpu/celeba/5", "of no pair, and yet it was made from it"
    assert donor("writers_clean", False, name="writers") == "cpu/writers/5"
    assert Experiment(n_ids=2, **pooled | {"runs_root": tmp_path}).setting["name"] == "tiny"
    whose = Experiment(n_ids=2, **pooled | {"runs_root": tmp_path}).whose_settings(
        "gradient_ascent", "ssd:original:published"
    )
    assert whose["gradient_ascent"] == "settings selected for cpu/faces/10"
    assert whose["ssd:original:published"] == "constants published for celebahq; none are known for tiny"
    said = {"gradient_ascent": {}, "ssd:one-shui": {"alpha": 9.0}}
    whose = Experiment(n_ids=2, settings=said, **pooled | {"runs_root": tmp_path}).whose_settings(
        "gradient_ascent", "ssd"
    )
    source = "settings selected for cpu/faces/10"
    assert whose.to_dict() == {"gradient_ascent": source, "ssd": "settings not selected; by hand: alpha"}


def test_doing_nothing_drops_nothing(pooled):
    nothing = pooled | {"settings": {"gradient_ascent": {"eta": 0.0}}}
    experiment, (group, *_) = pool_experiment(n_ids=2, **nothing)
    wanted = fold_scores(experiment, group)
    found = judge(experiment, "gradient_ascent", group, wanted)
    assert [found[f"{part}_drop"] for part in ("forget", "retain", "val")] == pytest.approx([0, 0, 0], abs=1e-6)
    forget = experiment.part("forget").of(group)
    retain = np.setdiff1d(experiment.rows_of["train"], forget.rows)
    logits = experiment.predictions("original").logits
    by_hand = [score(logits[rows], experiment.faces[rows].targets) for rows in (retain, forget.rows)]
    by_hand = Scores(*by_hand, experiment.score("original", "val"))
    assert found["tow"] == pytest.approx(tug_of_war(by_hand, wanted), abs=1e-4)


def test_folds_judge_people_they_have_never_seen(pooled):
    experiment, (group, *_) = pool_experiment(n_ids=2, **pooled)
    folds = np.concatenate(experiment.folds)
    assert sorted(folds) == sorted(experiment.split.train)
    forget = experiment.part("forget").of(group)
    logits = []
    for row, identity in zip(forget.rows, forget.identity, strict=True):
        (k,) = [k for k, fold in enumerate(experiment.folds) if identity in fold]
        logits.append(experiment.predictions(f"fold_{k}").logits[row])
    assert fold_scores(experiment, group).forget == pytest.approx(score(torch.stack(logits), forget.targets))


def test_validation_stands_for_the_test_set_and_the_original_model_for_those_who_stay(pooled):
    experiment, (group, *_) = pool_experiment(n_ids=2, **pooled)
    found, train = fold_scores(experiment, group), experiment.part("train")
    stay = ~np.isin(train.identity, group)
    logits = experiment.logits("original", "train")[torch.from_numpy(stay)]
    assert found.test == experiment.score("original", "val") != experiment.score("original", "test")
    assert found.retain == pytest.approx(score(logits, train[stay].targets))


def test_a_new_search_replaces_the_old_one_of_its_setting_and_no_other(tmp_path):
    path, setting = tmp_path / "selection.csv", ["preset", "dataset", "n_ids", "form"]
    put(path, some_trials(gradient_ascent=[80, 95], ssd=[50]), setting, "settings")
    put(path, some_trials(gradient_ascent=[70]).assign(n_ids=5), setting, "settings")
    put(path, some_trials(gradient_ascent=[81]), setting, "settings")
    held = pd.read_csv(path).groupby(["n_ids", "form"])["tow"].agg(list).to_dict()
    assert held == {(2, "gradient_ascent"): [81], (2, "ssd"): [50], (5, "gradient_ascent"): [70]}


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
