"""MNIST by writer: 70,000 digits (28x28) of 836 people, from QMNIST's extended labels (Yadav and Bottou, 2019).

    qmnist-{train,test}-labels-idx2-int[.gz]
    {train,t10k}-images-idx3-ubyte[.gz], MNIST's own, or qmnist-{train,test}-images-idx3-ubyte[.gz]

A row of the extended labels: class, partition of NIST's collection, writer, place among the writer's digits, NIST's
code of the class, place in NIST's collection, and two that are 0. The identity is the writer. Two tasks: which digit
it is, or which role its writer had: students wrote partition 4, employees of the Census Bureau all others. Nobody
stands on both sides of the official split, so its two parts are pooled: the workbook splits by identity.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from data_prep import mnist, pictures
from data_prep.idx import names_of, read_idx
from data_prep.mnist import DIGITS, check_labels, read_digits
from data_prep.photos import keep_frequent, report
from data_prep.prepared import DataError, Description
from data_prep.raw import Download, Folder, md5

SPLITS = {"train": "train", "test": "t10k"}  # QMNIST's name -> MNIST's name of the same split
TASKS = {"digit": DIGITS, "role": ("employee", "student")}
CLASS, PARTITION, WRITER, COLUMNS = 0, 1, 2, 8
STUDENTS = 4  # their partition, hsf_4
EXPECTED = {"images": 70_000, "identities": 836}
HOME = f"https://github.com/facebookresearch/qmnist; MNIST's images: {mnist.HOME}"
WHERE = f"download it from {HOME} and put it there"
LICENCE = "digits of MNIST (NIST Special Database 19); labels of QMNIST, BSD-style licence (Facebook, Inc.)"


def prepare(
    raw: Path, out: Path, *, size: int = pictures.PAGE, min_images: int = 1, task: str = "digit"
) -> Description:
    """Write the digits with their writers in the prepared format.

    Args:
        raw: the folder with the official files, packed or not, one around it, or a zip.
        size: pixels, height and width; 32 is each digit with two black pixels around it, others are resized.
        min_images: keep only writers with at least this many digits.
        task: "digit", ten classes, or "role", employee or student.
    Raises:
        DataError: anything wrong with the raw data; nothing is left at `out` then.
    """
    if task not in TASKS:
        raise DataError(f"unknown task {task!r}: use {' or '.join(TASKS)}")
    with Download(raw) as download:
        parts = [_split(download, *names) for names in SPLITS.items()]
    digits, rows, sources = zip(*parts, strict=True)
    index = pd.concat(
        [_index(split, table, task) for split, table in zip(SPLITS, rows, strict=True)], ignore_index=True
    )
    report(index, EXPECTED)
    description = Description(
        name="writers", task="multiclass", classes=TASKS[task], size=size, licence=LICENCE, flip=False,
        sources=sources[0] | sources[1], options={"min_images": min_images, "task": task},
    )  # fmt: skip
    kept = keep_frequent(index.reset_index(names="row"), min_images)
    pictures.write(np.concatenate(digits)[kept.pop("row")], kept, out, description)
    return description


def _split(download: Download, name: str, of_mnist: str) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """Digits uint8 (N, 32, 32), their rows int (N, 8), and checksums; N is the number of images at hand.

    QMNIST labels 60,000 digits of the test part, MNIST holds the first 10,000 of them.
    """
    images = names_of(f"{of_mnist}-images-idx3-ubyte") + names_of(f"qmnist-{name}-images-idx3-ubyte")
    files = download.need(names_of(f"qmnist-{name}-labels-idx2-int"), images, where=WHERE)
    digits, rows = read_digits(files[1]), read_idx(files[0])
    _check_rows(files[0], rows, len(digits))
    rows = rows[: len(digits)]
    if (plain := download.find(*names_of(f"{of_mnist}-labels-idx1-ubyte"))) is not None:
        _check_same(files[0], rows, plain)
    return digits, rows, md5(files)


def _check_rows(file: Folder, rows: np.ndarray, count: int) -> None:
    """Eight columns, a row for every image, and one role for each writer."""
    if rows.ndim != 2 or rows.shape[1] != COLUMNS or len(rows) < count:
        raise DataError(f"{file} holds {rows.shape}, expected at least {count} rows of {COLUMNS} for as many images")
    check_labels(file, rows[:count, CLASS], count)
    roles = pd.Series(rows[:, PARTITION] == STUDENTS).groupby(rows[:, WRITER]).nunique()
    if (roles > 1).any() or rows[:, WRITER].min() < 0:
        raise DataError(f"{file} has writers that are both employee and student, or below 0: download it again")


def _check_same(file: Folder, rows: np.ndarray, plain: Folder) -> None:
    """MNIST's own labels, where they are at hand, must say the same of every image."""
    labels = read_idx(plain)[: len(rows)]
    differ = len(rows) if len(labels) != len(rows) else int((labels != rows[:, CLASS]).sum())
    if differ:
        raise DataError(f"{file} and {plain} differ in {differ} labels of {len(rows)}: download both again")


def _index(split: str, rows: np.ndarray, task: str) -> pd.DataFrame:
    """One row a digit: `image`, `identity` (QMNIST's number of the writer), `label`."""
    labels = rows[:, CLASS] if task == "digit" else rows[:, PARTITION] == STUDENTS
    columns = {"image": pictures.numbered(split, len(rows)), "identity": rows[:, WRITER], "label": labels}
    return pd.DataFrame(columns).astype({"identity": np.int64, "label": np.int64})
