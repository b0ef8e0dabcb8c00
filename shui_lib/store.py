"""Files that are never half-written: tensors as safetensors, facts as JSON, all renamed into place."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor


class CorruptFile(RuntimeError):
    """A file of ours that cannot be read back."""


def _renamed(path: Path, write) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, object] | None = None) -> None:
    """Write tensors, with a note that travels in the same file."""
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"note": json.dumps(note or {})}
    _renamed(path, lambda temporary: save_file(plain, temporary, metadata=metadata))


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read tensors back.

    Raises:
        CorruptFile: the file is truncated or no safetensors file.
    """
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
    _renamed(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def save_json(path: Path, value: object) -> None:
    """Write JSON that people can read."""
    save_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


def save_frame(path: Path, frame: pd.DataFrame) -> None:
    """Write a frame as CSV without its row numbers."""
    _renamed(path, lambda temporary: frame.to_csv(temporary, index=False))


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
