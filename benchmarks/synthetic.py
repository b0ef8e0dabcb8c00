"""Models and images to measure on; no outside file is needed."""

from __future__ import annotations

import numpy as np
import torch

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel, build_model
from shui_lib.benchmark.presets import ModelConfig, preset_named

K = 40  # attributes of CelebA
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CPU_PRESET, VIT_B, FACE_RESNET = "cpu preset", "ViT-B/16", "face-resnet"
MODELS = {  # name: configuration, pixels
    CPU_PRESET: (preset_named("cpu").model, 64),
    VIT_B: (ModelConfig(architecture="vit_base_patch16_224"), 224),
    FACE_RESNET: (ModelConfig(architecture="face_resnet"), 112),
}


def random_model(name: str, *, seed: int = 0) -> FaceModel:
    """A network with random weights, in eval mode on the device."""
    config, size = MODELS[name]
    model = build_model(config, n_outputs=K, image_size=size, seed=seed).to(DEVICE).eval()
    torch.manual_seed(seed)
    torch.nn.init.normal_(model.network.head.weight, std=0.2)  # an untrained head may be zero
    return model


def noise(n: int, size: int) -> Faces:
    """`n` images of noise with random attributes, one of each identity."""
    chance = np.random.default_rng(n)
    images = chance.integers(0, 256, (n, size, size, 3), dtype=np.uint8)
    targets = torch.from_numpy(chance.integers(0, 2, (n, K)).astype(np.float32))
    return Faces(images, np.arange(n), np.arange(n), targets, tuple(map(str, range(K))))
