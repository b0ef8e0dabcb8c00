"""Leakage audit: near-duplicate photos of a prepared data set, within an identity and across identities.

    python -m data_prep.audit data/mufac --csv pairs.csv --drop data/mufac_clean

A copy of the photo that a person hands in, left among the images to forget, makes forgetting look easier than it is; a
copy filed under somebody else ties two people together. Found are exact, re-encoded, resized, slightly cropped (up to a
twentieth a side), brighter, darker and mirrored copies: `candidates` proposes pairs by perceptual hash, `same_photo`
decides on the pixels. Time and memory grow with the number of images, not with its square.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_prep.candidates import VIEWS, hashes, near
from data_prep.prepared import DataError, Description, create_images, finish, writing
from data_prep.same_photo import difference

COPY = 0.2  # pairs that differ less are copies: JPEG at quality 75 stays below, any two rendered faces lie above 0.25
KINDS = ("within an identity", "across identities")
ROWS = 1024  # images copied at a time
FILES = ("images.npy", "index.csv", "dataset.json")


def audit(images: np.ndarray, identity: np.ndarray, *, most: float = COPY) -> pd.DataFrame:
    """Pairs of pictures that show one photo, the most alike first.

    Args:
        images: uint8 (N, S, S, 3).
        identity: (N,) who is shown.
        most: pairs that differ by this or more are left out; raise it to see look-alikes that are no copies.
    Returns:
        columns `first` and `second` (rows, first < second), `identity_first`, `identity_second`, `same_identity`,
        `mirrored`, `bits` (distance of the hashes, of 288), `difference` (0 for exact copies, see `same_photo`).
    """
    found = near(hashes(images))
    differ = difference(images, found.first, found.second, found.view)
    rows = np.sort(np.stack([found.first, found.second], axis=1), axis=1)
    pairs = pd.DataFrame({"first": rows[:, 0], "second": rows[:, 1]})
    pairs["identity_first"], pairs["identity_second"] = np.asarray(identity)[rows].T
    pairs["same_identity"] = pairs["identity_first"] == pairs["identity_second"]
    pairs["mirrored"], pairs["bits"], pairs["difference"] = found.view >= VIEWS // 2, found.bits, differ
    alike = pairs[pairs["difference"] < most]
    return alike.sort_values(["difference", "first", "second"], ignore_index=True)


def groups(pairs: pd.DataFrame, count: int) -> np.ndarray:
    """(N,) number of the group that each of `count` pictures is in: copies, and copies of copies, are one group."""
    links = coo_array((np.ones(len(pairs)), (pairs["first"], pairs["second"])), shape=(count, count))
    return connected_components(links, directed=False)[1]


def kept(pairs: pd.DataFrame, identity: np.ndarray) -> np.ndarray:
    """(N,) bool: the first picture of each group, and none of a group that spans identities.

    A photo filed under two people is wrong for at least one of them, and nothing here tells for which: whichever were
    kept, a person would be trained, tested or forgotten on somebody else's face.
    """
    table = pd.DataFrame({"group": groups(pairs, len(identity)), "identity": identity})
    one_person = table.groupby("group")["identity"].transform("nunique") == 1
    return (one_person & ~table["group"].duplicated()).to_numpy()


def summary(pairs: pd.DataFrame, identity: np.ndarray) -> pd.DataFrame:
    """Pairs, groups, images in them, and images that are not `kept`, for groups within and across identities.

    A group that spans identities counts as across, with all its pairs.
    """
    table = pd.DataFrame({"group": groups(pairs, len(identity)), "identity": identity})
    table["dropped"] = ~kept(pairs, identity)
    of_group = table.groupby("group")["identity"]
    table["kind"] = np.where(of_group.transform("nunique") > 1, *reversed(KINDS))
    counts = table[of_group.transform("size") > 1].groupby("kind").agg(
        groups=("group", "nunique"), images=("group", "size"), dropped=("dropped", "sum")
    )  # fmt: skip
    counts.insert(0, "pairs", table["kind"].iloc[pairs["first"]].value_counts())
    return counts.reindex(KINDS, fill_value=0).rename_axis(None)


def read(folder: Path) -> tuple[np.ndarray, pd.DataFrame, Description, str]:
    """Images (memory-mapped), index, description and the images' checksum of a prepared data set.

    Raises:
        DataError: files that are missing, cannot be read, or disagree.
    """
    again = f"prepare it with `python -m data_prep NAME --out {folder}`"
    if missing := [name for name in FILES if not (folder / name).is_file()]:
        raise DataError(f"{folder} lacks {', '.join(missing)}: {again}")
    try:
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        index = pd.read_csv(folder / "index.csv", dtype={"image": str}, keep_default_na=False)
        about = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        checksum = about.pop("images_sha256")
        description = Description(**{name: value for name, value in about.items() if name != "counts"})
    except (ValueError, KeyError, TypeError, EOFError) as error:
        raise DataError(f"{folder} cannot be read ({type(error).__name__}: {error}): {again}") from error
    description = replace(description, classes=tuple(description.classes))
    expected = (len(index), description.size, description.size, 3)
    if images.dtype != np.uint8 or images.shape != expected:
        raise DataError(f"{folder}: images.npy is {images.dtype} {images.shape}, expected uint8 {expected}: {again}")
    if list(index.columns) != description.columns:
        raise DataError(f"{folder}: index.csv has {list(index.columns)}, expected {description.columns}: {again}")
    return images, index, description, checksum


def write_csv(pairs: pd.DataFrame, index: pd.DataFrame, path: Path) -> None:
    """The pairs with the names of their images, written aside and renamed.

    Raises:
        DataError: `path` is a folder.
    """
    if path.is_dir():
        raise DataError(f"--csv {path} is a folder: name a file in it")
    named, names = pairs.copy(), index["image"].to_numpy()
    named.insert(2, "image_first", names[pairs["first"]])
    named.insert(3, "image_second", names[pairs["second"]])
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    named.to_csv(partial, index=False, lineterminator="\n", float_format="%.4f")
    partial.replace(path)


def drop(folder: Path, out: Path, pairs: pd.DataFrame) -> Description:
    """Write the data set in `folder` without its copies to `out`; `dataset.json` says what was dropped.

    Raises:
        DataError: `out` is `folder`, or nothing would be left.
    """
    if out.resolve() == folder.resolve():
        raise DataError(f"--drop {out} is the audited data set: name another folder, to run with and without copies")
    images, index, description, checksum = read(folder)
    identity = index["identity"].to_numpy()
    rows, (within, across) = np.flatnonzero(kept(pairs, identity)), summary(pairs, identity)["dropped"].tolist()
    if not len(rows):
        raise DataError(f"{folder} holds only photos that several people share: mend the identities in its index.csv")
    noted = {"copies_dropped": within, "dropped_across_identities": across, "cleaned_from": checksum[:16]}
    description = replace(description, options=description.options | noted)
    with writing(out) as partial:
        cleaned = create_images(partial, len(rows), description.size)
        for start in range(0, len(rows), ROWS):
            cleaned[start : start + ROWS] = images[rows[start : start + ROWS]]
        cleaned.flush()
        finish(partial, index.iloc[rows], description)
    return description


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit one prepared data set; returns the exit code, 2 with one message on stderr if the input is bad."""
    options = _parser().parse_args(arguments)
    try:
        _run(options.folder, options.csv, options.drop)
    except (ValueError, OSError) as error:
        print(f"data_prep.audit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ndata_prep.audit: interrupted, no data set was written", file=sys.stderr)
        return 130
    return 0


def _run(folder: Path, csv: Path | None, out: Path | None) -> None:
    images, index, *_ = read(folder)
    identity = index["identity"].to_numpy()
    pairs = audit(images, identity)
    print(f"{folder}: {len(images):,} images of {index['identity'].nunique():,} identities")
    print(summary(pairs, identity).to_string())
    if csv is not None:
        write_csv(pairs, index, csv)
        print(f"{csv}: {len(pairs):,} pairs")
    if out is not None:
        drop(folder, out, pairs)
        print(f"{out}: {kept(pairs, identity).sum():,} images")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.audit", description="Find copies in a prepared data set."
    )
    parser.add_argument("folder", type=Path, help="the prepared data set")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the pairs")
    parser.add_argument("--drop", type=Path, metavar="OUT", help="write the data set without copies to another folder")
    return parser


if __name__ == "__main__":
    sys.exit(main())
