"""Copies of the photo, the losses climbed on them, and who may use them."""

import copy

import numpy as np
import pytest
import torch
from test_methods import SMALL, generator, only, parts_of
from tiny import same_weights, small_vit, tiny_faces

from shui_lib.benchmark.predict import pixels_for, predict, unlikelihood
from shui_lib.methods import Artefacts, Given, make_method
from shui_lib.methods.parts.copies import climbing_gradient, copies_of
from shui_lib.methods.parts.kfac import Preconditioner, Scale, unpacked
from shui_lib.methods.parts.meta_gradient import parameters

CAN = [("gradient_ascent", ""), ("meta_unlearn", ""), ("ssd", "one-shui"), ("pgu", "one-shui"), ("mu_mis", "")]


def test_copies_are_what_training_would_see():
    model, photos = small_vit(), tiny_faces(6)[[0, 9, 20]]
    found = copies_of(photos, model, copies=4, crop=0.5, generator=generator(3))
    assert found.identity.tolist() == photos.identity.tolist() * 4 and len(found) == 12
    assert torch.equal(found.targets, photos.targets.repeat(4, 1))
    wanted = pixels_for(model, photos[np.tile(np.arange(3), 4)], crop=0.5, generator=generator(3))
    torch.testing.assert_close(pixels_for(model, found), wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(predict(model, found[[5]]).logits, model(wanted[[5]]).logits.detach(), atol=1e-5, rtol=0)
    assert copies_of(photos, model, copies=0, crop=0.5, generator=generator()) is photos


@pytest.mark.parametrize(("name", "variant"), CAN)
def test_whoever_looks_at_the_photo_may_have_copies_of_it(name, variant):
    parts, model = parts_of(tiny_faces(10, (6, 6), size=32)), small_vit(3, size=32)
    after = []
    for copies in (0, 3):
        method = make_method(name, SMALL.get(name, {}) | {"copies": copies} | ({"variant": variant} if variant else {}))
        artefacts = method.prepare(model, only(parts, method.prepares_on), generator=generator())
        after.append(method.unlearn(model, Given(parts).only(method.needs), artefacts, generator=generator()))
    assert not same_weights(*after)


def test_ascent_on_copies_is_the_mean_of_the_gradients_of_all():
    model, support = small_vit(), tiny_faces(6)[[0, 9]]
    method = make_method("gradient_ascent", {"eta": 0.3, "copies": 3})
    after = method.unlearn(model, Given({"support": support}), Artefacts(), generator=generator(5))
    views = copies_of(support, model, copies=3, crop=0.9, generator=generator(5))
    by_hand = {name: torch.zeros_like(value) for name, value in parameters(model).items()}
    for k in range(6):
        for name, g in climbing_gradient(model, parameters(model), views[[k]], loss="task").items():
            by_hand[name] += g / 6
    for name, value in after.named_parameters():
        torch.testing.assert_close(value.detach(), parameters(model)[name] + 0.3 * by_hand[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("multilabel", [True, False])
def test_ascent_may_go_down_the_unlikelihood(multilabel):
    model, support = small_vit(4 - multilabel), tiny_faces(multilabel=multilabel)[[0, 9]]
    method = make_method("gradient_ascent", {"eta": 0.1, "loss": "unlikelihood"})
    after = method.unlearn(model, Given({"support": support}), Artefacts(), generator=generator())
    twin = copy.deepcopy(model)
    unlikelihood(twin(support.pixels()).logits, support.targets).backward()
    for name, value in twin.named_parameters():
        torch.testing.assert_close(after.get_parameter(name), value - 0.1 * value.grad, atol=1e-6, rtol=1e-5)
    with pytest.raises(ValueError, match="loss='hinge' is unknown: choose task or unlikelihood"):
        make_method("gradient_ascent", {"loss": "hinge"})


def test_the_scale_form_is_what_much_damping_tends_to():
    model, faces = small_vit().double(), tiny_faces(8)
    method = make_method("curvature", {"variant": "scale", "eta": 1.0, "copies": 0})
    known = method.prepare(model, {"train": faces}, generator=generator())
    ascent = method.gradient(model, faces[[0, 9]], generator=generator())
    factors = unpacked(known.tensors, like=ascent)
    damped, scaled = Preconditioner(factors, damping=1e22)(ascent), Scale(factors)(ascent)
    assert any(step.any() for step in scaled.values())
    for name, step in scaled.items():
        torch.testing.assert_close(1e22 * damped[name], step, atol=1e-6, rtol=1e-4)
    after = method.unlearn(model, Given({"support": faces[[0, 9]]}), known, generator=generator())
    for name, value in parameters(model).items():
        torch.testing.assert_close(after.get_parameter(name).detach(), value + scaled[name])
