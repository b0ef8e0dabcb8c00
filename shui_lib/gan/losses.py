"""Losses of the cascade, numbered as in the paper (arXiv 2308.09881); all are means over a batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from shui_lib.gan.metrics import Classifier, perceptual_distance


def unlearn_discriminator(forget: Tensor, fake: Tensor, fake_label: float) -> Tensor:
    """½ (D(x_u) − y_f)² + s(D(G(z))), from logits (5, 6)."""
    return 0.5 * (forget - fake_label).square().mean() + F.softplus(fake).mean()


def substitution(
    shown: Tensor, substitute: Tensor, *, perceptual: float = 0.0, classifier: Classifier | None = None
) -> Tensor:
    """MSE(G(w_u), S(x_u)) + λ2 · perceptual distance (7), with λ1 = 1; pictures (B, 3, S, S)."""
    loss = F.mse_loss(shown, substitute)
    if perceptual:
        loss = loss + perceptual * perceptual_distance(classifier, shown, substitute).mean()
    return loss


def adversarial(logits: Tensor) -> Tensor:
    """s(−D(G(w))), from logits (8, 14). Departs from the paper: its (8), −D(G(w_u)), has no lower bound."""
    return F.softplus(-logits).mean()


def learn_discriminator(real: Tensor, real_before: Tensor, fake: Tensor) -> Tensor:
    """E s(−D(x̃)) + E (D(x̃) − D°(x̃))² + E s(D(G(z))), from logits, x̃ = G°(z) (10-13)."""
    return F.softplus(-real).mean() + (real - real_before).square().mean() + F.softplus(fake).mean()


def fake_label_of(logits: Tensor, *, constant: float | None, quantile: float) -> float:
    """What D shall say of a forgotten picture: a constant as in the paper, or a quantile of D°(G°(z)).

    Departs from the paper: the scale of D drifts with training, so a constant may lie above what D says of real ones.
    """
    return float(constant) if constant is not None else torch.quantile(logits, quantile).item()
