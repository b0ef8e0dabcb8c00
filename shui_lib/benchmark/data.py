"""Faces: images, identities and targets of a prepared data set, and batches made from them."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping
from contextlib import closing, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from shui_lib.core.progress import progress
from shui_lib.core.randomness import draw_seed, seeded
from shui_lib.core.store import CorruptFile, checksum, save_json


@dataclass(frozen=True, eq=False)
class Faces:
    """A view of a data set: `rows` of one shared image array, with their identities and targets.

    Indexing gives a smaller view and copies no image.
    """

    images: np.ndarray  # (M, H, W, 3) uint8, memory-mapped, shared by all views
    rows: np.ndarray  # (N,) positions in `images`
    identity: np.ndarray  # (N,) int
    targets: Tensor  # (N, K) float 0/1 for attributes, (N,) long for classes
    classes: tuple[str, ...]
    name: str = ""  # of the data set, as its dataset.json says
    fingerprint: str = ""  # of the data set: sixteen hexadecimal digits that change when anything in it does
    flip: bool = True  # whether a picture may be mirrored: a face may, a digit may not

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: np.ndarray | Tensor | slice) -> Faces:
        index = index.numpy() if isinstance(index, Tensor) else index
        rows, identity = self.rows[index], self.identity[index]
        targets = self.targets[index if isinstance(index, slice) else torch.as_tensor(index)]
        return replace(self, rows=rows, identity=identity, targets=targets)

    @property
    def size(self) -> int:
        """Height and width in pixels."""
        return self.images.shape[1]

    @property
    def multilabel(self) -> bool:
        """True for attributes (BCE, mAP), False for classes (cross-entropy, accuracy)."""
        return self.targets.ndim == 2

    @property
    def target_matrix(self) -> Tensor:
        """The targets of each image as numbers: (N, K) float 0/1, for classes one-hot."""
        return self.targets if self.multilabel else F.one_hot(self.targets, len(self.classes)).float()

    def of(self, identities: np.ndarray) -> Faces:
        """The view of all images of the given identities."""
        return self[np.flatnonzero(np.isin(self.identity, identities))]

    def in_memory(self) -> Faces:
        """A copy that stands alone: only its own images, nothing of the data set's files."""
        return replace(self, images=np.ascontiguousarray(self.images[self.rows]), rows=np.arange(len(self)))

    def pixels(self, *, device: torch.device | str = "cpu", size: int | None = None) -> Tensor:
        """All images of the view as (N, 3, size, size) float32, normalised with mean = std = 0.5."""
        x = torch.from_numpy(np.ascontiguousarray(self.images[self.rows]))  # (N, H, W, 3)
        if torch.device(device).type == "cuda":
            x = x.pin_memory()  # page-locked: the copy runs beside what the GPU is doing
        x = x.to(device, non_blocking=True)
        x = x.permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
        if size is not None and size != x.shape[-1]:
            x = shrunk(x, size)
        return x

    def batches(self, batch: int, *, shown: str = "") -> Iterator[Faces]:
        """Views of at most `batch` images, in order; with `shown`, a bar of that name says how many are done."""
        options = {"desc": shown, "unit": "image", "leave": False, "mininterval": 1}
        with closing(progress(total=len(self), **options)) if shown else nullcontext() as bar:
            for start in range(0, len(self), batch):
                part = self[slice(start, start + batch)]
                yield part
                if bar is not None:
                    bar.update(len(part))


def folder_of(root: Path | str, name: str) -> Path:
    """The folder of a data set below `root`.

    Raises:
        ValueError: the name is a path: "few", "./few" and "few/" would be three data sets, "/few" none of `root`.
    """
    if not name or name in (".", "..") or set(name) & {"/", "\\"} or name != name.strip():
        raise ValueError(f"data set {name!r} is no plain folder name: name a folder of {root}, without slashes")
    return Path(root) / name


def load_faces(folder: Path | str) -> Faces:
    """Open a prepared data set (images.npy, index.csv, dataset.json); its images are read once after it was prepared.

    Raises:
        FileNotFoundError: the folder, or one of its three files, is missing.
        CorruptFile: images.npy is cut, or its content is another than when it was prepared; a table is no such table.
        ValueError: the files disagree in number or size of the images, or hold one identity or values out of range.
    """
    folder = Path(folder)
    missing = [name for name in ("images.npy", "index.csv", "dataset.json") if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(
            f"{folder.absolute()} lacks {', '.join(missing)}: prepare it with "
            f"`python -m data_prep faces --out {folder}`, or as `python -m data_prep --help` says of other data sets; "
            "a path without a leading / is seen from where you are"
        )
    try:
        return _opened(folder)
    except (KeyError, TypeError, ValueError) as error:
        if str(folder) in str(error):
            raise
        message = f"{folder}: index.csv or dataset.json is no such table ({error!r}): prepare it again"
        raise CorruptFile(message) from error  # what pandas or json says of a file does not name it


def _opened(folder: Path) -> Faces:
    described, listed = ((folder / name).read_bytes() for name in ("dataset.json", "index.csv"))
    about, index = json.loads(described), pd.read_csv(io.BytesIO(listed))
    images, content = _images(folder, about, len(index))
    if index["identity"].nunique() < 2:
        raise ValueError(f"{folder}: one identity only; unlearning needs others to keep, prepare at least 10")
    classes = tuple(about["classes"])
    multilabel = about["task"] == "multilabel"
    values = index[list(classes) if multilabel else ["label"]].to_numpy(np.float64)
    _check_values(folder, values, index["identity"].to_numpy(np.float64), 0 if multilabel else len(classes))
    values = values.astype(np.float32) if multilabel else values[:, 0].astype(np.int64)
    identity = index["identity"].to_numpy(np.int64)
    mark = hashlib.sha256(described + listed + content.encode()).hexdigest()[:16]
    targets, flip = torch.tensor(values), about.get("flip", True)  # face sets and older folders do not say it
    return Faces(images, np.arange(len(index)), identity, targets, classes, about["name"], mark, flip)


def _check_values(folder: Path, targets: np.ndarray, identity: np.ndarray, classes: int) -> None:
    """Attributes are 0 and 1, classes (where there are some) whole numbers below `classes`, and so are identities.

    Raises:
        ValueError: some are not; as a file that was edited may say, with CelebA's −1 for instance.
    """
    words = f"outside 0 … {classes - 1}, or no whole numbers," if classes else "other than 0 and 1"
    bad = {f"targets {words}": ~np.isin(targets, range(classes or 2)).all(1)}
    bad["identities below 0, or no whole numbers,"] = (identity < 0) | (identity % 1 != 0)
    for what, rows in bad.items():
        if rows.any():
            first = f"{rows.sum()} rows, row {rows.argmax()} the first"
            raise ValueError(f"{folder / 'index.csv'} has {what} in {first}: prepare the folder again")


def _images(folder: Path, about: Mapping[str, object], count: int) -> tuple[np.ndarray, str]:
    """The images, memory-mapped, and their checksum, which dataset.json holds too."""
    path, again = folder / "images.npy", "prepare the folder again"
    content = _content(path)
    try:
        images = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise CorruptFile(f"{path} is damaged ({error}): {again}") from error
    if len(images) != count:
        raise ValueError(f"{folder}: images.npy holds {len(images)} images, index.csv {count} rows; {again}")
    expected = (count, about["size"], about["size"], 3)
    if images.dtype != np.uint8 or images.shape != expected:
        raise ValueError(f"{path} is {images.dtype} {images.shape}, expected uint8 {expected}; {again}")
    if content != about.get("images_sha256", content):
        raise CorruptFile(f"{path} is not what was prepared (its checksum differs from dataset.json's): {again}")
    return images, content


def _content(path: Path) -> str:
    """Checksum of a large file, computed once for as long as its size, time and place on the disk stay the same.

    It is remembered beside the file, and where nothing may be written there, for as long as this process lives.
    """
    facts, note = path.stat(), path.with_name(".images.checked")
    state = [facts.st_size, facts.st_mtime_ns, facts.st_ino]
    with suppress(OSError, ValueError, TypeError, KeyError):  # no note, or none of ours
        known = json.loads(note.read_text())
        if known["state"] == state:
            return str(known["sha256"])
    content = _checksum(path, *state)
    with suppress(OSError):
        save_json(note, {"state": state, "sha256": content})
    return content


@lru_cache(maxsize=16)
def _checksum(path: Path, *state: int) -> str:
    return checksum(path)


def augment(x: Tensor, *, size: int, crop: float, flip: bool, generator: torch.Generator) -> Tensor:
    """Random resized crop and, with `flip`, mirroring of every image, by one grid_sample on the images' device.

    Args:
        x: (B, 3, H, W).
        size: height and width of the result in pixels.
        crop: smallest share of the area kept, in (0, 1]; aspect ratios span 3/4 to 4/3.
        flip: whether every second image is mirrored, `Faces.flip` says where that is right.

    Departs from torchvision's RandomResizedCrop (D23), which draws a side again where it is longer than the image's;
    here it is cut to that; `torchvision_augment` is theirs. Images larger than `size` are sampled finely enough to miss
    no pixel, and then shrunk with antialiasing, as `Faces.pixels` shrinks them: one pixel in four would alias.
    """
    area, ratio, left, top, side = torch.rand(5, len(x), generator=generator)
    area = crop + (1 - crop) * area
    ratio = torch.exp((2 * ratio - 1) * torch.log(torch.tensor(4 / 3)))
    width, height = (area * ratio).sqrt().clamp(max=1), (area / ratio).sqrt().clamp(max=1)
    theta = torch.zeros(len(x), 2, 3)  # maps output coordinates in [-1, 1] to input coordinates
    theta[:, 0, 0] = width * torch.where((side < 0.5) & torch.tensor(flip), -1.0, 1.0)
    theta[:, 1, 1] = height
    theta[:, 0, 2] = (2 * left - 1) * (1 - width)
    theta[:, 1, 2] = (2 * top - 1) * (1 - height)
    fine = size * max(1, math.ceil(max(x.shape[2:]) / size))
    grid = F.affine_grid(theta.to(x.device, non_blocking=True), [*x.shape[:2], fine, fine], align_corners=False)
    cropped = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return cropped if fine == size else shrunk(cropped, size)


def torchvision_augment(x: Tensor, *, size: int, crop: float, flip: bool, generator: torch.Generator) -> Tensor:
    """As `augment`, by torchvision's own RandomResizedCrop and RandomHorizontalFlip, image by image.

    The authors' transforms. Boxes that leave the image are drawn again, so that crops are smaller and of full side less
    often than `augment`'s; a loop over images takes the place of one call.
    """
    crop_ = v2.RandomResizedCrop(size, scale=(crop, 1.0), antialias=True)
    mirror = v2.RandomHorizontalFlip(0.5 if flip else 0.0)
    with seeded(draw_seed(generator)):
        return torch.stack([mirror(crop_(image)) for image in x])


AUGMENT = {"batched": augment, "torchvision": torchvision_augment}


def shrunk(x: Tensor, size: int) -> Tensor:
    """Images (B, 3, H, W) in another size, (B, 3, size, size), without aliasing (D24)."""
    return F.interpolate(x, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
