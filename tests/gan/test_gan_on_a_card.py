"""Whose tensors lie where, on a card that is not there (`tests/fake_card.py`)."""

import pytest
import torch
from fake_card import CARD, a_card
from small_gan import CONFIG, QUICK, TRAINING, small_faces, small_gan

from shui_lib.gan.cascade import Cascade
from shui_lib.gan.latents import invert
from shui_lib.gan.metrics import judge, sample
from shui_lib.gan.stylegan2 import GAN
from shui_lib.gan.train import fit_gan, pictures_of
from shui_lib.methods import Given
from shui_workbook.studies.gan.audit import nearest_generated, path_length, relearn_steps


@pytest.fixture
def card(monkeypatch):
    monkeypatch.setattr(torch, "isfinite", lambda loss: True)  # what comes back from there is zero, and means no
    with a_card(monkeypatch) as card:
        yield card


@pytest.fixture
def there(card):
    """A GAN on the card."""
    return GAN(*(network.to(CARD) for network in small_gan()))


def test_it_is_trained_there(card):
    gan, history = fit_gan(small_faces(), CONFIG, TRAINING, seed=0, device=CARD)
    assert gan.generator.label.weight.device.type == gan.discriminator.label.weight.device.type == CARD
    assert len(history) == 4


def test_what_is_measured_comes_back_to_where_the_pictures_are(there):
    x, y = pictures_of(small_faces())
    logits = judge(there.discriminator, {"all": (x, y), "some": (x[:3], y[:3])})
    assert [told.device.type for told in logits.values()] == ["cpu", "cpu"]
    assert sample(there.generator, y, seed=0)[0].device.type == "cpu"
    assert sample(there.generator, y.to(CARD), seed=0)[0].device.type == CARD
    assert nearest_generated(there.generator, x[:4], seed=0, count=12) > 0
    latents = torch.zeros(4, CONFIG.latent)
    assert path_length(there.generator, lambda pictures: [pictures + x[:4]], latents, seed=0) == 0.0
    assert relearn_steps(there, small_faces(), (x, y), (x, y), TRAINING, seed=0, goal=0.0, most=2) == 2


def test_latents_are_found_there(there):
    w, psnr = invert(there.generator, small_faces()[:4].pixels(), QUICK)
    assert w.device.type == psnr.device.type == CARD


@pytest.mark.parametrize("settings", [{"shot": "few"}, {"shot": "zero", "perceptual": 0.5}])
@pytest.mark.parametrize("label", [None, 1])
def test_a_cascade_runs_there(there, settings, label):
    faces = small_faces()
    given = Given({"forget": faces[:6].in_memory(), "learn": faces[6:12].in_memory()})
    cascade = Cascade(steps=2, check=1, batch=4, inversion=QUICK, stop="never", **settings)
    gan, course = cascade.unlearn(there, given, label=label, maps=lambda pictures: [pictures])
    assert gan.generator.label.weight.device.type == CARD and len(course) == 3
