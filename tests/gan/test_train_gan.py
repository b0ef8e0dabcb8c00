"""Training: the losses by hand, the same weights after kill -9, clear errors."""

import math
from dataclasses import replace

import pytest
import torch
from small_gan import CONFIG, TRAINING, killed_and_resumed_alike, same, small_faces, small_gan

from shui_lib.gan import train
from shui_lib.gan.steps import Diverged, Game, tell_apart
from shui_lib.gan.train import GANTraining, fit_gan, mirrored

CHILD = """
import sys
from pathlib import Path
from small_gan import CONFIG, small_faces
from shui_lib.gan.stylegan2 import save_gan
from shui_lib.gan.train import GANTraining, fit_gan, mirrored
folder = Path(sys.argv[1])
training = GANTraining(kimg=0.48, batch=8, tick=2, r1_every=2)
gan, history = fit_gan(small_faces(), CONFIG, training, seed=3, checkpoint=folder / "gan.checkpoint")
save_gan(folder / "gan.safetensors", gan, {"ticks": len(history)})
"""


def test_the_loss_is_the_logistic_one():
    real, fake = torch.tensor([1.0, 1.0]), torch.tensor([-1.0, 2.0])
    expected = math.log1p(math.exp(-1)) + (math.log1p(math.exp(-1)) + math.log1p(math.exp(2))) / 2
    assert tell_apart(real, fake).item() == pytest.approx(expected)


def test_training_moves_both_and_says_how():
    seen = []
    gan, history = fit_gan(small_faces(), CONFIG, TRAINING, seed=0, sheet=lambda _, kimg: seen.append(kimg))
    assert not same(gan, small_gan()) and history["kimg"].tolist() == [0.016, 0.032, 0.048, 0.064] == seen
    assert history[["loss_d", "loss_g"]].gt(0).all(axis=None)
    assert same(gan, fit_gan(small_faces(), CONFIG, TRAINING, seed=0)[0])
    assert not same(gan, fit_gan(small_faces(), CONFIG, TRAINING, seed=1)[0])


def test_the_generator_pays_for_the_verdict_alone(monkeypatch):
    """There is no path-length penalty."""
    start, verdicts, paid, step = small_gan(), [], [], Game.step
    start.discriminator.register_forward_hook(lambda _, given, answer: verdicts.append(answer.detach()))

    def noted(game, network, loss, what):
        if network is game.gan.generator:
            paid.append((loss.item(), torch.nn.functional.softplus(-verdicts[-1]).mean().item()))
        return step(game, network, loss, what)

    monkeypatch.setattr(Game, "step", noted)
    fit_gan(small_faces(), CONFIG, TRAINING, seed=0, start=start)
    assert len(paid) == 8 and all(loss == verdict for loss, verdict in paid)


def test_a_gan_goes_on_from_where_it_was_and_is_not_changed():
    start, slow = small_gan(), replace(TRAINING, lr=1e-6)
    near = fit_gan(small_faces(), CONFIG, slow, seed=5, start=start)[0]
    for ours, theirs in zip(near, start, strict=True):
        pairs = zip(ours.parameters(), theirs.parameters(), strict=True)
        assert all(torch.allclose(a, b, atol=1e-3) for a, b in pairs), "at such a rate hardly anything moves"
    assert not same(near, start) and same(start, small_gan())
    still = fit_gan(small_faces(), CONFIG, replace(TRAINING, ema_kimg=1e6), seed=5, start=start)[0]
    pairs = list(zip(still.generator.parameters(), start.generator.parameters(), strict=True))
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in pairs), "its running mean does not begin anew"
    anew = fit_gan(small_faces(), CONFIG, replace(TRAINING, ema_kimg=1e6), seed=5)[0]
    fresh = zip(anew.generator.parameters(), small_gan(5).generator.parameters(), strict=True)
    assert not all(torch.allclose(a, b, atol=1e-4) for a, b in fresh), "a new one's does"


def test_the_rate_falls_to_zero_over_the_last_share(monkeypatch):
    rates, step = [], Game.step

    def noted(game, *how):
        rates.append([group["lr"] for group in game.optimizer.param_groups])
        return step(game, *how)

    monkeypatch.setattr(Game, "step", noted)
    fit_gan(small_faces(), CONFIG, replace(TRAINING, anneal=0.5), seed=0)  # 8 steps of each player
    full, shares = Game(small_gan(), TRAINING.lr, lazy=2).rates, [1.0] * 5 + [0.75, 0.5, 0.25]
    expected = [[share * rate for rate in full] for share in shares for _ in range(2)]
    assert rates == [pytest.approx(line) for line in expected]
    rates.clear()
    fit_gan(small_faces(), CONFIG, replace(TRAINING, anneal=0.0), seed=0)
    assert len(rates) == 16 and all(line == pytest.approx(full) for line in rates)


def test_a_checkpoint_leads_to_the_same_weights(tmp_path):
    whole, history = fit_gan(small_faces(), CONFIG, TRAINING, seed=0)
    half = GANTraining(kimg=0.032, batch=8, tick=2, r1_every=2)
    fit_gan(small_faces(), CONFIG, half, seed=0, checkpoint=tmp_path / "gan.checkpoint")
    again, told = fit_gan(small_faces(), CONFIG, TRAINING, seed=0, checkpoint=tmp_path / "gan.checkpoint")
    assert same(whole, again) and told.equals(history)


def test_kill_9_in_training_changes_no_weight(tmp_path):
    assert killed_and_resumed_alike(CHILD, tmp_path)


def test_a_step_of_one_moves_the_other_not():
    gan, before = small_gan(), small_gan()
    game = Game(gan, 0.1, lazy=4)
    for network in gan:  # the first leaves a state behind
        game.step(network, sum(parameter.square().sum() for parameter in network.parameters()), "loss")
    moved = gan.generator.synthesis.bias.clone()
    game.step(gan.discriminator, gan.discriminator.out.weight.sum(), "loss")
    assert torch.equal(moved, gan.generator.synthesis.bias) and not same(gan, before)
    shares = [(group["lr"], group["betas"][1]) for group in game.optimizer.param_groups]
    assert shares == [(0.1, 0.99), (pytest.approx(0.08), pytest.approx(0.99**0.8))]


def test_a_loss_that_is_no_number_stops_before_it_does_harm(tmp_path):
    gan, file = small_gan(), tmp_path / "gan.checkpoint"
    before = small_gan()
    with pytest.raises(Diverged, match="lower the learning rate"):
        Game(gan, 0.1).step(gan.generator, gan.generator.synthesis.bias.sum() * torch.nan, "generator's loss")
    assert same(gan, before)
    fit_gan(small_faces(), CONFIG, GANTraining(kimg=0.016, batch=8, tick=2), seed=0, checkpoint=file)
    kept = file.read_bytes()
    with pytest.raises(Diverged, match="nan|inf"):
        fit_gan(small_faces(), CONFIG, GANTraining(kimg=0.16, batch=8, tick=9, lr=1e30), seed=0, checkpoint=file)
    assert file.read_bytes() == kept


@pytest.mark.parametrize(
    ("faces", "words"),
    [(small_faces(size=16), "of 16 px do not fit"), (small_faces(classes=4), "classes from 0 to 2"),
     (small_faces()[:0], "0 pictures")],
)  # fmt: skip
def test_data_that_does_not_fit_is_named(faces, words):
    with pytest.raises(ValueError, match=words):
        fit_gan(faces, CONFIG, TRAINING, seed=0)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="kimg is out of range"):
        GANTraining(kimg=0)


def test_about_half_is_mirrored():
    x = small_faces().pixels()
    found = mirrored(x, torch.Generator().manual_seed(0))
    turned = (x != found).flatten(1).any(1)
    assert 8 < turned.sum() < 28 and torch.equal(found[turned], x[turned].flip(3))


def test_digits_are_not_mirrored(monkeypatch):
    digits = replace(small_faces(), flip=False)
    whole = fit_gan(digits, CONFIG, TRAINING, seed=0)[0]
    monkeypatch.setattr(train, "mirrored", None)
    assert same(whole, fit_gan(digits, CONFIG, TRAINING, seed=0)[0])
    with pytest.raises(TypeError):
        fit_gan(small_faces(), CONFIG, TRAINING, seed=0)
