import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import prepare_tiny

import shui_workbook.studies.ltu as study
from shui_lib.benchmark.data import load_faces
from shui_workbook.figures import ltu as figures
from shui_workbook.reports import ltu as reports
from shui_workbook.studies.ltu_world import PEOPLE, PHOTOS, World, prepared

REPORTED = pd.read_csv(study.ROOT / "results" / "ltu_reported.csv")


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("ltu")
    prepare_tiny(root / "data" / "tiny", identities=24)
    return World(dataset="tiny", size="smoke", share=0.2, data_root=root / "data", runs_root=root / "runs")


@pytest.fixture
def files(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "ROWS", tmp_path / "ltu_rows.csv")
    monkeypatch.setattr(study, "TRIALS_FILE", tmp_path / "ltu_selection.csv")
    monkeypatch.setattr(study, "CHOSEN", tmp_path / "ltu_selected.json")
    return tmp_path


def test_the_data_set_is_drawn_once(tmp_path):
    folder = prepared(tmp_path)
    faces = load_faces(folder)
    assert len(faces) == PEOPLE * PHOTOS
    stamp = (folder / "images.npy").stat().st_mtime_ns
    assert prepared(tmp_path) == folder and (folder / "images.npy").stat().st_mtime_ns == stamp


def test_people_are_the_classes_of_a_data_set_of_attributes(world):
    assert not world.faces.multilabel and len(world.faces.classes) == 20
    assert world.parts["forget"].images is world.faces.images


def test_the_papers_size_takes_every_image_and_no_wrong_label(world):
    whole = replace(world, size="paper")
    assert (whole.wrong, whole.most) == (0.0, 0) and (world.wrong, world.most) == (0.15, 1500)
    rows = np.concatenate([whole.request.train, whole.request.val, whole.request.test])
    assert len(rows) == len(whole.faces)
    assert len(whole.request.train) / len(rows) == pytest.approx(0.75, abs=0.05)


def test_models_are_trained_on_what_their_name_says_and_kept(world):
    one, again = world.model("retrained"), world.model("retrained_again")
    assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    before = sorted(path.name for path in world.runs_root.iterdir())
    world.model("retrained")
    assert sorted(path.name for path in world.runs_root.iterdir()) == before
    assert world.seconds("retrained") > 0


def test_another_code_trains_again(world, monkeypatch):
    before = world._trained("retrained").key
    assert world._trained("retrained").key == before
    monkeypatch.setattr("shui_workbook.studies.ltu_world.source_of", lambda *modules: "other code")
    assert world._trained("retrained").key != before


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seed": -1}, "seed must be a whole number from 0"),
        ({"seed": 2**32}, "seed must be a whole number from 0"),
        ({"dataset": "./tiny"}, "no plain folder name"),
        ({"dataset": "/tiny"}, "no plain folder name"),
        ({"size": "large"}, "size 'large' is unknown: choose smoke, cpu, paper"),
        ({"share": 1.5}, "share=1.5 and kept=0.3"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_drawn(world, wrong, message):
    with pytest.raises(ValueError, match=message):
        replace(world, **wrong)


@pytest.mark.parametrize("name", ["NA", "2024", "1e5"])
def test_rows_of_a_data_set_with_any_name_are_kept_once(world, files, name):
    mine = replace(world, dataset=name)
    for value in (1.0, 2.0):
        study.keep(study.ROWS, mine, "ft", "", {"gap": value})
        assert study.is_there(study.ROWS, mine, "ft", "")
    assert study.read(study.ROWS)["value"].tolist() == [2.0]


def test_rows_of_the_repository_are_of_committed_code_only(world, files, monkeypatch):
    monkeypatch.setattr("shui_workbook.records.files.RESULTS", files)
    monkeypatch.setattr(study, "git_commit", lambda: "abcdefg-dirty")
    with pytest.raises(ValueError, match="abcdefg-dirty"):
        study.keep(study.ROWS, world, "ft", "", {"gap": 1.0})
    assert not study.ROWS.exists()
    study.keep(files / "mine" / "rows.csv", world, "ft", "", {"gap": 1.0})


def test_every_method_has_as_many_trials():
    assert len({len(trials) for trials in study.TRIALS.values()}) == 1


def test_settings_are_chosen_on_a_seed_that_is_not_reported(world, files, monkeypatch):
    seen = []
    monkeypatch.setattr(study, "TRIALS", {"fisher": [{"alpha": 1e-9}, {"alpha": 1e-3}]})
    monkeypatch.setattr(study, "unlearned", lambda w, *a: (seen.append(w.seed), (w.model("original"), 1.0))[1])
    study.tune(world)
    assert set(seen) == {study.TUNING_SEED}
    assert json.loads(study.CHOSEN.read_text()) == {"tiny": {"fisher": {"alpha": 1e-9}}}
    assert pd.read_csv(study.TRIALS_FILE)["dataset"].tolist() == ["tiny", "tiny"]


def test_a_data_set_that_was_tuned_leaves_the_settings_of_others_alone(files):
    study.CHOSEN.write_text(json.dumps({"faces": {"ft": {"lr": 0.1}}, "digits": {"ft": {"lr": 0.3}}}))
    assert study.chosen("ft", "digits") == {"lr": 0.3} and study.chosen("ft", "faces") == {"lr": 0.1}
    assert study.chosen("ft", "mine") == {"lr": 0.1}  # the donor's, and it is named
    assert (study.donor_of("digits"), study.donor_of("mine")) == ("digits", "faces")


def test_a_trial_that_diverges_has_no_gap_and_the_search_goes_on(world, files, monkeypatch, capsys):
    def unlearned(w, name, method):
        model = w.model("original")
        if max(getattr(method, "alpha", 0), getattr(method, "lr", 0)) > 1:
            next(model.parameters()).data.fill_(torch.nan)
        return model, 1.0

    trials = {"fisher": [{"alpha": 2.0}, {"alpha": 1e-3}], "ft": [{"lr": 2.0}]}
    monkeypatch.setattr(study, "TRIALS", trials)
    monkeypatch.setattr(study, "unlearned", unlearned)
    study.tune(world)
    chosen = json.loads(study.CHOSEN.read_text())
    assert chosen == {"tiny": {"fisher": {"alpha": 1e-3}}}, "what always diverges has no settings"
    assert pd.read_csv(study.TRIALS_FILE)["gap"].isna().tolist() == [True, False, True]
    assert 'fisher {"alpha": 2.0} is left out: ' in capsys.readouterr().err


def test_a_model_that_diverged_has_empty_rows_with_the_reason(world, files):
    def make():
        model = world.model("original")
        next(model.parameters()).data.fill_(torch.nan)
        return model, 1.5

    study.once(world, "ft", "", make)
    rows = study.read(study.ROWS).set_index("metric")
    assert rows.loc["gap", "value"] != rows.loc["gap", "value"] and "diverged" in rows.loc["gap", "note"]
    assert set(study.METRICS) <= set(rows.index) and rows.loc["UT", "value"] == 1.5


def test_what_is_there_is_not_computed_again(world, files):
    made = []

    def make():
        made.append(1)
        return world.model("original"), 1.5

    for _ in range(2):
        study.once(world, "ft", "", make)
    rows = study.read(study.ROWS)
    assert made == [1] and not rows.duplicated(study.LTU_KEY).any()
    assert {"UA", "RA", "TA", "MI", "gap", "tow", "UT"} <= set(rows["metric"])
    assert rows.set_index("metric").loc["UT", "value"] == 1.5
    assert (rows["device"] != "").all()


def test_measures_of_the_retrained_model_are_no_gap(world):
    found = study.measures(world, world.model("retrained"), more=True)
    assert found["gap"] == 0 and found["tow"] == 100 and found["over_forgotten"] == 0
    assert 0 <= found["rmia_auc"] <= 100


def test_table_2_gives_the_small_part_alone(world):
    assert len(study.given_to(world, "D_r′").retain) == len(world.parts["retain_subset"])
    assert len(study.given_to(world).retain) == len(world.parts["retain"])


def made_up(gaps_by_form):
    """Rows of three seeds."""
    lines = []
    for (method, variant), values in gaps_by_form.items():
        for seed, value in enumerate(values):
            for metric in ("UA", "RA", "TA", "MI", "gap_UA", "gap_RA", "gap_TA", "gap_MI", "gap"):
                lines.append(["faces", "cpu", 0.1, 0.3, seed, method, variant, metric, value])
    return pd.DataFrame(lines, columns=[*study.LTU_KEY, "value"])


def test_verdicts_follow_from_paired_intervals():
    rows = made_up({
        ("ltu", ""): [1.0, 2.0, 3.0],
        ("ft", ""): [3.0, 4.1, 5.0],
        ("randl", ""): [0.0, 1.1, 2.0],
        ("salun", ""): [1.1, 1.9, 3.0],
    })  # fmt: skip
    told = reports.verdicts(rows, REPORTED).set_index("claim")["verdict"]
    words = "LTU, with 30 % of D_r, is nearer to retrained than {} with all of it"
    found = [told[words.format(name)] for name in ("FT", "RandL", "SalUn", "Amnesiac")]
    assert found == ["supported", "reversed", "equivalent", "not tested"]


def test_the_papers_gaps_are_found():
    assert reports.paper_gap(REPORTED, ("ltu", "")) == pytest.approx((0.87 + 0.17 + 0.31 + 0.09) / 4)
    assert reports.paper_gap(REPORTED, ("ft", "D_r′")) == pytest.approx((4.41 + 11.03 + 6.07 + 3.65) / 4)
    assert reports.paper_gap(REPORTED, ("ltu", "GradAdd")) == pytest.approx((1.02 + 2.6 + 4.72 + 2.92) / 4)
    assert np.isnan(reports.paper_gap(REPORTED, ("ltu", "order=1")))
    assert len(REPORTED) == 244


def test_tables_have_a_line_a_form():
    rows = made_up({("retrained", ""): [0.0] * 3, ("ltu", ""): [1.0, 2.0, 3.0], ("ltu", "GradAdd"): [2.0, 3.0, 4.0]})
    table = reports.result_table(rows)
    assert list(table.index) == ["Retrained", "LTU", "LTU, GradAdd"]
    assert table.loc["LTU", "avg. gap"].startswith("2.0 [")
    found = reports.differences(rows).loc["GradAdd"]
    assert found["mean"] == pytest.approx(-1) and found["seeds"] == 3


def test_figures_return_their_axes(world):
    turns = pd.DataFrame({"t": [1, 2], "cosine": [0.5, -0.5], "removed": [0.0, 0.5]})
    assert len(figures.plot_harmony(turns).patches) == 2
    goal = dict.fromkeys(figures.LINES, 50.0)
    course = pd.DataFrame({"t": [0, 1]} | {name: [1.0, 2.0] for name in goal})
    assert len(figures.plot_course(course, goal).lines) == 8
    assert len(figures.plot_guides(pd.DataFrame({"t": [1], "sorted": [60.0]})).lines) == 2
    rows = world.parts["forget"][slice(0, 3)]
    assert len(figures.plot_picks({"support": rows, "feat": rows})) == 2
    arrows = {"remember": np.array([1.0, 0.0]), "forget": np.array([0.0, 1.0])}
    assert len(figures.plot_conflict(arrows).get_legend().texts) == 2
    gap = pd.DataFrame({"mean": [1.0], "low": [0.5], "high": [1.5], "paper": [np.nan]}, index=["LTU"])
    assert figures.plot_average_gaps(gap, 0.5).get_yticklabels()[0].get_text() == "LTU"
