"""Selective Synaptic Dampening against its equations, written out for two layers."""

import numpy as np
import pytest
import torch
from test_methods import generator
from tiny import TwoLayers, same_weights, small_resnet, small_vit, tiny_faces
from torch import nn

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.methods import Artefacts, Given
from shui_lib.methods.parts.meta_gradient import parameters
from shui_lib.methods.ssd import SSD, dampened, importances

K = 4  # outputs


def some_faces(n: int, *, multilabel: bool, seed: int = 0) -> Faces:
    chance = np.random.default_rng(seed)
    images = chance.integers(0, 256, (n, 2, 2, 3), dtype=np.uint8)
    labels = chance.integers(0, 2, (n, K)).astype(np.float32) if multilabel else chance.integers(0, K, n)
    return Faces(images, np.arange(n), np.arange(n), torch.from_numpy(labels), tuple("abcd"))


@torch.no_grad()
def gradients_by_hand(model: TwoLayers, faces: Faces) -> dict[str, torch.Tensor]:
    """∂L/∂θ of every image, (N, *shape), by the chain rule."""
    x, y = faces.pixels().double().flatten(1), faces.targets
    logits, hidden = model(x)
    outputs = logits.sigmoid() if y.ndim == 2 else logits.softmax(1)
    to_logits = (
        (outputs - y) / K if y.ndim == 2 else outputs - nn.functional.one_hot(y, K)
    )  # BCE is a mean over attributes
    to_hidden = (to_logits @ model.second.weight) * (1 - hidden**2)
    to_first, to_second = to_hidden[:, :, None] * x[:, None], to_logits[:, :, None] * hidden[:, None]
    weights = {"first.weight": to_first, "second.weight": to_second}
    return weights | {"first.bias": to_hidden, "second.bias": to_logits}


def importances_by_hand(model: TwoLayers, faces: Faces, batch: int, seed: int) -> dict[str, torch.Tensor]:
    """Mean over batches of the squared mean gradient, images in the order that the seed draws."""
    batches = torch.randperm(len(faces), generator=generator(seed)).split(batch)
    return {
        name: torch.stack([gradient[rows].mean(0) ** 2 for rows in batches]).mean(0)
        for name, gradient in gradients_by_hand(model, faces).items()
    }


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=0, rtol=1e-7)


multilabel = pytest.mark.parametrize("multilabel", [True, False], ids=["attributes", "classes"])


# Importances


@multilabel
@pytest.mark.parametrize("batch", [1, 30, 128])  # 30: the last batch holds 10; 128: all in one, in two micro-batches
def test_importances_of_batches(multilabel, batch):
    model, faces = TwoLayers(K), some_faces(100, multilabel=multilabel)
    found = importances(model, faces, batch=batch, generator=generator(5))
    assert_same(found, importances_by_hand(model, faces, batch, 5))


@multilabel
@pytest.mark.parametrize("batch", [1, 128])
def test_importances_of_single_images_do_not_depend_on_the_batch(multilabel, batch):
    model, faces = TwoLayers(K), some_faces(21, multilabel=multilabel)
    found = importances(model, faces, batch=batch, per_sample=True, generator=generator())
    assert_same(found, {name: (g**2).mean(0) for name, g in gradients_by_hand(model, faces).items()})


def test_a_batch_makes_weights_less_important_than_its_images():
    model, faces = TwoLayers(K), some_faces(64, multilabel=True)
    batch = importances(model, faces, batch=64, generator=generator())
    single = importances(model, faces, batch=64, per_sample=True, generator=generator())
    assert all((batch[name] < single[name]).all() for name in batch)  # Jensen: square of the mean, mean of the square


@multilabel
@pytest.mark.parametrize("network", [small_vit, small_resnet])
def test_single_images_through_attention_and_batch_norm(network, multilabel):
    model, faces = network(K - multilabel, size=32), tiny_faces(3, (3, 3), size=32, multilabel=multilabel)
    chance = generator()
    for parameter in model.parameters():  # scales that begin at zero hide the weights before them
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.1, generator=chance)
    single = importances(model, faces, batch=128, per_sample=True, generator=generator())
    one_by_one = importances(model, faces, batch=1, generator=generator())
    for name, value in one_by_one.items():
        assert value.any()
        torch.testing.assert_close(single[name], value, rtol=1e-3, atol=1e-4 * value.max().item())


@pytest.mark.parametrize("per_sample", [False, True])
def test_a_model_in_training_mode_is_measured_in_eval_mode_and_left_as_it_was(per_sample):
    model, faces = small_resnet().train(), tiny_faces(2, (3, 3), size=32)
    found, expected = (
        importances(m, faces, batch=4, per_sample=per_sample, generator=generator()) for m in (model, small_resnet())
    )
    assert all(torch.equal(found[name], value) for name, value in expected.items())
    assert model.training and same_weights(model, small_resnet())


# Dampening


def test_which_weights_are_dampened_and_by_how_much():
    cases = [  # I_f, I_D, factor for α = 2, λ = 0.5
        (1.0, 1.0, 1.0),  # below α I_D
        (2.0, 1.0, 1.0),  # at α I_D: not above
        (4.0, 1.0, 0.125),  # λ I_D / I_f
        (10.0, 4.0, 0.2),
        (3.0, 0.0, 0.0),  # used by the images to forget alone
        (0.0, 0.0, 1.0),  # used by nothing
        (0.0, 3.0, 1.0),
    ]
    forget, train, factor = torch.tensor(cases, dtype=torch.float64).T
    theta = {"w": torch.tensor([3.0, -2, 5, -7, 1, 6, -4], dtype=torch.float64)}
    found = dampened(theta, {"w": forget}, {"w": train}, alpha=2.0, shrink=0.5)
    torch.testing.assert_close(found["w"], theta["w"] * factor, atol=0, rtol=0)


def test_no_weight_grows():
    theta, forget, train = {"w": torch.full((3,), 8.0)}, {"w": torch.tensor([1.5, 3.0, 6.0])}, {"w": torch.ones(3)}
    found = dampened(theta, forget, train, alpha=1.0, shrink=3.0)  # λ I_D / I_f = 2, 1, ½
    assert found["w"].tolist() == [8, 8, 4]


# The method


@pytest.mark.parametrize("variant", ["original", "one-shui"])
@pytest.mark.parametrize("per_sample", [False, True])
def test_the_whole_method_by_hand(variant, per_sample):
    model = TwoLayers(K)
    train, forget, support = (some_faces(n, multilabel=True, seed=n) for n in (40, 12, 3))
    method = SSD(variant=variant, alpha=1.5, shrink=0.4, batch=8, per_sample=per_sample)
    artefacts = method.prepare(model, {"train": train}, generator=generator(1))
    given = Given({"forget": forget, "support": support}).only(method.needs)
    unlearned = method.unlearn(model, given, artefacts, generator=generator(2))

    asked = forget if variant == "original" else support
    of_train, of_asked = (
        importances_by_hand(model, faces, 1 if per_sample else 8, seed) for faces, seed in ((train, 1), (asked, 2))
    )
    assert_same(artefacts.tensors, {f"importance/{name}": value for name, value in of_train.items()})
    theta = parameters(model)
    for name, value in theta.items():
        ratio = of_asked[name] / of_train[name]
        expected = torch.where(ratio > 1.5, value * torch.clamp(0.4 / ratio, max=1), value)
        torch.testing.assert_close(unlearned.get_parameter(name).detach(), expected, atol=0, rtol=1e-7)
    chosen = torch.cat([(unlearned.get_parameter(name) != value).flatten() for name, value in theta.items()])
    assert 0 < chosen.sum() < len(chosen)


def test_preparing_keeps_float32_importances_on_the_cpu_and_none_of_buffers():
    model: FaceModel = small_resnet()
    artefacts: Artefacts = SSD().prepare(model, {"train": tiny_faces(2, (3, 3), size=32)}, generator=generator())
    assert set(artefacts.tensors) == {f"importance/{name}" for name, _ in model.named_parameters()}
    assert all(value.dtype == torch.float32 and (value >= 0).all() for value in artefacts.tensors.values())
