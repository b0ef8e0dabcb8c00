import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import prepare_tiny, same_weights

import shui_workbook.studies.ltu as study
from shui_lib.benchmark.data import load_faces
from shui_lib.ltu.membership import KINDS, NoGuide
from shui_workbook.figures import ltu as figures
from shui_workbook.reports import ltu as reports
from shui_workbook.reports import ltu_page
from shui_workbook.studies.ltu_world import PEOPLE, PHOTOS, World, mark_of, prepared

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


def test_twice_as_many_people_are_two_thousand_images_to_train_on(tmp_path):
    few, many = (World(dataset=name, data_root=tmp_path) for name in ("faces", "faces40"))
    assert (few.folder.name, many.folder.name) == ("who_20", "who_40")
    assert (few.most, many.most) == (1500, 3000) and len(many.faces) == 3000
    assert len(many.faces.classes) == 40 and len(many.request.train) == 2000 and len(many.request.forget) == 200


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


def test_other_images_or_labels_train_again(world):
    part = world.parts["retain"]
    relabelled = replace(part, targets=part.targets.roll(1))
    marks = {mark_of(part), mark_of(part[slice(1, None)]), mark_of(relabelled)}
    assert len(marks) == 3 and mark_of(part[slice(None)]) in marks
    half = replace(world, share=0.5)
    assert half._trained("original").key == world._trained("original").key, "all shares have one original model"


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
    study.CHOSEN.write_text(json.dumps({"tiny": {"ft": {"lr": 0.1}}}))  # of a search that a killed one goes on from
    monkeypatch.setattr(study, "TRIALS", {"fisher": [{"alpha": 1e-9}, {"alpha": 1e-3}]})
    monkeypatch.setattr(study, "unlearned", lambda w, *a: (seen.append(w.seed), (w.model("original"), 1.0))[1])
    study.tune(world)
    assert set(seen) == {study.TUNING_SEED}
    assert json.loads(study.CHOSEN.read_text()) == {"tiny": {"ft": {"lr": 0.1}, "fisher": {"alpha": 1e-9}}}
    assert pd.read_csv(study.TRIALS_FILE)["dataset"].tolist() == ["tiny", "tiny"]


def test_a_data_set_that_was_tuned_leaves_the_settings_of_others_alone(files):
    study.CHOSEN.write_text(json.dumps({"faces": {"ft": {"lr": 0.1}}, "digits": {"ft": {"lr": 0.3}}}))
    assert study.chosen("ft", "digits") == {"lr": 0.3} and study.chosen("ft", "faces") == {"lr": 0.1}
    assert study.chosen("ft", "mine") == {"lr": 0.1}  # the donor's, and it is named


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


def test_where_no_guide_beats_chance_rows_are_empty_and_the_next_seed_goes_on(world, files, monkeypatch, capsys):
    def unlearned(*_):
        raise NoGuide("nobody")

    monkeypatch.setattr(study, "TRIALS", {"ltu": [{"beta": 0.001}]})
    monkeypatch.setattr(study, "unlearned", unlearned)
    study.tune(world)
    assert json.loads(study.CHOSEN.read_text()) == {"tiny": {}} and "nobody" in capsys.readouterr().err

    def make():
        raise NoGuide("no membership model reaches an AUC above 0.55")

    study.once(world, "ltu", "guides=1", make)
    rows = study.read(study.ROWS)
    assert set(rows["metric"]) == {*study.METRICS, "gap"} and rows["value"].isna().all()
    assert rows["note"].str.contains("no membership model").all()
    study.once(world, "ltu", "guides=1", make)  # it is there


def test_one_guide_is_the_ablest_and_four_are_the_method_itself():
    assert study.ABLATIONS["guides=1"] == {"guides": ("statistics",)}
    rows = study.read(study.ROOT / "results" / "ltu_rows.csv")
    rows = rows[(rows["dataset"] == "faces") & (rows["share"] == 0.1) & (rows["kept"] == 0.3) & (rows["variant"] == "")]
    known = {kind: rows[rows["metric"] == f"guide_{kind}_held_out"].set_index("seed")["value"] for kind in KINDS}
    able = {kind: values.reindex(range(5)).fillna(55).mean() for kind, values in known.items()}
    assert tuple(sorted(KINDS, key=able.get, reverse=True)) == study.ABLE_FIRST


def test_teaching_to_the_test_takes_time(world):
    model, seconds = study.taught_to_the_test(world, study.LTU(iterations=1, batch=8, size="smoke"))
    assert seconds > 0 and not same_weights(model, world.model("original"))


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
    words = "LTU, with 30 % of D_r, is nearer to retrained than {} with all of it at hand"
    found = [told[words.format(name)] for name in ("FT", "RandL", "SalUn", "Amnesiac")]
    assert found == ["supported", "reversed", "equivalent", "not tested"]
    said = reports.in_short(reports.verdicts(rows, REPORTED))
    assert said.startswith("Of 17 claims: 1 supported, 1 reversed, 1 equivalent, 14 not tested. (supported: LTU")


def test_settings_count_as_one_claim_together():
    rows = made_up({("ltu", ""): [1.0, 2.0, 3.0], ("ft", ""): [3.0, 4.1, 5.0], ("ft", "D_r′"): [3.0, 4.1, 5.0]})
    opposite = made_up({("ltu", ""): [1.0, 2.0, 3.0], ("ft", ""): [0.0, 1.1, 2.0]}).assign(share=0.5)
    few = made_up({("ltu", ""): [1.0, 2.0, 3.0], ("ft", "D_r′"): [3.0, 4.1, 5.0]}).assign(kept=0.1)
    found = {c.claim: c.effects for c in reports.claims(pd.concat([rows, opposite, few]), REPORTED)}
    whole = found["LTU, with 30 % of D_r, is nearer to retrained than FT with all of it at hand"]
    assert [(e.setting, round(e.paper, 2)) for e in whole] == [("faces, 10 %", 3.42), ("faces, 50 %", 5.85)]
    same = found["… than FT with the same D_r′"]
    assert [e.setting for e in same] == ["faces, 10 %, D_r′ 10 %", "faces, 10 %, D_r′ 30 %"]
    assert same[0].paper == pytest.approx((5.37 + 11.99 + 8.49 + 3.84) / 4 - (0.19 + 7.67 + 4.17 + 0.54) / 4)
    told = reports.verdicts(pd.concat([rows, opposite, few]), REPORTED).set_index("claim")
    assert told.loc[next(c for c in found if "FT with all" in c), "verdict"] == "inconclusive", "they disagree"


def test_the_papers_gaps_are_found():
    assert reports.paper_gap(REPORTED, ("ltu", "")) == pytest.approx((0.87 + 0.17 + 0.31 + 0.09) / 4)
    assert reports.paper_gap(REPORTED, ("ft", "D_r′")) == pytest.approx((4.41 + 11.03 + 6.07 + 3.65) / 4)
    assert reports.paper_gap(REPORTED, ("ltu", "GradAdd")) == pytest.approx((1.02 + 2.6 + 4.72 + 2.92) / 4)
    assert np.isnan(reports.paper_gap(REPORTED, ("ltu", "order=1")))
    assert reports.paper_gap(REPORTED, ("ltu", ""), 0.5) == pytest.approx((0.03 + 0.88 + 0.95 + 1.90) / 4)
    assert reports.paper_gaps(REPORTED, ("randl", ""), 0.5).to_dict() == {
        "UA": 3.11,
        "RA": 0.45,
        "TA": 0.41,
        "MI": 22.66,
    }
    assert reports.paper_gap(REPORTED, ("ltu", ""), 0.1, 0.1) == pytest.approx((0.19 + 7.67 + 4.17 + 0.54) / 4)
    nothing = [(("ft", "D_r′"), 0.5, 0.3), (("ltu", ""), 0.1, 1.0), (("ltu", "GradAdd"), 0.5, 0.3)]
    assert all(np.isnan(reports.paper_gap(REPORTED, *one)) for one in nothing)
    known = {m for m in reports.NAMES if len(reports.paper_gaps(REPORTED, (m, ""))) == 4}
    assert known == {*reports.NAMES} - {"original", "retrained", "retrained_again"}
    assert len(REPORTED) == 244


def test_traces_are_of_models_that_were_attacked():
    rows = made_up({("original", ""): [1.0, 2.0, 3.0], ("ltu", ""): [1.0, 2.0, 3.0]})
    assert reports.traces(rows).empty
    mine = rows[(rows["metric"] == "gap") & (rows["method"] == "ltu")]
    more = pd.concat([rows, *(mine.assign(metric=name, value=70.0) for name in reports.TRACES)])
    assert reports.traces(more).to_dict("index") == {"LTU": dict.fromkeys(reports.TRACES.values(), "70.0 [70.0, 70.0]")}


def test_tables_have_a_line_a_form():
    forms = {("original", ""): [90.0] * 3, ("retrained", ""): [0.0] * 3, ("ltu", ""): [1.0, 2.0, 93.0]}
    rows = made_up(forms | {("ltu", "GradAdd"): [2.0, 3.0, 94.0]})
    table = reports.result_table(rows, REPORTED)
    assert list(table.index) == ["Original", "Retrained", "LTU", "LTU, GradAdd"]
    assert table.loc["LTU", "avg. gap"].startswith("32.0 [") and table.loc["LTU", "the paper's"] == "0.4"
    assert table.loc["LTU", "UA"] == "32.0 (32.0) [0.9]" and table.loc["Original", "UA"] == "90.0 (90.0)"
    assert table.loc["LTU", "broken"] == 2, "two seeds have less than three quarters of the original's RA"
    assert list(reports.forms(reports.of_tables(rows))) == [("original", ""), ("retrained", ""), ("ltu", "")]


def test_parts_are_paired_and_those_of_a_smaller_step_with_their_own():
    forms = {("ltu", ""): [1.0, 2.0, 3.0], ("ltu", "GradAdd"): [2.0, 3.1, 4.0], ("original", ""): [90.0] * 3}
    forms |= {("ltu", "β/3"): [5.0, 6.0, 7.0], ("ltu", "β/3 GradAdd"): [4.0, 4.9, 6.0], ("ltu", "PCGrad"): [9.0]}
    found = reports.differences(made_up(forms), REPORTED)
    assert list(found.index) == ["GradAdd", "PCGrad", "β/3", "β/3 GradAdd"]
    one, gentle = found.loc["GradAdd"], found.loc["β/3 GradAdd"]
    assert one["mean"] == pytest.approx(-1.0333, abs=1e-3) and (one["says"], one["ahead"]) == ("helps", 3)
    assert one["paper"] == pytest.approx(0.36 - (1.02 + 2.6 + 4.72 + 2.92) / 4)
    assert gentle["mean"] == pytest.approx(1.0333, abs=1e-3) and (gentle["says"], gentle["ahead"]) == ("harms", 0)
    assert (found.loc["PCGrad", "says"], found.loc["PCGrad", "seeds"]) == ("cannot tell", 1)
    said = reports.answers(found).splitlines()
    assert said[2] == "Meta-optimisation. not tested."
    third = "a third of it: +1.0 [+0.9, +1.2], harms (3 seeds)"
    assert said[4] == f"Harmonising. chosen step: -1.0 [-1.2, -0.9], helps (3 seeds); {third}."


def test_teaching_to_the_test_is_told_in_the_number_that_is_taught():
    rows = made_up({("ltu", ""): [3.0, 4.1, 5.0], ("ltu", study.TEST): [1.0, 2.0, 3.0]})
    assert reports.taught(rows).endswith("with the evaluation as guide: +2.0 [+1.9, +2.2] (3 seeds).")
    assert reports.taught(rows[rows["variant"] == ""]) == "Teaching to the test. not tested."


def test_settings_stand_beside_each_other_and_broken_models_are_counted():
    forms = {("original", ""): [90.0] * 3, ("retrained", ""): [0.0] * 3, ("ltu", ""): [1.0, 2.0, 93.0]}
    half = made_up({("original", ""): [90.0] * 3}).assign(share=0.5)
    table = reports.by_setting(pd.concat([made_up(forms), half]))
    assert list(table.columns) == ["faces, 10 % (3 seeds)", "faces, 50 % (3 seeds)"]
    assert table.loc["LTU", "faces, 10 % (3 seeds)"].endswith("], 2 broken")
    assert table.loc["LTU", "faces, 50 % (3 seeds)"] == "–" and "Retrained" not in table.index


def test_the_page_is_written_from_rows_alone(tmp_path):
    assert ltu_page.section(tmp_path).startswith("No rows: `python -m shui_workbook.studies.ltu main`")
    forms = {("original", ""): [9.0] * 3, ("ltu", ""): [1.0, 2.0, 3.0], ("ft", "D_r′"): [3.0, 4.1, 5.0]}
    rows = pd.concat([made_up(forms | {("ltu", "GradAdd"): [2.0, 3.1, 4.0]}), made_up(forms).assign(kept=0.1)])
    rows.to_csv(tmp_path / "ltu_rows.csv", index=False)
    REPORTED.to_csv(tmp_path / "ltu_reported.csv", index=False)
    page = ltu_page.section(tmp_path)
    assert "**faces, 10 % to be forgotten, 30 % of the others at hand**" in page
    assert (
        "|  | 10 % | 30 % |" in page
        and "| LTU | 2.0 [-0.5, 4.5]; the paper 3.1 | 2.0 [-0.5, 4.5]; the paper 0.4 |" in page
    )
    assert "| GradAdd | -1.0 [-1.2, -0.9] | helps | 3 of 3 seeds | 3 | -2.5 |" in page
    assert "| … than FT with the same D_r′ | faces, 10 %, D_r′ 10 % | supported | +2.0 [+1.9, +2.2] |" in page


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
    curve = pd.DataFrame(
        {"line": ["LTU"] * 2, "kept": [0.1, 1.0], "mean": [2.0, 1.0], "low": [1.0, 0.5], "high": [3, 2]}
    )
    assert [text.get_text() for text in figures.plot_kept(curve, 0.5).get_xticklabels()] == ["10", "100"]
    gap = pd.DataFrame({"mean": [1.0], "low": [0.5], "high": [1.5], "paper": [np.nan]}, index=["LTU"])
    assert figures.plot_average_gaps(gap, 0.5).get_yticklabels()[0].get_text() == "LTU"
