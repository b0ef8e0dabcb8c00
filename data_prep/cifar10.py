"""CIFAR-10: 60,000 photos (32x32) of ten kinds of things (Krizhevsky, 2009), from the binary archive.

    cifar-10-binary.tar.gz, or unpacked:
    cifar-10-batches-bin/{batches.meta.txt, data_batch_1.bin … data_batch_5.bin, test_batch.bin}

A record is one byte, the class, and 3,072 of the picture: all red, all green, all blue, row by row. Nobody is named:
as in MNIST every picture is an identity of its own, training pictures are identities 0 to 49,999. The "python" archive
is refused: its files are pickles, and opening a pickle runs the code in it.
"""

import io
import tarfile
import zlib
from pathlib import Path, PurePosixPath

import numpy as np

from data_prep import pictures
from data_prep.photos import report
from data_prep.prepared import DataError, Description
from data_prep.raw import Download, md5_of, read

ARCHIVE, PICKLED = "cifar-10-binary.tar.gz", ("cifar-10-python.tar.gz", "data_batch_1")
META, TEST = "batches.meta.txt", "test_batch.bin"
BATCHES = (*(f"data_batch_{number}.bin" for number in range(1, 6)), TEST)
SIDE = 32
RECORD = 1 + 3 * SIDE**2  # bytes
EXPECTED = {"images": 60_000}
HOME = f"https://www.cs.toronto.edu/~kriz/cifar.html ({ARCHIVE})"
WHERE = f"download {ARCHIVE} from https://www.cs.toronto.edu/~kriz/cifar.html"
LICENCE = "CIFAR-10 (Krizhevsky, 2009): free for research, cite the technical report"


def prepare(raw: Path, out: Path, *, size: int = SIDE) -> Description:
    """Write CIFAR-10 in the prepared format; the label is the kind of thing.

    Args:
        raw: `cifar-10-binary.tar.gz`, its folder once unpacked, or one around either.
        size: pixels, height and width; 32 is untouched, others are resized.
    Raises:
        DataError: the pickled archive, or anything wrong with the raw data; nothing is left at `out` then.
    """
    files = _read(raw)
    classes = tuple(files[META].decode("utf-8", errors="replace").split())
    if len(set(classes)) != 10:
        raise DataError(f"{raw}: {META} names {len(set(classes))} classes, expected ten: {WHERE}")
    records = {name: _records(raw, name, files[name]) for name in BATCHES}
    train = np.concatenate([records[name] for name in BATCHES if name != TEST])
    index = pictures.by_picture({"train": train[:, 0], "test": records[TEST][:, 0]})
    report(index, EXPECTED)
    description = Description(
        name="cifar10", task="multiclass", classes=classes, size=size, licence=LICENCE, sources=md5_of(files)
    )
    planes = np.concatenate([train, records[TEST]])[:, 1:].reshape(-1, 3, SIDE, SIDE)
    pictures.write(planes.transpose(0, 2, 3, 1), index, out, description)
    return description


def _read(raw: Path) -> dict[str, bytes]:
    """Content of the batches and of the list of classes, by name."""
    with Download(raw) as download:
        if download.find(META) is not None:
            return {file.name: read(file) for file in download.need(META, *BATCHES, where=WHERE)}
        if download.find(ARCHIVE) is None and (pickled := download.find(*PICKLED)) is not None:
            raise DataError(
                f"{pickled} belongs to the Python version of CIFAR-10, whose files are pickles: opening one runs the "
                f"code in it, so this workbook opens none. Instead {WHERE}"
            )
        (archive,) = download.need(ARCHIVE, where=WHERE)
        return _unpacked(raw, read(archive))


def _unpacked(raw: Path, archive: bytes) -> dict[str, bytes]:
    """The wanted files of the archive; nothing is written to disk."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as content:
            members = {PurePosixPath(member.name).name: member for member in content if member.isfile()}
            found = {name: content.extractfile(members[name]).read() for name in (META, *BATCHES) if name in members}
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise DataError(f"{raw}: {ARCHIVE} is not whole ({error}): download it again") from error
    if missing := [name for name in (META, *BATCHES) if name not in found]:
        raise DataError(f"{raw}: {ARCHIVE} lacks {', '.join(missing)}: {WHERE}")
    return found


def _records(raw: Path, name: str, data: bytes) -> np.ndarray:
    """uint8 (N, 3073): class, then the picture."""
    if not data or len(data) % RECORD:
        raise DataError(f"{raw}: {name} has {len(data):,} bytes, expected a multiple of {RECORD:,}: download it again")
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    if records[:, 0].max() > 9:
        raise DataError(f"{raw}: {name} has classes up to {records[:, 0].max()}, expected 0 to 9: download it again")
    return records
