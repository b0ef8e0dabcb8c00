"""What LTU is compared with: fine-tuning, random labels, SalUn, Amnesiac and Fisher forgetting, for classes.

Selective Synaptic Dampening, Bad Teacher and gradient ascent stand in `shui_lib.methods` and are used from there. Each
trains in eval mode on plain images, as LTU does, so that they differ in the idea alone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for, task_loss
from shui_lib.ltu.harmonise import flat, named
from shui_lib.methods import Artefacts, Given, PreparesNothing
from shui_lib.methods.parts.meta_gradient import Theta, loss_gradient, parameters, with_parameters


@dataclass(frozen=True, kw_only=True)
class FineTune(PreparesNothing):
    """FT: a few more epochs on what stays, and hope that the rest is overwritten."""

    name: ClassVar[str] = "ft"
    needs: ClassVar[tuple[str, ...]] = ("forget", "retain")

    lr: float = 1e-2
    epochs: int = 3
    batch: int = 64
    momentum: float = 0.9

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """SGD, one lesson after another."""
        student, mask = copy.deepcopy(model).eval(), self.mask(model, given)
        optimizer = torch.optim.SGD(student.parameters(), self.lr, self.momentum, weight_decay=5e-4)
        start = {name: value.clone() for name, value in parameters(student).items()}
        for faces in self.lessons(given, generator):
            for index in torch.randperm(len(faces), generator=generator).split(self.batch):
                part = faces[index]
                x = pixels_for(student, part)
                optimizer.zero_grad()
                task_loss(student(x).logits, part.targets.to(x.device)).backward()
                optimizer.step()
                hold(student, start, mask)
        return student

    def lessons(self, given: Given, generator: torch.Generator) -> Iterator[Faces]:
        """What is passed over, pass by pass."""
        yield from [given.retain] * self.epochs

    def mask(self, model: FaceModel, given: Given) -> Theta:
        """1 for weights that may move, 0 for others; {} for all."""
        return {}


@dataclass(frozen=True, kw_only=True)
class RandomLabels(FineTune):
    """RandL (Golatkar et al., 2020): a pass over D_f under fresh random labels, then one over what stays, in turn.

    Labels are uniform and may be the true ones, as published.
    """

    name: ClassVar[str] = "randl"

    def lessons(self, given: Given, generator: torch.Generator) -> Iterator[Faces]:
        """D_f and D_r in turn."""
        for _ in range(self.epochs):
            labels = torch.randint(len(given.forget.classes), (len(given.forget),), generator=generator)
            yield replace(given.forget, targets=labels)
            yield given.retain


@dataclass(frozen=True, kw_only=True)
class SalUn(RandomLabels):
    """SalUn (Fan et al., ICLR 2024): random labels, but only the weights that D_f's loss is most sensitive to move.

    The others are put back after every step, as the authors' code does since weight decay was found to move them.
    """

    name: ClassVar[str] = "salun"

    salient: float = 0.5  # share of weights that may move

    def mask(self, model: FaceModel, given: Given) -> Theta:
        """The weights with the largest gradients of the loss on D_f, over the whole network."""
        _, _, gradient = loss_gradient(copy.deepcopy(model).eval(), parameters(model), given.forget)
        return most_salient(gradient, self.salient)


@dataclass(frozen=True, kw_only=True)
class Amnesiac(FineTune):
    """Amnesiac, in its relabelling form (Graves et al., 2021): a wrong label for each image of D_f, drawn once.

    The other form, which subtracts the stored steps of batches that held D_f, needs every step of the training.
    """

    name: ClassVar[str] = "amnesiac"

    def lessons(self, given: Given, generator: torch.Generator) -> Iterator[Faces]:
        """Both kinds of images mixed."""
        forget, classes = given.forget, len(given.forget.classes)
        wrong = torch.randint(1, classes, (len(forget),), generator=generator)
        relabelled = replace(forget, targets=(forget.targets + wrong) % classes)
        yield from [joined(relabelled, given.retain)] * self.epochs


@dataclass(frozen=True, kw_only=True)
class Fisher(PreparesNothing):
    """Fisher forgetting (Golatkar et al., 2020): noise on every weight, the more the less D_r needs it.

    The variance is α / F, at most 1000 α before, F being the diagonal Fisher information of D_r under the model's own
    answers, from the mean gradient of small batches as published. Departs from the authors' code: no class is erased
    by name, variances are not averaged over inputs, and no layer is treated apart (D40).
    """

    name: ClassVar[str] = "fisher"
    needs: ClassVar[tuple[str, ...]] = ("forget", "retain")

    alpha: float = 1e-8
    batch: int = 16

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """One pass over D_r, and noise."""
        noisy = {}
        for name, f in fisher(model, given.retain, batch=self.batch, generator=generator).items():
            deviation = (self.alpha * (1 / (f + 1e-8)).clamp(max=1e3)).sqrt()
            noise = torch.randn(f.shape, generator=generator).to(f)
            noisy[name] = parameters(model)[name] + deviation * noise
        return with_parameters(model, noisy)


BASELINES = {cls.name: cls for cls in (FineTune, RandomLabels, SalUn, Amnesiac, Fisher)}


def joined(one: Faces, other: Faces) -> Faces:
    """Two views of any images, one after the other, as a data set of its own."""
    images, identity = (np.concatenate(pair) for pair in (
        (one.images[one.rows], other.images[other.rows]), (one.identity, other.identity)
    ))  # fmt: skip
    targets = torch.cat([one.targets, other.targets])
    return replace(one, images=images, rows=np.arange(len(images)), identity=identity, targets=targets)


def most_salient(gradient: Mapping[str, Tensor], share: float) -> Theta:
    """1 where a weight is among the `share` with the largest gradient of all, 0 elsewhere."""
    sizes = flat(gradient).abs()
    chosen = torch.zeros_like(sizes)
    chosen[sizes.topk(round(share * len(sizes))).indices] = 1
    return named(chosen, gradient)


@torch.no_grad()
def hold(student: FaceModel, start: Theta, mask: Theta) -> None:
    """Put weights that may not move back to where they were."""
    for name, value in student.named_parameters():
        if name in mask:
            value.copy_(torch.where(mask[name] > 0, value, start[name]))


def fisher(model: FaceModel, faces: Faces, *, batch: int, generator: torch.Generator) -> Theta:
    """Diagonal of the Fisher information: mean over batches of the squared mean gradient, labels from the model."""
    frozen, theta = copy.deepcopy(model).eval(), parameters(model)
    total = {name: torch.zeros_like(value) for name, value in theta.items()}
    parts = torch.randperm(len(faces), generator=generator).split(batch)
    for index in parts:
        leaves = {name: value.detach().requires_grad_() for name, value in theta.items()}
        logits = functional_call(frozen, leaves, (pixels_for(frozen, faces[index]),)).logits
        drawn = torch.multinomial(logits.detach().softmax(1).cpu(), 1, generator=generator).squeeze(1)
        loss = task_loss(logits, drawn.to(logits.device))
        for name, g in zip(theta, torch.autograd.grad(loss, [*leaves.values()]), strict=True):
            total[name] += g.square() / len(parts)
    return total
