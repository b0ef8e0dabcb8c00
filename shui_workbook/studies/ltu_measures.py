"""What is measured of an unlearned model in chapter 20: the paper's four numbers, and what else shows a trace."""

from __future__ import annotations

import copy

import numpy as np
import torch

from shui_lib.attack.rmia import Signals, evaluate, likelihood, scores
from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.metrics import accuracy
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for, predict, task_loss
from shui_lib.ltu.ltu import LTU
from shui_lib.ltu.membership import aucs
from shui_lib.methods import Given
from shui_workbook.studies.ltu_judge import METRICS, gaps, judged
from shui_workbook.studies.ltu_world import World


def measures(world: World, model: FaceModel, *, more: bool) -> dict[str, float]:
    """The four metrics, their gaps and Tug-of-War; with `more` what an attacker and a pupil find."""
    found = judged(model, world.parts)
    told = found | {f"gap_{name}" if name in METRICS else name: v for name, v in gaps(found, world.goal).items()}
    if more:
        original, forget = world.model("original"), world.parts["forget"]
        told["over_forgotten"] = over_forgotten(model, original, world.model("retrained"), forget)
        target = accuracy(predict(original, forget).logits, forget.targets)
        told["relearn_steps"] = relearn_steps(model, forget, target=target, generator=torch.Generator().manual_seed(0))
        told |= attacked(world, model)
    return told


def attacked(world: World, model: FaceModel) -> dict[str, float]:
    """RMIA of D_f against test images, in percent; population is val, reference the second retrained model."""
    reference, parts = world.model("retrained_again"), world.parts

    def signals(part: str) -> Signals:
        logits = (predict(m, parts[part]).logits for m in (model, reference))
        return Signals(*(likelihood(task_loss(z, parts[part].targets, reduction="none").numpy()) for z in logits))

    positive, negative = (scores(signals(part), signals("val")) for part in ("forget", "test"))
    ids = {"positive_ids": parts["forget"].rows, "negative_ids": parts["test"].rows}  # images are drawn apart
    options = {"generator": np.random.default_rng(0), "fprs": (1e-2,), "resamples": 2}
    return {key: 100 * e.value for key, e in evaluate(positive, negative, **ids, **options).items()}


def guidance(world: World, model: FaceModel, method: LTU, given: Given) -> dict[str, float]:
    """AUC of each guide in percent: on members that it has not seen, and on D_f before and after; D_f against test."""
    generator = torch.Generator().manual_seed(world.seed)
    original, parts = world.model("original"), world.parts
    found, told = method.guided_by(original, given, generator=generator), {}
    for when, one in (("before", original), ("after", model)):
        forget, test = ((predict(one, parts[p]).logits, parts[p].targets) for p in ("forget", "test"))
        told |= {f"guide_{kind}_{when}": 100 * value for kind, value in aucs(found, forget, test).items()}
    return told | {f"guide_{kind}_held_out": 100 * guide.auc for kind, guide in found.items()}


def over_forgotten(model: FaceModel, original: FaceModel, retrained: FaceModel, forget: Faces) -> float:
    """Share of D_f whose loss is farther from the retrained model's than it was at the start, in percent."""
    now, before, goal = (
        task_loss(predict(m, forget).logits, forget.targets, reduction="none") for m in (model, original, retrained)
    )
    return 100 * ((now - goal).abs() > (before - goal).abs()).float().mean().item()


def relearn_steps(
    model: FaceModel,
    forget: Faces,
    *,
    target: float,
    generator: torch.Generator,
    lr: float = 1e-2,
    batch: int = 64,
    most: int = 100,
) -> int:
    """Steps of SGD on D_f until its accuracy (a fraction) is back at `target`; `most` if it does not come back.

    What was hidden and not forgotten comes back sooner than in the retrained model.
    """
    student = copy.deepcopy(model).eval()
    optimizer = torch.optim.SGD(student.parameters(), lr, 0.9)
    for step in range(most):
        if accuracy(predict(student, forget).logits, forget.targets) >= target:
            return step
        index = torch.randperm(len(forget), generator=generator)[:batch]
        x = pixels_for(student, forget[index])
        optimizer.zero_grad()
        task_loss(student(x).logits, forget.targets[index].to(x.device)).backward()
        optimizer.step()
    return most
