"""Differentiable membership inference: frozen networks that look at an answer and say whether it was trained on.

Each takes the logits of the model and the noted class, and gives the logit of "member". LTU descends along them, so
their gradients have to reach the model; their own weights never change. Four architectures and training processes:

    sorted       probabilities in falling order, one hidden layer (as ML-Leaks, Salem et al., 2019)
    labelled     probabilities and the class, two layers (as Shokri et al., 2017, one network for all classes)
    statistics   logistic regression on loss, confidence, entropy, modified entropy and margin
    shadow       as `labelled`, taught by another network whose members are known

What was kept of training is nothing, so members are D_r′, and non-members held-out images; half of each is kept apart
to measure how good a model is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import one_hot

from shui_lib.attack.rmia import auc, roc
from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import predict, probability_of_truth
from shui_lib.core.randomness import draw_seed, seeded
from shui_lib.ltu.networks import Network, Recipe, build, of_half_width, train

KINDS = ("sorted", "labelled", "statistics", "shadow")
EVALUATION = "confidence"  # looks at what the evaluation looks at, and is no guide but in one ablation
TINY = 1e-6


class Member(nn.Module):
    """Logit of "was trained on" for logits (B, C) and classes (B,)."""

    def __init__(self, kind: str, classes: int):
        super().__init__()
        if kind not in (*KINDS, EVALUATION):
            raise ValueError(f"membership model {kind!r} is unknown: choose from {', '.join(KINDS)}")
        self.view, wide, hidden = {
            "sorted": (falling, classes, (64,)),
            "statistics": (statistics, 5, ()),
            "confidence": (probability_of_truth, 1, (16,)),
        }.get(kind, (labelled, 2 * classes, (128, 64)))
        sizes = [wide, *hidden]
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
        self.head = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))
        self.register_buffer("mean", torch.zeros(wide))
        self.register_buffer("scale", torch.ones(wide))

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """(B,) logits of membership."""
        return self.head((self.view(logits, targets) - self.mean) / self.scale).squeeze(1)


def falling(logits: Tensor, targets: Tensor) -> Tensor:
    """Probabilities in falling order, (B, C)."""
    return logits.softmax(1).sort(1, descending=True).values


def labelled(logits: Tensor, targets: Tensor) -> Tensor:
    """Probabilities and the class, one-hot, (B, 2C)."""
    return torch.cat([logits.softmax(1), one_hot(targets, logits.shape[1]).to(logits)], 1)


def statistics(logits: Tensor, targets: Tensor) -> Tensor:
    """Loss, highest probability, entropy, modified entropy and margin of the noted class, (B, 5)."""
    log_p = logits.log_softmax(1)
    p, here = log_p.exp(), targets[:, None]
    log_y, y = log_p.gather(1, here), p.gather(1, here)
    log_not = torch.log1p(-p.clamp(max=1 - TINY))
    # Song and Mittal (2021): −(1 − p_y) log p_y − Σ_{j ≠ y} p_j log(1 − p_j)
    modified = -(1 - y) * log_y - (p * log_not).sum(1, keepdim=True) + y * log_not.gather(1, here)
    others = p.scatter(1, here, -1.0).max(1, keepdim=True).values
    entropy = -(p * log_p).sum(1, keepdim=True)
    return torch.cat([-log_y, p.max(1, keepdim=True).values, entropy, modified, y - others], 1)


@dataclass(frozen=True)
class Guide:
    """One frozen membership model, and how well it tells members from others that it has not seen."""

    model: Member
    auc: float  # fraction


class NoGuide(RuntimeError):
    """No membership model tells members from non-members: there is nothing to be guided by."""


def guides(
    model: FaceModel,
    members: Faces,
    others: Faces,
    *,
    kinds: tuple[str, ...] = KINDS,
    shadow: tuple[Network, Recipe],
    least: float,
    generator: torch.Generator,
) -> dict[str, Guide]:
    """Train membership models, by kind; those with an AUC at or below `least` are left out.

    Args:
        members, others: D_r′, and images that the model was not trained on.
        shadow: the network and recipe of the model under question; the shadow model has half of its channels.
    Raises:
        NoGuide: none is left.
    """
    asked, n = _answers(model), min(len(members), len(others))
    inside, outside = (f[torch.randperm(len(f), generator=generator)[:n]] for f in (members, others))
    halves = (slice(0, n // 2), slice(n // 2, n))
    learn, check = ((asked(inside[half]), asked(outside[half])) for half in halves)
    found = {}
    for kind in kinds:
        lesson = _shadow_lesson(members, shadow, generator) if kind == "shadow" else learn
        taught = fit(Member(kind, len(members.classes)), *lesson, generator=generator)
        found[kind] = Guide(taught, auc_of(taught, *check))
    able = {kind: guide for kind, guide in found.items() if guide.auc > least}
    if not able:
        told = ", ".join(f"{kind} {guide.auc:.2f}" for kind, guide in found.items())
        raise NoGuide(
            f"no membership model reaches an AUC above {least} on {n - n // 2} members and as many others ({told}): "
            f"the model does not remember its training images well enough, or there are too few of them"
        )
    return able


Answers = tuple[Tensor, Tensor]  # logits (N, C) and classes (N,)


def fit(network: Member, inside: Answers, outside: Answers, *, generator: torch.Generator, steps: int = 200) -> Member:
    """Full-batch AdamW on answers about members and others; the result is frozen, in eval mode, on the CPU."""
    logits, targets = (torch.cat(pair) for pair in zip(inside, outside, strict=True))
    truth = torch.cat([torch.ones(len(inside[0])), torch.zeros(len(outside[0]))])
    seen = network.view(logits, targets)
    network.mean.copy_(seen.mean(0))
    network.scale.copy_(seen.std(0).clamp(min=1e-3))
    with seeded(draw_seed(generator)):
        for layer in network.head:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=0.05)
    for _ in range(steps):
        optimizer.zero_grad()
        bce(network(logits, targets), truth).backward()
        optimizer.step()
    optimizer.zero_grad()
    return network.eval().requires_grad_(False)


@torch.no_grad()
def auc_of(network: Member, inside: Answers, outside: Answers) -> float:
    """How often a member is ranked above another image; fraction."""
    return auc(roc(network(*inside).numpy(), network(*outside).numpy()))


def _answers(model: FaceModel) -> Callable[[Faces], Answers]:
    return lambda faces: (predict(model, faces).logits, faces.targets)


def _shadow_lesson(members: Faces, shadow: tuple[Network, Recipe], generator: torch.Generator) -> tuple[Answers, ...]:
    """What a small network that was trained on half of the members says about either half."""
    network, recipe = shadow
    halves = torch.randperm(len(members), generator=generator).chunk(2)
    size = {"classes": len(members.classes), "image_size": members.size}
    small = build(of_half_width(network), **size, seed=draw_seed(generator))
    train(small, members[halves[0]], recipe, generator=generator)
    return tuple(map(_answers(small), (members[half] for half in halves)))


def aucs(found: Mapping[str, Guide], asked: Answers, others: Answers) -> dict[str, float]:
    """AUC of every guide for images of question against images never trained on; fractions."""
    return {kind: auc_of(guide.model, asked, others) for kind, guide in found.items()}
