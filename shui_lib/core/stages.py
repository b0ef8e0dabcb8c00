"""Load or compute: each stage of an experiment is a folder, named after everything that it depends on."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

from shui_lib.core.store import CorruptFile, checksum, locked, save_json

FORMAT = 3  # raise it when the files of a stage change; the code that makes their numbers is hashed (core/source.py)


@dataclass(frozen=True)
class Stage:
    """A finished folder and its lineage: what made it, from which parents, with which configuration."""

    folder: Path
    lineage: Mapping[str, object]

    @property
    def key(self) -> str:
        """Twelve hexadecimal digits, the same for the same configuration and parents."""
        return str(self.lineage["key"])

    def file(self, name: str) -> Path:
        """Path of one of the stage's files, its content checked against the lineage.

        Raises:
            CorruptFile: the file is missing or was changed after it was written.
        """
        path = self.folder / name
        expected = self.lineage["files"].get(name)
        if expected is None or not path.is_file() or checksum(path) != expected:
            raise CorruptFile(f"{path} is missing or damaged: delete {self.folder} and run again, it will be made anew")
        return path


def stage_key(kind: str, facts: Mapping[str, object], parents: Mapping[str, Stage]) -> str:
    """The key of a stage: a hash over its kind, its facts, its parents' keys and the format's number."""
    everything = [FORMAT, kind, facts, {role: parent.key for role, parent in parents.items()}]
    return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:12]


def open_stage(folder: Path) -> Stage:
    """A finished stage.

    Raises:
        FileNotFoundError: no finished stage is there.
        CorruptFile: its lineage is missing or cannot be read.
    """
    path = Path(folder) / "lineage.json"
    if Path(folder).is_dir() and not path.exists():
        raise CorruptFile(f"{path} is missing: delete {folder} and run again")
    if not path.is_file():
        raise FileNotFoundError(f"{folder} holds no finished stage (no lineage.json): run the experiment that makes it")
    try:
        return Stage(Path(folder), _lineage(path, path.stat().st_mtime_ns))
    except ValueError as error:  # no JSON, or no text at all
        raise CorruptFile(f"{path} cannot be read ({error}): delete {folder} and run again") from error


@lru_cache(maxsize=4096)
def _lineage(path: Path, changed: int) -> Mapping[str, object]:
    """Read once in a process, and again if the file has changed since: a chain opens its stages many times."""
    return MappingProxyType(json.loads(path.read_text()))


def load_or_compute(
    root: Path,
    kind: str,
    facts: Mapping[str, object],
    compute: Callable[[Path], Mapping[str, object] | None],
    *,
    parents: Mapping[str, Stage] | None = None,
) -> Stage:
    """Open the stage if it is there, else compute it; of several processes that need it, one does and the others wait.

    Args:
        compute: fills the folder it is given, and may return facts measured on the way. It may find files of an
            earlier, killed run there, named `*.checkpoint`, and go on from them; they are removed at the end.
        parents: the stages this one is made from, by role.
    """
    parents = parents or {}
    key = stage_key(kind, facts, parents)
    folder = Path(root) / f"{kind}-{key}"
    if folder.is_dir():
        return _used(open_stage(folder), made=False)
    with locked(folder):
        if folder.is_dir():
            return _used(open_stage(folder), made=False)
        about = {"kind": kind, "key": key, "facts": facts}
        about["parents"] = {role: parent.folder.name for role, parent in parents.items()}
        return _used(_computed(folder, about, compute), made=True)


def _computed(
    folder: Path, about: Mapping[str, object], compute: Callable[[Path], Mapping[str, object] | None]
) -> Stage:
    partial = folder.with_name(f".{folder.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    resumed = any(partial.glob("*.checkpoint"))
    started = time.perf_counter()
    measured = compute(partial) or {}
    seconds = None if resumed else round(time.perf_counter() - started, 3)  # of a resumed stage it would be a part
    for leftover in [*partial.glob("*.checkpoint"), *partial.glob(".*.tmp")]:  # .tmp: killed while it was written
        leftover.unlink()
    files = {path.name: checksum(path) for path in sorted(partial.iterdir())}
    save_json(partial / "lineage.json", {**about, "files": files, "measured": {"seconds": seconds, **measured}})
    partial.rename(folder)
    return open_stage(folder)


def _used(stage: Stage, *, made: bool) -> Stage:
    """The stage, noted in the file that SHUI_STAGES names: a sweep reads there what a run cost."""
    if journal := os.environ.get("SHUI_STAGES"):
        with Path(journal).open("a") as file:
            file.write(f"{'made' if made else 'found'} {stage.folder.resolve()}\n")
    return stage
