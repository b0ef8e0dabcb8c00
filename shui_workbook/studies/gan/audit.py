"""Is the generator emptied, or the discriminator only silenced? What can still be drawn, and how torn the space is."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.core.randomness import epoch_generator
from shui_lib.gan.latents import Inversion, all_labels, invert, psnr_of
from shui_lib.gan.metrics import auc, judge, sample
from shui_lib.gan.steps import Game, Maps, Pictures, due, gan_step, perceptual_distance
from shui_lib.gan.stylegan2 import GAN, Generator
from shui_lib.gan.train import GANTraining, pictures_of

EPSILON = 1e-2  # a step on a path, as a share of it
RELEARNED = 0.55  # AUC_lu below which a discriminator holds the pictures for its own again


def nearest(pictures: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Of each picture: the position of the nearest of `others`, and its PSNR (dB); both (N,)."""
    position = torch.cdist(pictures.flatten(1), others.flatten(1)).argmin(1)
    return position, psnr_of(pictures, others[position])


def reinversion(generator: Generator, forget: Tensor, test: Tensor, settings: Inversion) -> dict[str, float]:
    """How well the generator still gives back D_u, beside pictures that it has never seen; mean PSNR, dB."""
    found = invert(generator, torch.cat([forget, test]), settings)[1]
    return {"psnr_forget": found[: len(forget)].mean().item(), "psnr_test": found[len(forget) :].mean().item()}


def nearest_generated(generator: Generator, forget: Tensor, *, seed: int, count: int = 1000) -> float:
    """PSNR of the nearest of `count` generated pictures to each forgotten one, mean, dB."""
    labels = all_labels(generator).cpu().repeat(-(-count // generator.config.classes))[:count]
    return nearest(forget, sample(generator, labels, seed=seed)[0])[1].mean().item()


@torch.no_grad()
def path_length(generator: Generator, maps: Maps, w: Tensor, *, seed: int) -> float:
    """Perceptual path length in W from each w (N, Z) towards another of them, mean over the pairs.

    torchmetrics' PerceptualPathLength starts at z; here the path starts at given w, at its very beginning.
    """
    share = 0.1 * torch.rand(len(w), 1, generator=torch.Generator().manual_seed(seed))
    places = (torch.lerp(w, w.roll(1, 0), at) for at in (share, share + EPSILON))
    first, second = (generator.synthesis(place.to(generator.label.weight.device)).to(w.device) for place in places)
    return (perceptual_distance(maps, first, second).mean() / EPSILON**2).item()


def relearn_steps(
    gan: GAN,
    faces: Faces,
    forget: Pictures,
    fresh: Pictures,
    training: GANTraining,
    *,
    seed: int,
    goal: float = RELEARNED,
    most: int = 200,
    every: int = 10,
) -> int:
    """Steps of the GAN's own training on all pictures until AUC_lu falls below a goal; `most` where it does not.

    Args:
        faces: D_u and D_l together. forget, fresh: pictures and labels that AUC_lu compares.
        most: a multiple of `every`, the steps from one look to the next.
    """
    again = copy.deepcopy(gan)
    for network in again:
        network.train().requires_grad_()
    game, device = Game(again, training.lr, lazy=training.r1_every), again.discriminator.label.weight.device
    among = faces.targets.to(device)
    chance = epoch_generator(seed, 0)
    for step in range(most):
        if step % every == 0:
            logits = judge(again.discriminator, {"forget": forget, "fresh": fresh})
            if auc(logits["fresh"], logits["forget"]) < goal:
                return step
        index = torch.randint(len(faces), (training.batch,), generator=chance)
        r1 = due(step, training.gamma, training.r1_every)
        gan_step(game, pictures_of(faces[index], device), among, chance, r1=r1)
    return most
