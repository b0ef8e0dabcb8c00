"""One GAN of one seed, what is asked of it, and every model made from it: loaded if it is there, else computed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from data_prep import faces as rendered
from shui_lib.benchmark.data import Faces, folder_of, load_faces
from shui_lib.core.machine import git_commit
from shui_lib.core.places import ROOT
from shui_lib.core.randomness import checked_seed
from shui_lib.core.source import source_of
from shui_lib.core.stages import Stage, load_or_compute
from shui_lib.core.store import checksum, load_note, load_tensors, save_frame, save_tensors
from shui_lib.gan.cascade import Cascade
from shui_lib.gan.latents import Inversion, invert
from shui_lib.gan.stylegan2 import GAN, GANConfig, load_gan, save_gan
from shui_lib.gan.train import GANTraining, fit_gan, pictures_of
from shui_lib.methods import Given
from shui_workbook.studies.gan import measures, requests
from shui_workbook.studies.gan.classifier import Classifier, accuracy, train_classifier
from shui_workbook.studies.gan.requests import Request, held_out, request_of
from shui_workbook.studies.ltu_requests import as_people

FOLDERS = {"faces": "people32"}  # ten rendered people, 360 pictures each; other data sets lie under their own name
DRAWN = ("faces", "mnist", "cifar10")  # by the name in dataset.json: of others pictures may show real people
COMMITTED = ROOT / "results" / "gan_faces.safetensors"  # the original of seed 0


def trained_as(path: Path) -> GANTraining:
    """How the GAN in a file was trained; the default where there is none."""
    return GANTraining(**load_note(path)["facts"]["training"]) if path.is_file() else GANTraining()


CONTINUED = 0.1  # share of its training that a GAN goes on with, where nothing is unlearned
EPOCHS = 10  # of a classifier; one under `smoke`, whose GAN draws blurs
PRESETS = {"smoke": GANTraining(kimg=0.64, tick=10), "cpu": trained_as(COMMITTED)}
CHAPTER = {
    "smoke": Cascade(steps=4, check=2, batch=8, inversion=Inversion(steps=5)),
    "cpu": Cascade(steps=30, lr=5e-4, inversion=Inversion(steps=60)),  # half of the steps, longer ones
}


@dataclass(frozen=True)
class Study:
    """One GAN of one seed, what is asked of it, and every model made from it."""

    dataset: str = "faces"
    seed: int = 0  # of the request and of what is drawn to measure
    gan_seed: int = 0  # of the GAN: requests of several seeds may be made of one GAN
    data_root: Path = ROOT / "data"
    runs_root: Path = ROOT / "runs"
    training: GANTraining = field(default_factory=lambda: PRESETS["cpu"])
    channels: tuple[int, ...] = GANConfig.channels

    def __post_init__(self) -> None:
        checked_seed(self.seed)
        checked_seed(self.gan_seed)
        folder_of(self.data_root, self.dataset)

    @cached_property
    def folder(self) -> Path:
        """Where the data lies; the rendered people are drawn if they are not there."""
        folder = Path(self.data_root) / FOLDERS.get(self.dataset, self.dataset)
        if self.dataset == "faces" and not folder.is_dir():
            rendered.prepare(folder, identities=10, size=32, fewest=360, most=360)
        return folder

    @cached_property
    def faces(self) -> tuple[Faces, Faces]:
        """Training and test pictures; where attributes are noted, the class is the person.

        Raises:
            ValueError: a data set whose pictures may not be drawn, as they and their inversions are.
        """
        faces = load_faces(self.folder)
        if faces.name not in DRAWN:
            raise ValueError(f"{self.folder} may show real people, and pictures are drawn: take {', '.join(DRAWN)}")
        return held_out(as_people(faces) if faces.multilabel else faces)

    @cached_property
    def config(self) -> GANConfig:
        """The architecture that fits the data."""
        return GANConfig(classes=len(self.faces[0].classes), channels=self.channels)

    @cached_property
    def facts(self) -> dict[str, object]:
        """What a GAN depends on."""
        return {
            "data": self.faces[0].fingerprint,
            "config": asdict(self.config),
            "training": asdict(self.training),
            "seed": self.gan_seed,
        }

    @cached_property
    def device(self) -> torch.device:
        """Where GANs are; pictures and classifiers stay on the CPU."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    @property
    def runs(self) -> Path:
        """The folder of the stages."""
        return Path(self.runs_root) / self.folder.name

    def request(self, kind: str) -> Request:
        """The request of this seed."""
        return request_of(self.faces[0], kind, seed=self.seed)

    # Models ---------------------------------------------------------------------------------------------------

    @property
    def file(self) -> Path:
        """The GAN trained on everything: the committed one if it is the one that is asked for, else trained here."""
        if COMMITTED.is_file() and load_note(COMMITTED)["facts"] == _json(self.facts):
            return COMMITTED
        return self.trained("").file("gan.safetensors")

    def original(self) -> GAN:
        """The GAN trained on everything."""
        return self.loaded(self.file)

    def loaded(self, file: Path) -> GAN:
        """A GAN from a file, on the device."""
        return GAN(*(network.to(self.device) for network in load_gan(file)))

    def history(self) -> pd.DataFrame:
        """How the original was trained, one row a tick."""
        return pd.DataFrame(load_note(self.file)["history"])

    def continued(self, kind: str) -> Stage:
        """The stage of the original that went on with its own training on what stays, by a share of it.

        The fair rival of both a cascade and a new GAN: the data is there, and nothing is unlearned.
        """
        return self.trained(kind, share=CONTINUED)

    def trained(self, without: str, seeds: Sequence[int] = (), *, share: float | None = None) -> Stage:
        """The stage of the GAN trained without the pictures of a request; with all of them for "".

        Args:
            seeds: of the requests whose pictures are left out together; by default this study's own.
            share: of the training, with which the original goes on; by default a new GAN has all of it.
        """
        seeds = sorted(set(seeds or (self.seed,))) if without else []
        training = replace(self.training, kimg=self.training.kimg * (share or 1.0))

        def compute(folder: Path) -> Mapping[str, object]:
            faces = self.faces[0]
            if without:
                asked = [request_of(faces, without, seed=seed).forget.rows for seed in seeds]
                kept = ~torch.isin(torch.from_numpy(faces.rows), torch.from_numpy(np.concatenate(asked)))
                faces = faces[kept.nonzero()[:, 0]]
            checkpoint = folder / "gan.checkpoint"
            gan, history = fit_gan(
                faces,
                self.config,
                training,
                seed=self.gan_seed,
                device=self.device,
                start=self.original() if share else None,
                checkpoint=checkpoint,
                sheet=lambda generator, kimg: measures.sheet(generator, folder / f"sheet_{kimg:04.0f}.png"),
            )
            note = {"facts": self.facts, "without": without, "git": git_commit(), "history": history.to_dict("records")}
            save_gan(folder / "gan.safetensors", gan, note)
            return {}

        chosen_by = [request_of.__module__] if without else []  # which pictures are left out
        code = source_of("shui_lib.gan.train", *chosen_by)
        facts = {**self.facts, "without": without, "requests": seeds, "code": code}
        facts |= {"from": checksum(self.file), "share": share} if share else {}
        return load_or_compute(self.runs, "gan", facts, compute)

    def classifier(self, seed: int, *, epochs: int | None = None) -> Classifier:
        """A classifier of the real training pictures: 0 for distances, 1 for accuracy; by default of `EPOCHS`."""
        if epochs is None:
            epochs = 1 if self.training == PRESETS["smoke"] else EPOCHS
        facts = {"data": self.facts["data"], "seed": seed, "epochs": epochs}
        facts["code"] = source_of("shui_workbook.studies.gan.classifier")

        def compute(folder: Path) -> Mapping[str, object]:
            found = train_classifier(self.faces[0], seed=seed, epochs=epochs)
            save_tensors(folder / "classifier.safetensors", found.state_dict())
            x, y = pictures_of(self.faces[1])
            return {"accuracy": accuracy(found, x, y)}

        stage = load_or_compute(self.runs, "gan_classifier", facts, compute)
        found = Classifier(self.config.classes)
        found.load_state_dict(load_tensors(stage.file("classifier.safetensors")))
        return found.eval().requires_grad_(False)

    def inverted(self, kind: str, given: Given, cascade: Cascade) -> Stage:
        """The stage of the latents w (N, Z) of what is to be forgotten; psnr (N,), how well they give it back, dB."""

        def compute(folder: Path) -> Mapping[str, object]:
            pictures = given.parts[cascade.asked].pixels()
            w, psnr = invert(self.original().generator, pictures, cascade.inversion)
            save_tensors(folder / "latents.safetensors", {"w": w.cpu(), "psnr": psnr.cpu()})
            return {"psnr": psnr.mean().item()}

        facts = {"data": self.facts["data"], "gan": checksum(self.file), "request": kind, "seed": self.seed}
        facts |= {"inversion": asdict(cascade.inversion), "code": source_of("shui_lib.gan.latents", requests.__name__)}
        return load_or_compute(self.runs, "gan_inverted", facts, compute)

    def forgotten(self, kind: str, cascade: Cascade, given: Given | None = None) -> tuple[GAN, pd.DataFrame]:
        """The GAN after a cascade, with its course.

        Args:
            kind: a request; or, with what is given, "photo-LABEL" (the picture as an item) or "person-LABEL" (the
                picture stands for its class, which is no longer drawn to learn from).
        """
        label = int(kind.partition("-")[2]) if kind.startswith(("class", "person")) else None
        asked = None if given else self.request(kind)
        given = given or Given({"forget": asked.forget.in_memory(), "learn": asked.learn.in_memory()})
        facts = {**self.facts, "request": kind, "request_seed": self.seed, "cascade": asdict(cascade)}
        facts |= {"gan": checksum(self.file), "code": source_of("shui_lib.gan.cascade", measures.__name__)}

        found = self.inverted(kind, given, cascade)

        def compute(folder: Path) -> Mapping[str, object]:
            gan, history = cascade.unlearn(
                self.original(),
                given,
                label=label,
                seed=self.seed,
                w=load_tensors(found.file("latents.safetensors"))["w"].to(self.device),
                maps=self.classifier(0).to(self.device).maps if cascade.perceptual else None,
                watch=measures.watch(self, asked) if asked else None,
                checkpoint=folder / "cascade.checkpoint",
            )
            save_gan(folder / "gan.safetensors", gan, {"facts": facts, "git": git_commit()})
            save_frame(folder / "history.csv", history.assign(invert_seconds=found.lineage["measured"]["seconds"]))
            return {}

        stage = load_or_compute(self.runs, "gan_forgotten", facts, compute, parents={"latents": found})
        return self.loaded(stage.file("gan.safetensors")), pd.read_csv(stage.file("history.csv"))


def _json(facts: Mapping[str, object]) -> dict[str, object]:
    return json.loads(json.dumps(facts))
