"""Finding an official download: a folder, the folder around it, a zip, or the folder around the zip.

Zips are read in place. `pathlib.Path` and `zipfile.Path` share `/`, `iterdir`, `read_bytes` and `is_dir`, so
that the loaders need not know which of the two they were given.
"""

import hashlib
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from data_prep.prepared import DataError, listed

Folder = Path | zipfile.Path
CLIMBING = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)")  # /x, C:\x, ../x, a/../x


@contextmanager
def opened(raw: Path, name: str, files: Sequence[str]) -> Iterator[Folder]:
    """Yield the official folder `name`: in `raw`, `raw` itself, in the zip `raw`, or in a zip lying in `raw`.

    Args:
        files: what the folder must hold.
    Raises:
        DataError: no such folder, several zips that hold it, a broken zip, or missing files, all named.
    """
    raw = Path(raw)
    if not raw.exists():
        raise DataError(f"{raw} does not exist: --raw is the folder, or the zip, with {name}/{files[0]}")
    if raw.is_dir() and (folder := _inside(raw, name, files)) is not None:
        yield _complete(folder, files)
        return
    archive = raw if raw.is_file() else _only_zip(raw, name, files)
    try:
        content = zipfile.ZipFile(archive)
    except zipfile.BadZipFile as error:
        raise DataError(f"{archive} is not a whole zip file ({error}): download it again") from error
    with content:
        folder = _inside(zipfile.Path(content), name, files)
        if folder is None:
            raise DataError(f"{archive} holds no {name}/ with {listed(files)}: is it the right zip?")
        yield _complete(folder, files)


def climbs(path: str) -> bool:
    """Whether an image path is absolute or leaves its root, on any system."""
    return CLIMBING.search(path) is not None


def checksums(folder: Folder, files: Iterable[str]) -> dict[str, str]:
    """MD5 of each file in `folder`."""
    content = {file: (folder / file).read_bytes() for file in files}
    return {file: hashlib.md5(data, usedforsecurity=False).hexdigest() for file, data in content.items()}


def _inside(root: Folder, name: str, files: Sequence[str]) -> Folder | None:
    """`root/name` or `root`, whichever looks like the official folder."""
    if (root / name).is_dir():
        return root / name
    return root if any((root / file).exists() for file in files) else None


def _complete(folder: Folder, files: Sequence[str]) -> Folder:
    """`folder`, once it is known to hold all of `files`."""
    if missing := [file for file in files if not (folder / file).exists()]:
        raise DataError(f"{folder} lacks {listed(missing)}: download what is missing and put it there")
    return folder


def _only_zip(raw: Path, name: str, files: Sequence[str]) -> Path:
    """The one zip in folder `raw` that holds the official folder."""
    fitting = []
    for archive in filter(zipfile.is_zipfile, sorted(raw.glob("*.zip"))):
        with zipfile.ZipFile(archive) as content:
            if _inside(zipfile.Path(content), name, files) is not None:
                fitting.append(archive)
    if len(fitting) > 1:
        raise DataError(f"{raw} has several zips with {name}/: pass one of {listed(fitting)} as --raw")
    if not fitting:
        raise DataError(f"{raw} holds neither {name}/ nor a zip with it: expected {name}/ with {listed(files)}")
    return fitting[0]
