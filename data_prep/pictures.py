"""Data sets that come as arrays of small pictures: name them, fit them to a size, write them."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from tqdm import tqdm

from data_prep.prepared import Description, create_images, finish, writing

PAGE = 32  # pixels that a digit of 28 is padded to
STEP = 1024  # pictures fitted at a time


def write(pictures: np.ndarray, index: pd.DataFrame, out: Path, description: Description) -> None:
    """Write `pictures`, uint8 (N, S, S) grey or (N, S, S, 3), at the size of `description`, with their `index`."""
    with writing(out) as partial:
        images = create_images(partial, len(index), description.size)
        for start in tqdm(range(0, len(pictures), STEP), desc="writing", unit="batch", disable=None):
            images[start : start + STEP] = fitted(pictures[start : start + STEP], description.size)
        images.flush()
        finish(partial, index, description)


def fitted(pictures: np.ndarray, size: int) -> np.ndarray:
    """uint8 (N, size, size, 3): grey becomes three equal colours; nothing is resampled where the size is theirs."""
    colour = pictures if pictures.ndim == 4 else np.repeat(pictures[..., None], 3, axis=3)
    if colour.shape[1] == size:
        return colour
    return np.stack([np.asarray(Image.fromarray(one).resize((size, size), Image.Resampling.BICUBIC)) for one in colour])


def padded(digits: np.ndarray) -> np.ndarray:
    """(N, S, S) to (N, 32, 32), with black around each, so that no pixel of a digit is resampled."""
    edge = (PAGE - digits.shape[1]) // 2
    return np.pad(digits, ((0, 0), (edge, edge), (edge, edge)))


def numbered(split: str, count: int) -> list[str]:
    """Names of pictures that have none: their split and their place in its files, "train/00000"."""
    return [f"{split}/{place:05d}" for place in range(count)]


def by_picture(labels: dict[str, np.ndarray]) -> pd.DataFrame:
    """The index of a data set that names nobody: every picture is an identity of its own, in the official order.

    Args:
        labels: split -> (N,) class numbers.
    """
    names = [name for split, targets in labels.items() for name in numbered(split, len(targets))]
    targets = np.concatenate(list(labels.values())).astype(np.int64)
    return pd.DataFrame({"image": names, "identity": np.arange(len(names)), "label": targets})
