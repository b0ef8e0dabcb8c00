"""Memory of one step of meta-training with SCRUB's loss, for every further image: the paper's out-of-memory case.

ViT-B/16 as in `benchmarks.meta_memory`, with as many images of others as images to forget. Ours streams SCRUB's loss
like any other; the authors' way holds S and both groups of images in one graph.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from benchmarks.measure import Row, check_close, measured
from benchmarks.meta_gradient import ETA, TOLERANCE, Problem, Way, differentiable_gradient, flattened, logits, problem
from benchmarks.meta_memory import all_cores, slope
from benchmarks.synthetic import CPU_PRESET, DEVICE, VIT_B, K, noise
from shui_lib.benchmark.predict import predict, task_loss
from shui_lib.methods.parts.distillation import divergence_for
from shui_lib.methods.parts.meta_gradient import meta_gradient, parameters, unlearning_step
from shui_lib.methods.parts.objectives import SCRUB_ALPHA, SCRUB_GAMMA, SCRUB_TEMPERATURE, MetaBatch, scrub_objective

N_S, FEW, MANY = 8, 8, 32  # photos, a micro-batch at least; images to forget, and of others, at two sizes


def knowledge(p: Problem) -> MetaBatch:
    """As many images of others as to forget, and what θ says, tilted: at θ itself SCRUB's divergence has no slope."""
    retain = noise(len(p.forget), p.model.image_size)
    outputs = [predict(p.model, faces, batch=p.micro_batch).logits for faces in (p.forget, retain, p.support)]
    tilt = torch.linspace(-0.5, 0.5, K)
    return MetaBatch(p.forget, p.support, outputs[2], outputs[0] + tilt, retain, outputs[1] - tilt)


def ours(p: Problem) -> Tensor:
    """Streamed in micro-batches."""
    theta, size = parameters(p.model), {"eta": ETA, "micro_batch": p.micro_batch}
    torch.manual_seed(0)
    step = unlearning_step(p.model, theta, p.loss, p.support, p.ids, **size, differentiable=True)
    verdict = scrub_objective(p.model, step.theta, knowledge(p), size={"micro_batch": p.micro_batch, "bf16": False})
    found = meta_gradient(p.model, theta, p.loss, p.support, step, verdict.gradient, **size)
    return torch.cat([value.flatten() for value in found.values()])


def authors_way(p: Problem) -> Tensor:
    """Everything in one graph, in φ and θ."""
    known, theta = knowledge(p), {name: value.requires_grad_() for name, value in parameters(p.model).items()}
    stepped = {name: theta[name] - ETA * g for name, g in differentiable_gradient(p, theta).items()}
    kl, square = divergence_for(p.forget, kl="softmax", temperature=SCRUB_TEMPERATURE), SCRUB_TEMPERATURE**2
    with sdpa_kernel(SDPBackend.MATH):
        forget, retain = logits(p.model, stepped, known.forget), logits(p.model, stepped, known.retain)
    likeness = square * kl(retain, known.retain_logits.to(retain))
    right = task_loss(retain, known.retain.targets.to(retain.device))
    apart = square * kl(forget, known.forget_logits.to(forget))
    objective = SCRUB_ALPHA * likeness + SCRUB_GAMMA * right - apart
    phi = list(p.loss.parameters())
    found = torch.autograd.grad(objective, [*phi, *theta.values()], allow_unused=True)
    return flattened(phi, found[: len(phi)])


def peak(way: Way, name: str, n_support: int, n_forget: int) -> float:
    """MiB above the model."""
    given = problem(name, n_support, n_forget)
    return measured(lambda: way(given), device=DEVICE).mib


def rows(name: str = VIT_B) -> list[Row]:
    """MiB for every further image of S, and of D_f with one of D_r; the two ways agree on a small model."""
    found = [way(problem(CPU_PRESET, N_S, FEW)) for way in (ours, authors_way)]
    check_close("SCRUB's loss", *found, tolerance=TOLERANCE)
    with all_cores():
        mine = [peak(ours, name, *size) for size in ((N_S, FEW), (2 * N_S, FEW), (N_S, MANY))]
        half = N_S // 2
        theirs = [peak(authors_way, name, *size) for size in ((half, FEW), (N_S, FEW), (half, 2 * FEW))]
    of_s = (mine[1] - mine[0]) / N_S, (theirs[1] - theirs[0]) / half
    of_f = (mine[2] - mine[0]) / (MANY - FEW), (theirs[2] - theirs[0]) / FEW
    note = (
        f"ours takes {max(mine):,.0f} MiB above the model at most, theirs {max(theirs):,.0f} at half the images or less"
    )
    both = f"{FEW} to {MANY} (theirs {FEW} to {2 * FEW})"
    return [
        slope(
            f"{name}, MiB per image of S, {N_S} to {2 * N_S} (theirs {half} to {N_S})", *of_s, note, name="meta_scrub"
        ),
        slope(f"{name}, MiB per image of D_f and one of D_r, {both}", *of_f, name="meta_scrub"),
    ]
