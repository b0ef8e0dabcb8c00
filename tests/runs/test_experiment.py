"""The chain of stages on disk: loaded or computed, never stale, never half-read, and free of the data itself."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from functools import wraps
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import prepare_tiny, same_weights

import shui_lib.benchmark.train
import shui_workbook.runs.chain
import shui_workbook.runs.experiment
from data_prep import faces
from shui_lib.attack.estimates import attack
from shui_lib.benchmark.data import load_faces
from shui_lib.benchmark.metrics import UndefinedScore, score
from shui_lib.benchmark.predict import query_losses
from shui_lib.core.machine import with_peak
from shui_lib.core.names import parse
from shui_lib.core.rows import COLUMNS, KEY
from shui_lib.core.stages import open_stage, stage_key
from shui_lib.core.store import CorruptFile, checksum, load_tensors
from shui_lib.methods import REGISTRY, Artefacts, Given, make_method, settings_of
from shui_workbook.records.files import SPLITS, check_rows
from shui_workbook.runs.chain import QUERIES
from shui_workbook.runs.experiment import Experiment
from shui_workbook.runs.serve import unlearn_from
from shui_workbook.runs.settings import DEMONSTRATION, published_for, spec_named
from shui_workbook.runs.strangers import load_strangers


def variant_of(name: str) -> dict[str, str]:
    return {"variant": parse(name).variant} if parse(name).variant else {}


FORMS = [f"{name}:{variant}".strip(":") for name, method in REGISTRY.items() for variant in method.variants or [""]]
SUPPORT_ONLY = [name for name in FORMS if make_method(parse(name).method, variant_of(name)).needs == ("support",)]


def experiment(where: Path, **changed) -> Experiment:
    options = {"dataset": "tiny", "preset": "smoke", "n_ids": 3, "reserved": 5, "device": "cpu"}
    return Experiment(**{**options, "data_root": where / "data", "runs_root": where / "runs", **changed})


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """A data set and a runs folder in which everything was computed once."""
    where = tmp_path_factory.mktemp("finished")
    prepare_tiny(where / "data" / "tiny")
    experiment(where).rows("original", "retrained", *FORMS)
    return where


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """The same, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "copied"))


@pytest.fixture
def idle(monkeypatch):
    """Whatever costs time raises."""

    def refusing(function):
        @wraps(function)  # its source is part of the keys, and has to stay
        def refuse(*args, **options):
            raise AssertionError("computed again what was there")

        return refuse

    for name in ("fit", "predict", "unlearn_from"):
        monkeypatch.setattr(shui_workbook.runs.chain, name, refusing(getattr(shui_workbook.runs.chain, name)))
    for method in REGISTRY.values():
        for function in ("prepare", "unlearn"):
            monkeypatch.setattr(method, function, refusing(getattr(method, function)))


@pytest.fixture
def untrained(monkeypatch):
    """Training takes no time and teaches nothing."""
    monkeypatch.setattr(
        shui_workbook.runs.chain, "fit", lambda model, *rest, **options: (model.eval(), pd.DataFrame({"epoch": [0]}))
    )


def folders(where: Path) -> set[str]:
    return {path.name for path in (where / "runs" / "tiny").iterdir()}


# Loaded, or computed


def test_the_second_time_everything_is_loaded(finished, idle):
    before = folders(finished)
    again = experiment(finished)
    rows = again.rows("original", "retrained", *FORMS)
    assert len(rows) == 11 * (2 + len(FORMS))
    for name in ("original", "retrained", *FORMS):
        assert not again.model(name).training
        assert again.predictions(name).logits.shape == (len(again.faces), 3)
        assert isinstance(again.history(name), pd.DataFrame)
    assert folders(finished) == before


CHANGES = {
    "seed": {"seed": 1},
    "reserved": {"reserved": 4},
    "preset": {"preset": "cpu"},
    "pool": {"from_pool": True, "n_ids": 2},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_another_configuration_reads_no_folder_of_the_first(finished, copied, untrained, change):
    other = experiment(copied, **change)
    for name in ("original", "retrained", "gradient_ascent"):
        assert other.stage(name).folder.name not in folders(finished)


def test_another_data_set_of_the_same_name_reads_no_folder_of_the_first(finished, copied, untrained):
    prepare_tiny(copied / "data" / "tiny", seed=1)
    for name in ("original", "retrained", "gradient_ascent"):
        assert experiment(copied).stage(name).folder.name not in folders(finished)


def test_a_method_of_other_code_reads_no_folder_of_the_first(finished, copied, monkeypatch):
    monkeypatch.setattr(REGISTRY["gradient_ascent"], "unlearn", lambda self, model, *rest, generator: model)
    one = experiment(copied)
    assert one.stage("gradient_ascent").folder.name not in folders(finished)
    assert same_weights(one.model("gradient_ascent"), one.model("original"))
    assert one.stage("pgu").folder.name in folders(finished)


@pytest.mark.parametrize(("module", "kept"), [("shui_lib.benchmark.train", 0), ("shui_lib.benchmark.predict", 1)])
def test_other_code_of_training_or_predicting_reads_no_folder_of_the_first(tmp_path, monkeypatch, module, kept):
    prepare_tiny(tmp_path / "data" / "tiny")

    def made() -> list[str]:
        one = experiment(tmp_path)
        stages = (one.stage("original"), one._predicted("original"), one._queried("original"))
        return [stage.folder.name for stage in stages]

    before, known = made(), shui_workbook.runs.chain.source_of
    other = lambda *modules: "other" if module in modules else known(*modules)  # noqa: E731
    monkeypatch.setattr(shui_workbook.runs.chain, "source_of", other)
    after = made()
    assert after[:kept] == before[:kept] and set(after[kept:]).isdisjoint(before)


def test_data_prepared_anew_before_the_first_stage_is_not_taken_for_the_old(tmp_path, untrained):
    prepare_tiny(tmp_path / "data" / "tiny")
    opened = experiment(tmp_path)
    prepare_tiny(tmp_path / "data" / "tiny", seed=1)
    assert opened.stage("original").folder != experiment(tmp_path).stage("original").folder


@pytest.mark.parametrize("seed", [-1, 2**32, 1.5, True])
def test_a_seed_outside_32_bits_is_refused_at_the_start(finished, seed):
    with pytest.raises(ValueError, match=rf"seed must be a whole number from 0 to 4294967295, got {seed}"):
        experiment(finished, seed=seed)


@pytest.mark.parametrize("name", ["./tiny", "tiny/", "/tiny"])
def test_a_data_set_that_is_a_path_is_refused(finished, name):
    with pytest.raises(ValueError, match="is no plain folder name"):
        experiment(finished, dataset=name)


def test_settings_of_an_unknown_method_and_models_of_an_unknown_base_are_refused(finished):
    with pytest.raises(
        ValueError, match="settings of method 'meta_unlern', which is unknown: choose one of bad_teacher"
    ):
        experiment(finished, settings={"meta_unlern": {"eta": 1.0}})
    with pytest.raises(ValueError, match="'ssd@retraind' starts from 'retraind': choose original, retrained"):
        experiment(finished).stage("ssd@retraind")


def test_a_model_that_has_diverged_has_rows_without_scores_beside_the_others(copied):
    one = experiment(copied, settings={"gradient_ascent": {"eta": 1e38}})
    rows = one.rows("original", "gradient_ascent", attacked=True).set_index(["method", "metric"])
    assert rows.loc["original", "value"].notna().any()
    bad = rows.loc["gradient_ascent"]
    assert bad["value"].isna().all() and bad["note"].str.contains("diverged").all()


def test_another_setting_of_a_method_changes_that_method_only(finished, copied):
    other = experiment(copied, settings={"gradient_ascent": {"eta": 0.123}})
    for name in ("original", "retrained", "meta_unlearn"):
        assert other.stage(name).folder.name in folders(finished)
    assert other.stage("gradient_ascent").folder.name not in folders(finished)
    assert not same_weights(other.model("gradient_ascent"), experiment(finished).model("gradient_ascent"))


def test_a_smaller_request_shares_the_original_and_no_other_model(finished, copied, untrained):
    smaller = experiment(copied, n_ids=2)
    assert smaller.stage("original").folder.name in folders(finished)
    for name in ("retrained", *FORMS):
        assert smaller.stage(name).folder.name not in folders(finished)


# Models beside the original and the retrained one


def test_a_reference_model_starts_from_the_retrained_one_and_knows_its_data_only(copied, monkeypatch):
    one, seen = experiment(copied).with_settings({"meta_unlearn": DEMONSTRATION}), {}  # the tuned step may be none
    prepare = REGISTRY["meta_unlearn"].prepare

    def watched(self, model, data, **options):
        seen.update(data, model=model)
        return prepare(self, model, data, **options)

    monkeypatch.setattr(REGISTRY["meta_unlearn"], "prepare", watched)
    reference = one.model("meta_unlearn@retrained")
    assert same_weights(seen["model"], one.model("retrained"))
    assert set(seen["train"].identity).isdisjoint(one.request.identities)
    assert one.artefacts_folder("meta_unlearn@retrained") != one.artefacts_folder("meta_unlearn")
    assert not same_weights(reference, one.model("meta_unlearn"))
    assert not same_weights(reference, one.model("retrained"))


def test_retrained_again_is_the_same_data_with_other_chances(copied, monkeypatch):
    seen, fit = [], shui_workbook.runs.chain.fit

    def watched(model, train, *rest, **options):
        seen.append(train.rows)
        return fit(model, train, *rest, **options)

    monkeypatch.setattr(shui_workbook.runs.chain, "fit", watched)
    one = experiment(copied)
    again = one.model("retrained_again")
    assert len(seen) == 1 and np.array_equal(seen[0], one.rows_of["retain"])
    assert not same_weights(again, one.model("retrained"))


def test_a_fold_model_misses_its_fold_and_nobody_else(copied, monkeypatch):
    seen = []
    monkeypatch.setattr(
        shui_workbook.runs.chain,
        "fit",
        lambda model, train, *rest, **options: (seen.append(train) or model.eval(), pd.DataFrame({"epoch": [0]})),
    )
    one = experiment(copied)
    one.stage("fold_1")
    (train,) = seen
    assert set(train.identity) == set(one.part("train").identity) - set(one.folds[1])
    assert one.stage("fold_1").folder != one.stage("fold_2").folder


def test_what_is_prepared_is_shared_by_settings_that_preparing_does_not_read(copied, monkeypatch):
    made, prepare = [], REGISTRY["ssd"].prepare

    def watched(self, *rest, **options):
        made.append(self)
        return prepare(self, *rest, **options)

    monkeypatch.setattr(REGISTRY["ssd"], "prepare", watched)
    trials = [{"ssd:one-shui": {"alpha": alpha, "batch": 2}} for alpha in (1.0, 10.0)]
    trials.append({"ssd:original": {"shrink": 0.5, "batch": 2}})
    models = [experiment(copied, settings=trial).model(next(iter(trial))) for trial in trials]
    assert len(made) == 1 and not same_weights(models[0], models[1])
    folders = {experiment(copied, settings=trial).artefacts_folder(next(iter(trial))) for trial in trials}
    assert len(folders) == 3, "the settings of serving are kept apart"
    experiment(copied, settings={"ssd": {"batch": 3}}).artefacts("ssd")
    assert len(made) == 2


@pytest.mark.parametrize("base", ["original", "retrained"])
def test_held_out_answers_are_of_the_images_that_a_method_prepares_on(copied, monkeypatch, base):
    one, seen = experiment(copied, settings={"meta_unlearn": {"objective": "held_out"}}), {}

    def watched(self, model, data, **options):
        seen.update(data)
        return Artefacts()

    monkeypatch.setattr(REGISTRY["meta_unlearn"], "prepare", watched)
    stage = one._prepared(f"meta_unlearn@{base}")
    train, held_out = seen["train"], seen["held_out"]
    assert np.array_equal(held_out.rows, train.rows) and len(train) == len(one._training_data(base))
    for row, identity, logits in zip(held_out.rows, held_out.identity, held_out.targets, strict=True):
        (k,) = [k for k, fold in enumerate(one.folds) if identity in fold]
        assert torch.equal(logits, one.predictions(f"fold_{k}").logits[row])
    assert {f"fold_{k}" for k in range(len(one.folds))} < set(stage.lineage["parents"])


def test_rows_say_where_settings_were_selected(finished, monkeypatch):
    one = experiment(finished)
    notes = one.rows("original", "meta_unlearn").groupby("method")["note"].unique()
    assert notes["original"].tolist() == [""] and notes["meta_unlearn"].tolist() == [
        "settings selected for cpu/faces/10, but for those of preset smoke"
    ]
    monkeypatch.setattr("shui_workbook.runs.settings.selected", lambda: {})
    assert one.rows("gradient_ascent")["note"].unique().tolist() == ["settings not selected"]


def test_rows_of_changed_settings_say_so(finished):
    one = experiment(finished)
    eta, tuned = one.method("gradient_ascent").eta, one.rows("gradient_ascent")["note"]
    for same in ({"ssd": {"alpha": 7.0}}, {"gradient_ascent": {"eta": eta}}):
        assert one.with_settings(same).rows("gradient_ascent")["note"].equals(tuned)
    changes = {"gradient_ascent": {"eta": 2 * eta}, "ssd:published": {"alpha": 7.0}}
    notes = one.with_settings(changes).rows("original", "gradient_ascent", "ssd:published").groupby("method")["note"]
    assert notes.unique().map(list).to_dict() == {
        "original": [""],
        "gradient_ascent": [f"settings changed: eta={2 * eta}"],
        "ssd": ["settings changed: alpha=7.0"],
    }


def test_a_method_without_a_variant_is_its_default_form(finished):
    one = experiment(finished)
    assert one.method("ssd") == one.method("ssd:one-shui")
    assert one.method("pgu:published") == one.method("pgu:one-shui:published")
    assert one.with_settings({"ssd": {"alpha": 7.0}}).method("ssd:one-shui").alpha == 7
    assert one.rows("ssd")["variant"].unique().tolist() == ["one-shui"]


def test_published_constants_are_used_where_they_are_asked_for(finished):
    assert experiment(finished).method("meta_unlearn:published").eta == 0.1
    assert experiment(finished).method("meta_unlearn").eta != 0.1
    assert experiment(finished, settings={"meta_unlearn:published": {"eta": 0.2}}).method("meta_unlearn").eta != 0.2


def test_constants_are_of_the_data_sets_own_name_and_task_whatever_its_folder_is_called(tmp_path):
    """Of a cleaned copy of MUFAC, for instance."""
    prepare_tiny(tmp_path / "data" / "tiny")
    one, form = experiment(tmp_path, n_ids=5), "ssd:one-shui:published"
    attributes, classes = one.faces, replace(one.faces, targets=one.faces.targets[:, 0].long())
    chosen, notes = {}, {}
    for name, view in {"celebahq": attributes, "celeba": attributes, "mufac": classes, "tiny": classes}.items():
        one.faces = replace(view, name=name)
        chosen[name], notes[name] = one.method(form), one._borrowed(spec_named(form))
        asked = {"dataset": "mufac" if name == "tiny" else name, "n_ids": 5}
        known = published_for("ssd", "one-shui", **asked)
        assert settings_of(chosen[name]).items() >= known.items()
    assert chosen["celeba"] != chosen["celebahq"], "constants that tell the names apart"
    known = "constants published for mufac; none are known for tiny"
    assert notes == {"celebahq": "", "celeba": "", "mufac": "", "tiny": known}
    assert one.whose_settings("gradient_ascent")["gradient_ascent"] == "settings selected for cpu/ages/10"


def test_training_killed_in_the_middle_goes_on_from_its_partial_folder(finished, tmp_path, monkeypatch):
    shutil.copytree(finished / "data", tmp_path / "data")
    calls, predict = [], shui_lib.benchmark.train.predict

    def killed(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return predict(*args, **options)

    monkeypatch.setattr(shui_lib.benchmark.train, "predict", killed)
    with pytest.raises(KeyboardInterrupt):
        experiment(tmp_path).stage("original")
    (partial,) = folders(tmp_path)
    assert partial.startswith(".original-") and partial.endswith(".partial")
    (tmp_path / "runs" / "tiny" / partial / ".training.checkpoint.1.tmp").write_text("killed while it was written")
    whole, resumed = experiment(finished), experiment(tmp_path)
    assert same_weights(whole.model("original"), resumed.model("original"))
    assert len(calls) == 3  # two epochs, of which the second was begun twice
    pd.testing.assert_frame_equal(whole.history("original"), resumed.history("original"))
    (folder,) = folders(tmp_path)
    assert folder == partial[1:].removesuffix(".partial")
    assert not [*(tmp_path / "runs").rglob("*.checkpoint"), *(tmp_path / "runs").rglob(".*.tmp")]


# Lineage


def test_lineage_leads_from_predictions_back_to_the_data(finished):
    known = with_peak(lambda: None, torch.device("cpu"))[1] is not None
    runs = finished / "runs" / "tiny"
    for folder in runs.iterdir():
        stage = open_stage(folder)
        parents = {role: open_stage(runs / name) for role, name in stage.lineage["parents"].items()}
        assert stage.key == stage_key(stage.lineage["kind"], stage.lineage["facts"], parents)
        assert folder.name == f"{stage.lineage['kind']}-{stage.key}"
        files = {path.name: checksum(path) for path in folder.iterdir() if path.name != "lineage.json"}
        assert stage.lineage["files"] == files
        assert stage.lineage["measured"]["seconds"] >= 0
        assert ("peak_mib" in stage.lineage["measured"]) == known
        if not parents:
            assert {"fingerprint", "seed", "model", "train", "split"} <= stage.lineage["facts"].keys()


DAMAGES = {
    "flipped": lambda content: (
        content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :]
    ),
    "truncated": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("model", ["original", "meta_unlearn"])
def test_damaged_weights_are_noticed(copied, idle, damage, model):
    folder = experiment(copied).stage(model).folder
    path = folder / "model.safetensors"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(CorruptFile, match=f"delete .*{folder.name} and run again"):
        experiment(copied).model(model)


@pytest.mark.parametrize("name", ["artefacts.safetensors", "history.csv"])
def test_a_damaged_or_missing_artefact_is_noticed(copied, name):
    one = experiment(copied)
    path = one._prepared("meta_unlearn").folder / name
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    for _ in range(2):
        with pytest.raises(CorruptFile, match=f"{name} is missing or damaged: delete .*{path.parent.name}"):
            one.artefacts("meta_unlearn") if name.startswith("art") else one.history("meta_unlearn")
        path.unlink(missing_ok=True)


@pytest.mark.parametrize("content", [b"", b"{", b'{"key": ', b"\xff\xfe\x00", None])
def test_a_broken_lineage_is_noticed(copied, content):
    folder = experiment(copied).stage("original").folder
    (folder / "lineage.json").unlink()
    if content is not None:
        (folder / "lineage.json").write_bytes(content)
    with pytest.raises(CorruptFile, match=f"delete .*{folder.name} and run again"):
        experiment(copied).model("original")


def test_deleting_the_damaged_folder_mends_it(copied):
    before = experiment(copied).model("original")
    shutil.rmtree(experiment(copied).stage("original").folder)
    assert same_weights(experiment(copied).model("original"), before)


# What cannot be


def test_an_unknown_preset_is_named(finished):
    with pytest.raises(
        ValueError, match="preset 'huge' is unknown: choose one of smoke, cpu, face-resnet, vit-s14, paper"
    ):
        experiment(finished, preset="huge")


def test_an_unknown_data_set_comes_with_the_command_that_prepares_it(finished):
    with pytest.raises(FileNotFoundError, match=r"nobody lacks images.npy.*python -m data_prep"):
        experiment(finished, dataset="nobody")


def test_too_many_identities_are_refused(finished):
    with pytest.raises(ValueError, match="n_ids=500 identities asked for, but"):
        experiment(finished, n_ids=500)


def test_one_identity_is_refused(tmp_path):
    prepare_tiny(tmp_path / "data" / "tiny", identities=1)
    with pytest.raises(ValueError, match="one identity only"):
        experiment(tmp_path)


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("index.csv", lambda text: ""),
        ("index.csv", lambda text: text.replace("identity", "who", 1)),
        ("index.csv", lambda text: text.replace("bright", "light", 1)),
        ("index.csv", lambda text: text.replace(",1\n", ",yes\n", 1)),
        ("dataset.json", lambda text: text[:40]),
        ("dataset.json", lambda text: text.replace('"classes"', '"kinds"')),
        ("dataset.json", lambda text: "7"),
    ],
)
def test_a_table_of_the_data_that_cannot_be_read_is_named_with_its_folder(tmp_path, name, edit):
    path = prepare_tiny(tmp_path / "data" / "tiny") / name
    path.write_text(edit(path.read_text()))
    with pytest.raises(CorruptFile, match="data/tiny: index.csv or dataset.json is no such table .*: prepare it again"):
        experiment(tmp_path)


def test_an_unknown_method_and_setting_are_named(finished):
    with pytest.raises(ValueError, match="method 'hypnosis' is unknown"):
        experiment(finished).model("hypnosis")
    with pytest.raises(ValueError, match="gradient_ascent has no setting etta"):
        experiment(finished, settings={"gradient_ascent": {"etta": 1}}).model("gradient_ascent")


# Rows


def test_rows_follow_the_schema(finished):
    one = experiment(finished)
    rows = check_rows(one.rows("original", "retrained", *FORMS))
    assert list(rows) == COLUMNS and rows.index.is_unique
    measured = one.stage("original").lineage["measured"]
    told = {"preset": one.preset, "seed": one.seed, **{name: measured[name] for name in ("seconds", "git")}}
    assert rows.iloc[0][[*told]].to_dict() == told
    assert not rows.duplicated(KEY).any()
    assert set(rows["split"]) == set(SPLITS)
    assert set(rows["metric"]) == {"map", "loss", "tow"}
    assert rows["value"].notna().all()
    assert rows.loc[rows["metric"] != "loss", "value"].between(0, 100).all()
    assert rows.groupby(["method", "variant"])["config"].nunique().eq(1).all()


def test_the_retrained_model_is_as_close_to_itself_as_can_be(finished):
    rows = experiment(finished).rows("retrained")
    assert rows.loc[rows["metric"] == "tow", "value"].item() == pytest.approx(100)


def test_scores_are_those_of_the_images_of_each_split(finished):
    one = experiment(finished)
    for part in ("retain", "forget", "test", "val", "support"):
        faces = one.part(part)
        with torch.no_grad():
            logits = one.model("original")(faces.pixels(size=16)).logits
        torch.testing.assert_close(one.logits("original", part), logits, atol=1e-4, rtol=1e-4)
        assert one.score("original", part) == pytest.approx(
            shui_workbook.runs.experiment.score(logits, faces.targets), abs=1e-4
        )


def test_with_another_number_of_people_all_else_stays(copied):
    prepare_tiny(copied / "data" / "others", seed=7)
    changed = {"strangers": "others", "seed": 1, "settings": {"gradient_ascent": {"eta": 0.5}}}
    three = experiment(copied, **changed)
    two, again = three.with_n_ids(2), experiment(copied, **changed, n_ids=2)
    same = {name: value for name, value in vars(again).items() if isinstance(value, (str, int, dict, Path))}
    assert same.items() <= vars(two).items() and {"dataset", "reserved", "strangers", "settings"} <= same.keys()
    assert two.device == again.device
    assert two.request.identities.tolist() == three.request.identities[:2].tolist()
    assert two.stage("original").key == three.stage("original").key, "nested requests share an original"


# The attack


def test_every_model_is_asked_about_the_same_views(copied):
    one = experiment(copied)
    asked = one.queries("retrained")
    views = dict.fromkeys(asked, QUERIES) | {"population": 1}  # the attack reads no other view of it
    assert {part: loss.shape for part, loss in asked.items()} == {
        part: (views[part], len(faces)) for part, faces in one.attack_parts.items()
    }
    again = query_losses(
        one.model("retrained"), one.part("forget"), queries=QUERIES, crop=one.config.train.crop,
        generator=torch.Generator().manual_seed(one.seed),
    )  # fmt: skip
    np.testing.assert_allclose(asked["members"], again.numpy(), rtol=1e-5)
    assert np.std(asked["members"], axis=0).min() > 0  # the views differ


def test_members_non_members_and_population_are_disjoint(finished):
    parts = experiment(finished).attack_parts
    rows = np.concatenate([faces.rows for faces in parts.values()])
    assert len(set(rows)) == len(rows)


def test_attack_rows(copied):
    one = experiment(copied)
    rows = check_rows(one.rows("original", "retrained_again", "gradient_ascent", attacked=True))
    auc = rows[rows["metric"] == "rmia_auc"]
    assert len(auc) == 3 and (auc["low"] <= auc["value"]).all() and (auc["value"] <= auc["high"]).all()
    found = attack(one.queries("original"), one.queries("retrained"), one.attack_identity, seed=one.seed)["rmia_auc"]
    assert auc.iloc[0][["value", "low", "high"]].tolist() == pytest.approx([100 * x for x in found[:3]], abs=1e-4)
    fine = rows[rows["metric"] == "rmia_tpr_at_1e-4"]
    assert fine["value"].isna().all() and fine["note"].str.contains("not resolvable").all()
    assert {"loss_auc", "rmia_one_shui_auc"} <= set(rows["metric"])


def test_an_attack_compares_a_method_with_itself_on_the_retrained_model(copied, monkeypatch):
    one, asked = experiment(copied), []
    monkeypatch.setattr(one, "queries", lambda name: asked.append(name) or experiment(copied).queries("original"))
    one.attack("ssd:one-shui:published")
    assert asked == ["ssd:one-shui:published", "ssd:one-shui:published@retrained"]


def test_strangers_of_another_task_are_refused(copied):
    prepare_tiny(copied / "data" / "others", identities=4)
    about = json.loads((copied / "data" / "others" / "dataset.json").read_text())
    about["classes"] = about["classes"][1:]
    (copied / "data" / "others" / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(ValueError, match="strangers of others have other classes than tiny"):
        experiment(copied, strangers="others")


def test_strangers_who_are_no_strangers_are_refused(copied):
    mend = r"of people of tiny too.*python -m data_prep faces --first-identity"
    with pytest.raises(ValueError, match=f"of tiny are {mend}"):
        experiment(copied, strangers="tiny")
    prepare_tiny(copied / "data" / "others", seed=7)
    images = np.load(copied / "data" / "others" / "images.npy", mmap_mode="r+")
    images[-1] = experiment(copied).faces.images[0]
    images.flush()
    described = copied / "data" / "others" / "dataset.json"
    about = json.loads(described.read_text())
    described.write_text(json.dumps({**about, "images_sha256": checksum(described.with_name("images.npy"))}))
    with pytest.raises(ValueError, match=f"1 images of others are {mend}"):
        experiment(copied, strangers="others")


def test_a_person_rendered_again_is_no_stranger(tmp_path):
    for name, first, size in (("known", 0, 16), ("larger", 2, 24), ("later", 3, 16)):
        faces.prepare(tmp_path / name, identities=3, first_identity=first, size=size, fewest=2, most=4)
    faces.prepare(tmp_path / "seed", identities=3, size=16, seed=1, fewest=2, most=4)
    for name in ("later", "seed"):
        assert len(load_strangers(tmp_path / name, tmp_path / "known")) > 0
    with pytest.raises(ValueError, match="images of larger are of people of known too.*--first-identity 3"):
        load_strangers(tmp_path / "larger", tmp_path / "known")


def test_every_score_is_computed_once(finished, monkeypatch):
    seen = []
    monkeypatch.setattr(shui_workbook.runs.experiment, "score", lambda *asked: seen.append(asked) or score(*asked))
    one = experiment(finished)
    rows = one.rows("original", "retrained").set_index(["method", "split", "metric"])["value"]
    assert len(seen) == 10, "two models, five splits; Tug-of-War takes those of the rows"
    one.tug_of_war("original")
    assert len(seen) == 10 and rows["original", "all", "tow"] == one.tug_of_war("original")


def test_a_score_that_is_not_defined_is_empty_and_says_why(copied, monkeypatch):
    def none_noted(logits, targets):
        if len(targets) == len(one.rows_of["support"]):
            raise UndefinedScore("no attribute has a positive")
        return score(logits, targets)

    one = experiment(copied)
    monkeypatch.setattr(shui_workbook.runs.experiment, "score", none_noted)
    rows = one.rows("original").set_index(["split", "metric"])
    assert np.isnan(rows.loc[("support", "map"), "value"]) and "positive" in rows.loc[("support", "map"), "note"]
    assert rows.loc[("forget", "map"), "value"] > 0

    def broken(logits, targets):
        raise ValueError("shapes differ")

    monkeypatch.setattr(shui_workbook.runs.experiment, "score", broken)
    with pytest.raises(ValueError, match="shapes differ"):
        one.rows("original")


def test_strangers_of_another_data_set_are_non_members_and_every_third_is_compared_with(copied):
    prepare_tiny(copied / "data" / "others", seed=7)
    one = experiment(copied, strangers="others")
    alone, together = experiment(copied).queries("original"), one.queries("original")
    known = len(one.part("val"))
    assert np.array_equal(together["non_members"][:, :known], alone["non_members"])
    assert together["non_members"].shape[1] == known + len(one.attack_parts["strangers"]) > known
    compared = len(alone["population"][0])
    assert np.array_equal(together["population"][:, :compared], alone["population"])
    everybody = sum(together[part].shape[1] - alone[part].shape[1] for part in ("non_members", "population"))
    assert everybody == len(load_faces(copied / "data" / "others"))
    who = one.attack_identity
    assert all(len(who[part]) == together[part].shape[1] for part in together)
    assert not set(who["non_members"][:known]) & set(who["non_members"][known:])
    assert not set(who["non_members"]) & set(who["population"]) and len(set(who["population"][compared:])) > 1
    assert one.stage("original").folder.name in folders(copied)
    assert one.attack("original")["loss_auc"] != experiment(copied).attack("original")["loss_auc"]
    assert set(one.rows("original", attacked=True)["dataset"]) == {f"{one.dataset}+others"}


# What the folders do not hold


def test_no_photo_is_left_in_the_runs_folder(finished):
    one = experiment(finished)
    lines = {row.tobytes() for image in one.faces.images for row in image}  # 48 bytes of noise each
    support = one.part("support").in_memory().images
    assert all(row.tobytes() in lines for image in support for row in image)
    for path in (finished / "runs").rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert not any(line in content for line in lines), path


def test_lineage_tells_nothing_of_who_asked(finished):
    for path in (finished / "runs").rglob("lineage.json"):
        text = path.read_text()
        assert not any(word in text for word in ("identit", "support", 'forget"', ".png")), path
        facts = json.loads(text)["facts"]
        assert not any(isinstance(value, list) and len(value) == 3 and "ids" in key for key, value in facts.items())


# The data is gone

SERVE = """
import sys, numpy as np, torch
from pathlib import Path
from shui_lib.benchmark.data import Faces
from shui_workbook.runs.serve import unlearn_from
from shui_lib.methods import Given
from shui_lib.core.store import save_tensors
photos, out, *artefacts = map(Path, sys.argv[1:])
images, identity, targets = (np.load(photos / f"{name}.npy") for name in ("images", "identity", "targets"))
classes = ("bright", "red", "striped")
support = Faces(images, np.arange(len(images)), identity, torch.from_numpy(targets), classes)
for folder in artefacts:
    model = unlearn_from(folder, Given({"support": support}), seed=0)
    save_tensors(out / f"{folder.name}.safetensors", model.state_dict())
"""


def test_a_request_is_served_by_a_process_that_never_saw_the_data(copied, tmp_path):
    one = experiment(copied)
    expected = {one.artefacts_folder(name): one.model(name).state_dict() for name in SUPPORT_ONLY}
    support = one.part("support").in_memory()
    photos = tmp_path / "photos"  # as a person would hand them in
    photos.mkdir()
    for name, values in [("images", support.images), ("identity", support.identity), ("targets", support.targets)]:
        np.save(photos / f"{name}.npy", values)
    shutil.rmtree(copied / "data")
    command = [sys.executable, "-W", "error", "-c", SERVE, str(photos), str(tmp_path), *map(str, expected)]
    subprocess.run(command, check=True, cwd=tmp_path)
    assert {"gradient_ascent", "meta_unlearn"} <= set(SUPPORT_ONLY)
    for folder, weights in expected.items():
        found = load_tensors(tmp_path / f"{folder.name}.safetensors")
        assert found.keys() == weights.keys()
        assert all(torch.equal(value, found[name]) for name, value in weights.items())


@pytest.mark.parametrize("name", SUPPORT_ONLY)
def test_serving_needs_the_support_and_says_so(finished, name):
    with pytest.raises(RuntimeError, match="no support data was given"):
        unlearn_from(experiment(finished).artefacts_folder(name), Given({}))


def test_serving_shows_a_method_what_it_declared_and_no_more(finished, monkeypatch):
    seen = []
    monkeypatch.setattr(
        REGISTRY["gradient_ascent"], "unlearn", lambda self, model, given, *rest, **options: seen.extend(given.parts)
    )
    one = experiment(finished)
    parts = {part: one.part(part) for part in ("support", "forget", "retain")}
    unlearn_from(one.artefacts_folder("gradient_ascent"), Given(parts))
    assert seen == ["support"]
