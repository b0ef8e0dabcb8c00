"""From a folder of photos to the prepared array: which are there, decode, crop, resize, write."""

import io
import os
import threading
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageOps
from tqdm import tqdm

from data_prep.prepared import DataError, Description, create_images, finish, listed, writing
from data_prep.raw import Folder

SUFFIXES = (".jpg", ".jpeg", ".png")
CHUNK = 256  # photos per task and per step of the progress bar


def photo_names(folder: Folder) -> set[str]:
    """File names of the photos in `folder`; hidden files and anything but photos do not count."""
    if not folder.is_dir():
        raise DataError(f"{folder} is missing or no folder: download the photos and put them there")
    names = (path.name for path in folder.iterdir())
    return {name for name in names if name.lower().endswith(SUFFIXES) and not name.startswith(".")}


def check_photos(folder: Folder, wanted: Sequence[str], present: set[str]) -> None:
    """The lists and the disk must agree.

    Args:
        wanted: photos named by the lists.
        present: photos on disk.
    Raises:
        DataError: photos that are only listed or only on disk, all counted.
    """
    missing, extra = sorted(set(wanted) - present), sorted(present - set(wanted))
    if missing:
        raise DataError(f"{folder} lacks {len(missing)} listed photos: {listed(missing)}. Download them again")
    if extra:
        raise DataError(
            f"{folder} has {len(extra)} photos that no list names: {listed(extra)}. Move them away, or "
            "download the lists again"
        )


def keep_frequent(index: pd.DataFrame, min_images: int) -> pd.DataFrame:
    """Rows of the identities that have at least `min_images` photos; identity numbers stay as they are.

    Raises:
        DataError: no identity has that many.
    """
    counts = index.groupby("identity")["identity"].transform("size")
    kept = index[counts >= min_images].reset_index(drop=True)
    if kept.empty:
        raise DataError(f"no identity has {min_images} photos, the most is {counts.max()}: lower --min-images")
    return kept


def report(index: pd.DataFrame, expected: dict[str, int]) -> None:
    """Print what the lists hold beside what the official download holds."""
    found = {"images": len(index), "identities": index["identity"].nunique()}
    for what, official in expected.items():
        note = "" if found[what] == official else "  <- differs from the official download"
        print(f"{what:<10} found {found[what]:>7,}   official {official:>7,}{note}", flush=True)


def write(folder: Folder, index: pd.DataFrame, out: Path, description: Description) -> None:
    """Decode the photos of `index` from `folder` and write the prepared dataset to `out`."""
    with writing(out) as partial:
        images = create_images(partial, len(index), description.size)
        decode(folder, index["image"].tolist(), images)
        images.flush()
        finish(partial, index, description)


def decode(folder: Folder, names: Sequence[str], images: np.ndarray) -> None:
    """Fill `images` with the photos `names`, in order: centre square, resized with antialiasing.

    Args:
        images: uint8 (N, size, size, 3), written in place.
    Raises:
        DataError: photos that cannot be decoded, all of them named, none skipped.
    """
    # Opening members of one zip is not guarded against threads; decoding is what takes the time.
    guard = threading.Lock() if isinstance(folder, zipfile.Path) else nullcontext()

    def fill(start: int) -> list[str]:
        broken = []
        for row, name in enumerate(names[start : start + CHUNK], start):
            try:
                with guard:
                    data = (folder / name).read_bytes()
                images[row] = _square(data, images.shape[1])
            except Exception as error:  # Pillow raises many kinds on broken files
                broken.append(f"{name} ({str(error) or type(error).__name__})")
        return broken

    broken, starts = [], range(0, len(names), CHUNK)
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for found in tqdm(pool.map(fill, starts), total=len(starts), desc="decoding", unit="chunk", disable=None):
            broken += found
    finally:
        pool.shutdown(cancel_futures=True)
    if broken:
        raise DataError(f"{folder} has {len(broken)} unreadable photos: {listed(broken)}. Download them again")


def _square(data: bytes, size: int) -> np.ndarray:
    """Decode one photo, cut its centre square and resize it: uint8 (size, size, 3)."""
    with Image.open(io.BytesIO(data)) as photo:
        photo.draft("RGB", (2 * size, 2 * size))  # lets JPEG skip detail; twice the size keeps the resize honest
        return np.asarray(ImageOps.fit(photo.convert("RGB"), (size, size), Image.Resampling.BICUBIC))
