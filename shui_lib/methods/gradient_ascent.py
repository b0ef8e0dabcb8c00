"""The naive method: climb the loss of the Support Set."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from shui_lib.benchmark.models import FaceModel
from shui_lib.methods import Artefacts, Given, PreparesNothing, register
from shui_lib.methods.parts.copies import checked_loss, climbing_gradient, copies_of, to_rise
from shui_lib.methods.parts.meta_gradient import parameters, with_parameters


@register("gradient_ascent", needs={"": ("support",), "rise": ("support",)})
@dataclass(frozen=True, kw_only=True)
class GradientAscent(PreparesNothing):
    """θ_u = θ + η ∇_θ L(S), `steps` times; with one step, MetaUnlearn's update under the negated task loss."""

    variant: str = ""  # "" | rise
    eta: float = 1e-2  # η; of `rise`, by how many nats L(S) is predicted to rise in a step
    steps: int = 1
    loss: str = "task"  # that is climbed; or "unlikelihood" (PGU's), which is descended
    copies: int = 0  # augmented copies of every photo that is climbed; 0: the photos as they are
    crop: float = 0.9  # smallest share of the area that a copy keeps

    def __post_init__(self) -> None:
        checked_loss(self.loss)

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """One or more full-batch ascent steps in eval mode."""
        model, theta = copy.deepcopy(model).eval(), parameters(model)
        images = copies_of(given.support, model, copies=self.copies, crop=self.crop, generator=generator)
        for _ in range(self.steps):
            gradient = climbing_gradient(model, theta, images, loss=self.loss)
            eta = to_rise(self.eta, gradient, gradient) if self.variant else self.eta
            theta = {name: value + eta * gradient[name] for name, value in theta.items()}
        return with_parameters(model, theta)
