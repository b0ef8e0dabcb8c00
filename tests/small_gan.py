"""A GAN of 8 pixels and pictures for it, for tests of seconds."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from shui_lib.benchmark.data import Faces
from shui_lib.gan.latents import Inversion
from shui_lib.gan.stylegan2 import GANConfig, build, load_gan
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


def killed_and_resumed_alike(child: str, folder: Path) -> bool:
    """Does a program make the same gan.safetensors, killed by -9 after its first checkpoint and started again?

    Args:
        child: Python code; it works in the folder sys.argv[1] and writes its checkpoint there.
    """
    whole, killed = folder / "whole", folder / "killed"
    for path in (whole, killed):
        path.mkdir()
    start = [sys.executable, "-c", child]
    subprocess.run([*start, str(whole)], check=True)
    running = subprocess.Popen([*start, str(killed)])
    while not list(killed.glob("*.checkpoint")):
        time.sleep(0.005)
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    assert not (killed / "gan.safetensors").exists(), "it was killed before its end"
    subprocess.run([*start, str(killed)], check=True)
    return same(*(load_gan(path / "gan.safetensors") for path in (whole, killed)))
