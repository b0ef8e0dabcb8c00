"""What LTU is compared with: fine-tuning, random labels, SalUn, Amnesiac and Fisher forgetting, for classes.

Selective Synaptic Dampening, Bad Teacher and gradient ascent stand in `shui_lib.methods` and are used from there. Each
trains in eval mode on plain images, as LTU does, so that they differ in the idea alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor
from torch.func import functional_call

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for, task_loss
from shui_lib.methods import Artefacts, Given, PreparesNothing, with_parameters
from shui_lib.methods.parts.meta_gradient import Theta, loss_gradient, parameters


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
        """SGD on the retain images."""
        student = copy.deepcopy(model).eval()
        descend = self._descent(student, generator)
        for _ in range(self.epochs):
            descend(given.retain, None)
        return student

    def _descent(
        self, student: FaceModel, generator: torch.Generator, mask: Theta | None = None
    ) -> Callable[[Faces, Tensor | None], None]:
        """A function that makes one pass over images, under other labels if some are given."""
        weights = [p for p in student.parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(weights, self.lr, self.momentum, weight_decay=5e-4)
        start = parameters(student)
        start = {name: value.clone() for name, value in start.items()}

        def one_pass(faces: Faces, labels: Tensor | None) -> None:
            noted = faces.targets if labels is None else labels
            for index in torch.randperm(len(faces), generator=generator).split(self.batch):
                x = pixels_for(student, faces[index])
                optimizer.zero_grad()
                task_loss(student(x).logits, noted[index].to(x.device)).backward()
                optimizer.step()
                if mask is not None:
                    hold(student, start, mask)

        return one_pass


@dataclass(frozen=True, kw_only=True)
class RandomLabels(FineTune):
    """RandL (Golatkar et al., 2020): an epoch on D_f under fresh random labels, then one on what stays, in turn."""

    name: ClassVar[str] = "randl"

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """Labels are uniform and may be the true ones, as published."""
        student = copy.deepcopy(model).eval()
        descend = self._descent(student, generator, self.mask(model, given))
        for _ in range(self.epochs):
            descend(given.forget, self.labels(given.forget, generator))
            descend(given.retain, None)
        return student

    def labels(self, faces: Faces, generator: torch.Generator) -> Tensor:
        """What the images to forget are called."""
        return torch.randint(len(faces.classes), (len(faces),), generator=generator)

    def mask(self, model: FaceModel, given: Given) -> Theta | None:
        """Which weights may move; all."""
        return None


@dataclass(frozen=True, kw_only=True)
class SalUn(RandomLabels):
    """SalUn (Fan et al., ICLR 2024): random labels, but only the weights that D_f's loss is most sensitive to move.

    The others are put back after every step, as the authors' code has done since its weight decay was found to move
    them.
    """

    name: ClassVar[str] = "salun"

    salient: float = 0.5  # share of weights that may move

    def mask(self, model: FaceModel, given: Given) -> Theta:
        """The weights with the largest gradients of the loss on D_f, over the whole network."""
        _, _, gradient = loss_gradient(copy.deepcopy(model).eval(), parameters(model), given.forget)
        return most_salient(gradient, self.salient)


@dataclass(frozen=True, kw_only=True)
class Amnesiac(RandomLabels):
    """Amnesiac, in its relabelling form (Graves et al., 2021): a wrong label for each image of D_f, drawn once.

    The other form, which subtracts the stored steps of batches that held D_f, needs every step of the training.
    """

    name: ClassVar[str] = "amnesiac"

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """Both kinds of images mixed."""
        student = copy.deepcopy(model).eval()
        forget, retain = given.forget, given.retain
        wrong = torch.randint(1, len(forget.classes), (len(forget),), generator=generator)
        labels = torch.cat([(forget.targets + wrong) % len(forget.classes), retain.targets])
        descend = self._descent(student, generator)
        for _ in range(self.epochs):
            descend(joined(forget, retain), labels)
        return student


@dataclass(frozen=True, kw_only=True)
class Fisher(PreparesNothing):
    """Fisher forgetting (Golatkar et al., 2020): noise on every weight, the more the less D_r needs it.

    The variance is α / F, at most 1000 α before, F being the diagonal Fisher information of D_r under the model's own
    answers, from the mean gradient of small batches as published. Departs from the authors' code: no class is erased
    by name, variances are not averaged over inputs, and no layer is treated apart.
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
    """Two views of one data set, one after the other."""
    rows, identity = (torch.tensor([*getattr(one, n), *getattr(other, n)]).numpy() for n in ("rows", "identity"))
    return replace(one, rows=rows, identity=identity, targets=torch.cat([one.targets, other.targets]))


def most_salient(gradient: Mapping[str, Tensor], share: float) -> Theta:
    """1 where a weight is among the `share` with the largest gradient of all, 0 elsewhere."""
    sizes = torch.cat([g.abs().flatten() for g in gradient.values()])
    chosen = torch.zeros_like(sizes)
    chosen[sizes.topk(round(share * len(sizes))).indices] = 1
    parts = chosen.split([g.numel() for g in gradient.values()])
    return {name: part.view_as(g) for part, (name, g) in zip(parts, gradient.items(), strict=True)}


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
