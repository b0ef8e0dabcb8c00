"""Rows of results/gan_rows.csv: one a seed, request, form of the cascade, and metric."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from shui_lib.core.machine import git_commit
from shui_lib.gan.cascade import Cascade
from shui_workbook.records.files import put
from shui_workbook.studies.gan.study import Study

FORM = ["request", "method", "shot", "mechanism", "fake_label", "perceptual", "stop", "budget"]
KEY = ["dataset", "kimg", "gan_seed", "seed", *FORM, "metric"]  # seed: of the request
COLUMNS = [*KEY, "value", "git", "note"]


def rows_of(
    study: Study, kind: str, method: str, found: Mapping[str, object], cascade: Cascade | None = None, note: str = ""
) -> pd.DataFrame:
    """Tidy rows of one model."""
    about = _about(study, kind, method, cascade) | {"git": git_commit(), "note": note}
    lines = [{**about, "metric": metric, "value": value} for metric, value in found.items()]
    return pd.DataFrame(lines, columns=COLUMNS)


def _about(study: Study, kind: str, method: str, cascade: Cascade | None) -> dict[str, object]:
    about = {"dataset": study.dataset, "kimg": study.training.kimg, "gan_seed": study.gan_seed, "seed": study.seed}
    about |= dict.fromkeys(FORM, "") | {"request": kind, "method": method, "perceptual": 0.0, "budget": 0}
    if cascade:
        label = f"{cascade.quantile:g} quantile" if cascade.constant is None else f"{cascade.constant:g}"
        about |= {"shot": cascade.shot, "mechanism": cascade.mechanism, "fake_label": label}
        about |= {"perceptual": cascade.perceptual, "stop": cascade.stop, "budget": cascade.steps}
    return about


def record(path: Path, rows: pd.DataFrame) -> None:
    """Add rows to a file; those of the same key go. Errors as of `put`."""
    put(path, rows, KEY, decimals=5, read=read)


def read(path: Path) -> pd.DataFrame:
    """Rows as `record` wrote them.

    Raises:
        FileNotFoundError: nobody has.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing: `python -m shui_workbook.studies.gan table` writes it")
    words = dict.fromkeys(["dataset", "shot", "mechanism", "fake_label", "stop", "git", "note"], str)
    return pd.read_csv(path, dtype=words, keep_default_na=False, na_values={"value": [""]})


def there(study: Study, path: Path, one: pd.DataFrame) -> bool:
    """Is this row in the file?"""
    if not path.is_file():
        return False
    known = read(path)[KEY].astype(str).agg("|".join, axis=1)
    return one[KEY].astype(str).agg("|".join, axis=1).iloc[0] in set(known)
