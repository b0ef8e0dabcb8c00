"""Result rows: their schema, the files that hold them, and differences between them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from shui_lib.core.arguments import ROOT
from shui_lib.core.machine import in_history
from shui_lib.core.store import locked, save_frame

KEY = ["dataset", "preset", "model", "n_ids", "seed", "method", "variant", "step", "split", "metric"]
COLUMNS = [*KEY, "value", "low", "high", "seconds", "peak_mib", "device", "git", "config", "note"]
TEXT = ["dataset", "preset", "model", "method", "variant", "split", "metric", "device", "git", "config", "note"]
MISSING = ["", "nan", "NaN"]
CHANGED = "settings changed"  # how the note of rows begins whose settings are not their form's own
SPLITS = ("retain", "forget", "test", "val", "support", "all")


RESULTS = ROOT / "results"


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


def benchmark_rows(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows that Tables 1-4 are about: no step of a sequence of requests, no ablation ("inputs=logits")."""
    return rows[(rows["step"] == 0) & ~rows["variant"].str.contains("=")]


def record(path: Path, rows: pd.DataFrame, *, uncommitted: bool = False) -> pd.DataFrame:
    """Add rows to a file, however many processes do; a row whose key is there already is replaced. Returns all rows.

    Numbers are rounded to six decimals. The repository's own results are made by code that is in its history; a user's
    folder may hold anything.

    Args:
        uncommitted: record rows of other code in the repository's own results too.
    Raises:
        ValueError: as `check_rows`; rows of changed settings would stand for the form's own; or the repository's
            results would hold rows of code that differs from every commit.
    """
    path = Path(path)
    check_rows(rows)
    if not uncommitted and path.resolve().parent == RESULTS.resolve():
        check_provenance(rows, str(path))
    changed = rows[rows["note"].str.startswith(CHANGED) & ~rows["variant"].str.contains("=")]
    if len(changed):
        form, note = form_of(changed).iloc[0], changed["note"].iloc[0].partition("; ")[0]
        raise ValueError(f"{path}: rows of {form} have {note}: say so in `variant` too, as ablations do (eta=0.1)")
    with locked(path):
        if path.is_file():
            rows = pd.concat([read_rows(path), rows]).drop_duplicates(KEY, keep="last")
        rows = rows.sort_values(KEY, ignore_index=True).round(6)
        save_frame(path, rows)
    return rows


def check_provenance(rows: pd.DataFrame, where: str = "these rows") -> None:
    """Nothing, if every row was made by code of this repository's history.

    Raises:
        ValueError: rows name files that differed from their commit, a commit that is not in the history, or none.
    """
    unknown = {commit for commit in set(rows["git"].fillna("")) if not in_history(commit)}
    if bad := int(rows["git"].fillna("").isin(unknown).sum()):
        names = ", ".join(sorted(name or "no commit" for name in unknown))
        raise ValueError(
            f"{where}: {bad} rows were made by code that is not in the history ({names}): commit it, and compute them "
            "again (delete their stages), or record them in a folder of your own"
        )


def form_of(rows: pd.DataFrame) -> pd.Series:
    """Method and variant of every row in one word, as tables name their lines: "pgu one-shui published"."""
    return (rows["method"] + " " + rows["variant"]).str.strip()


def paired_difference(
    rows: pd.DataFrame, form: str, other: str, *, metric: str = "tow", split: str = "all"
) -> dict[str, float]:
    """Mean of form − other over the seeds that have both, with a 95 % interval from Student's t.

    Args:
        rows: of one setting.
        form, other: method and variant, as `form_of` writes them.
    Returns:
        mean, low, high (nan with fewer than two seeds) and seeds.
    """
    from scipy.stats import t  # takes a second to import, and a bare GPU machine lacks it

    chosen = rows[(rows["metric"] == metric) & (rows["split"] == split)]
    wide = chosen.assign(form=form_of(chosen)).pivot(index="seed", columns="form", values="value")
    difference = (wide[form] - wide[other]).dropna().to_numpy()
    seeds, mean = len(difference), difference.mean()
    half = t.ppf(0.975, seeds - 1) * difference.std(ddof=1) / np.sqrt(seeds) if seeds > 1 else np.nan
    return {"mean": mean, "low": mean - half, "high": mean + half, "seeds": seeds}
