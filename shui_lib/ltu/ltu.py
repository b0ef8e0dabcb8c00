"""Learning to Unlearn (Huang, Foo, Liu, ECCV 2024): a meta-gradient to remember, one to forget, made to agree.

    for t in 1 … T:
        S_r ← n images of D_f, labels at random;  Q_feat, Q_label, Q_rand ← D_r′
        g_r ← meta_gradient(CE on S_r, [CE on each Q])
        A ← n images of D_f;  k ≠ k′ at random
        g_f ← meta_gradient(BCE(M_k, 0) on A, [BCE(M_k′, 0) on A])
        θ ← θ − β (g_r + harmonise(g_f, g_r))

g_r forgets too: its support teaches wrong labels. The method has no official code; what the paper leaves open is marked
in `LTU`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import pixels_for, predict, task_loss
from shui_lib.ltu.harmonise import harmonise
from shui_lib.ltu.membership import KINDS, Guide, guides
from shui_lib.ltu.meta import Loss, meta_gradient
from shui_lib.ltu.networks import SIZES
from shui_lib.ltu.samplers import SAMPLERS, Samplers
from shui_lib.methods import Artefacts, Given, PreparesNothing
from shui_lib.methods.parts.meta_gradient import Theta, parameters, with_parameters

PASSES, FEWEST = 5, 20  # over D_f, and iterations at least


class Turn(NamedTuple):
    """One iteration: the weights after it, and how the two gradients stood."""

    theta: Theta
    cosine: float
    removed: float  # share of g_f that harmonising took away


@dataclass(frozen=True, kw_only=True)
class LTU(PreparesNothing):
    """The paper gives neither α, β, T nor n; it has plain gradient descent, as eq. 5 is written.

    Departs from methods that train: eval mode and plain images throughout, so that the gradient is exact and no
    statistics of D_f enter. The labels of D_f are shown to the membership models alone. `val`, images never trained
    on, is where those learn what a non-member is: other methods of this chapter do not see it (D38).
    """

    name: ClassVar[str] = "ltu"
    variants: ClassVar[tuple[str, ...]] = ()
    needs: ClassVar[tuple[str, ...]] = ("forget", "retain_subset", "val")
    prepares_on: ClassVar[tuple[str, ...]] = ()
    at_request: ClassVar[tuple[str, ...]] = ()

    alpha: float | None = None  # length of the step that is tried; None: as `beta`
    beta: float = 1e-3  # length of the step that is taken
    iterations: int | None = None  # None: five passes over D_f, 20 at least
    batch: int = 32  # n, images of each support and query
    order: int = 2  # of the meta-gradients
    harmony: str = "one-sided"  # see `harmonise`, or alternating (the paper's "iterative")
    samplers: tuple[str, ...] = SAMPLERS
    vectors: str = "means"  # what F_label compares: means of features by class | one-hot
    remember: bool = True  # False: "w/o RemFeed"
    forget: bool = True  # False: "w/o ForFeed"
    guides: tuple[str, ...] = KINDS
    least: float = 0.55  # AUC on held-out members; guides at or below it are left out
    size: str = "cpu"  # network and recipe that the shadow model is made by

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """The model after the last iteration.

        Raises:
            NoGuide: no membership model is better than chance.
        """
        for turn in self.turns(model, given, generator=generator):
            last = turn
        return with_parameters(model, last.theta)

    def guided_by(self, model: FaceModel, given: Given, *, generator: torch.Generator) -> dict[str, Guide]:
        """The frozen membership models, trained when the request comes."""
        shadow = SIZES[self.size].network, SIZES[self.size].recipe
        options = {"kinds": self.guides, "shadow": shadow, "least": self.least, "generator": generator}
        return guides(model, given.retain_subset, given.val, **options)

    def turns(
        self,
        model: FaceModel,
        given: Given,
        *,
        generator: torch.Generator,
        found: dict[str, Guide] | None = None,
    ) -> Iterator[Turn]:
        """Every iteration in turn; `found` are guides that were trained before."""
        if self.forget and found is None:
            found = self.guided_by(model, given, generator=generator)
        work = _Work(self, model, given, found or {}, generator)
        theta = parameters(model)
        for t in range(self.iterations or max(FEWEST, -(-PASSES * len(given.forget) // self.batch))):
            turn = work.turn(theta, t)
            theta = turn.theta
            yield turn


class _Work:
    """What stays the same over iterations."""

    def __init__(
        self, method: LTU, model: FaceModel, given: Given, found: dict[str, Guide], generator: torch.Generator
    ):
        self.method, self.generator = method, generator
        self.model = copy.deepcopy(model).eval()
        self.forget, self.retain = given.forget, given.retain_subset
        device = next(model.parameters()).device
        self.guides = [copy.deepcopy(guide.model).to(device) for guide in found.values()]
        self.alpha = method.beta if method.alpha is None else method.alpha
        classes = len(self.retain.classes)
        self.features = predict(model, self.forget).features  # φ is the original network's own feature
        known = predict(model, self.retain).features
        self.samplers = Samplers(known, self.retain.targets, classes=classes, vectors=method.vectors)
        self.classes = classes

    def turn(self, theta: Theta, t: int) -> Turn:
        """One iteration from θ."""
        method, alternate = self.method, self.method.harmony == "alternating"
        remember = method.remember and not (alternate and t % 2 == 0)
        forget = method.forget and not (alternate and t % 2 == 1)
        cosine = removed = float("nan")
        if remember and forget:
            found = harmonise(self.remembering(theta), self.forgetting(theta), way=method.harmony)
            direction, cosine, removed = found
        else:
            direction = self.remembering(theta) if remember else self.forgetting(theta)
        moved = {name: value - method.beta * direction[name] for name, value in theta.items()}
        return Turn(moved, cosine, removed)

    def remembering(self, theta: Theta) -> Theta:
        """g_r: tuned on D_f under random labels, tested on three draws of D_r′."""
        rows = self._some(len(self.forget))
        labels = torch.randint(self.classes, (len(rows),), generator=self.generator)  # may be the true one
        tune = self._cross_entropy(self.forget[rows], labels)
        picks = [
            self.samplers.draw(name, self.features[rows], labels, generator=self.generator)
            for name in self.method.samplers
        ]
        tests = [self._cross_entropy(self.retain[pick], self.retain.targets[pick]) for pick in picks]
        return meta_gradient(tune, tests, theta, alpha=self.alpha, order=self.method.order)

    def forgetting(self, theta: Theta) -> Theta:
        """g_f: tuned on one membership model, tested on another, both to say "not a member" of D_f."""
        audit = self.forget[self._some(len(self.forget))]
        pair = torch.randperm(len(self.guides), generator=self.generator)[:2].tolist()
        tune, *tests = (self._membership(audit, self.guides[k]) for k in pair)  # one guide alone has no test
        return meta_gradient(tune, tests, theta, alpha=self.alpha, order=self.method.order)

    def _some(self, n: int) -> Tensor:
        return torch.randperm(n, generator=self.generator)[: self.method.batch]

    def _cross_entropy(self, faces: Faces, labels: Tensor) -> Loss:
        x = pixels_for(self.model, faces)
        return lambda theta: task_loss(functional_call(self.model, theta, (x,)).logits, labels.to(x.device))

    def _membership(self, faces: Faces, guide: torch.nn.Module) -> Loss:
        x = pixels_for(self.model, faces)
        targets, no = faces.targets.to(x.device), torch.zeros(len(faces), device=x.device, dtype=x.dtype)
        return lambda theta: bce(guide(functional_call(self.model, theta, (x,)).logits, targets), no)
