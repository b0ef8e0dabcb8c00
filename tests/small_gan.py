"""A GAN of 8 pixels and pictures for it, for tests of seconds."""

import numpy as np
import torch

from shui_lib.benchmark.data import Faces
from shui_lib.gan.inversion import Inversion
from shui_lib.gan.stylegan2 import GANConfig, build
from shui_lib.gan.train import GANTraining

CONFIG = GANConfig(classes=3, channels=(8, 8), latent=8, group=4)
TRAINING = GANTraining(kimg=0.064, batch=8, tick=2, r1_every=2)
QUICK = Inversion(steps=5)


def small_faces(each: int = 12, *, classes: int = 3, size: int = 8, seed: int = 0) -> Faces:
    """Noise in front of a colour of its own for each class."""
    chance = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), each)
    pixels = chance.integers(0, 80, (len(labels), size, size, 3)) + 60 * (labels[:, None, None, None] == np.arange(3))
    names = tuple("abcdefgh"[:classes])
    return Faces(pixels.astype(np.uint8), np.arange(len(labels)), labels, torch.from_numpy(labels), names, "small")


def small_gan(seed: int = 0):
    return build(CONFIG, seed=seed)


def same(one, other) -> bool:
    """Two GANs with the same weights, bit for bit."""
    pairs = zip(one, other, strict=True)
    return all(torch.equal(a, b) for p, q in pairs for a, b in zip(p.parameters(), q.parameters(), strict=True))
