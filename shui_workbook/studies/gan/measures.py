"""What is measured of a GAN for a request: attack values, distances between floor and ceiling, accuracy, audits."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torchvision.utils import save_image

from shui_lib.benchmark.data import Faces
from shui_lib.core.store import load_tensors
from shui_lib.gan.cascade import Cascade
from shui_lib.gan.latents import Inversion, all_labels
from shui_lib.gan.metrics import auc, judge, sample
from shui_lib.gan.stylegan2 import GAN, GANConfig, Generator
from shui_lib.gan.train import pictures_of
from shui_lib.methods import Given
from shui_workbook.studies.gan.audit import RELEARNED, nearest_generated, path_length, reinversion, relearn_steps
from shui_workbook.studies.gan.classifier import accuracy, frechet, kernel_distance
from shui_workbook.studies.gan.requests import Request

if TYPE_CHECKING:
    from shui_workbook.studies.gan.inception import Inception
    from shui_workbook.studies.gan.study import Study

SHOWN = 1000  # pictures on each side of a distance
AUDITED = 24  # pictures inverted again, so:
AUDIT = Inversion()
NEXT_TO = 0.05  # of an AUC
WATCHED = 300  # pictures looked at on the way


def staying(config: GANConfig, request: Request | None, count: int) -> Tensor:
    """`count` labels in turn, without the class that was to be forgotten."""
    labels = torch.arange(config.classes)
    if request is not None and request.label is not None:
        labels = labels[labels != request.label]
    return labels.repeat(-(-count // len(labels)))[:count]


def sheet(generator: Generator, path: Path | None = None, *, per_class: int = 10, seed: int = 0) -> Tensor:
    """Generated pictures, a row a class, (K·n, 3, S, S) in [0, 1]; written as PNG if a path is given."""
    labels = all_labels(generator).cpu().repeat_interleave(per_class)
    drawn = sample(generator, labels, seed=seed)[0] / 2 + 0.5
    if path:
        save_image(drawn, path, nrow=per_class, padding=1)
    return drawn


def watch(study: Study, request: Request) -> Callable[[GAN], dict[str, float]]:
    """What a race shows at every look: AUC_lu on fresh pictures, distance and accuracy of generated ones."""
    features, second = study.classifier(0), study.classifier(1)
    forget, fresh = pictures_of(request.forget), pictures_of(request.fresh[:WATCHED])
    ceiling = bounds(study, request)["fd_u_ceiling"] if request.label is not None else None

    def look(gan: GAN) -> dict[str, float]:
        logits = judge(gan.discriminator, {"forget": forget, "fresh": fresh})
        drawn, labels = sample(gan.generator, staying(study.config, request, len(fresh[0])), seed=study.seed)
        told = {"auc_lu": auc(logits["fresh"], logits["forget"]), "fd_l": frechet(features, fresh[0], drawn)}
        told["acc"] = accuracy(second, drawn, labels)
        if request.label is not None:
            same = sample(gan.generator, torch.full((len(forget[0]),), request.label), seed=study.seed)[0]
            fd_u = frechet(features, forget[0], same)
            told |= {"fd_u": fd_u, "fd_share": fd_u / ceiling}
        return told

    return look


def bounds(study: Study, request: Request) -> dict[str, float]:
    """Distances between real pictures: halves of what stays (floor); the most similar other class (ceiling)."""
    features, pictures = study.classifier(0), pictures_of(request.fresh[: 2 * SHOWN])
    half = len(pictures[0]) // 2
    found = {"fd_l_floor": frechet(features, pictures[0][:half], pictures[0][half : 2 * half])}
    if request.label is not None:
        x, (others, labels) = request.forget.pixels(), pictures_of(request.fresh)
        to = [frechet(features, x, others[labels == other]) for other in labels.unique()]
        found |= {"fd_u_floor": frechet(features, x[::2], x[1::2]), "fd_u_ceiling": min(to)}
    return found


def measure(study: Study, gan: GAN, kind: str) -> dict[str, float]:
    """What a GAN is after a request: AUC and shares in [0, 1], distances of features."""
    request, features = study.request(kind), study.classifier(0)
    drawn, labels = sample(gan.generator, staying(study.config, request, SHOWN), seed=study.seed)
    parts = {"forget": request.forget, "fresh": request.fresh[:SHOWN], "learn": request.learn}
    pictures = {part: pictures_of(faces) for part, faces in parts.items()}
    pictures["test"] = pictures_of(like(study.faces[1], request))
    logits = judge(gan.discriminator, {**pictures, "generated": (drawn, labels)})
    real = pictures["fresh"][0]
    found = {
        "auc_lu": auc(logits["fresh"], logits["forget"]),
        "auc_lu_used": auc(logits["learn"], logits["forget"]),
        "logan": auc(logits["forget"], logits["test"]),
        "auc_fresh_generated": auc(logits["fresh"], logits["generated"]),
        "fd_l": frechet(features, real, drawn[: len(real)]),
        "kd_l": kernel_distance(features, real, drawn[: len(real)]),
        "fd_l_random": frechet(study.classifier(2, epochs=0), real, drawn[: len(real)]),
        "acc": accuracy(study.classifier(1), drawn, labels),
    }
    found["logan_away"] = abs(found["logan"] - 0.5)
    if request.label is not None:
        shown = sample(gan.generator, torch.full((len(request.forget),), request.label), seed=study.seed)
        found["fd_u"] = frechet(features, pictures["forget"][0], shown[0])
        found["acc_u"] = accuracy(study.classifier(1), *shown)
    return found


def like(test: Faces, request: Request) -> Faces:
    """Test pictures that compare with the forgotten: of the same class, where a class is to be forgotten."""
    return test if request.label is None else test[(test.targets == request.label).nonzero()[:, 0]]


def audit_of(study: Study, gan: GAN, kind: str) -> dict[str, float]:
    """What the generator still holds of D_u (PSNR, dB), and how smooth it is around the latents of D_u."""
    request = study.request(kind)
    test = like(study.faces[1], request)
    forget, unseen = request.forget[:AUDITED].pixels(), test[:: -(-len(test) // AUDITED)].pixels()
    found = reinversion(gan.generator, forget, unseen, AUDIT)
    found["psnr_gap"] = found["psnr_forget"] - found["psnr_test"]
    found["psnr_nearest"] = nearest_generated(gan.generator, forget, seed=study.seed)
    found["psnr_nearest_test"] = nearest_generated(gan.generator, unseen, seed=study.seed)
    w = inverted(study, request, kind)
    z = torch.randn(len(w), study.config.latent, generator=torch.Generator().manual_seed(study.seed))
    at = (z.to(study.device), staying(study.config, None, len(w)).to(study.device))
    random = gan.generator.latent(*at).detach().cpu()
    for name, place in (("path_forget", w), ("path_random", random)):
        found[name] = path_length(gan.generator, study.classifier(0).maps, place, seed=study.seed)
    return found


def fid(inception: Inception, study: Study, gan: GAN, kind: str) -> dict[str, float]:
    """The real FID of what stays and, for a class, of what was to be forgotten; it needs thousands of pictures."""
    request = study.request(kind)
    real = pictures_of(request.fresh[:SHOWN])[0]
    drawn, _ = sample(gan.generator, staying(study.config, request, len(real)), seed=study.seed)
    found = {"fid_l": frechet(inception, real, drawn)}
    if request.label is not None:
        shown = sample(gan.generator, torch.full((len(request.forget),), request.label), seed=study.seed)[0]
        found["fid_u"] = frechet(inception, request.forget.pixels(), shown)
    return found


def undone(study: Study, gan: GAN, kind: str) -> dict[str, float]:
    """Steps of the GAN's own training until D holds D_u for its own again: AUC_lu as it was, or next to it."""
    request, training = study.request(kind), study.training
    forget, fresh = pictures_of(request.forget), pictures_of(request.fresh[:SHOWN])
    logits = judge(study.original().discriminator, {"forget": forget, "fresh": fresh})
    goal = max(RELEARNED, auc(logits["fresh"], logits["forget"]) + NEXT_TO)
    steps = relearn_steps(gan, study.faces[0], forget, fresh, training, seed=study.seed, goal=goal)
    return {"relearn_steps": steps}


def inverted(study: Study, request: Request, kind: str) -> Tensor:
    """Latents of the audited pictures of a request in the original generator."""
    stage = study.inverted(kind, Given({"forget": request.forget.in_memory()}), Cascade(inversion=AUDIT))
    return load_tensors(stage.file("latents.safetensors"))["w"][:AUDITED]


def photo_measures(study: Study, gan: GAN, support: Faces, label: int) -> dict[str, float]:
    """Of one person: how D ranks the support, the person's training pictures and others; what G draws."""
    train, _ = study.faces
    own = train.targets == label
    parts = {"support": support, "person": train[own.nonzero()[:, 0]]}
    parts["others"] = train[(~own).nonzero()[:, 0][:: max(1, len(train) // SHOWN)]]
    pictures = {part: pictures_of(faces) for part, faces in parts.items()}
    logits = judge(gan.discriminator, pictures)
    drawn = sample(gan.generator, torch.full((300,), label), seed=study.seed)
    rest = sample(gan.generator, staying(study.config, Request(support, train, train, label), 300), seed=study.seed)
    features, second = study.classifier(0), study.classifier(1)
    return {
        "auc_support": auc(logits["others"], logits["support"]),
        "auc_person": auc(logits["others"], logits["person"]),
        "fd_person": frechet(features, pictures["person"][0][:300], drawn[0]),
        "fd_others": frechet(features, pictures["others"][0][::3][:300], rest[0]),
        "acc_person": accuracy(second, *drawn),
        "acc_others": accuracy(second, *rest),
    }
