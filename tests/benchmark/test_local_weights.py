"""Pretrained weights out of a local file: all of them arrive, or the file is named."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from shui_lib.benchmark.models import FaceModel, build_model
from shui_lib.benchmark.presets import ModelConfig

KINDS = {
    "vit_tiny_patch16_224": {"embed_dim": 12, "depth": 2, "num_heads": 2},
    "resnet18": {"layers": [1, 1, 1, 1]},
    "face_resnet": {"width": 4, "blocks": 4},
}
LOST = {"vit_tiny_patch16_224": "blocks.1.mlp.fc1.weight", "resnet18": "layer1.0.conv1.weight"}
LOST["face_resnet"] = "blocks.2.conv1.weight"


def built(name: str, *, seed: int, weights: str | None = None, **options) -> FaceModel:
    options = KINDS[name] | options
    config = ModelConfig(architecture=name, options=options, pretrained=bool(weights), weights=weights)
    return build_model(config, n_outputs=3, image_size=112, seed=seed)


@pytest.fixture(params=KINDS)
def kept(request, tmp_path):
    """A network's name, and the file of its weights without a head."""
    path = tmp_path / "kept.safetensors"
    state = built(request.param, seed=7).network.state_dict()
    save_file({name: value for name, value in state.items() if not name.startswith(("head.", "fc."))}, path)
    return request.param, path


def test_every_weight_but_the_heads_comes_from_the_file(kept):
    name, path = kept
    here, there = (dict(built(name, seed=seed, weights=str(path)).network.named_parameters()) for seed in (0, 1))
    state = load_file(path)
    heads = set(here) - set(state)
    assert len(heads) == 2 and all(torch.equal(here[n], state[n]) for n in set(here) - heads)
    assert not any(torch.equal(here[n], there[n]) for n in heads if n.endswith("weight"))


def test_a_file_that_lacks_a_weight_is_refused(kept):
    name, path = kept
    state = load_file(path)
    del state[LOST[name]]
    save_file(state, path)
    with pytest.raises(ValueError, match=rf"kept.safetensors lacks 1 weights of {name}, {LOST[name]} for one"):
        built(name, seed=0, weights=str(path))


def test_what_a_batch_norm_has_counted_is_a_weight_too(tmp_path):
    state, path = built("resnet18", seed=7).network.state_dict(), tmp_path / "kept.safetensors"
    save_file({name: value for name, value in state.items() if name not in ("fc.weight", "bn1.running_var")}, path)
    with pytest.raises(ValueError, match="lacks 1 weights of resnet18, bn1.running_var for one"):
        built("resnet18", seed=0, weights=str(path))


@pytest.mark.parametrize(
    "odd", [torch.nan, torch.inf, torch.tensor(1e300, dtype=torch.float64), torch.tensor(1), torch.tensor(1j)]
)
def test_weights_that_are_not_real_and_finite_are_refused(kept, odd):
    name, path = kept
    state, first = load_file(path), LOST[name]
    of_kind = state[first].to(odd.dtype) if isinstance(odd, torch.Tensor) else state[first].clone()
    of_kind.flatten()[0] = odd
    save_file(state | {first: of_kind}, path)
    with pytest.raises(ValueError, match=rf"kept.safetensors(: {first} .* not real and finite| is damaged(.|\n)*real)"):
        built(name, seed=0, weights=str(path))


def test_the_head_is_new_whatever_the_file_has(tmp_path):
    for name in KINDS:
        path, network = tmp_path / f"{name}.safetensors", built(name, seed=7).network
        save_file(network.state_dict(), path)
        head = built(name, seed=0, weights=str(path)).network.get_classifier().weight
        assert not torch.equal(head, network.get_classifier().weight), name


@pytest.mark.parametrize("file", ["/some/where/vit.pth", "vit.pth", "here/vit", "mine"])
def test_only_weights_that_we_know_are_promised(file):
    with pytest.raises(FileNotFoundError, match="no weights at .*: give the path of a .safetensors file"):
        built("resnet18", seed=0, weights=file)


def test_the_weights_of_another_network_are_refused(kept, tmp_path):
    name, _ = kept
    other = tmp_path / "other.safetensors"
    save_file({"stem.bias": torch.zeros(3)}, other)
    with pytest.raises(ValueError, match=rf"other.safetensors (lacks \d+ weights of|is damaged, or not of) {name}"):
        built(name, seed=0, weights=str(other))


@pytest.mark.parametrize("bytes_left", [0, 7, 1000, -1])
def test_a_damaged_file_is_named_with_what_brings_it(kept, bytes_left):
    name, path = kept
    path.write_bytes(path.read_bytes()[:bytes_left])
    with pytest.raises(ValueError, match=rf"kept.safetensors is damaged, or not of {name} .*: give the weights"):
        built(name, seed=0, weights=str(path))


def test_weights_of_another_shape_are_refused(kept):
    name, path = kept
    state = load_file(path)
    state[LOST[name]] = torch.zeros(5, 5)
    save_file(state, path)
    with pytest.raises(
        ValueError, match=rf"kept.safetensors is damaged, or not of {name} (.|\n)*: give the weights of this"
    ):
        built(name, seed=0, weights=str(path))
