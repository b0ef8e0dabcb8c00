"""The GAN study on a few small pictures: stages, rows that are not made twice, claims judged by rule, figures."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from small_gan import QUICK, same
from tiny import prepare_tiny, same_weights

from data_prep import faces as rendered
from shui_lib.core.source import source_of
from shui_lib.core.stages import stage_key
from shui_lib.gan.cascade import Cascade
from shui_lib.gan.latents import invert, render
from shui_lib.gan.stylegan2 import build, load_gan, save_gan
from shui_lib.gan.train import GANTraining
from shui_lib.methods import Given
from shui_workbook.figures import gan as plots
from shui_workbook.reports import gan as reports
from shui_workbook.studies.gan import __main__ as command
from shui_workbook.studies.gan import measures, tables
from shui_workbook.studies.gan import rows as told
from shui_workbook.studies.gan import study as module
from shui_workbook.studies.gan.measures import fid, sheet, staying, undone
from shui_workbook.studies.gan.study import Study

FAST = {"steps": 2, "check": 1, "batch": 4, "inversion": QUICK}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("gan")
    rendered.prepare(root / "data" / "few", identities=3, size=16, fewest=24, most=24)
    training = GANTraining(kimg=0.032, batch=8, tick=2)
    return Study("few", 0, 0, root / "data", root / "runs", training, (8, 8, 8))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"gan_seed": 2**32}, "seed must be a whole number from 0"),
        ({"dataset": "/few"}, "no plain folder name"),
        ({"dataset": "few/"}, "no plain folder name"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(study, wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(study, **wrong)


def some_plan(items, label):
    return [(f"item-{items[0]}", Cascade(**FAST)), (f"class-{label}", Cascade(shot="zero", **tables.TURNED, **FAST))]


def test_a_table_is_made_once(study, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "plan", some_plan)
    path = tmp_path / "gan_rows.csv"
    tables.table(study, path, items=[6], label=1, retrain=["item-6"])
    cascades = told.read(path)  # what is added to them later leaves them as they are
    later = {"relearn_steps": undone, "fid_l": partial(fid, study.classifier(0))}
    everything = {"items": [6], "label": 1, "retrain": ["item-6"], "rival": True, "later": later}
    tables.table(study, path, **everything)
    rows = told.read(path)
    pd.testing.assert_frame_equal(cascades.merge(rows, how="inner")[told.COLUMNS], cascades)
    assert not rows.duplicated(told.KEY).any() and rows["value"].notna().all()
    kinds = rows[rows["metric"] == "auc_lu"].groupby("method")["request"].apply(set)
    both = {"item-6", "class-1"}
    assert kinds.to_dict() == {"original": both, "cascade": both, "continued": both, "retrained": {"item-6"}}
    added = rows[rows["metric"].isin(["relearn_steps", "fid_l", "fid_u"])]
    assert set(added["method"]) == set(rows["method"]) and set(added["request"]) == both
    same_features = rows[rows["metric"].isin(["fd_u", "fid_u"])].groupby(["request", "method"])["value"].nunique()
    assert same_features.eq(1).all() and len(same_features) == 3, "only the features differ"
    now = added[(added["metric"] == "relearn_steps") & (added["method"] == "original")]
    assert now["value"].eq(0).all(), "nothing was taken from it"
    for metric in ("auc_lu", "auc_lu_used", "logan", "acc"):
        assert rows.loc[rows["metric"] == metric, "value"].between(0, 1).all()
    assert {"fd_u_ceiling", "fd_l_floor", "psnr_gap", "path_forget", "kd_l", "seconds"} <= set(rows["metric"])

    def never(*_, **__):
        raise AssertionError("made again")

    (item, few), (person, zero) = some_plan([6], 1)
    item, person = study.forgotten(item, few)[1], study.forgotten(person, zero)[1]
    assert item["step"].tolist() == [0, 1, 2]
    assert person["step"].tolist() in ([0, 1], [0, 1, 2]), "a class may be far enough at once"
    assert item["auc_lu"].between(0, 1).all() and person["auc_lu"].between(0, 1).all()
    assert person["fd_share"].notna().all() and item["auc_used"].notna().all()
    assert "fd_u" not in item and "auc_used" not in person
    assert rows.loc[rows["method"] == "retrained", "note"].eq("trained without the requests of seeds 0").all()

    before = path.read_bytes()
    monkeypatch.setattr(tables, "measure", never)
    tables.table(study, path, **everything | {"later": dict.fromkeys(later, never)})
    assert path.read_bytes() == before


def test_distances_are_of_our_own_classifier_and_none_is_called_fid(study, monkeypatch):
    gan, request, asked = study.original(), study.request("class-1"), []
    for distance in ("frechet", "kernel_distance"):
        monkeypatch.setattr(measures, distance, lambda network, *_: asked.append(network) or 1.0)
    found = measures.measure(study, gan, "class-1") | measures.bounds(study, request)
    found |= measures.watch(study, request)(gan)
    found |= measures.photo_measures(study, gan, study.faces[1][:1].in_memory(), 1)
    assert {"fd_l", "fd_u", "kd_l", "fd_l_floor", "fd_share", "fd_person"} <= set(found)
    assert not [name for name in found if "fid" in name]
    others = [network for network in asked if not same_weights(network, study.classifier(0))]
    assert len(others) == 1 and same_weights(others[0], study.classifier(2, epochs=0)), "of fd_l_random"


def test_the_real_fid_is_added_where_inceptions_weights_are_given(tmp_path, monkeypatch):
    asked, told = [], ["table", "--results", str(tmp_path / "rows.csv")]
    monkeypatch.setattr(command, "table", lambda *_, later, **__: asked.append(later))
    monkeypatch.setattr(command, "Inception", lambda weights: f"read from {weights}")
    command.main(told)
    command.main([*told, "--inception", "inception.safetensors"])
    without, given = asked
    assert not without and [*given] == ["fid_l"]
    assert given["fid_l"].func is fid and given["fid_l"].args == ("read from inception.safetensors",)


def test_rates_are_compared_by_what_they_forget_and_what_others_pay(study, monkeypatch):
    monkeypatch.setattr(tables, "RATES", (1e-2, 1e-7))
    monkeypatch.setattr(tables, "Cascade", lambda **how: Cascade(**{**FAST, **how}))
    found = tables.rates(study, "item-6").set_index(["lr", "shot"])
    assert list(found.index) == [(rate, shot) for rate in (1e-2, 1e-7) for shot in ("few", "zero")]
    for shot in ("few", "zero"):
        course = study.forgotten("item-6", Cascade(shot=shot, lr=1e-2, stop="never", **FAST))[1]
        told = found.loc[(1e-2, shot)]
        assert told["auc_lu"] == course["auc_lu"].iloc[-1]
        assert told["acc_lost"] == pytest.approx(course["acc"].iloc[0] - course["acc"].iloc[-1])
    assert found.loc[1e-7, "acc_lost"].abs().max() < 0.05, "such a step moves nothing"


def test_one_photo_is_measured_for_every_person(study, tmp_path):
    path = tmp_path / "gan_rows.csv"
    tables.photo(study, path, Cascade(shot="zero", asked="support", **FAST))
    rows = told.read(path)
    assert set(rows["request"]) == {f"{word}-{label}" for word in ("photo", "person") for label in range(3)}
    assert set(rows["method"]) == {"original", "cascade"}
    pairs = reports.photo_pairs(rows, "photo")
    assert pairs["people"].eq(3).all() and pairs["seeds"].eq(1).all()
    of_photos = rows[(rows["metric"] == "auc_person") & rows["request"].str.startswith("photo")]
    wide = of_photos.pivot_table(index="request", columns="method", values="value")
    change = wide["cascade"] - wide["original"]
    assert pairs.loc["auc_person", "mean"] == pytest.approx(change.mean())
    people = reports.photo_people(rows, "auc_person", "photo")
    assert people["mean"].to_dict() == pytest.approx(change.to_dict()) and people["mean"].is_monotonic_decreasing
    assert people["low"].isna().all(), "one seed has no interval"
    assert reports.photo_pairs(rows[rows["method"] == "original"]).empty
    assert reports.photo_people(rows.iloc[:0], "auc_person").empty


def test_one_photo_as_a_person_is_not_taught_again(study, monkeypatch):
    """As a class the person is no longer drawn to learn from; as an item it is."""
    seen = {}

    class Looked(Cascade):
        def unlearn(self, gan, given, *, label=None, **how):
            seen[len(seen)] = label
            return super().unlearn(gan, given, label=label, **how)

    given = Given({"support": study.faces[1][:1].in_memory()})
    for number, kind in enumerate(("photo-1", "person-1")):
        study.forgotten(kind, Looked(shot="zero", asked="support", stop="never", **{**FAST, "lr": 1e-4}), given)
        assert seen[number] == (None if kind == "photo-1" else 1)


def test_the_committed_gan_is_taken_for_its_own_facts_alone(study, tmp_path, monkeypatch):
    trained, file = study.original(), tmp_path / "gan.safetensors"
    other = study.loaded(study.trained("item-6").file("gan.safetensors"))
    assert not same(trained, other)
    monkeypatch.setattr(module, "COMMITTED", file)
    save_gan(file, other, {"facts": study.facts, "history": []})
    assert same(study.original(), other)
    save_gan(file, other, {"facts": {**study.facts, "seed": 1}, "history": []})
    assert same(study.original(), trained) and len(study.history()) == 2


def test_the_committed_gan_gives_its_own_pictures_back():
    gan = load_gan(module.COMMITTED).generator.requires_grad_(False)
    w = gan.latent(torch.randn(4, 64, generator=torch.Generator().manual_seed(0)), torch.arange(4)).detach()
    _, psnr = invert(gan, render(gan, w))
    assert psnr.mean() > 30  # acceptance; of real pictures it is about 22 dB, which is what the generator can draw


def test_the_preset_is_what_was_trained(study, tmp_path):
    save_gan(tmp_path / "gan.safetensors", study.original(), {"facts": study.facts, "history": []})
    assert module.trained_as(tmp_path / "gan.safetensors") == study.training
    assert module.trained_as(tmp_path / "none.safetensors") == GANTraining()
    assert module.PRESETS["cpu"] == Study(training=module.PRESETS["cpu"]).training


def test_requests_of_several_seeds_are_left_out_together(study, monkeypatch):
    trained_on, began = {}, []

    def looked(faces, config, training, *, start, **how):
        trained_on[len(trained_on)] = set(faces.rows)
        began.append((training.kimg, start))
        return build(config, seed=0), pd.DataFrame([{"kimg": 1.0}])

    monkeypatch.setattr(module, "fit_gan", looked)
    asked = [set(replace(study, seed=seed).request("item-5").forget.rows) for seed in (0, 1)]
    study.trained("item-5", (1, 0))
    replace(study, seed=1).trained("item-5", (0, 1))  # the same GAN, whoever asks
    study.trained("item-5")
    everyone = set(study.faces[0].rows)
    assert trained_on == {0: everyone - asked[0] - asked[1], 1: everyone - asked[0]}
    study.continued("item-5")
    assert trained_on[2] == everyone - asked[0], "the rival never sees them again"
    assert [kimg for kimg, _ in began] == [0.032, 0.032, pytest.approx(0.0032)]
    assert began[0][1] is began[1][1] is None and same(began[2][1], study.original())


@pytest.mark.parametrize(
    "changed", ["shui_lib.gan.train", "shui_workbook.studies.gan.classifier", "shui_lib.gan.cascade"]
)
def test_no_stage_of_other_code_is_read_back(study, monkeypatch, changed):
    keys = []

    def looked(root, kind, facts, compute):
        keys.append(stage_key(kind, json.loads(json.dumps(facts)), {}))
        raise InterruptedError

    monkeypatch.setattr(module, "load_or_compute", looked)
    monkeypatch.setattr(Study, "file", module.COMMITTED)
    makes = {
        "shui_lib.gan.train": lambda: study.trained(""),
        "shui_workbook.studies.gan.classifier": lambda: study.classifier(0),
        "shui_lib.gan.cascade": lambda: study.forgotten("item-6", Cascade(**FAST)),
    }[changed]
    for source in (module.source_of, module.source_of, lambda *names: f"other than {source_of(*names)}"):
        monkeypatch.setattr(module, "source_of", source)
        with pytest.raises(InterruptedError):
            makes()
    assert keys[0] == keys[1] != keys[2]


def test_sheets_show_every_class(study, tmp_path):
    pictures = sheet(study.original().generator, tmp_path / "sheet.png", per_class=2)
    assert pictures.shape == (6, 3, 16, 16) and pictures.min() >= 0 and pictures.max() <= 1
    assert (tmp_path / "sheet.png").is_file()
    assert sorted((study.runs).glob("gan-*/sheet_*.png")), "a sheet a checkpoint"
    assert staying(study.config, study.request("class-1"), 5).tolist() == [0, 2, 0, 2, 0]


def test_rows_of_a_dirty_tree_stay_out_of_the_results(study, tmp_path, monkeypatch):
    rows = told.rows_of(study, "item-6", "original", {"acc": 0.5}).assign(git="abc-dirty")
    told.record(tmp_path / "gan_rows.csv", rows)  # a user's own folder may hold anything
    monkeypatch.setattr("shui_workbook.records.files.RESULTS", tmp_path)
    with pytest.raises(ValueError, match="not in the history"):
        told.record(tmp_path / "gan_rows.csv", rows)


def test_missing_rows_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="studies.gan table"):
        told.read(tmp_path / "gan_rows.csv")


def test_figures_take_data_and_return_axes():
    pictures = torch.linspace(-1, 1, 6 * 3 * 64).view(6, 3, 8, 8)
    ax = plots.plot_sheet(pictures, ["a", "b"])
    image = ax.images[0].get_array()
    assert image.shape == (16, 24, 3) and np.allclose(
        image[8:, 8:16], (pictures[4].permute(1, 2, 0) + 1) / 2, atol=1e-6
    )
    with pytest.raises(ValueError, match="do not fill 4 rows"):
        plots.plot_sheet(pictures, list("abcd"))
    shown = plots.plot_scores({"forget": np.arange(9.0), "test": np.arange(4.0)}).get_legend().get_texts()
    assert [text.get_text() for text in shown] == ["to be forgotten", "test"]
    course = pd.DataFrame({"step": [0, 10], "auc_lu": [0.5, 0.7]})
    race = plots.plot_race({"few": course, "zero": course}, "auc_lu", goal=0.8)
    assert race.get_legend_handles_labels()[1] == ["few", "zero", "goal: 0.8"]
    audit = pd.DataFrame({"psnr_forget": [20.0, 18.0], "psnr_test": [19.0, 19.0]}, index=["before", "after"])
    assert len(plots.plot_audit(audit).patches) == 4


def test_people_stand_in_the_order_of_the_first_way_of_asking():
    def frame(word, means):
        index = [f"{word}-{label}" for label in means]
        return pd.DataFrame({"mean": means.values(), "low": 0.0, "high": 1.0}, index=index)

    ax = plots.plot_people(
        {"as a person": frame("person", {2: 0.9, 0: 0.5}), "as an item": frame("photo", {0: 0.2, 2: 0.1})}
    )
    assert [label.get_text() for label in ax.get_yticklabels()] == ["class 2", "class 0"]
    first, second = (container.lines[0].get_xdata().tolist() for container in ax.containers)
    assert first == [0.9, 0.5] and second == [0.1, 0.2]
    assert ax.yaxis_inverted()


def test_the_papers_numbers_stand_beside_ours():
    reported = pd.read_csv(module.ROOT / "results" / "gan_reported.csv")
    assert len(reported) == 410
    columns = ["request", "method", "shot", "mechanism", "fake_label", "perceptual", "budget", "metric", "value"]
    few = ("cascade", "few", "average", "0.01 quantile")
    lines = [
        ("item-64", "original", "", "", "", 0.0, 0, "auc_lu", 0.5),
        ("item-64", *few, 0.0, 60, "auc_lu", 0.7),
        ("item-64", *few, 0.0, 200, "auc_lu", 0.1),  # another budget
        ("item-64", *few, 0.5, 60, "auc_lu", 0.1),  # with the perceptual term
        ("item-256", *few, 0.0, 60, "auc_lu", 0.1),  # more pictures
        ("class-3", *few, 0.0, 60, "auc_lu", 0.9),
    ]
    rows = pd.DataFrame(lines, columns=columns)
    of_class = plots.beside_reported(rows, reported, "V")
    assert of_class.loc[of_class["metric"] == "AUC_lu", "ours after"].dropna().tolist() == [0.9]
    beside = plots.beside_reported(rows, reported, "IIIa")
    line = beside[
        (beside["metric"] == "AUC_lu") & (beside["shot"] == "few") & (beside["substitute"] == "average")
    ].iloc[0]
    assert (line["paper before"], line["paper after"], line["ours before"], line["ours after"]) == (
        0.51,
        0.86,
        0.5,
        0.7,
    )
    with pytest.raises(KeyError, match="no table 'II'"):
        plots.beside_reported(rows, reported, "II")


def test_photos_that_may_show_real_people_are_not_drawn(tmp_path):
    """Plain papermill does not read `only:`, and pictures of chapter 30 carry no name to be looked at."""
    prepare_tiny(tmp_path / "tiny")
    with pytest.raises(ValueError, match="tiny may show real people, and pictures are drawn: take faces, mnist"):
        Study("tiny", data_root=tmp_path, runs_root=tmp_path).original()
