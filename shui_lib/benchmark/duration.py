"""How long a training will take, said before it starts: a user who waits wants to know whether to fetch a coffee."""

from __future__ import annotations

import copy
import sys
import time

import torch

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import task_loss
from shui_lib.benchmark.presets import TrainConfig
from shui_lib.core.progress import mode

WORTH_SAYING = 60  # seconds


def seconds_of_training(model: FaceModel, train: Faces, config: TrainConfig, *, epochs: int) -> float:
    """Steps that are left, times the seconds of one, timed on a copy of the model; validation comes on top."""
    step = _timed_step(copy.deepcopy(model).train(), train[slice(0, config.batch)], config)
    return step * epochs * -(-len(train) // config.batch)


def announce(model: FaceModel, train: Faces, config: TrainConfig, *, epochs: int) -> None:
    """Say on stderr how long the training will take, where that is worth it and SHUI_PROGRESS is not off."""
    if mode() == "off" or not epochs:
        return
    seconds = seconds_of_training(model, train, config, epochs=epochs)
    if seconds >= WORTH_SAYING:
        what = f"{epochs} epochs of {len(train)} images at {model.image_size} pixels"
        print(f"training takes about {seconds / 60:.0f} minutes on this machine: {what}", file=sys.stderr, flush=True)


def _timed_step(model: FaceModel, part: Faces, config: TrainConfig) -> float:
    """Seconds of a forward and backward pass; the second one counts, as the first sets things up."""
    device = next(model.parameters()).device
    random = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=random):
        for _ in range(2):
            started = time.perf_counter()
            x = part.pixels(device=device, size=model.image_size)
            with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
                logits = model(x).logits
            loss = task_loss(logits.float(), part.targets.to(device))
            loss.backward()
            loss.item()  # waits for the device
    return time.perf_counter() - started
