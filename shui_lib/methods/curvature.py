"""Curvature: one step of gradient ascent, held back where the training data is sensitive.

The gradient of one photo moves directions of the weights that everybody uses. How much the answers to the training
data depend on a direction is its curvature, which is known while the data exists
(`shui_lib.methods.parts.kfac`). When the request comes, the step divides by it, layer by layer:

    θ_u = θ + η (G + √δ ḡ)⁻¹ ∇L(S) (A + √δ ā)⁻¹

With the images to forget in place of S, η = n_forget / N and δ → 0 this is θ + H⁻¹ Σ ∇L / N, the influence-function
estimate of the model trained without them (Koh and Liang, 2017). The Support Sample was not trained on: its gradient
is a proxy of theirs, good as far as the person looks alike on all photos, so η does not come from the theory but is
chosen on the tuning pool like every other setting. Copies of the photo, cropped and mirrored as in training, make the
proxy better. With much damping every layer moves along its plain gradient.

The task loss of a photo that the model gets wrong outweighs the others, though there is little to forget in it. That
matters where each image has one class: there a step down PGU's unlikelihood −log(1 − p_y + 0.05), flat where the model
is wrong and steep where it is right, takes less from those who stay, once much is to be forgotten. It is no influence
function any more.

The form `rise` is given how much L(S) shall rise, ∇L(S) · P ∇L(S) a unit of η, and finds its η from that. `scale` has
the curvature's size without its directions: every layer moves along its plain gradient, divided by the layer's mean
curvature. That is what much damping tends to.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.methods import Artefacts, Given, register
from shui_lib.methods.parts.copies import checked_loss, climbing_gradient, copies_of, to_rise
from shui_lib.methods.parts.kfac import Preconditioner, Scale, kfac, packed, unpacked
from shui_lib.methods.parts.meta_gradient import Theta, parameters, with_parameters


@register(
    "curvature",
    needs=dict.fromkeys(("", "rise", "scale"), ("support",))
    | dict.fromkeys(("forget-images", "one-trained"), ("forget",)),
    prepares_on=("train",),
    at_request=("variant", "eta", "damping", "loss", "copies", "crop", "batch"),
)
@dataclass(frozen=True, kw_only=True)
class Curvature:
    """A preconditioned step on the Support Set.

    To tell what a better proxy could buy, `forget-images` steps on D_f, `one-trained` on one image of D_f a person.
    Norms' weights and biases, class token and position embeddings have no factors here and stay as they are.
    """

    variant: str = ""  # "" | rise | scale | forget-images | one-trained
    eta: float = 4.2e-3  # η; of `rise`, by how many nats L(S) is predicted to rise
    damping: float = 1.0  # δ, in units of a layer's mean curvature
    loss: str = "task"  # that the step climbs; or "unlikelihood", which it descends
    copies: int = 16  # augmented copies of every photo that is climbed; 0: the photos as they are
    crop: float = 0.9  # smallest share of the area that a copy keeps
    batch: int = 64  # images per backward pass

    def __post_init__(self) -> None:
        """ValueError: an unknown loss, or no damping."""
        checked_loss(self.loss)
        if not self.damping > 0:
            raise ValueError(f"damping must be > 0, got {self.damping}")

    def prepare(
        self,
        model: FaceModel,
        data: Mapping[str, Faces],
        *,
        generator: torch.Generator,
        checkpoint: Path | None = None,
    ) -> Artefacts:
        """Both factors of every layer ("LAYER/inputs", "LAYER/outputs"). One pass: a killed run starts again."""
        return Artefacts(packed(kfac(model, data["train"], generator=generator)))

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """One step in eval mode."""
        model, theta = copy.deepcopy(model).eval(), parameters(model)
        ascent = self.gradient(model, self.climbed(given, generator=generator), generator=generator)
        factors = unpacked(artefacts.tensors, like=ascent)
        divide = Scale(factors) if self.variant == "scale" else Preconditioner(factors, damping=self.damping)
        step = divide(ascent)
        eta = to_rise(self.eta, ascent, step) if self.variant == "rise" else self.eta
        return with_parameters(model, {name: value + eta * step[name] for name, value in theta.items()})

    def climbed(self, given: Given, *, generator: torch.Generator) -> Faces:
        """The images whose loss the step climbs."""
        if self.needs == ("support",):
            return given.support
        return one_each(given.forget, generator=generator) if self.variant == "one-trained" else given.forget

    def gradient(self, model: FaceModel, support: Faces, *, generator: torch.Generator) -> Theta:
        """∇L(S) by trained parameter, the mean over photos and their copies; with "unlikelihood", −∇ℓ(S)."""
        size = {"copies": self.copies, "crop": self.crop, "together": self.batch}
        images = copies_of(support, model, **size, generator=generator)
        return climbing_gradient(model, parameters(model), images, loss=self.loss, batch=self.batch)


def one_each(faces: Faces, *, generator: torch.Generator) -> Faces:
    """One image of every identity, drawn at random; identities in order."""
    order = torch.randperm(len(faces), generator=generator).numpy()
    _, first = np.unique(faces.identity[order], return_index=True)
    return faces[order[first]]
