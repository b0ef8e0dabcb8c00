"""AUC, distances and audits against closed forms and twins."""

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from small_gan import QUICK, TRAINING, small_faces, small_gan
from torch import nn

from shui_lib.gan.audit import nearest_generated, path_length, reinversion, relearn_steps
from shui_lib.gan.metrics import (
    accuracy,
    auc,
    frechet,
    judge,
    kernel_distance,
    perceptual_distance,
    pictures_of,
    sample,
    train_classifier,
)
from shui_lib.gan.requests import request_of


class Plain(nn.Module):
    """Features are the pixels of a 4-pixel picture: distances have closed forms."""

    head = nn.Linear(12, 2)

    def features(self, x):
        return x.flatten(1)


def test_auc_counts_ties_half():
    chance = np.random.default_rng(0)
    high, low = chance.integers(0, 5, 40), chance.integers(0, 4, 30)
    pairs = (high[:, None] > low).mean() + 0.5 * (high[:, None] == low).mean()
    labels = np.r_[np.ones(40), np.zeros(30)]
    assert auc(high, low) == pytest.approx(pairs) == roc_auc_score(labels, np.r_[high, low])
    assert auc([1.0], [1.0]) == 0.5


@pytest.mark.parametrize("sides", [([], [1.0]), ([1.0], []), ([np.nan], [1.0])])
def test_auc_without_scores_is_refused(sides):
    with pytest.raises(ValueError, match="finite scores on both sides"):
        auc(*sides)


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


def test_everyone_is_judged_in_the_same_company():
    gan, faces = small_gan(), small_faces(40)
    parts = {"one": pictures_of(faces[:5]), "many": pictures_of(faces[5:])}
    found = judge(gan.discriminator, parts)
    assert {name: len(logits) for name, logits in found.items()} == {"one": 5, "many": 115}
    mates = [pictures_of(faces)[0], pictures_of(faces)[1]]
    order = torch.randperm(120, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        first = gan.discriminator(mates[0][order[:64]], mates[1][order[:64]])
    assert torch.allclose(torch.cat([found["one"], found["many"]])[order[:64]], first, atol=1e-5)
    few = judge(gan.discriminator, {"one": parts["one"]})["one"]
    assert few.shape == (5,) and few.isfinite().all()


def test_a_classifier_learns_the_classes():
    faces = small_faces(60, size=16)
    classifier = train_classifier(faces, 3, seed=0, epochs=6)
    x, y = pictures_of(small_faces(20, size=16, seed=1))
    assert accuracy(classifier, x, y) > 0.9 > 0.6 > accuracy(train_classifier(faces, 3, seed=0, epochs=0), x, y)
    assert perceptual_distance(classifier, x[:4], x[:4]).abs().max() < 1e-6


def test_samples_follow_their_seed():
    g, labels = small_gan().generator, torch.tensor([0, 1, 2, 0])
    assert torch.equal(sample(g, labels, seed=0)[0], sample(g, labels, seed=0)[0])
    assert not torch.equal(sample(g, labels, seed=0)[0], sample(g, labels, seed=1)[0])
    assert sample(g, labels, seed=0)[0].abs().max() <= 1


def test_audits_find_what_the_generator_holds():
    gan, faces = small_gan(), small_faces()
    held = sample(gan.generator, torch.tensor([0, 1, 2]), seed=5)[0]
    found = reinversion(gan.generator, held, faces.pixels()[:3], QUICK)
    assert found["psnr_forget"] > found["psnr_test"]
    assert nearest_generated(gan.generator, held, seed=5, count=60) > nearest_generated(
        gan.generator, faces.pixels()[:3], seed=5, count=60
    )


def test_a_path_is_longer_where_pictures_change_more():
    g, classifier = small_gan().generator, train_classifier(small_faces(size=16), 3, seed=0, epochs=0)
    w = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    assert path_length(g, classifier, w[:1].repeat(6, 1), seed=0) == 0
    assert path_length(g, classifier, w, seed=0) > 0


def test_relearning_counts_steps_and_gives_up():
    gan, request = small_gan(), request_of(small_faces(), "item-6", seed=0)
    forget, fresh = pictures_of(request.forget), pictures_of(request.fresh)
    assert relearn_steps(gan, small_faces(), fresh, fresh, TRAINING, seed=0) == 0
    low = (forget[0], forget[1])
    logits = judge(gan.discriminator, {"fresh": fresh})["fresh"]
    high = tuple(part[logits.argsort()[-3:]] for part in fresh)  # what D likes best, against all
    assert relearn_steps(gan, small_faces(), low, high, TRAINING, seed=0, most=0) is None
