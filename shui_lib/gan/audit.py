"""Is the generator emptied, or the discriminator only silenced? What can still be drawn, and how torn the space is."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.core.randomness import epoch_generator
from shui_lib.gan.inversion import Inversion, all_labels, invert, nearest
from shui_lib.gan.metrics import Classifier, auc, judge, perceptual_distance, sample
from shui_lib.gan.stylegan2 import GAN, Generator
from shui_lib.gan.train import GANTraining, Player, gan_step, labels_of, take

EPSILON = 1e-2  # a step on a path, as a share of it


def reinversion(generator: Generator, forget: Tensor, test: Tensor, settings: Inversion) -> dict[str, float]:
    """How well the generator still gives back D_u, beside pictures that it has never seen; mean PSNR, dB."""
    found = invert(generator, torch.cat([forget, test]), settings).psnr
    return {"psnr_forget": found[: len(forget)].mean().item(), "psnr_test": found[len(forget) :].mean().item()}


def nearest_generated(generator: Generator, forget: Tensor, *, seed: int, count: int = 2000) -> float:
    """PSNR of the nearest of `count` generated pictures to each forgotten one, mean, dB."""
    labels = all_labels(generator).repeat(-(-count // generator.config.classes))[:count]
    return nearest(forget, sample(generator, labels, seed=seed)[0])[1].mean().item()


@torch.no_grad()
def path_length(generator: Generator, classifier: Classifier, w: Tensor, *, seed: int) -> float:
    """Perceptual path length in W from each w (N, Z) towards another of them, mean over the pairs.

    torchmetrics' PerceptualPathLength starts at z; here the path starts at given w, at its very beginning.
    """
    chance = torch.Generator().manual_seed(seed)
    other = w.roll(1, 0)
    share = 0.1 * torch.rand(len(w), 1, generator=chance)
    first, second = (generator.synthesis(torch.lerp(w, other, at)) for at in (share, share + EPSILON))
    return (perceptual_distance(classifier, first, second).mean() / EPSILON**2).item()


def relearn_steps(
    gan: GAN,
    faces: Faces,
    forget: tuple[Tensor, Tensor],
    fresh: tuple[Tensor, Tensor],
    training: GANTraining,
    *,
    seed: int,
    most: int = 100,
    every: int = 10,
) -> int | None:
    """Steps of the GAN's own training on all pictures until AUC_lu falls below 0.55; None: not within `most`.

    Args:
        faces: D_u and D_l together. forget, fresh: pictures and labels that AUC_lu compares.
    """
    players = tuple(Player(copy.deepcopy(network).train().requires_grad_(), training.lr) for network in gan)
    chance, among = epoch_generator(seed, 0), labels_of(faces)
    for step in range(0, most + 1, every):
        logits = judge(players[1].network, {"forget": forget, "fresh": fresh})
        if auc(logits["fresh"], logits["forget"]) < 0.55:
            return step
        for _ in range(every):
            index = torch.randint(len(faces), (training.batch,), generator=chance)
            real = take(faces, index, chance, flip=training.flip, device=among.device)
            gan_step(players, real, among, chance, gamma=training.gamma)
    return None
