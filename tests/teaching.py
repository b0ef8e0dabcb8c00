"""A two-layer network in float64 and what else the tests of SCRUB and Bad Teacher share."""

import pytest
import torch
from tiny import tiny_faces
from torch import Tensor, nn

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.methods import Artefacts, Given, Method


class TwoLayers(nn.Module):
    """Images of 16 pixels, through four hidden units, to K outputs."""

    def __init__(self, n_outputs: int):
        super().__init__()
        self.hidden, self.head = nn.Linear(3 * 16 * 16, 4), nn.Linear(4, n_outputs)

    def forward_features(self, x: Tensor) -> Tensor:
        return self.hidden(x.flatten(1)).tanh()

    def forward_head(self, x: Tensor, *, pre_logits: bool) -> Tensor:
        return x

    def get_classifier(self) -> nn.Module:
        return self.head


def two_layers(n_outputs: int = 3) -> FaceModel:
    torch.manual_seed(0)
    return FaceModel(TwoLayers(n_outputs), 16).double().eval()


def by_formula(theta: dict[str, Tensor], x: Tensor) -> Tensor:
    """What the two layers say."""
    w, b, v, c = (theta[f"network.{name}"] for name in ("hidden.weight", "hidden.bias", "head.weight", "head.bias"))
    return (x.flatten(1) @ w.T + b).tanh() @ v.T + c


def softmax_kl(student: Tensor, teacher: Tensor, t: float) -> Tensor:
    """KL(teacher ‖ student), mean over images."""
    p, q = (teacher / t).softmax(1), (student / t).softmax(1)
    return (p * (p / q).log()).sum(1).mean()


def request(multilabel: bool = True) -> Given:
    """Two identities of twelve ask."""
    faces = tiny_faces(multilabel=multilabel)
    return Given({"forget": faces.of([0, 1]), "retain": faces.of(range(2, 12))})


def exact(faces: Faces) -> tuple[Tensor, Tensor]:
    return faces.pixels().double(), faces.targets


def unlearned(method: Method, model: FaceModel, given: Given) -> FaceModel:
    return method.unlearn(model, given, Artefacts(), generator=torch.Generator().manual_seed(0))


def assert_close(model: FaceModel, theta: dict[str, Tensor]) -> None:
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.detach(), theta[name].detach(), atol=1e-9, rtol=1e-9)


def passes(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The images of every batch that is looked at from now on, by their position in the data set."""
    seen, pixels = [], Faces.pixels
    monkeypatch.setattr(Faces, "pixels", lambda faces, **how: seen.append(sorted(faces.rows)) or pixels(faces, **how))
    return seen
