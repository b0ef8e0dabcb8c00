"""Everything that computes moves to the card what it needs there, and no step of a hot path waits for the card."""

from collections import Counter

import pytest
import torch
from fake_card import CARD, a_card
from tiny import small_face_resnet, small_resnet, small_vit, tiny_faces
from tqdm import tqdm

from shui_lib.benchmark.predict import predict, query_losses
from shui_lib.benchmark.presets import TrainConfig
from shui_lib.benchmark.train import _one_epoch, make_optimizer
from shui_lib.methods import REGISTRY, Given, make_method
from shui_lib.methods.parts.kfac import kfac

NETWORKS = {"vit": (small_vit, 16), "resnet": (small_resnet, 32), "face_resnet": (small_face_resnet, 32)}
# By batch: draws of the curvature come from a generator of the processor, so that a seed says the same everywhere.
OF_A_BATCH = {"kfac": {"cpu": 1}, "predict": {"cpu": 2}, "query_losses": {"cpu": 1}}


def draws() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def waits_of(run, faces, monkeypatch) -> Counter[str]:
    with a_card(monkeypatch) as card:
        run(faces)
    return card.waits


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("network", NETWORKS)
def test_an_epoch_of_training_waits_once_for_the_card(network, optimizer, monkeypatch):
    build, size = NETWORKS[network]
    model, config = build(size=size).to(CARD), TrainConfig(optimizer=optimizer, batch=8, clip=1.0, bf16=True)
    for identities in (3, 12):
        faces = tiny_faces(identities, size=size)
        with a_card(monkeypatch) as card:
            _one_epoch(model, make_optimizer(model, config), faces, config, 0, draws(), tqdm(disable=True))
        assert card.waits == {"item": 1}


PASSES = {
    "predict": lambda model, faces: predict(model, faces, batch=8),
    "query_losses": lambda model, faces: query_losses(model, faces, batch=8, queries=1, crop=0.9, generator=draws()),
    "kfac": lambda model, faces: kfac(model, faces, batch=8, generator=draws()),
}


@pytest.mark.parametrize("name", PASSES)
def test_a_pass_over_the_data_waits_as_often_as_is_known(name, monkeypatch):
    model = small_vit().to(CARD)
    faces = tiny_faces(30)
    few, many = (waits_of(lambda part: PASSES[name](model, part), faces[slice(0, n)], monkeypatch) for n in (16, 48))
    assert many - few == {how: 4 * times for how, times in OF_A_BATCH[name].items()}


@pytest.mark.filterwarnings(
    "ignore:for .*copying from a non-meta parameter:UserWarning"
)  # nothing can be loaded to such a device
@pytest.mark.parametrize("name", REGISTRY)
def test_no_method_waits_more_often_for_more_images(name, monkeypatch):
    """`held_out` and the like are other settings of these methods; what they keep is moved back once."""
    takes = REGISTRY[name].__dataclass_fields__
    settings = {"micro_batch": 8, "batch": 8, "epochs": 1, "val_sample": 8, "simulated_n_ids": 2, "copies": 2}
    method = make_method(name, {key: value for key, value in settings.items() if key in takes})
    few, many = (
        waits_of(lambda part: serve(method, part), tiny_faces(4, (images, images)), monkeypatch) for images in (3, 6)
    )
    assert many == few


def serve(method, faces) -> None:
    """Prepare on all but two identities, and let these two ask."""
    model = small_vit().to(CARD)
    asking = sorted(set(faces.identity))[:2]
    rest = faces.of(sorted(set(faces.identity))[2:])
    kept = method.prepare(model, {part: rest for part in method.prepares_on}, generator=draws())
    given = {part: rest if part in ("retain", "val") else faces.of(asking) for part in method.needs}
    method.unlearn(model, Given(given), kept, generator=draws())


def test_what_is_left_on_the_processor_is_found(monkeypatch):
    model = small_vit().to(CARD)
    with a_card(monkeypatch), pytest.raises(RuntimeError, match="tensors of two devices"):
        model(tiny_faces(3).pixels())


def test_a_wait_is_found(monkeypatch):
    with a_card(monkeypatch) as card:
        x = torch.ones(3, device=CARD)
        assert not (x.sum() > 2) and not x.cpu().any() and x.max().item() == 0
        x[x > 0]
    assert card.waits["item"] == 2 and card.waits["cpu"] == 1 and card.waits["nonzero"] == 1
