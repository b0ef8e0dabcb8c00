"""Leakage audit: near-duplicate photos of a prepared data set, within an identity and across identities.

    python -m data_prep.audit data/mufac --csv pairs.csv --merge data/mufac_merged
    python -m data_prep.audit data/celebahq --drop data/celebahq_clean

A copy of the photo that a person hands in, left among the images to forget, makes forgetting look easier than it is; a
copy under another identity ties two parts of a split together. Often that is one person under two names: `--merge`
joins identities that share byte-identical photos. Copies that still span identities are dropped. Found are exact,
re-encoded, resized, slightly cropped (up to a twentieth a side), brighter, darker and mirrored copies: `candidates`
proposes pairs by perceptual hash, `same_photo` decides on the pixels. Time and memory grow with the number of images,
not with its square.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from data_prep import persons
from data_prep.candidates import VIEWS, hashes, near
from data_prep.persons import ALTERED, PLACES, SAME, SIMILAR, groups
from data_prep.prepared import DataError, Description, create_images, finish, writing
from data_prep.same_photo import difference

COPY = 0.2  # pairs that differ less are copies: JPEG at quality 75 stays below, any two rendered faces lie above 0.25
ROWS = 1024  # images copied at a time
EMPTY = 2  # grey levels: a picture whose values spread less shows nothing
FILES = ("images.npy", "index.csv", "dataset.json")


def audit(images: np.ndarray, identity: np.ndarray, *, most: float = COPY) -> pd.DataFrame:
    """Pairs of pictures that show one photo, the most alike first.

    Args:
        images: uint8 (N, S, S, 3).
        identity: (N,) who is shown.
        most: pairs that differ by this or more are left out; raise it to see look-alikes that are no copies.
    Returns:
        columns `first` and `second` (rows, first < second), `identity_first`, `identity_second`, `same_identity`,
        `mirrored`, `bits` (distance of the hashes, of 288), `difference` (0 for exact copies, see `same_photo`),
        `kind` (see `persons.KINDS`).
    """
    found = near(hashes(images))
    differ = difference(images, found.first, found.second, found.view)
    rows = np.sort(np.stack([found.first, found.second], axis=1), axis=1)
    pairs = pd.DataFrame({"first": rows[:, 0], "second": rows[:, 1]})
    pairs["identity_first"], pairs["identity_second"] = np.asarray(identity)[rows].T
    pairs["same_identity"] = pairs["identity_first"] == pairs["identity_second"]
    pairs["mirrored"], pairs["bits"], pairs["difference"] = found.view >= VIEWS // 2, found.bits, differ
    alike = pairs[pairs["difference"] < most]
    alike = alike.assign(kind=_kinds(images, alike))
    return alike.sort_values(["difference", "first", "second"], ignore_index=True)


def _kinds(images: np.ndarray, pairs: pd.DataFrame) -> np.ndarray:
    """(P,) one of KINDS. Empty pictures are alike whatever they show, so they are no evidence of one file."""
    kinds = np.where(pairs["difference"] < COPY, ALTERED, SIMILAR).astype(object)
    both = zip(pairs["first"], pairs["second"], strict=True)
    same = [np.array_equal(images[a], images[b]) and images[a].std() > EMPTY for a, b in both]
    kinds[np.array(same, bool)] = SAME
    return kinds


def copies(pairs: pd.DataFrame) -> pd.DataFrame:
    """The pairs that show one photo; the others only look alike."""
    return pairs[pairs["kind"] != SIMILAR].reset_index(drop=True)


def kept(pairs: pd.DataFrame, identity: np.ndarray) -> np.ndarray:
    """(N,) bool: the first picture of each group, and none of a group that spans identities.

    A photo under two names ties two parts of a split together, whichever of its copies were kept. Often both names are
    one person's: then `persons.joined` joins them first, and the group spans one person.
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
    table["kind"] = np.where(of_group.transform("nunique") > 1, *reversed(PLACES))
    counts = table[of_group.transform("size") > 1].groupby("kind").agg(
        groups=("group", "nunique"), images=("group", "size"), dropped=("dropped", "sum")
    )  # fmt: skip
    counts.insert(0, "pairs", table["kind"].iloc[pairs["first"]].value_counts())
    return counts.reindex(PLACES, fill_value=0).rename_axis(None)


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


def drop(folder: Path, out: Path, pairs: pd.DataFrame, identity: np.ndarray | None = None) -> Description:
    """Write the data set in `folder` without its copies to `out`; `dataset.json` says what was dropped and merged.

    Args:
        pairs: copies.
        identity: (N,) who is shown, where that is not what the data set says (see `persons.joined`).
    Raises:
        DataError: `out` is `folder`, or nothing would be left.
    """
    if out.resolve() == folder.resolve():
        raise DataError(f"{out} is the audited data set: name another folder, to run with and without copies")
    images, index, description, checksum = read(folder)
    stated = index["identity"].to_numpy()
    identity = stated if identity is None else identity
    rows, (within, across) = np.flatnonzero(kept(pairs, identity)), summary(pairs, identity)["dropped"].tolist()
    if not len(rows):
        raise DataError(f"{folder} holds only photos that several people share: mend the identities in its index.csv")
    targets = {"copies_dropped": within, "dropped_across_identities": across, "cleaned_from": checksum[:16]}
    if merged := len(np.unique(stated)) - len(np.unique(identity)):
        targets["identities_merged"] = merged
    description = replace(description, options=description.options | targets)
    with writing(out) as partial:
        cleaned = create_images(partial, len(rows), description.size)
        for start in range(0, len(rows), ROWS):
            cleaned[start : start + ROWS] = images[rows[start : start + ROWS]]
        cleaned.flush()
        finish(partial, index.assign(identity=identity).iloc[rows], description)
    return description


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit one prepared data set; returns the exit code, 2 with one message on stderr if the input is bad."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.shared is not None and options.merge is None:
        parser.error("--shared says what --merge joins: give --merge too")
    try:
        _run(options)
    except (ValueError, OSError) as error:
        print(f"data_prep.audit: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\ndata_prep.audit: interrupted, no data set was written", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace) -> None:
    folder = options.folder
    images, index, *_ = read(folder)
    identity = index["identity"].to_numpy()
    pairs = audit(images, identity, most=2 * COPY)
    found = copies(pairs)
    print(f"{folder}: {len(images):,} images of {index['identity'].nunique():,} identities")
    _report(pairs, found, index)
    if options.csv is not None:
        write_csv(pairs, index, options.csv)
        print(f"{options.csv}: {len(pairs):,} pairs")
    if options.merge is not None:
        merged = persons.joined(found, identity, shared=options.shared)
        drop(folder, options.merge, found, merged)
        _told(options.merge, found, merged)
        names = pd.Series(identity).groupby(merged).nunique()
        print(
            f"joined {names[names > 1].sum():,} identities into {(names > 1).sum():,}, at most {names.max()} into one"
        )
    if options.drop is not None:
        drop(folder, options.drop, found)
        _told(options.drop, found, identity)


def _report(pairs: pd.DataFrame, found: pd.DataFrame, index: pd.DataFrame) -> None:
    """Print what was found: pairs by kind, groups of copies, labels that disagree, what a split would leak."""
    identity = index["identity"].to_numpy()
    print(f"Pairs\n{persons.by_kind(pairs).to_string()}\nGroups of copies\n{summary(found, identity).to_string()}")
    differ, several = persons.disagreeing(found, index.drop(columns=["image", "identity"]).to_numpy())
    print(f"In {differ:,} of {several:,} groups what is noted of the copies disagrees; the first one's stays")
    forgotten, tested = persons.leak(found, identity)
    print(
        f"A split by identity leaks: of the images that {persons.ASKING} people ask to forget {forgotten:.0f} % have a "
        f"copy in retain, of the test images {tested:.0f} % one in training (mean of {persons.DRAWS} splits)"
    )


def _told(out: Path, found: pd.DataFrame, identity: np.ndarray) -> None:
    rest = kept(found, identity)
    print(f"{out}: {rest.sum():,} images of {len(np.unique(identity[rest])):,} identities")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m data_prep.audit", description="Find copies in a prepared data set."
    )
    parser.add_argument("folder", type=Path, help="the prepared data set")
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the pairs")
    parser.add_argument(
        "--merge", type=Path, metavar="OUT", help="join identities that share byte-identical photos into one person, "
        "then write the data set without copies to another folder"
    )  # fmt: skip
    parser.add_argument(
        "--shared", type=_positive, metavar="N", help="with --merge: N photos in common, of any kind, join too"
    )
    parser.add_argument("--drop", type=Path, metavar="OUT", help="write the data set without copies to another folder")
    return parser


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
