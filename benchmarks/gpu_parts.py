"""What `make gpu-check` does on a card, part by part. Each takes a `Scale` and tells rows as it goes.

None of them imports more than torch, torchvision, timm, safetensors and pandas bring along, but `gan`, which needs
scikit-learn, and `chapters`, which needs Jupyter; they are skipped where it is missing.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch

from benchmarks.flops import share_of_peak
from benchmarks.measure import Measured, Row, measured_in_turn, row
from benchmarks.meta_gradient import TIMES, against
from benchmarks.synthetic import CPU_PRESET, DEVICE, MODELS, VIT_B, noise, random_model
from shui_lib.benchmark.data import Faces, load_faces
from shui_lib.benchmark.metrics import score_or_nan
from shui_lib.benchmark.models import build_model, weights_file
from shui_lib.benchmark.predict import predict
from shui_lib.benchmark.presets import Preset, preset_named
from shui_lib.benchmark.splits import split_identities
from shui_lib.benchmark.train import fit
from shui_lib.core.places import ROOT
from shui_lib.methods import Given, make_method

Tell = Callable[[Row], None]
PIXELS = 224
MIN_IMAGES = 13  # of a person, as chapters are told to prepare CelebA-HQ
SIDE_BY_SIDE = 4  # chapters on one card


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How large everything is."""

    model: str = VIT_B  # of benchmarks.synthetic
    batches: tuple[int, ...] = (128, 32)  # of a training step; 32 is the recipe's
    steps: int = 20
    side: int = 8192  # of the matrices that are multiplied
    n_support: int = 50  # N_S of the `paper` preset's step
    few: int = 8  # N_S that double backward is set against
    pixels: int = PIXELS
    epochs: int = 3  # of the real training
    photos: int = 10_000  # of the real training, at most
    people: int = 0  # of whom photos are taken; 0 for all
    channels: tuple[int, ...] = (512, 512, 512, 512)  # of a GAN, as StyleGAN2-ADA has for CIFAR-10


SCALES = {
    "paper": Scale(),
    # On any machine, in a minute: shows that the command works.
    "tiny": Scale(
        model=CPU_PRESET,
        batches=(4,),
        steps=2,
        side=64,
        n_support=3,
        few=2,
        pixels=112,
        epochs=1,
        photos=12,
        people=6,
        channels=(8, 8),
    ),
}


class Absent(RuntimeError):
    """What a part needs is not on this machine; the words say what, and how to get it."""


def lacking(*needs: Callable[[], object]) -> Callable[[], str]:
    """What the first of them that raises `Absent` says; "" where none does."""

    def asked() -> str:
        try:
            for need in needs:
                need()
        except Absent as error:
            return str(error)
        return ""

    return asked


# The arithmetic -------------------------------------------------------------------------------------------------------


def rate(scale: Scale, tell: Tell) -> None:
    """A training step's share of the rate at which the card multiplies matrices."""
    for batch in scale.batches:
        tell(share_of_peak(scale.model, batch=batch, steps=scale.steps, side=scale.side))


def step(scale: Scale, tell: Tell) -> None:
    """One simulated request of MetaUnlearn as the `paper` preset sets it: N_S people, four photos each to forget."""
    n = scale.n_support
    settings = preset_named("paper").methods["meta_unlearn"] | {"epochs": 1, "simulated_n_ids": n}
    method, model = make_method("meta_unlearn", settings), random_model(scale.model)
    size = MODELS[scale.model][1]
    everyone = noise(n * (TIMES + 1), size)
    data = {"train": replace(everyone, identity=np.repeat(np.arange(n), TIMES + 1)), "val": noise(2 * n, size)}

    def prepare() -> object:
        return method.prepare(model, data, generator=torch.Generator().manual_seed(0))

    prepare()  # the first call is slower
    (cost,) = measured_in_turn(prepare, device=DEVICE, repeats=2)
    case = f"{scale.model}, one simulated request, N_S = {n}, |D_f| = {TIMES * n}, float32"
    tell(row("step", case, cost, Measured(None, None, None)))


def double_backward(scale: Scale, tell: Tell) -> None:
    """The step of meta-training against two ways of double backward, which have to give the same gradient."""
    for found in against(scale.model, scale.few, TIMES * scale.few, repeats=2):
        tell(found)


# A real training ------------------------------------------------------------------------------------------------------


def training(scale: Scale, tell: Tell) -> None:
    """A pretrained backbone is trained on CelebA-HQ's photos, at 224 px."""
    with photos(scale.people) as faces:
        name, preset = backbone()
        config = replace(preset.train, epochs=scale.epochs, bf16=DEVICE == "cuda")
        split = split_identities(faces.identity, generator=torch.Generator().manual_seed(0), config=preset.split)
        train, val = faces.of(split.train)[slice(0, scale.photos)], faces.of(split.val)[slice(0, scale.photos)]
        options = {"n_outputs": len(faces.classes), "image_size": scale.pixels, "seed": 0}
        model = build_model(replace(preset.model, image_size=scale.pixels), **options).to(DEVICE)
        before = score_or_nan(predict(model, val, bf16=config.bf16).logits, val.targets)
        (cost,) = measured_in_turn(lambda: fit(model, train, val, config, seed=0), device=DEVICE, repeats=1)
    history = cost.result[1]
    case = f"{name} at {scale.pixels} px, {len(train):,} photos of {faces.size} px, {scale.epochs} epochs"
    found = row("training", case, cost._replace(result=None), Measured(None, None, None))
    found["images_per_second"] = scale.epochs * len(train) / cost.seconds
    found["loss"] = history["loss"].tolist()
    found["map"] = [100 * before, *(100 * history["val_score"])]
    tell(found)


def backbone() -> tuple[str, Preset]:
    """The largest pretrained network that has weights here, with its own recipe.

    Raises:
        Absent: there are none.
    """
    if os.environ.get("SHUI_WEIGHTS"):
        return "ViT-B/16 (ImageNet)", preset_named("paper")
    found = [name for name in ("vit-s14", "face-resnet") if weights_file(name).is_file()]
    if not found:
        raise Absent("no pretrained weights: `make weights` brings some, or SHUI_WEIGHTS names a file of ViT-B/16")
    return found[0], preset_named(found[0])


def source_of_photos() -> Path:
    """CelebA-HQ, the largest that is prepared here, or the folder SHUI_DATA with the official files.

    Raises:
        Absent: neither is there.
    """
    prepared = [path.parent for path in ROOT.glob("data/celebahq*/dataset.json")]
    raw = os.environ.get("SHUI_DATA", "")
    if prepared:
        return max(sorted(prepared), key=lambda folder: json.loads((folder / "dataset.json").read_text())["size"])
    if raw and any(Path(raw).glob("[cC]eleb*")):
        return Path(raw)
    raise Absent("no photos: prepare data/celebahq, or let SHUI_DATA name the folder of the official files")


@contextmanager
def photos(people: int) -> Iterator[Faces]:
    """Photos of so many persons, of all for 0; official files are prepared for as long as they are looked at."""
    found = source_of_photos()
    with tempfile.TemporaryDirectory() as folder:
        if not (found / "dataset.json").is_file():
            from data_prep.celebahq import prepare

            raw, found = found, Path(folder) / "celebahq"
            prepare(raw, found, size=64, min_images=MIN_IMAGES, partial=True)
        faces = load_faces(found)
        yield faces.of(np.unique(faces.identity)[: people or None])


# A GAN --------------------------------------------------------------------------------------------------------------


def gan(scale: Scale, tell: Tell) -> None:
    """A GAN is trained, forgets by a cascade, and judges pictures that are not on the card."""
    from shui_lib.gan.cascade import Cascade
    from shui_lib.gan.metrics import auc, judge
    from shui_lib.gan.stylegan2 import GANConfig
    from shui_lib.gan.train import GANTraining, fit_gan, pictures_of

    config, batch = GANConfig(channels=scale.channels), 64
    labels = torch.arange(10 * batch) % config.classes
    pictures = replace(noise(len(labels), config.size), targets=labels, classes=tuple(map(str, range(config.classes))))
    training = GANTraining(kimg=scale.steps * batch / 1000, batch=batch)
    given = Given({"forget": pictures[:batch].in_memory(), "learn": pictures[batch : 2 * batch].in_memory()})
    cascade = Cascade(steps=scale.steps, check=scale.steps, stop="never")
    (trained,) = measured_in_turn(
        lambda: fit_gan(pictures, config, training, seed=0, device=DEVICE)[0], device=DEVICE, repeats=1
    )
    (forgot,) = measured_in_turn(lambda: cascade.unlearn(trained.result, given)[0], device=DEVICE, repeats=1)
    logits = judge(forgot.result.discriminator, {name: pictures_of(part) for name, part in given.parts.items()})
    case = f"{scale.channels} channels, {scale.steps} steps, batch "
    found = row("gan", f"training, {case}{batch}", trained._replace(result=None), Measured(None, None, None))
    tell(found | {"images_per_second": scale.steps * batch / trained.seconds})
    found = row("gan", f"cascade, {case}{cascade.batch}", forgot._replace(result=None), Measured(None, None, None))
    tell(found | {"auc_used": auc(logits["learn"], logits["forget"])})


def attack_values() -> None:
    """Absent: scikit-learn, which counts them, is not installed."""
    if find_spec("sklearn") is None:
        raise Absent("no scikit-learn: the GAN's AUC takes it")


# The chapters ---------------------------------------------------------------------------------------------------------


def chapters(scale: Scale, tell: Tell) -> None:
    """Every chapter under `smoke`, a few at a time; one that fails leaves the others alone.

    Raises:
        RuntimeError: at the end, naming those that failed.
    """
    from shui_workbook.course.notebooks import NOTEBOOKS, run_all

    failed = []
    with tempfile.TemporaryDirectory() as folder:
        for some in a_few_at_a_time(sorted(NOTEBOOKS.glob("*.ipynb"))):  # what is told stays, when the time is over
            values = parameters_of(some, smoke(Path(folder)))
            for one in run_all(Path(folder), values, some, workers=SIDE_BY_SIDE):
                tell({"name": "chapters", "case": one.chapter, "seconds": one.seconds, "note": one.error})
                failed += [one.chapter] if one.error else []
    if failed:
        raise RuntimeError(f"{', '.join(failed)} failed")


def jupyter() -> None:
    """Absent: it is not installed."""
    if missing := [name for name in ("papermill", "ipykernel", "matplotlib") if find_spec(name) is None]:
        raise Absent(f"no {' and no '.join(missing)}: the chapters take Jupyter")


def a_few_at_a_time(notebooks: list[Path]) -> list[list[Path]]:
    """Groups of chapters that run together; those of other networks stand apart, whose defaults are small already."""
    people = [path for path in notebooks if "n_ids" in parameters_of([path], {"n_ids": 1})]
    groups = (people, [path for path in notebooks if path not in people])
    return [some[k : k + SIDE_BY_SIDE] for some in groups for k in range(0, len(some), SIDE_BY_SIDE)]


def parameters_of(notebooks: list[Path], parameters: Mapping[str, object]) -> dict[str, object]:
    """Those that one of the notebooks has, as `run_all` refuses others; no preset for chapters of other networks."""
    from shui_workbook.course.notebooks import declared

    known = set().union(*(declared(path) for path in notebooks))
    if "n_ids" not in known:
        known -= {"preset"}
    return {name: value for name, value in parameters.items() if name in known}


def smoke(folder: Path) -> dict[str, object]:
    """Parameters of all chapters; the rendered faces, drawn here where they are missing."""
    data = ROOT / "data"
    if not (data / "faces" / "dataset.json").is_file():
        from data_prep.faces import prepare

        data = folder / "data"
        prepare(data / "faces")
    return {"preset": "smoke", "data_root": str(data), "runs_root": str(folder / "runs")}


# The order: what is small and tells most first ------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Part:
    """Something to do, for whom a part of the time is kept."""

    do: Callable[[Scale, Tell], None]
    seconds: int  # kept for it, whatever came before; an upper estimate for an H100, the start of Python included
    lacks: Callable[[], str] = str  # what this machine lacks for it, "" for nothing

    @property
    def about(self) -> str:
        """What it does, in a line."""
        return self.do.__doc__.splitlines()[0]


PARTS = {
    "rate": Part(do=rate, seconds=40),
    "step": Part(do=step, seconds=50),
    "double_backward": Part(do=double_backward, seconds=50),
    "training": Part(do=training, seconds=120, lacks=lacking(source_of_photos, backbone)),
    "gan": Part(do=gan, seconds=20, lacks=lacking(attack_values)),
    "chapters": Part(do=chapters, seconds=200, lacks=lacking(jupyter)),
}
