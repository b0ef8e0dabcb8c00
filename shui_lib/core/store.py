"""Files that are never half-written: tensors as safetensors, facts as JSON, all renamed into place."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open

if TYPE_CHECKING:
    from torch import Tensor

SOON = 10.0  # seconds of waiting for a lock after which we say so


class CorruptFile(RuntimeError):
    """A file of ours that cannot be read back."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only process that makes this file or folder; others wait here until it is done.

    The lock is held on `.NAME.lock` beside it. The system frees it when its holder dies, by kill -9 too; on several
    machines that needs a file system whose locks they share (NFS 4, or Lustre mounted with `flock`).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(f".{path.name}.lock"), poll_interval=0.1)
    try:
        lock.acquire(timeout=SOON)
    except Timeout:
        print(f"waiting for {path.name}, which another process is making", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        with suppress(PermissionError):  # of systems that keep open files
            Path(lock.lock_file).unlink(missing_ok=True)  # while it is held: whoever waits for this file sees it go
        lock.release()


def replacing(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, and rename it to `path` once that is done."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, object] | None = None) -> None:
    """Write tensors, with a note that travels in the same file."""
    from safetensors.torch import save_file  # here and below: whoever reads rows alone loads no torch

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"note": json.dumps(note or {})}
    replacing(path, lambda temporary: save_file(plain, temporary, metadata=metadata))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors back.

    Raises:
        CorruptFile: the file is truncated or no safetensors file.
    """
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        if not Path(path).exists():
            raise FileNotFoundError(f"{path} is missing: run the stage that makes it again") from error
        raise CorruptFile(f"{path} cannot be read ({error}): delete {Path(path).parent} and run again") from error


def load_note(path: Path) -> dict[str, object]:
    """The note saved beside the tensors, read without loading them."""
    with safe_open(path, framework="pt") as file:
        return json.loads((file.metadata() or {}).get("note", "{}"))


def save_text(path: Path, text: str) -> None:
    """Write text."""
    replacing(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def save_json(path: Path, value: object) -> None:
    """Write JSON that people can read."""
    save_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def save_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame as CSV without its row numbers."""
    replacing(path, lambda temporary: frame.to_csv(temporary, index=False))


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
