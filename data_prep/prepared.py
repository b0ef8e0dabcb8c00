"""The prepared format and its one writer: `images.npy`, `index.csv`, `dataset.json`.

    with writing(Path("data/faces")) as folder:
        images = create_images(folder, count=len(index), size=64)   # uint8 (N, 64, 64, 3)
        ...                                                         # fill it
        finish(folder, index, description)

Everything is written to a hidden sibling, `data/.faces.partial`, and renamed at the very end: an interrupted
run leaves either the older dataset or nothing, never half of one.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd

try:
    import fcntl
except ImportError:  # not a POSIX system: two runs on one folder are then not noticed
    fcntl = None

MIB = 2**20
LOCK = ".lock"
RENDERED = "faces"  # the name under which pictures are shown without being asked for: `data_prep/faces.py` draws them


class DataError(ValueError):
    """Raw data or a target folder that cannot be used; names the file, the row and the fix."""


@dataclass(frozen=True, kw_only=True)
class Description:
    """What `dataset.json` tells about a prepared dataset, besides the counts."""

    name: str  # faces | celeba | celebahq | mufac | writers | mnist | cifar10 | your own
    task: str  # multilabel (one 0/1 column per class) | multiclass (one column `label`)
    classes: tuple[str, ...]
    size: int  # pixels, height and width
    licence: str
    sources: dict[str, str]  # file -> MD5 checksum
    options: dict[str, int | str] = field(default_factory=dict)  # what was asked for: min_images, seed, ...
    flip: bool = True  # whether a picture may be mirrored in training: a face may, a digit may not

    def __post_init__(self) -> None:
        if self.task not in ("multilabel", "multiclass"):
            raise ValueError(f"task is {self.task!r}, expected 'multilabel' or 'multiclass'")
        if self.name == RENDERED and "renderer" not in self.sources:
            raise ValueError(f"name {RENDERED!r} means drawn people, whose pictures are always shown: choose another")
        columns = self.columns
        if twice := sorted({name for name in columns if columns.count(name) > 1}):
            raise ValueError(f"classes {listed(twice)}: each is a column of index.csv, beside image and identity, once")
        if not self.classes or (self.task == "multiclass" and len(self.classes) < 2):
            raise ValueError(f"{len(self.classes)} classes for task {self.task!r}: there is nothing to tell apart")

    @property
    def columns(self) -> list[str]:
        """Columns of `index.csv`, in order."""
        return ["image", "identity", *(self.classes if self.task == "multilabel" else ("label",))]


def listed(names: Iterable[object], shown: int = 20) -> str:
    """Names for a message: the first `shown`, then how many more there are."""
    names = [str(name) for name in names]
    more = f" … and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


@contextmanager
def writing(out: Path) -> Iterator[Path]:
    """Yield an empty folder that becomes `out` on success and vanishes on any failure, Ctrl-C included.

    An older prepared dataset at `out` is replaced only once the new one is complete. What killed runs left
    behind is removed first.

    Raises:
        DataError: `out` holds something else than a prepared dataset, another run is writing it, or the disk
            is full.
    """
    out = Path(out).resolve()
    _refuse_foreign(out)
    partial, old = out.with_name(f".{out.name}.partial"), out.with_name(f".{out.name}.old")
    lock = _lock(partial)
    try:
        _clean(partial, old, out)
        yield partial
        if not (partial / "dataset.json").exists():
            raise RuntimeError(f"{partial} was never finished: call finish() inside writing()")
    except BaseException as error:
        needed = sum(file.stat().st_size for file in partial.glob("*"))
        _remove(partial, lock)
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _no_space(out.parent, needed) from error
        raise
    _put_in_place(partial, old, out, lock)


def create_images(folder: Path, count: int, size: int) -> np.memmap:
    """A new `images.npy` in `folder`, uint8 (count, size, size, 3), all its disk space already reserved.

    Reserving matters: a memory-mapped file that meets a full disk later ends the process without an error.

    Raises:
        DataError: not enough space; nothing is written then.
    """
    if count < 1 or size < 1:
        raise DataError(f"{folder}: nothing to write, {count} images of {size} pixels")
    needed = count * size * size * 3
    if shutil.disk_usage(folder).free < needed:
        raise _no_space(folder.parent, needed)
    path = folder / "images.npy"
    images = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, size, size, 3))
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return images


def finish(folder: Path, index: pd.DataFrame, description: Description) -> None:
    """Check `index` against `images.npy` and write `index.csv` and `dataset.json`.

    Args:
        index: one row per image, columns as in `description.columns`: `image` (source file), `identity`
            (int from 0), then one 0/1 column per class, or `label`, a position in `description.classes`.
    Raises:
        DataError: rows, columns or values that do not fit.
    """
    shape = np.load(folder / "images.npy", mmap_mode="r").shape
    expected = (len(index), description.size, description.size, 3)
    if shape != expected:
        raise DataError(f"images.npy is {shape}, expected {expected} from the index and the size")
    if list(index.columns) != description.columns:
        raise DataError(f"index has columns {list(index.columns)}, expected {description.columns}")
    _check_values(index, description)
    index.to_csv(folder / "index.csv", index=False, lineterminator="\n", encoding="utf-8")
    counts = {"images": len(index), "identities": int(index["identity"].nunique())}
    about = asdict(description) | {"counts": counts, "images_sha256": _sha256(folder / "images.npy")}
    if about["flip"]:
        del about["flip"]  # the default is not written, so that data sets of before keep their fingerprint
    text = json.dumps(about, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / "dataset.json").write_text(text + "\n", encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_values(index: pd.DataFrame, description: Description) -> None:
    """Every image once, identities from 0 up, classes 0/1 or a label in range; bad rows are named."""
    values = index.drop(columns="image")
    if floating := [name for name in values if not pd.api.types.is_integer_dtype(values[name].dtype)]:
        raise DataError(f"index columns {listed(floating)} are not integers")
    highest = 1 if description.task == "multilabel" else len(description.classes) - 1
    targets = values.drop(columns="identity").to_numpy()
    problems = {
        "an image that is listed twice": index["image"].duplicated(keep=False).to_numpy(),
        "an empty image name": (index["image"].isna() | (index["image"] == "")).to_numpy(),
        "a negative identity": (index["identity"] < 0).to_numpy(),
        f"a target outside 0 … {highest}": ((targets < 0) | (targets > highest)).any(axis=1),
    }
    for what, bad in problems.items():
        if bad.any():
            raise DataError(f"index has {what} in rows {listed(np.flatnonzero(bad))}")


def _refuse_foreign(out: Path) -> None:
    """Never replace what this module did not write."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file, expected a folder: choose another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / "dataset.json").is_file():
        raise DataError(
            f"{out} is not empty and holds no dataset.json, so it is not a prepared dataset and will not be "
            "replaced: choose another --out, or remove it yourself"
        )


def _lock(partial: Path) -> IO[str]:
    """Make the folder `partial` and lock it: the lock is a file in it, and the system drops it with the process.

    Between opening the file and locking it another run may have finished and moved its folder away, lock and all. So
    the lock counts only where its file still lies at its place.
    """
    while True:
        partial.mkdir(parents=True, exist_ok=True)
        try:
            file = (partial / LOCK).open("w", encoding="utf-8")
        except FileNotFoundError:  # moved away since mkdir
            continue
        try:
            _acquire(file, partial)
            if _lies_at(file, partial / LOCK):
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _acquire(file: IO[str], partial: Path) -> None:
    """Take the lock of an open file, without waiting."""
    if fcntl is None:
        return
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        raise DataError(f"{partial} is being written by another run: wait for it, or stop it") from error
    except OSError:  # a file system without locks
        pass


def _lies_at(file: IO[str], path: Path) -> bool:
    """Whether an open file is the one at `path`."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    return False


def _remove(partial: Path, lock: IO[str]) -> None:
    """Remove a folder that will not be finished, and release its lock only then."""
    if fcntl is None:
        lock.close()  # on Windows an open file cannot be removed or moved
    shutil.rmtree(partial, ignore_errors=True)
    lock.close()


def _clean(partial: Path, old: Path, out: Path) -> None:
    """Remove what a killed run left; bring the older dataset back if it was killed between two renames."""
    for entry in partial.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()
    if old.exists() and not out.exists():
        old.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _put_in_place(partial: Path, old: Path, out: Path, lock: IO[str]) -> None:
    """Rename the finished folder to `out`, under its lock; the older one is kept aside until that is done."""
    if fcntl is None:
        lock.close()
    try:
        if out.exists():
            out.rename(old)
        try:
            partial.rename(out)
        except OSError:
            with suppress(OSError):
                old.rename(out)
            raise
        (out / LOCK).unlink()
        shutil.rmtree(old, ignore_errors=True)
    finally:
        lock.close()


def _no_space(folder: Path, needed: int) -> DataError:
    """The message for a full disk."""
    needed, free = max(1, -(-needed // MIB)), shutil.disk_usage(folder).free // MIB
    return DataError(
        f"no space in {folder}: about {needed} MiB are needed and {free} MiB are free. "
        "Free some, choose another --out or a smaller --size"
    )
