"""Which pictures may be copies of each other: perceptual hashes, and a lookup that never compares all with all.

The hash (dHash of ImageHash) says for a few hundred places whether the picture gets brighter to the right, or
downwards. Other light, another size or file format hardly change it; a crop or a mirror does. So each picture is also
hashed through a few smaller windows, straight and mirrored: a crop of it then looks like one of its own views.
"""

from dataclasses import dataclass

import imagehash
import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

SIDE = 12  # neighbours are compared at 12 x 12 places, in both directions
BITS = 2 * SIDE**2
WORDS = -(-BITS // 64)
MARGIN = 0.05  # of the width: the largest crop that is looked for, on each side
WINDOWS = (  # left, top, right, bottom as fractions
    (0, 0, 1, 1),
    (MARGIN / 2, MARGIN / 2, 1 - MARGIN / 2, 1 - MARGIN / 2),
    (MARGIN, MARGIN, 1 - MARGIN, 1 - MARGIN),
    (0, 0, 1 - MARGIN, 1 - MARGIN),
    (MARGIN, 0, 1, 1 - MARGIN),
    (0, MARGIN, 1 - MARGIN, 1),
    (MARGIN, MARGIN, 1, 1),
)
VIEWS = 2 * len(WINDOWS)  # every window straight, then every window mirrored
MOST_BITS = BITS // 6  # hashes further apart than this are other pictures
ROUNDS = 48  # each looks at other bits; hashes that differ in one bit of ten practically always meet in one of them
CROWD = 32  # at most so many are compared with one view in one round


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pairs of pictures that may be copies, each pair once, and how many hashes were compared to find them.

    The hash of `second` is nearest to `view` of `first`, `bits` away.
    """

    first: np.ndarray  # (P,) int64, rows
    second: np.ndarray  # (P,) int64, rows
    view: np.ndarray  # (P,) int64, from 0 to VIEWS - 1
    bits: np.ndarray  # (P,) int64
    comparisons: int


def hashes(images: np.ndarray) -> np.ndarray:
    """Hashes of all views of each picture.

    Args:
        images: uint8 (N, S, S, 3).
    Returns:
        uint64 (N, VIEWS, WORDS), 288 bits in five words.
    """
    found = np.zeros((len(images), VIEWS, 8 * WORDS), np.uint8)
    for row, image in enumerate(tqdm(images, desc="hashing", unit="image", disable=None)):
        found[row, :, : BITS // 8] = np.packbits(_bits(image), axis=1)
    return found.view(np.uint64)


def _bits(image: np.ndarray) -> np.ndarray:
    """bool (VIEWS, BITS) of one picture, uint8 (S, S, 3)."""
    grey, size = Image.fromarray(image).convert("L"), 2 * SIDE + 2
    boxes = [tuple(len(image) * edge for edge in window) for window in WINDOWS]
    seen = [grey.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=2) for box in boxes]
    return np.array([_hash(view) for view in (*seen, *map(ImageOps.mirror, seen))])


def _hash(picture: Image.Image) -> np.ndarray:
    """bool (BITS,): brighter to the right, then brighter downwards."""
    parts = imagehash.dhash(picture, SIDE), imagehash.dhash_vertical(picture, SIDE)
    return np.concatenate([part.hash.ravel() for part in parts])


def near(hashes: np.ndarray, *, seed: int = 0) -> Candidates:
    """Pairs whose hashes differ in at most MOST_BITS, found by looking up a few bits at a time.

    In each of ROUNDS some bits, two more than it takes to number the pictures, are the key: pictures that agree in
    all of them are compared, others are not. So a round compares each view with a handful of others, however many
    pictures there are, and with CROWD at most. In a crowd of more than CROWD copies not every pair is found, but all
    are linked to some of them.

    Args:
        hashes: uint64 (N, VIEWS, WORDS).
        seed: draws the bits of each round.
    """
    width = max(8, int(np.ceil(np.log2(max(2, len(hashes))))) + 2)
    generator, found, comparisons = np.random.default_rng(seed), np.empty((0, 4), np.int64), 0
    for _ in tqdm(range(ROUNDS), desc="looking up", unit="round", disable=None):
        places = generator.choice(BITS, width, replace=False)
        keys = _keys(hashes[:, 0], places)
        order = np.argsort(keys, kind="stable")
        asked = (_keys(hashes[:, view], places) for view in range(VIEWS))
        met, compared = zip(*(_meetings(hashes, *of, keys[order], order) for of in enumerate(asked)), strict=True)
        found, comparisons = _nearest(np.concatenate([found, *met]), len(hashes)), comparisons + sum(compared)
    return Candidates(*found.T, comparisons)


def _meetings(
    hashes: np.ndarray, view: int, asked: np.ndarray, ordered: np.ndarray, order: np.ndarray
) -> tuple[np.ndarray, int]:
    """Rows (first, second, view, bits) of a round that are near enough, and how many were compared.

    Args:
        asked: (N,) key of this view of each picture.
        ordered, order: sorted keys of the pictures as they are, and whose they are.
    """
    who, at = np.arange(len(hashes)), np.searchsorted(ordered, asked)
    found, comparisons = [np.empty((0, 4), np.int64)], 0
    for _ in range(CROWD):
        here = np.flatnonzero(ordered[np.minimum(at, len(ordered) - 1)] == asked[who])
        here = here[at[here] < len(ordered)]
        who, at = who[here], at[here]
        other = order[at]
        bits = np.bitwise_count(hashes[who, view] ^ hashes[other, 0]).sum(axis=1, dtype=np.int64)
        good = (bits <= MOST_BITS) & (who != other)
        found.append(np.stack([who, other, np.full_like(who, view), bits], axis=1)[good])
        comparisons, at = comparisons + len(who), at + 1
    return np.concatenate(found), comparisons


def _nearest(found: np.ndarray, count: int) -> np.ndarray:
    """Each pair once, whichever was asked for the other, through the view that is nearest."""
    pair = found[:, :2].min(axis=1) * count + found[:, :2].max(axis=1)
    found = found[np.lexsort((found[:, 2], found[:, 3], pair))]
    _, once = np.unique(np.sort(pair), return_index=True)
    return found[once]


def _keys(hashes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(N,) uint64 made of the bits at `places` of (N, WORDS) hashes."""
    keys = np.zeros(len(hashes), np.uint64)
    for place in places:
        word, shift = divmod(int(place), 64)
        keys = keys << np.uint64(1) | hashes[:, word] >> np.uint64(shift) & np.uint64(1)
    return keys
