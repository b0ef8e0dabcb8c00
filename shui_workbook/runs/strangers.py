"""Another data set's people as strangers to this one's: more non-members for the attack."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

import pandas as pd

from shui_lib.benchmark.data import Faces, load_faces


def load_strangers(folder: Path | str, known: Path | str) -> Faces:
    """Open a prepared data set, as `load_faces`, whose people are to be none of those in the data set `known`.

    Every image of both is hashed, once in a process. Where both have the same name and seed, one image name stands for
    one photo at any size, so those are compared too. Other photos of the same people cannot be noticed.

    Raises:
        FileNotFoundError, ValueError: as `load_faces`; it has other classes, or images of people of `known`.
    """
    folder, known = Path(folder), Path(known)
    strangers, faces = load_faces(folder), load_faces(known)
    if strangers.classes != faces.classes:
        raise ValueError(f"the strangers of {folder.name} have other classes than {known.name}: prepare one task")
    mine, theirs = _marks(folder, strangers.fingerprint), _marks(known, faces.fingerprint)
    if shared := max(len(a & b) for a, b in zip(mine, theirs, strict=True)):
        raise ValueError(
            f"{shared} images of {folder.name} are of people of {known.name} too, who are no strangers: prepare others "
            f"(`python -m data_prep faces --first-identity {faces.identity.max() + 1} --out {folder}` renders some)"
        )
    return strangers


@lru_cache(maxsize=4)
def _marks(folder: Path, _: str) -> tuple[set[bytes], set[tuple]]:
    """What tells images apart: hashes of their pixels; and their names, with the data set's own name and its seed.

    Kept for as long as the data set has the fingerprint that is given: a large one takes minutes to read.
    """
    about = json.loads((folder / "dataset.json").read_text())
    names = pd.read_csv(folder / "index.csv", usecols=["image"])["image"]
    pixels = {hashlib.sha256(image).digest() for image in load_faces(folder).images}
    return pixels, {(about["name"], about["options"].get("seed"), name) for name in names}
