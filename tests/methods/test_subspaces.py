"""Gram matrices and subspaces, against loops and the singular value decomposition of the stacked rows."""

import copy

import pytest
import torch
from tiny import same_weights, small_resnet, small_vit, tiny_faces
from torch import Tensor, nn

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import Output
from shui_lib.methods.parts.subspaces import (
    eigh,
    input_grams,
    input_rows,
    layers_of,
    leading,
    pixels_for,
    spectrum,
    stochastic,
    watching,
    without,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64)


class Small(nn.Module):
    """A convolution with stride and padding, batch norm, dropout, and a head; 6 pixels, float64."""

    image_size = 6

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.conv = nn.Conv2d(3, 2, (3, 2), stride=2, padding=(1, 0))
            self.norm = nn.BatchNorm2d(2)
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(2 * 3 * 3, 4)
        self.double().eval()

    def forward(self, x: Tensor) -> Output:
        features = self.dropout(self.norm(self.conv(x)).relu()).flatten(1)
        return Output(self.head(features), features)


def patches_by_hand(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Every patch of every image and group, cut out in loops."""
    (kh, kw), (sh, sw), (ph, pw), (dh, dw) = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    x = nn.functional.pad(x, (pw, pw, ph, ph))
    tall, wide = dh * (kh - 1) + 1, dw * (kw - 1) + 1
    return torch.stack(
        [
            part[:, top : top + tall : dh, left : left + wide : dw].flatten()
            for image in x
            for part in image.chunk(layer.groups)
            for top in range(0, image.shape[1] - tall + 1, sh)
            for left in range(0, image.shape[2] - wide + 1, sw)
        ]
    )


# Rows


def test_the_rows_of_a_linear_layer_are_its_tokens():
    x = random(2, 3, 5)
    rows = input_rows(nn.Linear(5, 4), x)
    assert torch.equal(rows, torch.stack([x[b, t] for b in range(2) for t in range(3)]))
    assert torch.equal(input_rows(nn.Linear(5, 4), x[0]), x[0])
    assert torch.equal(input_rows(nn.Linear(5, 4), x[0, 0]), x[0, :1])


CONVOLUTIONS = {
    "plain": {"kernel_size": 3},
    "strided": {"kernel_size": 3, "stride": 2, "padding": 1},
    "uneven": {"kernel_size": (3, 2), "stride": (2, 1), "padding": (0, 1), "dilation": (1, 2)},
    "pointwise": {"kernel_size": 1},
    "grouped": {"kernel_size": 3, "padding": 1, "groups": 2},
}


@pytest.mark.parametrize("options", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_the_rows_of_a_convolution_are_what_its_weight_meets(options):
    layer = nn.Conv2d(4, 6, bias=False, **options).double()
    x = random(2, 4, 7, 6)
    rows = input_rows(layer, x)
    by_hand = patches_by_hand(layer, x)
    torch.testing.assert_close(rows.T @ rows, by_hand.T @ by_hand)  # in any order
    if layer.groups == 1:
        answer = layer(x).permute(0, 2, 3, 1).flatten(0, 2)  # (R, out)
        torch.testing.assert_close(rows @ layer.weight.flatten(1).T, answer)


@pytest.mark.parametrize("options", [{"padding": "same"}, {"padding": 1, "padding_mode": "reflect"}])
def test_padding_that_cannot_be_unfolded_is_named(options):
    with pytest.raises(ValueError, match=r"Conv2d\(.*cannot be unfolded: give it a number of zeros"):
        input_rows(nn.Conv2d(3, 4, 3, **options), torch.zeros(1, 3, 5, 5))


# Gram matrices


def faces_of(model: nn.Module, identities: int = 6, **options) -> Faces:
    return tiny_faces(identities, size=model.image_size, **options)


def test_gram_matrices_by_hand():
    model, faces = Small(), tiny_faces(6, size=6)
    grams = input_grams(model, faces, generator=generator())
    x = faces.pixels().double()
    with torch.no_grad():
        patches, features = patches_by_hand(model.conv, x), model(x).features
    assert grams.keys() == {"conv", "head"}
    torch.testing.assert_close(grams["conv"], sum(torch.outer(a, a) for a in patches))
    torch.testing.assert_close(grams["head"], sum(torch.outer(a, a) for a in features))


@pytest.mark.parametrize("batch", [1, 7])
def test_streaming_equals_one_batch(batch):
    model, faces = Small(), tiny_faces(6, size=6)
    streamed = input_grams(model, faces, batch=batch, generator=generator())
    for name, gram in input_grams(model, faces, batch=1000, generator=generator()).items():
        torch.testing.assert_close(streamed[name], gram)


@pytest.mark.parametrize("make", [small_vit, small_resnet])
def test_every_linear_and_convolutional_layer_is_seen(make):
    model, faces = make(), faces_of(make())
    grams = input_grams(model, faces, generator=generator())
    weights = {n: p.flatten(1) for n, p in model.named_parameters() if n.endswith("weight") and p.ndim > 1}
    assert {f"{name}.weight" for name in grams} == set(weights)
    assert all(grams[name].shape == (weights[f"{name}.weight"].shape[1],) * 2 for name in grams)
    assert all(torch.equal(gram, gram.T) or (gram - gram.T).abs().max() < 1e-6 * gram.max() for gram in grams.values())
    assert all(gram.dtype == torch.float64 for gram in grams.values())


def test_a_vit_is_watched_at_every_token():
    model, seen = small_vit(), {}
    with watching(model, lambda name, rows: seen.update({name: rows})), torch.no_grad():
        model(torch.zeros(3, 3, 16, 16))
    assert {name: len(rows) for name, rows in seen.items() if ".blocks.0." in name} == {
        f"network.blocks.0.{name}": 3 * 5 for name in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
    }
    assert len(seen["network.head"]) == 3
    seen.clear()
    with torch.no_grad():
        model(torch.zeros(3, 3, 16, 16))
    assert not seen  # the hooks are gone


def test_the_model_given_stays_as_it_is():
    model = small_resnet().train()
    input_grams(model, faces_of(model), generator=generator())
    assert same_weights(model, small_resnet()) and model.training
    assert not any(module._forward_hooks for module in model.modules())


def test_dropout_is_drawn_and_batch_norms_keep_their_statistics():
    model = Small(dropout=0.5)
    before = copy.deepcopy(model.state_dict())
    with stochastic(model):
        assert model.dropout.training and not model.norm.training
        model(random(4, 3, 6, 6))
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_generator_draws_the_dropout_and_nothing_else_does():
    faces = tiny_faces(6, size=6)
    torch.manual_seed(1)
    one = input_grams(Small(dropout=0.5), faces, generator=generator(0))["head"]
    torch.manual_seed(2)
    again, other = (input_grams(Small(dropout=0.5), faces, generator=generator(seed))["head"] for seed in (0, 1))
    assert torch.equal(one, again) and not torch.allclose(one, other)
    assert torch.equal(*(input_grams(Small(), faces, generator=generator(seed))["head"] for seed in (0, 1)))


def test_pixels_fit_the_model():
    x = pixels_for(Small(), tiny_faces(6, size=16))
    assert x.shape[1:] == (3, 6, 6) and x.dtype == torch.float64


def test_subclasses_are_left_alone():
    class Other(nn.Linear):
        pass

    assert list(layers_of(nn.Sequential(nn.Linear(2, 2), Other(2, 2), nn.LayerNorm(2)))) == ["0"]


# Subspaces


def test_the_spectrum_is_the_singular_value_decomposition_of_the_rows():
    rows = random(20, 6) * torch.tensor([5.0, 3, 2, 1, 0.5, 0.1], dtype=torch.float64)
    values, directions = spectrum(rows.T @ rows)
    _, by_hand, v = torch.linalg.svd(rows, full_matrices=False)
    torch.testing.assert_close(values, by_hand)
    torch.testing.assert_close((directions.T @ v.T).abs(), torch.eye(6, dtype=torch.float64), atol=1e-7, rtol=0)


def test_inputs_that_are_always_zero_span_no_direction():
    rows = random(20, 6) * torch.tensor([1.0, 0, 1, 1, 0, 1], dtype=torch.float64)
    values, directions = spectrum(rows.T @ rows)
    assert values.shape == (4,) and directions.shape == (6, 4)
    assert not directions[[1, 4]].any()
    torch.testing.assert_close(directions @ values.square().diag() @ directions.T, rows.T @ rows)
    assert spectrum(torch.zeros(3, 3)).directions.shape == (3, 0)


def test_a_negative_eigenvalue_counts_as_nothing_or_by_its_size():
    turn = torch.linalg.qr(random(4, 4)).Q
    gram = turn @ torch.tensor([4.0, -9, 1, 0], dtype=torch.float64).diag() @ turn.T
    clamped, sized = spectrum(gram), spectrum(gram, magnitudes=True)
    torch.testing.assert_close(clamped.values, torch.tensor([2.0, 1, 0, 0], dtype=torch.float64), atol=1e-6, rtol=0)
    torch.testing.assert_close(sized.values, torch.tensor([3.0, 2, 1, 0], dtype=torch.float64), atol=1e-6, rtol=0)
    for found, column in ((clamped, 0), (sized, 1)):
        assert abs(found.directions[:, 0] @ turn[:, column]) == pytest.approx(1)


@pytest.mark.parametrize(("share", "k"), [(0.3, 0), (0.5, 1), (0.75, 2), (0.9, 3), (0.99, 3), (1.0, 4)])
def test_k_is_the_most_directions_within_the_share(share, k):
    assert leading(torch.tensor([4.0, 3, 2, 1], dtype=torch.float64), share) == k  # 0.4, 0.7, 0.9, 1.0


def test_where_nothing_was_seen_nothing_is_protected():
    assert leading(torch.zeros(3), 0.9) == 0
    assert leading(torch.zeros(0), 0.9) == 0


def test_the_projection_is_idempotent_and_symmetric():
    rows, gradient = random(20, 6), random(3, 6, seed=1)
    basis = spectrum(rows.T @ rows).directions[:, :4]
    projection = basis @ basis.T
    torch.testing.assert_close(projection @ projection, projection)
    torch.testing.assert_close(projection, projection.T)
    step = without(gradient, basis)
    torch.testing.assert_close(step, gradient - gradient @ projection)
    torch.testing.assert_close(without(step, basis), step)
    assert (step @ basis).abs().max() < 1e-12 < step.abs().max()
    assert torch.equal(without(gradient, basis[:, :0]), gradient)


@pytest.mark.parametrize("says_so", [True, False])
def test_eigenvectors_that_single_precision_does_not_find_are_found_in_double(monkeypatch, says_so):
    rows = random(20, 6).float()
    gram, solve = rows.T @ rows, torch.linalg.eigh

    def only_in_double(matrix: Tensor):
        if matrix.dtype != torch.float64 and says_so:
            raise torch.linalg.LinAlgError("failed to converge")
        values, vectors = solve(matrix)
        return values, vectors if matrix.dtype == torch.float64 else vectors * torch.nan

    monkeypatch.setattr(torch.linalg, "eigh", only_in_double)
    values, vectors = eigh(gram)
    assert values.dtype == vectors.dtype == torch.float32
    torch.testing.assert_close(vectors * values @ vectors.T, gram)
    assert spectrum(gram).values.dtype == torch.float32
