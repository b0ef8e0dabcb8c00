"""Predictions and the attack's queries: in order, in float32 whatever the model computes in, and of the same views."""

import pytest
import torch
from tiny import small_vit, tiny_faces

from shui_lib.benchmark import predict as module
from shui_lib.benchmark import train
from shui_lib.benchmark.predict import predict, probability_of_truth, query_losses, task_loss, unlikelihood
from shui_lib.benchmark.presets import TrainConfig


def asked(model, faces, *, seed: int = 0, **options) -> torch.Tensor:
    chance = torch.Generator().manual_seed(seed)
    return query_losses(model, faces, **{"queries": 2, "crop": 0.5, "generator": chance} | options)


def test_predictions_are_those_of_the_model_in_order_of_the_images():
    faces, model = tiny_faces(), small_vit()
    found = predict(model, faces, batch=7)
    with torch.no_grad():
        whole = model(faces.pixels())
    torch.testing.assert_close(found.logits, whole.logits, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found.features, whole.features, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("bf16", [False, True])
def test_logits_are_float32_whatever_the_model_computes_in(bf16):
    found = predict(small_vit(), tiny_faces(), bf16=bf16)
    assert found.logits.dtype == found.features.dtype == torch.float32


@pytest.mark.parametrize("multilabel", [True, False])
def test_a_loss_is_taken_of_float32_logits(monkeypatch, multilabel):
    """bfloat16 has three digits: a loss computed in it has steps, and an attack that compares losses sees ties."""
    kinds = set()

    def watched(logits, *rest, **options):
        kinds.add(logits.dtype)
        return task_loss(logits, *rest, **options)

    monkeypatch.setattr(module, "task_loss", watched)
    monkeypatch.setattr(train, "task_loss", watched)
    faces, config = tiny_faces(multilabel=multilabel), TrainConfig(epochs=1, bf16=True)
    model = small_vit(n_outputs=len(faces.classes))
    asked(model, faces, bf16=True)
    train.fit(model, faces, faces, config, seed=0)
    assert kinds == {torch.float32}


def test_queries_are_the_task_loss_of_each_image_in_several_views():
    faces, model = tiny_faces(), small_vit()
    found = asked(model, faces, crop=1.0, queries=3)
    assert found.shape == (3, len(faces)) and not torch.equal(found[0], found[1])
    plain = task_loss(predict(model, faces).logits, faces.targets, reduction="none")
    mirrored = task_loss(model(faces.pixels().flip(3)).logits.detach(), faces.targets, reduction="none")
    near = torch.minimum((found - plain).abs(), (found - mirrored).abs())  # crops of the whole but for their ratio
    assert near.median() < 0.02


def test_models_asked_with_equal_generators_see_the_same_views():
    faces, model = tiny_faces(), small_vit()
    assert torch.equal(asked(model, faces, batch=256), asked(model, faces, batch=256))
    assert not torch.equal(asked(model, faces), asked(model, faces, seed=1))


def test_losses_by_hand():
    logits = torch.tensor([[0.0, 2.0]])
    attributes, classes = torch.tensor([[1.0, 0.0]]), torch.tensor([1])
    mean = (0.693147 + 2.126928) / 2  # log 2 and log(1 + e²)
    assert task_loss(logits, attributes, reduction="none").tolist() == pytest.approx([mean])
    assert task_loss(logits.repeat(3, 1), attributes.repeat(3, 1), reduction="sum").item() == pytest.approx(3 * mean)
    assert task_loss(logits, classes).item() == pytest.approx(0.126928)  # log(1 + e⁻²)
    assert probability_of_truth(logits, attributes)[0].tolist() == pytest.approx([0.5, 0.119203])
    assert probability_of_truth(logits, classes)[0].tolist() == pytest.approx([0.880797])
    # −log(1 − p + 0.05) of 0.5 and 0.1192, and of 0.8808
    assert unlikelihood(logits, attributes).item() == pytest.approx((0.597837 + 0.071716) / 2, abs=1e-5)
    assert unlikelihood(logits, classes).item() == pytest.approx(1.776658, abs=1e-5)
