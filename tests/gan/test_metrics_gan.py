"""Scores of the discriminator and pictures of the generator."""

import numpy as np
import pytest
import torch
from small_gan import small_faces, small_gan

from shui_lib.gan.metrics import auc, judge, sample
from shui_lib.gan.train import pictures_of


def test_auc_counts_ties_half():
    chance = np.random.default_rng(0)
    high, low = chance.integers(0, 5, 40), chance.integers(0, 4, 30)
    pairs = (high[:, None] > low).mean() + 0.5 * (high[:, None] == low).mean()
    assert auc(high, low) == pytest.approx(pairs)
    assert auc([1.0], [1.0]) == 0.5


@pytest.mark.parametrize("sides", [([], [1.0]), ([1.0], []), ([np.nan], [1.0])])
def test_auc_without_scores_is_refused(sides):
    with pytest.raises(ValueError, match="finite scores on both sides"):
        auc(*sides)


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


def test_samples_follow_their_seed():
    g, labels = small_gan().generator, torch.tensor([0, 1, 2, 0])
    assert torch.equal(sample(g, labels, seed=0)[0], sample(g, labels, seed=0)[0])
    assert not torch.equal(sample(g, labels, seed=0)[0], sample(g, labels, seed=1)[0])
    assert sample(g, labels, seed=0)[0].abs().max() <= 1
