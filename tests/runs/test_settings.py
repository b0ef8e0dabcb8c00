"""Settings of methods that are given: as a mapping in code, as text in a notebook or on the command line."""

import json

import pytest
from tiny import prepare_tiny

from shui_lib.core.names import parse
from shui_lib.methods import REGISTRY
from shui_workbook.forms import every_form
from shui_workbook.runs.experiment import Experiment
from shui_workbook.runs.settings import OWN, checked_settings, selected, settings_for


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
