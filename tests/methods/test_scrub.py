"""SCRUB against a transcription of its two objectives, and the course of its epochs."""

import math
from itertools import chain

import pytest
import torch
from teaching import assert_close, by_formula, exact, passes, request, softmax_kl, two_layers, unlearned
from torch import Tensor

from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import task_loss
from shui_lib.methods import Given, make_method
from shui_lib.methods.scrub import SCRUB
from shui_workbook.runs.settings import published_for

WHOLE = {"batch": 1000, "forget_batch": 1000, "crop": None}  # one batch is all


def transcribed(
    model: FaceModel, given: Given, rates: list[float], *, max_epochs: int, clip: float
) -> dict[str, Tensor]:
    """Full-batch epochs of SGD with momentum 0.9 and weight decay 5e-4, written out."""
    theta = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    speed = {name: torch.zeros_like(value) for name, value in theta.items()}
    (x_f, _), (x_r, y_r), t = exact(given.forget), exact(given.retain), 4.0
    for epoch, lr in enumerate(rates):
        for kind in ["max", "min"] if epoch < max_epochs else ["min"]:
            x = x_f if kind == "max" else x_r
            divergence = t**2 * softmax_kl(by_formula(theta, x), model(x).logits.detach(), t)
            loss = -divergence if kind == "max" else 0.001 * divergence + 0.99 * task_loss(by_formula(theta, x), y_r)
            gradient = dict(zip(theta, torch.autograd.grad(loss, list(theta.values())), strict=True))
            norm = torch.cat([g.flatten() for g in gradient.values()]).norm()
            scale = clip / (norm + 1e-6) if kind == "max" and 0 < clip < norm else 1.0
            for name, value in theta.items():
                speed[name] = 0.9 * speed[name] + scale * gradient[name] + 5e-4 * value.detach()
                theta[name] = (value.detach() - lr * speed[name]).requires_grad_()
    return theta


@pytest.mark.parametrize("multilabel", [True, False])
@pytest.mark.parametrize("max_epochs", [0, 2, 3])
def test_the_original_form_by_hand(multilabel, max_epochs):
    model, given = two_layers(4 - multilabel), request(multilabel)
    method = make_method("scrub", {"variant": "original", "max_epochs": max_epochs, "lr": 0.1, **WHOLE})
    expected = transcribed(model, given, [0.1] * 3, max_epochs=max_epochs, clip=0.0)
    assert_close(unlearned(method, model, given), expected)


@pytest.mark.parametrize("clip", [1e-3, 1.0])
def test_one_shui_by_hand(clip):
    model, given = two_layers(), request()
    method = SCRUB(variant="one-shui", epochs=4, max_epochs=3, lr=0.1, clip=clip, **WHOLE)
    rates = [0.05 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    assert_close(unlearned(method, model, given), transcribed(model, given, rates, max_epochs=3, clip=clip))


def divergence_and_task(student: FaceModel, teacher: FaceModel, given: Given) -> tuple[float, float]:
    """What max steps climb, and what min steps descend."""
    with torch.no_grad():
        (x_f, _), (x_r, y_r) = exact(given.forget), exact(given.retain)
        forget, retain = (16 * softmax_kl(student(x).logits, teacher(x).logits, 4.0) for x in (x_f, x_r))
        return forget.item(), (0.001 * retain + 0.99 * task_loss(student(x_r).logits, y_r)).item()


@pytest.mark.parametrize("variant", ["original", "one-shui"])
def test_max_steps_climb_and_min_steps_descend(variant):
    model, given = two_layers(), request()
    settings = {"variant": variant, "epochs": 8, "lr": 0.1, "batch": 16}
    only_min, both = (
        unlearned(make_method("scrub", settings | {"max_epochs": epochs}), model, given) for epochs in (0, 8)
    )
    (_, before), (calm, after) = (divergence_and_task(student, model, given) for student in (model, only_min))
    climbed, _ = divergence_and_task(both, model, given)
    assert after < 0.9 * before
    assert climbed > 2 * calm


def test_max_steps_come_first_and_only_in_the_first_epochs(monkeypatch):
    model, given = two_layers(), request()
    forget, retain = sorted(given.forget.rows), sorted(given.retain.rows)
    seen = passes(monkeypatch)
    unlearned(SCRUB(variant="original", epochs=3, max_epochs=2, batch=1000), model, given)
    assert seen == [forget, retain, forget, retain, retain]


def test_every_pass_sees_every_image_once_in_another_order(monkeypatch):
    model, given = two_layers(), request()
    seen = passes(monkeypatch)
    unlearned(SCRUB(epochs=2, max_epochs=0, batch=7), model, given)
    per_epoch = math.ceil(len(given.retain) / 7)
    first, second = seen[:per_epoch], seen[per_epoch:]
    assert sorted(chain(*first)) == sorted(chain(*second)) == sorted(given.retain.rows)
    assert first != second
    seen.clear()
    unlearned(SCRUB(epochs=1, max_epochs=1, forget_batch=4, batch=1000), model, given)
    assert [len(batch) for batch in seen[:-1]] == [4, 4, 1]  # a last batch of one


def test_the_first_max_pass_is_flat():
    model, given = two_layers(), request()
    settings = {"variant": "original", "epochs": 1, "lr": 0.1, "weight_decay": 0.0, **WHOLE}
    without, first = (unlearned(make_method("scrub", settings | {"max_epochs": n}), model, given) for n in (0, 1))
    assert_close(without, dict(first.named_parameters()))


def test_learning_rates_of_both_forms():
    original, one_shui = SCRUB(variant="original", epochs=10), SCRUB(variant="one-shui", lr=0.2)
    rates = [5e-4] * 3 + [5e-5] * 2 + [5e-6] * 4 + [5e-7]
    assert [original.learning_rate(epoch) for epoch in range(10)] == pytest.approx(rates)
    assert [one_shui.learning_rate(epoch) for epoch in (0, 5)] == pytest.approx([0.2, 0.1])
    assert 0 < one_shui.learning_rate(9) < 0.01


def test_open_settings_take_the_published_values():
    original, one_shui = SCRUB(variant="original"), SCRUB(variant="one-shui", max_epochs=7)
    assert (original.epochs, original.max_epochs, original.lr, original.clip) == (3, 2, 5e-4, 0.0)
    assert (one_shui.epochs, one_shui.max_epochs, one_shui.lr, one_shui.clip) == (10, 7, 1e-2, 1.0)
    assert SCRUB(clip=0.0).clip == 0.0


def test_bernoulli_is_another_course_and_not_for_classes():
    model, given = two_layers(), request()
    softmax, bernoulli = (unlearned(SCRUB(epochs=2, kl=kl, crop=None), model, given) for kl in ("softmax", "bernoulli"))
    assert (softmax.network.head.weight - bernoulli.network.head.weight).abs().max() > 1e-6
    with pytest.raises(ValueError, match="kl='bernoulli' is for attributes, but tiny has classes"):
        unlearned(SCRUB(kl="bernoulli"), two_layers(4), request(multilabel=False))


def test_no_gradient_is_left_and_the_result_can_be_trained():
    result = unlearned(SCRUB(epochs=1), two_layers(), request())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in result.parameters())


@pytest.mark.parametrize(
    ("dataset", "n_ids", "batch", "crop", "lr", "most"),
    [
        ("celebahq", 20, 32, 0.08, 1e-2, 5),
        ("faces", 10, 32, 0.08, 1e-2, 5),
        ("celeba", 5, 32, None, 5e-3, 5),
        ("mufac", 5, 32, None, 1e-3, 7),
        ("mufac", 10, 32, 0.08, 1e-3, 5),
    ],
)
def test_the_authors_batches_crops_and_epochs_by_data_set(dataset, n_ids, batch, crop, lr, most):
    settings = published_for("scrub", "one-shui", dataset=dataset, n_ids=n_ids)
    method = make_method("scrub", {**settings, "variant": "one-shui"})
    assert (method.batch, method.forget_batch, method.crop) == (batch, 32, crop)
    assert (method.lr, method.max_epochs, method.epochs) == (lr, most, 10)


@pytest.mark.parametrize(
    ("dataset", "n_ids", "crop", "lr"),
    [("celebahq", 20, None, 1e-4), ("celeba", 5, None, 1e-4), ("mufac", 5, 0.08, 1e-3), ("mufac", 10, 0.08, 1e-3)],
)
def test_bad_teachers_batches_and_crops_by_data_set(dataset, n_ids, crop, lr):
    settings = published_for("bad_teacher", "one-shui", dataset=dataset, n_ids=n_ids)
    method = make_method("bad_teacher", {**settings, "variant": "one-shui"})
    assert (method.batch, method.crop, method.lr, method.epochs) == (32, crop, lr, 5)
