"""From a picture to its latent w: minimise the mean squared error over pixels, in W, without noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.gan.stylegan2 import Generator

DRAWS = 10_000  # z for a mean latent


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """Adam; the learning rate falls to zero in the last quarter."""

    steps: int = 150
    lr: float = 0.1

    def __post_init__(self) -> None:
        if self.steps < 1 or self.lr <= 0:
            raise ValueError(f"{self}: steps and lr must be positive")


class Inverted(NamedTuple):
    """Latents and how well they give the pictures back."""

    w: Tensor  # (N, Z)
    psnr: Tensor  # (N,) decibels; the range of a pixel is 2


@torch.no_grad()
def mean_latent(generator: Generator, labels: Tensor, *, seed: int = 0, draws: int = DRAWS) -> Tensor:
    """Mean of mapping(z, label), (Z,), over z and the given labels in turn."""
    z = torch.randn(draws, generator.config.latent, generator=torch.Generator().manual_seed(seed)).to(labels.device)
    return generator.latent(z, labels.repeat(-(-draws // len(labels)))[:draws]).mean(0)


def all_labels(generator: Generator) -> Tensor:
    """Every label that the generator knows, (K,), on its device."""
    return torch.arange(generator.config.classes, device=generator.synthesis.constant.device)


def psnr_of(pictures: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture, (N,) dB."""
    return 10 * torch.log10(4 / (pictures - targets).square().mean((1, 2, 3)).clamp(min=1e-10))


def invert(generator: Generator, pictures: Tensor | Faces, settings: Inversion | None = None) -> Inverted:
    """Latents of pictures (N, 3, S, S), all in one batch, from the mean latent. Each is found for itself.

    Raises:
        ValueError: the pictures are of another size, or there is none.
    """
    settings, device = settings or Inversion(), generator.synthesis.constant.device
    x = (pictures.pixels() if isinstance(pictures, Faces) else pictures).to(device)
    if not len(x) or x.shape[2] != generator.config.size:
        raise ValueError(f"pictures are {tuple(x.shape)}, the GAN draws (N, 3, {generator.config.size}, same)")
    start = mean_latent(generator, all_labels(generator))
    w = start.repeat(len(x), 1).requires_grad_()
    optimizer = torch.optim.Adam([w], settings.lr)
    for step in range(settings.steps):
        optimizer.param_groups[0]["lr"] = settings.lr * min(1.0, 4 * (1 - step / settings.steps))
        loss = (generator.synthesis(w) - x).square().mean((1, 2, 3)).sum()  # a sum: no picture feels the others
        (w.grad,) = torch.autograd.grad(loss, w)
        optimizer.step()
    w = w.detach()
    with torch.no_grad():
        return Inverted(w, psnr_of(generator.synthesis(w), x))


def nearest(pictures: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Of each picture: the position of the nearest of `others`, and its PSNR (dB); both (N,)."""
    distance, position = torch.cdist(pictures.flatten(1), others.flatten(1)).min(1)
    error = distance.square() / pictures[0].numel()
    return position, 10 * torch.log10(4 / error.clamp(min=1e-10))
