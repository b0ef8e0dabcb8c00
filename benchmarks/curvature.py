"""What Curvature costs, against what everybody knows: `prepare` against two epochs of training, `unlearn` against a
gradient-ascent step on the same copies. Yardsticks and not twins: they end elsewhere."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchmarks.measure import Row, measured_in_turn, row
from benchmarks.synthetic import CPU_PRESET, DEVICE, MODELS, VIT_B, noise, random_model
from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.presets import TrainConfig, preset_named
from shui_lib.benchmark.train import _one_epoch, make_optimizer
from shui_lib.core.randomness import epoch_generator
from shui_lib.methods import Artefacts, Given, make_method
from shui_lib.methods.curvature import Curvature

EPOCHS = 2
CASES = {  # model: preset of the recipe, training images, Support Samples
    CPU_PRESET: ("cpu", 512, 10),
    VIT_B: ("paper", 16, 1),
}


def generator() -> torch.Generator:
    """The same draws for every call."""
    return torch.Generator().manual_seed(0)


def trained(model: FaceModel, faces: Faces, config: TrainConfig) -> FaceModel:
    """Two epochs as `shui_lib.benchmark.train` runs them, without its look at validation."""
    model = copy.deepcopy(model)
    optimizer = make_optimizer(model, config)
    for epoch in range(EPOCHS):
        _one_epoch(model, optimizer, faces, config, epoch, epoch_generator(0, epoch))
    return model


def ascended(method: Curvature, model: FaceModel, support: Faces) -> FaceModel:
    """Gradient ascent on as many copies of the photos, in batches as large."""
    copies = support[np.tile(np.arange(len(support)), method.copies)]
    given = Given({"support": copies})
    return make_method("gradient_ascent").unlearn(model, given, Artefacts(), generator=generator())


def rows() -> list[Row]:
    """Both models, both functions."""
    return [line for name in CASES for line in compared(name)]


def compared(name: str) -> list[Row]:
    """`prepare` and `unlearn` of one model."""
    preset, images, asking = CASES[name]
    config, method, model = replace(preset_named(preset).train, bf16=False), Curvature(), random_model(name)
    train, support = noise(images, MODELS[name][1]), noise(asking, MODELS[name][1])
    repeats = 3 if name == CPU_PRESET else 1
    prepared, epochs = measured_in_turn(
        lambda: method.prepare(model, {"train": train}, generator=generator()),
        lambda: trained(model, train, config),
        device=DEVICE,
        repeats=repeats,
    )
    artefacts = prepared.result
    stepped, ascent = measured_in_turn(
        lambda: method.unlearn(model, Given({"support": support}), artefacts, generator=generator()),
        lambda: ascended(method, model, support),
        device=DEVICE,
        repeats=repeats,
    )
    note = f"{mib(artefacts.tensors):,.1f} MiB of artefacts for {mib(model.state_dict()):,.1f} MiB of weights"
    asked = f"{asking} photo{'s' * (asking > 1)} in {method.copies} copies"
    return [
        row("curvature", f"{name}, prepare on {images} images, against {EPOCHS} epochs", prepared, epochs, note),
        row("curvature", f"{name}, unlearn, {asked}, against gradient ascent on these", stepped, ascent),
    ]


def mib(tensors: Mapping[str, Tensor]) -> float:
    """Size of all tensors together."""
    return sum(value.numel() * value.element_size() for value in tensors.values()) / 2**20
