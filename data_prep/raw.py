"""Finding the parts of a download by their names, wherever in it they lie, and reading them.

People have the official files unpacked or as zips, in the official folder or in one of another name, split over two
zips, or one folder deeper than expected. So a loader asks for a name, and the nearest file or folder of that name is
taken: unpacked before packed. `pathlib.Path` and `zipfile.Path` share `/`, `name`, `parent` and `read_bytes`, so that
the loaders need not know which of the two they were given.
"""

import hashlib
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Self

from data_prep.prepared import DataError, listed

Folder = Path | zipfile.Path
PHOTOS = (".jpg", ".jpeg", ".png")
DEPTH = 4  # folders below `raw` that are looked into
CLIMBING = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.([/\\]|$)")  # /x, C:\x, ../x, a/../x
COMPRESSED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)  # what zipfile unpacks
LARGEST = 2**30  # bytes of a list or a photo; a zip can hold more than the memory does
ENCRYPTED = 0x1  # bit of a member's flags
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError, RuntimeError, OSError)


class Entry(NamedTuple):
    """A file, or a folder that holds photos."""

    packed: bool
    depth: int
    path: Folder


class Download:
    """What lies in `raw`, a folder, a zip or a single file: its files by name, and its folders of photos by name."""

    def __init__(self, raw: Path) -> None:
        self.raw, self._open = Path(raw), ExitStack()
        self._entries: dict[str, list[Entry]] = {}
        self._closed: list[str] = []  # zips that cannot be looked into, and why
        if not self.raw.exists():
            raise DataError(f"{self.raw} does not exist: --raw is the folder, or the zip, of the download")
        if self.raw.is_dir():
            self._walk()
        elif self.raw.suffix.lower() == ".zip" or zipfile.is_zipfile(self.raw):
            self._look_into(self.raw, depth=0)
        else:
            self._note(self.raw, depth=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def find(self, *names: str) -> Folder | None:
        """The nearest file, or folder with photos, called by the first of `names` that is there; None if none is.

        Raises:
            DataError: two are equally near.
        """
        entries = next((self._entries[name] for name in names if name in self._entries), None)
        if entries is None:
            return None
        nearest = min(entry[:2] for entry in entries)
        paths = [entry.path for entry in entries if entry[:2] == nearest]
        if len(paths) > 1:
            raise DataError(f"{self.raw} holds several {paths[0].name}: pass one of these as --raw: {_places(paths)}")
        return paths[0]

    def need(self, *wanted: str | tuple[str, ...], where: str) -> list[Folder]:
        """As `find`, for everything that a data set cannot do without.

        Args:
            wanted: a name each, or several that one thing may have.
            where: how to come by it, for the message.
        Raises:
            DataError: some of it is not there, or not once.
        """
        several = [(names,) if isinstance(names, str) else names for names in wanted]
        found = [self.find(*names) for names in several]
        if missing := [names[0] for names, path in zip(several, found, strict=True) if path is None]:
            closed = "".join(f". Not looked into: {reason}" for reason in self._closed)
            raise DataError(f"{self.raw} lacks {listed(missing)}: {where}{closed}")
        return found

    def _walk(self) -> None:
        """Note what lies in the folder `raw` and in its zips; hidden folders are left alone."""
        for place, folders, files in os.walk(self.raw, followlinks=True):
            depth = len(Path(place).relative_to(self.raw).parts)
            folders[:] = sorted(name for name in folders if depth < DEPTH and not _hidden(name))
            self._note_all(Path(place), sorted(files), depth)

    def _note_all(self, place: Path, files: list[str], depth: int) -> None:
        if any(is_photo(name) for name in files):
            self._note(place, depth)
        for name in files:
            if name.lower().endswith(".zip"):
                self._look_into(place / name, depth + 1)
            elif not is_photo(name):
                self._note(place / name, depth + 1)

    def _look_into(self, archive: Path, depth: int) -> None:
        """Note what lies in a zip; one that cannot be read is an error only if it is all there is."""
        try:
            content = self._open.enter_context(open_zip(archive))
        except DataError as error:
            if archive == self.raw:
                raise
            self._closed.append(str(error))
            return
        folders = set()
        for name in sorted(content.namelist()):
            path = PurePosixPath(name)
            if name.endswith("/") or any(map(_hidden, path.parts)):
                continue
            if name.lower().endswith(".zip"):
                self._closed.append(f"{name} in {archive}, a zip in a zip: unpack the outer one")
            elif not is_photo(name):
                self._note(zipfile.Path(content, name), depth + len(path.parts), packed=True)
            elif path.parent not in folders:
                folders.add(path.parent)
                at = "" if path.parent == PurePosixPath() else f"{path.parent}/"
                self._note(zipfile.Path(content, at), depth + len(path.parts) - 1, packed=True)

    def _note(self, path: Folder, depth: int, *, packed: bool = False) -> None:
        name = path.name.removesuffix(".zip")  # a zip without folders stands for the folder it is called by
        self._entries.setdefault(name, []).append(Entry(packed, depth, path))


def is_photo(name: str) -> bool:
    """Whether a file is a photo by its name; hidden ones do not count."""
    return name.lower().endswith(PHOTOS) and not PurePosixPath(name).name.startswith(".")


def climbs(path: str) -> bool:
    """Whether an image path is absolute or leaves its root, on any system."""
    return CLIMBING.search(path) is not None


def open_zip(archive: Path) -> zipfile.ZipFile:
    """Open a zip whose members can be read.

    Raises:
        DataError: it is cut short or no zip, encrypted, or packed in a way that Python does not know.
    """
    try:
        content = zipfile.ZipFile(archive)
    except DAMAGED as error:
        raise DataError(f"{archive} is not a whole zip file ({error}): download it again") from error
    unpack = "unpack it with the program that made it, and pass the folder as --raw"
    for member in content.infolist():
        if member.flag_bits & ENCRYPTED:
            reason = f"{archive} is encrypted ({member.filename}): {unpack}"
        elif member.compress_type not in COMPRESSED:
            reason = f"{archive} is packed with method {member.compress_type} ({member.filename}), such as Deflate64"
            reason += f", which Python cannot unpack: {unpack}"
        else:
            continue
        content.close()
        raise DataError(reason)
    return content


def read(file: Folder) -> bytes:
    """The content of a file, on disk or in a zip; whatever a zip may say is told in one way.

    Raises:
        DataError: a member of a zip that is damaged, or larger than `LARGEST`.
    """
    if isinstance(file, Path):
        return file.read_bytes()
    if (size := file.root.getinfo(file.at).file_size) > LARGEST:
        raise DataError(f"{file} is {size / 2**20:,.0f} MiB once unpacked, and no list or photo is: look at the zip")
    try:
        return file.read_bytes()
    except DAMAGED as error:
        raise DataError(f"{file} is damaged in its zip ({error}): download the zip again") from error


def md5(files: Iterable[Folder]) -> dict[str, str]:
    """MD5 of each file, by its name."""
    return md5_of({file.name: read(file) for file in files})


def md5_of(contents: Mapping[str, bytes]) -> dict[str, str]:
    """MD5 of each content, by its name."""
    return {name: hashlib.md5(data, usedforsecurity=False).hexdigest() for name, data in contents.items()}


def _hidden(name: str) -> bool:
    return name.startswith((".", "__MACOSX"))


def _places(paths: list[Folder]) -> str:
    """Where files lie, for a message: the zips that hold them, or their folders."""
    return listed(path.root.filename if isinstance(path, zipfile.Path) else path.parent for path in paths)
