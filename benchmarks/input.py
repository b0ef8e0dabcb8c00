"""Training on real batches, read from the data set's file and augmented, against one batch that stays on the device."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import Row, check_close, measured_in_turn, row
from benchmarks.synthetic import CPU_PRESET, DEVICE, MODELS, VIT_B, noise, random_model
from shui_lib.benchmark.data import Faces, augment
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import task_loss
from shui_lib.benchmark.presets import TrainConfig, preset_named
from shui_lib.benchmark.train import _one_epoch, learning_rate, make_optimizer
from shui_lib.core.randomness import epoch_generator

Batch = tuple[Tensor, Tensor]  # images (B, 3, S, S) and targets (B, K), on the device
ON_GPU = DEVICE == "cuda"
CASES = {  # model: preset of the recipe, images in a batch, batches
    CPU_PRESET: ("cpu", 32, 40),
    **({VIT_B: ("paper", 32, 40)} if ON_GPU else {}),  # a CPU takes a second an image
}
TOLERANCE = 1e-3 if ON_GPU else 1e-6


def fitted(model: FaceModel, faces: Faces, config: TrainConfig) -> FaceModel:
    """Ours: one epoch of `shui_lib.benchmark.train`."""
    model = copy.deepcopy(model)
    _one_epoch(model, make_optimizer(model, config), faces, config, 0, epoch_generator(0, 0))
    return model


def fitted_on(batches: Iterable[Batch], model: FaceModel, config: TrainConfig, steps: int) -> FaceModel:
    """The twin: an epoch over batches that are there already."""
    model = copy.deepcopy(model).train()
    optimizer = make_optimizer(model, config)
    for step, (x, targets) in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, 0, step, steps)
        with torch.autocast(DEVICE, torch.bfloat16, enabled=config.bf16):
            logits = model(x).logits
        optimizer.zero_grad()
        task_loss(logits.float(), targets).backward()
        if config.clip:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
    return model


def drawn(faces: Faces, config: TrainConfig) -> Iterator[Batch]:
    """The batches that `fitted` sees."""
    generator = epoch_generator(0, 0)
    for index in torch.randperm(len(faces), generator=generator).split(config.batch):
        part = faces[index]
        x = augment(part.pixels(device=DEVICE), size=faces.size, crop=config.crop, flip=part.flip, generator=generator)
        yield x, part.targets.to(DEVICE)


def on_disk(faces: Faces, folder: str) -> Faces:
    """The same images, memory-mapped as those of a prepared data set."""
    path = Path(folder) / "images.npy"
    np.save(path, faces.images)
    return replace(faces, images=np.load(path, mmap_mode="r"))


def rows() -> list[Row]:
    """Every model of `CASES`."""
    return [compared(name, *case) for name, case in CASES.items()]


def compared(name: str, preset: str, batch: int, steps: int) -> Row:
    """One model; first ours and the twin on the same batches, to see that they do the same."""
    config, model = replace(preset_named(preset).train, batch=batch), random_model(name)
    with tempfile.TemporaryDirectory() as folder:
        faces = on_disk(noise(batch * steps, MODELS[name][1]), folder)
        check(name, model, faces[slice(0, 2 * batch)], config)
        ready = [next(drawn(faces, config))] * steps
        ours, twin = measured_in_turn(
            lambda: fitted(model, faces, config),
            lambda: fitted_on(ready, model, config, steps),
            device=DEVICE,
            repeats=5,
        )
    note = f"throughput {twin.seconds / ours.seconds:.2f} of that with one batch"
    return row("input", f"{name}, batch {batch}", ours._replace(mib=None), twin._replace(mib=None), note)


def check(name: str, model: FaceModel, faces: Faces, config: TrainConfig) -> None:
    """Disagreement: given the same batches, the twin ends elsewhere."""
    batches = [*drawn(faces, config)]
    both = fitted(model, faces, config), fitted_on(batches, model, config, len(batches))
    ours, twin, start = (nn.utils.parameters_to_vector(m.parameters()).detach() for m in (*both, model))
    check_close(name, ours - start, twin - start, tolerance=TOLERANCE)
