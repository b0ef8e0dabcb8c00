"""Which networks can be built: one head, a name that timm has."""

import pytest
import timm
import torch

from shui_lib.benchmark.models import SEVERAL_HEADS, build_model
from shui_lib.benchmark.presets import ModelConfig


@pytest.mark.parametrize("word", SEVERAL_HEADS)
def test_a_network_with_several_heads_is_refused_before_it_is_built(monkeypatch, word):
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: pytest.fail("it was built"))
    names = [name for name in timm.list_models() if word in name]
    assert names
    for name in names:
        config = ModelConfig(architecture=name, pretrained=True)
        with pytest.raises(ValueError, match=f"{name} answers with several heads: take a network with one"):
            build_model(config, n_outputs=3, image_size=32, seed=0)


def test_a_name_that_timm_does_not_have_is_refused():
    with pytest.raises(ValueError, match="timm has no network 'vit_tiny_patch17_224'"):
        build_model(ModelConfig(architecture="vit_tiny_patch17_224"), n_outputs=3, image_size=32, seed=0)


@pytest.mark.parametrize(
    ("name", "size"), [("resnet18", 32), ("resnet18.a1_in1k", 32), ("mobilenetv3_small_050", 32), ("face_resnet", 112)]
)
def test_networks_with_one_head_answer(name, size):
    model = build_model(ModelConfig(architecture=name), n_outputs=3, image_size=size, seed=0).eval()
    x = torch.zeros(2, 3, size, size)
    assert torch.equal(model(x).logits, model.network(x))
