"""Training: both optimizers, the learning rate's curve, and runs that are killed in the middle."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import same_weights, small_face_resnet, small_resnet, small_vit, tiny_faces

from shui_lib.benchmark.metrics import UndefinedScore
from shui_lib.benchmark.predict import predict, task_loss
from shui_lib.benchmark.presets import TrainConfig
from shui_lib.benchmark.train import cosine, fit, learning_rate, make_optimizer
from shui_lib.core.store import load_note, load_tensors, save_tensors
from shui_lib.methods import make_method

CONFIG = TrainConfig(epochs=4, batch=16, lr=3e-3, warmup_epochs=1)
SGD = replace(CONFIG, optimizer="sgd", lr=3e-2, weight_decay=1e-4)
RECIPES = {"adamw": CONFIG, "sgd": SGD, "best": replace(SGD, lr=0.3, keep="best")}


def some_data(**options):
    faces = tiny_faces(16, **options)
    held_out = torch.from_numpy(faces.identity >= 12)
    return faces[~held_out], faces[held_out]


def train(config: TrainConfig, **options):
    return fit(small_vit(), *some_data(), config, seed=5, **options)


# The recipe


@pytest.mark.parametrize("recipe", RECIPES)
def test_training_learns_and_says_how_it_went(recipe):
    model, history = train(RECIPES[recipe])
    assert not model.training
    assert list(history) == ["epoch", "lr", "loss", "val_loss", "val_score"]
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert history["val_score"].between(0, 1).all()


def test_how_long_training_takes_is_told_within_its_first_epoch(monkeypatch, capsys):
    monkeypatch.setenv("SHUI_PROGRESS", "plain")
    monkeypatch.setattr("shui_lib.core.progress.TIMED", 0.0)
    monkeypatch.setattr("shui_lib.core.progress.LONG", 0.0)

    def validated(*_, **__):
        raise KeyboardInterrupt  # the first epoch has ended

    monkeypatch.setattr("shui_lib.benchmark.train.predict", validated)
    with pytest.raises(KeyboardInterrupt):
        train(CONFIG)
    assert capsys.readouterr().err.startswith("train: about 0 minutes on this machine\n")


def test_classes_are_trained_too():
    _, history = fit(small_vit(4), *some_data(multilabel=False), CONFIG, seed=5)
    assert history["loss"].iloc[-1] < history["loss"].iloc[0]
    assert history["val_score"].between(0, 1).all()


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_same_seed_gives_the_same_weights(recipe):
    torch.manual_seed(1)
    once, _ = train(RECIPES[recipe])
    torch.manual_seed(2)
    again, _ = train(RECIPES[recipe])
    assert same_weights(once, again)


def test_another_seed_gives_other_weights():
    data = some_data()
    once, other = (fit(small_vit(), *data, CONFIG, seed=seed)[0] for seed in (0, 1))
    assert not same_weights(once, other)


def test_a_network_that_standardises_its_features_sees_the_training_images_first(tmp_path):
    train_, val = some_data()
    still, checkpoint = replace(CONFIG, lr=0.0, epochs=2), tmp_path / "training.checkpoint"
    model, _ = fit(small_face_resnet(), train_, val, still, seed=5, checkpoint=checkpoint)
    features = predict(model, train_).features
    varies = features.std(0) > 0.5  # not those that a narrow network never lights
    assert varies.any()
    torch.testing.assert_close(features.mean(0), torch.zeros(features.shape[1]), atol=1e-3, rtol=0)
    torch.testing.assert_close(features.std(0)[varies], torch.ones(int(varies.sum())), atol=1e-3, rtol=0)
    again, _ = fit(small_face_resnet(), val, val, still, seed=5, checkpoint=checkpoint)
    assert same_weights(model, again), "a run that goes on has standardised already"


def test_keep_best_returns_the_first_epoch_with_the_best_validation_score():
    model, history = train(RECIPES["best"])
    _, val = some_data()
    best = history.loc[history["val_score"].idxmax()]
    assert best["epoch"] < len(history), "choose a recipe whose last epoch is not its best"
    found = task_loss(predict(model, val).logits, val.targets).item()
    assert found == pytest.approx(best["val_loss"], rel=1e-6)


def test_an_unknown_optimizer_is_refused():
    with pytest.raises(ValueError, match="'lion' is unknown: choose sgd or adamw"):
        make_optimizer(small_vit(), replace(CONFIG, optimizer="lion"))


def test_predicting_leaves_the_model_as_it_was():
    model = small_resnet().train()  # batch norm would count what it sees
    faces = tiny_faces(4, size=32)
    outputs = predict(model, faces, batch=3)
    assert model.training and same_weights(model, small_resnet())
    with torch.no_grad():
        torch.testing.assert_close(outputs.logits, model.eval()(faces.pixels()).logits, atol=1e-4, rtol=1e-4)


# The learning rate


def curve(config: TrainConfig, steps: int = 10) -> np.ndarray:
    """(epochs, steps)"""
    return np.array([[learning_rate(config, epoch, k, steps) for k in range(steps)] for epoch in range(config.epochs)])


def test_warm_up_is_linear_per_step():
    rates = curve(TrainConfig(epochs=30, lr=1e-3, warmup_epochs=2))[:2].flatten()
    assert rates == pytest.approx([1e-3 * (k + 1) / 20 for k in range(20)])


def test_cosine_falls_from_the_peak_to_nothing():
    rates = curve(TrainConfig(epochs=30, lr=1e-3, warmup_epochs=2))[2:].flatten()
    assert rates[0] == pytest.approx(1e-3)
    assert rates[len(rates) // 2] == pytest.approx(0.5e-3)
    assert 0 < rates[-1] < 1e-7
    assert (np.diff(rates) <= 0).all()


def test_cosine_per_epoch_is_constant_within_an_epoch():
    rates = curve(TrainConfig(epochs=30, lr=1e-3, warmup_epochs=2, cosine_per="epoch"))[2:]
    assert (rates == rates[:, :1]).all()
    weight = torch.nn.Parameter(torch.zeros(1))
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer := torch.optim.SGD([weight], 1e-3), T_max=30)
    for rate in rates[:, 0]:
        assert rate == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()
    assert rates[-1, 0] == pytest.approx(2.4e-5, rel=0.02), "it does not reach zero"


def test_the_authors_first_step_is_at_rate_zero():
    rates = curve(TrainConfig(epochs=30, lr=1e-3, warmup_epochs=2, cosine_per="epoch"))[:2].flatten()
    assert rates == pytest.approx([1e-3 * k / 20 for k in range(20)])


def test_the_cosine_of_epochs_by_hand():
    assert [cosine(0.1, epoch, 4) for epoch in (0, 2, 4)] == pytest.approx([0.1, 0.05, 0])
    assert cosine(0.1, 1, 3) == pytest.approx(0.075)


def test_no_warm_up_starts_at_the_peak():
    assert curve(TrainConfig(epochs=3, lr=1e-3, warmup_epochs=0))[0, 0] == pytest.approx(1e-3)


# Killed in the middle


def train_model(folder: Path, recipe: str) -> None:
    model, _ = train(replace(RECIPES[recipe], epochs=40), checkpoint=folder / "training.checkpoint")
    save_tensors(folder / "done.safetensors", model.state_dict())


def train_loss(folder: Path, recipe: str) -> None:
    method = make_method("meta_unlearn", {"epochs": 8, "simulated_n_ids": 3, "val_sample": 8})
    data = dict(zip(("train", "val"), some_data(), strict=True))
    checkpoint = folder / "preparing.checkpoint"
    found = method.prepare(small_vit(), data, generator=torch.Generator().manual_seed(5), checkpoint=checkpoint)
    save_tensors(folder / "done.safetensors", found.tensors, {"history": found.history.to_dict("records")})


RUNS = {"model": train_model, "loss": train_loss}
KILLED = [("model", "adamw"), ("model", "best"), ("loss", "")]


@pytest.fixture
def one_thread():
    """Sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
@pytest.mark.parametrize("what, recipe", KILLED)
def test_a_killed_run_goes_on_to_the_same_weights(tmp_path, one_thread, what, recipe):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    process = subprocess.Popen([sys.executable, "-W", "error", __file__, str(broken), what, recipe])
    while not list(broken.glob("*.checkpoint")):
        assert process.poll() is None, "the run ended before it wrote a checkpoint"
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (broken / "done.safetensors").exists()
    (checkpoint,) = broken.glob("*.checkpoint")
    seen = len(load_note(checkpoint)["history"])
    for folder in (whole, broken):
        RUNS[what](folder, recipe)
    assert len(load_note(checkpoint)["history"]) > seen
    uninterrupted, resumed = (load_tensors(folder / "done.safetensors") for folder in (whole, broken))
    assert uninterrupted.keys() == resumed.keys()
    assert all(torch.equal(value, resumed[name]) for name, value in uninterrupted.items())
    assert load_note(whole / "done.safetensors") == load_note(broken / "done.safetensors")


def test_a_finished_checkpoint_is_not_trained_again(tmp_path):
    checkpoint = tmp_path / "training.checkpoint"
    once, history = train(CONFIG, checkpoint=checkpoint)
    again, read = train(CONFIG, checkpoint=checkpoint)
    assert same_weights(once, again)
    assert read.equals(history)


if __name__ == "__main__":
    torch.set_num_threads(1)
    where, what, recipe = sys.argv[1:]
    RUNS[what](Path(where), recipe)


def test_validation_without_a_positive_leaves_a_gap_in_the_history_and_no_best_epoch():
    train, val = some_data()
    val = replace(val, targets=torch.zeros_like(val.targets))
    _, history = fit(small_vit(), train, val, replace(CONFIG, epochs=2), seed=5)
    assert history["val_score"].isna().all() and history["val_loss"].notna().all()
    with pytest.raises(UndefinedScore, match="no epoch is the best: train with keep='last'"):
        fit(small_vit(), train, val, replace(CONFIG, keep="best"), seed=5)
