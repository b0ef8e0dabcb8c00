"""Lines added to CSV files, each key once; result rows of the repository only from committed code."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

import pandas as pd

from shui_lib.core.machine import git_commit
from shui_lib.core.names import TRAINED
from shui_lib.core.places import RESULTS, ROOT
from shui_lib.core.rows import CHANGED, COLUMNS, KEY
from shui_lib.core.store import locked, save_frame
from shui_workbook.records.compare import form_of

TEXT = ["dataset", "preset", "model", "method", "variant", "split", "metric", "device", "git", "config", "note"]
MISSING = ["", "nan", "NaN"]
SAME = 0.05  # points of a score; two trainings differ by more on one split or another
SPLITS = ("retain", "forget", "test", "val", "support", "all")


def put(
    path: Path,
    lines: pd.DataFrame,
    key: Sequence[str],
    order: str = "",
    *,
    decimals: int | None = 6,
    read: Callable[[Path], pd.DataFrame] | None = None,
    uncommitted: bool = False,
) -> pd.DataFrame:
    """Add lines to a file in place of all earlier ones of the same key, however many processes do so at a time.

    Args:
        key: columns. Several lines may share one key: the trials of a search, the strengths of a curve.
        order: the column that lines of one key are sorted by; by default they stay as they came.
        decimals: numbers are rounded to so many, None for as they are.
        read: how the file is read; by default text is text wherever it is in the new lines.
        uncommitted: put lines of code that no commit holds into the repository's own results too.
    Returns:
        All lines of the file, sorted by key and order.
    Raises:
        ValueError: the repository's own results would hold lines of code that differs from every commit: of the commit
            in their column `git`, or of the present one. A user's folder may hold anything. Or the file has lines of
            another kind, with other columns.
    """
    path, by = Path(path), [*key, *([order] if order else [])]
    if not uncommitted and path.resolve().parent == RESULTS.resolve():
        check_provenance(lines if "git" in lines else lines.assign(git=git_commit()), str(path))
    with locked(path):
        if path.is_file():
            earlier = read(path) if read else as_before(path, lines)
            if odd := of_another_kind(earlier, lines):
                raise ValueError(f"{path} has lines of another kind ({odd}): give the new ones a file of their own")
            kept = earlier[~_keys(earlier, key).isin(set(_keys(lines, key)))]
            lines = pd.concat([kept, lines]) if len(kept) else lines
        lines = lines.sort_values(by, kind="stable", ignore_index=True)
        lines = lines if decimals is None else lines.round(decimals)
        save_frame(path, lines)
    return lines


def of_another_kind(earlier: Iterable[str], lines: Iterable[str]) -> str:
    """The columns that only one of both has, where each has some; lines of one kind may lack a measurement."""
    earlier, lines = set(earlier), set(lines)
    return "" if earlier <= lines or lines <= earlier else ", ".join(sorted(earlier ^ lines))


def _keys(lines: pd.DataFrame, key: Sequence[str]) -> pd.Series:
    return lines[list(key)].apply(tuple, axis=1)


def as_before(path: Path, like: pd.DataFrame) -> pd.DataFrame:
    """A file's lines with the types of new ones: a data set may be called NA, None, 2024 or 1e5."""
    words = [name for name in like if pd.api.types.is_string_dtype(like[name])]
    numbers = {name: [""] for name in like if name not in words}
    return pd.read_csv(path, dtype=dict.fromkeys(words, str), keep_default_na=False, na_values=numbers)


def lines_of(path: Path, columns: Sequence[str], words: Sequence[str]) -> pd.DataFrame:
    """A study's own file, its `words` as text (`as_before`); no lines where there is no file."""
    like = pd.DataFrame({name: pd.Series(dtype=str if name in words else float) for name in columns})
    return as_before(path, like) if path.is_file() else like


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


def record(path: Path, rows: pd.DataFrame, *, uncommitted: bool = False) -> pd.DataFrame:
    """Add result rows to a file (`put`). Returns all rows.

    Args:
        uncommitted: as of `put`.
    Raises:
        ValueError: as `check_rows`, `check_models` and `put`, or rows of changed settings would stand for the form's
            own.
    """
    check_rows(rows)
    changed = rows[rows["note"].str.startswith(CHANGED) & ~rows["variant"].str.contains("=")]
    if len(changed):
        form, note = form_of(changed).iloc[0], changed["note"].iloc[0].partition("; ")[0]
        raise ValueError(f"{path}: rows of {form} have {note}: say so in `variant` too, as ablations do (eta=0.1)")

    def checked(path: Path) -> pd.DataFrame:
        """What is recorded, read while nobody else writes."""
        recorded = read_rows(path)
        check_models(rows, recorded, str(path))
        return recorded

    return put(path, rows, KEY, read=checked, uncommitted=uncommitted)


def check_models(rows: pd.DataFrame, recorded: pd.DataFrame, where: str) -> None:
    """Nothing, if rows that would stand side by side are of the same trained models, as far as new rows tell.

    The same seed on another processor may train another model. A form of the one beside a form of the other would be
    compared within a seed and yet not within a model. Rows tell by the scores of `original` and `retrained`; without
    either nothing can be seen.

    Raises:
        ValueError: such a model scores otherwise than the recorded one, and recorded rows of its seed would stay.
    """
    models = KEY[: KEY.index("method")]
    new, old = (one[one["method"].isin(TRAINED) & one["metric"].isin(["map", "accuracy"])] for one in (rows, recorded))
    both = new.merge(old, on=KEY, suffixes=("", "_recorded"))
    another = both[(both["value"] - both["value_recorded"]).abs() > SAME].drop_duplicates(models)
    stay = recorded.merge(another[models])
    stay = stay[~_keys(stay, KEY).isin(set(_keys(rows, KEY)))] if len(stay) else stay
    if len(stay):
        line = stay.assign(form=form_of(stay)).iloc[0]
        raise ValueError(
            f"{where}: the models of {line['dataset']}, seed {line['seed']} are others than those of recorded rows, "
            f"{line['metric']} of {line['form']} for instance (trained on another machine?): record all rows of the "
            "seed together, in a file of your own or once its rows are taken out"
        )


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


def check_results(results: Path, columns: Sequence[str] = ()) -> None:
    """Nothing, if `put` will take lines there: asked at the start of a study, and not after its hours.

    Args:
        results: a CSV file, or a folder.
        columns: of the lines, where it is a file.
    Raises:
        SystemExit: it is the repository's own, and the code that is loaded now is in no commit; there is a file where a
            folder is wanted, or the other way round; or the file has other columns.
    """
    path, commit = Path(results).resolve(), git_commit()
    if path.exists() and path.is_dir() == (bool(columns) or path.suffix == ".csv"):
        raise SystemExit(f"--results {results} is a {'folder' if path.is_dir() else 'file'}: give another name")
    if columns and path.is_file() and (odd := of_another_kind(pd.read_csv(path, nrows=0), columns)):
        raise SystemExit(f"--results {results} has lines of another kind ({odd}): give a file of their own")
    if RESULTS.resolve() in (path, path.parent) and not in_history(commit):
        told = "commit the code first, or give --results a folder of your own"
        raise SystemExit(f"{results}: what is computed now would be of no commit ({commit or 'no repository'}): {told}")


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
