"""MetaUnlearn: a loss learned while the data exists; one step along it forgets a person (De Min et al., 2025)."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import predict
from shui_lib.benchmark.splits import FEWEST_IMAGES
from shui_lib.benchmark.train import cosine, pack, unpack
from shui_lib.core.progress import progress
from shui_lib.core.randomness import draw_seed, epoch_generator, seeded
from shui_lib.core.store import load_note, load_tensors, save_tensors
from shui_lib.methods import Artefacts, Given, register
from shui_lib.methods.parts.copies import copies_of
from shui_lib.methods.parts.kfac import Preconditioner, kfac, packed, unpacked
from shui_lib.methods.parts.learned_loss import INPUTS, LearnedLoss
from shui_lib.methods.parts.meta_gradient import (
    Precondition,
    Theta,
    loss_gradient,
    meta_gradient,
    parameters,
    unlearning_step,
    with_parameters,
)
from shui_lib.methods.parts.objectives import (
    COMPARE,
    DISTANCES,
    OTHER_OBJECTIVES,
    TERMS,
    MetaBatch,
    ObjectiveResult,
    alignment_with_gradient,
    mean_over_batches,
)
from shui_lib.methods.parts.rehearsals import rehearsals
from shui_lib.methods.parts.subspaces import Projector, input_grams, protected

PRECONDITIONERS = ("none", "pgu", "kfac")
FASTER = 30  # learned sizes of steps move by logarithms of a few; weights of the loss by hundredths


def _prepares_on(method: MetaUnlearn) -> tuple[str, ...]:
    return ("train", "val", "held_out") if method.objective == "held_out" else ("train", "val")


@register("meta_unlearn", needs=("support",), prepares_on=_prepares_on, at_request=("steps",))
@dataclass(frozen=True, kw_only=True)
class MetaUnlearn:
    """Settings as in the paper's appendix A; the defaults are for a small ViT trained from scratch.

    There is no `variant`: `distance="squared"` with `detached=False` is eq. 6 as the paper writes it, "smooth_l1" (its
    Table 8a says so, too) with `detached=True`, the defaults, is the authors' code.

    Its artefacts list who was trained on: all identity numbers ("identities"), and with "ids" among the inputs a
    learned row for each person ("phi/identities.weight"), which is found by the number when that person asks. The
    numbers are pseudonyms, but whoever has the files that give them names knows the persons: the artefacts are personal
    data, to be kept and deleted as such. Without "ids" the numbers are still listed, but no answer depends on them.
    """

    eta: float = 3e-3  # η, size of the unlearning step
    alpha: float = 1e-3  # α, learning rate of the learned loss
    epochs: int = 3  # passes over the training identities
    simulated_n_ids: int = 10  # identities in a simulated request
    inputs: tuple[str, ...] = INPUTS
    distance: str = "smooth_l1"  # Table 8a and the authors' code; "squared" in the paper's equations
    accuracy_factor: bool = True  # eq. 6; False is eq. 5
    objective: str = "both"  # or first, second: terms of eq. 6; "scrub" (Table 5); ours: held_out, rank, match
    detached: bool = True  # validation under θ_u is a constant, as in the authors' code
    steps: int = 1  # along the learned loss when the request comes, each of size η; it is learned for one
    # What follows departs from the paper (D25): the step is divided by the training data's curvature ("kfac") or keeps
    # off the directions that it uses ("pgu"), parameters have learned step sizes, h_φ adds to the negated task loss.
    preconditioner: str = "none"
    damping: float = 0.1  # of the curvature, in units of a layer's mean
    gamma: float = 0.5  # share of a layer's input directions that "pgu" protects
    learned_steps: bool = False
    residual: bool = False
    copies: int = 0  # augmented copies of every photo in S, in rehearsals and at the request; 0: the photos as they are
    crop: float = 0.9  # smallest share of the area that a copy keeps
    objective_batch: int | None = None  # None: A of all of D_f (D4); 64: mean of A over batches, as the authors' code
    lone: bool = False  # do people with one image rehearse too (D5), S and D_f being one? As in the authors' code
    val_sample: int = 256  # validation images per simulated request, and images of others for "scrub", "held_out"
    micro_batch: int = 64
    bf16: bool = False  # on the images to forget and on validation, never on S

    def __post_init__(self) -> None:
        """ValueError: a word that is none of a setting's choices, or no damping."""
        objectives = (*TERMS, *OTHER_OBJECTIVES)
        known = {"distance": tuple(DISTANCES), "objective": objectives, "preconditioner": PRECONDITIONERS}
        for setting, choices in known.items():
            if getattr(self, setting) not in choices:
                raise ValueError(f"{setting}={getattr(self, setting)!r} is unknown: choose {' or '.join(choices)}")
        if self.objective_batch and self.objective in OTHER_OBJECTIVES:
            raise ValueError(f"objective_batch is for terms of eq. 6, not for objective={self.objective!r}")
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
        """Meta-train h_φ on simulated requests (Algorithm 1).

        Returns:
            φ by name ("phi/…"), the identities that own a row of the embedding, and, with a preconditioner, what it has
            to know ("LAYER/inputs" and "LAYER/outputs", or "LAYER/basis"). The history has one row per simulated
            request: epoch, objective, h, and the losses and scores of `Alignment`.
        """
        course = _MetaTraining(self, model, data, draw_seed(generator))
        known = self._known_of(model, data["train"], generator)
        history = course.run(checkpoint, self._precondition(known, course.theta))
        course.settle_strangers()
        phi = {f"phi/{name}": value.detach().cpu() for name, value in course.loss.state_dict().items()}
        return Artefacts(phi | known | {"identities": course.identities.cpu()}, history)

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """A step along the learned loss on the Support Set (line 6 of Algorithm 1), or several."""
        model, theta = copy.deepcopy(model).eval(), parameters(model)
        phi = {name.removeprefix("phi/"): v for name, v in artefacts.tensors.items() if name.startswith("phi/")}
        loss = self.new_loss(model, len(artefacts.tensors["identities"]))
        loss.load_state_dict(phi)
        support = copies_of(given.support, model, copies=self.copies, crop=self.crop, generator=generator)
        ids = embedding_rows(artefacts.tensors["identities"], support.identity)
        size = {"eta": self.eta, "micro_batch": self.micro_batch}
        size |= {"precondition": self._precondition(artefacts.tensors, theta)}
        for _ in range(self.steps):
            theta = unlearning_step(model, theta, loss.eval(), support, ids, **size).theta
        return with_parameters(model, theta)

    def _known_of(self, model: FaceModel, train: Faces, generator: torch.Generator) -> dict[str, Tensor]:
        """What the preconditioner has to know of the training data, as artefacts."""
        if self.preconditioner == "kfac":
            return packed(kfac(model, train, generator=generator))
        grams = input_grams(model, train, generator=generator) if self.preconditioner == "pgu" else {}
        return {f"{layer}/basis": protected(gram, self.gamma).float().cpu() for layer, gram in grams.items()}

    def _precondition(self, artefacts: Mapping[str, Tensor], theta: Theta) -> Precondition | None:
        if self.preconditioner == "kfac":
            return Preconditioner(unpacked(artefacts, like=theta), damping=self.damping)
        if self.preconditioner == "pgu":
            bases = {k.removesuffix("/basis"): v for k, v in artefacts.items() if k.endswith("/basis")}
            return Projector({layer: basis.to(theta[f"{layer}.weight"]) for layer, basis in bases.items()})
        return None

    def new_loss(self, model: FaceModel, n_identities: int) -> LearnedLoss:
        """An untrained h_φ that fits the model, on the model's device."""
        head = model.network.get_classifier()
        loss = LearnedLoss(
            n_outputs=head.out_features,
            n_features=head.in_features,
            n_identities=n_identities + 1,  # the last one: everybody unknown (D45)
            inputs=self.inputs,
            n_steps=len(parameters(model)) if self.learned_steps else 0,
            residual=self.residual,
        )
        return loss.to(head.weight)


def embedding_rows(known: Tensor, identity: np.ndarray) -> Tensor:
    """Rows of the identity embedding, one per image: the identity's position among the sorted training identities.

    Strangers, as all of a request are to a model retrained without them, share the row after the last.
    """
    known, asked = known.cpu(), torch.from_numpy(np.asarray(identity))
    return torch.where(torch.isin(asked, known), torch.searchsorted(known, asked), len(known))


class _MetaTraining:
    """State of Algorithm 1: the fixed θ, the learned φ and its optimizer, and what was seen on the way."""

    def __init__(self, method: MetaUnlearn, model: FaceModel, data: Mapping[str, Faces], seed: int):
        self.method, self.train, self.val, self.seed = method, data["train"], data["val"], seed
        self.model, self.theta = copy.deepcopy(model).eval(), parameters(model)
        ids, counts = np.unique(self.train.identity, return_counts=True)
        self.usable = ids if method.lone else ids[counts >= FEWEST_IMAGES]
        self.identities = torch.from_numpy(ids)
        with seeded(seed):
            self.loss = method.new_loss(self.model, len(ids))
        # Adam with amsgrad as the paper; the authors' AdamW without weight decay takes the same steps.
        faster = {"log_steps": FASTER}
        groups = [{"params": [p], "faster": faster.get(name, 1)} for name, p in self.loss.named_parameters()]
        self.optimizer = torch.optim.Adam(groups, method.alpha, amsgrad=True)
        # θ is fixed, so what it says is asked once for all requests.
        self.val_logits = predict(self.model, self.val, bf16=method.bf16).logits
        if method.objective in COMPARE:
            self.train_logits = predict(self.model, self.train, bf16=method.bf16).logits
            self.taught = data["held_out"].targets if method.objective == "held_out" else self.train_logits
        self.history: list[dict[str, float]] = []

    def run(self, checkpoint: Path | None, precondition: Precondition | None = None) -> pd.DataFrame:
        """All epochs that the checkpoint has not seen yet."""
        self.size = {"eta": self.method.eta, "micro_batch": self.method.micro_batch, "precondition": precondition}
        first = self._resume(checkpoint)
        epochs = self.method.epochs
        per_epoch = math.ceil(len(self.usable) / self.method.simulated_n_ids)
        bar = progress(
            total=epochs * per_epoch,
            initial=first * per_epoch,
            desc="meta-train",
            unit="request",
            mininterval=1,
        )
        for epoch in range(first, epochs):
            rate = cosine(self.method.alpha, epoch, epochs)
            for group in self.optimizer.param_groups:
                group["lr"] = rate * group["faster"]
            for row in self._one_epoch(epoch_generator(self.seed, epoch + 1)):
                self.history.append({"epoch": epoch + 1, **row})
                bar.set_postfix(A=f"{row['objective']:.4f}", refresh=False)
                bar.update()
            if checkpoint:
                save_tensors(checkpoint, pack(self.loss, self.optimizer), {"history": self.history})
        bar.close()
        return pd.DataFrame(self.history or {"epoch": []})

    def _one_epoch(self, generator: torch.Generator):
        method, who = self.method, {"n_ids": self.method.simulated_n_ids, "generator": generator}
        for support, forget in rehearsals(self.train.identity, self.usable, **who, lone=method.lone):
            if method.objective_batch:  # batches of mixed people
                forget = forget[torch.randperm(len(forget), generator=generator).numpy()]
            sample = torch.randperm(len(self.val), generator=generator)[: self._val_sample(len(forget))]
            known = self._known(support, forget, sample.numpy(), generator)
            cropped = {"copies": method.copies, "crop": method.crop, "generator": generator}
            photos = copies_of(self.train[support], self.model, **cropped)
            with seeded(draw_seed(generator)):  # the dropout of h_φ
                row = self._one_request(photos, known)
            yield row  # outside: whoever reads the rows has the randomness of before

    def _val_sample(self, n_forget: int) -> int:
        """Images of validation in a rehearsal: as many batches as D_f has, where A is a mean over pairs of batches."""
        batch = self.method.objective_batch
        return math.ceil(n_forget / batch) * batch if batch else self.method.val_sample

    def _known(self, support: np.ndarray, forget: np.ndarray, val: np.ndarray, generator: torch.Generator) -> MetaBatch:
        """What the objective may look at; images of others are drawn for those that look at them."""
        known = MetaBatch(self.train[forget], self.val[val], self.val_logits[val])
        if self.method.objective == "match":
            size = {"micro_batch": self.method.micro_batch, "bf16": self.method.bf16}
            wanted, divide = loss_gradient(self.model, self.theta, known.forget, **size)[2], self.size["precondition"]
            return known._replace(theta=self.theta, wanted=divide(wanted) if divide else wanted)
        if self.method.objective not in COMPARE:
            return known
        others = np.setdiff1d(np.arange(len(self.train)), np.append(support, forget))
        retain = others[torch.randperm(len(others), generator=generator)[: self.method.val_sample].numpy()]
        logits = {"forget_logits": self.taught[forget], "retain_logits": self.train_logits[retain]}
        return known._replace(retain=self.train[retain], **logits)

    def _one_request(self, support: Faces, known: MetaBatch) -> dict[str, float]:
        """Unlearn, judge, and move φ by one optimizer step."""
        ids = embedding_rows(self.identities, support.identity)
        step = unlearning_step(self.model, self.theta, self.loss, support, ids, **self.size, differentiable=True)
        verdict = self._judge(step.theta, known)
        gradient = meta_gradient(self.model, self.theta, self.loss, support, step, verdict.gradient, **self.size)
        for name, parameter in self.loss.named_parameters():
            parameter.grad = gradient[name]
        self.optimizer.step()
        seen = {k: float(torch.as_tensor(v).detach()) for k, v in verdict.alignment._asdict().items()}
        return {"objective": verdict.value.item(), "h": step.loss.item()} | seen

    @torch.no_grad()
    def settle_strangers(self) -> None:
        """Who was in no rehearsal, and whoever is unknown, gets the mean row of those who were.

        Their own row was never trained; it would be the noise that it was drawn as. Every reference model of the
        attack meets strangers only.
        """
        if self.loss.identities is not None and self.method.epochs:
            rows, rehearsed = self.loss.identities.weight, np.isin(self.identities, self.usable)
            known = torch.from_numpy(np.append(rehearsed, False)).to(rows.device)
            rows[~known] = rows[known].mean(0)

    def _judge(self, theta: Theta, known: MetaBatch) -> ObjectiveResult:
        method = self.method
        size = {"micro_batch": method.micro_batch, "bf16": method.bf16}
        if method.objective in OTHER_OBJECTIVES:
            return OTHER_OBJECTIVES[method.objective](self.model, theta, known, size=size)
        form = {"distance": method.distance, "accuracy_factor": method.accuracy_factor, "terms": method.objective}
        form |= {"detached": method.detached}
        if method.objective_batch:
            return mean_over_batches(self.model, theta, known, batch=method.objective_batch, size=size, **form)
        return alignment_with_gradient(self.model, theta, known, size=size, **form)

    def _resume(self, checkpoint: Path | None) -> int:
        """How many epochs are done."""
        if checkpoint is None or not checkpoint.exists():
            return 0
        unpack(self.loss, self.optimizer, load_tensors(checkpoint))
        self.history = load_note(checkpoint)["history"]
        return int(self.history[-1]["epoch"])
