"""One forward pass per model and image: logits and features, streamed."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from shui_lib.benchmark.data import Faces, augment
from shui_lib.benchmark.models import FaceModel
from shui_lib.core.progress import progress

SLACK = 0.05  # keeps the logarithm of `unlikelihood` finite where p_y = 1


class Predictions(NamedTuple):
    """Everything later stages need of a model."""

    logits: Tensor  # (N, K) float32 on the CPU
    features: Tensor  # (N, D) float32 on the CPU


def pixels_for(
    model: FaceModel, faces: Faces, *, crop: float | None = None, generator: torch.Generator | None = None
) -> Tensor:
    """The images as the model takes them: (N, 3, S, S) of its size, on its device, in its dtype.

    With `crop` cropped and flipped at random as in training, which takes a generator.
    """
    like = next(model.parameters())
    if crop is None:
        return faces.pixels(device=like.device, size=model.image_size).to(like.dtype)
    x = faces.pixels(device=like.device)
    return augment(x, size=model.image_size, crop=crop, flip=faces.flip, generator=generator).to(like.dtype)


@torch.inference_mode()
def predict(model: FaceModel, faces: Faces, *, batch: int = 256, bf16: bool = False) -> Predictions:
    """Run the model in eval mode over all images of the view, in order, on the device it lies on."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()
    logits, features = [], []
    for part in faces.batches(batch, shown="predict"):
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            output = model(pixels_for(model, part))
        logits.append(output.logits.float().cpu())
        features.append(output.features.float().cpu())
    model.train(was_training)
    return Predictions(torch.cat(logits), torch.cat(features))


@torch.inference_mode()
def query_losses(
    model: FaceModel,
    faces: Faces,
    *,
    queries: int,
    crop: float,
    generator: torch.Generator,
    batch: int = 256,
    bf16: bool = False,
) -> Tensor:
    """Task loss of every image in several augmented views: what a membership attack asks a model.

    Args:
        queries: views of each image, augmented as in training; the same for models asked with equal generators.
        crop: smallest share of the area that a view keeps.
    Returns:
        (queries, N) float32 on the CPU, nats; for attributes the mean over them, so that exp(−loss) is the geometric
        mean of the likelihoods.
    """
    model = model.eval()
    losses = torch.empty(queries, len(faces))
    with progress(total=losses.numel(), desc="query", unit="image", leave=False, mininterval=1) as bar:
        for row in losses:
            found = []
            for part in faces.batches(batch):
                x = pixels_for(model, part, crop=crop, generator=generator)
                with torch.autocast(x.device.type, torch.bfloat16, enabled=bf16):
                    logits = model(x).logits
                found.append(task_loss(logits.float(), part.targets.to(x.device), reduction="none").cpu())
                bar.update(len(part))
            if found:  # there are images
                row[:] = torch.cat(found)
    return losses


def task_loss(logits: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
    """BCE-with-logits for attributes (N, K), cross-entropy for classes (N,); nats.

    With reduction "none", one value per image: the mean over attributes, or the cross-entropy.
    """
    if targets.ndim == 1:
        return nn.functional.cross_entropy(logits, targets, reduction=reduction)
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets.to(logits), reduction="none").mean(1)
    return loss if reduction == "none" else loss.mean() if reduction == "mean" else loss.sum()


def probability_of_truth(logits: Tensor, targets: Tensor) -> Tensor:
    """How probable a model finds the targets: (N, K) for attributes, (N, 1) for classes; fractions."""
    if targets.ndim == 1:
        return logits.softmax(1).gather(1, targets[:, None])
    return torch.where(targets > 0.5, logits, -logits).sigmoid()


def unlikelihood(logits: Tensor, targets: Tensor) -> Tensor:
    """−log(1 − p_y + 0.05), mean over images; for attributes over every one, p_y being the probability of its value.

    A positive attribute pays −log(1 − p_k + 0.05), a negative one −log(p_k + 0.05).
    """
    return -(1 - probability_of_truth(logits, targets) + SLACK).log().mean()
