"""Latents w: of a picture, by inversion in W without noise; and of what a forgotten picture is replaced by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shui_lib.gan.stylegan2 import Generator

ITEM, CLASS = ("average", "truncation", "projection"), ("average", "other-class")  # substitutes
TRUNCATED = 0.5  # ψ of truncation; the paper gives no value (D34)


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """Adam; the learning rate falls to zero in the last quarter."""

    steps: int = 80
    lr: float = 0.2

    def __post_init__(self) -> None:
        if self.steps < 1 or self.lr <= 0:
            raise ValueError(f"{self}: steps and lr must be positive")


@torch.no_grad()
def mean_latent(generator: Generator, labels: Tensor, *, draws: int = 10_000) -> Tensor:
    """Mean of mapping(z, label), (Z,), over z and the given labels in turn."""
    z = torch.randn(draws, generator.config.latent, generator=torch.Generator().manual_seed(0)).to(labels.device)
    return generator.latent(z, labels.repeat(-(-draws // len(labels)))[:draws]).mean(0)


def all_labels(generator: Generator) -> Tensor:
    """Every label that the generator knows, (K,), on its device."""
    return torch.arange(generator.config.classes, device=generator.synthesis.constant.device)


@torch.no_grad()
def render(generator: Generator, w: Tensor) -> Tensor:
    """Pictures (N, 3, S, S) of latents (N, Z), without noise."""
    return generator.synthesis(w)


def psnr_of(pictures: Tensor, targets: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of each picture, (N,) dB; the range of a pixel is 2."""
    return 10 * torch.log10(4 / (pictures - targets).square().mean((1, 2, 3)).clamp(min=1e-10))


def invert(generator: Generator, pictures: Tensor, settings: Inversion | None = None) -> tuple[Tensor, Tensor]:
    """Latents (N, Z) of pictures (N, 3, S, S), and how well they give them back, (N,) dB. Each is found for itself.

    Raises:
        ValueError: the pictures are of another size, or there is none.
    """
    settings, x = settings or Inversion(), pictures.to(generator.synthesis.constant.device)
    if not len(x) or x.shape[2] != generator.config.size:
        raise ValueError(f"pictures are {tuple(x.shape)}, the GAN draws (N, 3, {generator.config.size}, same)")
    w = mean_latent(generator, all_labels(generator)).repeat(len(x), 1).requires_grad_()
    optimizer = torch.optim.Adam([w], settings.lr)
    for step in range(settings.steps):
        optimizer.param_groups[0]["lr"] = settings.lr * min(1.0, 4 * (1 - step / settings.steps))
        loss = (generator.synthesis(w) - x).square().mean((1, 2, 3)).sum()  # a sum: no picture feels the others
        (w.grad,) = torch.autograd.grad(loss, w)
        optimizer.step()
    return w.detach(), psnr_of(render(generator, w), x)


def other_class(generator: Generator, w: Tensor, label: int) -> Tensor:
    """Of each w (N, Z), the nearest mean latent of another class than `label` (eq. 4)."""
    means = torch.stack([mean_latent(generator, one[None]) for one in all_labels(generator)])  # (K, Z)
    distance = torch.cdist(w, means)
    distance[:, label] = torch.inf
    return means[distance.argmin(1)]


class Substitutes:
    """Latents of the substitutes at each moment of a cascade.

    All but other-class are w_avg + ψ (w − w_avg): the picture itself at ψ = 1, the average at 0. Of projection, ψ falls
    from 1 to 0 until half of the budget is spent.

    Raises:
        ValueError: the mechanism does not fit a request for items (label None) or for a class.
    """

    def __init__(self, generator: Generator, w: Tensor, mechanism: str, *, label: int | None):
        kind, known = ("items", ITEM) if label is None else ("a class", CLASS)
        if mechanism not in known:
            raise ValueError(f"substitute {mechanism!r} does not serve {kind}: choose {', '.join(known)}")
        self.w, self.mechanism = w, mechanism
        self.average = mean_latent(generator, all_labels(generator))
        self.others = other_class(generator, w, label) if mechanism == "other-class" else None

    def at(self, passed: float) -> Tensor:
        """(N, Z), where the share `passed` of the budget is spent."""
        if self.others is not None:
            return self.others
        share = {"average": 0.0, "truncation": TRUNCATED, "projection": max(0.0, 1 - 2 * passed)}[self.mechanism]
        return self.average + share * (self.w - self.average)
