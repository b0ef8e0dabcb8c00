"""PGU against a transcription on two layers in float64, and what its two forms promise."""

import copy
import math

import numpy as np
import pytest
import torch
from tiny import small_vit, tiny_faces
from torch import Tensor, nn

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.metrics import score
from shui_lib.benchmark.models import FaceModel, Output, build_model
from shui_lib.benchmark.predict import predict, unlikelihood
from shui_lib.benchmark.presets import ModelConfig
from shui_lib.methods import Artefacts, Given, make_method
from shui_lib.methods.parts.subspaces import input_grams, input_rows, layers_of
from shui_lib.methods.pgu import PGU, negative_entropy, unlikelihood_by_index

VARIANTS = ("original", "one-shui")
PLAIN = {"gamma": 0.6, "lr": 0.05, "epochs": 3, "decay": 0.5}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Small(nn.Module):
    """A convolution and a head; 6 pixels, float64."""

    image_size = 6

    def __init__(self, n_outputs: int = 3, dropout: float = 0.0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(4 * 3 * 3, n_outputs)
        self.double().eval()

    def forward(self, x: Tensor) -> Output:
        features = self.dropout(self.conv(x).relu()).flatten(1)
        return Output(self.head(features), features)


def narrow_resnet() -> FaceModel:
    """ResNet-18 with fewer channels, whose residual branches are not zero at first: every layer has a gradient."""
    options = {"channels": (8, 8, 12, 16), "zero_init_last": False}
    config = ModelConfig(architecture="resnet18", options=options)
    return build_model(config, n_outputs=3, image_size=32, seed=0).eval()


def data(*, multilabel: bool = True, size: int = 6) -> dict[str, Faces]:
    """Two identities ask: their first images are the Support Set, which the training data lacks."""
    faces = tiny_faces(10, (4, 4), size=size, multilabel=multilabel)
    rows = np.arange(len(faces))
    support = np.array([0, 4])
    train = np.setdiff1d(rows[:32], support)
    parts = {"support": support, "train": train, "forget": train[train < 8], "val": rows[32:]}
    return {name: faces[index] for name, index in parts.items()}


def unlearned(
    method: PGU, model: nn.Module, parts: dict[str, Faces], *, seed: int = 0
) -> tuple[nn.Module, dict[str, Tensor]]:
    """The model that comes back, and the subspaces that were protected."""
    artefacts = method.prepare(model, parts, generator=generator())
    asked = parts["forget" if method.variant == "original" else "support"]
    bases = method.subspaces(model, asked, artefacts, generator=generator(seed))
    return method.unlearn(model, Given(parts).only(method.needs), artefacts, generator=generator(seed)), bases


@pytest.fixture
def never_stops(monkeypatch):
    monkeypatch.setattr(PGU, "_gap", lambda *_: -math.inf)


# The whole method


def by_hand(method: PGU, train: Tensor, asked: Tensor, targets: Tensor, rates: list[float]) -> dict[str, Tensor]:
    """Full-batch PGU on `Small`, with G as outer products, P as a matrix, and the loss of classes."""
    model = Small(4)
    rows = [(input_rows(model.conv, x), model(x).features.detach()) for x in (train, asked)]
    projections = {}
    for name, all_rows, gone in zip(("conv", "head"), *rows, strict=True):
        values, u = torch.linalg.eigh((all_rows.T @ all_rows - gone.T @ gone).double())
        energy = values.clamp(min=0) if method.variant == "original" else values.abs()
        share = energy.sqrt().sort(descending=True).values.cumsum(0) / energy.sqrt().sum()
        k = int((share <= method.gamma).sum()) + (method.variant == "one-shui")
        u = u[:, energy.argsort(descending=True)[:k]]
        projections[name] = u @ u.T
    for rate in rates:
        p = model(asked).logits.softmax(1)
        loss = -(1 - p[range(len(p)), targets] + 0.05).log().mean() + 0.2 * (p * p.log()).sum(1).mean()
        weights = {name: getattr(model, name).weight for name in projections}
        for (name, w), g in zip(weights.items(), torch.autograd.grad(loss, weights.values()), strict=True):
            w.data -= rate * (g.flatten(1) - g.flatten(1) @ projections[name]).view_as(w)
    return {name: value.detach() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("variant", VARIANTS)
def test_pgu_by_hand(variant, never_stops):
    method, parts = PGU(variant=variant, **PLAIN), data(multilabel=False)
    found, _ = unlearned(method, Small(4), parts)
    asked = parts["forget" if variant == "original" else "support"]
    rates = [0.05, 0.025, 0.0125] if variant == "original" else [0.05, 0.0375, 0.0125]  # cosine: 1, 3/4, 1/4
    expected = by_hand(method, parts["train"].pixels().double(), asked.pixels().double(), asked.targets, rates)
    tolerance = 1e-9 if variant == "original" else 1e-5  # one-shui's Gram matrices are float32
    for name, value in found.state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=tolerance, rtol=0)
        moved = (value - Small(4).state_dict()[name]).abs().max()
        assert moved > 1e-3 if name.endswith("weight") else moved == 0


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("make", [small_vit, narrow_resnet])
def test_weights_move_outside_the_subspace_and_all_else_is_frozen(variant, make, never_stops):
    model, tolerance = make().double(), 1e-10 if variant == "original" else 1e-4  # one-shui's bases are float32
    method = PGU(variant=variant, **{**PLAIN, "gamma": 0.9})
    found, bases = unlearned(method, model, data(size=model.image_size))
    before, after = model.state_dict(), found.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert moved == {f"{name}.weight" for name in layers_of(model)} == {f"{name}.weight" for name in bases}
    for name, basis in bases.items():
        basis = basis.double()
        change = (after[f"{name}.weight"] - before[f"{name}.weight"]).flatten(1)
        assert 0 < basis.shape[1] < len(basis)
        assert (basis.T @ basis - torch.eye(basis.shape[1])).abs().max() < tolerance
        assert (change @ basis).norm() < tolerance * change.norm(), name


def test_dropout_is_on_and_drawn_from_the_generator(monkeypatch):
    free = {"conv": torch.zeros(27, 0), "head": torch.zeros(36, 0)}
    monkeypatch.setattr(PGU, "subspaces", lambda *_, **__: free)  # their Gram matrices draw too

    def head(dropout: float, seed: int) -> Tensor:
        return unlearned(PGU(**PLAIN), Small(dropout=dropout), data(), seed=seed)[0].head.weight

    assert torch.equal(head(0.5, 3), head(0.5, 3))
    assert not torch.allclose(head(0.5, 3), head(0.5, 4))
    torch.testing.assert_close(head(0.0, 3), head(0.0, 4))  # but for the order of a sum


def test_batches_are_taken_one_after_another(never_stops):
    parts = data()
    single, halves = (unlearned(PGU(variant="original", batch=b, **PLAIN), Small(), parts)[0] for b in (128, 3))
    assert not torch.allclose(single.head.weight, halves.head.weight)


# Subspaces


@pytest.mark.parametrize("variant", VARIANTS)
def test_artefacts_are_the_gram_matrices_of_the_training_data(variant):
    """By hand: of the images as they are, and of patches two pixels apart, which is the stride."""
    model, parts, dtype = Small(), data(), torch.float64 if variant == "original" else torch.float32
    found = PGU(variant=variant).prepare(model, parts, generator=generator()).tensors
    x = parts["train"].pixels().double()
    corners = [(top, left) for top in (0, 2, 4) for left in (0, 2, 4)]
    padded = nn.functional.pad(x, (1, 1, 1, 1))
    rows = {"gram/conv": torch.cat([padded[:, :, top : top + 3, left : left + 3].flatten(1) for top, left in corners])}
    rows["gram/head"] = model(x).features.detach()
    assert found.keys() == rows.keys()
    for name, a in rows.items():
        assert found[name].dtype == dtype
        torch.testing.assert_close(found[name], (a.T @ a).to(dtype), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_copies_are_taken_out_of_the_gram_matrices(variant, monkeypatch):
    parts, asked = data(), []

    def looked(method, model, faces, artefacts, *, generator):
        asked.append(faces.pixels())
        return {}

    artefacts = PGU(variant=variant).prepare(Small(), parts, generator=generator())
    monkeypatch.setattr(PGU, "subspaces", looked)
    PGU(variant=variant, copies=4, epochs=0).unlearn(Small(), Given(parts), artefacts, generator=generator())
    (x,) = asked
    assert torch.equal(x, parts["forget" if variant == "original" else "support"].pixels())


def subspace(variant: str, left: Tensor, *, gamma: float = 0.75) -> Tensor:
    """What is protected of the conv layer if `left` remains of its Gram matrix once the images are taken out."""
    method, asked = PGU(variant=variant, gamma=gamma), data()["support"]
    gone = input_grams(Small(), asked, generator=generator())
    grams = {f"gram/{name}": gram for name, gram in gone.items()}
    grams["gram/conv"] = (gone["conv"] + left).to(method._dtype)
    return method.subspaces(Small(), asked, Artefacts(grams), generator=generator())["conv"]


def spectrum_of(*eigenvalues: float) -> Tensor:
    return torch.diag(torch.tensor(eigenvalues + (0.0,) * (27 - len(eigenvalues)), dtype=torch.float64))


def test_k_counts_the_share_of_singular_values_and_one_shui_one_more():
    left = spectrum_of(0, 1600, 0, 900, 400, 0, 100)  # singular values 40, 30, 20, 10: 0.4, 0.7, 0.9, 1 of the sum
    for variant, expected in (("original", [1, 3]), ("one-shui", [1, 3, 4])):
        basis = subspace(variant, left)
        assert basis.shape == (27, len(expected))
        torch.testing.assert_close(basis.abs().argmax(0), torch.tensor(expected))


def test_an_indefinite_difference_is_handled():
    left = spectrum_of(1600, -2500, 900, 400)  # more of direction 1 was taken out than there was
    original, one_shui = subspace("original", left), subspace("one-shui", left)
    assert original.abs().argmax(0).tolist() == [0]  # 40 of 90; with 30 it is 0.78
    assert one_shui.abs().argmax(0).tolist() == [1, 0, 2]  # 50, 90 of 140, and one more


def test_taking_out_more_than_there_was_stays_finite(never_stops):
    parts = data()
    turned = parts | {"train": parts["support"], "support": parts["train"], "forget": parts["train"]}
    for variant in VARIANTS:
        found, bases = unlearned(PGU(variant=variant, **PLAIN), Small(), turned)
        assert all(value.isfinite().all() for value in found.state_dict().values())
        assert all(basis.isfinite().all() for basis in bases.values())


# The course


def test_learning_rates():
    original = PGU(variant="original", lr=0.1, decay=0.5, epochs=4)
    assert [original.rate(epoch) for epoch in range(4)] == pytest.approx([0.1, 0.05, 0.025, 0.0125])
    one_shui = PGU(variant="one-shui", lr=0.1, epochs=4)
    cosine = [0.1, 0.05 * (1 + math.sqrt(0.5)), 0.05, 0.05 * (1 - math.sqrt(0.5))]
    assert [one_shui.rate(epoch) for epoch in range(4)] == pytest.approx(cosine)


@pytest.mark.parametrize(
    ("gaps", "kept"),
    [
        ([-0.3, -0.2, 0.1, 0.2], 3),  # crossed in the third epoch, which is closer than the second
        ([-0.3, -0.05, 0.1, 0.2], 2),  # the second was closer
        ([0.4, 0.5, 0.6, 0.7], 1),  # val was ahead from the start
        ([-0.3, -0.2, 0.0, -0.1], 4),  # never above
    ],
)
def test_the_original_stops_once_val_scores_above_the_images_to_forget(gaps, kept, monkeypatch):
    settings, parts, asked = {**PLAIN, "epochs": 4}, data(), []

    def gap(*_):
        asked.append(gaps[len(asked)])
        return asked[-1]

    monkeypatch.setattr(PGU, "_gap", gap)
    found, _ = unlearned(PGU(variant="original", **settings), Small(), parts)
    assert len(asked) == next((n for n, value in enumerate(gaps, 1) if value > 0), 4)
    monkeypatch.setattr(PGU, "_gap", lambda *_: -1.0)
    expected, _ = unlearned(PGU(variant="original", **{**settings, "epochs": kept}), Small(), parts)
    assert torch.equal(found.conv.weight, expected.conv.weight) and not found.training


def test_the_gap_is_between_scores_and_one_shui_never_asks():
    model, parts = small_vit(), data(size=16)
    scores = {part: score(predict(model, parts[part]).logits, parts[part].targets) for part in ("val", "forget")}
    assert scores["val"] != scores["forget"]
    assert PGU(variant="original")._gap(model, Given(parts)) == pytest.approx(scores["val"] - scores["forget"])
    assert PGU(variant="one-shui")._gap(model, Given({"support": parts["support"]})) == -math.inf


def test_needs_by_variant():
    assert make_method("pgu", {"variant": "original"}).needs == ("forget", "val")
    assert make_method("pgu", {"variant": "one-shui"}).needs == ("support",)
    assert make_method("pgu").prepares_on == ("train",)


# The loss

LOGITS = torch.tensor([[0.3, -1.2, 2.0], [1.0, 0.0, -0.5]], dtype=torch.float64)
ATTRIBUTES = torch.tensor([[0.0, 1, 1], [0, 0, 1]])
CLASSES = torch.tensor([2, 1])


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def test_the_loss_of_classes_by_hand():
    expected = 0.0
    for row, y in zip(LOGITS.tolist(), CLASSES.tolist(), strict=True):
        p = [math.exp(z) / sum(map(math.exp, row)) for z in row]
        expected += (-math.log(1 - p[y] + 0.05) + 0.2 * sum(q * math.log(q) for q in p)) / 2
    for variant in VARIANTS:
        assert PGU(variant=variant).loss(LOGITS, CLASSES).item() == pytest.approx(expected)


def test_the_right_loss_of_attributes_by_hand():
    forget = calm = 0.0
    for row, values in zip(LOGITS.tolist(), ATTRIBUTES.tolist(), strict=True):
        for z, y in zip(row, values, strict=True):
            p = sigmoid(z)
            forget += -math.log(1 - p + 0.05) / 6 if y else -math.log(p + 0.05) / 6
            calm += (p * math.log(p) + (1 - p) * math.log(1 - p)) / 6
    assert unlikelihood(LOGITS, ATTRIBUTES).item() == pytest.approx(forget)
    assert negative_entropy(LOGITS, each=True).item() == pytest.approx(calm)
    assert PGU(variant="original").loss(LOGITS, ATTRIBUTES).item() == pytest.approx(forget + 0.2 * calm)


def test_the_defective_loss_of_attributes_by_hand():
    forget = calm = 0.0
    for row, values in zip(LOGITS.tolist(), ATTRIBUTES.tolist(), strict=True):
        softmax = [math.exp(z) / sum(map(math.exp, row)) for z in row]
        forget += sum(-math.log(1 - sigmoid(row[int(y)]) + 0.05) for y in values) / 6
        calm += sum(p * math.log(p) for p in softmax) / 2
    assert unlikelihood_by_index(LOGITS, ATTRIBUTES).item() == pytest.approx(forget)
    assert negative_entropy(LOGITS).item() == pytest.approx(calm)
    assert PGU(variant="one-shui").loss(LOGITS, ATTRIBUTES).item() == pytest.approx(forget + 0.2 * calm)


def test_the_defective_loss_unlearns_the_first_two_attributes_only():
    logits, targets = torch.zeros(4, 6, requires_grad=True), torch.zeros(4, 6)
    targets[:, 3:] = 1
    (wrong,) = torch.autograd.grad(unlikelihood_by_index(logits, targets), logits)
    (right,) = torch.autograd.grad(unlikelihood(logits, targets), logits)
    assert (wrong[:, :2] > 0).all() and not wrong[:, 2:].any()  # descent makes attributes 0 and 1 less probable
    assert (right[:, 3:] > 0).all() and (right[:, :3] < 0).all()  # away from what is noted, everywhere


def test_descent_makes_the_answer_uncertain():
    logits = copy.deepcopy(LOGITS).requires_grad_()
    for each in (False, True):
        (gradient,) = torch.autograd.grad(negative_entropy(logits, each=each), logits)
        assert negative_entropy(LOGITS - 0.1 * gradient, each=each) < negative_entropy(LOGITS, each=each)
    assert negative_entropy(torch.zeros(2, 4)).item() == pytest.approx(-math.log(4))
    assert negative_entropy(torch.zeros(2, 4), each=True).item() == pytest.approx(-math.log(2))


def test_with_one_attribute_there_is_one_position_to_pay_for():
    logits, targets = torch.tensor([[0.3], [-1.2]]), torch.tensor([[1.0], [0.0]])
    expected = -(1 - logits.sigmoid() + 0.05).log().mean().item()
    assert unlikelihood_by_index(logits, targets).item() == pytest.approx(expected)
