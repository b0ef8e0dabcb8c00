"""Small data for fast tests: faces in memory, and a prepared data set that a small network can learn something of."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import nn

from data_prep.prepared import Description, create_images, finish, writing
from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel, Output, build_model
from shui_lib.benchmark.presets import ModelConfig

CLASSES = ("bright", "red", "striped")  # what the targets say about the pixels


def draw(identities: int, images: tuple[int, int], *, size: int, seed: int) -> tuple[np.ndarray, ...]:
    """Noise in front of a colour, with stripes or without.

    Args:
        images: fewest and most images per identity.
    Returns:
        pixels (N, size, size, 3) uint8, identity (N,), attributes (N, 3) of 0 and 1.
    """
    chance = np.random.default_rng(seed)
    counts = chance.integers(images[0], images[1] + 1, identities)
    identity = np.repeat(np.arange(identities), counts)
    attributes = chance.integers(0, 2, (len(identity), len(CLASSES)))
    attributes[:2] = [[0, 0, 0], [1, 1, 1]]  # every attribute occurs
    bright, red, striped = (attributes[:, k, None, None] for k in range(len(CLASSES)))
    pixels = chance.integers(0, 64, (len(identity), size, size, 3))
    pixels += 96 * bright[..., None]
    pixels[..., 0] += 64 * red
    pixels[..., 1] += 64 * striped * (np.arange(size) % 4 < 2)
    return pixels.clip(0, 255).astype(np.uint8), identity, attributes


def tiny_faces(
    identities: int = 12,
    images: tuple[int, int] = (3, 5),
    *,
    size: int = 16,
    multilabel: bool = True,
    seed: int = 0,
) -> Faces:
    """Faces in memory; as classes, 0 … 3 tell brightness and redness."""
    pixels, identity, attributes = draw(identities, images, size=size, seed=seed)
    if multilabel:
        targets, classes = torch.from_numpy(attributes).float(), CLASSES
    else:
        targets, classes = torch.from_numpy(attributes[:, 0] + 2 * attributes[:, 1]), tuple("abcd")
    return Faces(pixels, np.arange(len(identity)), identity, targets, classes, "tiny")


def prepare_tiny(folder: Path, *, identities: int = 24, images: tuple[int, int] = (5, 9), seed: int = 0) -> Path:
    """Write a small prepared data set of 16 pixels; "smoke" runs on it in a second."""
    pixels, identity, attributes = draw(identities, images, size=16, seed=seed)
    names = [f"{row}.png" for row in range(len(identity))]
    index = pd.DataFrame({"image": names, "identity": identity} | dict(zip(CLASSES, attributes.T, strict=True)))
    about = Description(
        name="tiny", task="multilabel", classes=CLASSES, size=16, licence="none", sources={}, options={"seed": seed}
    )
    with writing(Path(folder)) as partial:
        create_images(partial, len(index), 16)[:] = pixels
        finish(partial, index, about)
    return Path(folder)


def small_vit(n_outputs: int = 3, *, size: int = 16, seed: int = 0) -> FaceModel:
    """A ViT of two blocks, in eval mode."""
    options = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}
    return build_model(ModelConfig(options=options), n_outputs=n_outputs, image_size=size, seed=seed).eval()


def small_resnet(n_outputs: int = 3, *, size: int = 32, seed: int = 0) -> FaceModel:
    """A convolutional network, with batch norm and without a CLS token, in eval mode."""
    config = ModelConfig(architecture="test_resnet")  # of timm: basic blocks and a bottleneck, 370 thousand weights
    return build_model(config, n_outputs=n_outputs, image_size=size, seed=seed).eval()


def small_face_resnet(n_outputs: int = 3, *, size: int = 32, seed: int = 0) -> FaceModel:
    """A face ResNet of five narrow blocks with another input size than the data's, in eval mode."""
    config = ModelConfig(architecture="face_resnet", image_size=36, options={"width": 4, "blocks": 5})
    return build_model(config, n_outputs=n_outputs, image_size=size, seed=seed).eval()


def small_efficientnet(n_outputs: int = 3, *, size: int = 32, seed: int = 0) -> FaceModel:
    """Depthwise convolutions, squeeze and excitation, and batch norm, in eval mode."""
    config = ModelConfig(architecture="test_efficientnet")
    return build_model(config, n_outputs=n_outputs, image_size=size, seed=seed).eval()


def same_weights(one: FaceModel, other: FaceModel) -> bool:
    """Bit by bit, buffers included."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


class TwoLayers(nn.Module):
    """12 pixel values, 5 hidden units, K logits, in float64; says what a FaceModel says."""

    def __init__(self, n_outputs: int):
        super().__init__()
        self.image_size = 2
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(12, 5).double(), nn.Linear(5, n_outputs).double()

    def forward(self, x):
        hidden = self.first(x.flatten(1)).tanh()
        return Output(self.second(hidden), hidden)
