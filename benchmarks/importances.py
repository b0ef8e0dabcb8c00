"""SSD's importances: gradients of single images in chunks, against one image after the other; and of batches."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch

from benchmarks.measure import Row, check_close, measured_in_turn, row
from benchmarks.synthetic import CPU_PRESET, DEVICE, MODELS, noise, random_model
from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for, task_loss
from shui_lib.methods.parts.meta_gradient import Theta
from shui_lib.methods.ssd import importances

IMAGES, BATCH, TOLERANCE = 256, 128, 1e-4


def plain(model: FaceModel, faces: Faces, batch: int) -> Theta:
    """The twin, as the method is published: square what `backward` leaves after each batch."""
    model = copy.deepcopy(model)
    total = {name: torch.zeros_like(value) for name, value in model.named_parameters()}
    parts = [*faces[torch.randperm(len(faces), generator=torch.Generator().manual_seed(0))].batches(batch)]
    for part in parts:
        model.zero_grad()
        task_loss(model(pixels_for(model, part)).logits, part.targets.to(DEVICE)).backward()
        for name, value in model.named_parameters():
            total[name] += value.grad.square() / len(parts)
    return total


def rows() -> list[Row]:
    """The `cpu` preset's ViT; gradients of single images, and of batches as published."""
    model, faces = random_model(CPU_PRESET), noise(IMAGES, MODELS[CPU_PRESET][1])

    def ours(faces: Faces = faces, *, per_sample: bool) -> Theta:
        draws = torch.Generator().manual_seed(0)
        return importances(model, faces, batch=BATCH, per_sample=per_sample, generator=draws)

    ours(faces[slice(0, 8)], per_sample=True)  # the first call is slower
    return [
        compared("single images", lambda: ours(per_sample=True), lambda: plain(model, faces, 1)),
        compared(f"batches of {BATCH}", lambda: ours(per_sample=False), lambda: plain(model, faces, BATCH)),
    ]


def compared(case: str, ours: Callable[[], Theta], twin: Callable[[], Theta]) -> Row:
    """Both ways to the same importances."""
    ours, twin = measured_in_turn(ours, twin, device=DEVICE)
    both = (torch.cat([cost.result[name].flatten() for name in twin.result]) for cost in (ours, twin))
    check_close(case, *both, tolerance=TOLERANCE)
    return row("importances", f"{CPU_PRESET}, {IMAGES} images, {case}", ours, twin)
