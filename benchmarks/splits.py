"""Index, split and requests of a data set as large as CelebA, against plain loops over its rows."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks.measure import Row, check_equal, measured_in_turn, row
from benchmarks.synthetic import K
from shui_lib.benchmark.data import load_faces
from shui_lib.benchmark.presets import SplitConfig
from shui_lib.benchmark.splits import (
    FEWEST_IMAGES,
    FEWEST_IMAGES_ALONE,
    draw_request,
    simulated_requests,
    split_identities,
)

IDENTITIES, IMAGES, N_IDS = 10_177, 202_599, 20
Found = tuple[list[int] | np.ndarray, ...]


def celeba_like() -> np.ndarray:
    """(N,) identities in a random order: up to 35 images each, most have 15 to 30."""
    chance = np.random.default_rng(0)
    counts = np.clip(chance.normal(20, 7, IDENTITIES).round().astype(int), 1, 35)
    while (missing := IMAGES - counts.sum()) != 0:
        moved = chance.integers(IDENTITIES, size=abs(missing))
        counts[moved] = np.clip(counts[moved] + np.sign(missing), 1, 35)
    return chance.permutation(np.repeat(np.arange(IDENTITIES), counts))


def ours(identity: np.ndarray) -> Found:
    """A split, a request, and one epoch of simulated requests."""
    draws = torch.Generator().manual_seed(0)
    split = split_identities(identity, generator=draws)
    request = draw_request(identity, split, n_ids=N_IDS, generator=draws)
    simulated = simulated_requests(identity, split.train, n_ids=N_IDS, generator=draws)
    parts = (split.train, split.val, split.test, request.support, request.forget, request.retain)
    return (*parts, *(np.concatenate(part) for part in zip(*simulated, strict=True)))


def plain(identity: list[int]) -> Found:
    """The twin: dictionaries, filled row by row."""
    draws, config = torch.Generator().manual_seed(0), SplitConfig()
    rows_of: dict[int, list[int]] = {}
    for place, who in enumerate(identity):
        rows_of.setdefault(who, []).append(place)

    def shuffled(some: list[int], generator: torch.Generator) -> list[int]:
        some = sorted(some)
        return [some[k] for k in torch.randperm(len(some), generator=generator).tolist()]

    def fill(order: list[int], target: float) -> int:
        best, held, nearest = 0, 0, target
        for count, who in enumerate(order, 1):
            held += len(rows_of[who])
            if abs(held - target) < nearest:
                best, nearest = count, abs(held - target)
        return best

    def pick(who: int) -> int:
        return rows_of[who][int(torch.randint(len(rows_of[who]), (), generator=draws))]

    everyone = shuffled([*rows_of], torch.Generator().manual_seed(0))
    pool = everyone[: fill(everyone, config.pool * len(identity))]
    inside = set(pool)
    order = pool + shuffled([who for who in rows_of if who not in inside], draws)
    first, second = (fill(order, share * len(identity)) for share in (config.shares[0], sum(config.shares[:2])))
    parts = [sorted(part) for part in (order[:first], order[first:second], order[second:])]

    asking = [w for w in shuffled([w for w in parts[0] if w not in inside], draws) if len(rows_of[w]) >= FEWEST_IMAGES]
    alone = next(k for k, who in enumerate(asking) if len(rows_of[who]) >= FEWEST_IMAGES_ALONE)
    asking = [asking[alone], *asking[:alone], *asking[alone + 1 :]][:N_IDS]
    support = [pick(who) for who in asking]
    train, held_out, gone = set(parts[0]), set(support), set(asking)
    known = [place for place, who in enumerate(identity) if who in train and place not in held_out]
    forget = [place for place in known if identity[place] in gone]
    retain = [place for place in known if identity[place] not in gone]

    usable = shuffled([who for who in parts[0] if len(rows_of[who]) >= FEWEST_IMAGES], draws)
    usable += usable[: -len(usable) % N_IDS]
    simulated, left = [], []
    for start in range(0, len(usable), N_IDS):
        group = usable[start : start + N_IDS]
        chosen = [pick(who) for who in group]
        simulated += chosen
        left += sorted(place for who in group for place in rows_of[who] if place not in set(chosen))
    return (*parts, support, forget, retain, simulated, left)


def write_index(folder: Path, identity: np.ndarray) -> None:
    """A prepared data set of one-pixel images."""
    values = np.random.default_rng(0).integers(0, 2, (len(identity), K))
    frame = pd.DataFrame(values, columns=[f"a{k}" for k in range(K)])
    frame.insert(0, "image", [f"{place:06}.jpg" for place in range(len(identity))])
    frame.insert(1, "identity", identity)
    frame.to_csv(folder / "index.csv", index=False)
    np.save(folder / "images.npy", np.zeros((len(identity), 1, 1, 3), np.uint8))
    about = {"name": "like CelebA", "task": "multilabel", "classes": list(frame.columns[2:])}
    (folder / "dataset.json").write_text(json.dumps(about))


def plain_index(folder: Path) -> Found:
    """The twin: row by row with the standard library."""
    identity, targets = [], []
    with (folder / "index.csv").open(newline="") as file:
        for line in csv.DictReader(file):
            identity.append(int(line["identity"]))
            targets.append([float(line[f"a{k}"]) for k in range(K)])
    return identity, targets


def index(folder: Path) -> Found:
    """Ours, as every experiment opens its data set."""
    faces = load_faces(folder)
    return faces.identity, faces.targets.numpy()


def rows() -> list[Row]:
    """Both steps on 202,599 rows."""
    identity = celeba_like()
    found = measured_in_turn(lambda: ours(identity), lambda: plain(identity.tolist()))
    with tempfile.TemporaryDirectory() as name:
        write_index(Path(name), identity)
        read = measured_in_turn(lambda: index(Path(name)), lambda: plain_index(Path(name)), repeats=2)
    for case, (one, other) in {"splits": found, "index": read}.items():
        for mine, theirs in zip(one.result, other.result, strict=True):
            check_equal(case, np.asarray(mine), np.asarray(theirs))
    size = f"{IMAGES:,} rows"
    return [row("splits", f"splits and requests, {size}", *found), row("splits", f"index, {size}", *read)]
