"""CelebA-HQ with identities: 30,000 photos of 6,217 persons, 40 attributes (CelebAMask-HQ, Lee et al., 2020).

CelebAMask-HQ/{CelebAMask-HQ-attribute-anno.txt, CelebA-HQ-identity.txt}
CelebAMask-HQ/CelebA-HQ-img/0.jpg … 29999.jpg

CelebAMask-HQ.zip itself holds no identities. They follow from its CelebA-HQ-to-CelebA-mapping.txt and CelebA's own
identity_CelebA.txt, which has to lie beside it.
"""

from pathlib import Path

import pandas as pd

from data_prep.lists import join, read_attributes, read_numbers, refuse
from data_prep.photos import keep_frequent, on_disk, photo_names, report, write
from data_prep.prepared import Description
from data_prep.raw import Download, Folder, md5, read

PHOTOS = "CelebA-HQ-img"
IDENTITIES, ATTRIBUTES = "CelebA-HQ-identity.txt", "CelebAMask-HQ-attribute-anno.txt"
MAPPING, OF_CELEBA = "CelebA-HQ-to-CelebA-mapping.txt", "identity_CelebA.txt"
EXPECTED = {"images": 30_000, "identities": 6_217}
HOME = "https://github.com/switchablenorms/CelebAMask-HQ (CelebAMask-HQ.zip)"
WHERE = f"download it from {HOME} and put it there"
WHOSE = (
    f"put CelebA's {OF_CELEBA} (http://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, folder Anno) beside the zip and pass "
    f"their folder as --raw: with {MAPPING} of CelebAMask-HQ.zip it says who is shown"
)
LICENCE = "CelebA-HQ: non-commercial research only; photos may not be published or distributed further"


def prepare(raw: Path, out: Path, *, size: int = 64, min_images: int = 1, partial: bool = False) -> Description:
    """Write CelebA-HQ in the prepared format.

    Args:
        raw: the folder with the lists and the photos, or a zip with both; photos of any size.
        size: pixels, height and width.
        min_images: keep only identities with at least this many photos.
        partial: take the photos that are there, where some are missing.
    Raises:
        DataError: anything wrong with the raw data; nothing is left at `out` then.
    """
    with Download(raw) as download:
        attributes, folder = download.need(ATTRIBUTES, PHOTOS, where=WHERE)
        identities, files = _identities(download)
        index = join(identities, read_attributes(attributes), f"{files[0]} and {ATTRIBUTES}")
        report(index, EXPECTED)
        index = on_disk(folder, index, photo_names(folder), partial=partial)
        description = Description(
            name="celebahq",
            task="multilabel",
            classes=tuple(name for name in index.columns if name not in ("image", "identity", "file")),
            size=size,
            licence=LICENCE,
            sources=md5([*files, attributes]),
            options={"min_images": min_images},
        )
        write(folder, keep_frequent(index, min_images), out, description)
    return description


def _identities(download: Download) -> tuple[pd.Series, list[Folder]]:
    """Identities by image, and the files that say them: the list of them, or the two that it follows from."""
    if (file := download.find(IDENTITIES)) is not None:
        return read_numbers(file), [file]
    if None in (both := [download.find(MAPPING), download.find(OF_CELEBA)]):
        download.need(IDENTITIES, where=WHOSE)  # raises
    return _mapped(*both), both


def _mapped(mapping: Folder, of_celeba: Folder) -> pd.Series:
    """Identities of CelebA-HQ's photos: row `7 3 000004.jpg` says that 7.jpg is CelebA's 000004.jpg.

    Raises:
        DataError: rows that are not of this kind, or name a photo that CelebA's list lacks.
    """
    people, found, bad = read_numbers(of_celeba), {}, []
    for number, line in enumerate(read(mapping).decode("utf-8-sig", errors="replace").splitlines()[1:], 2):
        fields = line.split()
        if len(fields) == 3 and fields[0].isdecimal() and fields[2] in people.index:
            found[f"{fields[0]}.jpg"] = people[fields[2]]
        elif fields:
            bad.append(f"line {number} ({line.strip()[:40]})")
    refuse(mapping, {f"that are not a number, a number and a photo of {of_celeba.name}": bad})
    return pd.Series(found, dtype="int64")
