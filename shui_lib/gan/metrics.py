"""What a GAN draws, and what its discriminator tells apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from shui_lib.gan.steps import Pictures
from shui_lib.gan.stylegan2 import Discriminator, Generator

TOGETHER = 64  # pictures in a batch of scores


def auc(high: Sequence[float] | Tensor, low: Sequence[float] | Tensor) -> float:
    """P(high > low), ties count half.

    Raises:
        ValueError: one side is empty, or a score is no number.
    """
    scores = np.concatenate([np.asarray(high, float), np.asarray(low, float)])
    if not len(high) or not len(low) or not np.isfinite(scores).all():
        raise ValueError(f"AUC needs finite scores on both sides, got {len(high)} and {len(low)}")
    return float(roc_auc_score(np.arange(len(scores)) < len(high), scores))


@torch.no_grad()
def judge(discriminator: Discriminator, parts: Mapping[str, Pictures], *, seed: int = 0) -> dict[str, Tensor]:
    """Logits of every part's pictures, shuffled together, so that all are judged in the same company."""
    x, y = (torch.cat(column) for column in zip(*parts.values(), strict=True))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    whole = -(-len(x) // TOGETHER) * TOGETHER  # the last batch is filled up from the first
    filled = order.repeat(2 + TOGETHER // len(x))[:whole]
    device = discriminator.label.weight.device
    told = torch.cat([discriminator(x[part].to(device), y[part].to(device)) for part in filled.split(TOGETHER)])
    logits = torch.empty(len(x)).index_put((order,), told[: len(x)].float().cpu())
    return dict(zip(parts, logits.split([len(pictures) for pictures, _ in parts.values()]), strict=True))


@torch.no_grad()
def sample(generator: Generator, labels: Tensor, *, seed: int) -> Pictures:
    """Generated pictures (N, 3, S, S) of the given labels, without noise, and the labels, on the labels' device."""
    z = torch.randn(len(labels), generator.config.latent, generator=torch.Generator().manual_seed(seed))
    device = generator.label.weight.device
    parts = zip(z.to(device).split(256), labels.to(device).split(256), strict=True)
    return torch.cat([generator(a, b).clamp(-1, 1).to(labels.device) for a, b in parts]), labels
