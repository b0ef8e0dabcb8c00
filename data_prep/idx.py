"""The idx format of MNIST and QMNIST: two zero bytes, type, dimensions, their sizes, then the numbers.

Whether a file is still packed (`.gz`) is seen from its first bytes; some copies are renamed when they are unpacked.
"""

import gzip
import zlib
from math import prod

import numpy as np

from data_prep.prepared import DataError
from data_prep.raw import Folder, read

TYPES = {8: np.dtype(np.uint8), 12: np.dtype(">i4")}  # the two that MNIST and QMNIST use
PACKED = b"\x1f\x8b"  # the first two bytes of every gzip file


def read_idx(file: Folder) -> np.ndarray:
    """The array of an idx file, gzipped or not: uint8 or int32, in its own dimensions.

    Raises:
        DataError: another format, a file that is cut short, or one with bytes left over.
    """
    data = read(file)
    try:
        data = gzip.decompress(data) if data.startswith(PACKED) else data
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file} cannot be unpacked ({error}): download it again") from error
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES or len(data) < (head := 4 + 4 * data[3]):
        start = data[:4].hex(" ") or "nothing"
        raise DataError(
            f"{file} starts with {start}, so it is no idx file of bytes or 32-bit numbers: download it again"
        )
    kind, shape = TYPES[data[2]], tuple(np.frombuffer(data, ">u4", data[3], offset=4).tolist())
    if (promised := head + kind.itemsize * prod(shape)) != len(data):
        raise DataError(f"{file} promises {shape} and so {promised:,} bytes, it has {len(data):,}: download it again")
    return np.frombuffer(data, kind, offset=head).reshape(shape).astype(kind.newbyteorder("="), copy=False)


def names_of(file: str) -> tuple[str, ...]:
    """What an idx file may be called: unpacked, unpacked by a program that writes a dot for the hyphen, or packed."""
    return file, file.replace("-idx", ".idx"), f"{file}.gz"
