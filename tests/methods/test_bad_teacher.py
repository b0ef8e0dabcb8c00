"""Bad Teacher against a transcription of its objective, and the know-nothing that it learns from."""

import copy
import math
from itertools import chain

import pytest
import torch
from teaching import assert_close, by_formula, exact, passes, request, softmax_kl, two_layers, unlearned
from tiny import same_weights, small_resnet, small_vit
from torch import Tensor, nn

from shui_lib.benchmark.models import FaceModel, build_model
from shui_lib.benchmark.presets import ModelConfig
from shui_lib.core.randomness import draw_seed
from shui_lib.methods import Given, make_method
from shui_lib.methods.bad_teacher import BadTeacher, reinitialised, some_of

WHOLE = {"batch": 1000, "crop": None}  # one batch is all


def random_teacher(model: FaceModel) -> FaceModel:
    """The one that `unlearned` learns from: the generator's first draw is its seed."""
    return reinitialised(model, seed=draw_seed(torch.Generator().manual_seed(0)))


def transcribed(model: FaceModel, given: Given, optimizer: type, rates: list[float], **options) -> dict[str, Tensor]:
    """Full-batch steps on the mean over all images of the divergence from their own teacher."""
    theta = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    steps, stranger = optimizer(list(theta.values()), lr=1.0, **options), random_teacher(model)
    (x_f, _), (x_r, _) = exact(given.forget), exact(given.retain)
    for lr in rates:
        steps.param_groups[0]["lr"] = lr
        forget = softmax_kl(by_formula(theta, x_f), stranger(x_f).logits.detach(), 1.0)
        retain = softmax_kl(by_formula(theta, x_r), model(x_r).logits.detach(), 1.0)
        steps.zero_grad()
        ((len(x_f) * forget + len(x_r) * retain) / (len(x_f) + len(x_r))).backward()
        steps.step()
    return theta


@pytest.mark.parametrize("multilabel", [True, False])
def test_the_original_form_by_hand(multilabel):
    model, given = two_layers(4 - multilabel), request(multilabel)
    method = make_method("bad_teacher", {"variant": "original", "epochs": 3, "lr": 0.01, "retain_share": 1.0, **WHOLE})
    expected = transcribed(model, given, torch.optim.Adam, [0.01] * 3)
    assert_close(unlearned(method, model, given), expected)


def test_one_shui_by_hand():
    model, given = two_layers(), request()
    method = BadTeacher(variant="one-shui", epochs=4, lr=0.1, **WHOLE)
    rates = [0.05 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    expected = transcribed(model, given, torch.optim.SGD, rates, momentum=0.9, weight_decay=5e-4)
    assert_close(unlearned(method, model, given), expected)


@pytest.mark.parametrize("variant", ["original", "one-shui"])
def test_the_student_turns_to_the_stranger_on_forget_and_stays_on_retain(variant):
    model, given = two_layers(), request()
    lr = {"original": 0.01, "one-shui": 0.1}[variant]
    method = BadTeacher(variant=variant, epochs=30, lr=lr, retain_share=1.0, batch=16, crop=None)
    student, stranger = unlearned(method, model, given), random_teacher(model)
    with torch.no_grad():
        x_f, x_r = (exact(part)[0] for part in (given.forget, given.retain))
        before = softmax_kl(model(x_f).logits, stranger(x_f).logits, 1.0)
        after = softmax_kl(student(x_f).logits, stranger(x_f).logits, 1.0)
        to_original, to_stranger = (softmax_kl(student(x_r).logits, t(x_r).logits, 1.0) for t in (model, stranger))
    assert after < 0.7 * before
    assert to_original < 0.5 * to_stranger


@pytest.mark.parametrize(("variant", "share"), [("original", 0.3), ("one-shui", 1.0), ("one-shui", 0.5)])
def test_the_share_of_retain_is_drawn_once(variant, share, monkeypatch):
    model, given = two_layers(), request()
    seen = passes(monkeypatch)
    unlearned(BadTeacher(variant=variant, epochs=2, retain_share=share, batch=8), model, given)
    rows = sorted(chain(*seen))
    forget, retain = (sorted(row for row in rows if row in part.rows) for part in (given.forget, given.retain))
    assert forget == sorted([*given.forget.rows] * 2)
    once = sorted(set(retain))
    assert retain == sorted(once * 2)  # the same images in both epochs
    assert len(once) == round(share * len(given.retain))


def test_some_of_is_one_at_least_and_as_the_generator_says():
    faces = request().retain
    one, again, other = (some_of(faces, 0.3, generator=torch.Generator().manual_seed(seed)).rows for seed in (0, 0, 1))
    assert (one == again).all() and set(one) != set(other)
    assert len(some_of(faces, 1e-6, generator=torch.Generator())) == 1


def test_open_settings_take_the_published_values():
    original, one_shui = BadTeacher(variant="original"), BadTeacher(variant="one-shui", lr=1e-3)
    assert (original.epochs, original.lr, original.retain_share, original.weight_decay) == (1, 1e-4, 0.3, 0.0)
    assert (one_shui.epochs, one_shui.lr, one_shui.retain_share, one_shui.weight_decay) == (5, 1e-3, 1.0, 5e-4)
    assert original.learning_rate(0) == original.learning_rate(9) == 1e-4
    assert one_shui.learning_rate(0) == 1e-3 and 0 < one_shui.learning_rate(4) < 1.1e-4


def test_bernoulli_is_another_course_and_not_for_classes():
    model, given = two_layers(), request()
    settings = {"variant": "one-shui", "lr": 0.1, **WHOLE}
    softmax, bernoulli = (unlearned(BadTeacher(kl=kl, **settings), model, given) for kl in ("softmax", "bernoulli"))
    assert (softmax.network.head.weight - bernoulli.network.head.weight).abs().max() > 1e-6
    with pytest.raises(ValueError, match="kl='bernoulli' is for attributes, but tiny has classes"):
        unlearned(BadTeacher(kl="bernoulli"), two_layers(4), request(multilabel=False))


def test_no_gradient_is_left_and_the_result_can_be_trained():
    result = unlearned(BadTeacher(epochs=1), two_layers(), request())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in result.parameters())


# The know-nothing


def jax_vit(seed: int) -> FaceModel:
    """As in the presets for small models."""
    options = {"patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "weight_init": "jax"}
    return build_model(ModelConfig(stem="conv", options=options), n_outputs=3, image_size=16, seed=seed).eval()


MAKES = {"vit": lambda seed: small_vit(seed=seed), "jax": jax_vit, "resnet18": lambda seed: small_resnet(seed=seed)}


@pytest.mark.parametrize("make", MAKES)
def test_a_random_network_is_drawn_as_a_new_one(make):
    model, new = MAKES[make](0), MAKES[make](1)
    with torch.no_grad():
        for value in [*model.parameters(), *(b for b in model.buffers() if b.is_floating_point())]:
            value.mul_(3).add_(7)  # trained, in a manner of speaking
    trained = copy.deepcopy(model)
    fresh = reinitialised(model, seed=0)
    assert same_weights(model, trained)
    for name, other in new.state_dict().items():
        if other.is_floating_point():
            value = fresh.state_dict()[name]
            assert value.mean().item() == pytest.approx(other.mean().item(), abs=0.5), name
            if value.numel() >= 32:
                assert value.std().item() == pytest.approx(other.std().item(), rel=0.5), name
    assert all(b.count_nonzero() == 0 for name, b in fresh.named_buffers() if name.endswith("num_batches_tracked"))


def test_a_random_network_is_its_seeds():
    torch.manual_seed(1)
    one, other = (reinitialised(small_vit(), seed=seed) for seed in (0, 1))
    torch.manual_seed(2)
    assert same_weights(one, reinitialised(small_vit(), seed=0))
    assert not same_weights(one, other)


def test_a_parameter_that_nothing_draws_is_named():
    model = two_layers()
    model.network.scale = nn.Parameter(torch.ones(2))
    with pytest.raises(ValueError, match=r"no rule draws network\.scale at random"):
        reinitialised(model, seed=0)
