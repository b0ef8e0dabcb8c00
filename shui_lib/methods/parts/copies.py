"""What any step from the Support Set may use: augmented copies of the photo, a loss to climb on them, a given rise.

A person is more than the one photo that is handed in. Copies of it, cropped and mirrored as in training, are a better
stand-in for the images to forget. How far a step of one size goes differs from model to model, as gradients differ in
length; a step of given rise goes as far in the loss everywhere, to first order. Neither is a method's own idea, so all
that can use them take them from here (D42).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for, task_loss, unlikelihood
from shui_lib.methods.parts.meta_gradient import Theta, inner_product, streamed_gradient

LOSSES = {"task": task_loss, "unlikelihood": lambda logits, targets: -unlikelihood(logits, targets)}
TOGETHER = 64  # photos that are cropped at a time


def checked_loss(name: str) -> None:
    """ValueError: none of `LOSSES`."""
    if name not in LOSSES:
        raise ValueError(f"loss={name!r} is unknown: choose {' or '.join(LOSSES)}")


def copies_of(
    photos: Faces, model: FaceModel, *, copies: int, crop: float, generator: torch.Generator, together: int = TOGETHER
) -> Faces:
    """Every photo `copies` times, cropped and mirrored at random as in training; with 0 the photos as they are.

    Args:
        copies: of each photo; first a copy of all photos, then the next of all.
        crop: smallest share of the area that a copy keeps.
    Returns:
        (copies · N) images in memory, of the model's size; as fractions of 255, so that nothing is rounded.
    """
    if not copies:
        return photos
    wanted = photos[np.tile(np.arange(len(photos)), copies)]
    pixels = [pixels_for(model, part, crop=crop, generator=generator) for part in wanted.batches(together)]
    images = torch.cat(pixels).cpu().float().add_(1).mul_(127.5).permute(0, 2, 3, 1)  # (copies · N, S, S, 3)
    return replace(wanted, images=images.contiguous().numpy(), rows=np.arange(len(wanted)))


def climbing_gradient(model: FaceModel, theta: Theta, images: Faces, *, loss: str, batch: int = 64) -> Theta:
    """∇L by parameter, mean over images; with "unlikelihood" −∇ℓ, so that a step along it goes down ℓ."""

    def summed(logits: Tensor, rows: slice) -> Tensor:
        return LOSSES[loss](logits, images.targets[rows].to(logits.device)) * len(logits)

    return streamed_gradient(model, theta, images, summed, micro_batch=batch)[2]


def to_rise(nats: float, gradient: Theta, step: Theta) -> float:
    """How far to go along a step so that the loss rises by `nats`, to first order: nats / ∇Lᵀ step.

    Zero where the step does not climb: there is nothing to go by. Without bound where it hardly does.
    """
    slope = inner_product(gradient, step).item()
    return nats / slope if slope > 0 else 0.0
