"""MUFAC: 13,068 photos (128x128) of 1,216 persons from Korean families, 8 age classes (Choi & Na, 2023).

    mufac/{custom_train_dataset,custom_val_dataset,custom_test_dataset}.csv
        family_id,person_id,age_class,image_path
    mufac/{train_images,val_images,test_images}/

The three csv files are pooled, because the workbook splits by identity. A person is (family_id, person_id).
The age is the letter in `age_class`; the number in a file name is not the age.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pandas as pd

from data_prep.lists import refuse
from data_prep.photos import check_photos, keep_frequent, photo_names, report, write
from data_prep.prepared import DataError, Description, listed
from data_prep.raw import Folder, checksums, climbs, opened

FOLDER = "mufac"
LISTS = {f"custom_{split}_dataset.csv": f"{split}_images" for split in ("train", "val", "test")}  # csv -> photos
COLUMNS = ("family_id", "person_id", "age_class", "image_path")
LETTERS = tuple("abcdefgh")
AGES = ("0-6", "7-12", "13-19", "20-30", "31-45", "46-55", "56-66", "67-80")  # years, classes a to h
EXPECTED = {"images": 13_068, "identities": 1_216}
LICENCE = "MUFAC, from the Korean Family dataset of AI-Hub: research only; photos may not be distributed further"


def prepare(raw: Path, out: Path, *, size: int = 64, min_images: int = 1) -> Description:
    """Write MUFAC in the prepared format.

    Args:
        raw: `mufac/`, the folder around it, or a zip of either.
        size: pixels, height and width.
        min_images: keep only identities with at least this many photos.
    Raises:
        DataError: anything wrong with the raw data; nothing is left at `out` then.
    """
    with opened(raw, FOLDER, (*LISTS, *LISTS.values())) as folder:
        present = {f"{sub}/{name}" for sub in LISTS.values() for name in photo_names(folder / sub)}
        index = _index(folder)
        report(index, EXPECTED)
        check_photos(folder, index["image"], present)
        description = Description(
            name="mufac",
            task="multiclass",
            classes=AGES,
            size=size,
            licence=LICENCE,
            sources=checksums(folder, LISTS),
            options={"min_images": min_images},
        )
        write(folder, keep_frequent(index, min_images), out, description)
    return description


def _index(folder: Folder) -> pd.DataFrame:
    """Read and pool the three csv files: columns `image` (with its folder), `identity`, `label` (0 to 7)."""
    rows: dict[str, dict[str, str]] = {}
    bad, letters, climbing, repeated = [], [], [], []
    for file, photos in LISTS.items():
        for number, row in _rows(folder / file):
            where = f"{file} line {number} ({','.join(row.values())[:40]})"
            if not all(row.values()):
                bad.append(where)
            elif row["age_class"] not in LETTERS:
                letters.append(where)
            elif climbs(row["image_path"]):
                climbing.append(where)
            elif (image := _resolve(row["image_path"], photos)) in rows:
                repeated.append(where)
            else:
                rows[image] = row
    problems = {f"that are not {','.join(COLUMNS)}": bad, "with an age_class outside a-h": letters}
    refuse(folder, problems | {"that leave the image folder": climbing, "that repeat an image": repeated})
    if not rows:
        raise DataError(f"{folder} has no rows in {listed(LISTS)}: download them again")
    table = pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)
    people = table.groupby(["family_id", "person_id"], sort=True).ngroup()
    index = pd.DataFrame({"identity": people, "label": table["age_class"].map(LETTERS.index)})
    return index.rename_axis("image").reset_index()


def _rows(file: Folder) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and row of a csv file; what a row lacks, or a row with too many fields, is left empty."""
    text = file.read_bytes().decode("utf-8-sig", errors="replace")
    reader = csv.DictReader(io.StringIO(text, newline=""), skipinitialspace=True, restval="")
    if lacking := set(COLUMNS) - set(reader.fieldnames or ()):
        raise DataError(
            f"{file}: columns {sorted(lacking)} are missing in line 1, found {reader.fieldnames}: expected "
            f"{','.join(COLUMNS)}"
        )
    try:
        for row in reader:
            yield reader.line_num, {name: "" if None in row else row[name].strip() for name in COLUMNS}
    except csv.Error as error:
        raise DataError(f"{file} after line {reader.line_num}: {error}. Download the file again") from error


def _resolve(path: str, photos: str) -> str:
    """The photo a row means: in the folder `image_path` names, or in the csv's own if it names none."""
    photo = PurePosixPath(path)
    return f"{photo.parent.name if photo.parent.name in LISTS.values() else photos}/{photo.name}"
