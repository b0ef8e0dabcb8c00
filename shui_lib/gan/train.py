"""Training a GAN: non-saturating logistic losses, R1 lazily, a running mean of the weights; resumable to the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.train import pack, unpack
from shui_lib.core.progress import progress
from shui_lib.core.randomness import epoch_generator
from shui_lib.core.store import load_note, load_tensors, save_tensors
from shui_lib.gan.steps import Game, Pictures, due, gan_step
from shui_lib.gan.stylegan2 import GAN, GANConfig, Generator, build


@dataclass(frozen=True, kw_only=True)
class GANTraining:
    """How a GAN is trained."""

    kimg: float = 100.0  # thousands of training pictures shown, repeats counted
    batch: int = 16
    lr: float = 0.002
    gamma: float = 0.1  # of R1; the rule of StyleGAN2-ADA, 0.0002 S² / batch, gives 0.013
    r1_every: int = 16  # discriminator steps from one R1 step to the next
    anneal: float = 0.2  # last share of the training, in which the learning rate falls to zero (D36)
    ema_kimg: float = 5.0  # half-life of the running mean of the generator's weights
    tick: int = 500  # steps from one checkpoint to the next

    def __post_init__(self) -> None:
        wrong = [name for name in ("kimg", "batch", "lr", "r1_every", "ema_kimg", "tick") if getattr(self, name) <= 0]
        if wrong or self.gamma < 0 or not 0 <= self.anneal <= 1:
            raise ValueError(f"{', '.join(wrong) or 'gamma or anneal'} is out of range: {self}")

    @property
    def steps(self) -> int:
        """Of each player."""
        return max(1, round(1000 * self.kimg / self.batch))


def pictures_of(faces: Faces, device: torch.device | str = "cpu") -> Pictures:
    """Pictures (N, 3, S, S) in [-1, 1] and labels (N,) of the classes."""
    return faces.pixels(device=device), faces.targets.to(device)


def check_data(faces: Faces, config: GANConfig) -> None:
    """Raise ValueError where pictures do not fit an architecture."""
    if faces.size != config.size:
        raise ValueError(f"pictures of {faces.size} px do not fit a GAN of {config.size} px: prepare the size again")
    if faces.multilabel or not len(faces) or int(faces.targets.max()) >= config.classes:
        raise ValueError(f"{len(faces)} pictures need classes from 0 to {config.classes - 1}: raise GANConfig.classes")


def mirrored(x: Tensor, chance: torch.Generator) -> Tensor:
    """Pictures (B, 3, S, S), about half of them mirrored."""
    turned = torch.rand(len(x), generator=chance) < 0.5
    return torch.where(turned[:, None, None, None].to(x.device), x.flip(3), x)


def fit_gan(
    faces: Faces,
    config: GANConfig,
    training: GANTraining,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    start: GAN | None = None,
    checkpoint: Path | None = None,
    sheet: Callable[[Generator, float], None] | None = None,
) -> tuple[GAN, pd.DataFrame]:
    """Train a GAN on pictures of the GAN's size.

    Args:
        start: a GAN that goes on with its training; it is not changed. By default a new one is trained.
        checkpoint: a file rewritten after every tick; a run that finds one goes on from it, to the same weights.
        sheet: called after every tick with the averaged generator and the thousands of pictures shown.
    Returns:
        The averaged generator beside the discriminator; one row a tick: kimg, loss_d, loss_g (means, nats).
    Raises:
        ValueError: size or labels do not fit. Diverged: a loss is not finite; the last checkpoint stays.
    """
    check_data(faces, config)
    live = copy.deepcopy(start) if start else build(config, seed=seed)
    for network in live:
        network.train().requires_grad_().to(device, memory_format=torch.channels_last)  # a fifth faster on a CPU
    mean = copy.deepcopy(live.generator).requires_grad_(False)
    game, history = Game(live, training.lr, lazy=training.r1_every), []
    whole = nn.ModuleDict(live._asdict() | {"mean": mean})
    if checkpoint and checkpoint.exists():
        unpack(whole, game.optimizer, load_tensors(checkpoint))
        history = load_note(checkpoint)["history"]
    ticks, done = -(-training.steps // training.tick), len(history)
    for tick in progress(range(done, ticks), total=ticks, initial=done, desc="GAN", unit="tick"):
        history.append(_tick(game, mean, faces, training, tick, epoch_generator(seed, tick), warm=start is None))
        if checkpoint:
            save_tensors(checkpoint, pack(whole, game.optimizer), {"history": history})
        if sheet:
            sheet(mean, history[-1]["kimg"])
    return GAN(mean.eval(), live.discriminator.eval()), pd.DataFrame(history)


def _tick(
    game: Game, mean: Generator, faces: Faces, training: GANTraining, tick: int, chance: torch.Generator, *, warm: bool
) -> dict[str, float]:
    """The steps up to the next checkpoint, and their mean losses. A mean that is warmed up follows fast at first."""
    device = mean.synthesis.constant.device
    among, lines = faces.targets.to(device), []
    first, last = tick * training.tick, min((tick + 1) * training.tick, training.steps)
    for step in range(first, last):
        index = torch.randint(len(faces), (training.batch,), generator=chance)
        x, y = pictures_of(faces[index], device)
        x = mirrored(x, chance) if faces.flip else x
        game.slow((1 - step / training.steps) / training.anneal if training.anneal else 1.0)
        lines.append(gan_step(game, (x, y), among, chance, r1=due(step, training.gamma, training.r1_every)))
        half = min(training.ema_kimg, 0.05 * (step + 1) * training.batch / 1000) if warm else training.ema_kimg
        _follow(mean, game.gan.generator, 0.5 ** (training.batch / 1000 / half))
    return {"kimg": last * training.batch / 1000, **pd.DataFrame(lines).mean().to_dict()}


@torch.no_grad()
def _follow(mean: Generator, live: Generator, keep: float) -> None:
    """Move the running mean, of which a share is kept."""
    for ours, theirs in zip(mean.parameters(), live.parameters(), strict=True):
        ours.lerp_(theirs, 1 - keep)
