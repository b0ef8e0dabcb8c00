"""The exact meta-gradient against its obvious twin: backpropagation through the gradient step."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.metrics import score
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import task_loss
from shui_lib.methods.parts.kfac import Preconditioner, kfac
from shui_lib.methods.parts.learned_loss import INPUTS, LearnedLoss
from shui_lib.methods.parts.meta_gradient import meta_gradient, parameters, unlearning_step
from shui_lib.methods.parts.objectives import (
    OTHER_OBJECTIVES,
    Alignment,
    MetaBatch,
    alignment_objective,
    alignment_with_gradient,
    soft_average_precision,
)
from shui_lib.methods.parts.subspaces import Projector, input_grams, protected

K, IDS = 5, 12
ETA = 0.002  # moves the losses by a tenth or so
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-9}


def small_vit() -> FaceModel:
    options = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": K, "img_size": 16}
    model = FaceModel(timm.create_model("vit_tiny_patch16_224", **options), 16).eval()
    torch.nn.init.normal_(model.network.head.weight, std=0.2)  # an untrained head says the same of every image
    return model


def some_faces(n: int, *, multilabel: bool, seed: int) -> Faces:
    chance = np.random.default_rng(seed)
    images = chance.integers(0, 256, (n, 16, 16, 3), dtype=np.uint8)
    targets = torch.from_numpy(chance.integers(0, 2, (n, K)).astype(np.float32))
    if not multilabel:
        targets = torch.from_numpy(chance.integers(0, K, n))
    return Faces(images, np.arange(n), np.arange(n) % IDS, targets, tuple("abcde"))


@torch.no_grad()
def answered(model: FaceModel, faces: Faces, *, wrong: int) -> Faces:
    """The images with the model's own answers as targets, the first `wrong` of them turned round."""
    logits = model(faces.pixels().to(model.network.head.weight)).logits
    turned = torch.arange(len(faces)) < wrong
    if faces.multilabel:
        return replace(faces, targets=((logits > 0) ^ turned[:, None]).float())
    return replace(faces, targets=(logits.argmax(1) + turned) % K)


def naive(model, loss, support, known, ids, seed, dtype, precondition=None, **objective):
    """∇_φ A by double backward, everything in one graph."""
    theta = {name: p.detach().requires_grad_() for name, p in model.named_parameters()}

    def logits_at(parameters, faces):
        return functional_call(model, parameters, (faces.pixels().to(dtype),)).logits

    with sdpa_kernel(SDPBackend.MATH):
        torch.manual_seed(seed)
        logits = functional_call(model, theta, (support.pixels().to(dtype),))
        value = loss(*logits, ids, support.targets)
        # An input without influence on h (the head, when only features enter) has no gradient: it stays as it is.
        gradient = torch.autograd.grad(value, list(theta.values()), create_graph=True, allow_unused=True)
        gradient = {
            n: torch.zeros_like(t) if g is None else g for (n, t), g in zip(theta.items(), gradient, strict=True)
        }
        gradient = precondition(gradient) if precondition else gradient
        if loss.log_steps is not None:
            gradient = {n: size * g for size, (n, g) in zip(loss.log_steps.exp(), gradient.items(), strict=True)}
        stepped = {n: t - ETA * gradient[n] for n, t in theta.items()}
        logits = {part: logits_at(stepped, getattr(known, part)) for part in ("forget", "val", "retain")}
        logits["stepped"] = stepped
    terms = objective.get("terms")
    objective_value = TWINS[terms](logits, known) if terms in TWINS else judged(logits, known, objective)
    phi = list(loss.parameters())
    found = torch.autograd.grad(objective_value, phi, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(phi, found, strict=True)]


def judged(outputs, known, objective):
    parts = [(outputs["forget"], known.forget), (outputs["val"], known.val), (known.val_logits, known.val)]
    losses = [task_loss(logits, faces.targets) for logits, faces in parts]
    scores = [score(logits.detach(), faces.targets) for logits, faces in parts]
    return alignment_objective(Alignment(*losses, *scores), **objective)


def scrub(logits, known):
    """− T² KL(θ ‖ θ_u) on D_f + 0.001 T² KL(θ ‖ θ_u) + 0.99 L on D_r, T = 4."""

    def kl(student, teacher):
        p = (teacher / 4).softmax(1)
        return 16 * (p * ((teacher / 4).log_softmax(1) - (student / 4).log_softmax(1))).sum(1).mean()

    kept = 0.001 * kl(logits["retain"], known.retain_logits) + 0.99 * task_loss(logits["retain"], known.retain.targets)
    return kept - kl(logits["forget"], known.forget_logits)


def held_out(logits, known):
    """KL(p ‖ θ_u) on D_f with held-out p, plus KL(θ ‖ θ_u) on D_r; for attributes each is a coin, and K their mean."""

    def kl(student, teacher):
        if known.forget.multilabel:
            student, teacher = (torch.stack([z, torch.zeros_like(z)], 2).flatten(0, 1) for z in (student, teacher))
        p, q = teacher.softmax(1), student.softmax(1)
        return (p * (p / q).log()).sum(1).mean()

    return kl(logits["forget"], known.forget_logits) + kl(logits["retain"], known.retain_logits)


def by_rank(outputs, known):
    """Smooth L1 between 1 − AP of D_f under θ_u and of validation under θ_u and θ, the latter two constants."""
    asked = [(outputs["forget"], known.forget), (outputs["val"].detach(), known.val), (known.val_logits, known.val)]
    missed = [1 - soft_ap(logits, faces.target_matrix) for logits, faces in asked]
    return sum(torch.nn.functional.smooth_l1_loss(missed[0], other) for other in missed[1:])


def soft_ap(logits, targets):
    """Positive by positive: how many of the images above it are positive, images counted by a sigmoid."""
    per_class = []
    for z, has in zip(logits.T, targets.T.bool(), strict=True):
        if 0 < has.sum() < len(has):
            precisions = []
            spread = 0.1 * ((z - z.mean()).square().sum() / (len(z) - 1)).sqrt()
            for i in torch.nonzero(has).flatten().tolist():
                above = [(torch.sigmoid((z[j] - z[i]) / spread), has[j]) for j in range(len(z)) if j != i]
                right = sum((share for share, positive in above if positive), start=1.0)
                precisions.append(right / sum((share for share, _ in above), start=1.0))
            per_class.append(sum(precisions) / len(precisions))
    return torch.stack(per_class).mean()


def matched(outputs, known):
    """1 − the cosine of two long vectors."""
    stepped, start, wanted = (
        torch.cat([part[name].flatten() for name in known.theta])
        for part in (outputs["stepped"], known.theta, known.wanted)
    )
    return 1 - torch.nn.functional.cosine_similarity(stepped - start, wanted, dim=0)


TWINS = {"scrub": scrub, "held_out": held_out, "rank": by_rank, "match": matched}


def ours(model, loss, support, known, ids, seed, dtype, precondition=None, **objective):
    theta, p = parameters(model), {"precondition": precondition}
    torch.manual_seed(seed)
    step = unlearning_step(model, theta, loss, support, ids, eta=ETA, micro_batch=3, differentiable=True, **p)
    size = {"micro_batch": 4, "bf16": False}
    if judge := OTHER_OBJECTIVES.get(objective.get("terms")):
        verdict = judge(model, step.theta, known, size=size)
    else:
        verdict = alignment_with_gradient(model, step.theta, known, size=size, **{"detached": True, **objective})
    found = meta_gradient(model, theta, loss, support, step, verdict.gradient, eta=ETA, micro_batch=3, **p)
    return list(found.values())


OBJECTIVES = {
    "eq6": {},
    "eq5": {"accuracy_factor": False, "distance": "squared"},
    "first": {"terms": "first"},
    "second": {"terms": "second"},
    "not_detached": {"detached": False},
    "scrub": {"terms": "scrub"},
    "held_out": {"terms": "held_out"},
    "rank": {"terms": "rank"},
    "match": {"terms": "match"},
}


def preconditioner(kind, model, faces):
    generator = torch.Generator().manual_seed(0)
    if kind == "kfac":
        return Preconditioner(kfac(model, faces, generator=generator), damping=1.0)
    grams = input_grams(model, faces, generator=generator)
    return Projector({layer: protected(gram, 0.5) for layer, gram in grams.items()})


def agreement(dtype, multilabel, inputs, objective, *, kind="", **of_loss) -> float:
    """Relative difference of the two gradients."""
    torch.manual_seed(0)
    model = small_vit().to(dtype)
    loss = LearnedLoss(n_outputs=K, n_features=32, n_identities=IDS, inputs=inputs, **of_loss).to(dtype)
    for parameter in (p for p in (loss.log_steps, loss.layers[-2].weight) if p is not None and not p.any()):
        torch.nn.init.normal_(parameter, std=0.1)
    support, forget, val, retain = (some_faces(n, multilabel=multilabel, seed=n) for n in (7, 18, 20, 22))
    # ∇A is the slope of A times ∇L(D_f), and the slope is a difference: 2 a_f − a_v − a_v0 near zero, with a = (1−m) L.
    # With random targets and η = 0.05 it came out as 2·1.099 − 0.990 − 1.241 = −0.033: losses of size 1, each right to
    # 1e-7, gave a slope right to 1e-5, in the twin as in ours (4.6e-6 and 8.5e-6 from float64). So the model is mostly
    # wrong about the images to forget and mostly right about validation, and the step is too small to change that:
    # nothing cancels, and the two agree to 1e-6.
    forget, val = answered(model, forget, wrong=13), answered(model, val, wrong=4)
    with torch.no_grad():
        # What θ says of D_f and D_r is shifted a little: at θ itself SCRUB's divergence has no slope.
        logits = [model(faces.pixels().to(dtype)).logits for faces in (forget, val, retain)]
        shift = 0.5 * torch.linspace(-1, 1, K, dtype=dtype)
    theta = parameters(model)
    wanted = {name: torch.randn_like(value) for name, value in theta.items()}
    known = MetaBatch(forget, val, logits[1], logits[0] + shift, retain, logits[2] - shift, theta, wanted)
    ids = torch.from_numpy(support.identity)
    objective = objective | ({"precondition": preconditioner(kind, model, forget)} if kind else {})
    given = (model, loss, support, known, ids, 3, dtype)
    expected, found = (torch.cat([g.flatten() for g in way(*given, **objective)]) for way in (naive, ours))
    assert expected.norm() > 0
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("multilabel", [True, False], ids=["bce", "cross_entropy"])
@pytest.mark.parametrize("inputs", [INPUTS[: k + 1] for k in range(4)], ids=lambda names: "+".join(names))
@pytest.mark.parametrize("objective", ["eq6", "eq5"])
def test_agrees_with_double_backward(dtype, multilabel, inputs, objective):
    assert agreement(dtype, multilabel, inputs, OBJECTIVES[objective]) <= TOLERANCE[dtype]


@pytest.mark.parametrize("multilabel", [True, False], ids=["bce", "cross_entropy"])
@pytest.mark.parametrize("objective", list(OBJECTIVES)[2:])
def test_other_objectives_agree_with_double_backward(objective, multilabel):
    assert agreement(torch.float64, multilabel, INPUTS, OBJECTIVES[objective]) <= TOLERANCE[torch.float64]


def test_soft_average_precision_is_that_of_ranks_when_outputs_are_far_apart():
    logits, targets = torch.arange(5.0)[:, None] * torch.tensor([2.0, -3.0]), torch.tensor([[1, 0, 0, 1, 0]] * 3).T
    targets[:, 2] = 1  # everybody has it: nothing to rank
    found, gradient = soft_average_precision(torch.hstack([logits, logits[:, :1]]), targets)
    assert found.item() == pytest.approx(score(logits, targets[:, :2].float()), abs=1e-2)
    assert gradient.shape == (5, 3) and not gradient[:, 2].any()


def test_doubt_alone_does_not_change_soft_average_precision():
    logits, targets = torch.randn(30, 4), torch.rand(30, 4).round()
    found, gradient = soft_average_precision(logits, targets)
    assert soft_average_precision(logits / 5, targets)[0].item() == pytest.approx(found.item())
    assert (gradient * logits).sum().item() == pytest.approx(0, abs=1e-6) and gradient.any()


@pytest.mark.parametrize("level", [0.0, 0.1, -3.3, 1e6])  # some have a standard deviation by rounding
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_where_a_model_says_the_same_of_all_soft_average_precision_is_that_of_chance(level, dtype):
    targets = torch.tensor([[1, 0, 0, 1, 0, 0, 0]]).T
    logits = torch.full((7, 1), level, dtype=dtype)
    found, gradient = soft_average_precision(logits, targets)
    assert found.item() == pytest.approx((2 + 1) / (7 + 1))
    assert gradient.abs().max() < 10 and gradient[targets > 0].min() > 0 > gradient[targets == 0].max()
    other = torch.arange(7.0)[:, None].to(logits)
    both, slopes = soft_average_precision(torch.hstack([logits, other]), targets.expand(7, 2))
    alone, slope = soft_average_precision(other, targets)
    assert both.item() == pytest.approx((found.item() + alone.item()) / 2)
    torch.testing.assert_close(slopes, torch.hstack([gradient, slope]) / 2)


def test_differences_that_are_zero_when_squared_leave_soft_average_precision_finite():
    targets = torch.tensor([[1, 0, 0, 1]]).T
    found, gradient = soft_average_precision(1e-200 * torch.arange(4.0).double()[:, None], targets)
    assert found.item() == pytest.approx(3 / 5) and gradient.isfinite().all()


@pytest.mark.parametrize("objective", ["eq6", "scrub", "held_out"])
@pytest.mark.parametrize("kind", ["kfac", "pgu"])
def test_a_preconditioned_step_agrees_with_double_backward(kind, objective):
    plain = agreement(torch.float64, True, INPUTS, OBJECTIVES[objective])
    found = agreement(torch.float64, True, INPUTS, OBJECTIVES[objective], kind=kind)
    assert 0 < found <= TOLERANCE[torch.float64] and found != plain


@pytest.mark.parametrize("kind", ["", "kfac", "pgu"])
@pytest.mark.parametrize("multilabel", [True, False], ids=["bce", "cross_entropy"])
def test_learned_steps_and_residual_losses_agree_with_double_backward(multilabel, kind):
    n_steps = len(parameters(small_vit()))
    for of_loss in ({"n_steps": n_steps}, {"residual": True}, {"n_steps": n_steps, "residual": True}):
        found = agreement(torch.float64, multilabel, INPUTS, OBJECTIVES["eq6"], kind=kind, **of_loss)
        assert found <= TOLERANCE[torch.float64], of_loss


def test_a_residual_loss_begins_as_gradient_ascent():
    torch.manual_seed(0)
    loss, support = LearnedLoss(n_outputs=K, n_features=32, n_identities=IDS, residual=True), torch.randn(6, K)
    logits, targets = support.requires_grad_(), torch.rand(6, K).round()
    value = loss(logits, torch.randn(6, 32), torch.arange(6), targets)
    ascent = torch.autograd.grad(-task_loss(logits, targets), logits)
    torch.testing.assert_close(torch.autograd.grad(value, logits), ascent)


def test_step_is_plain_gradient_descent_on_the_learned_loss():
    torch.manual_seed(0)
    model = small_vit().double()
    loss = LearnedLoss(n_outputs=K, n_features=32, n_identities=IDS).double().eval()
    support = some_faces(5, multilabel=True, seed=1)
    ids = torch.from_numpy(support.identity)
    step = unlearning_step(model, parameters(model), loss, support, ids, eta=ETA, micro_batch=2)
    loss(*model(support.pixels().double()), ids, support.targets).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(step.theta[name], parameter.detach() - ETA * parameter.grad)
