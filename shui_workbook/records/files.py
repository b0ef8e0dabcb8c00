"""Lines added to CSV files, each key once; result rows of the repository only from committed code."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from shui_lib.core.places import RESULTS, ROOT
from shui_lib.core.rows import CHANGED, KEY, check_rows, read_rows
from shui_lib.core.store import locked, save_frame
from shui_workbook.records.compare import form_of


def put(
    path: Path,
    lines: pd.DataFrame,
    key: Sequence[str],
    order: str = "",
    *,
    decimals: int | None = 6,
    read: Callable[[Path], pd.DataFrame] | None = None,
) -> pd.DataFrame:
    """Add lines to a file in place of all earlier ones of the same key, however many processes do so at a time.

    Args:
        key: columns. Several lines may share one key: the trials of a search, the strengths of a curve.
        order: the column that lines of one key are sorted by; by default they stay as they came.
        decimals: numbers are rounded to so many, None for as they are.
        read: how the file is read; by default text is text wherever it is in the new lines.
    Returns:
        All lines of the file, sorted by key and order.
    """
    path, by = Path(path), [*key, *([order] if order else [])]
    with locked(path):
        if path.is_file():
            earlier = read(path) if read else as_before(path, lines)
            kept = earlier[~_keys(earlier, key).isin(set(_keys(lines, key)))]
            lines = pd.concat([kept, lines]) if len(kept) else lines
        lines = lines.sort_values(by, kind="stable", ignore_index=True)
        lines = lines if decimals is None else lines.round(decimals)
        save_frame(path, lines)
    return lines


def _keys(lines: pd.DataFrame, key: Sequence[str]) -> pd.Series:
    return lines[list(key)].apply(tuple, axis=1)


def as_before(path: Path, like: pd.DataFrame) -> pd.DataFrame:
    """A file's lines with the types of new ones: a data set may be called NA, None, 2024 or 1e5."""
    words = [name for name in like if pd.api.types.is_string_dtype(like[name])]
    numbers = {name: [""] for name in like if name not in words}
    return pd.read_csv(path, dtype=dict.fromkeys(words, str), keep_default_na=False, na_values=numbers)


def record(path: Path, rows: pd.DataFrame, *, uncommitted: bool = False) -> pd.DataFrame:
    """Add result rows to a file (`put`). Returns all rows.

    The repository's own results are made by code that is in its history; a user's folder may hold anything.

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
    return put(path, rows, KEY, read=read_rows)


def check_provenance(rows: pd.DataFrame, where: str = "these rows") -> None:
    """Nothing, if every row was made by code of this repository's history.

    Raises:
        ValueError: rows name files that differed from their commit, a commit that is not in the history, or none.
    """
    commits = rows["git"].fillna("")
    unknown = {commit for commit in set(commits) if not in_history(commit)}
    if unknown:
        names = ", ".join(sorted(name or "no commit" for name in unknown))
        raise ValueError(
            f"{where}: {commits.isin(unknown).sum()} rows were made by code that is not in the history ({names}): "
            "commit it, and compute them again (delete their stages), or record them in a folder of your own"
        )


@cache
def in_history(commit: str) -> bool:
    """Is it a commit that the one checked out comes from?

    Never so of "-dirty" ones, nor of all but the last ones in a shallow clone.
    """
    command = ["git", "merge-base", "--is-ancestor", commit, "HEAD"]
    try:
        known = subprocess.run(command, cwd=ROOT, capture_output=True)
    except OSError:
        return False
    return bool(commit) and known.returncode == 0
