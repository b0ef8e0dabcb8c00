"""Result rows: schema, files and tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from shui_lib.results import (
    COLUMNS,
    KEY,
    METHODS,
    beside_paper,
    check_rows,
    make_rows,
    paired_difference,
    read_rows,
    record,
    report,
    table,
)

ABOUT = {"dataset": "tiny", "preset": "smoke", "model": "vit", "n_ids": 3, "seed": 0, "method": "original"}


def some_rows(value: float = 50.0, **about) -> pd.DataFrame:
    values = {("forget", "map"): value, ("all", "tow"): value + 1}
    return make_rows(values, {**ABOUT, "seconds": 1.5, "git": "abc", "config": "0123", "device": "cpu", **about})


def test_rows_follow_the_schema():
    rows = some_rows()
    assert list(rows) == COLUMNS
    assert rows[["split", "metric", "value"]].values.tolist() == [["forget", "map", 50.0], ["all", "tow", 51.0]]
    assert check_rows(rows) is rows
    assert set(KEY) < set(COLUMNS)


def test_a_key_that_occurs_twice_is_an_error():
    with pytest.raises(ValueError, match=r"4 rows share keys, the first: dataset=tiny, .*metric=map; keep one value"):
        check_rows(pd.concat([some_rows(1.0), some_rows(2.0)]))


def test_a_missing_column_and_an_unknown_split_are_named():
    with pytest.raises(ValueError, match="here: column seconds, git is missing"):
        check_rows(some_rows().drop(columns=["seconds", "git"]), "here")
    with pytest.raises(ValueError, match="split 'forgotten' is unknown"):
        check_rows(some_rows().replace("forget", "forgotten"))


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


def test_a_folder_of_files_is_read_as_one_table_of_unique_keys(tmp_path):
    record(tmp_path / "rows_a.csv", some_rows())
    record(tmp_path / "rows_b.csv", some_rows(seed=1))
    assert sorted(read_rows(tmp_path)["seed"].unique()) == [0, 1]
    record(tmp_path / "rows_c.csv", some_rows(99.0))
    with pytest.raises(ValueError, match="share keys"):
        read_rows(tmp_path)


@pytest.mark.parametrize("name", ["", "rows_tiny.csv"])
def test_no_rows_at_all_names_the_place(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="holds no result rows"):
        read_rows(tmp_path / name)


def test_table_shows_mean_and_spread_over_seeds():
    wide = table(pd.concat([some_rows(50.0), some_rows(52.0, seed=1), some_rows(40.0, method="gradient_ascent")]))
    assert list(wide.index) == ["original", "gradient_ascent"]
    assert list(wide) == ["forget", "tow"]
    assert wide.loc["original", "forget"] == "51.0 ± 1.4"  # the sample's deviation, √2
    assert wide.loc["gradient_ascent", "tow"] == "41.0"  # one seed has no spread


def test_table_orders_methods_as_they_are_registered():
    rows = pd.concat([some_rows(method=method) for method in ("zzz", *reversed(METHODS))])
    assert list(table(rows).index) == [*METHODS, "zzz"]


@pytest.mark.parametrize("other", [{"preset": "cpu"}, {"dataset": "faces"}, {"n_ids": 5}])
def test_one_table_shows_one_setting(other):
    with pytest.raises(ValueError, match="one table shows one setting, not 2"):
        table(pd.concat([some_rows(), some_rows(**other)]))


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


def test_paired_difference_of_one_seed_has_no_interval():
    found = paired_difference(pd.concat([some_rows(), some_rows(45.0, method="x")]), "original", "x")
    assert (found["mean"], found["seeds"]) == (5, 1)
    assert np.isnan(found["low"]) and np.isnan(found["high"])


def test_the_readme_shows_what_the_committed_rows_say():
    root = Path(__file__).parent.parent
    assert report(root / "results") in (root / "README.md").read_text(), "run `make tables`"


def test_the_paper_stands_beside_ours_where_the_setting_is_the_same():
    ours = make_rows({("forget", "map"): 60.0, ("all", "tow"): 90.0}, ABOUT | {"dataset": "celebahq", "n_ids": 20})
    theirs = [
        ["celebahq", 20, "original", None, "forget", "map", 83.0],
        ["celebahq", 50, "original", None, "all", "tow", 1.0],
    ]
    reported = pd.DataFrame(theirs, columns=["dataset", "n_ids", "method", "variant", "split", "metric", "mean"])
    assert beside_paper(ours, reported).iloc[0].tolist() == ["60.0 [83.0]", "90.0"]
