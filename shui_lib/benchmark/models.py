"""Networks: a timm backbone and a linear head, that give logits and the CLS feature in one call."""

from __future__ import annotations

import math
import os
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import timm
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from timm.layers import PatchEmbed
from torch import Tensor, nn

from shui_lib.benchmark.face_resnet import FaceResNet
from shui_lib.benchmark.presets import PRESETS, ModelConfig
from shui_lib.core import places
from shui_lib.core.randomness import seeded
from shui_lib.core.store import checksum


class Output(NamedTuple):
    """What a model says about a batch."""

    logits: Tensor  # (B, K)
    features: Tensor  # (B, D) final CLS token of a ViT, pooled feature of a convolutional network


class FaceModel(nn.Module):
    """Any timm network, with its feature beside its logits."""

    def __init__(self, network: nn.Module, image_size: int):
        super().__init__()
        self.network = network
        self.image_size = image_size

    def forward(self, x: Tensor) -> Output:
        """Images (B, 3, S, S), normalised with mean = std = 0.5, to logits (B, K) and features (B, D)."""
        features = self.network.forward_head(self.network.forward_features(x), pre_logits=True)
        return Output(self.network.get_classifier()(features), features)


_OTHER = "give the weights of this architecture; `python -m data_prep.weights NAME` brings those of the presets"
FLOATS = ("F16", "BF16", "F32", "F64")  # types of safetensors
# They answer with several heads, and a FaceModel has one.
SEVERAL_HEADS = ("distilled", "levit", "crossvit", "efficientformer", "efficientvim", "swiftformer")


class ConvStem(PatchEmbed):
    """Patch embedding by a ladder of small convolutions: a ViT trained on few images sees details much sooner.

    (Xiao et al., 2021, "Early convolutions help transformers see better".)
    """

    def __init__(self, *, patch_size: int, in_chans: int, embed_dim: int, **options: object):
        super().__init__(patch_size=patch_size, in_chans=in_chans, embed_dim=embed_dim, **options)
        rungs = int(math.log2(patch_size))  # each halves the picture
        widths = [in_chans, *(max(32, embed_dim // 2**k) for k in reversed(range(rungs)))]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1, bias=False), nn.GroupNorm(1, wide), nn.GELU()]
        self.proj = nn.Sequential(*layers, nn.Conv2d(embed_dim, embed_dim, 1))


def build_model(config: ModelConfig, *, n_outputs: int, image_size: int, seed: int) -> FaceModel:
    """A network with weights drawn from `seed`, or pretrained ones under a new head.

    Args:
        image_size: pixels of the data set, used unless the configuration fixes another size.
    Raises:
        FileNotFoundError: pretrained weights that are neither on the hub's reach nor in a local file.
        ValueError: a network with several heads, or that timm does not have; or weights that are damaged or not whole.
    """
    _one_head(config.architecture)
    size = config.image_size or image_size
    path = _local(file) if config.pretrained and (file := _weights(config)) else None
    build = _face_resnet if config.architecture == "face_resnet" else _of_timm
    with seeded(seed):
        try:
            network = build(config, path, n_outputs, size)
        except (OSError, RuntimeError, SafetensorError) as error:
            if not config.pretrained:
                raise
            if path:
                raise ValueError(f"{path} is damaged, or not of {config.architecture} ({error}): {_OTHER}") from error
            raise FileNotFoundError(
                f"ImageNet weights of {config.architecture} could not be loaded ({type(error).__name__}). Without a "
                f"network, fetch them elsewhere from timm's hub and name the local .safetensors file: "
                f"ModelConfig(weights=...), or the environment variable SHUI_WEIGHTS for a preset. "
                f"Configuration: {asdict(config)}"
            ) from error
    if path:
        _check_filled(network, path, config.architecture)
    return FaceModel(network, size)


def _of_timm(config: ModelConfig, path: Path | None, n_outputs: int, size: int) -> nn.Module:
    options = {"pretrained": config.pretrained, "num_classes": n_outputs, **config.options}
    if config.architecture.startswith("vit_"):
        options["img_size"] = size
    if config.stem == "conv":
        options["embed_layer"] = ConvStem
    if path:
        options["pretrained_cfg_overlay"] = {"file": str(path)}
    return timm.create_model(config.architecture, **options)


def _face_resnet(config: ModelConfig, path: Path | None, n_outputs: int, size: int) -> FaceResNet:
    network = FaceResNet(n_outputs, **config.options)
    if path:
        state = {name: value for name, value in load_file(path).items() if not name.startswith("head.")}
        state.pop("embedding", None)  # dlib's own last layer
        network.load_state_dict({**network.state_dict(), **state})
    return network


def _check_filled(network: nn.Module, path: Path, architecture: str) -> None:
    """Nothing, if a file has every weight but the head's, real and finite, and what batch norms have counted."""
    with safe_open(path, framework="pt") as file:
        known = {name: file.get_slice(name).get_dtype() for name in sorted(file.keys())}
    state = network.state_dict(keep_vars=True)
    head = {id(weight) for weight in network.get_classifier().parameters()}
    wanted = [name for name in state if id(state[name]) not in head and not name.endswith("num_batches_tracked")]
    if lacking := [name for name in wanted if name not in known]:
        said = f"{path} lacks {len(lacking)} weights of {architecture}, {lacking[0]} for one: they would stay as drawn"
        raise ValueError(f"{said}. {_OTHER}")
    for name in wanted:
        if known[name] not in FLOATS or not state[name].isfinite().all():
            raise ValueError(f"{path}: {name} ({known[name]}) has numbers that are not real and finite. {_OTHER}")


def _one_head(architecture: str) -> None:
    """Look at the name before anything is built or fetched."""
    ours = architecture == "face_resnet" or ":" in architecture  # "hf-hub:owner/name" is looked up elsewhere
    if not ours and not timm.is_model(architecture):
        raise ValueError(f"timm has no network {architecture!r}: timm.list_models() lists them")
    if any(word in architecture for word in SEVERAL_HEADS):
        raise ValueError(f"{architecture} answers with several heads: take a network with one, vit_base_patch16_224")


def weights_checksum(config: ModelConfig) -> str:
    """SHA-256 of the local file of pretrained weights, or the words "timm hub"."""
    file = _weights(config)
    return checksum(_local(file)) if file else "timm hub"


def _weights(config: ModelConfig) -> str | None:
    """The local file, by path or name; none where timm's hub has them."""
    usual = "face-resnet" if config.architecture == "face_resnet" else None  # no hub has it
    return config.weights or os.environ.get("SHUI_WEIGHTS") or usual


def weights_file(name: str) -> Path:
    """The file that weights with a name are kept in (`data_prep.weights` brings some)."""
    return places.WEIGHTS / f"{name}.safetensors"


def _local(file: str) -> Path:
    """The path of weights, which are given as a path or by name."""
    named = Path(file).name == file and not Path(file).suffix
    path = weights_file(file) if named else Path(file)
    if not path.is_file():
        brought = file in {preset.model.weights for preset in PRESETS.values()}
        mend = f"`python -m data_prep.weights {file}` brings them, or give" if brought else "give"
        raise FileNotFoundError(f"no weights at {path}: {mend} the path of a .safetensors file of the architecture")
    return path
