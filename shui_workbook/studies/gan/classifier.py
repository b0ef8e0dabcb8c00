"""The measuring instrument: a small classifier of real pictures, its features and maps, and distances of them.

Its features stand where Inception's would: never call the result FID (D37).
"""

from __future__ import annotations

import warnings
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from shui_lib.benchmark import metrics
from shui_lib.benchmark.data import Faces, augment
from shui_lib.core.randomness import epoch_generator, seeded

if TYPE_CHECKING:
    from shui_workbook.studies.gan.inception import Inception


class Classifier(nn.Module):
    """Three convolutional blocks, each halving the picture, and two fully connected layers."""

    def __init__(self, classes: int, width: int = 16, features: int = 64):
        super().__init__()
        sizes = [3, width, 2 * width, 4 * width]
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
            for a, b in pairwise(sizes)
        )
        self.dense, self.head = nn.Linear(16 * 4 * width, features), nn.Linear(features, classes)
        self.num_features = features

    def maps(self, x: Tensor) -> list[Tensor]:
        """Output of every block, each (B, C, H, W)."""
        found = []
        for block in self.blocks:
            x = block(x)
            found.append(x)
        return found

    def features(self, x: Tensor) -> Tensor:
        """Penultimate layer, (B, 64)."""
        return F.relu(self.dense(F.adaptive_avg_pool2d(self.maps(x)[-1], 4).flatten(1)))

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, K)."""
        return self.head(self.features(x))


class Features(nn.Module):
    """A classifier's features under the names that torchmetrics asks for."""

    def __init__(self, classifier: Classifier | Inception):
        super().__init__()
        self.classifier, self.num_features = classifier, classifier.num_features

    def forward(self, x: Tensor) -> Tensor:
        """(B, num_features)."""
        return self.classifier.features(x)


def train_classifier(faces: Faces, *, seed: int, epochs: int) -> Classifier:
    """A classifier of real training pictures; zero epochs give random features."""
    with seeded(seed):
        classifier = Classifier(len(faces.classes))
    optimizer = torch.optim.AdamW(classifier.parameters(), 2e-3)
    for epoch in range(epochs):
        chance = epoch_generator(seed, epoch)
        for index in torch.randperm(len(faces), generator=chance).split(64):
            part = faces[index]
            x = augment(part.pixels(), size=faces.size, crop=0.9, flip=faces.flip, generator=chance)
            optimizer.zero_grad()
            F.cross_entropy(classifier(x), part.targets).backward()
            optimizer.step()
    return classifier.eval().requires_grad_(False)


@torch.no_grad()
def accuracy(classifier: Classifier, pictures: Tensor, labels: Tensor) -> float:
    """Share of pictures that get their label.

    Raises:
        UndefinedScore: some answers are no numbers, as those to pictures of a generator that has diverged.
    """
    return metrics.accuracy(classifier(pictures), labels)


@torch.no_grad()
def frechet(classifier: Classifier | Inception, real: Tensor, generated: Tensor) -> float:
    """Fréchet distance of a network's features; comparable only at equal numbers of pictures."""
    metric = FrechetInceptionDistance(feature=Features(classifier))
    return _distance(metric, real, generated).item()


@torch.no_grad()
def kernel_distance(classifier: Classifier, real: Tensor, generated: Tensor) -> float:
    """Kernel distance of the same features, unbiased at small numbers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that it keeps all features in memory
        size = min(len(real), len(generated), 500)
        metric = KernelInceptionDistance(feature=Features(classifier), subsets=20, subset_size=size)
    with seeded(0):
        return _distance(metric, real, generated)[0].item()


def _distance(metric: nn.Module, real: Tensor, generated: Tensor) -> Tensor | tuple[Tensor, Tensor]:
    for part, is_real in ((real, True), (generated, False)):
        for batch in part.split(256):
            metric.update(batch, real=is_real)
    return metric.compute()
