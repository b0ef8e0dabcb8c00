"""Finding an official download, unpacked or as a zip, and reading the lists CelebA and CelebA-HQ share.

An identity list has rows `name id`. An attribute list opens with the number of rows and the attribute names,
then has rows `name ±1 ±1 …`. Windows line ends, a byte-order mark and repeated spaces are all fine.
"""

import hashlib
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NoReturn

import numpy as np
import pandas as pd

from data_prep.prepared import DataError, listed

Folder = Path | zipfile.Path  # both know `/`, iterdir, read_bytes, is_dir, is_file and name
SIGNS = {"1": 1, "-1": 0}


@contextmanager
def opened(raw: Path, name: str, files: Sequence[str]) -> Iterator[Folder]:
    """Yield the official folder `name`: in `raw`, `raw` itself, in the zip `raw`, or in a zip lying in `raw`.

    Args:
        files: what the folder must hold.
    Raises:
        DataError: no such folder, several zips that hold it, a broken zip, or missing files, all of them named.
    """
    raw = Path(raw)
    if not raw.exists():
        raise DataError(f"{raw} does not exist: --raw is the folder, or the zip, with {name}/{files[0]}")
    if raw.is_dir() and (folder := _inside(raw, name, files)) is not None:
        yield _complete(folder, files)
        return
    archive = raw if raw.is_file() else _only_zip(raw, name, files)
    try:
        with zipfile.ZipFile(archive) as content:
            folder = _inside(zipfile.Path(content), name, files)
            if folder is None:
                raise DataError(f"{archive} holds no folder {name}/ with {listed(files)}: is it the right one?")
            yield _complete(folder, files)
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive} is not a whole zip file ({error}): download it again") from error


def _inside(root: Folder, name: str, files: Sequence[str]) -> Folder | None:
    """`root/name` or `root`, whichever looks like the official folder."""
    if (root / name).is_dir():
        return root / name
    return root if any((root / file).exists() for file in files) else None


def _only_zip(raw: Path, name: str, files: Sequence[str]) -> Path:
    """The one zip in folder `raw` that holds the official folder."""
    fitting = []
    for archive in filter(zipfile.is_zipfile, sorted(raw.glob("*.zip"))):
        with zipfile.ZipFile(archive) as content:
            if _inside(zipfile.Path(content), name, files) is not None:
                fitting.append(archive)
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise DataError(f"{raw} has several zips with {name}/: {listed(fitting)}. Pass one of them as --raw")
    raise DataError(f"{raw} holds neither {name}/ nor a zip with it: expected {name}/ with {listed(files)}")


def _complete(folder: Folder, files: Sequence[str]) -> Folder:
    """`folder`, once it is known to hold all of `files`."""
    if missing := [file for file in files if not (folder / file).exists()]:
        raise DataError(f"{folder} lacks {listed(missing)}: download what is missing and put it there")
    return folder


def checksums(folder: Folder, files: Iterable[str]) -> dict[str, str]:
    """MD5 of each file."""
    return {
        file: hashlib.md5((folder / file).read_bytes(), usedforsecurity=False).hexdigest() for file in files
    }


def unsafe(path: str) -> bool:
    """Whether an image path is absolute or climbs out of its root, on any system."""
    pure = PureWindowsPath(path)  # knows both separators
    return not path or ".." in pure.parts or bool(pure.anchor) or PurePosixPath(path).is_absolute()


def read_numbers(file: Folder, highest: int | None = None) -> pd.Series:
    """A list of rows `name number` (identities, partitions).

    Returns:
        int64 (N,), indexed by image name.
    Raises:
        DataError: bad or duplicate rows, with their line numbers.
    """

    def number(fields: list[str]) -> int | None:
        good = len(fields) == 1 and fields[0].isascii() and fields[0].isdecimal()
        return int(fields[0]) if good and (highest is None or int(fields[0]) <= highest) else None

    allowed = "a number" if highest is None else f"a number from 0 to {highest}"
    names, numbers = _read_rows(file, _lines(file), 1, number, f"'image {allowed}'")
    return pd.Series(numbers, index=names, dtype=np.int64)


def read_attributes(file: Folder) -> pd.DataFrame:
    """An attribute list.

    Returns:
        uint8 (N, K), 1 where the list says 1 and 0 where it says -1, indexed by image name.
    Raises:
        DataError: a wrong head, bad or duplicate rows (with line numbers), or a count that does not fit.
    """
    lines = _lines(file)
    count, attributes = lines[0].strip(), (lines[1:2] or [""])[0].split()
    if not count.isdecimal() or not attributes or len(set(attributes)) < len(attributes):
        raise DataError(
            f"{file}: expected the number of rows in line 1 and different attribute names in line 2, "
            f"found {count[:60]!r} and {' '.join(attributes)[:60]!r}"
        )

    def signs(fields: list[str]) -> np.ndarray | None:
        row = [SIGNS.get(field) for field in fields]
        return None if len(row) != len(attributes) or None in row else np.array(row, np.uint8)

    names, rows = _read_rows(file, lines, 3, signs, f"'image' and {len(attributes)} times 1 or -1")
    if len(rows) != int(count):
        raise DataError(
            f"{file}: line 1 promises {count} rows, found {len(rows)}: the file is cut short or edited, "
            "download it again"
        )
    return pd.DataFrame(np.stack(rows), index=names, columns=attributes)


def _lines(file: Folder) -> list[str]:
    """Lines of a text file; what is no UTF-8 is kept as a mark that no valid row contains."""
    return file.read_bytes().decode("utf-8-sig", errors="replace").replace("\r\n", "\n").split("\n")


def _read_rows[T](
    file: Folder, lines: list[str], first: int, parse: Callable[[list[str]], T | None], expected: str
) -> tuple[list[str], list[T]]:
    """Image names and parsed values of all rows from line `first` on; empty lines do not count."""
    rows: dict[str, T] = {}
    bad, twice, climbing = [], [], []
    for number, line in enumerate(lines[first - 1 :], first):
        if not (fields := line.split()):
            continue
        name, value = fields[0], parse(fields[1:])
        if value is None:
            bad.append(f"line {number} ({line.strip()[:40]})")
        elif name in rows:
            twice.append(f"line {number} ({name})")
        elif unsafe(name):
            climbing.append(f"line {number} ({name})")
        else:
            rows[name] = value
    _refuse(file, {f"not {expected}": bad, "a name listed before": twice, "a path outside the image folder": climbing})
    if not rows:
        raise DataError(f"{file} has no rows, expected {expected}: download it again")
    return list(rows), list(rows.values())
