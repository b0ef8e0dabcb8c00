"""FID's network: weights from a file, no download, no pickle."""

import pytest
import torch
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from shui_lib.core.store import CorruptFile, save_tensors
from shui_workbook.studies.gan import inception


class Untrained(FeatureExtractorInceptionV3):
    """As it is before weights are read."""

    def load_state_dict(self, *_):
        self.seen = True


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("inception") / "inception.safetensors"
    with inception.patch(inception.DOWNLOAD, lambda *_, **__: {}), torch.random.fork_rng():
        torch.manual_seed(0)
        save_tensors(path, Untrained("inception-v3-compat", ["2048"]).state_dict())
    return path


@pytest.fixture(autouse=True)
def nothing_is_unpickled(monkeypatch):
    def refused(*_, **__):
        raise AssertionError("unpickled or downloaded")

    monkeypatch.setattr(torch, "load", refused)
    monkeypatch.setattr(inception.DOWNLOAD, refused)


def test_features_come_from_the_file_and_follow_the_picture(weights):
    network = inception.Inception(weights)
    shown = torch.randint(256, (2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    x = shown / 127.5 - 1
    found = network.features(x)
    assert found.shape == (2, network.num_features) and found.dtype == torch.float32
    assert torch.isfinite(found).all() and (found[0] - found[1]).abs().mean() > 0.01 * found.mean()
    assert torch.equal(found, network.features(x + 1e-4)), "bytes, as FID's pictures are"
    assert not network.training and not any(value.requires_grad for value in network.parameters())


def test_other_weights_are_named(weights, tmp_path):
    save_tensors(tmp_path / "other.safetensors", {"weight": torch.zeros(3)})
    with pytest.raises(CorruptFile, match="does not hold the Inception network of FID"):
        inception.Inception(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError):
        inception.Inception(tmp_path / "none.safetensors")
