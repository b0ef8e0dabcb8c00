"""Training: the losses by hand, the same weights after kill -9, clear errors."""

import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from small_gan import CONFIG, TRAINING, same, small_faces, small_gan

from shui_lib.gan.requests import held_out, request_of
from shui_lib.gan.stylegan2 import load_gan
from shui_lib.gan.train import Diverged, GANTraining, Player, discriminator_loss, fit_gan, labels_of, take

CHILD = """
import sys
from pathlib import Path
from small_gan import CONFIG, small_faces
from shui_lib.gan.stylegan2 import save_gan
from shui_lib.gan.train import GANTraining, fit_gan
folder = Path(sys.argv[1])
training = GANTraining(kimg=0.48, batch=8, tick=2, r1_every=2)
gan, history = fit_gan(small_faces(), CONFIG, training, seed=3, checkpoint=folder / "gan.checkpoint")
save_gan(folder / "gan.safetensors", gan, {"ticks": len(history)})
"""


def test_the_loss_is_the_logistic_one():
    class Says(torch.nn.Module):
        def forward(self, x, label):
            return x.mean((1, 2, 3)) + label

    real, fake = torch.full((2, 3, 8, 8), 1.0), torch.full((2, 3, 8, 8), -1.0)
    labels = (torch.tensor([0, 0]), torch.tensor([0, 0]))
    expected = math.log1p(math.exp(-1)) + math.log1p(math.exp(-1))
    assert discriminator_loss(Says(), real, fake, labels).item() == pytest.approx(expected)


def test_training_moves_both_and_says_how():
    seen = []
    gan, history = fit_gan(small_faces(), CONFIG, TRAINING, seed=0, sheet=lambda _, kimg: seen.append(kimg))
    assert not same(gan, small_gan()) and history["kimg"].tolist() == [0.016, 0.032, 0.048, 0.064] == seen
    assert history[["loss_d", "loss_g"]].gt(0).all(axis=None)
    assert same(gan, fit_gan(small_faces(), CONFIG, TRAINING, seed=0)[0])
    assert not same(gan, fit_gan(small_faces(), CONFIG, TRAINING, seed=1)[0])


def test_a_checkpoint_leads_to_the_same_weights(tmp_path):
    whole, history = fit_gan(small_faces(), CONFIG, TRAINING, seed=0)
    half = GANTraining(kimg=0.032, batch=8, tick=2, r1_every=2)
    fit_gan(small_faces(), CONFIG, half, seed=0, checkpoint=tmp_path / "gan.checkpoint")
    again, told = fit_gan(small_faces(), CONFIG, TRAINING, seed=0, checkpoint=tmp_path / "gan.checkpoint")
    assert same(whole, again) and told.equals(history)


def test_kill_9_in_training_changes_no_weight(tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    start = [sys.executable, "-c", CHILD]
    subprocess.run([*start, str(tmp_path / "whole")], check=True)
    child = subprocess.Popen([*start, str(tmp_path / "killed")])
    while not (tmp_path / "killed" / "gan.checkpoint").exists():
        time.sleep(0.005)
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "killed" / "gan.safetensors").exists()
    subprocess.run([*start, str(tmp_path / "killed")], check=True)
    assert same(*(load_gan(tmp_path / name / "gan.safetensors") for name in ("whole", "killed")))


def test_a_loss_that_is_no_number_stops_before_it_does_harm(tmp_path):
    gan, file = small_gan(), tmp_path / "gan.checkpoint"
    before = small_gan()
    with pytest.raises(Diverged, match="lower the learning rate"):
        Player(gan.generator, 0.1).step(gan.generator.synthesis.bias.sum() * torch.nan, "generator's loss")
    assert same(gan, before)
    fit_gan(small_faces(), CONFIG, GANTraining(kimg=0.016, batch=8, tick=2), seed=0, checkpoint=file)
    kept = file.read_bytes()
    with pytest.raises(Diverged, match="nan|inf"):
        fit_gan(small_faces(), CONFIG, GANTraining(kimg=0.16, batch=8, tick=9, lr=1e30), seed=0, checkpoint=file)
    assert file.read_bytes() == kept


@pytest.mark.parametrize(
    ("faces", "words"),
    [(small_faces(size=16), "of 16 px do not fit"), (small_faces(classes=4), "labels from 0 to 2"),
     (small_faces()[:0], "0 pictures")],
)  # fmt: skip
def test_data_that_does_not_fit_is_named(faces, words):
    with pytest.raises(ValueError, match=words):
        fit_gan(faces, CONFIG, TRAINING, seed=0)


def test_settings_are_checked():
    with pytest.raises(ValueError, match="kimg must be positive"):
        GANTraining(kimg=0)


def test_flips_mirror_about_half_and_keep_labels():
    faces = small_faces()
    plain, labels = take(faces, torch.arange(36), torch.Generator(), flip=False, device="cpu")
    flipped, same_labels = take(faces, torch.arange(36), torch.Generator().manual_seed(0), flip=True, device="cpu")
    turned = (plain != flipped).flatten(1).any(1)
    assert 8 < turned.sum() < 28 and torch.equal(plain[turned].flip(3), flipped[turned])
    assert torch.equal(labels, same_labels)


# Requests


def test_held_out_takes_the_same_share_of_every_class():
    train, test = held_out(small_faces())
    assert labels_of(test).bincount().tolist() == [2, 2, 2] and len(train) == 30
    assert not set(train.rows) & set(test.rows)


def test_requests_part_the_training_pictures():
    train, _ = held_out(small_faces())
    for kind, count in (("item-4", 4), ("class-1", 10)):
        request = request_of(train, kind, seed=0)
        rows = [set(part.rows) for part in request[:3]]
        assert len(rows[0]) == count == len(rows[1]) and set.union(*rows) == set(train.rows)
        assert sum(map(len, rows)) == len(train)
    assert set(labels_of(request.forget).tolist()) == {1} and 1 not in labels_of(request.learn)
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
