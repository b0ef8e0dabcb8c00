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

Two forms see more than the request brings, and tell what a better proxy could buy: one climbs the loss of the images to
forget themselves, the other that of one of them for each person, a photo that was trained on.
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
from shui_lib.benchmark.predict import pixels_for, task_loss, unlikelihood
from shui_lib.methods import Artefacts, Given, register, with_parameters
from shui_lib.methods.parts.kfac import Preconditioner, kfac, packed, unpacked
from shui_lib.methods.parts.meta_gradient import Theta, parameters

LOSSES = {"task": task_loss, "unlikelihood": lambda logits, targets: -unlikelihood(logits, targets)}


@register(
    "curvature",
    needs={"": ("support",), "forget-images": ("forget",), "one-trained": ("forget",)},
    prepares_on=("train",),
    at_request=("variant", "eta", "damping", "loss", "copies", "crop", "batch"),
)
@dataclass(frozen=True, kw_only=True)
class Curvature:
    """A preconditioned step on the Support Set.

    The form `forget-images` steps on D_f in its place, `one-trained` on one image of D_f of each person.
    Norms' weights and biases, class token and position embeddings have no factors here and stay as they are.
    """

    variant: str = ""  # "" | forget-images | one-trained
    eta: float = 4.2e-3  # η
    damping: float = 1.0  # δ, in units of a layer's mean curvature
    loss: str = "task"  # that the step climbs; or "unlikelihood", which it descends
    copies: int = 16  # augmented copies of every photo that is climbed; 0: the photos as they are
    crop: float = 0.9  # smallest share of the area that a copy keeps
    batch: int = 64  # images per backward pass

    def __post_init__(self) -> None:
        """ValueError: an unknown loss, or no damping."""
        if self.loss not in LOSSES:
            raise ValueError(f"loss={self.loss!r} is unknown: choose {' or '.join(LOSSES)}")
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
        step = Preconditioner(unpacked(artefacts.tensors, like=ascent), damping=self.damping)(ascent)
        return with_parameters(model, {name: value + self.eta * step[name] for name, value in theta.items()})

    def climbed(self, given: Given, *, generator: torch.Generator) -> Faces:
        """The images whose loss the step climbs."""
        if self.variant == "":
            return given.support
        return one_each(given.forget, generator=generator) if self.variant == "one-trained" else given.forget

    def gradient(self, model: FaceModel, support: Faces, *, generator: torch.Generator) -> Theta:
        """∇L(S) by trained parameter, the mean over photos and their copies; with "unlikelihood", −∇ℓ(S)."""
        images = support[np.tile(np.arange(len(support)), max(self.copies, 1))]
        leaves = {name: value for name, value in model.named_parameters() if value.requires_grad}
        total = {name: torch.zeros_like(value) for name, value in leaves.items()}
        crop = self.crop if self.copies else None
        for part in images.batches(self.batch):
            logits = model(pixels_for(model, part, crop=crop, generator=generator)).logits
            loss = LOSSES[self.loss](logits, part.targets.to(logits.device)) * len(part) / len(images)
            gradient = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
            for sum_, g in zip(total.values(), gradient, strict=True):
                sum_ += g
        return total


def one_each(faces: Faces, *, generator: torch.Generator) -> Faces:
    """One image of every identity, drawn at random; identities in order."""
    order = torch.randperm(len(faces), generator=generator).numpy()
    _, first = np.unique(faces.identity[order], return_index=True)
    return faces[order[first]]
