"""How much of a GPU a training step of ViT-B/16 uses: its bf16 FLOP/s against those of a large matrix product."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.input import fitted_on
from benchmarks.measure import Measured, Row, measured_in_turn, row
from benchmarks.synthetic import MODELS, VIT_B, noise, random_model
from shui_lib.benchmark.presets import preset_named

BATCH, STEPS, SIDE, PRODUCTS = 128, 20, 8192, 50
TERA = 1e12


def rows() -> list[Row]:
    """Seconds for 10¹² operations of either; nothing without a GPU."""
    if not torch.cuda.is_available():
        return []
    step, product = training(), multiplication()
    note = f"{1 / step.seconds:.0f} of {1 / product.seconds:.0f} TFLOP/s; seconds are those of 10¹² operations"
    return [row("flops", f"{VIT_B} training step, batch {BATCH}, bf16", step, product, note)]


def training() -> Measured:
    """The step of `shui_lib.benchmark.train`, on one batch that stays on the GPU."""
    model, faces, config = random_model(VIT_B), noise(BATCH, MODELS[VIT_B][1]), preset_named("paper").train
    batch = faces.pixels(device="cuda"), faces.targets.cuda()
    with FlopCounterMode(display=False) as counter:
        fitted_on([batch], model, config, 1)
    (cost,) = measured_in_turn(lambda: fitted_on([batch] * STEPS, model, config, STEPS), device="cuda")
    return _per_tera(cost, STEPS * counter.get_total_flops())


def multiplication() -> Measured:
    """A product of two large matrices, as fast as the GPU multiplies."""
    a, b, c = (torch.randn(SIDE, SIDE, device="cuda", dtype=torch.bfloat16) for _ in range(3))

    def multiply() -> None:
        for _ in range(PRODUCTS):
            torch.mm(a, b, out=c)

    (cost,) = measured_in_turn(multiply, device="cuda")
    return _per_tera(cost, PRODUCTS * 2 * SIDE**3)


def _per_tera(cost: Measured, operations: int) -> Measured:
    return Measured(None, cost.seconds * TERA / operations, None)
