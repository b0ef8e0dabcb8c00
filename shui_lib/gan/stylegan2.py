"""StyleGAN2 for small pictures, label-conditional (Karras et al., 2020), in one file of plain PyTorch.

z (B, Z) ─ mapping ─▶ w (B, Z) ─ synthesis ─▶ pictures (B, 3, S, S) in about [-1, 1] ─ discriminator ─▶ logits (B,)

Departs from the official code: no style mixing, no path-length penalty (as in its setting for CIFAR-10); plain bilinear
and average resampling in place of filtered; and the modulated convolution is unfused, which is the same function (D35).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shui_lib.core.randomness import seeded
from shui_lib.core.store import CorruptFile, load_note, load_tensors, save_tensors


@dataclass(frozen=True, kw_only=True)
class GANConfig:
    """The architecture; the defaults train on one CPU core in minutes."""

    classes: int = 10  # labels that a picture can be asked for
    channels: tuple[int, ...] = (32, 32, 32, 16)  # at 4, 8, 16, 32 px
    latent: int = 64  # dimension of z and of w
    group: int = 8  # pictures that the discriminator compares with each other

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ValueError(f"classes is {self.classes}: the GAN is label-conditional, it needs at least 2")
        if min(*self.channels, self.latent, self.group) < 1:
            raise ValueError(f"{self}: channels, latent and group must be 1 or more")

    @property
    def size(self) -> int:
        """Height and width of a picture in pixels."""
        return 4 * 2 ** (len(self.channels) - 1)


def lrelu(x: Tensor) -> Tensor:
    """Leaky ReLU, scaled so that the variance of its input survives."""
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def unit(x: Tensor) -> Tensor:
    """Rows scaled to a mean square of one."""
    return x * torch.rsqrt(x.square().mean(1, keepdim=True) + 1e-8)


class Equalised(nn.Module):
    """A fully connected layer, or a convolution of `width` pixels, with N(0, 1) weights that are scaled when used.

    So every layer learns at the same rate; `speed` makes one slower.
    """

    def __init__(self, inputs: int, outputs: int, width: int = 0, *, bias: float = 0.0, speed: float = 1.0):
        super().__init__()
        kernel = (width, width) if width else ()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, *kernel) / speed)
        self.bias = nn.Parameter(torch.full((outputs,), bias / speed))
        self.scale, self.speed = speed / math.sqrt(self.weight[0].numel()), speed

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) to (B, outputs), or (B, inputs, H, W) to (B, outputs, H, W)."""
        weight, bias = self.weight * self.scale, self.bias * self.speed
        if x.ndim == 2:
            return F.linear(x, weight, bias)
        return F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)


def modulated_conv(x: Tensor, weight: Tensor, style: Tensor, *, demodulate: bool = True) -> Tensor:
    """A convolution whose weights are scaled per picture: w' = style · w, divided by its norm over inputs.

    Scaling the inputs, then the outputs, is the same as convolving each picture with weights of its own.

    Args:
        x: (B, I, H, W). weight: (O, I, k, k). style: (B, I).
    """
    y = F.conv2d(x * style[:, :, None, None], weight, padding=weight.shape[-1] // 2)  # (B, O, H, W)
    norm = style.square() @ weight.square().sum((2, 3)).T + 1e-8  # (B, O)
    return y * torch.rsqrt(norm)[:, :, None, None] if demodulate else y


class StyledConv(nn.Module):
    """Modulated convolution, noise of a learned strength, bias, leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, latent: int):
        super().__init__()
        self.style = Equalised(latent, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.noise = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, w: Tensor, noise: torch.Generator | None) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        y = modulated_conv(x, self.weight, self.style(w))
        if noise is not None:
            y = y + self.noise * torch.randn(len(y), 1, *y.shape[2:], generator=noise, dtype=y.dtype).to(y.device)
        return lrelu(y + self.bias)


class Synthesis(nn.Module):
    """From w to a picture: a learned constant at 4 px, doubled until full size; each size adds to the picture."""

    def __init__(self, config: GANConfig):
        super().__init__()
        channels, latent = config.channels, config.latent
        self.constant = nn.Parameter(torch.randn(1, channels[0], 4, 4))
        self.convs, self.styles, self.to_rgb = nn.ModuleList(), nn.ModuleList(), nn.ParameterList()
        for before, after in zip((None, *channels[:-1]), channels, strict=True):
            first = [] if before is None else [StyledConv(before, after, latent)]
            self.convs.append(nn.ModuleList([*first, StyledConv(after, after, latent)]))
            self.styles.append(Equalised(latent, after, bias=1.0))
            self.to_rgb.append(nn.Parameter(torch.randn(3, after, 1, 1)))
        self.bias = nn.Parameter(torch.zeros(3, 1, 1))

    def forward(self, w: Tensor, *, noise: torch.Generator | None = None) -> Tensor:
        """Pictures (B, 3, S, S) from w (B, Z), one w for all layers; without a generator there is no noise."""
        x, picture = self.constant.expand(len(w), -1, -1, -1), self.bias
        for level, (convs, style, weight) in enumerate(zip(self.convs, self.styles, self.to_rgb, strict=True)):
            if level:
                x, picture = (F.interpolate(part, scale_factor=2, mode="bilinear") for part in (x, picture))
            for conv in convs:
                x = conv(x, w, noise)
            scaled = style(w) / math.sqrt(weight.shape[1])
            picture = picture + modulated_conv(x, weight, scaled, demodulate=False)
        return picture


class Generator(nn.Module):
    """Mapping and synthesis."""

    def __init__(self, config: GANConfig):
        super().__init__()
        self.config = config
        self.label = nn.Embedding(config.classes, config.latent)
        layers = [Equalised(width * config.latent, config.latent, speed=0.01) for width in (2, 1)]
        self.mapping, self.synthesis = nn.ModuleList(layers), Synthesis(config)

    def latent(self, z: Tensor, label: Tensor) -> Tensor:
        """w (B, Z) from z (B, Z) ~ N(0, 1) and labels (B,) int."""
        first, second = self.mapping
        return lrelu(second(lrelu(first(torch.cat([unit(z), unit(self.label(label))], 1)))))

    def forward(self, z: Tensor, label: Tensor, *, noise: torch.Generator | None = None) -> Tensor:
        """Pictures (B, 3, S, S)."""
        return self.synthesis(self.latent(z, label), noise=noise)


def spread(x: Tensor, group: int) -> Tensor:
    """How much pictures of a group differ: x (B, C, H, W) with one channel more, the mean standard deviation.

    A batch is parted into groups of `group` pictures, or of their greatest common divisor.
    """
    group = math.gcd(len(x), group)
    y = x.reshape(group, -1, *x.shape[1:])  # (G, B/G, C, H, W): every B/G-th picture is in one group
    std = (y.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))  # (B/G,)
    return torch.cat([x, std.repeat(group)[:, None, None, None].expand(-1, 1, *x.shape[2:])], 1)


class Residual(nn.Module):
    """Two convolutions and halving, beside a shortcut."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first, self.second = Equalised(inputs, inputs, 3), Equalised(inputs, outputs, 3)
        self.shortcut = Equalised(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H/2, W/2)."""
        main = F.avg_pool2d(lrelu(self.second(lrelu(self.first(x)))), 2)
        return (main + self.shortcut(F.avg_pool2d(x, 2))) / math.sqrt(2)


class Discriminator(nn.Module):
    """How real a picture looks for its label: a logit, as projection of its features on the label's embedding."""

    def __init__(self, config: GANConfig):
        super().__init__()
        self.config = config
        channels = config.channels[::-1]
        self.from_rgb = Equalised(3, channels[0], 1)
        self.blocks = nn.Sequential(*map(Residual, channels[:-1], channels[1:]))
        self.last = Equalised(channels[-1] + 1, channels[-1], 3)
        self.dense = Equalised(16 * channels[-1], channels[-1])
        self.out = Equalised(channels[-1], config.latent)
        self.label = nn.Embedding(config.classes, config.latent)

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """Logits (B,) of pictures (B, 3, S, S) with labels (B,) int; they depend on the company in a batch."""
        if x.shape[1:] != (3, self.config.size, self.config.size):
            raise ValueError(f"pictures are {tuple(x.shape[1:])}, the GAN's are (3, {self.config.size}, same)")
        h = self.blocks(lrelu(self.from_rgb(x)))
        h = lrelu(self.last(spread(h, self.config.group)))
        h = self.out(lrelu(self.dense(h.flatten(1))))  # (B, Z)
        return (h * unit(self.label(label))).sum(1) / math.sqrt(h.shape[1])


class GAN(NamedTuple):
    """The two players."""

    generator: Generator
    discriminator: Discriminator


def build(config: GANConfig, *, seed: int) -> GAN:
    """An untrained GAN."""
    with seeded(seed):
        return GAN(Generator(config), Discriminator(config))


def save_gan(path: Path, gan: GAN, note: dict[str, object] | None = None) -> None:
    """Weights and architecture in one file; `note` is the lineage."""
    tensors = nn.ModuleDict(gan._asdict()).state_dict()
    save_tensors(path, tensors, {**(note or {}), "config": asdict(gan.generator.config)})


def load_gan(path: Path) -> GAN:
    """A GAN as `save_gan` wrote it.

    Raises:
        FileNotFoundError: no file. CorruptFile: damaged, or not such a GAN (an unconditional one, for instance).
    """
    tensors = load_tensors(path)
    try:
        config = load_note(path)["config"]
        gan = build(GANConfig(**{**config, "channels": tuple(config["channels"])}), seed=0)
        nn.ModuleDict(gan._asdict()).load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CorruptFile(
            f"{path} holds no label-conditional GAN of this workbook ({str(error)[:200]}): train one with "
            "`python -m shui_workbook.studies.gan train`"
        ) from error
    return gan
