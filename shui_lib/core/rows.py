"""Result rows: their schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

KEY = ["dataset", "preset", "model", "n_ids", "seed", "method", "variant", "step", "split", "metric"]
COLUMNS = [*KEY, "value", "low", "high", "seconds", "peak_mib", "device", "git", "config", "note"]
CHANGED = "settings changed"  # how the note of rows begins whose settings are not their form's own


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
