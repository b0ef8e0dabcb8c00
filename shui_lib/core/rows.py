"""Result rows: their schema, and the files that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

KEY = ["dataset", "preset", "model", "n_ids", "seed", "method", "variant", "step", "split", "metric"]
COLUMNS = [*KEY, "value", "low", "high", "seconds", "peak_mib", "device", "git", "config", "note"]
TEXT = ["dataset", "preset", "model", "method", "variant", "split", "metric", "device", "git", "config", "note"]
MISSING = ["", "nan", "NaN"]
CHANGED = "settings changed"  # how the note of rows begins whose settings are not their form's own
SPLITS = ("retain", "forget", "test", "val", "support", "all")


class Measured(NamedTuple):
    """A value with its interval, or nan with the reason why there is none."""

    value: float
    low: float = np.nan
    high: float = np.nan
    note: str = ""


def make_rows(values: Mapping[tuple[str, str], float | Measured], about: Mapping[str, object]) -> pd.DataFrame:
    """Tidy rows from values by (split, metric), with the same key and facts in every row."""
    blank, rows = {"variant": "", "step": 0, "note": ""}, []
    for (part, name), value in values.items():
        measured = value if isinstance(value, Measured) else Measured(value)
        notes = "; ".join(filter(None, [str(about.get("note", "")), measured.note]))
        rows.append({**blank, **about, "split": part, "metric": name, **measured._asdict(), "note": notes})
    return pd.DataFrame(rows, columns=COLUMNS)


def check_rows(rows: pd.DataFrame, where: str = "these rows") -> pd.DataFrame:
    """Rows as they came, if they follow the schema.

    Raises:
        ValueError: a column is missing, a key occurs twice, or a word is unknown; the message names the rows.
    """
    missing = [column for column in COLUMNS if column not in rows]
    if missing:
        raise ValueError(f"{where}: column {', '.join(missing)} is missing; a results file has {', '.join(COLUMNS)}")
    unknown = rows[~rows["split"].isin(SPLITS)]
    if len(unknown):
        raise ValueError(f"{where}: split {unknown['split'].iloc[0]!r} is unknown; choose from {', '.join(SPLITS)}")
    twice = rows[rows.duplicated(KEY, keep=False)]
    if len(twice):
        first = ", ".join(f"{name}={twice.iloc[0][name]}" for name in KEY)
        raise ValueError(f"{where}: {len(twice)} rows share keys, the first: {first}; keep one value for each key")
    return rows


def read_rows(path: Path) -> pd.DataFrame:
    """Rows of one file, or of all `rows_*.csv` of a folder.

    Raises:
        FileNotFoundError: nothing is there. ValueError: the rows break the schema.
    """
    path = Path(path)
    files = sorted(path.glob("rows_*.csv")) if path.is_dir() else [path]
    if not files or not files[0].is_file():
        raise FileNotFoundError(f"{path} holds no result rows: `make results` writes them")
    as_text = {column: "" for column in TEXT}  # a data set may be called NA, None, 2024 or 1e5
    numbers = {column: MISSING for column in COLUMNS if column not in TEXT}
    how = {"dtype": dict.fromkeys(TEXT, str), "keep_default_na": False, "na_values": numbers}
    rows = pd.concat([pd.read_csv(file, **how) for file in files], ignore_index=True)
    return check_rows(rows.fillna(as_text), str(path))
