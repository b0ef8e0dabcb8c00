"""The memory of one simulated request grows neither with the images to forget nor with the identities asking."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import build_model
from shui_lib.benchmark.presets import ModelConfig
from shui_lib.methods.parts.learned_loss import LearnedLoss
from shui_lib.methods.parts.meta_gradient import loss_gradient, meta_gradient, parameters, unlearning_step

K, SIZE = 8, 64
VIT = {"patch_size": 8, "embed_dim": 192, "depth": 2, "num_heads": 3}  # activations outweigh parameters
PROC = Path("/proc/self")


def some_faces(n: int) -> Faces:
    images = np.zeros((n, SIZE, SIZE, 3), np.uint8)
    images[:, ::2] = 255  # written, so that the pages exist
    return Faces(images, np.arange(n), np.arange(n), torch.ones(n, K), tuple("abcdefgh"))


def one_request(model, loss, support: Faces, forget: Faces) -> None:
    """The step, what it does to the images to forget, and the meta-gradient."""
    theta = parameters(model)
    ids = torch.arange(len(support))
    step = unlearning_step(model, theta, loss, support, ids, eta=0.1, micro_batch=10, differentiable=True)
    _, _, outer = loss_gradient(model, step.theta, forget, micro_batch=10)
    meta_gradient(model, theta, loss, support, step, outer, eta=0.1, micro_batch=10)


def memory(name: str) -> float:
    """A line of /proc/self/status, in MiB: VmRSS (now) or VmHWM (highest since the last reset)."""
    (line,) = (line for line in (PROC / "status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024


def measure(n_support: int, n_forget: int) -> float:
    """Peak in MiB above the level just before, after a first request that fills the allocator's caches."""
    torch.manual_seed(0)
    model = build_model(ModelConfig(options=VIT), n_outputs=K, image_size=SIZE, seed=0).eval()
    loss = LearnedLoss(n_outputs=K, n_features=VIT["embed_dim"], n_identities=n_support)
    support, forget = some_faces(n_support), some_faces(n_forget)
    one_request(model, loss, support[slice(0, 10)], forget[slice(0, 32)])
    level, peaks = memory("VmRSS"), []
    for _ in range(2):
        (PROC / "clear_refs").write_text("5")  # resets VmHWM
        one_request(model, loss, support, forget)
        peaks.append(memory("VmHWM") - level)
    return min(peaks)  # chance, a tenth from run to run, only adds


@pytest.mark.skipif(not (PROC / "clear_refs").exists(), reason="peak memory is read from Linux's /proc")
def test_peak_memory_is_flat():
    # Large blocks go back to the system as soon as they are freed, so that what is measured is what is in use.
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "MALLOC_MMAP_THRESHOLD_": "262144",
        "MALLOC_TRIM_THRESHOLD_": "0",
    }
    sizes = [(10, 64), (10, 320), (40, 64)]
    command = [sys.executable, "-W", "error", __file__, *(f"{n},{images}" for n, images in sizes)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    peaks = dict(zip(sizes, map(float, done.stdout.split()), strict=True))
    print("; ".join(f"N_S = {n}, |D_f| = {images}: {mib:.1f} MiB" for (n, images), mib in peaks.items()))
    assert min(peaks.values()) > 20, "too small to show anything"
    # Both halves hold ten photos at a time, at some two MiB each: forty at once would be seen threefold.
    assert max(peaks.values()) <= 1.25 * min(peaks.values())


if __name__ == "__main__":
    for size in sys.argv[1:]:
        print(measure(*map(int, size.split(","))))
