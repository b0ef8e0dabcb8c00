"""What SCRUB and Bad Teacher are made of: two divergences, a student, a teacher, one step."""

import math

import pytest
import torch
from teaching import request, two_layers
from tiny import small_resnet, small_vit, tiny_faces
from torch import nn

from shui_lib.benchmark.train import cosine
from shui_lib.methods import Artefacts, make_method
from shui_lib.methods.parts.distillation import (
    answers,
    bernoulli_divergence,
    descend,
    divergence_for,
    softmax_divergence,
    student_of,
    teacher_of,
)

STUDENT = torch.tensor([[0.3, -1.2, 2.0], [0.0, 1.0, -0.5]], dtype=torch.float64)
TEACHER = torch.tensor([[1.0, 0.1, -0.4], [2.0, -2.0, 0.5]], dtype=torch.float64)


def kl(p: list[float], q: list[float]) -> float:
    """KL(p ‖ q) of two distributions."""
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))


def softmax(row: list[float]) -> list[float]:
    total = sum(map(math.exp, row))
    return [math.exp(value) / total for value in row]


# The divergences


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_softmax_divergence_by_hand(temperature):
    rows = zip((TEACHER / temperature).tolist(), (STUDENT / temperature).tolist(), strict=True)
    by_hand = sum(kl(softmax(t), softmax(s)) for t, s in rows) / 2  # over images, not over outputs
    assert softmax_divergence(STUDENT, TEACHER, temperature=temperature).item() == pytest.approx(by_hand, rel=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_bernoulli_divergence_is_that_of_two_classes_per_attribute(temperature):
    two = [torch.stack([logits, torch.zeros_like(logits)], 2).flatten(0, 1) for logits in (STUDENT, TEACHER)]
    found = bernoulli_divergence(STUDENT, TEACHER, temperature=temperature)
    assert found.item() == pytest.approx(softmax_divergence(*two, temperature=temperature).item(), rel=1e-12)
    t, s = (1 / (1 + math.exp(-logits[0, 0].item() / temperature)) for logits in (TEACHER, STUDENT))
    first = bernoulli_divergence(STUDENT[:1, :1], TEACHER[:1, :1], temperature=temperature)
    assert first.item() == pytest.approx(kl([t, 1 - t], [s, 1 - s]), rel=1e-12)


@pytest.mark.parametrize("divergence", [softmax_divergence, bernoulli_divergence])
def test_divergences_are_zero_for_equals_and_flat_there(divergence):
    student = TEACHER.clone().requires_grad_()
    value = divergence(student, TEACHER, temperature=4.0)
    (gradient,) = torch.autograd.grad(value, student)
    assert value.item() == pytest.approx(0, abs=1e-15) and gradient.abs().max() < 1e-15
    assert divergence(STUDENT, TEACHER, temperature=1.0) > 0.1


def test_softmax_does_not_see_what_all_attributes_share_and_bernoulli_does():
    assert softmax_divergence(TEACHER + 3, TEACHER, temperature=1.0).item() == pytest.approx(0, abs=1e-12)
    assert bernoulli_divergence(TEACHER + 3, TEACHER, temperature=1.0) > 0.1


@pytest.mark.parametrize("divergence", [softmax_divergence, bernoulli_divergence])
def test_divergences_are_finite_where_a_model_is_sure(divergence):
    sure = torch.tensor([[200.0, -200.0]], requires_grad=True)
    value = divergence(sure, -sure.detach(), temperature=1.0)
    assert value.isfinite() and torch.autograd.grad(value, sure)[0].isfinite().all()


def test_a_divergence_that_does_not_fit_is_named():
    attributes, classes = tiny_faces(2), tiny_faces(2, multilabel=False)
    with pytest.raises(ValueError, match="kl='bernoulli' is for attributes, but tiny has classes: choose kl='softmax'"):
        divergence_for(classes, kl="bernoulli", temperature=1.0)
    with pytest.raises(ValueError, match="kl='sigmoid' is unknown: choose softmax or bernoulli"):
        divergence_for(attributes, kl="sigmoid", temperature=1.0)
    found = divergence_for(attributes, kl="bernoulli", temperature=2.0)(STUDENT, TEACHER)
    assert torch.equal(found, bernoulli_divergence(STUDENT, TEACHER, temperature=2.0))


# Student and teacher


def test_batchnorm_of_the_student_keeps_its_statistics():
    model = small_resnet()
    student = student_of(model)
    before = {name: buffer.clone() for name, buffer in student.named_buffers()}
    assert student.training and student.network.training
    x = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(student(x).logits, model(x).logits)  # a batch of one, too
    assert all(torch.equal(buffer, before[name]) for name, buffer in student.named_buffers())
    assert not any(m.training for m in student.modules() if isinstance(m, nn.BatchNorm2d))
    assert not model.training


def test_the_teacher_sees_the_students_crops_and_carries_no_gradient():
    model, faces = small_vit(), tiny_faces(3)
    seen = []
    student, teacher = student_of(model), teacher_of(model)
    for network in (student, teacher):
        network.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    logits, taught = answers(student, teacher, faces, crop=0.5, generator=torch.Generator().manual_seed(0))
    assert torch.equal(*seen) and not torch.equal(seen[0], faces.pixels())
    assert logits.requires_grad and not taught.requires_grad
    assert all(parameter.requires_grad for parameter in model.parameters())
    answers(student, teacher, faces, crop=None, generator=torch.Generator())
    assert torch.equal(seen[2], faces.pixels()) and torch.equal(*seen[2:])


def test_half_precision_answers_in_full():
    model, faces = small_vit(), tiny_faces(3)
    logits, taught = answers(model, model, faces, crop=None, generator=torch.Generator(), bf16=True)
    assert logits.dtype == taught.dtype == torch.float32
    torch.testing.assert_close(logits, model(faces.pixels()).logits, atol=0.02, rtol=0.1)


# Steps


@pytest.mark.parametrize(("clip", "length"), [(0.0, 5.0), (1.0, 1.0), (10.0, 5.0)])
def test_a_step_goes_down_and_no_further_than_the_clip(clip, length):
    theta = nn.Parameter(torch.tensor([3.0, 4.0]))
    optimizer = torch.optim.SGD([theta], lr=99.0)
    descend(theta.square().sum() / 2, optimizer, lr=0.1, clip=clip)
    expected = torch.tensor([3.0, 4.0]) * (1 - 0.1 * length / 5)
    torch.testing.assert_close(theta.detach(), expected, atol=1e-5, rtol=0)


def test_cosine_by_hand():
    assert [cosine(2.0, epoch, 4) for epoch in range(4)] == pytest.approx(
        [2.0, 1 + math.sqrt(0.5), 1.0, 1 - math.sqrt(0.5)]
    )


@pytest.mark.parametrize("name", ["scrub", "bad_teacher"])
def test_at_a_rate_of_zero_nobody_is_taught(name, monkeypatch):
    monkeypatch.setattr(f"shui_lib.methods.{name}.answers", lambda *_, **__: 1 / 0)
    model, given, chance = two_layers(3), request(True), torch.Generator().manual_seed(0)
    after = make_method(name, {"lr": 0.0, "epochs": 30}).unlearn(model, given, Artefacts(), generator=chance)
    assert all(torch.equal(w, after.state_dict()[k]) for k, w in model.state_dict().items()) and not after.training
    with pytest.raises(ZeroDivisionError):
        make_method(name, {"lr": 0.1, "epochs": 30}).unlearn(model, given, Artefacts(), generator=chance)
