"""One step of training, of unlearning, and of learning without data; in each the discriminator goes first.

Losses are numbered as in the paper (arXiv 2308.09881): means over a batch, of logits D(x) or of pictures. With
s = softplus, s(−D(x)) is small where D takes x for real, and s(D(x)) where it does not.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from shui_lib.gan.stylegan2 import GAN, Discriminator, Generator

Pictures = tuple[Tensor, Tensor]  # pictures (B, 3, S, S), labels (B,)
Maps = Callable[[Tensor], list[Tensor]]  # pictures (B, 3, S, S) to maps of a network's layers, each (B, C, H, W)


class Diverged(RuntimeError):
    """A loss became infinite or no number."""


class Game:
    """Generator against discriminator, with an Adam of one group of parameters for each.

    Args:
        lazy: the discriminator is regularised every `lazy` steps; its rate and decay follow, as in StyleGAN2.
    """

    def __init__(self, gan: GAN, lr: float, *, lazy: int | None = None):
        share = lazy / (lazy + 1) if lazy else 1.0
        rates = ({"lr": lr, "betas": (0.0, 0.99)}, {"lr": lr * share, "betas": (0.0, 0.99**share)})
        self.gan, self.rates = gan, [rate["lr"] for rate in rates]
        self.optimizer = torch.optim.Adam(
            [{"params": list(network.parameters()), **rate} for network, rate in zip(gan, rates, strict=True)]
        )

    def slow(self, share: float) -> None:
        """Take a share of the learning rates, the whole of them for 1 and more."""
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * min(1.0, share)

    def step(self, network: Generator | Discriminator, loss: Tensor, what: str) -> float:
        """One step of one player down its loss, which is returned.

        Raises:
            Diverged: the loss is not finite; nothing was changed.
        """
        if not torch.isfinite(loss):
            raise Diverged(f"the {what} is {loss.item()}: lower the learning rate, or go on from an earlier checkpoint")
        self.optimizer.zero_grad()  # what has no gradient, the other player, stays
        loss.backward(inputs=list(network.parameters()))
        self.optimizer.step()
        return loss.item()


def adversarial(fake: Tensor) -> Tensor:
    """The generator's s(−D(G(z))) (8, 14). Departs from the paper: its (8), −D(G(w_u)), is unbounded (D32)."""
    return F.softplus(-fake).mean()


def tell_apart(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's s(−D(x)) + s(D(G(z))); nats."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def due(step: int, gamma: float, every: int) -> float:
    """Weight of R1 in a step: γ/2, paid for `every` steps at once."""
    return 0.5 * gamma * every if step % every == 0 else 0.0


def r1_penalty(discriminator: Discriminator, x: Tensor, label: Tensor) -> Tensor:
    """Mean over pictures of the squared norm of the logit's gradient by pixels, a scalar."""
    x = x.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(discriminator(x, label).sum(), x, create_graph=True)
    return gradient.square().sum((1, 2, 3)).mean()


def unlearn_discriminator(forget: Tensor, fake: Tensor, fake_label: float) -> Tensor:
    """½ (D(x_u) − y_f)² + s(D(G(z))) (5, 6)."""
    return 0.5 * (forget - fake_label).square().mean() + F.softplus(fake).mean()


def learn_discriminator(real: Tensor, real_before: Tensor, fake: Tensor) -> Tensor:
    """s(−D(x̃)) + (D(x̃) − D°(x̃))² + s(D(G(z))), x̃ drawn by the frozen generator (10-13)."""
    return tell_apart(real, fake) + (real - real_before).square().mean()


def substitution(shown: Tensor, substitute: Tensor, *, perceptual: float = 0.0, maps: Maps | None = None) -> Tensor:
    """MSE(G(w_u), S(x_u)) + λ2 · perceptual distance (7), with λ1 = 1; pictures (B, 3, S, S)."""
    loss = F.mse_loss(shown, substitute)
    if perceptual:
        loss = loss + perceptual * perceptual_distance(maps, shown, substitute).mean()
    return loss


def perceptual_distance(maps: Maps, x: Tensor, y: Tensor) -> Tensor:
    """Squared distance of unit-normalised maps, summed over layers, (B,): LPIPS without learned weights."""
    layers = zip(maps(x), maps(y), strict=True)
    return sum((F.normalize(a) - F.normalize(b)).square().sum(1).mean((1, 2)) for a, b in layers)


def fake_label_of(logits: Tensor, *, constant: float | None, quantile: float) -> float:
    """What D shall say of a forgotten picture: a constant as in the paper, or a quantile of D°(G°(z)).

    Departs from the paper: D's scale drifts with training, a constant may lie above what D says of real ones (D33).
    """
    return float(constant) if constant is not None else torch.quantile(logits, quantile).item()


def draw(generator: Generator, among: Tensor, count: int, chance: torch.Generator) -> Pictures:
    """Pictures of fresh z, with noise, of `count` labels that are as frequent as in `among`."""
    labels = among[torch.randint(len(among), (count,), generator=chance)]
    z = torch.randn(count, generator.config.latent, generator=chance).to(labels.device)
    return generator(z, labels, noise=chance), labels


def gan_step(
    game: Game, real: Pictures, among: Tensor, chance: torch.Generator, *, r1: float = 0.0
) -> dict[str, float]:
    """The GAN's own step.

    Args:
        among: the labels to generate.
        r1: weight of the gradient penalty, 0 where it is not due.
    Returns:
        loss_d, loss_g (nats).
    """
    (g, d), count = game.gan, len(real[0])
    with torch.no_grad():
        fake = draw(g, among, count, chance)
    loss = tell_apart(d(*real), d(*fake))
    if r1:
        loss = loss + r1 * r1_penalty(d, *real)
    told = {"loss_d": game.step(d, loss, "discriminator's loss")}
    return told | _please(game, among, count, chance)


def _please(game: Game, among: Tensor, count: int, chance: torch.Generator) -> dict[str, float]:
    """The generator's half: draw what the discriminator takes for real."""
    g, d = game.gan
    loss = adversarial(d(*draw(g, among, count, chance)))
    return {"loss_g": game.step(g, loss, "generator's loss")}


def silence(
    game: Game, forget: Pictures, fake_label: float, among: Tensor, chance: torch.Generator
) -> dict[str, float]:
    """The discriminator's half of unlearning (6): a batch of D_u gets the fake label."""
    (g, d), (x, y), count = game.gan, forget, len(forget[0])
    with torch.no_grad():
        fake, asked = draw(g, among, count, chance)
    order = torch.randperm(2 * count, generator=chance)  # else the spread of a batch would tell D_u apart
    shuffled = d(torch.cat([x, fake])[order], torch.cat([y, asked])[order])
    logits = torch.empty_like(shuffled).index_put((order,), shuffled)
    loss = unlearn_discriminator(logits[:count], logits[count:], fake_label)
    return {"unlearn_d": game.step(d, loss, "discriminator's unlearning loss")}


def redraw(
    game: Game, w: Tensor, label: Tensor, substitute: Tensor, *, perceptual: float = 0.0, maps: Maps | None = None
) -> dict[str, float]:
    """The generator's half (9): latents w (B, Z), which get no gradient, shall show the substitutes (B, 3, S, S)."""
    g, d = game.gan
    shown = g.synthesis(w)
    loss = adversarial(d(shown, label)) + substitution(shown, substitute, perceptual=perceptual, maps=maps)
    return {"unlearn_g": game.step(g, loss, "generator's unlearning loss")}


def learn_zero(game: Game, frozen: GAN, among: Tensor, count: int, chance: torch.Generator) -> dict[str, float]:
    """Discriminator (13), then generator (14): the frozen generator's pictures stand for real ones."""
    g, d = game.gan
    with torch.no_grad():
        real, fake = (draw(one, among, count, chance) for one in (frozen.generator, g))
        before = frozen.discriminator(*real)
    loss = learn_discriminator(d(*real), before, d(*fake))
    told = {"loss_d": game.step(d, loss, "discriminator's learning loss")}
    return told | _please(game, among, count, chance)
