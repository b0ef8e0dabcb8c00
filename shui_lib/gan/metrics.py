"""How a GAN is measured: what the discriminator tells apart, and how far generated pictures are from real ones."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import rankdata
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from shui_lib.benchmark.data import Faces
from shui_lib.core.randomness import epoch_generator, seeded
from shui_lib.gan.stylegan2 import Discriminator, Generator
from shui_lib.gan.train import labels_of, take

TOGETHER = 64  # pictures in a batch of scores


class Classifier(nn.Module):
    """A small convolutional network; its features stand where Inception's would (never call the result FID)."""

    def __init__(self, classes: int, width: int = 16, features: int = 64):
        super().__init__()
        sizes = [3, width, 2 * width, 4 * width]
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2))
            for a, b in pairwise(sizes)
        )
        self.dense, self.head = nn.Linear(16 * 4 * width, features), nn.Linear(features, classes)

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
    """A classifier's features under the one name that torchmetrics asks for."""

    def __init__(self, classifier: Classifier):
        super().__init__()
        self.classifier, self.num_features = classifier, classifier.head.in_features

    def forward(self, x: Tensor) -> Tensor:
        """(B, num_features)."""
        return self.classifier.features(x)


def train_classifier(faces: Faces, classes: int, *, seed: int, epochs: int = 4, flip: bool = True) -> Classifier:
    """A classifier of real training pictures; zero epochs give random features."""
    with seeded(seed):
        classifier = Classifier(classes)
    optimizer = torch.optim.AdamW(classifier.parameters(), 2e-3)
    for epoch in range(epochs):
        chance = epoch_generator(seed, epoch)
        for index in torch.randperm(len(faces), generator=chance).split(64):
            x, y = take(faces, index, chance, flip=flip, device=torch.device("cpu"))
            optimizer.zero_grad()
            F.cross_entropy(classifier(x), y).backward()
            optimizer.step()
    return classifier.eval().requires_grad_(False)


def perceptual_distance(classifier: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """Squared distance of unit-normalised maps, summed over blocks, (B,): LPIPS without learned weights."""
    pairs = zip(classifier.maps(x), classifier.maps(y), strict=True)
    return sum((F.normalize(a) - F.normalize(b)).square().sum(1).mean((1, 2)) for a, b in pairs)


def auc(high: Sequence[float] | Tensor, low: Sequence[float] | Tensor) -> float:
    """P(high > low), ties count half.

    Raises:
        ValueError: one side is empty, or a score is no number.
    """
    high, low = np.asarray(high, float), np.asarray(low, float)
    if not len(high) or not len(low) or not np.isfinite([high.sum(), low.sum()]).all():
        raise ValueError(f"AUC needs finite scores on both sides, got {len(high)} and {len(low)}")
    ranks = rankdata(np.concatenate([high, low]))[: len(high)]
    return float((ranks.sum() - len(high) * (len(high) + 1) / 2) / (len(high) * len(low)))


def pictures_of(faces: Faces) -> tuple[Tensor, Tensor]:
    """Pictures (N, 3, S, S) and labels (N,)."""
    return faces.pixels(), labels_of(faces)


@torch.no_grad()
def judge(discriminator: Discriminator, parts: Mapping[str, tuple[Tensor, Tensor]], *, seed: int = 0) -> dict:
    """Logits of every part's pictures, shuffled together, so that all are judged in the same company."""
    x, y = (torch.cat(column) for column in zip(*parts.values(), strict=True))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    batches = -(-len(x) // TOGETHER)
    filled = order.repeat(2 + TOGETHER // len(x))[: batches * TOGETHER]  # the last batch is filled up from the first
    told = torch.cat([discriminator(x[part], y[part]) for part in filled.split(TOGETHER)])
    logits = torch.empty(len(x))
    logits[order] = told[: len(x)].float()
    sizes = [len(pictures) for pictures, _ in parts.values()]
    return dict(zip(parts, logits.split(sizes), strict=True))


@torch.no_grad()
def sample(generator: Generator, labels: Tensor, *, seed: int) -> tuple[Tensor, Tensor]:
    """Generated pictures (N, 3, S, S) of the given labels, without noise, and the labels."""
    z = torch.randn(len(labels), generator.config.latent, generator=torch.Generator().manual_seed(seed))
    parts = zip(z.split(256), labels.split(256), strict=True)
    return torch.cat([generator(a, b).clamp(-1, 1) for a, b in parts]), labels


@torch.no_grad()
def accuracy(classifier: Classifier, pictures: Tensor, labels: Tensor) -> float:
    """Share of pictures that get the label they were generated with."""
    return (classifier(pictures).argmax(1) == labels).float().mean().item()


@torch.no_grad()
def frechet(classifier: Classifier, real: Tensor, generated: Tensor) -> float:
    """Fréchet distance of the classifier's features; comparable only at equal numbers of pictures."""
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
