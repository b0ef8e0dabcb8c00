"""Whose tensors lie where, without a card: PyTorch's fake tensors know a device, and refuse to mix two."""

import pytest
import torch
from small_gan import CONFIG, QUICK, TRAINING, small_faces
from torch._subclasses import FakeTensorMode

from shui_lib.gan import steps
from shui_lib.gan.latents import Substitutes, all_labels, invert, render
from shui_lib.gan.metrics import judge, sample
from shui_lib.gan.stylegan2 import GAN, Discriminator, Generator
from shui_lib.gan.train import pictures_of
from shui_workbook.studies.gan.audit import nearest_generated, path_length

CARD = "cuda"


@pytest.fixture
def gan(monkeypatch):
    """A GAN on a card that is not there; nothing can be differentiated there, or looked at."""
    monkeypatch.setattr(torch.autograd, "grad", lambda loss, wanted, **_: (torch.zeros_like(wanted),))
    monkeypatch.setattr(torch.Tensor, "backward", lambda *_, **__: None)
    monkeypatch.setattr(torch.Tensor, "item", lambda self: 1.0)
    monkeypatch.setattr(torch, "isfinite", lambda loss: True)
    with FakeTensorMode(allow_non_fake_inputs=True):
        with torch.device(CARD):
            players = GAN(Generator(CONFIG), Discriminator(CONFIG))
        with pytest.raises(RuntimeError, match="same device"):
            players.generator.label.weight + torch.zeros(CONFIG.latent)
        yield players


def test_what_is_measured_comes_back_to_where_the_pictures_are(gan):
    x, y = pictures_of(small_faces())
    assert {
        told.device.type for told in judge(gan.discriminator, {"all": (x, y), "some": (x[:3], y[:3])}).values()
    } == {"cpu"}
    assert sample(gan.generator, y, seed=0)[0].device.type == "cpu"
    assert sample(gan.generator, y.to(CARD), seed=0)[0].device.type == CARD
    assert nearest_generated(gan.generator, x[:4], seed=0, count=12) == 1.0
    assert path_length(gan.generator, lambda pictures: [pictures + x[:4]], torch.zeros(4, CONFIG.latent), seed=0)


def test_latents_and_substitutes_stay_with_the_generator(gan):
    x, _ = pictures_of(small_faces())
    w, psnr = invert(gan.generator, x[:4], QUICK)
    assert w.device.type == psnr.device.type == CARD
    for mechanism, label in (("average", None), ("other-class", 1)):
        instead = Substitutes(gan.generator, w, mechanism, label=label).at(0.5)
        assert render(gan.generator, instead).device.type == CARD


def test_every_step_works_there(gan):
    x, y = (part[:8].to(CARD) for part in pictures_of(small_faces()))
    game, labels, chance = steps.Game(gan, TRAINING.lr), all_labels(gan.generator), torch.Generator().manual_seed(0)
    w, instead = torch.zeros(8, CONFIG.latent, device=CARD), torch.zeros_like(x)
    assert steps.gan_step(game, (x, y), labels, chance, r1=1.0)
    assert steps.silence(game, (x, y), -1.0, labels, chance)
    assert steps.redraw(game, w, y, instead)
    assert steps.learn_zero(game, gan, labels, 8, chance)
