"""CelebA: 202,599 aligned photos (178x218) of 10,177 persons, 40 attributes (Liu et al., ICCV 2015).

    celeba/{identity_CelebA.txt, list_attr_celeba.txt, list_eval_partition.txt}
    celeba/img_align_celeba/000001.jpg … 202599.jpg

The official partition is checked but not used: the workbook splits by identity.
"""

from pathlib import Path

import pandas as pd

from data_prep.lists import check_same_images, read_numbers, read_people
from data_prep.photos import check_photos, keep_frequent, photo_names, report, write
from data_prep.prepared import Description
from data_prep.raw import Folder, checksums, opened

FOLDER, PHOTOS = "celeba", "img_align_celeba"
IDENTITIES, ATTRIBUTES, PARTITION = "identity_CelebA.txt", "list_attr_celeba.txt", "list_eval_partition.txt"
LISTS = (IDENTITIES, ATTRIBUTES, PARTITION)
EXPECTED = {"images": 202_599, "identities": 10_177}
LICENCE = "CelebA: non-commercial research only; photos may not be published or distributed further"


def read_index(raw: Path) -> pd.DataFrame:
    """The lists alone, without any photo.

    Returns:
        One row per image, in the order of the attribute list: `image`, `identity`, 40 attributes (0/1).
    Raises:
        DataError: missing, broken or disagreeing lists.
    """
    with opened(raw, FOLDER, LISTS) as folder:
        return _index(folder)


def prepare(raw: Path, out: Path, *, size: int = 64, min_images: int = 1) -> Description:
    """Write CelebA in the prepared format.

    Args:
        raw: `celeba/`, the folder around it, or a zip of either.
        size: pixels, height and width; the centre square is kept.
        min_images: keep only identities with at least this many photos.
    Raises:
        DataError: anything wrong with the raw data; nothing is left at `out` then.
    """
    with opened(raw, FOLDER, (*LISTS, PHOTOS)) as folder:
        index = _index(folder)
        report(index, EXPECTED)
        check_photos(folder / PHOTOS, index["image"], photo_names(folder / PHOTOS))
        description = Description(
            name="celeba",
            task="multilabel",
            classes=tuple(index.columns[2:]),
            size=size,
            licence=LICENCE,
            sources=checksums(folder, LISTS),
            options={"min_images": min_images},
        )
        write(folder / PHOTOS, keep_frequent(index, min_images), out, description)
    return description


def _index(folder: Folder) -> pd.DataFrame:
    """Read the three lists, check that they name the same images, and join the first two."""
    index = read_people(folder, IDENTITIES, ATTRIBUTES)
    partition = read_numbers(folder / PARTITION, highest=2)
    check_same_images(index.set_index("image"), partition, f"{ATTRIBUTES} and {PARTITION} in {folder}")
    return index
