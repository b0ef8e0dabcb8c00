"""Files of results: lines added by key, provenance, paired differences."""

import importlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shui_lib.core.places import RESULTS
from shui_lib.core.rows import make_rows
from shui_workbook.records import benchmark_rows, paired_difference, record
from shui_workbook.records.files import check_provenance, check_results, check_rows, in_history, put, read_rows
from shui_workbook.reports.sections import save_section

ABOUT = {"dataset": "tiny", "preset": "smoke", "model": "vit", "n_ids": 3, "seed": 0, "method": "original"}


def some_rows(value: float = 50.0, **about) -> pd.DataFrame:
    values = {("forget", "map"): value, ("all", "tow"): value + 1}
    return make_rows(values, {**ABOUT, "seconds": 1.5, "git": "abc", "config": "0123", "device": "cpu", **about})


def test_rows_of_the_schema_pass_as_they_came():
    rows = some_rows()
    assert check_rows(rows) is rows


def test_a_key_that_occurs_twice_is_an_error():
    with pytest.raises(ValueError, match=r"4 rows share keys, the first: dataset=tiny, .*metric=map; keep one value"):
        check_rows(pd.concat([some_rows(1.0), some_rows(2.0)]))


def test_a_missing_column_and_an_unknown_split_are_named():
    with pytest.raises(ValueError, match="here: column seconds, git is missing"):
        check_rows(some_rows().drop(columns=["seconds", "git"]), "here")
    with pytest.raises(ValueError, match="split 'forgotten' is unknown"):
        check_rows(some_rows().replace("forget", "forgotten"))


@pytest.mark.parametrize("name", ["", "rows_tiny.csv"])
def test_no_rows_at_all_names_the_place(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="holds no result rows"):
        read_rows(tmp_path / name)


def test_recording_replaces_the_same_key_and_keeps_the_others(tmp_path):
    path = tmp_path / "rows_tiny.csv"
    record(path, some_rows(50.0))
    record(path, some_rows(60.0, seed=1))
    held = record(path, some_rows(70.0))
    assert len(held) == 4
    values = held[held["metric"] == "map"].set_index("seed")["value"]
    assert values.to_dict() == {0: 70.0, 1: 60.0}
    pd.testing.assert_frame_equal(read_rows(path), held, check_dtype=False)
    assert [file.name for file in tmp_path.iterdir()] == ["rows_tiny.csv"]


def test_recording_twice_gives_the_same_file(tmp_path):
    path = tmp_path / "rows_tiny.csv"
    record(path, pd.concat([some_rows(50.0), some_rows(60.0, seed=1)]))
    before = path.read_bytes()
    record(path, some_rows(50.0))
    assert path.read_bytes() == before


def test_forms_of_two_original_models_never_stand_side_by_side(tmp_path):
    path = tmp_path / "rows_tiny.csv"
    record(path, pd.concat([some_rows(50.0), some_rows(40.0, method="ssd"), some_rows(50.0, seed=1)]))
    again = record(path, pd.concat([some_rows(50.01), some_rows(42.0, method="jit")]))
    assert {"ssd", "jit"} <= set(again["method"]), "rounding makes no other model"
    with pytest.raises(ValueError, match="of tiny, seed 0 are others than those of recorded rows, tow of ssd for inst"):
        record(path, pd.concat([some_rows(51.0), some_rows(43.0, method="jit")]))
    assert len(read_rows(path)) == len(again), "nothing is lost"
    record(path, some_rows(51.0, seed=1))  # that seed has no other forms
    every = pd.concat([some_rows(51.0), some_rows(41.0, method="ssd"), some_rows(43.0, method="jit")])
    assert record(path, every)["value"].max() == 52, "all forms of the seed together"
    attacked = make_rows({("all", "rmia_auc"): 80.0}, {**ABOUT, "method": "ssd", "git": "abc"})
    record(path, pd.concat([attacked, some_rows(70.0, method="retrained")]))
    with pytest.raises(ValueError, match="rmia_auc of ssd for instance"):
        record(path, pd.concat([every, some_rows(71.0, method="retrained")]))


def test_a_folder_of_files_is_read_as_one_table_of_unique_keys(tmp_path):
    record(tmp_path / "rows_a.csv", some_rows())
    record(tmp_path / "rows_b.csv", some_rows(seed=1))
    assert sorted(read_rows(tmp_path)["seed"].unique()) == [0, 1]
    record(tmp_path / "rows_c.csv", some_rows(99.0))
    with pytest.raises(ValueError, match="share keys"):
        read_rows(tmp_path)


def test_changed_settings_never_stand_for_the_tuned_form(tmp_path):
    rows = some_rows(60.0, method="ssd", variant="one-shui", note="settings changed: alpha=7.0")
    record(tmp_path / "rows.csv", some_rows(50.0, method="ssd", variant="one-shui"))
    with pytest.raises(ValueError, match="rows of ssd one-shui have settings changed: alpha=7.0: say so in"):
        record(tmp_path / "rows.csv", rows)
    held = record(tmp_path / "rows.csv", rows.assign(variant="one-shui alpha=7.0"))
    assert sorted(held["value"]) == [50, 51, 60, 61]
    assert sorted(benchmark_rows(held)["value"]) == [50, 51]


def test_paired_difference_by_hand():
    # Differences 1, 2 and 3: mean 2, standard error 1/√3, Student's t with 2 degrees of freedom 4.3027.
    pairs = [(51, 50), (62, 60), (43, 40)]
    ours = [some_rows(a, method="meta_unlearn", seed=seed) for seed, (a, _) in enumerate(pairs)]
    others = [some_rows(b, method="gradient_ascent", seed=seed) for seed, (_, b) in enumerate(pairs)]
    alone = [some_rows(99, method="meta_unlearn", seed=7)]
    found = paired_difference(pd.concat([*ours, *others, *alone]), "meta_unlearn", "gradient_ascent")
    assert found["seeds"] == 3
    assert found["mean"] == pytest.approx(2)
    assert found["high"] - found["mean"] == pytest.approx(4.3027 / np.sqrt(3), abs=1e-4)
    assert found["low"] + found["high"] == pytest.approx(4)


def test_an_auc_of_25_tells_as_much_as_one_of_75():
    rows = pd.concat([some_rows(25.0, seed=seed) for seed in (0, 1)])
    rows = pd.concat([rows, *(some_rows(auc, method="x", seed=seed) for seed, auc in enumerate((75.0, 60.0)))])
    found = paired_difference(rows, "original", "x", metric="map", split="forget", away_from=50.0)
    assert found["mean"] == pytest.approx((0 + 15) / 2)


def test_paired_difference_of_one_seed_has_no_interval():
    found = paired_difference(pd.concat([some_rows(), some_rows(45.0, method="x")]), "original", "x")
    assert (found["mean"], found["seeds"]) == (5, 1)
    assert np.isnan(found["low"]) and np.isnan(found["high"])


def test_paired_difference_tells_variants_apart():
    forms = {"original": 50.0, "one-shui": 53.0, "one-shui published": 47.0}
    rows = pd.concat([some_rows(value, method="ssd", variant=variant) for variant, value in forms.items()])
    assert paired_difference(rows, "ssd one-shui", "ssd original")["mean"] == 3
    assert paired_difference(rows, "ssd one-shui published", "ssd original")["mean"] == -3


def test_sequences_and_ablations_stand_apart():
    plain = make_rows({("all", "tow"): 90.0}, ABOUT)
    ablated, later = plain.assign(variant="inputs=logits"), plain.assign(step=5)
    assert len(benchmark_rows(pd.concat([plain, ablated, later]))) == len(plain) == 1


def test_a_section_is_replaced_between_its_markers(tmp_path):
    page = tmp_path / "PAGE.md"
    page.write_text("before\n<!-- sizes: written by `make sizes` -->\n\nold\n\n<!-- end of sizes -->\nafter\n")
    save_section(page, "sizes", "one\ntwo", by="make sizes")
    save_section(page, "sizes", "new", by="make sizes")
    said = "<!-- sizes: written by `make sizes` -->\n\nnew\n\n<!-- end of sizes -->"
    assert page.read_text() == f"before\n{said}\nafter\n"
    with pytest.raises(ValueError, match="PAGE.md lacks the markers .* put them around"):
        save_section(page, "weights", "heavy", by="make sizes")
    assert page.read_text() == f"before\n{said}\nafter\n", "nothing is lost"


@pytest.mark.parametrize("name", ["NA", "None", "nan", "2024", "1e5", "007"])
def test_a_data_set_may_be_called_anything(tmp_path, name):
    record(tmp_path / "rows_a.csv", some_rows(50.0, dataset=name))
    held = record(tmp_path / "rows_a.csv", some_rows(60.0, dataset=name))
    assert held["dataset"].tolist() == [name, name] and sorted(held["value"]) == [60, 61]
    assert read_rows(tmp_path)["dataset"].tolist() == [name, name]


def test_the_repositorys_results_take_rows_of_committed_code_only(tmp_path, monkeypatch):
    monkeypatch.setattr("shui_workbook.records.files.RESULTS", tmp_path / "results")
    monkeypatch.setattr("shui_workbook.records.files.in_history", lambda commit: commit == "1234567")
    ours = tmp_path / "results" / "rows_a.csv"
    record(ours, some_rows(git="1234567"))
    for commit, named in {"1234567-dirty": "1234567-dirty", "abc": "abc", "": "no commit"}.items():
        with pytest.raises(
            ValueError, match=rf"2 rows were made by code that is not in the history \({named}\): commit"
        ):
            record(ours, some_rows(git=commit, seed=1))
        record(tmp_path / "mine" / "rows_a.csv", some_rows(git=commit, seed=1))
    assert len(record(ours, some_rows(git="abc", seed=1), uncommitted=True)) == 4


@pytest.mark.usefixtures("whole_history")
@pytest.mark.parametrize("name", ["", "klom.csv"])
def test_a_study_of_uncommitted_code_is_refused_before_it_begins(tmp_path, monkeypatch, name):
    monkeypatch.setattr("shui_workbook.records.files.RESULTS", tmp_path)
    monkeypatch.setattr("shui_workbook.records.files.git_commit", lambda: "abcdefg-dirty")
    with pytest.raises(SystemExit, match="of no commit .abcdefg-dirty.: commit the code first"):
        check_results(tmp_path / name)
    check_results(tmp_path / "mine" / "klom.csv")


def test_lines_of_one_kind_never_take_the_place_of_another_kinds(tmp_path):
    path = tmp_path / "rows.csv"
    rows = pd.DataFrame({"dataset": ["tiny"], "seed": [0], "value": [1.0]})
    put(path, rows, ["dataset", "seed"])
    with pytest.raises(ValueError, match=r"rows.csv has lines of another kind \(cosine, value\): give the new ones"):
        put(path, pd.DataFrame({"dataset": ["tiny"], "seed": [0], "cosine": [0.5]}), ["dataset", "seed"])
    pd.testing.assert_frame_equal(pd.read_csv(path), rows)
    with pytest.raises(SystemExit, match=r"rows.csv has lines of another kind \(cosine, value\)"):
        check_results(path, ["dataset", "seed", "cosine"])
    check_results(path, [*rows])
    assert len(put(path, rows.assign(seed=1).drop(columns="value"), ["dataset", "seed"])) == 2, "one may lack a number"
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SystemExit, match="is a folder: give another name"):
        check_results(tmp_path, [*rows])
    for name, kind in {"folder.csv": "folder", "file": "file"}.items():
        (tmp_path / "file").touch()
        with pytest.raises(SystemExit, match=f"{name} is a {kind}: give another name"):
            check_results(tmp_path / name)


@pytest.mark.parametrize("study", ["ablations", "climbs", "gain", "handle", "klom", "matched", "proxies", "selection"])
def test_long_studies_ask_at_their_beginning(monkeypatch, study):
    monkeypatch.setattr("shui_workbook.records.files.git_commit", lambda: "abcdefg-dirty")
    words = ["--results", str(RESULTS)] if study == "selection" else []
    with pytest.raises(SystemExit, match="of no commit"):
        importlib.import_module(f"shui_workbook.studies.{study}").main(["--dataset", "nowhere", *words])


def test_committed_rows_were_made_by_committed_code():
    folder = Path(__file__).parents[2]
    check_provenance(read_rows(folder / "results"), "results")
    others = ("ltu_rows.csv", "gan_rows.csv", "handle.csv", "proxies.csv")  # with columns of their own
    for name in others:
        commits = pd.read_csv(folder / "results" / name, dtype=str)["git"].unique()
        assert [commit for commit in commits if not in_history(commit)] == [], name


def test_a_dirty_tree_is_in_no_history():
    assert not in_history("HEAD-dirty") and not in_history("0000000") and not in_history("")


def test_lines_of_one_key_are_replaced_together(tmp_path):
    path = tmp_path / "curves.csv"
    first = pd.DataFrame({"name": "1e5", "seed": [0, 0, 1], "strength": [2, 1, 1], "value": [20.0, np.nan, 30.0]})
    put(path, first, ["name", "seed"], "strength")
    held = put(path, first[:1].assign(value=99.0), ["name", "seed"], "strength")
    assert held.values.tolist() == [["1e5", 0, 2, 99.0], ["1e5", 1, 1, 30.0]]
    pd.testing.assert_frame_equal(pd.read_csv(path, dtype={"name": str}), held, check_dtype=False)
