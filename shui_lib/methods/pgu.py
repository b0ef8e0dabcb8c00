"""Projected-Gradient Unlearning: forget in those directions of the weights that the remaining data does not use.

While the data exists, the Gram matrix G_D of every layer's inputs is summed over it. When the request comes, the
inputs of the images to forget are taken out, and what is left spans the subspace that must not be disturbed:

    G_D − G_f = U diag(σ²) Uᵀ,   P = U_k U_kᵀ  with the k leading directions, up to a share γ of Σ σ
    W ← W − lr (g − g P),   g = ∇_W ℓ on the images to forget

so that ΔW U_k = 0. Only the weights of linear and convolutional layers move; biases, norms and position embeddings
stay. The loss makes what is noted improbable, and the answer uncertain:

    ℓ = −log(1 − p_y + 0.05) + 0.2 Σ p log p    (Hoang et al., WACV 2024)
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.metrics import score
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import SLACK, pixels_for, predict, unlikelihood
from shui_lib.benchmark.train import cosine
from shui_lib.core.randomness import draw_seed, seeded
from shui_lib.methods import Artefacts, Given, register
from shui_lib.methods.parts.copies import copies_of, to_rise
from shui_lib.methods.parts.meta_gradient import gradient_of
from shui_lib.methods.parts.subspaces import input_grams, layers_of, protected, stochastic, without

UNCERTAINTY = 0.2  # weight of the negative entropy


@register(
    "pgu",
    needs={"original": ("forget", "val"), "one-shui": ("support",), "rise": ("support",)},
    prepares_on=("train",),
    at_request=("gamma", "lr", "epochs", "batch", "decay", "copies", "crop"),
)
@dataclass(frozen=True, kw_only=True)
class PGU:
    """Projected steps in two forms.

    | | `original` | `one-shui` |
    |---|---|---|
    | forgets, takes out of G_D | D_f, which is part of it | the Support Set, which is not: G_D − G_f is indefinite |
    | a negative eigenvalue | counts as σ = 0 | counts by its size, as in the SVD of the authors' code |
    | precision; directions | float64; k | float32, whose rounding the root enlarges; k + 1 |
    | learning rate, per epoch | exponential | cosine |
    | stops | once val scores above D_f, at the closer of the last two epochs | after all epochs |
    | attributes | each has its loss and entropy | **defect** (`unlikelihood_by_index`); entropy of a softmax over all |

    Published as `original`: γ = 0.90 to 0.95, lr = 0.1, up to 100 epochs. As `one-shui`: the defaults below; for MUFAC
    lr = 0.01 with 5 identities, and 10 epochs with γ = 0.75 with 10.

    Departs from both (D10): patches follow each convolution's own stride (1 in their code), and G_D is summed over
    images as they are (augmented there). Dropout is on while Gram matrices are summed and while unlearning; batch norms
    keep their statistics. The original's authors give up if val scores above D_f before the first step; ours takes one
    (D12). With "up to a share", a layer whose first direction alone exceeds γ is not protected at all in `original` (k
    = 0).
    """

    variant: str = "one-shui"  # original | one-shui | rise: as one-shui, lr in nats
    gamma: float = 0.9  # γ, share of the summed singular values that is protected
    lr: float = 0.1  # of the first epoch; plain steps, no momentum; of `rise`, nats that ℓ is predicted to fall by
    epochs: int = 5  # passes over the images to forget, at most
    batch: int = 128  # images per step
    decay: float = 0.984  # original: factor on lr after every epoch (a fifth is left after 100)
    copies: int = 0  # augmented copies of every image that steps are taken on; 0: the images as they are
    crop: float = 0.9  # smallest share of the area that a copy keeps

    def prepare(
        self,
        model: FaceModel,
        data: Mapping[str, Faces],
        *,
        generator: torch.Generator,
        checkpoint: Path | None = None,
    ) -> Artefacts:
        """G_D by layer ("gram/…"), (d, d) each. It is one pass over the training data: a killed run starts again."""
        found = input_grams(model, data["train"], dtype=self._dtype, generator=generator)
        return Artefacts({f"gram/{name}": gram.cpu() for name, gram in found.items()})

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """Find the subspaces, and take projected steps until the last epoch, or until the original's stop."""
        asked = given.forget if self.variant == "original" else given.support
        bases = self.subspaces(model, asked, artefacts, generator=generator)  # copies were no part of G_D
        asked = copies_of(asked, model, copies=self.copies, crop=self.crop, generator=generator)
        changed, before, earlier = copy.deepcopy(model).eval(), None, -math.inf
        for epoch in range(self.epochs):
            self._one_epoch(changed, bases, asked, self.rate(epoch), generator)
            gap = self._gap(changed, given)
            if gap > 0:
                return before if -earlier <= gap else changed
            before, earlier = copy.deepcopy(changed), gap
        return changed

    def subspaces(
        self, model: FaceModel, asked: Faces, artefacts: Artefacts, *, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """U_k (d, k) by layer name: the directions of the inputs that are protected while `asked` is forgotten."""
        theirs, bases = self.variant != "original", {}
        for name, forget in input_grams(model, asked, dtype=self._dtype, generator=generator).items():
            left = artefacts.tensors[f"gram/{name}"].to(forget) - forget
            bases[name] = protected(left, self.gamma, magnitudes=theirs, further=int(theirs))
        return bases

    def rate(self, epoch: int) -> float:
        """The learning rate of an epoch, counted from 0."""
        if self.variant == "original":
            return self.lr * self.decay**epoch
        return cosine(self.lr, epoch, self.epochs)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """ℓ, mean over the images; logits (B, K), targets (B, K) of attributes (D47) or (B,) of classes."""
        several = targets.ndim == 2
        if several and self.variant != "original":
            return unlikelihood_by_index(logits, targets) + UNCERTAINTY * negative_entropy(logits)
        return unlikelihood(logits, targets) + UNCERTAINTY * negative_entropy(logits, each=several)

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float64 if self.variant == "original" else torch.float32

    def _one_epoch(
        self, model: FaceModel, bases: Mapping[str, Tensor], asked: Faces, rate: float, generator: torch.Generator
    ) -> None:
        """Projected steps in place, the images in a random order."""
        layers = layers_of(model)
        weights = {name: layers[name].weight for name in bases}
        asked = asked[torch.randperm(len(asked), generator=generator)]
        with stochastic(model), seeded(draw_seed(generator)):
            for part in asked.batches(self.batch):
                logits = model(pixels_for(model, part)).logits
                loss = self.loss(logits, part.targets.to(logits.device))
                found, step = gradient_of(loss, weights), {}
                for name, gradient in found.items():
                    step[name] = without(gradient.flatten(1), bases[name].to(gradient)).view_as(gradient)
                far = to_rise(rate, found, step) if self.variant == "rise" else rate
                for name, weight in weights.items():
                    weight.data.sub_(far * step[name])

    def _gap(self, model: FaceModel, given: Given) -> float:
        """How far val scores above the images to forget; one-shui never asks."""
        if self.variant != "original":
            return -math.inf
        val, forget = predict(model, given.val).logits, predict(model, given.forget).logits
        return score(val, given.val.targets) - score(forget, given.forget.targets)


def unlikelihood_by_index(logits: Tensor, targets: Tensor) -> Tensor:
    """The authors' loss for attributes, with its defect: the values 0 and 1 of the targets are taken for positions.

    Every negative attribute of an image pays for p₀ and every positive one for p₁, whatever the image's first two
    attributes are. So the probabilities of attributes 0 and 1 are pressed down, and no other is unlearned.

    Departs from the authors' code (D11), which fails where there is one attribute alone: all pay for that one.
    """
    position = targets.long().clamp(max=logits.shape[1] - 1)
    return -(1 - logits.sigmoid().gather(1, position) + SLACK).log().mean()


def negative_entropy(logits: Tensor, *, each: bool = False) -> Tensor:
    """Σ p log p, mean over images.

    Args:
        each: p log p + (1 − p) log(1 − p) of every attribute, mean over attributes. False is one softmax over all K:
            right for classes, and what the authors' code takes for attributes too.
    """
    if each:
        logits = torch.stack([logits, torch.zeros_like(logits)], dim=-1)  # sigmoid(z) is the softmax of (z, 0)
    log_p = logits.log_softmax(-1)
    return (log_p.exp() * log_p).sum(-1).mean()
