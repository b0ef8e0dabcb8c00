"""What a run is made of: frozen dataclasses, and presets as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A timm network with a linear head."""

    architecture: str = "vit_tiny_patch16_224"  # a timm network with one head, reshaped by `options`; or face_resnet
    image_size: int | None = None  # pixels; None takes the size of the data set
    stem: str = "patch"  # patch | conv (a ViT from scratch on few images sees details much sooner)
    pretrained: bool = False  # ImageNet weights, from timm's hub or `weights`
    weights: str | None = None  # a local .safetensors file, or a name of `data_prep.weights`
    options: Mapping[str, int | float | str] = field(default_factory=dict)  # passed on to timm


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The recipe of the original and of the retrained model."""

    optimizer: str = "adamw"  # adamw | sgd
    epochs: int = 30  # passes over the training images
    batch: int = 32
    lr: float = 1e-3  # peak, after warm-up
    momentum: float = 0.9  # of SGD
    beta2: float = 0.999  # of AdamW
    weight_decay: float = 0.05
    warmup_epochs: int = 2  # linear, per step; cosine afterwards
    cosine_per: str = "step"  # step | epoch (the authors' code: to zero at the number of all epochs, first step at 0)
    clip: float | None = None  # largest norm of a step's gradient
    augment: str = "batched"  # batched (one call a batch) | torchvision (as the authors' code, image by image)
    crop: float = 0.9  # smallest share of the area that a random crop keeps
    keep: str = "last"  # last | best (on validation, as the authors' code)
    bf16: bool = False  # autocast; slower than float32 for small networks on a CPU


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Shares of the images, in train / val / test order, and of the tuning pool."""

    shares: tuple[float, float, float] = (0.6, 0.2, 0.2)
    pool: float = 0.15  # share of the images whose identities settings are chosen on


@dataclass(frozen=True, kw_only=True)
class Preset:
    """One size of experiment. `methods` holds each method's default settings; data sets may differ in training."""

    model: ModelConfig
    train: TrainConfig
    split: SplitConfig = SplitConfig()
    methods: Mapping[str, Mapping[str, object]] = field(default_factory=dict)
    by_dataset: Mapping[str, Mapping[str, object]] = field(default_factory=dict)  # what of `train` is another there


ALL_INPUTS = ("logits", "features", "ids", "targets")  # of the learned loss, as published
# Initialised by Xavier's rule (timm's "jax"): the usual 0.02 is made for wide networks.
_SMALL_VIT = {"patch_size": 16, "embed_dim": 96, "depth": 4, "num_heads": 4, "weight_init": "jax"}

PRESETS: dict[str, Preset] = {
    # Seconds: shows that everything runs, teaches nothing.
    "smoke": Preset(
        model=ModelConfig(stem="conv", options={**_SMALL_VIT, "embed_dim": 32, "depth": 2, "num_heads": 2}),
        train=TrainConfig(epochs=2),
        methods={"meta_unlearn": {"epochs": 1}},
    ),
    # Half a minute a model on one core, trained from scratch (D46).
    "cpu": Preset(
        model=ModelConfig(stem="conv", options=_SMALL_VIT),
        train=TrainConfig(epochs=30, lr=5e-4, beta2=0.95, warmup_epochs=3, clip=1.0),
    ),
    # Pretrained on faces: it sees persons before it is trained here. 94 images a second on one core, forward and back.
    "face-resnet": Preset(
        model=ModelConfig(architecture="face_resnet", image_size=112, pretrained=True, weights="face-resnet"),
        train=TrainConfig(epochs=9, lr=3e-4, warmup_epochs=1, clip=1.0),
        methods={"meta_unlearn": {"epochs": 1}},  # once through all rehearsals (D41)
    ),
    # Pretrained on pictures of everything, of the paper's kind of network. 24 images a second on one core.
    "vit-s14": Preset(
        model=ModelConfig(architecture="vit_small_patch14_dinov2", image_size=70, pretrained=True, weights="vit-s14"),
        train=TrainConfig(epochs=3, lr=5e-5, warmup_epochs=1, clip=1.0),
        methods={"meta_unlearn": {"epochs": 1}},
    ),
    # The paper's appendix A (and the authors' code where it is silent); for MUFAC's η, α and epochs ask for
    # `meta_unlearn:published`.
    "paper": Preset(
        model=ModelConfig(architecture="vit_base_patch16_224", image_size=224, pretrained=True),
        train=TrainConfig(
            optimizer="sgd",
            batch=32,
            weight_decay=1e-3,
            cosine_per="epoch",
            augment="torchvision",
            crop=0.08,
            keep="best",
            bf16=True,
        ),
        methods={
            "meta_unlearn": {"eta": 0.1, "alpha": 1e-4, "epochs": 3, "inputs": ALL_INPUTS, "bf16": True},
            "scrub:one-shui": {"bf16": True},
            "bad_teacher:one-shui": {"bf16": True},
        },
        # Weight decay as in appendix A (D28).
        by_dataset={"celeba": {"weight_decay": 1e-4}, "mufac": {"weight_decay": 1e-4}},
    ),
}


def preset_named(name: str, *, dataset: str = "") -> Preset:
    """Look a preset up, with what it has for a data set of this name (as dataset.json says it).

    Raises:
        ValueError: no preset of that name.
    """
    if name not in PRESETS:
        raise ValueError(f"preset {name!r} is unknown: choose one of {', '.join(PRESETS)}")
    preset = PRESETS[name]
    return replace(preset, train=replace(preset.train, **preset.by_dataset.get(dataset, {})))
