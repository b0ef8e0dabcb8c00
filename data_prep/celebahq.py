"""CelebA-HQ with identities: 30,000 photos of 6,217 persons, 40 attributes (CelebAMask-HQ, Lee et al., 2020).

CelebAMask-HQ/{CelebAMask-HQ-attribute-anno.txt, CelebA-HQ-identity.txt}
CelebAMask-HQ/CelebA-HQ-img/0.jpg … 29999.jpg
"""

from pathlib import Path

from data_prep.lists import read_people
from data_prep.photos import check_photos, keep_frequent, photo_names, report, write
from data_prep.prepared import Description
from data_prep.raw import checksums, opened

FOLDER, PHOTOS = "CelebAMask-HQ", "CelebA-HQ-img"
IDENTITIES, ATTRIBUTES = "CelebA-HQ-identity.txt", "CelebAMask-HQ-attribute-anno.txt"
LISTS = (IDENTITIES, ATTRIBUTES)
EXPECTED = {"images": 30_000, "identities": 6_217}
LICENCE = "CelebA-HQ: non-commercial research only; photos may not be published or distributed further"


def prepare(raw: Path, out: Path, *, size: int = 64, min_images: int = 1) -> Description:
    """Write CelebA-HQ in the prepared format.

    Args:
        raw: `CelebAMask-HQ/`, the folder around it, or a zip of either; photos of any size.
        size: pixels, height and width.
        min_images: keep only identities with at least this many photos.
    Raises:
        DataError: anything wrong with the raw data; nothing is left at `out` then.
    """
    with opened(raw, FOLDER, (*LISTS, PHOTOS)) as folder:
        index = read_people(folder, IDENTITIES, ATTRIBUTES)
        report(index, EXPECTED)
        check_photos(folder / PHOTOS, index["image"], photo_names(folder / PHOTOS))
        description = Description(
            name="celebahq",
            task="multilabel",
            classes=tuple(index.columns[2:]),
            size=size,
            licence=LICENCE,
            sources=checksums(folder, LISTS),
            options={"min_images": min_images},
        )
        write(folder / PHOTOS, keep_frequent(index, min_images), out, description)
    return description
