"""Result rows: schema and files."""

import numpy as np
import pandas as pd
import pytest

from shui_lib.core.rows import COLUMNS, KEY, Measured, check_rows, make_rows, read_rows

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


@pytest.mark.parametrize("name", ["", "rows_tiny.csv"])
def test_no_rows_at_all_names_the_place(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="holds no result rows"):
        read_rows(tmp_path / name)


def test_a_measured_value_brings_its_interval_and_its_reason():
    values = {("all", "rmia_auc"): Measured(60.0, 55.0, 65.0), ("all", "tpr"): Measured(np.nan, note="too few")}
    rows = make_rows(values, ABOUT | {"note": "borrowed"})
    assert rows[["value", "low", "high"]].iloc[0].tolist() == [60, 55, 65]
    assert rows["note"].tolist() == ["borrowed", "borrowed; too few"]
