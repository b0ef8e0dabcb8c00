"""Result rows: their schema."""

import numpy as np
import pandas as pd

from shui_lib.core.rows import COLUMNS, KEY, Measured, make_rows

ABOUT = {"dataset": "tiny", "preset": "smoke", "model": "vit", "n_ids": 3, "seed": 0, "method": "original"}


def some_rows(value: float = 50.0, **about) -> pd.DataFrame:
    values = {("forget", "map"): value, ("all", "tow"): value + 1}
    return make_rows(values, {**ABOUT, "seconds": 1.5, "git": "abc", "config": "0123", "device": "cpu", **about})


def test_rows_follow_the_schema():
    rows = some_rows()
    assert list(rows) == COLUMNS
    assert rows[["split", "metric", "value"]].values.tolist() == [["forget", "map", 50.0], ["all", "tow", 51.0]]
    assert set(KEY) < set(COLUMNS)


def test_a_measured_value_brings_its_interval_and_its_reason():
    values = {("all", "rmia_auc"): Measured(60.0, 55.0, 65.0), ("all", "tpr"): Measured(np.nan, note="too few")}
    rows = make_rows(values, ABOUT | {"note": "borrowed"})
    assert rows[["value", "low", "high"]].iloc[0].tolist() == [60, 55, 65]
    assert rows["note"].tolist() == ["borrowed", "borrowed; too few"]
