"""What the GAN study measures with, against closed forms and twins; and what it asks for."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_gan import QUICK, TRAINING, same, small_faces, small_gan
from torch import nn

from shui_lib.benchmark.metrics import UndefinedScore
from shui_lib.gan.metrics import judge, sample
from shui_lib.gan.steps import Game, perceptual_distance, silence
from shui_lib.gan.train import pictures_of
from shui_workbook.studies.gan.audit import nearest, nearest_generated, path_length, reinversion, relearn_steps
from shui_workbook.studies.gan.classifier import accuracy, frechet, kernel_distance, train_classifier
from shui_workbook.studies.gan.requests import held_out, request_of


class Plain(nn.Module):
    """Features are the pixels of a 4-pixel picture: distances have closed forms."""

    num_features = 12

    def features(self, x):
        return x.flatten(1)


def test_frechet_distance_of_gaussians_has_a_closed_form():
    x = torch.randn(4000, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    moved = 2 * x + 1  # mean +1, standard deviation 2: 12 (1² + (2 − 1)²)
    assert frechet(Plain(), x, moved) == pytest.approx(24, rel=0.05)
    assert frechet(Plain(), x, x) == pytest.approx(0, abs=1e-3)


def test_frechet_distance_agrees_with_a_twin():
    chance = torch.Generator().manual_seed(1)
    x, y = torch.rand(300, 3, 2, 2, generator=chance), torch.rand(300, 3, 2, 2, generator=chance) ** 2
    a, b = (part.flatten(1).double().numpy() for part in (x, y))
    s, t = np.cov(a.T), np.cov(b.T)
    values, vectors = np.linalg.eigh(s)
    root = vectors * np.sqrt(values) @ vectors.T
    cross = np.sqrt(np.linalg.eigvalsh(root @ t @ root)).sum()
    twin = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(s) + np.trace(t) - 2 * cross
    assert frechet(Plain(), x, y) == pytest.approx(twin, rel=1e-4)


def test_kernel_distance_tells_equal_from_moved():
    x = torch.randn(400, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    same, moved = kernel_distance(Plain(), x[:200], x[200:]), kernel_distance(Plain(), x[:200], x[200:] + 1)
    assert abs(same) < 0.05 < 0.5 < moved


def test_a_classifier_learns_the_classes():
    faces = small_faces(60, size=16)
    classifier = train_classifier(faces, seed=0, epochs=6)
    x, y = pictures_of(small_faces(20, size=16, seed=1))
    assert accuracy(classifier, x, y) > 0.9 > 0.6 > accuracy(train_classifier(faces, seed=0, epochs=0), x, y)
    assert perceptual_distance(classifier.maps, x[:4], x[:4]).abs().max() < 1e-6


def test_pictures_that_are_no_numbers_have_no_accuracy():
    classifier, x = train_classifier(small_faces(), seed=0, epochs=0), torch.full((4, 3, 16, 16), torch.nan)
    with pytest.raises(UndefinedScore, match="not finite"):
        accuracy(classifier, x, torch.zeros(4, dtype=torch.long))


def test_audits_find_what_the_generator_holds():
    gan, faces = small_gan(), small_faces()
    held = sample(gan.generator, torch.tensor([0, 1, 2]), seed=5)[0]
    found = reinversion(gan.generator, held, faces.pixels()[:3], QUICK)
    assert found["psnr_forget"] > found["psnr_test"]
    assert nearest_generated(gan.generator, held, seed=5, count=60) > nearest_generated(
        gan.generator, faces.pixels()[:3], seed=5, count=60
    )


def test_a_path_is_longer_where_pictures_change_more():
    g, classifier = small_gan().generator, train_classifier(small_faces(size=16), seed=0, epochs=0)
    w = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    assert path_length(g, classifier.maps, w[:1].repeat(6, 1), seed=0) == 0
    assert path_length(g, classifier.maps, w, seed=0) > 0


def test_relearning_counts_steps_and_gives_up():
    gan, request = small_gan(), request_of(small_faces(), "item-6", seed=0)
    forget, fresh = pictures_of(request.forget), pictures_of(request.fresh)
    assert relearn_steps(gan, small_faces(), fresh, fresh, TRAINING, seed=0) == 0
    low = (forget[0], forget[1])
    logits = judge(gan.discriminator, {"fresh": fresh})["fresh"]
    high = tuple(part[logits.argsort()[-3:]] for part in fresh)  # what D likes best, against all
    assert relearn_steps(gan, small_faces(), low, high, TRAINING, seed=0, most=2, every=1, goal=0.0) == 2


def test_what_was_silenced_is_soon_back_and_the_gan_given_stays_as_it_was():
    gan, request = small_gan(), request_of(small_faces(), "class-1", seed=0)
    forget, fresh = pictures_of(request.forget), pictures_of(request.fresh)
    game, chance = Game(gan, 0.01), torch.Generator().manual_seed(0)
    for _ in range(60):
        silence(game, forget, -5.0, forget[1], chance)
    before = copy.deepcopy(gan)
    steps = relearn_steps(gan, small_faces(), forget, fresh, replace(TRAINING, lr=0.01), seed=0, goal=0.8, every=5)
    assert 0 < steps < 200 and same(gan, before)


def test_nearest_is_the_one_with_the_least_error():
    x, others = torch.rand(4, 3, 8, 8), torch.rand(9, 3, 8, 8)
    position, psnr = nearest(x, others)
    errors = (x[:, None] - others).square().mean((2, 3, 4))
    assert torch.equal(position, errors.argmin(1))
    assert torch.allclose(psnr, 10 * torch.log10(4 / errors.min(1).values), atol=1e-3)


def test_held_out_takes_the_same_share_of_every_class():
    train, test = held_out(small_faces())
    assert test.targets.bincount().tolist() == [2, 2, 2] and len(train) == 30
    assert not set(train.rows) & set(test.rows)


def test_requests_part_the_training_pictures():
    train, _ = held_out(small_faces())
    for kind, count in (("item-4", 4), ("class-1", 10)):
        request = request_of(train, kind, seed=0)
        rows = [set(part.rows) for part in request[:3]]
        assert len(rows[0]) == count == len(rows[1]) and set.union(*rows) == set(train.rows)
        assert sum(map(len, rows)) == len(train)
    assert set(request.forget.targets.tolist()) == {1} and 1 not in request.learn.targets
    small, large = (request_of(train, f"item-{count}", seed=0).forget.rows for count in (2, 4))
    assert set(small) < set(large)  # of one seed they are nested
    assert set(request_of(train, "item-4", seed=1).forget.rows) != set(large)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("class-7", "class 7 does not exist: choose one of 0, 1, 2"), ("item-99", "at least half must stay"),
     ("item-0", "at least half must stay"), ("people-3", "write item-COUNT"), ("item-", "write item-COUNT")],
)  # fmt: skip
def test_requests_that_cannot_be_are_named(kind, words):
    with pytest.raises(ValueError, match=words):
        request_of(small_faces(), kind, seed=0)
