"""CelebA: 202,599 aligned photos (178x218) of 10,177 persons, 40 attributes (Liu et al., ICCV 2015).

    celeba/{identity_CelebA.txt, list_attr_celeba.txt, list_eval_partition.txt}
    celeba/img_align_celeba/000001.jpg … 202599.jpg

Or as Google Drive gives it (Anno, Eval, Img/img_align_celeba.zip), as torchvision leaves it (the zip still packed), or
as Kaggle has it (lists as .csv, the folder of photos doubled, and no identities: they come from Drive's Anno). The
official partition is checked but not used: the workbook splits by identity.
"""

from pathlib import Path

import pandas as pd

from data_prep.lists import check_same_images, read_numbers, read_people
from data_prep.photos import keep_frequent, on_disk, photo_names, report, write
from data_prep.prepared import Description
from data_prep.raw import Download, Folder, md5

PHOTOS = "img_align_celeba"
LISTS = (
    ("identity_CelebA.txt", "identity_CelebA.csv"),
    ("list_attr_celeba.txt", "list_attr_celeba.csv"),
    ("list_eval_partition.txt", "list_eval_partition.csv"),
)  # official, or made a table
EXPECTED = {"images": 202_599, "identities": 10_177}
HOME = "http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html (Google Drive: Anno, Eval and Img/img_align_celeba.zip)"
WHERE = f"download it from {HOME} and put it there"
LICENCE = "CelebA: non-commercial research only; photos may not be published or distributed further"


def read_index(raw: Path) -> pd.DataFrame:
    """The lists alone, without any photo.

    Returns:
        One row per image, in the order of the attribute list: `image`, `identity`, 40 attributes (0/1).
    Raises:
        DataError: missing, broken or disagreeing lists.
    """
    with Download(raw) as download:
        return _index(download.need(*LISTS, where=WHERE))


def prepare(
    raw: Path, out: Path, *, size: int = 64, min_images: int = 1, partial: bool = False, squash: bool = False
) -> Description:
    """Write CelebA in the prepared format.

    Args:
        raw: the folder with the lists and the photos, or a zip with both; either may lie deeper in it.
        size: pixels, height and width; the centre square is kept.
        squash: the whole photo instead, made as wide as high, as the benchmark's authors do.
        min_images: keep only identities with at least this many photos.
        partial: take the photos that are there, where some are missing.
    Raises:
        DataError: anything wrong with the raw data; nothing is left at `out` then.
    """
    with Download(raw) as download:
        *lists, folder = download.need(*LISTS, PHOTOS, where=WHERE)
        index = _index(lists)
        report(index, EXPECTED)
        index = on_disk(folder, index, photo_names(folder), partial=partial)
        description = Description(
            name="celeba",
            task="multilabel",
            classes=tuple(name for name in index.columns if name not in ("image", "identity", "file")),
            size=size,
            licence=LICENCE,
            sources=md5(lists),
            options={"min_images": min_images} | ({"squash": True} if squash else {}),
        )
        write(folder, keep_frequent(index, min_images), out, description)
    return description


def _index(lists: list[Folder]) -> pd.DataFrame:
    """Read the three lists, check that they name the same images, and join the first two."""
    identities, attributes, partition = lists
    index = read_people(identities, attributes)
    parts = read_numbers(partition, highest=2)
    check_same_images(index.set_index("image"), parts, f"{attributes} and {partition.name}")
    return index
