"""The embedded data set: cartoon faces with identities, rendered here, so that no personal data is needed.

A picture is `draw(person, occasion)`. `people` gives what stays with a person (geometry, colours, marks),
`occasions` what changes from photo to photo (pose, light, expression, accessories, age, background); both are
frames with one row a picture and one column a factor. So one factor can be varied while all others are held:

    persons = people([7, 7, 7], seed=0)
    same = occasions(people([7], seed=0), [0], seed=0).loc[[0, 0, 0]]
    turned = draw(persons, same.assign(yaw=[-0.4, 0.0, 0.4]), size=48)

Each row depends on (seed, identity, photo) alone: more people or photos never alter the ones already there.
Lengths are in half picture widths, x to the right, y downwards, angles in radians, ages in years.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
from tqdm import tqdm

from data_prep.faces_drawing import grey, picture
from data_prep.prepared import Description, create_images, finish, writing

VERSION = "faces 1"
VISIBLE = ("Eyeglasses", "Smiling", "Mouth_Open", "Hat", "Dark_Hair", "Long_Hair", "Beard", "Earrings")
# Subjective labels: a fixed coin per identity, independent of every pixel. They can be memorised, never read.
PERSONAL = ("Attractive", "Trustworthy", "Friendly_Looking", "Young_Looking", "Famous_Looking", "Elegant")
LABEL_NOISE = 0.03  # chance that one attribute of one picture is noted wrongly
AGE_FROM = (0, 7, 13, 20, 31, 46, 56, 67)  # first year of MUFAC's classes a to h; the last one ends at 80
AGES = tuple(f"{low}-{high - 1}" for low, high in pairwise((*AGE_FROM, 81)))  # "0-6", …, "67-80"

# What stays with a person: factor -> (lowest, highest) of a uniform draw. Append only: the order is the seed.
_PERSON = {
    "head_width": (0.41, 0.52), "head_height": (0.55, 0.65), "jaw": (0.08, 0.42), "boxy": (0.0, 0.5),
    "skin": (0, 1), "undertone": (-1, 1), "hair_tone": (0, 1), "iris_tone": (0, 1), "lip_tone": (0, 1),
    "eye_gap": (0.165, 0.225), "eye_height": (-0.06, 0.04), "eye_width": (0.085, 0.12),
    "eye_round": (0.45, 0.72), "eye_tilt": (-0.022, 0.028), "iris": (0.045, 0.06),
    "brow_height": (0.105, 0.16), "brow_thick": (0.012, 0.032), "brow_tilt": (-0.026, 0.012),
    "brow_arch": (0.0, 0.05), "nose_length": (0.17, 0.27), "nose_width": (0.05, 0.105),
    "mouth_drop": (0.125, 0.19), "mouth_width": (0.12, 0.2), "lip_thick": (0.018, 0.05),
    "ear": (0.05, 0.08), "hair_length": (0, 1), "volume": (0.03, 0.13), "curl": (-0.5, 1),
    "forehead": (0.4, 0.72), "fringe": (0.1, 1.2), "part": (-0.17, 0.17), "bun": (0, 1),
    "freckles": (-1.6, 1), "freckle_x": (0, 6.3), "freckle_y": (0, 6.3), "mole": (0, 1),
    "mole_x": (-0.3, 0.3), "mole_y": (0.12, 0.42), "scar": (0, 1), "scar_x": (-0.28, 0.28),
    "scar_y": (-0.3, 0.3), "scar_tilt": (-1.5, 1.5), "glasses_rate": (0, 1), "beard_rate": (0, 1),
    "earrings_rate": (0, 1), "smile_rate": (0.15, 0.85), "hat_rate": (0.02, 0.3), "mid_age": (0, 1),
    "ageing": (-0.22, 0.22), "balding": (0, 1), "frame": (0, 1), "frame_size": (0.125, 0.165),
    "frame_boxy": (0, 0.8),
}  # fmt: skip
# What changes from photo to photo.
_OCCASION = {
    "yaw": (-1, 1), "pitch": (-0.2, 0.2), "roll": (-0.17, 0.17), "shift_x": (-0.09, 0.09),
    "shift_y": (-0.02, 0.12), "scale": (1.25, 1.5), "light_x": (-1, 1), "light_y": (-0.9, 0.3),
    "light_strength": (0.03, 0.24), "light_warmth": (-1, 1), "exposure": (0.8, 1.02), "smile": (0, 1),
    "smile_much": (0, 1), "mouth_open": (0, 1), "open_much": (0.4, 1), "eye_open": (0.72, 1.08),
    "blink": (0, 1), "gaze": (-0.022, 0.022), "glasses": (0, 1), "hat": (0, 1), "hat_tone": (0, 1),
    "hat_brim": (-0.6, 1), "earrings": (0, 1), "earring_tone": (0, 1), "earring_drop": (0, 0.09),
    "beard": (0, 1), "beard_length": (0.0, 0.08), "hair_growth": (-0.12, 0.12), "haircut": (0, 1),
    "hair_fade": (-0.04, 0.04), "age": (-5, 5), "back_tone": (0, 1), "back_other": (0, 1),
    "back_turn": (-3.14, 3.14), "blob_x": (-1, 1), "blob_y": (-1, 0.6), "blob_tone": (0, 1),
    "clothes": (0, 1), "neckline": (0.05, 0.2),
}  # fmt: skip


def _uniforms(table: dict, keys: Sequence[tuple[int, ...]]) -> dict[str, np.ndarray]:
    """One uniform draw for each factor and key, each key with a random stream of its own, as (N,) arrays."""
    draws = np.array([np.random.default_rng(key).random(len(table)) for key in keys]).reshape(-1, len(table))
    return {name: low + (high - low) * draws[:, i] for i, (name, (low, high)) in enumerate(table.items())}


def people(identities: Sequence[int], *, seed: int, task: str = "attributes") -> pd.DataFrame:
    """What stays with each person: one row for each entry of `identities` (repeats allowed).

    Args:
        identities: numbers of 0 or more; a number always names the same person of this seed.
        task: "attributes" gives adults, "ages" people whose pictures spread over all eight age classes.
    Raises:
        ValueError: a negative identity number or an unknown task.
    """
    _known_task(task)
    numbers = np.asarray(identities, dtype=np.int64).reshape(-1)
    if (numbers < 0).any():
        raise ValueError(f"identity {numbers.min()} is negative: number people from 0.")
    unique, back = np.unique(numbers, return_inverse=True)
    p = _uniforms(_PERSON, [(seed, 1, int(n)) for n in unique])
    p["hair_tone"] = p["hair_tone"] ** 1.4 * (1 - 0.75 * np.clip(p["skin"] * 1.6 - 0.3, 0, 1))
    p["iris_tone"] *= 1 - 0.8 * np.clip(p["skin"] * 1.6 - 0.3, 0, 1)
    # Short or long, with a gap between the two, so that the attribute can be told.
    p["hair_length"] = np.where(p["hair_length"] < 0.5, 0.6 * p["hair_length"], 0.3 + 0.7 * p["hair_length"])
    p["beard_rate"] = np.where(p["beard_rate"] < 0.3, 0.75, 0.04) * (p["hair_length"] < 0.45)
    p["glasses_rate"] = np.where(p["glasses_rate"] < 0.3, 0.8, 0.07)
    p["earrings_rate"] = np.where(p["earrings_rate"] < 0.4, 0.65, 0.05)
    if task == "ages":  # as many people around each class, whatever its width
        p["mid_age"] = np.interp(p["mid_age"] * 8, range(9), (*AGE_FROM, 80))
    else:
        p["mid_age"] = 23 + 45 * p["mid_age"] ** 1.5
    return pd.DataFrame({"identity": unique, **p}).iloc[back].reset_index(drop=True)


def occasions(persons: pd.DataFrame, photos: Sequence[int], *, seed: int) -> pd.DataFrame:
    """What changes from photo to photo: one row for each row of `persons` and its photo number (0 or more).

    `glasses`, `hat`, `earrings` and `beard` are 0 or 1; `smile` (-0.12 to 1) and `mouth_open` (0 to 1) are
    amounts; `age` is the age in years on the day of the photo.

    Raises:
        ValueError: not one photo number for each row of `persons`.
    """
    if len(persons) != len(photos):
        raise ValueError(f"{len(persons)} persons but {len(photos)} photo numbers: give one for each row.")
    keys = [(seed, 2, int(i), int(n)) for i, n in zip(persons["identity"], photos, strict=True)]
    o, p = _uniforms(_OCCASION, keys), {name: persons[name].to_numpy() for name in persons}
    o["yaw"] = 0.5 * o["yaw"] * np.abs(o["yaw"])  # most people look almost straight at the camera
    much = o.pop("smile_much")
    o["smile"] = np.where(o["smile"] < p["smile_rate"], 0.5 + 0.5 * much, 0.27 * much - 0.12)
    o["mouth_open"] = (o["mouth_open"] < 0.35) * o.pop("open_much")
    o["eye_open"] = np.where(o.pop("blink") < 0.03, 0.2, o["eye_open"])
    o["age"] = np.clip(p["mid_age"] + o["age"], 0, 80)
    for name in ("glasses", "hat", "earrings", "beard"):
        o[name] = (o[name] < p[name + "_rate"]) * (1.0 if name != "beard" else o["age"] >= 18)
    length = np.where(o.pop("haircut") < 0.07, 0.95 - p["hair_length"], p["hair_length"])
    o["hair_length_now"] = np.clip(length + o.pop("hair_growth"), 0, 1)
    return pd.DataFrame(o)


def attributes(persons: pd.DataFrame, occasions: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    """The true attributes, before label noise: 0/1 columns VISIBLE, then PERSONAL, one row a picture."""
    p, o = persons.reset_index(drop=True), occasions.reset_index(drop=True)
    tone = np.clip(p["hair_tone"] + o["hair_fade"], 0, 1)
    dark = (1 - tone) * (1 - 0.85 * grey(p, o))  # black is 1, brown counts as dark until it turns grey
    seen = [o["glasses"], o["smile"] > 0.3, o["mouth_open"] > 0.2, o["hat"], dark > 0.72,
            o["hair_length_now"] > 0.45, o["beard"], o["earrings"]]  # fmt: skip
    coins = _uniforms(dict.fromkeys(PERSONAL, (0, 1)), [(seed, 3, int(i)) for i in persons["identity"]])
    columns = dict(zip(VISIBLE, seen, strict=True)) | {name: u < 0.5 for name, u in coins.items()}
    return pd.DataFrame({name: np.asarray(value).astype(np.int64) for name, value in columns.items()})


def noise_ceiling(prevalence: float, noise: float = LABEL_NOISE) -> float:
    """Best average precision, a fraction, of a model that knows the truth but not which labels were flipped.

    `prevalence` is the true share of ones. All true ones then rank above all true zeros, in random order
    within each; the precision averaged over the noted ones has the closed form below. (The best accuracy is
    1 - noise. For PERSONAL attributes of strangers nothing can beat chance: half of the labels.)

    Raises:
        ValueError: a prevalence not strictly between 0 and 1, or a noise outside [0, 0.5].
    """
    q, e = prevalence, noise
    if not (0 < q < 1 and 0 <= e <= 0.5):
        raise ValueError(f"prevalence {q} and noise {e} should lie in (0, 1) and [0, 0.5]: give fractions.")
    above, below = q * (1 - e), (1 - q) * e  # noted ones among the true ones, among the true zeros
    late = e + q * (1 - 2 * e) / (1 - q) * -np.log(q)  # precision averaged over the second group
    return float((above * (1 - e) + below * late) / (above + below))


def draw(persons: pd.DataFrame, occasions: pd.DataFrame, size: int, *, chunk: int | None = None) -> np.ndarray:
    """Pictures, uint8 (N, size, size, 3): row i shows person i on occasion i, whatever the frames' index.

    `chunk` is the number of pictures drawn at a time: it bounds the memory and never changes a byte.

    Raises:
        ValueError: a size below 16, or frames of different length.
    """
    if size < 16:
        raise ValueError(f"size {size} is too small to show a face: use 16 or more.")
    if len(persons) != len(occasions):
        raise ValueError(f"{len(persons)} persons but {len(occasions)} occasions: give one occasion a picture.")
    factors = {name: frame[name].to_numpy(np.float32) for frame in (persons, occasions) for name in frame}
    pictures = np.empty((len(persons), size, size, 3), np.uint8)
    step = chunk or max(1, 2**17 // size**2)
    for start in range(0, len(persons), step):
        part = {name: value[start : start + step, None, None] for name, value in factors.items()}
        pictures[start : start + step] = picture(SimpleNamespace(**part), size)
    return pictures


def prepare(
    out: Path, *, identities: int = 200, size: int = 48, seed: int = 0, task: str = "attributes",
    first_identity: int = 0, fewest: int = 5, most: int = 20,
) -> Description:  # fmt: skip
    """Write the prepared folder of `identities` people, numbered from `first_identity`, at `size` pixels.

    Each person has `fewest` to `most` pictures. The columns after image and identity are the 14 attributes
    (with label noise), or for task "ages" the class number `label`, 0 to 7, without noise.

    Raises:
        ValueError: identities, seed, size, task, first_identity, fewest or most out of range.
    """
    _known_task(task)
    if identities < 1 or first_identity < 0:
        raise ValueError(f"identities={identities}, first_identity={first_identity}: use at least 1, from 0 on.")
    if seed < 0:
        raise ValueError(f"seed={seed}: use 0 or more.")
    if not 1 <= fewest <= most:
        raise ValueError(f"fewest={fewest}, most={most}: use 1 <= fewest <= most pictures for each person.")
    if size < 16:
        raise ValueError(f"size {size} is too small to show a face: use 16 or more.")
    index, persons, moments = _photos(range(first_identity, first_identity + identities), seed, task, fewest, most)
    classes = AGES if task == "ages" else VISIBLE + PERSONAL
    described = Description(
        name="faces", task="multiclass" if task == "ages" else "multilabel", classes=classes, size=size,
        licence="rendered by data_prep/faces.py, shows no real person; MIT like this repository",
        sources={"renderer": VERSION},
        options={"task": task, "seed": seed, "first_identity": first_identity, "fewest": fewest, "most": most},
    )  # fmt: skip
    with writing(out) as folder:
        images = create_images(folder, len(index), size)
        for start in tqdm(range(0, len(index), 256), desc="drawing faces", unit="batch", leave=True):
            rows = slice(start, start + 256)
            images[rows] = draw(persons.iloc[rows], moments.iloc[rows], size)
        images.flush()
        finish(folder, index, described)
    return described


def _photos(numbers: range, seed: int, task: str, fewest: int, most: int) -> tuple[pd.DataFrame, ...]:
    """Index, persons and occasions, each with one row a picture."""
    counts = [int(np.random.default_rng((seed, 4, n)).integers(fewest, most + 1)) for n in numbers]
    identity, photo = np.repeat(list(numbers), counts), np.concatenate([np.arange(c) for c in counts])
    persons = people(identity, seed=seed, task=task)
    moments = occasions(persons, photo, seed=seed)
    names = [f"{i:05d}_{n:03d}.png" for i, n in zip(identity, photo, strict=True)]
    if task == "ages":
        labels = pd.DataFrame({"label": np.searchsorted(AGE_FROM, np.floor(moments["age"]), side="right") - 1})
    else:
        labels = attributes(persons, moments, seed=seed)
        keys = [(seed, 5, int(i), int(n)) for i, n in zip(identity, photo, strict=True)]
        noise = _uniforms(dict.fromkeys(labels, (0, 1)), keys)
        labels ^= (pd.DataFrame(noise) < LABEL_NOISE).astype(np.int64)
    return pd.concat([pd.DataFrame({"image": names, "identity": identity}), labels], axis=1), persons, moments


def _known_task(task: str) -> None:
    if task not in ("attributes", "ages"):
        raise ValueError(f"unknown task {task!r}: use 'attributes' or 'ages'.")
