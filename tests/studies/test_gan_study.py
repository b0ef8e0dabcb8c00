"""The GAN study on a few small pictures: stages, rows that are not made twice, claims judged by rule, figures."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from small_gan import QUICK, same
from tiny import prepare_tiny

from data_prep import faces as rendered
from shui_lib.gan.cascade import Cascade
from shui_lib.gan.latents import invert, render
from shui_lib.gan.stylegan2 import load_gan, save_gan
from shui_lib.gan.train import GANTraining
from shui_workbook.figures import gan as plots
from shui_workbook.studies.gan import __main__ as command
from shui_workbook.studies.gan import rows as told
from shui_workbook.studies.gan import study as module
from shui_workbook.studies.gan import verdicts
from shui_workbook.studies.gan.measures import photo_pairs, sheet, staying
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
    return [(f"item-{items[0]}", Cascade(**FAST)), (f"class-{label}", Cascade(shot="zero", **command.TURNED, **FAST))]


def test_a_table_is_made_once(study, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "plan", some_plan)
    path = tmp_path / "gan_rows.csv"
    command.table(study, path, items=[6], label=1, retrain=["item-6"])
    rows = told.read(path)
    assert not rows.duplicated(told.KEY).any() and rows["value"].notna().all()
    assert set(rows["method"]) == {"original", "cascade", "retrained"}
    kinds = rows[rows["metric"] == "auc_lu"].groupby("method")["request"].apply(set)
    both = {"item-6", "class-1"}
    assert kinds.to_dict() == {"original": both, "cascade": both, "retrained": {"item-6"}}
    for metric in ("auc_lu", "auc_lu_used", "logan", "acc"):
        assert rows.loc[rows["metric"] == metric, "value"].between(0, 1).all()
    assert {"fd_u_ceiling", "fd_l_floor", "psnr_gap", "path_forget", "kd_l", "seconds"} <= set(rows["metric"])

    def never(*_, **__):
        raise AssertionError("made again")

    before = path.read_bytes()
    monkeypatch.setattr(command, "measure", never)
    command.table(study, path, items=[6], label=1, retrain=["item-6"])
    assert path.read_bytes() == before


def test_one_photo_is_measured_for_every_person(study, tmp_path):
    path = tmp_path / "gan_rows.csv"
    command.photo(study, path, Cascade(shot="zero", asked="support", **FAST))
    rows = told.read(path)
    assert set(rows["request"]) == {"photo-0", "photo-1", "photo-2"} and set(rows["method"]) == {"original", "cascade"}
    pairs = photo_pairs(rows)
    assert pairs["people"].eq(3).all() and pairs["seeds"].eq(1).all()
    wide = rows[rows["metric"] == "auc_person"].pivot_table(index="request", columns="method", values="value")
    assert pairs.loc["auc_person", "mean"] == pytest.approx((wide["cascade"] - wide["original"]).mean())
    assert photo_pairs(rows[rows["method"] == "original"]).empty


def test_the_committed_gan_is_taken_for_its_own_facts_alone(study, tmp_path, monkeypatch):
    trained, file = study.original(), tmp_path / "gan.safetensors"
    other = study.retrained("item-6")
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


@pytest.mark.parametrize(
    ("differences", "expected"),
    [([[1, 1.1, 0.9]], "holds"), ([[-1, -1.1, -0.9]], "does not hold"), ([[-1, 1, 0.2]], "inconclusive"),
     ([[1, 1.1]], "not tested"), ([], "not tested"), ([[1, 1.1, 0.9], [-1, -1.1, -0.9]], "holds in part"),
     ([[1, 1.1, 0.9], [1, 2]], "holds"), ([[-1, 1, 0.2], [-1, -1.1, -0.9]], "does not hold"),
     ([[1, np.nan, 1.1]], "not tested")],
)  # fmt: skip
def test_verdicts_follow_from_intervals(differences, expected):
    assert verdicts.verdict([pd.Series(part, dtype=float) for part in differences]) == expected


def test_claims_are_judged_from_rows():
    def lines(method, metric, values, request="item-64", shot="", mechanism="", fake=""):
        about = {"dataset": "faces", "kimg": 80.0, "request": request, "method": method, "shot": shot}
        about |= {"mechanism": mechanism, "fake_label": fake, "perceptual": 0.0, "stop": "generated", "metric": metric}
        return [{**about, "seed": seed, "value": value} for seed, value in enumerate(values)]

    few = ("few", "average", "0.01 quantile")
    found = lines("cascade", "auc_lu", [0.9, 0.91, 0.92], "item-64", *few)
    found += lines("cascade", "logan", [0.2, 0.21, 0.22], "item-64", *few)
    found += lines("cascade", "logan_away", [0.3, 0.29, 0.28], "item-64", *few)
    found += lines("retrained", "logan_away", [0.01, 0.02, 0.01])
    found += lines("cascade", "psnr_gap", [0.4, 0.5, 0.6], "item-64", *few) + lines(
        "original", "psnr_gap", [0.5, 0.5, 0.5]
    )
    claims = verdicts.table_of_claims(pd.DataFrame(found)).set_index("claim")["verdict"]
    assert claims["items: AUC_lu on fresh pictures passes 0.8"] == "holds"
    assert claims["items: LOGAN's AUC falls to 0.5 or below"] == "holds"
    assert claims["items: it is as hard to tell as after retraining (|AUC − ½|)"] == "does not hold"
    assert claims["items: the generator loses them (re-inversion, 1 dB or more)"] == "does not hold"
    assert claims["items: the perceptual term costs quality"] == "not tested"


def test_the_summary_holds_means_and_intervals():
    about = {"request": "item-64", "method": "cascade", "shot": "few", "mechanism": "average", "fake_label": "0.1"}
    lines = [{**about, "perceptual": 0.0, "metric": "acc", "seed": seed, "value": 0.8 + seed / 10} for seed in range(2)]
    lines.append({**lines[0], "shot": "zero", "value": 0.5})
    found = verdicts.summary(pd.DataFrame(lines), ["acc", "logan"])
    assert found["acc"].tolist() == ["0.85 [0.215, 1.49]", "0.5"] and found["seeds"].tolist() == [2, 1]
    assert found["logan"].tolist() == ["", ""]


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
    assert plots.plot_race({"few": course, "zero": course}, "auc_lu", goal=0.8).get_legend_handles_labels()[1] == [
        "few",
        "zero",
    ]
    audit = pd.DataFrame({"psnr_forget": [20.0, 18.0], "psnr_test": [19.0, 19.0]}, index=["before", "after"])
    assert len(plots.plot_audit(audit).patches) == 4


def test_the_papers_numbers_stand_beside_ours():
    reported = pd.read_csv(module.ROOT / "results" / "gan_reported.csv")
    assert len(reported) == 410
    columns = ["request", "method", "shot", "mechanism", "fake_label", "metric", "value"]
    ours = ("item-64", "cascade", "few", "average", "0.01 quantile", "auc_lu", 0.7)
    rows = pd.DataFrame([("item-64", "original", "", "", "", "auc_lu", 0.5), ours], columns=columns)
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
