"""A run of a sweep: one notebook with parameters, done in a folder of its own, and known to be done by its key."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import nbformat
from papermill.inspection import inspect_notebook

from shui_lib.core.source import source_of_method
from shui_lib.core.store import save_json
from shui_workbook.course.notebooks import ROOT, run_notebook
from shui_workbook.sweep.cost import read_journal

DATA = ("dataset", "strangers")  # parameters that name a prepared data set


@dataclass(frozen=True)
class Places:
    """Folders that every worker sees under the same name."""

    data_root: Path
    runs_root: Path
    out: Path


@dataclass(frozen=True)
class Run:
    """A notebook and its parameters."""

    notebook: Path
    parameters: Mapping[str, object]

    @property
    def name(self) -> str:
        """Folder of the run: chapter, data set, request size, seed, and a hash of notebook and parameters."""
        known = {mark: self.parameters.get(name) for name, mark in (("dataset", ""), ("n_ids", "n"), ("seed", "s"))}
        words = [self.notebook.stem[:2], *(f"{mark}{value}" for mark, value in known.items() if value is not None)]
        return "_".join([*words, short_hash([self.notebook.stem, self.parameters])[:6]])

    def key(self, places: Places) -> str:
        """A hash over all that decides what the run finds: code cells, parameters, package, the settings that the
        owner of the runs folder has searched, methods of other packages, data and weights."""
        code = [c.source for c in nbformat.read(self.notebook, as_version=4).cells if c.cell_type == "code"]
        data = [_data(places.data_root / str(self.parameters[p])) for p in DATA if self.parameters.get(p)]
        users = [_searched(places.runs_root), _other_methods(), os.environ.get("SHUI_WEIGHTS", "")]
        return short_hash([code, self.parameters, _package(), data, users])


def short_hash(value: object) -> str:
    """Sixteen hexadecimal digits of anything that JSON can write."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _package() -> str:
    """Of all files of the package, selected settings and published constants included."""
    digest = hashlib.sha256()
    files = [path for room in ("shui_lib", "shui_workbook") for path in (ROOT / room).rglob("*")]
    for path in sorted(path for path in files if path.suffix in (".py", ".json", ".toml")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _searched(runs_root: Path) -> str:
    """The settings that searches of the user's own have chosen; "" where there were none."""
    from shui_workbook.runs.settings import OWN  # here, as below: it loads PyTorch

    own = runs_root / OWN
    return own.read_text() if own.is_file() else ""


@cache
def _other_methods() -> dict[str, str]:
    """By name, the source of every registered method that is not the library's own."""
    from shui_lib.methods import REGISTRY

    others = {name: one for name, one in REGISTRY.items() if one.__module__.split(".")[0] != "shui_lib"}
    return {name: source_of_method(one) for name, one in sorted(others.items())}


@cache
def _data(folder: Path) -> str:
    return short_hash([(folder / name).read_text() for name in ("dataset.json", "index.csv")])


def done(run: Run, places: Places) -> bool:
    """Is the run finished, with this notebook, package and data?"""
    note = places.out / run.name / "run.json"
    return note.is_file() and json.loads(note.read_text())["key"] == run.key(places)


def execute(run: Run, places: Places) -> float:
    """Do one run in its folder, on whatever worker this is; returns its seconds."""
    folder, key, started = places.out / run.name, run.key(places), time.perf_counter()
    for name in ("run.json", "rows.csv", "stages.txt"):  # of an earlier, killed or outdated run
        (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    where = {"data_root": places.data_root, "runs_root": places.runs_root, "rows_file": folder / "rows.csv"}
    takes = inspect_notebook(str(run.notebook))
    parameters = {**run.parameters, **{name: str(path) for name, path in where.items() if name in takes}}
    os.environ["SHUI_STAGES"] = str(folder / "stages.txt")
    try:
        run_notebook(run.notebook, folder / run.notebook.name, parameters)
    finally:
        del os.environ["SHUI_STAGES"]
    seconds = time.perf_counter() - started
    note = {"key": key, "notebook": run.notebook.stem, "parameters": dict(run.parameters)}
    save_json(folder / "run.json", {**note, "seconds": seconds, "stages": read_journal(folder / "stages.txt")})
    return seconds
