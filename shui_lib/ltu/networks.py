"""Networks for small pictures, and their training: plain descent without augmentation, or the paper's recipe.

The paper has ResNet-18 with the stem that is usual for CIFAR (3×3, no pooling). The CPU has a smaller residual network
with group norm, whose answers do not depend on what else is in a batch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import timm
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR

from shui_lib.benchmark.data import Faces, augment
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import task_loss
from shui_lib.core.randomness import seeded


@dataclass(frozen=True, kw_only=True)
class Network:
    """A residual network of timm with a 3×3 stem."""

    options: Mapping[str, object] = field(default_factory=dict)  # of timm's resnet18
    stride: int = 1  # of the stem


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How the original and the retrained model are trained."""

    optimizer: str = "adamw"  # adamw with a cosine | sgd with steps
    epochs: int = 30
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.05
    drops: tuple[int, ...] = ()  # of SGD: epochs after which the rate falls to a tenth
    crop: float | None = None  # smallest share of the area of a random crop; None: images as they are


@dataclass(frozen=True, kw_only=True)
class Size:
    """One size of the experiment."""

    network: Network
    recipe: Recipe


_SMALL = {"layers": (1, 1, 1, 1), "channels": (16, 32, 48, 64), "norm_layer": "groupnorm1"}
SIZES = {
    "smoke": Size(network=Network(options=_SMALL, stride=2), recipe=Recipe(epochs=2)),
    "cpu": Size(network=Network(options=_SMALL, stride=2), recipe=Recipe(epochs=20)),
    # SalUn's published recipe, which LTU took its baselines from. Departs from it: crops of another kind (D39).
    "paper": Size(
        network=Network(),
        recipe=Recipe(optimizer="sgd", epochs=182, batch=256, lr=0.1, weight_decay=5e-4, drops=(91, 136), crop=0.64),
    ),
}


def build(network: Network, *, classes: int, image_size: int, seed: int) -> FaceModel:
    """A network with weights drawn from `seed`."""
    with seeded(seed):
        resnet = timm.create_model("resnet18", num_classes=classes, **network.options)
        wide = resnet.conv1.out_channels
        resnet.conv1, resnet.maxpool = nn.Conv2d(3, wide, 3, network.stride, 1, bias=False), nn.Identity()
    return FaceModel(resnet, image_size)


def of_half_width(network: Network) -> Network:
    """The same with half as many channels."""
    channels = network.options.get("channels", (64, 128, 256, 512))
    return replace(network, options={**network.options, "channels": tuple(c // 2 for c in channels)})


def train(model: FaceModel, faces: Faces, recipe: Recipe, *, generator: torch.Generator) -> FaceModel:
    """Train in place on the device it lies on, and return the model in eval mode."""
    device = next(model.parameters()).device
    optimizer, schedule = _optimizer(model, recipe, steps=-(-len(faces) // recipe.batch))
    model.train()
    for _ in range(recipe.epochs):
        for index in torch.randperm(len(faces), generator=generator).split(recipe.batch):
            part = faces[index]
            loss = task_loss(model(_pixels(part, device, recipe, generator)).logits, part.targets.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def _optimizer(model: FaceModel, recipe: Recipe, *, steps: int) -> tuple[torch.optim.Optimizer, LRScheduler]:
    if recipe.optimizer == "sgd":
        optimizer = torch.optim.SGD(model.parameters(), recipe.lr, 0.9, weight_decay=recipe.weight_decay)
        return optimizer, MultiStepLR(optimizer, [steps * epoch for epoch in recipe.drops])
    optimizer = torch.optim.AdamW(model.parameters(), recipe.lr, weight_decay=recipe.weight_decay, fused=True)
    total, warm = steps * recipe.epochs, 2 * steps

    def rate(step: int) -> float:
        cosine = 0.5 * (1 + torch.cos(torch.tensor(torch.pi * step / total)).item())
        return min(1.0, (step + 1) / warm) * cosine

    return optimizer, LambdaLR(optimizer, rate)


def _pixels(part: Faces, device: torch.device, recipe: Recipe, generator: torch.Generator) -> Tensor:
    x = part.pixels(device=device)
    return (
        x if recipe.crop is None else augment(x, size=part.size, crop=recipe.crop, flip=part.flip, generator=generator)
    )
