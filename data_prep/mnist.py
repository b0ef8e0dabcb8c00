"""MNIST: 70,000 handwritten digits (28x28), ten classes (LeCun, Cortes and Burges, 1998).

    {train,t10k}-images-idx3-ubyte[.gz]  {train,t10k}-labels-idx1-ubyte[.gz]

Nobody is named in these files. So every picture is an identity of its own, numbered in the official order: the
training pictures are identities 0 to 59,999, those of the official test follow. A request of n identities asks for n
pictures, a split by identity is one by picture. What needs several pictures of a person (a support and a forget
image) does not fit this data set: prepare `writers`, the same digits with the people who wrote them.
"""

from pathlib import Path

import numpy as np

from data_prep import pictures
from data_prep.idx import names_of, read_idx
from data_prep.photos import report
from data_prep.prepared import DataError, Description
from data_prep.raw import Download, Folder, md5

SPLITS = {"train": "train", "test": "t10k"}  # ours -> how the files are called
DIGITS = tuple("0123456789")
EXPECTED = {"images": 70_000}
HOME = "http://yann.lecun.com/exdb/mnist, the same files at https://ossci-datasets.s3.amazonaws.com/mnist"
WHERE = f"download it from {HOME} and put it there"
LICENCE = "MNIST (LeCun, Cortes, Burges), from NIST Special Databases 1 and 3: free for research"


def prepare(raw: Path, out: Path, *, size: int = pictures.PAGE) -> Description:
    """Write MNIST in the prepared format; the label is the digit.

    Args:
        raw: the folder with the four official files, packed or not, one around it, or a zip.
        size: pixels, height and width; 32 is each digit with two black pixels around it, others are resized.
    Raises:
        DataError: anything wrong with the raw data; nothing is left at `out` then.
    """
    with Download(raw) as download:
        files = {split: _files(download, name) for split, name in SPLITS.items()}
        parts = {split: (read_digits(images), read_idx(labels)) for split, (images, labels) in files.items()}
        sources = md5(file for pair in files.values() for file in pair)
    for split, (digits, labels) in parts.items():
        check_labels(files[split][1], labels, len(digits))
    index = pictures.by_picture({split: labels for split, (_, labels) in parts.items()})
    report(index, EXPECTED)
    description = Description(
        name="mnist", task="multiclass", classes=DIGITS, size=size, licence=LICENCE, sources=sources, flip=False
    )  # fmt: skip
    pictures.write(np.concatenate([digits for digits, _ in parts.values()]), index, out, description)
    return description


def read_digits(file: Folder) -> np.ndarray:
    """Digits as white on black, uint8 (N, 32, 32): two pixels of background around each."""
    digits = read_idx(file)
    if digits.dtype != np.uint8 or digits.ndim != 3 or digits.shape[1:] != (28, 28) or not len(digits):
        raise DataError(f"{file} holds {digits.dtype} {digits.shape}, expected uint8 (N, 28, 28) of digits")
    return pictures.padded(digits)


def check_labels(file: Folder, labels: np.ndarray, count: int) -> None:
    """Labels 0 to 9, one a digit; FashionMNIST and KMNIST have files of the same names, but as many of each class.

    Raises:
        DataError: other labels, or those of another data set.
    """
    if labels.shape != (count,) or labels.min() < 0 or labels.max() > 9:
        raise DataError(f"{file} holds labels {labels.shape}, expected {count} from 0 to 9, one for each picture")
    if count > 1000 and len(set(np.bincount(labels, minlength=10).tolist())) == 1:
        raise DataError(f"{file} has each class equally often, as FashionMNIST and KMNIST have; MNIST's digits do not")


def _files(download: Download, name: str) -> tuple[Folder, Folder]:
    """The official file of images and that of labels, for one split."""
    both = (names_of(f"{name}-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"))
    return tuple(download.need(*both, where=WHERE))
