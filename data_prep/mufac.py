"""MUFAC: 13,068 photos (128x128) of 1,216 persons from Korean families, 8 age classes (Choi & Na, 2023).

    mufac/{custom_train_dataset,custom_val_dataset,custom_test_dataset}.csv
        family_id,person_id,age_class,image_path
    mufac/{train_images,val_images,test_images}/

The download calls its folder custom_korean_family_dataset_resolution_128; any name will do. The three csv files are
pooled, because the workbook splits by identity. A person is (family_id, person_id); many stand in it under several
families, with the same photos: `python -m data_prep.audit --merge` joins them.
The age is the letter in `age_class`; the number in a file name is not the age.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pandas as pd

from data_prep.lists import refuse
from data_prep.photos import keep_frequent, on_disk, photo_names, report, write
from data_prep.prepared import DataError, Description, listed
from data_prep.raw import Download, Folder, climbs, md5, read

LISTS = {f"custom_{split}_dataset.csv": f"{split}_images" for split in ("train", "val", "test")}  # csv -> photos
COLUMNS = ("family_id", "person_id", "age_class", "image_path")
LETTERS = tuple("abcdefgh")
AGES = ("0-6", "7-12", "13-19", "20-30", "31-45", "46-55", "56-66", "67-80")  # years, classes a to h
EXPECTED = {"images": 13_068, "identities": 1_216}
HOME = "https://github.com/ndb796/MachineUnlearning (custom_korean_family_dataset_resolution_128)"
WHERE = f"download it from {HOME} and put it there"
LICENCE = "MUFAC, from the Korean Family dataset of AI-Hub: research only; photos may not be distributed further"


def prepare(raw: Path, out: Path, *, size: int = 64, min_images: int = 1, partial: bool = False) -> Description:
    """Write MUFAC in the prepared format.

    Args:
        raw: the folder with the three csv files and their folders of photos, or a zip; it may lie deeper.
        size: pixels, height and width.
        min_images: keep only identities with at least this many photos.
        partial: take the photos that are there, where some are missing.
    Raises:
        DataError: anything wrong with the raw data; nothing is left at `out` then.
    """
    with Download(raw) as download:
        lists = download.need(*LISTS, where=WHERE)
        folder = lists[0].parent
        present = {f"{sub}/{name}" for sub in LISTS.values() for name in photo_names(folder / sub)}
        index = _index(lists)
        report(index, EXPECTED)
        index = on_disk(folder, index, present, partial=partial)
        description = Description(
            name="mufac",
            task="multiclass",
            classes=AGES,
            size=size,
            licence=LICENCE,
            sources=md5(lists),
            options={"min_images": min_images},
        )
        write(folder, keep_frequent(index, min_images), out, description)
    return description


def _index(lists: list[Folder]) -> pd.DataFrame:
    """Read and pool the three csv files: columns `image` (with its folder), `identity`, `label` (0 to 7)."""
    rows: dict[str, dict[str, str]] = {}
    bad, letters, climbing, repeated = [], [], [], []
    for file, photos in zip(lists, LISTS.values(), strict=True):
        for number, row in _rows(file):
            where = f"{file.name} line {number} ({','.join(row.values())[:40]})"
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
    refuse(lists[0].parent, problems | {"that leave the image folder": climbing, "that repeat an image": repeated})
    if not rows:
        raise DataError(f"{lists[0].parent} has no rows in {listed(LISTS)}: download them again")
    table = pd.DataFrame.from_dict(rows, orient="index", columns=COLUMNS)
    people = table.groupby(["family_id", "person_id"], sort=True).ngroup()
    index = pd.DataFrame({"identity": people, "label": table["age_class"].map(LETTERS.index)})
    return index.rename_axis("image").reset_index()


def _rows(file: Folder) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and row of a csv file; what a row lacks, or a row with too many fields, is left empty."""
    text = read(file).decode("utf-8-sig", errors="replace")
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
    photo = PurePosixPath(path.replace("\\", "/"))
    return f"{photo.parent.name if photo.parent.name in LISTS.values() else photos}/{photo.name}"
