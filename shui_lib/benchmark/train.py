"""The original and the retrained model: one recipe, a checkpoint per epoch, resumable to the same weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from shui_lib.benchmark.data import AUGMENT, Faces
from shui_lib.benchmark.metrics import UndefinedScore, score_or_nan
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import predict, task_loss
from shui_lib.benchmark.presets import TrainConfig
from shui_lib.core.progress import progress
from shui_lib.core.randomness import epoch_generator
from shui_lib.core.store import load_note, load_tensors, save_tensors

STANDARDISED = 1000  # images whose features a network is standardised by


def cosine(lr: float, passed: float, whole: float) -> float:
    """A learning rate that falls from `lr` at 0 to nothing when `passed` reaches `whole`: epochs, steps or shares."""
    return lr * 0.5 * (1 + math.cos(math.pi * passed / whole))


def learning_rate(config: TrainConfig, epoch: int, step: int, steps: int) -> float:
    """Linear warm-up per step, then cosine to zero per step; or per epoch, as the authors' code (D22).

    Theirs begins at a rate of 0, and its cosine reaches zero after as many epochs as there are in all, of which the
    warm-up took some: it ends above.
    """
    if config.cosine_per == "epoch":
        passed = epoch + step / steps
        if passed < config.warmup_epochs:
            return config.lr * passed / config.warmup_epochs
        return cosine(config.lr, epoch - config.warmup_epochs, config.epochs)
    passed = epoch + (step + 1) / steps
    if passed <= config.warmup_epochs:
        return config.lr * passed / config.warmup_epochs
    share = (passed - 1 / steps - config.warmup_epochs) / max(config.epochs - config.warmup_epochs, 1)
    return cosine(config.lr, max(share, 0.0), 1)


def make_optimizer(model: nn.Module, config: TrainConfig) -> torch.optim.Optimizer:
    """SGD with momentum or AdamW.

    Raises:
        ValueError: another name.
    """
    if config.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), config.lr, config.momentum, weight_decay=config.weight_decay)
    if config.optimizer == "adamw":
        options = {"betas": (0.9, config.beta2), "weight_decay": config.weight_decay, "fused": True}
        return torch.optim.AdamW(model.parameters(), config.lr, **options)
    raise ValueError(f"optimizer {config.optimizer!r} is unknown: choose sgd or adamw")


def fit(
    model: FaceModel,
    train: Faces,
    val: Faces,
    config: TrainConfig,
    *,
    seed: int,
    checkpoint: Path | None = None,
) -> tuple[FaceModel, pd.DataFrame]:
    """Train a model and say how it went.

    Args:
        model: freshly built; it is trained in place, on the device it lies on.
        val: held-out identities, scored after every epoch.
        checkpoint: a file rewritten after every epoch; a run that finds one goes on from it, to the weights an
            uninterrupted run would reach (bit for bit on a CPU with the same number of threads).
    Returns:
        The model (last or best epoch, as `config.keep` says) in eval mode, and one row per epoch: epoch, lr, loss
        (training, nats), val_loss, val_score (fraction; nan where it is not defined).
    Raises:
        UndefinedScore: the best epoch is to be kept, but no validation image has an attribute.
    """
    if config.keep == "best" and val.multilabel and not val.targets.any():
        raise UndefinedScore("no validation image has an attribute, so no epoch is the best: train with keep='last'")
    optimizer = make_optimizer(model, config)
    history, kept = _resume(model, optimizer, checkpoint)
    if not history:
        _standardise(model, train, seed=seed)
    # Counted in images, so that the time that is left is known long before the first epoch ends.
    images, done = config.epochs * len(train), len(history) * len(train)
    bar = progress(total=images, initial=done, desc="train", unit="image", mininterval=1)
    for epoch in range(len(history), config.epochs):
        loss, rate = _one_epoch(model, optimizer, train, config, epoch, epoch_generator(seed, epoch), bar)
        logits = predict(model, val, bf16=config.bf16).logits
        row = {"epoch": epoch + 1, "lr": rate, "loss": loss}
        row |= {"val_loss": task_loss(logits, val.targets).item(), "val_score": score_or_nan(logits, val.targets)}
        if config.keep == "last" or not kept or row["val_score"] > _best(history):
            kept = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        history.append(row)
        if checkpoint:
            save_tensors(checkpoint, _snapshot(model, optimizer, kept), {"history": history})
        bar.set_postfix(loss=f"{loss:.3f}", val=f"{100 * row['val_score']:.1f}", refresh=False)
    bar.close()
    model.load_state_dict(kept)
    return model.eval(), pd.DataFrame(history)


def _standardise(model: FaceModel, train: Faces, *, seed: int) -> None:
    """Networks that standardise their features get to see those of some training images first."""
    if hasattr(model.network, "standardise"):
        some = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))[:STANDARDISED]
        model.network.standardise(predict(model, train[some]).features)


def _best(history: list[dict[str, float]]) -> float:
    """The highest validation score so far; below all where there is none."""
    return max((row["val_score"] for row in history if not math.isnan(row["val_score"])), default=-1.0)


def _one_epoch(
    model: FaceModel,
    optimizer: torch.optim.Optimizer,
    train: Faces,
    config: TrainConfig,
    epoch: int,
    generator: torch.Generator,
    bar: tqdm,
) -> tuple[float, float]:
    device = next(model.parameters()).device
    model.train()
    batches = torch.randperm(len(train), generator=generator).split(config.batch)
    total = torch.zeros((), device=device)
    for step, index in enumerate(batches):
        part = train[index]
        x = AUGMENT[config.augment](
            part.pixels(device=device), size=model.image_size, crop=config.crop, flip=part.flip, generator=generator
        )
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, epoch, step, len(batches))
        with torch.autocast(device.type, torch.bfloat16, enabled=config.bf16):
            logits = model(x).logits
        loss = task_loss(logits.float(), part.targets.to(device))
        optimizer.zero_grad()
        loss.backward()
        if config.clip:
            nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        total += loss.detach() * len(index)
        bar.update(len(index))
    return (total / len(train)).item(), optimizer.param_groups[0]["lr"]


def pack(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights and optimizer state as one flat dictionary of tensors."""
    packed = {f"model/{name}": value for name, value in module.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        packed |= {
            f"optimizer/{index}/{name}": torch.as_tensor(value) for name, value in state.items() if value is not None
        }
    return packed


def unpack(module: nn.Module, optimizer: torch.optim.Optimizer, packed: Mapping[str, Tensor]) -> None:
    """Inverse of `pack`."""
    module.load_state_dict({k.removeprefix("model/"): v for k, v in packed.items() if k.startswith("model/")})
    states: dict[int, dict[str, Tensor]] = {}
    for key, value in packed.items():
        if key.startswith("optimizer/"):
            _, index, name = key.split("/")
            states.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": states})


def _snapshot(model: nn.Module, optimizer: torch.optim.Optimizer, kept: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return pack(model, optimizer) | {f"kept/{name}": value for name, value in kept.items()}


def _resume(
    model: nn.Module, optimizer: torch.optim.Optimizer, checkpoint: Path | None
) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    if checkpoint is None or not checkpoint.exists():
        return [], {}
    packed = load_tensors(checkpoint)
    unpack(model, optimizer, packed)
    kept = {name.removeprefix("kept/"): value for name, value in packed.items() if name.startswith("kept/")}
    return load_note(checkpoint)["history"], kept
