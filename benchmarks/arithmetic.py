"""What a training step costs on a CPU, against the rate of matrix products there, and what other ways would give.

The twins are the same step of the same model on the same batch, each done in one other way. None of them is a fault:
their notes say how far the weights end from ours after `STEPS` steps, 0 being the same to the last bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import suppress

import torch
from torch import Tensor, nn

from benchmarks.flops import flops_of_a_step, multiplication, per_tera
from benchmarks.measure import Row, measured_in_turn, row
from benchmarks.synthetic import CPU_PRESET, FACE_RESNET, MODELS, noise, random_model
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import predict, task_loss

BATCH, STEPS, SIDE = 32, 4, 1024
LR, IMAGES = 1e-3, 1024  # of the optimiser; images that are predicted
OURS_AT_ONCE, OTHERS_AT_ONCE = 256, (32, 1024)  # images in a batch of predictions


class Trainer:
    """A model, one batch and a way to take steps; every call starts from the same weights."""

    def __init__(
        self,
        name: str,
        *,
        optimizer: Mapping[str, bool] = {"fused": True},
        layout: torch.memory_format = torch.contiguous_format,
        bf16: bool = False,
        compiled: bool = False,
    ):
        self.model, self.bf16, self.optimizer = random_model(name).train().to(memory_format=layout), bf16, optimizer
        self.start = copy.deepcopy(self.model.state_dict())
        faces = noise(BATCH, MODELS[name][1])
        self.x, self.targets = faces.pixels().contiguous(memory_format=layout), faces.targets
        self.forward: Callable[[Tensor], Tensor] = lambda x: self.model(x).logits
        if compiled:
            self.forward = torch.compile(self.forward, dynamic=False)  # for any size takes minutes

    def __call__(self) -> Tensor:
        """Take the steps; all weights in one row."""
        self.model.load_state_dict(self.start)
        optimizer = torch.optim.AdamW(self.model.parameters(), LR, **self.optimizer)
        for _ in range(STEPS):
            with torch.autocast("cpu", torch.bfloat16, enabled=self.bf16):
                logits = self.forward(self.x)
            optimizer.zero_grad()
            task_loss(logits.float(), self.targets).backward()
            optimizer.step()
        return nn.utils.parameters_to_vector([p.contiguous() for p in self.model.parameters()]).detach()


WAYS: dict[str, dict[str, object]] = {
    "optimiser in a loop": {"optimizer": {"foreach": False}},
    "optimiser foreach": {"optimizer": {"foreach": True}},
    "channels last": {"layout": torch.channels_last},
    "bf16": {"bf16": True},
    "torch.compile": {"compiled": True},
}


def rows() -> list[Row]:
    """The small ViT and the face ResNet; nothing on a machine with a GPU."""
    return [] if torch.cuda.is_available() else [line for name in (CPU_PRESET, FACE_RESNET) for line in compared(name)]


def compared(name: str) -> list[Row]:
    """A step's share of the matrix rate, then every other way, then predictions in other batches."""
    ours, product = Trainer(name), multiplication(SIDE, dtype=torch.float32, products=4)
    first = ours()
    (cost,) = measured_in_turn(ours)
    step = per_tera(cost, STEPS * flops_of_a_step(ours.model, ours.x))
    note = f"{1e3 / step.seconds:.3g} of {1e3 / product.seconds:.3g} GFLOP/s; seconds are those of 10¹² operations"
    found = [row("arithmetic", f"{name}, training step of {BATCH} in float32, against matrices", step, product, note)]
    for words, way in WAYS.items():
        with suppress(RuntimeError):  # torch.compile without a C++ compiler
            other = Trainer(name, **way)
            apart = (other() - first).norm() / (first - weights_of(ours.start)).norm()
            costs = [one._replace(mib=None) for one in measured_in_turn(ours, other)]
            found.append(
                row("arithmetic", f"{name}, training step, twin: {words}", *costs, f"twin ends {apart:.2g} away")
            )
    return [*found, *predicted(name, ours.model.eval())]


def predicted(name: str, model: FaceModel) -> list[Row]:
    """Predictions in larger and in smaller batches."""
    faces, found = noise(IMAGES, MODELS[name][1]), []
    for batch in OTHERS_AT_ONCE:
        ways = (
            lambda: predict(model, faces, batch=OURS_AT_ONCE),
            lambda batch=batch: predict(model, faces, batch=batch),
        )
        costs = measured_in_turn(*ways, repeats=2)
        apart = (costs[0].result.logits - costs[1].result.logits).abs().max()
        case = f"{name}, predict {IMAGES} images in batches of {OURS_AT_ONCE}, twin: {batch}"
        found.append(row("arithmetic", case, *costs, f"largest difference of a logit {apart:.2g}"))
    return found


def weights_of(state: Mapping[str, Tensor]) -> Tensor:
    """Weights in one row, as `Trainer` gives them; the networks here have no buffer that moves."""
    return torch.cat([value.flatten() for name, value in state.items() if not name.endswith(("centre", "spread"))])
