"""Do two pictures come from one photo? They are laid over each other and compared, part by part.

One is shifted and stretched until it fits the other, and its light is matched; what then still differs is looked at
in each of 4 x 4 parts, and the worst part decides. A copy differs nowhere; another photo of the same person, with the
same hair before the same wall, differs at least around the mouth.
"""

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from data_prep.candidates import MARGIN, WINDOWS

SIZE = 48  # pictures are compared at this many pixels
SMOOTH = 1.5  # pixels, standard deviation: finer detail does not survive another size or file format
EDGE = 4  # pixels at the border that are not compared, because smoothing sees beyond it
PARTS = 4  # rows and columns of parts
STEPS = 5  # of the search for the fit
LEAST_GAIN, LONGEST_STEP = 0.2, 0.03  # keep the search from leaping: ratio of contrasts, fraction of the width
DARKEST, BRIGHTEST = 4, 250  # a colour value beyond these may have been clipped, and tells little
CLIPPED = 0.05  # places with more clipped values around them are left out
LEAST_CLEAR = 0.2  # of the picture; if less of it is clear, clipped values count like others
DULL = 2  # grey levels added to the contrast: noise on an empty picture is no difference
CHUNK = 128  # pairs at a time


def difference(images: np.ndarray, first: np.ndarray, second: np.ndarray, view: np.ndarray) -> np.ndarray:
    """How much the worst part of each pair differs: a fraction of the contrast, 0 for copies, about 1 for strangers.

    Args:
        images: uint8 (N, S, S, 3).
        first, second: (P,) rows; `view` of the first (see `candidates`) is laid over the second.
    Returns:
        (P,) float32.
    """
    straight = np.array(WINDOWS, np.float32)
    windows = np.concatenate([straight, straight[:, [2, 1, 0, 3]]])  # a mirrored one runs from right to left
    found = [np.empty(0, np.float32)]
    for start in tqdm(range(0, len(first), CHUNK), desc="comparing", unit=f"{CHUNK} pairs", disable=None):
        part = slice(start, start + CHUNK)
        one, other = _smooth(images[first[part]]), _smooth(images[second[part]])
        found.append(_worst_part(*_compared(one, other, _fitted(one, other, windows[view[part]]))))
    return np.concatenate(found)


def _smooth(images: np.ndarray) -> np.ndarray:
    """float32 (N, SIZE, SIZE, 6): the colours without their finest detail, and how much of each is clipped, 0 to 1."""
    clipped = 255 * ((images < DARKEST) | (images > BRIGHTEST)).astype(np.uint8)
    small = np.empty((len(images), SIZE, SIZE, 6), np.float32)
    for planes, first in ((images, 0), (clipped, 3)):
        for row, image in enumerate(planes):
            small[row, ..., first : first + 3] = Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    return gaussian_filter(small, (0, SMOOTH, SMOOTH, 0)) / np.float32([1, 1, 1, 255, 255, 255])


def _fitted(one: np.ndarray, other: np.ndarray, windows: np.ndarray) -> np.ndarray:
    """Windows (P, 4) through which `one` fits `other` best: Gauss-Newton on their edges, brightness and contrast.

    The gradient is taken of the picture that stays in place (Baker & Matthews 2004, the inverse form).
    """
    design, start = _design(other[..., :3]), windows
    for _ in range(STEPS):
        seen, counts = _seen(one, other, windows)
        fit = _solve(design, seen, counts)
        gain = np.where(np.abs(fit[:, :1]) < LEAST_GAIN, LEAST_GAIN, fit[:, :1])
        extent = windows[:, [2, 3, 2, 3]] - windows[:, [0, 1, 0, 1]]
        moves = (-fit[:, 2:] / gain * extent).clip(-LONGEST_STEP, LONGEST_STEP)
        windows = (windows + moves).clip(start - MARGIN, start + MARGIN)
    return windows


def _compared(one: np.ndarray, other: np.ndarray, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What differs once the light is matched, and where it counts, (P, SIZE, SIZE, 3); the contrast there, (P,)."""
    seen, counts = _seen(one, other, windows)
    light = _design(other[..., :3])[..., :2]
    left = seen - np.einsum("nyxck,nk->nyxc", light, _solve(light, seen, counts))
    share = counts / counts.sum(axis=(1, 2, 3), keepdims=True).clip(1)
    mean = (seen * share).sum(axis=(1, 2, 3), keepdims=True)
    return left, counts, np.sqrt(((seen - mean) ** 2 * share).sum(axis=(1, 2, 3)))


def _seen(one: np.ndarray, other: np.ndarray, windows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`one` through its windows, and where it can be compared (0 or 1), both (P, SIZE, SIZE, 3).

    Clipped colours are left out, unless hardly anything else is there.
    """
    across, inside_x = _sampling(windows[:, 0], windows[:, 2])
    down, inside_y = _sampling(windows[:, 1], windows[:, 3])
    rows = (down @ one.reshape(len(one), SIZE, -1)).reshape(one.shape)
    seen = across[:, None] @ rows
    inside = (inside_y[:, :, None] & inside_x[:, None, :])[..., None]
    clear = inside & (seen[..., 3:] < CLIPPED) & (other[..., 3:] < CLIPPED)
    enough = clear.mean(axis=(1, 2, 3), keepdims=True) > LEAST_CLEAR
    return seen[..., :3], np.where(enough, clear, inside).astype(np.float32)


def _sampling(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear interpolation at SIZE places between two edges, (P,) fractions: weights (P, SIZE, SIZE), valid."""
    between = (np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE
    places = (low[:, None] + (high - low)[:, None] * between) * SIZE - 0.5
    valid = (places >= EDGE) & (places <= SIZE - 1 - EDGE)
    weights = 1 - np.abs(places[:, :, None] - np.arange(SIZE, dtype=np.float32))
    return weights.clip(0), valid


def _design(other: np.ndarray) -> np.ndarray:
    """(P, SIZE, SIZE, 3, 6): how each colour changes with contrast, brightness, left, top, right and bottom edge."""
    u = ((np.arange(SIZE, dtype=np.float32) + 0.5) / SIZE)[None, None, :, None]
    v = u.swapaxes(1, 2)
    down, across = np.gradient(other, axis=(1, 2))
    edges = across * (1 - u), down * (1 - v), across * u, down * v
    return np.stack([other, np.full_like(other, 255), *(SIZE * edge for edge in edges)], axis=-1)


def _solve(design: np.ndarray, seen: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Least squares for each pair: (P, K) coefficients; ones that the pictures do not determine stay near 0."""
    kinds = design.shape[-1]
    columns = (design * counts[..., None]).reshape(len(design), -1, kinds)
    normal = columns.swapaxes(1, 2) @ columns
    steady = np.eye(kinds, dtype=np.float32) * (1e-5 * normal.trace(axis1=1, axis2=2)[:, None, None] / kinds + 1)
    right = columns.swapaxes(1, 2) @ seen.reshape(len(seen), -1, 1)
    return np.linalg.solve(normal + steady, right)[..., 0]


def _worst_part(left: np.ndarray, counts: np.ndarray, contrast: np.ndarray) -> np.ndarray:
    """Root mean square of what is left, in the part where it is largest, as a fraction of the contrast: (P,).

    Parts of which three quarters cannot be compared have no say.
    """
    side = SIZE // PARTS
    power, places = (
        values.reshape(-1, PARTS, side, PARTS, side, 3).sum(axis=(2, 4, 5)) for values in (left**2 * counts, counts)
    )
    mean = np.where(places >= 3 * side**2 / 4, power / places.clip(1), 0)
    return np.sqrt(mean.max(axis=(1, 2))) / (contrast + DULL)
