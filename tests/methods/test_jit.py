"""Just in Time unlearning against its equations, written out for two layers."""

import numpy as np
import pytest
import torch
from test_methods import generator
from tiny import TwoLayers, same_weights, small_resnet, tiny_faces

from shui_lib.benchmark.data import Faces
from shui_lib.methods import Artefacts, Given
from shui_lib.methods.jit import JiT, lipschitz, noisy_copy
from shui_lib.methods.parts.meta_gradient import parameters

K = 4  # outputs


def some_faces(n: int, *, seed: int = 0) -> Faces:
    chance = np.random.default_rng(seed)
    images = chance.integers(60, 200, (n, 2, 2, 3), dtype=np.uint8)  # each batch has a range of its own
    targets = torch.from_numpy(chance.integers(0, K, n))
    return Faces(images, np.arange(n), np.arange(n), targets, tuple("abcd"))


def copies_by_hand(x: torch.Tensor, sigma: float, copies: int, chance: torch.Generator) -> torch.Tensor:
    """x' (copies, B, ...)."""
    noise = torch.stack([torch.randn(x.shape, generator=chance).to(x) for _ in range(copies)])
    return torch.minimum(torch.maximum(x + sigma * noise, x.min()), x.max())


def step_by_hand(theta, x, *, sigma, copies, eta, chance):
    """θ − η ∇ℓ for one batch (B, 12), by the chain rule, with f(x') constant."""
    w1, b1, w2, b2 = (theta[name] for name in ("first.weight", "first.bias", "second.weight", "second.bias"))
    noisy = copies_by_hand(x, sigma, copies, chance)
    hidden = torch.tanh(x @ w1.T + b1)
    moved = hidden @ w2.T + b2 - (torch.tanh(noisy @ w1.T + b1) @ w2.T + b2)  # (copies, B, K)
    length = (moved**2).sum(2, keepdim=True).sqrt() * ((x - noisy) ** 2).sum(2, keepdim=True).sqrt()
    to_logits = (moved / length).mean(0)  # (B, K)
    to_hidden = (to_logits @ w2) * (1 - hidden**2)
    gradient = {"first.weight": to_hidden.T @ x, "first.bias": to_hidden.sum(0)}
    gradient |= {"second.weight": to_logits.T @ hidden, "second.bias": to_logits.sum(0)}
    return {name: value - eta * gradient[name] for name, value in theta.items()}


# The quotient


def test_the_quotient_of_single_images_and_copies():
    model, x = TwoLayers(K), some_faces(6).pixels().double()
    found = lipschitz(lambda images: model(images).logits, x, sigma=0.3, copies=3, generator=generator(7))
    expected = 0.0
    for noisy in copies_by_hand(x, 0.3, 3, generator(7)):
        for image, copied in zip(x, noisy, strict=True):
            answers = model(torch.stack([image, copied])).logits
            expected += (answers[0] - answers[1]).norm() / (image - copied).norm() / 3
    torch.testing.assert_close(found, expected, atol=0, rtol=1e-12)


@pytest.mark.parametrize("copies", [1, 4])
@pytest.mark.parametrize("sigma", [0.1, 30.0])
def test_a_map_that_triples_distances_has_quotient_three(sigma, copies):
    x = torch.rand(5, 3, 2, 2, generator=generator())
    found = lipschitz(lambda images: 3 * images.flatten(1), x, sigma=sigma, copies=copies, generator=generator())
    assert found.item() == pytest.approx(5 * 3)


@pytest.mark.parametrize(("x", "sigma"), [(torch.full((2, 3), 0.5), 1.0), (torch.rand(2, 3), 0.0)])
def test_a_copy_that_equals_its_image_counts_as_zero(x, sigma):
    weight = torch.eye(3, requires_grad=True)
    found = lipschitz(lambda images: images @ weight, x, sigma=sigma, copies=2, generator=generator())
    found.backward()
    assert found.item() == 0 and weight.grad.eq(0).all()


# Noisy copies


def test_copies_stay_in_the_range_of_their_batch():
    x = torch.tensor([[-0.5, 0.0, 0.1], [0.2, 0.25, -0.1]]).repeat(1, 50)
    noisy = noisy_copy(x, sigma=0.5, generator=generator())
    assert noisy.min() == -0.5 and noisy.max() == 0.25  # and the first image goes beyond its own 0.1
    assert noisy[0].max() == 0.25 and ((noisy > -0.5) & (noisy < 0.25)).any()


def test_copies_within_the_range_are_plain_noise():
    x = torch.zeros(4, 1000)
    x[0, 0], x[0, 1] = -10, 10
    noise = (noisy_copy(x, sigma=0.5, generator=generator()) - x)[1:]
    assert noise.std().item() == pytest.approx(0.5, rel=0.03)


def test_the_noise_of_one_shui_leaves_black_and_white():
    x = torch.rand(8, 3, 32, 32, generator=generator()) * 2 - 1
    noisy = noisy_copy(x, sigma=30.0, generator=generator(1))
    inside = ((noisy > x.min()) & (noisy < x.max())).float().mean().item()
    assert inside == pytest.approx(2 / 30 * 0.399, rel=0.1)  # width of the range times the density of ε at zero


# The method


@pytest.mark.parametrize("variant", ["original", "one-shui"])
@pytest.mark.parametrize(("batch", "steps"), [(8, 1), (3, 3)])
def test_one_step_per_batch_by_hand(variant, batch, steps):
    model, parts = TwoLayers(K), {"forget": some_faces(8, seed=1), "support": some_faces(7, seed=2)}
    method = JiT(variant=variant, sigma=0.4, eta=0.05, copies=3, batch=batch)
    unlearned = method.unlearn(model, Given(parts).only(method.needs), Artefacts(), generator=generator(3))

    asked, chance = parts["forget" if variant == "original" else "support"], generator(3)
    batches = asked.pixels().double().flatten(1)[torch.randperm(len(asked), generator=chance)].split(batch)
    assert len(batches) == steps
    theta = parameters(model)
    for x in batches:
        # The noise of (B, 3, 2, 2) is drawn as (B, 12): the same numbers in the same order.
        theta = step_by_hand(theta, x, sigma=0.4, copies=3, eta=0.05, chance=chance)
    for name, value in theta.items():
        assert (value - model.get_parameter(name)).abs().max() > 1e-3
        torch.testing.assert_close(unlearned.get_parameter(name).detach(), value, atol=0, rtol=1e-9)


def test_answers_to_an_image_and_its_copies_move_together():
    model, faces = TwoLayers(K), some_faces(4)
    method = JiT(sigma=0.4, eta=0.5, copies=25)
    unlearned = method.unlearn(model, Given({"support": faces}), Artefacts(), generator=generator())
    x = faces.pixels().double()
    before, after = (
        lipschitz(lambda images, m=m: m(images).logits, x, sigma=0.4, copies=100, generator=generator(1))
        for m in (model, unlearned)
    )
    assert after < 0.95 * before


def test_batch_norm_keeps_its_statistics_whatever_the_mode():
    model, given = small_resnet().train(), Given({"support": tiny_faces(2, (3, 3), size=32)})
    method = JiT(copies=2)
    unlearned, expected = (
        method.unlearn(m, given, Artefacts(), generator=generator()) for m in (model, small_resnet())
    )
    assert same_weights(unlearned, expected)
    assert model.training and same_weights(model, small_resnet())
    assert all(torch.equal(value, dict(unlearned.named_buffers())[name]) for name, value in model.named_buffers())


def test_another_seed_draws_other_noise():
    model, given = TwoLayers(K), Given({"support": some_faces(4)})
    one, other = (JiT().unlearn(model, given, Artefacts(), generator=generator(seed)) for seed in (1, 2))
    assert not same_weights(one, other)


def test_gradients_add_up_over_batches_where_they_are_never_cleared():
    """JiT's authors' code: the second step goes along the sum of both gradients."""
    model, faces = TwoLayers(K), some_faces(6)
    plain, summed = (
        JiT(variant="original", sigma=0.3, eta=0.05, copies=2, batch=3, accumulate=a) for a in (False, True)
    )
    after = {}
    for method in (plain, summed):
        after[method.accumulate] = method.unlearn(model, Given({"forget": faces}), Artefacts(), generator=generator(3))
    order = torch.randperm(6, generator=(chance := generator(3)))
    theta, total = {name: v.detach() for name, v in model.named_parameters()}, None
    for part in (faces[order[:3]], faces[order[3:]]):
        x = part.pixels().double().flatten(1)
        moved = step_by_hand(theta, x, sigma=0.3, copies=2, eta=1.0, chance=chance)
        gradient = {name: theta[name] - moved[name] for name in theta}
        total = gradient if total is None else {name: total[name] + gradient[name] for name in theta}
        theta = {name: theta[name] - 0.05 * total[name] for name in theta}
    assert not same_weights_of(after[False], after[True])
    for name, value in after[True].named_parameters():
        torch.testing.assert_close(value.detach(), theta[name])


def same_weights_of(one, other) -> bool:
    return all(torch.equal(p, other.get_parameter(name)) for name, p in one.named_parameters())
