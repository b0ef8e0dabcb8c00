"""How much one photo says of a person: what can be had from it, before any method is run.

python -m shui_workbook.studies.handle --dataset celebahq --presets cpu face-resnet --seeds 0 1 2

Two models are trained on shared persons and on a group of their own each. Whoever belongs to one group is known to one
model and unmet by the other, which gives two numbers a person, in nats:

    gap on trained photos = loss of the model that never met the person − loss of the one that trained on the photos
    gap on held photos    = the same on photos of the person that neither model saw
    handle                = mean gap on held photos / mean gap on trained photos

A model that remembers pictures has a handle near 0: a photo that it was not trained on tells it nothing of what it
knows, and no method that is given such a photo can find it there. One that remembers persons comes near 1.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from shui_lib.benchmark.data import Faces, folder_of, load_faces
from shui_lib.benchmark.models import build_model, weights_checksum
from shui_lib.benchmark.predict import predict, task_loss
from shui_lib.benchmark.presets import preset_named
from shui_lib.benchmark.train import fit
from shui_lib.core.machine import device_name, git_commit
from shui_lib.core.places import DATA, RESULTS, RUNS
from shui_lib.core.progress import progress
from shui_lib.core.randomness import checked_seed
from shui_lib.core.source import source_of
from shui_lib.core.stages import load_or_compute
from shui_lib.core.store import load_tensors, save_frame, save_tensors
from shui_workbook.arguments import check_seeds, command_line
from shui_workbook.records.files import check_results, lines_of, put

KEY = ["dataset", "preset", "seed"]
GAPS = ["trained", "held"]
COLUMNS = [*KEY, "design", "identity", *GAPS, "unmet", "git"]
RESAMPLES = 2000


@dataclass(frozen=True, kw_only=True)
class Design:
    """How many persons and photos."""

    shared: int = 80  # persons that both models are trained on
    own: int = 40  # persons that one of them is trained on, and whose gaps are measured
    photos: int = 9  # of each person, trained on at most
    held: int = 4  # of each person, that no model is trained on

    def __str__(self) -> str:
        return f"{self.shared} shared, 2 x {self.own}; {self.photos} + {self.held} photos"

    def __post_init__(self) -> None:
        """ValueError: a number that is not whole, or not above zero."""
        for name in (field.name for field in fields(Design)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name}={value!r}: give a whole number above 0 (--{name})")


@dataclass(frozen=True, eq=False)
class Draw:
    """Rows of the data set: what each model is trained on, and what the persons of both groups are measured on."""

    train: tuple[np.ndarray, np.ndarray]
    trained: tuple[np.ndarray, np.ndarray]  # photos of group 0, which model 0 is trained on, and of group 1
    held: tuple[np.ndarray, np.ndarray]  # photos of the same persons that neither is trained on
    watched: np.ndarray  # held photos of shared persons: the validation of training

    @property
    def mark(self) -> str:
        """Sixteen hexadecimal digits that are others when any row is."""
        rows = [*self.train, *self.trained, *self.held, self.watched]
        return hashlib.sha256(json.dumps([part.tolist() for part in rows]).encode()).hexdigest()[:16]


def draw(identity: np.ndarray, design: Design, *, generator: torch.Generator) -> Draw:
    """Who is shared, who is in which group, and which photos are held.

    Args:
        identity: (N,) identity of every image.
    Raises:
        ValueError: too few identities with a photo more than those held.
    """
    people, counts = np.unique(identity, return_counts=True)
    people = people[counts > design.held]
    if len(people) < (wanted := design.shared + 2 * design.own):
        raise ValueError(
            f"{wanted} identities asked for, but {len(people)} have more than {design.held} images: "
            f"ask for fewer with --shared and --own, or hold fewer with --held"
        )
    order = people[torch.randperm(len(people), generator=generator).numpy()]
    groups = np.split(order[:wanted], [design.shared, design.shared + design.own])
    trained, held = zip(*(_photos(identity, group, design, generator) for group in groups), strict=True)
    both = [np.sort(np.concatenate([trained[0], own])) for own in trained[1:]]
    return Draw(tuple(both), trained[1:], held[1:], held[0])


def _photos(
    identity: np.ndarray, people: np.ndarray, design: Design, generator: torch.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to hold, of every person."""
    trained, held = [], []
    for person in np.sort(people):
        rows = np.flatnonzero(identity == person)
        rows = rows[torch.randperm(len(rows), generator=generator).numpy()]
        held.append(rows[: design.held])
        trained.append(rows[design.held : design.held + design.photos])
    return np.sort(np.concatenate(trained)), np.sort(np.concatenate(held))


def gaps(
    dataset: str,
    preset: str,
    seed: int,
    design: Design = Design(),
    *,
    data_root: Path = DATA,
    runs_root: Path = RUNS,
    device: str | None = None,
) -> pd.DataFrame:
    """Both models of a seed, and what they say of the persons that one of them never met.

    Returns:
        Columns identity; trained and held, the person's gaps; unmet, the loss of the model that never met the person
        on the photos of `trained`. Nats.
    """
    faces, seed = load_faces(folder_of(data_root, dataset)), checked_seed(seed)
    drawn = draw(faces.identity, design, generator=torch.Generator().manual_seed(seed))
    losses = []
    for which in (0, 1):
        facts = {"dataset": dataset, "fingerprint": faces.fingerprint, "seed": seed, "which": which}
        facts["code"] = source_of("shui_lib.benchmark.train", "shui_lib.benchmark.predict")
        facts |= {"design": asdict(design), "classes": faces.classes, "image_size": faces.size, "rows": drawn.mark}
        losses.append(_losses(faces, preset, facts, drawn, runs_root / dataset, device))
    return pd.concat([_by_person(faces, losses, drawn, group) for group in (0, 1)], ignore_index=True)


def _losses(
    faces: Faces, preset: str, facts: dict[str, object], drawn: Draw, runs: Path, device: str | None
) -> np.ndarray:
    """(N,) loss of a model for the images that are measured, nats, nan for others; it is trained if it is not there."""
    config, seed = preset_named(preset, dataset=faces.name), facts["seed"]
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    facts = facts | {part: asdict(getattr(config, part)) for part in ("model", "train")}
    if config.model.pretrained:
        facts["weights"] = weights_checksum(config.model)

    def compute(folder: Path) -> dict[str, object]:
        network = build_model(config.model, n_outputs=len(faces.classes), image_size=faces.size, seed=seed).to(where)
        train, watched = faces[drawn.train[facts["which"]]], faces[drawn.watched]
        checkpoint = folder / "training.checkpoint"
        model, history = fit(network, train, watched, config.train, seed=seed, checkpoint=checkpoint)
        losses = torch.full((len(faces),), torch.nan)
        asked = torch.from_numpy(np.concatenate([*drawn.trained, *drawn.held]))
        logits = predict(model, faces[asked], bf16=config.train.bf16).logits
        losses[asked] = task_loss(logits, faces[asked].targets, reduction="none")
        save_tensors(folder / "losses.safetensors", {"loss": losses})
        save_frame(folder / "history.csv", history)
        return {"device": device_name(where), "git": git_commit(), "torch": torch.__version__}

    stage = load_or_compute(runs, "handle", json.loads(json.dumps(facts)), compute)
    return load_tensors(stage.file("losses.safetensors"))["loss"].numpy()


def _by_person(faces: Faces, losses: Sequence[np.ndarray], drawn: Draw, group: int) -> pd.DataFrame:
    """What is measured of the persons of a group, whom model `group` has met and the other has not."""
    met, unmet = losses[group], losses[1 - group]

    def mean(values: np.ndarray, rows: np.ndarray) -> pd.Series:
        return pd.Series(values[rows]).groupby(faces.identity[rows]).mean()

    trained, held = drawn.trained[group], drawn.held[group]
    found = {"trained": mean(unmet - met, trained), "held": mean(unmet - met, held), "unmet": mean(unmet, trained)}
    return pd.DataFrame(found).rename_axis("identity").reset_index()


def read(results: Path = RESULTS) -> pd.DataFrame:
    """What was recorded, columns `COLUMNS`; no lines where nothing was."""
    return lines_of(Path(results) / "handle.csv", COLUMNS, ["dataset", "preset", "design", "git"])


# What follows from the gaps -------------------------------------------------------------------------------------------


def handles(found: pd.DataFrame) -> pd.DataFrame:
    """The handle of every preset on every data set, with 95 % intervals over persons and seeds.

    Persons and seeds are drawn anew independently (Owen, 2007, "The pigeonhole bootstrap"), so that a person who is
    measured in several seeds counts once. With one seed the interval is over persons alone, and says nothing of how
    models differ.

    Args:
        found: columns `COLUMNS`.
    Returns:
        A line a data set and preset: seeds, people; trained, held, handle, each with _low and _high (nats, and a
        fraction); note, why there is no handle: where the gap on trained photos is not above zero, nothing is
        remembered that a photo could be compared with.
    """
    lines = []
    for (dataset, preset), one in found.groupby(["dataset", "preset"]):
        lines.append({"dataset": dataset, "preset": preset} | _handle(one))
    return pd.DataFrame(lines)


def _handle(one: pd.DataFrame) -> dict[str, object]:
    means = _means(one, GAPS)
    told = {"seeds": one["seed"].nunique(), "people": one["identity"].nunique(), "unmet": one["unmet"].mean()}
    for name, values in zip(GAPS, means.T, strict=True):
        told[name] = one[name].mean()
        told[f"{name}_low"], told[f"{name}_high"] = np.quantile(values, [0.025, 0.975])
    if not told["trained_low"] > 0:
        note = "the gap on trained photos is not above zero"
        return told | {"handle": np.nan, "handle_low": np.nan, "handle_high": np.nan, "note": note}
    low, high = np.quantile(means[:, 1] / means[:, 0], [0.025, 0.975])
    return told | {"handle": told["held"] / told["trained"], "handle_low": low, "handle_high": high, "note": ""}


def _means(found: pd.DataFrame, columns: Sequence[str]) -> np.ndarray:
    """(about RESAMPLES, columns) means over lines whose persons and seeds are drawn anew."""
    seeds, people = (np.unique(found[column], return_inverse=True) for column in ("seed", "identity"))
    chance = np.random.default_rng(0)
    drawn = [chance.multinomial(len(names), [1 / len(names)] * len(names), RESAMPLES) for names, _ in (seeds, people)]
    weight = drawn[0][:, seeds[1]] * drawn[1][:, people[1]]
    weight = weight[weight.sum(1) > 0]
    return weight @ found[[*columns]].to_numpy() / weight.sum(1, keepdims=True)


def against(found: pd.DataFrame, reference: str = "cpu") -> pd.DataFrame:
    """What the other presets know of persons beyond the reference, on the persons and seeds that both have.

    Args:
        found: columns `COLUMNS`.
    Returns:
        A line a data set and preset: the differences of the gap on held photos (nats) and of the handle (a fraction),
        preset − reference, each with _low and _high: 95 % over persons and seeds, drawn anew as for `handles`.
    """
    lines, same = [], ["dataset", "seed", "identity"]
    theirs = found[found["preset"] == reference]
    for (dataset, preset), mine in found[found["preset"] != reference].groupby(["dataset", "preset"]):
        both = mine.merge(theirs, on=same, suffixes=("", "_reference"))
        line, columns = {"dataset": dataset, "preset": preset}, [*GAPS, *(f"{gap}_reference" for gap in GAPS)]
        if both.empty:
            continue
        for name, measure in {"held": lambda m: m[..., 1] - m[..., 3], "handle": _ratios}.items():
            low, high = np.quantile(measure(_means(both, columns)), [0.025, 0.975])
            line |= {name: measure(both[columns].to_numpy().mean(0)), f"{name}_low": low, f"{name}_high": high}
        lines.append(line)
    ends = [f"{name}{end}" for name in ("held", "handle") for end in ("", "_low", "_high")]
    return pd.DataFrame(lines, columns=["dataset", "preset", *ends])


def _ratios(means: np.ndarray) -> np.ndarray:
    """Handle − handle of the reference, of means (..., trained held trained held)."""
    return means[..., 1] / means[..., 0] - means[..., 3] / means[..., 2]


@dataclass(frozen=True, kw_only=True)
class Command(Design):
    """Options of this command."""

    dataset: str = "faces"
    presets: tuple[str, ...] = ("cpu",)
    seeds: tuple[int, ...] = (0, 1, 2)
    data_root: Path = DATA
    runs_root: Path = RUNS
    results: Path = RESULTS

    def __post_init__(self) -> None:
        """ValueError: as `Design`, no presets, one that is unknown or whose weights are not there, `check_seeds`."""
        super().__post_init__()
        check_seeds(self.seeds)
        if not self.presets:
            raise ValueError("--presets: name one or more")
        for preset in self.presets:
            if (model := preset_named(preset).model).pretrained:
                try:
                    weights_checksum(model)
                except FileNotFoundError as error:
                    raise ValueError(str(error)) from error


def main(argv: Sequence[str] | None = None) -> None:
    """Record the gaps of the given presets and seeds in results/handle.csv."""
    asked = command_line(Command, argv, __doc__)
    design = Design(**{field.name: getattr(asked, field.name) for field in fields(Design)})
    check_results(asked.results)
    if others := set(read(asked.results)["design"]) - {str(design)}:
        raise SystemExit(
            f"{asked.results} has handles of another design ({others.pop()}): give --results another folder"
        )
    pairs = [(preset, seed) for seed in asked.seeds for preset in asked.presets]
    for preset, seed in progress(pairs, desc="handle", unit="model pair"):
        found = gaps(asked.dataset, preset, seed, design, data_root=asked.data_root, runs_root=asked.runs_root)
        found = found.assign(dataset=asked.dataset, preset=preset, seed=seed, design=str(design), git=git_commit())
        put(asked.results / "handle.csv", found[COLUMNS], KEY, "identity")


if __name__ == "__main__":
    main()
