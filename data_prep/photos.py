"""From a folder of photos to the prepared array: which are there, decode, crop, resize, write."""

import io
import os
import struct
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
from data_prep.raw import Folder, is_photo, read

DEEPEST = 2**16 - 1  # white in 16 bits
CHUNK = 256  # photos per task and per step of the progress bar


def photo_names(folder: Folder) -> set[str]:
    """File names of the photos in `folder`; hidden files and anything but photos do not count."""
    if not folder.is_dir():
        raise DataError(f"{folder} is missing or no folder: download the photos and put them there")
    return {path.name for path in folder.iterdir() if is_photo(path.name)}


def on_disk(folder: Folder, index: pd.DataFrame, present: set[str], *, partial: bool = False) -> pd.DataFrame:
    """The rows of `index` with a column `file`, the photo's name on disk; .JPG passes for .jpg.

    Args:
        index: photos named by the lists, column `image`.
        present: photos on disk.
        partial: leave out rows whose photo is not there, and print how many stay.
    Raises:
        DataError: photos that are only listed or only on disk, all counted.
    """
    spelled = {name.lower(): name for name in sorted(present)}
    files = [name if name in present else spelled.get(name.lower()) for name in index["image"]]
    index = index.assign(file=pd.Series(files, index=index.index, dtype=object))
    missing = index.loc[index["file"].isna(), "image"].tolist()
    if missing and (not partial or len(missing) == len(index)):
        raise DataError(
            f"{folder} lacks {len(missing)} listed photos: {listed(missing)}. Download them"
            + (", or take those that are there with --partial" if len(missing) < len(index) else "")
        )
    if extra := sorted(present - set(files)):
        raise DataError(
            f"{folder} has {len(extra)} photos that no list names: {listed(extra)}. Move them away, or "
            "download the lists again"
        )
    if missing:
        print(f"photos     found {len(index) - len(missing):>7,}   listed {len(index):>9,}  <- the rest is left out")
    return index.dropna(subset="file").reset_index(drop=True)


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
    """Decode the photos of `index` (see `on_disk`) from `folder` and write the prepared dataset to `out`."""
    with writing(out) as partial:
        images = create_images(partial, len(index), description.size)
        decode(folder, index["file"].tolist(), images, squash=bool(description.options.get("squash")))
        images.flush()
        finish(partial, index.drop(columns="file"), description)


def decode(folder: Folder, names: Sequence[str], images: np.ndarray, *, squash: bool = False) -> None:
    """Fill `images` with the photos `names`, in order: centre square (D21), resized with antialiasing.

    Args:
        images: uint8 (N, size, size, 3), written in place.
        squash: the whole photo, whatever its sides, as the authors' code takes it.
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
                    data = read(folder / name)
                images[row] = _picture(data, images.shape[1], squash=squash)
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


def _picture(data: bytes, size: int, *, squash: bool = False) -> np.ndarray:
    """Decode one photo and resize it, its centre square or with `squash` the whole of it: uint8 (size, size, 3)."""
    sides, how = (size, size), Image.Resampling.BICUBIC
    with Image.open(io.BytesIO(data)) as photo:
        photo.draft("RGB", (2 * size, 2 * size))  # lets JPEG skip detail; twice the size keeps the resize honest
        seen = _as_seen(photo)
        return np.asarray(seen.resize(sides, how) if squash else ImageOps.fit(seen, sides, how))


def _as_seen(photo: Image.Image) -> Image.Image:
    """The photo in RGB as a viewer shows it: turned as EXIF says, 16 bits scaled to 8, transparency on white."""
    photo = _upright(photo)
    if photo.mode.startswith("I"):
        grey = np.asarray(photo).astype(np.int64)
        grey[grey == photo.info.get("transparency", -1)] = DEEPEST  # one value of grey may be declared transparent
        photo = Image.fromarray(((grey.clip(0, DEEPEST) * 255 + DEEPEST // 2) // DEEPEST).astype(np.uint8))
    if photo.has_transparency_data:
        colours = photo.convert("RGBA")
        photo = Image.alpha_composite(Image.new("RGBA", photo.size, "white"), colours)
    return photo.convert("RGB")


def _upright(photo: Image.Image) -> Image.Image:
    """Turned as its EXIF data says; a photo whose EXIF data is broken says nothing."""
    try:
        return ImageOps.exif_transpose(photo)
    except (struct.error, KeyError, SyntaxError, TypeError, ValueError):
        return photo
