"""Settings of methods that are given: as a mapping in code, as text in a notebook or on the command line."""

import json

import pytest
from tiny import prepare_tiny

from shui_lib.benchmark.presets import preset_named
from shui_lib.core.names import parse
from shui_lib.methods import REGISTRY, make_method
from shui_workbook.forms import every_form, forms_named
from shui_workbook.runs.experiment import Experiment
from shui_workbook.runs.settings import (
    OWN,
    PUBLISHED,
    checked_settings,
    published_for,
    selected,
    selected_key,
    settings_for,
)


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    root = tmp_path_factory.mktemp("settings")
    prepare_tiny(root / "tiny")
    return {"dataset": "tiny", "preset": "smoke", "n_ids": 2, "data_root": root, "runs_root": root / "runs"}


def test_settings_come_as_text_too(where):
    text = '{"curvature": {"eta": 0.25}, "ssd": {"alpha": 7}}'
    given = Experiment(**where, settings=text)
    assert given.method("curvature").eta == 0.25 and given.method("ssd:one-shui").alpha == 7
    assert given.settings == Experiment(**where, settings={"curvature": {"eta": 0.25}, "ssd": {"alpha": 7}}).settings
    assert given.method("jit") == Experiment(**where, settings="").method("jit")
    assert given.with_settings('{"jit": {"eta": 0.5}}').method("jit").eta == 0.5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{eta: 1}", r"is no JSON .*write them as '\{\"curvature\": \{\"eta\": 0.01\}\}'"),
        ('{"eta": 1}', "are not settings by method: write them as"),
        ('["eta"]', "are not settings by method: write them as"),
        ('{"curvture": {"eta": 1}}', "method 'curvture', which is unknown: choose one of .*curvature"),
        ('{"curvature": {"etha": 1}}', "curvature has no setting etha: it takes"),
        ('{"curvature": {"eta": "much"}}', "curvature: eta='much' is str, expected float"),
        ('{"curvature": {"eta": -1}}', "eta must be >= 0, got -1"),
        ('{"ssd:mine": {}}', "ssd has no variant 'mine'"),
    ],
)
def test_text_that_is_no_settings_says_what_is(text, message):
    with pytest.raises(ValueError, match=message):
        checked_settings(text)


def test_what_a_user_has_tuned_is_read_once_and_goes_first(tmp_path, monkeypatch):
    (tmp_path / OWN).write_text('{"cpu/faces/10": {"ssd:one-shui": {"alpha": 7.5}}}')
    usual, read, loads = selected(), [], json.loads
    monkeypatch.setattr(json, "loads", lambda text: read.append(text) or loads(text))
    setting = {"preset": "cpu", "dataset": "faces", "n_ids": 10, "own": tmp_path}
    assert settings_for("ssd:one-shui", **setting) == {"alpha": 7.5}
    assert len(read) == 1
    assert settings_for("curvature", **setting) == usual["cpu/faces/10"]["curvature"], "theirs adds to ours"


@pytest.mark.parametrize(
    ("preset", "halved"),
    [("paper", {"meta_unlearn", "scrub:one-shui", "bad_teacher:one-shui"}), ("cpu", set()), ("vit-s14", set())],
)
def test_what_runs_in_bfloat16_under_a_preset_with_tuned_and_with_published_constants(where, preset, halved):
    experiment = Experiment(**where | {"preset": preset})
    forms = [*every_form(), "curvature:one-trained", "curvature:forget-images"]
    assert {parse(form).method for form in forms} == set(REGISTRY)
    expected = halved | {f"{form}:published" for form in halved}
    assert {form for form in forms if getattr(experiment.method(form), "bf16", False)} == expected


# Selected, borrowed, published


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


def test_a_form_for_which_no_settings_were_selected_runs_by_name_only(monkeypatch):
    untuned = {f"curvature:{variant}" for variant in ("forget-images", "one-trained", "scale", "rise")}
    untuned |= {"gradient_ascent:rise", "pgu:rise"}
    for word in ("tuned", "all", "support"):
        assert "curvature" in forms_named(word) and not untuned & set(forms_named(word))
    assert set(forms_named(" ".join(untuned))) == untuned
    chosen = {"cpu/faces/5": {"curvature": {}, "curvature:one-trained": {}}}
    monkeypatch.setattr("shui_workbook.runs.settings.selected", lambda: chosen)
    named = forms_named("tuned")
    assert {"curvature", "curvature:one-trained", "ssd:original"} <= set(named), "nobody tuned SSD: all its forms run"
    assert "curvature:forget-images" not in named
    assert "curvature:one-trained" not in forms_named("support"), "it sees what is to be forgotten"


def test_published_constants_of_the_nearest_setting():
    assert published_for("ssd", "one-shui", dataset="faces", n_ids=10)["alpha"] == 50
    assert published_for("ssd", "one-shui", dataset="celebahq", n_ids=50)["alpha"] == 10
    assert published_for("pgu", "one-shui", dataset="ages", n_ids=10)["gamma"] == 0.75
    assert published_for("pgu", "one-shui", dataset="faces", n_ids=10, multilabel=False)["gamma"] == 0.75, "by the task"
    assert published_for("pgu", "one-shui", dataset="faces", n_ids=10, multilabel=True)["gamma"] == 0.9
    with pytest.raises(ValueError, match="no published constants are known of gradient_ascent"):
        published_for("gradient_ascent", "", dataset="faces", n_ids=10)


def test_settings_that_were_selected_keep_what_the_preset_states(tmp_path):
    """Trials of preset `paper` run in bfloat16; the chosen one is reported as it was tried."""
    chosen = {"paper/celebahq/20": {"scrub:one-shui": {"lr": 0.01}}}
    (tmp_path / "selected.json").write_text(json.dumps(chosen))
    where = {"preset": "paper", "dataset": "celebahq", "n_ids": 20, "own": tmp_path}
    assert settings_for("scrub:one-shui", **where) == {"bf16": True, "lr": 0.01}


def test_settings_are_borrowed_from_the_same_task_and_the_nearest_kind(where, tmp_path, monkeypatch):
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
    assert Experiment(**where | {"runs_root": tmp_path}).setting["name"] == "tiny"
    whose = Experiment(**where | {"runs_root": tmp_path}).whose_settings("gradient_ascent", "ssd:original:published")
    assert whose["gradient_ascent"] == "settings selected for cpu/faces/10"
    assert whose["ssd:original:published"] == "constants published for celebahq; none are known for tiny"
    said = {"gradient_ascent": {}, "ssd:one-shui": {"alpha": 9.0}}
    whose = Experiment(settings=said, **where | {"runs_root": tmp_path}).whose_settings("gradient_ascent", "ssd")
    source = "settings selected for cpu/faces/10"
    assert whose.to_dict() == {"gradient_ascent": source, "ssd": "settings not selected; by hand: alpha"}


@pytest.mark.parametrize("method", PUBLISHED)
def test_published_constants_are_settings(method):
    for variant, known in PUBLISHED[method].items():
        for key in known:
            dataset, _, n_ids = key.partition("/")
            settings = published_for(method, variant, dataset=dataset, n_ids=int(n_ids or 5))
            assert settings == {name: None if value == "none" else value for name, value in known[key].items()}
            make_method(method, settings | ({"variant": variant} if variant else {}))
