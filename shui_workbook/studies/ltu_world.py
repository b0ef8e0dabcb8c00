"""What chapter 20 is about: pictures with classes, a random-sample request, and the models that are trained on them.

The default is rendered people as classes, "who is it?". 15 % of the labels of every part are wrong. Without them the
network would answer a photo of somebody it knows as well whether or not it was trained on that photo, and there would
be nothing to forget; what it answers for a wrong label it can only have learned by heart.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from data_prep import faces as rendered
from shui_lib.benchmark.data import Faces, folder_of, load_faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.core.places import ROOT
from shui_lib.core.randomness import checked_seed
from shui_lib.core.source import source_of
from shui_lib.core.stages import Stage, load_or_compute
from shui_lib.core.store import load_tensors, locked, save_tensors
from shui_lib.ltu.networks import SIZES, Size, build, train
from shui_workbook.studies.ltu_judge import judged
from shui_workbook.studies.ltu_requests import (
    RandomRequest,
    as_people,
    check_shares,
    draw_random_request,
    with_wrong_labels,
)

PHOTOS, PIXELS = 75, 16  # of each rendered person: 50 photos to train on, 10 and 15 held out
PEOPLE = 20  # that are drawn of a larger data set, with as many images as they would have if they were rendered
RENDERED = {"faces": PEOPLE, "faces40": 40}  # data sets that are rendered for this chapter, and their people
WRONG = 0.15  # share of wrong labels
SHARES, OF_CIFAR = (2 / 3, 2 / 15, 1 / 5), (3 / 4, 1 / 12, 1 / 6)  # train, val, test
OTHER_SEED = {"original": 0, "retrained": 1, "retrained_again": 2}  # models of one world differ in initial weights, too


@dataclass(frozen=True, kw_only=True)
class World:
    """One seed of one data set: it draws wrong labels, split, request and weights.

    Raises:
        ValueError: a seed outside 0 … 2³² − 1, a data set that is no plain folder name, shares or a size out of range.
    """

    dataset: str = "faces"  # faces | faces40 (rendered here) | any prepared data set: its classes, or its people
    seed: int = 0
    share: float = 0.1  # of the training images, to be forgotten
    kept: float = 0.3  # of the retain images, at hand when the request comes
    size: str = "cpu"
    data_root: Path = ROOT / "data"
    runs_root: Path = ROOT / "runs"

    def __post_init__(self) -> None:
        checked_seed(self.seed)
        folder_of(self.data_root, self.dataset)
        check_shares(self.share, self.kept)
        if self.size not in SIZES:
            raise ValueError(f"size {self.size!r} is unknown: choose {', '.join(SIZES)}")

    @property
    def folder(self) -> Path:
        """Where the data lies; that of rendered people is drawn when it is missing."""
        if self.dataset in RENDERED:
            return prepared(self.data_root, RENDERED[self.dataset])
        return folder_of(self.data_root, self.dataset)

    @cached_property
    def faces(self) -> Faces:
        """Every image, with its noted class."""
        generator = torch.Generator().manual_seed(self.seed)
        faces = load_faces(self.folder)
        if faces.multilabel:
            people, photos = np.unique(faces.identity, return_counts=True)
            faces = as_people(faces.of(people[(-photos).argsort(kind="stable")[: self.people]]))
        some = torch.randperm(len(faces), generator=generator)[: self.most or len(faces)].sort().values
        return with_wrong_labels(faces[some].in_memory(), self.wrong, generator=generator)

    @cached_property
    def request(self) -> RandomRequest:
        """D_f, D_r, D_r′, val and test."""
        generator = torch.Generator().manual_seed(1000 + self.seed)
        sizes = {"share": self.share, "kept": self.kept, "shares": OF_CIFAR if self.size == "paper" else SHARES}
        return draw_random_request(self.faces, **sizes, generator=generator)

    @cached_property
    def parts(self) -> dict[str, Faces]:
        """The images of every part, by name."""
        return self.request.parts(self.faces)

    @cached_property
    def goal(self) -> dict[str, float]:
        """The retrained model's four numbers, as of `judged`."""
        return judged(self.model("retrained"), self.parts)

    @property
    def wrong(self) -> float:
        """Share of wrong labels; the paper has none."""
        return 0.0 if self.size == "paper" else WRONG

    @property
    def people(self) -> int:
        """Classes of a data set of attributes."""
        return RENDERED.get(self.dataset, PEOPLE)

    @property
    def most(self) -> int:
        """Images that are drawn; 0 for all."""
        return 0 if self.size == "paper" else self.people * PHOTOS

    @property
    def config(self) -> Size:
        """Network and recipe."""
        return SIZES[self.size]

    def fresh(self, seed: int) -> FaceModel:
        """The network, untrained."""
        return build(self.config.network, classes=len(self.faces.classes), image_size=self.faces.size, seed=seed)

    def model(self, name: str) -> FaceModel:
        """`original`, `retrained`, or `retrained_again` from other initial weights; trained once, then loaded."""
        stage, model = self._trained(name), self.fresh(0)
        model.load_state_dict(load_tensors(stage.file("model.safetensors")))
        return model.to("cuda" if torch.cuda.is_available() else "cpu").eval()

    def seconds(self, name: str) -> float:
        """How long that training took."""
        return self._trained(name).lineage["measured"]["seconds"]

    def _trained(self, name: str) -> Stage:
        seed = 10 * self.seed + OTHER_SEED[name]
        images = self.parts["train" if name == "original" else "retain"]
        facts = {"images": mark_of(images), "seed": seed, "config": repr(self.config)}
        facts |= {"data": load_faces(self.folder).fingerprint, "code": source_of("shui_lib.ltu.networks")}

        def compute(folder: Path) -> None:
            model = self.fresh(seed).to("cuda" if torch.cuda.is_available() else "cpu")
            train(model, images, self.config.recipe, generator=torch.Generator().manual_seed(seed))
            save_tensors(folder / "model.safetensors", model.state_dict())

        return load_or_compute(self.runs_root, f"ltu_{name}", facts, compute)


def mark_of(faces: Faces) -> str:
    """Sixteen hexadecimal digits of what a model is trained on: the images and their noted classes."""
    images = np.ascontiguousarray(faces.images[faces.rows])
    return hashlib.sha256(images.tobytes() + faces.targets.numpy().tobytes()).hexdigest()[:16]


def prepared(data_root: Path, people: int = PEOPLE) -> Path:
    """The folder of a rendered data set of this chapter, drawn when it is missing (seconds)."""
    folder = Path(data_root) / f"who_{people}"
    with locked(folder):
        if not (folder / "dataset.json").is_file():
            rendered.prepare(folder, identities=people, size=PIXELS, fewest=PHOTOS, most=PHOTOS)
    return folder
