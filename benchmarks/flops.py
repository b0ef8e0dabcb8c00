"""How much of a GPU a training step of ViT-B/16 uses: its bf16 FLOP/s against those of a large matrix product."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.input import fitted_on
from benchmarks.measure import Measured, Row, measured_in_turn, row
from benchmarks.synthetic import DEVICE, MODELS, VIT_B, noise, random_model
from shui_lib.benchmark.presets import preset_named

BATCH, STEPS, SIDE, PRODUCTS = 128, 20, 8192, 50
TERA = 1e12


def rows() -> list[Row]:
    """Seconds for 10¹² operations of either; nothing without a GPU."""
    return [share_of_peak(VIT_B)] if torch.cuda.is_available() else []


def share_of_peak(name: str, *, batch: int = BATCH, steps: int = STEPS, side: int = SIDE) -> Row:
    """A training step of a network against a product of two matrices, `side` wide, on the device."""
    step, product = training(name, batch, steps), multiplication(side)
    note = f"{1 / step.seconds:.3g} of {1 / product.seconds:.3g} TFLOP/s; seconds are those of 10¹² operations"
    return row("flops", f"{name} training step, batch {batch}, bf16", step, product, note)


def training(name: str, batch: int, steps: int) -> Measured:
    """The step of `shui_lib.benchmark.train`, on one batch that stays on the device."""
    model, faces, config = random_model(name), noise(batch, MODELS[name][1]), preset_named("paper").train
    ready = faces.pixels(device=DEVICE), faces.targets.to(DEVICE)
    operations = flops_of_a_step(model, ready[0])
    (cost,) = measured_in_turn(lambda: fitted_on([ready] * steps, model, config, steps), device=DEVICE)
    return per_tera(cost, steps * operations)


def flops_of_a_step(model: nn.Module, x: Tensor) -> int:
    """Operations of a forward and a backward pass."""
    with FlopCounterMode(display=False) as counter:
        model(x).logits.sum().backward()
    return counter.get_total_flops()


def multiplication(side: int, *, dtype: torch.dtype = torch.bfloat16, products: int = PRODUCTS) -> Measured:
    """A product of two large matrices, as fast as the device multiplies."""
    a, b, c = (torch.randn(side, side, device=DEVICE, dtype=dtype) for _ in range(3))

    def multiply() -> None:
        for _ in range(products):
            torch.mm(a, b, out=c)

    (cost,) = measured_in_turn(multiply, device=DEVICE)
    return per_tera(cost, products * 2 * side**3)


def per_tera(cost: Measured, operations: int) -> Measured:
    """Seconds of 10¹² operations, from those of so many."""
    return Measured(None, cost.seconds * TERA / operations, None)
