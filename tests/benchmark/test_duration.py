"""The estimate of a training's time: near the truth, and harmless."""

import time
from dataclasses import replace

import pytest
import torch
from tiny import same_weights, small_resnet, tiny_faces

from shui_lib.benchmark import duration
from shui_lib.benchmark.presets import TrainConfig
from shui_lib.benchmark.train import fit

CONFIG = TrainConfig(epochs=4, batch=8)


@pytest.fixture
def faces():
    return tiny_faces(size=32)


def test_a_long_training_is_announced_before_it_starts(faces, monkeypatch, capsys):
    monkeypatch.setenv("SHUI_PROGRESS", "plain")
    monkeypatch.setattr(duration, "_timed_step", lambda *_: 12.0)
    monkeypatch.setattr("shui_lib.benchmark.train._one_epoch", lambda *_: pytest.fail("training had begun"))
    with pytest.raises(pytest.fail.Exception):
        fit(small_resnet(), faces, faces, CONFIG, seed=0)
    minutes = round(12 * 4 * -(-len(faces) // 8) / 60)
    assert f"about {minutes} minutes" in capsys.readouterr().err


def test_a_short_one_and_a_silent_one_are_not(faces, monkeypatch, capsys):
    monkeypatch.setenv("SHUI_PROGRESS", "plain")
    monkeypatch.setattr(duration, "_timed_step", lambda *_: 0.1)
    duration.announce(small_resnet(), faces, CONFIG, epochs=4)
    monkeypatch.setattr(duration, "_timed_step", lambda *_: pytest.fail("nobody would read it"))
    monkeypatch.setenv("SHUI_PROGRESS", "off")
    duration.announce(small_resnet(), faces, CONFIG, epochs=4)
    assert not capsys.readouterr().err


def test_the_step_is_timed_on_a_copy_and_draws_nothing(faces):
    model, again, state = small_resnet(), small_resnet(), torch.get_rng_state()
    started = time.perf_counter()
    seconds = duration.seconds_of_training(model, faces, replace(CONFIG, batch=len(faces)), epochs=1)
    assert 0 < seconds < time.perf_counter() - started
    assert same_weights(model, again) and torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in model.parameters())
