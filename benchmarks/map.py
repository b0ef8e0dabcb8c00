"""Mean average precision of CelebA's size, all attributes in one sort, against torchmetrics."""

from __future__ import annotations

import torch
from torchmetrics.classification import MultilabelAveragePrecision

from benchmarks.measure import Row, check_close, measured_in_turn, row
from shui_lib.benchmark.metrics import mean_average_precision

IMAGES, ATTRIBUTES = 160_000, 40
TOLERANCE = 1e-5  # torchmetrics sums in float32


def rows() -> list[Row]:
    """Ours and torchmetrics' on the same scores."""
    chance = torch.Generator().manual_seed(0)
    logits = torch.randn(IMAGES, ATTRIBUTES, generator=chance)
    targets = (torch.rand(IMAGES, ATTRIBUTES, generator=chance) < 0.2).long()
    theirs = MultilabelAveragePrecision(ATTRIBUTES, average="macro")
    ours, twin = measured_in_turn(
        lambda: torch.tensor(mean_average_precision(logits, targets)), lambda: theirs(logits, targets)
    )
    case = f"{IMAGES:,} × {ATTRIBUTES}"
    check_close(case, ours.result, twin.result, tolerance=TOLERANCE)
    return [row("map", case, ours, twin)]
