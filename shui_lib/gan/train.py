"""Training a GAN: non-saturating logistic losses, R1 lazily, a running mean of the weights; resumable to the same."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.train import pack, unpack
from shui_lib.core.progress import progress
from shui_lib.core.randomness import epoch_generator
from shui_lib.core.store import load_note, load_tensors, save_tensors
from shui_lib.gan.stylegan2 import GAN, Discriminator, GANConfig, Generator, build


@dataclass(frozen=True, kw_only=True)
class GANTraining:
    """How a GAN is trained."""

    kimg: float = 80.0  # thousands of training pictures shown, repeats counted
    batch: int = 32
    lr: float = 0.002
    gamma: float = 0.1  # of R1
    r1_every: int = 16  # discriminator steps from one R1 step to the next
    ema_kimg: float = 5.0  # half-life of the running mean of the generator's weights
    flip: bool = True  # mirror half of the pictures; not for digits
    tick: int = 250  # steps from one checkpoint to the next

    def __post_init__(self) -> None:
        wrong = [name for name in ("kimg", "batch", "lr", "r1_every", "ema_kimg", "tick") if getattr(self, name) <= 0]
        if wrong or self.gamma < 0:
            raise ValueError(f"{', '.join(wrong) or 'gamma'} must be positive: {self}")


class Diverged(RuntimeError):
    """A loss became infinite or no number."""


def labels_of(faces: Faces) -> Tensor:
    """What a GAN is asked for, (N,) int: the class of a picture, or the person where several attributes are noted."""
    return torch.tensor(faces.identity) if faces.multilabel else faces.targets


def check_data(faces: Faces, config: GANConfig) -> None:
    """Raise ValueError where pictures do not fit an architecture."""
    if faces.size != config.size:
        raise ValueError(f"pictures of {faces.size} px do not fit a GAN of {config.size} px: prepare the size again")
    if not len(faces) or int(labels_of(faces).max()) >= config.classes:
        raise ValueError(f"{len(faces)} pictures need labels from 0 to {config.classes - 1}: raise GANConfig.classes")


class Player:
    """A network with its optimiser; Adam as for lazy regularisation."""

    def __init__(self, network: Generator | Discriminator, lr: float, *, lazy: int | None = None):
        share = lazy / (lazy + 1) if lazy else 1.0
        self.network = network
        self.optimizer = torch.optim.Adam(network.parameters(), lr * share, betas=(0.0, 0.99**share), eps=1e-8)

    def step(self, loss: Tensor, what: str) -> float:
        """One step down the loss, which is returned.

        Raises:
            Diverged: the loss is not finite; nothing was changed.
        """
        if not torch.isfinite(loss):
            raise Diverged(f"the {what} is {loss.item()}: lower the learning rate, or go on from an earlier checkpoint")
        parameters = list(self.network.parameters())
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        self.optimizer.step()
        return loss.item()


def draw_fakes(generator: Generator, labels: Tensor, chance: torch.Generator) -> Tensor:
    """Pictures of fresh z with noise, for labels (B,)."""
    z = torch.randn(len(labels), generator.config.latent, generator=chance).to(labels.device)
    return generator(z, labels, noise=chance)


def draw_labels(among: Tensor, count: int, chance: torch.Generator) -> Tensor:
    """`count` labels, as frequent as in `among`."""
    return among[torch.randint(len(among), (count,), generator=chance)]


def r1_penalty(discriminator: Discriminator, x: Tensor, label: Tensor) -> Tensor:
    """Mean over pictures of the squared norm of the logit's gradient by pixels, a scalar."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(x, label).sum(), x, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def discriminator_loss(discriminator: Discriminator, real: Tensor, fake: Tensor, labels: tuple[Tensor, Tensor]):
    """s(−D(x)) + s(D(G(z))), s = softplus; nats."""
    return F.softplus(-discriminator(real, labels[0])).mean() + F.softplus(discriminator(fake, labels[1])).mean()


def gan_step(
    players: tuple[Player, Player],
    real: tuple[Tensor, Tensor],
    among: Tensor,
    chance: torch.Generator,
    *,
    gamma: float,
    r1_every: int = 0,
) -> dict[str, float]:
    """The GAN's own step, discriminator first: `real` are pictures and labels, `among` the labels to generate.

    Args:
        r1_every: weight of R1 if it is due now, 0 if it is not.
    Returns:
        loss_d, loss_g (nats).
    """
    (g, d), (x, y) = players, real
    asked = draw_labels(among, len(x), chance)
    with torch.no_grad():
        fake = draw_fakes(g.network, asked, chance)
    loss = discriminator_loss(d.network, x, fake, (y, asked))
    if r1_every:
        loss = loss + 0.5 * gamma * r1_every * r1_penalty(d.network, x, y)
    told = {"loss_d": d.step(loss, "discriminator's loss")}
    asked = draw_labels(among, len(x), chance)
    loss = F.softplus(-d.network(draw_fakes(g.network, asked, chance), asked)).mean()
    return told | {"loss_g": g.step(loss, "generator's loss")}


def take(faces: Faces, index: Tensor, chance: torch.Generator, *, flip: bool, device: torch.device) -> tuple:
    """Pictures (B, 3, S, S), half of them mirrored if `flip`, and labels (B,)."""
    part = faces[index]
    x = part.pixels(device=device)
    if flip:
        turned = torch.rand(len(x), generator=chance) < 0.5
        x[turned] = x[turned].flip(3)
    return x, labels_of(part).to(device)


def fit_gan(
    faces: Faces,
    config: GANConfig,
    training: GANTraining,
    *,
    seed: int,
    device: torch.device | str = "cpu",
    checkpoint: Path | None = None,
    sheet: Callable[[Generator, float], None] | None = None,
) -> tuple[GAN, pd.DataFrame]:
    """Train a GAN on pictures of the GAN's size.

    Args:
        checkpoint: a file rewritten after every tick; a run that finds one goes on from it, to the same weights.
        sheet: called after every tick with the averaged generator and the thousands of pictures shown.
    Returns:
        The averaged generator beside the discriminator; one row a tick: kimg, loss_d, loss_g (means, nats).
    Raises:
        ValueError: size or labels do not fit. Diverged: a loss is not finite; the last checkpoint stays.
    """
    check_data(faces, config)
    live = build(config, seed=seed)
    for network in live:
        network.to(memory_format=torch.channels_last)  # a fifth faster on a CPU
    players = (Player(live.generator.to(device), training.lr), _lazy(live, training, device))
    mean = copy.deepcopy(live.generator).requires_grad_(False)
    history = _resume(players, mean, checkpoint)
    among = labels_of(faces).to(device)
    steps = max(1, round(1000 * training.kimg / training.batch))
    bar = progress(total=steps, initial=len(history) * training.tick, desc="GAN", unit="step", mininterval=1)
    for tick in range(len(history), -(-steps // training.tick)):
        chance = epoch_generator(seed, tick)
        lines = []
        for step in range(tick * training.tick, min((tick + 1) * training.tick, steps)):
            index = torch.randint(len(faces), (training.batch,), generator=chance)
            real = take(faces, index, chance, flip=training.flip, device=among.device)
            due = training.r1_every if step % training.r1_every == 0 else 0
            lines.append(gan_step(players, real, among, chance, gamma=training.gamma, r1_every=due))
            _follow(mean, live.generator, training, step)
            bar.update()
        shown = (step + 1) * training.batch / 1000
        history.append({"kimg": shown, **pd.DataFrame(lines).mean().to_dict()})
        if checkpoint:
            save_tensors(checkpoint, _packed(players, mean), {"history": history})
        if sheet:
            sheet(mean, shown)
    bar.close()
    return GAN(mean.eval(), live.discriminator.eval()), pd.DataFrame(history)


def _lazy(live: GAN, training: GANTraining, device: torch.device | str) -> Player:
    return Player(live.discriminator.to(device), training.lr, lazy=training.r1_every)


@torch.no_grad()
def _follow(mean: Generator, live: Generator, training: GANTraining, step: int) -> None:
    """Move the running mean; at the start its half-life is a twentieth of what was shown."""
    half = min(training.ema_kimg, 0.05 * (step + 1) * training.batch / 1000)
    keep = 0.5 ** (training.batch / 1000 / half)
    for ours, theirs in zip(mean.parameters(), live.parameters(), strict=True):
        ours.lerp_(theirs, 1 - keep)


def _packed(players: tuple[Player, Player], mean: Generator) -> dict[str, Tensor]:
    whole = {f"mean/{name}": value for name, value in mean.state_dict().items()}
    for player, role in zip(players, GAN._fields, strict=True):
        whole |= {f"{role}/{name}": value for name, value in pack(player.network, player.optimizer).items()}
    return whole


def _under(tensors: Mapping[str, Tensor], role: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{role}/"): t for name, t in tensors.items() if name.startswith(f"{role}/")}


def _resume(players: tuple[Player, Player], mean: Generator, checkpoint: Path | None) -> list[dict[str, float]]:
    if checkpoint is None or not checkpoint.exists():
        return []
    tensors = load_tensors(checkpoint)
    mean.load_state_dict(_under(tensors, "mean"))
    for player, role in zip(players, GAN._fields, strict=True):
        unpack(player.network, player.optimizer, _under(tensors, role))
    return load_note(checkpoint)["history"]
