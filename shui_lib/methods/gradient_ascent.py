"""The naive method: climb the task loss on the Support Set."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch

from shui_lib.benchmark.models import FaceModel
from shui_lib.methods import Artefacts, Given, PreparesNothing, register, with_parameters
from shui_lib.methods.parts.meta_gradient import loss_gradient, parameters


@register("gradient_ascent", needs=("support",))
@dataclass(frozen=True, kw_only=True)
class GradientAscent(PreparesNothing):
    """θ_u = θ + η ∇_θ L(S), `steps` times; with one step, MetaUnlearn's update under the negated task loss."""

    eta: float = 1e-2
    steps: int = 1

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """One or more full-batch ascent steps in eval mode."""
        model, theta = copy.deepcopy(model).eval(), parameters(model)
        for _ in range(self.steps):
            _, _, gradient = loss_gradient(model, theta, given.support)
            theta = {name: value + self.eta * gradient[name] for name, value in theta.items()}
        return with_parameters(model, theta)
