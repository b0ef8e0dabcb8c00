"""Curvature: the factors against a slow twin, and the step where the answer is known in closed form."""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product

import numpy as np
import pytest
import torch
from teaching import by_formula, exact, two_layers
from tiny import small_resnet, small_vit, tiny_faces
from torch import Tensor, nn

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import Output
from shui_lib.benchmark.predict import pixels_for, predict, probability_of_truth, task_loss
from shui_lib.methods import Given, make_method, settings_of
from shui_lib.methods.parts.copies import LOSSES
from shui_lib.methods.parts.kfac import (
    Factors,
    Preconditioner,
    kfac,
    sampled_targets,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Factors


@pytest.mark.parametrize("multilabel", [True, False])
def test_factors_are_what_a_loop_over_images_finds(multilabel):
    faces, model = tiny_faces(multilabel=multilabel), two_layers(3 if multilabel else 4)
    found = kfac(model, faces, generator=generator(), batch=len(faces))
    theta = {name: value.detach() for name, value in model.named_parameters()}
    x, _ = exact(faces)
    drawn = sampled_targets(by_formula(theta, x), multilabel=multilabel, generator=generator())
    sums = {name: [0.0, 0.0] for name in ("network.hidden", "network.head")}
    for image, target in zip(x, drawn, strict=True):
        a = torch.cat([image.flatten(), torch.ones(1)]).double()
        z = (theta["network.hidden.weight"] @ a[:-1] + theta["network.hidden.bias"]).requires_grad_()
        h = torch.cat([z.tanh(), torch.ones(1)])
        y = theta["network.head.weight"] @ h[:-1] + theta["network.head.bias"]
        loss = task_loss(y[None], target[None])
        for name, row, delta in zip(sums, (a, h), torch.autograd.grad(loss, (z, y)), strict=True):
            for k, v in enumerate((row.detach(), delta)):
                sums[name][k] = sums[name][k] + (3 if multilabel and k else 1) * torch.outer(v, v) / len(x)
    for name, (inputs, outputs) in sums.items():
        torch.testing.assert_close(found[name].inputs, inputs)
        torch.testing.assert_close(found[name].outputs, outputs)


@pytest.mark.parametrize("make", [small_vit, small_resnet])
def test_factors_do_not_depend_on_the_batch_and_have_a_layers_shape(make):
    model = make().double()
    torch.nn.init.normal_(model.network.get_classifier().weight, generator=generator())  # zero would stop gradients
    faces = tiny_faces(4, size=model.image_size)
    one, other = (kfac(model, faces, generator=generator(), batch=batch) for batch in (3, 64))
    for name, layer in model.named_modules():
        if name in one:
            out, d = len(layer.weight), layer.weight[0].numel() + (layer.bias is not None)
            assert (one[name].inputs.shape, one[name].outputs.shape) == ((d, d), (out, out))
            torch.testing.assert_close(one[name], other[name])
    assert {name.rpartition(".")[0] for name, p in model.named_parameters() if p.ndim in (2, 4)} <= one.keys()
    first, *_, last = one.values()  # not all: a ResNet's residual branches begin at zero
    assert first.outputs.any() and last.outputs.any()


class Grouped(nn.Module):
    """A convolution in three groups, then the mean over pixels, to three attributes, in float64."""

    def __init__(self):
        super().__init__()
        self.image_size = 5
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 6, 3, padding=1, groups=3).double()

    def forward(self, x: Tensor) -> Output:
        features = self.conv(x).tanh().mean((2, 3))
        return Output(features[:, ::2] - features[:, 1::2], features)


def test_groups_share_what_comes_in_and_not_what_goes_out():
    faces, model = tiny_faces(4, size=5), Grouped()
    found = kfac(model, faces, generator=generator(), batch=5)["conv"]
    x = pixels_for(model, faces)
    z = model.conv(x).detach().requires_grad_()
    features = z.tanh().mean((2, 3))
    logits = features[:, ::2] - features[:, 1::2]
    chance = generator()
    drawn = [sampled_targets(part, multilabel=True, generator=chance) for part in logits.detach().split(5)]
    targets = torch.cat(drawn)
    (delta,) = torch.autograd.grad(task_loss(logits, targets, reduction="none").sum(), z)  # (N, 6, 5, 5)
    padded = torch.nn.functional.pad(x, (1, 1, 1, 1))
    inputs, outputs = torch.zeros(10, 10).double(), torch.zeros(6, 6).double()
    for n, y, column, group in product(range(len(x)), range(5), range(5), range(3)):
        a = torch.cat([padded[n, group, y : y + 3, column : column + 3].flatten(), torch.ones(1).double()])
        inputs += torch.outer(a, a) / (len(x) * 25 * 3)
        own = delta[n, 2 * group : 2 * group + 2, y, column]
        outputs[2 * group : 2 * group + 2, 2 * group : 2 * group + 2] += torch.outer(own, own) * 3 / len(x)
    torch.testing.assert_close(found.inputs, inputs)
    torch.testing.assert_close(found.outputs, outputs)


@pytest.mark.parametrize("multilabel", [True, False], ids=["attributes", "classes"])
def test_factors_are_the_curvature_of_the_loss_that_is_used(multilabel):
    """The head's outputs: ∂²L/∂y² is diag(p(1 − p)) / K for a mean over K attributes, diag(p) − p pᵀ for a class."""
    faces, outputs = tiny_faces(400, (5, 5), multilabel=multilabel), 3 if multilabel else 4
    model = two_layers(outputs)
    found = kfac(model, faces, generator=generator())["network.head"].outputs
    y = by_formula(dict(model.named_parameters()), exact(faces)[0]).detach()
    p = y.sigmoid() if multilabel else y.softmax(1)
    sure = (p * (1 - p)).sum(1).mean() / (3 if multilabel else 1)
    assert found.trace().item() == pytest.approx(sure.item(), rel=0.05)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("multilabel", [True, False], ids=["attributes", "classes"])
def test_factors_agree_with_those_of_curvlinops(multilabel):
    """Other people's K-FAC of the same mean loss, whose Fisher information is exact where ours is sampled."""
    curvlinops = pytest.importorskip("curvlinops")
    faces = tiny_faces(400, (5, 5), multilabel=multilabel)
    model, x = two_layers(3 if multilabel else 4), exact(faces)[0]
    found = kfac(model, faces, generator=generator())["network.head"]
    plain = torch.nn.Sequential(torch.nn.Flatten(), model.network.hidden, torch.nn.Tanh(), model.network.head)
    loss = torch.nn.BCEWithLogitsLoss() if multilabel else torch.nn.CrossEntropyLoss()
    targets = faces.targets.double() if multilabel else faces.targets
    how = {"fisher_type": curvlinops.FisherType.TYPE2, "check_deterministic": False}
    theirs = curvlinops.KFACLinearOperator(plain, loss, [model.network.head.weight], [(x, targets)], **how)
    weights = model.network.head.weight.numel()
    dense = torch.as_tensor(theirs @ torch.eye(weights).double())
    ours = torch.kron(found.outputs, found.inputs[:-1, :-1].contiguous())
    assert (ours - dense).norm() < 0.1 * dense.norm()


def test_targets_are_drawn_as_often_as_the_model_says():
    logits = torch.tensor([0.2, 0.7, 0.1]).log().expand(20_000, 3)
    classes = sampled_targets(logits, multilabel=False, generator=generator())
    assert (classes.bincount() / 20_000).tolist() == pytest.approx([0.2, 0.7, 0.1], abs=0.01)
    targets = sampled_targets(
        torch.tensor([0.2, 0.7]).logit().expand(20_000, 2), multilabel=True, generator=generator()
    )
    assert targets.mean(0).tolist() == pytest.approx([0.2, 0.7], abs=0.01)


# Linear regression, where K-FAC is exact: the loss ½ Σ‖Wa − y‖² / N has the curvature E[a aᵀ] ⊗ 1


def regression() -> tuple[Tensor, Tensor, Tensor]:
    """Inputs (60, 5), the last being 1; targets (60, 3); W (3, 5) fitted to all."""
    x = torch.cat([torch.randn(60, 4, generator=generator()), torch.ones(60, 1)], dim=1).double()
    y = torch.randn(60, 3, generator=generator(1)).double()
    return x, y, fitted(x, y)


def fitted(x: Tensor, y: Tensor) -> Tensor:
    return torch.linalg.lstsq(x, y).solution.T


def removed(w: Tensor, gradient: Tensor, curvature: Tensor) -> Tensor:
    """W + H⁻¹ ∇ by the method's step, weight and bias apart, with hardly any damping."""
    parts = {"layer.weight": gradient[:, :-1], "layer.bias": gradient[:, -1]}
    held = Preconditioner({"layer": Factors(curvature, torch.eye(len(w)).double())}, damping=1e-18)(parts)
    return w + torch.cat([held["layer.weight"], held["layer.bias"][:, None]], dim=1)


def test_with_the_curvature_of_those_who_stay_a_linear_model_is_retrained_exactly():
    x, y, w = regression()
    asked, stay = slice(0, 10), slice(10, None)
    gradient = (x[asked] @ w.T - y[asked]).T @ x[asked]  # of the sum over the forget set
    exactly = removed(w, gradient, x[stay].T @ x[stay])
    torch.testing.assert_close(exactly, fitted(x[stay], y[stay]), atol=1e-6, rtol=1e-6)


def test_with_the_curvature_of_all_data_it_is_the_influence_function():
    x, y, w = regression()
    gradient = (x[:3] @ w.T - y[:3]).T @ x[:3]
    influence = w + gradient @ torch.linalg.inv(x.T @ x)
    torch.testing.assert_close(removed(w, gradient, x.T @ x), influence, atol=1e-6, rtol=1e-6)
    nearer = (influence - fitted(x[3:], y[3:])).norm() / (w - fitted(x[3:], y[3:])).norm()
    assert nearer < 0.25


class Regression(torch.nn.Module):
    """A linear model of 12 numbers of an image, its colours by quarter, with 3 outputs and in float64."""

    image_size = 16

    def __init__(self):
        super().__init__()
        self.head = torch.nn.Linear(12, 3).double()

    def rows(self, x: Tensor) -> Tensor:
        return torch.nn.functional.adaptive_avg_pool2d(x, 2).flatten(1)

    def forward(self, x: Tensor) -> Output:
        return Output(self.head(self.rows(x)), self.rows(x))

    def fitted(self, faces: Faces) -> Tensor:
        """W (3, 13), the last column being the bias, that the targets of these images make the best."""
        return fitted(self.augmented(faces), faces.targets.double())

    def augmented(self, faces: Faces) -> Tensor:
        rows = self.rows(faces.pixels().double())
        return torch.cat([rows, torch.ones(len(rows), 1)], dim=1)


def squared(logits: Tensor, targets: Tensor, *, reduction: str = "mean") -> Tensor:
    loss = 0.5 * (logits - targets).square().sum(1)
    return loss if reduction == "none" else loss.mean()


@pytest.mark.parametrize("batch", [7, 64])
def test_from_prepare_to_unlearn_a_linear_model_is_retrained_exactly(monkeypatch, batch):
    """The whole method on squared loss, which no data set here has, with the exact Fisher information: in place of
    sampling, noise around the answers whose second moment over the images is 1, that of a Gaussian."""
    faces, model = tiny_faces(), Regression()
    forget, stay = faces.of([0, 1]), faces.of(range(2, 12))
    noise = len(stay) ** 0.5 * torch.linalg.qr(torch.randn(len(stay), 3, generator=generator()).double()).Q
    batches = iter(noise.split(batch))
    monkeypatch.setattr("shui_lib.methods.parts.kfac.sampled_targets", lambda logits, **_: logits + next(batches))
    monkeypatch.setattr("shui_lib.methods.parts.kfac.task_loss", squared)
    monkeypatch.setattr("shui_lib.methods.curvature.kfac", partial(kfac, batch=batch))
    monkeypatch.setattr("shui_lib.methods.parts.kfac.averaged_over", lambda _: 1)  # squared loss is a sum
    monkeypatch.setitem(LOSSES, "task", squared)
    w = model.fitted(faces)
    model.load_state_dict({"head.weight": w[:, :-1], "head.bias": w[:, -1]})
    method = make_method("curvature", {"eta": len(forget) / len(stay), "damping": 1e-26, "copies": 0})
    artefacts = method.prepare(model, {"train": stay}, generator=generator())
    a = model.augmented(stay)
    torch.testing.assert_close(artefacts.tensors["head/inputs"], a.T @ a / len(stay))
    torch.testing.assert_close(artefacts.tensors["head/outputs"], torch.eye(3).double())
    after = method.unlearn(model, Given({"support": forget}), artefacts, generator=generator()).head
    found = torch.cat([after.weight, after.bias[:, None]], dim=1).detach()
    assert (w - model.fitted(stay)).norm() > 0.1
    torch.testing.assert_close(found, model.fitted(stay), atol=1e-8, rtol=1e-8)


# The step


def divided(gradient: Tensor, factors: Factors, *, damping: float) -> Tensor:
    """The gradient of one layer without a bias, divided by its curvature."""
    return Preconditioner({"layer": factors}, damping=damping)({"layer.weight": gradient})["layer.weight"]


@pytest.mark.parametrize("damping", [1e-3, 1e-1, 10.0])
def test_it_solves_with_damped_factors(damping):
    one, other = (m @ m.T for m in torch.randn(2, 6, 6, generator=generator()).double())
    factors = Factors(one, other[:4, :4])
    gradient = torch.randn(4, 6, generator=generator(1)).double()
    root = damping**0.5
    a = one + root * one.trace() / 6 * torch.eye(6)
    g = other[:4, :4] + root * other[:4, :4].trace() / 4 * torch.eye(4)
    step = divided(gradient, factors, damping=damping)
    torch.testing.assert_close(torch.kron(g, a.T.contiguous()) @ step.flatten(), gradient.flatten())


def test_much_damping_is_gradient_ascent_in_every_layer():
    model, faces = small_vit().double(), tiny_faces(6)
    support = faces[[0, 9]]
    method = make_method("curvature", {"damping": 1e12, "eta": 1e12, "copies": 0})
    known = method.prepare(model, {"train": faces}, generator=generator())
    after = dict(method.unlearn(model, Given({"support": support}), known, generator=generator()).named_parameters())
    ascent = method.gradient(model, support, generator=generator())
    layers = {key.rpartition("/")[0] for key in known.tensors}
    for name, before in model.named_parameters():
        step = after[name] - before
        if name.rpartition(".")[0] in layers:
            assert torch.cosine_similarity(step.flatten(), ascent[name].flatten(), dim=0) > 1 - 1e-6, name
        else:
            assert not step.any(), "norms and embeddings stay"


def test_damping_counts_in_mean_curvatures():
    one, other = (m @ m.T for m in torch.randn(2, 6, 6, generator=generator()).double())
    gradient = torch.randn(6, 6, generator=generator(1)).double()
    step = divided(gradient, Factors(one, other), damping=0.1)
    scaled = divided(gradient, Factors(1000 * one, other), damping=0.1)
    torch.testing.assert_close(1000 * scaled, step)


def test_a_layer_that_nobody_depends_on_stays():
    gradient = torch.ones(4, 6)
    assert not divided(gradient, Factors(torch.eye(6), torch.zeros(4, 4)), damping=0.1).any()


@pytest.mark.parametrize("method", ["curvature", "meta_unlearn"])
@pytest.mark.parametrize("damping", [0.0, -1.0, float("nan")])
def test_damping_that_is_not_above_zero_is_named(method, damping):
    with pytest.raises(ValueError, match=f"damping must be > 0, got {damping}"):
        make_method(method, {"damping": damping})


def test_too_little_damping_of_a_singular_factor_is_named_and_what_it_proposes_is_enough():
    rows = 30 * torch.randn(2, 96, generator=generator())
    known, gradient = Factors(rows.T @ rows, torch.eye(3)), {"layer.weight": torch.ones(3, 96)}
    with pytest.raises(ValueError, match=r"damping=0 is too little for layer, whose factors are singular") as raised:
        Preconditioner({"layer": known}, damping=0)
    least = float(re.search(r"at least (\S+)", str(raised.value))[1])
    assert Preconditioner({"layer": known}, damping=least)(gradient)["layer.weight"].isfinite().all()
    with pytest.raises(ValueError, match="damping=1e-18 is too little for layer"):
        Preconditioner({"layer": known}, damping=1e-18)


def test_too_little_damping_is_named_by_the_method_too():
    model, faces = small_vit(), tiny_faces(3)  # fewer images than the head has inputs
    method = make_method("curvature", {"damping": 1e-30})
    known = method.prepare(model, {"train": faces}, generator=generator())
    with pytest.raises(ValueError, match=r"damping=1e-30 is too little for network\."):
        method.unlearn(model, Given({"support": faces[[0]]}), known, generator=generator())


def test_copies_are_mirrored_and_averaged():
    model, faces = small_vit().double(), tiny_faces(6)
    support, mirrored = faces[[0, 9]], replace(faces, images=faces.images[:, :, ::-1])[[0, 9]]
    many = make_method("curvature", {"copies": 8, "crop": 1.0, "batch": 3})
    as_it_is = make_method("curvature", {"copies": 0})
    straight, other = (as_it_is.gradient(model, part, generator=generator()) for part in (support, mirrored))
    mean = flat(many.gradient(model, support, generator=generator()))
    way = flat(straight) - flat(other)
    share = (mean - flat(other)) @ way / way.square().sum()
    assert 0 < share < 1, "some copies are mirrored, some are not"


def flat(gradient: dict[str, Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in gradient.values()])


def test_the_step_forgets_the_support():
    model, faces = small_vit(), tiny_faces(6)
    support = faces[[0, 9]]
    method = make_method("curvature", {"eta": 1e-3})
    known = method.prepare(model, {"train": faces}, generator=generator())
    after = method.unlearn(model, Given({"support": support}), known, generator=generator())
    before, now = (task_loss(predict(m, support).logits, support.targets) for m in (model, after))
    assert now > before


@pytest.mark.parametrize("multilabel", [True, False])
def test_unlikelihood_is_steepest_where_the_model_is_right(multilabel):
    logits = torch.tensor([[2.0, -2.0, -2.0]], requires_grad=True)
    right, wrong = torch.tensor([[1.0, 0, 0]]), torch.tensor([[0.0, 1, 1]])
    if not multilabel:
        right, wrong = torch.tensor([0]), torch.tensor([1])
    slope = {name: [torch.autograd.grad(loss(logits, t), logits)[0].norm() for t in (right, wrong)]
             for name, loss in LOSSES.items()}  # fmt: skip
    assert slope["task"][0] < slope["task"][1] and slope["unlikelihood"][0] > slope["unlikelihood"][1]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("multilabel", [True, False])
def test_the_gradient_is_that_of_the_loss_asked_for_whatever_the_batch(multilabel, loss):
    faces, model = tiny_faces(6, multilabel=multilabel)[slice(0, 6)], small_vit(3 if multilabel else 4).double()
    method = make_method("curvature", {"loss": loss, "copies": 0, "batch": 4})
    found = method.gradient(model, faces, generator=generator())
    value = LOSSES[loss](model(pixels_for(model, faces)).logits, faces.targets)
    wanted = torch.autograd.grad(value, list(model.parameters()))
    for (name, gradient), expected in zip(found.items(), wanted, strict=True):
        torch.testing.assert_close(gradient, expected, msg=name)


class WithQuery(torch.nn.Module):
    """A network with a linear layer that sees no image but two queries, as attention pooling has."""

    def __init__(self, network: torch.nn.Module, ask: Callable):
        super().__init__()
        self.network, self.query, self.ask = network, torch.nn.Linear(2, 3, dtype=torch.float64), ask

    def forward(self, x: Tensor) -> Output:
        outputs = self.network(x)
        return outputs._replace(
            logits=outputs.logits + self.ask(self.query, torch.tensor([[1, 1], [0, 2]]).to(x), len(x))
        )

    @property
    def image_size(self) -> int:
        return self.network.image_size


ASK = {
    "for all": lambda layer, queries, _: layer(queries).sum(0),
    "one by one": lambda layer, queries, _: layer(queries[0]) + layer(queries[1]),
    "for every image": lambda layer, queries, batch: layer(queries.expand(batch, 2, 2)).sum(1),
}


@pytest.mark.parametrize("ask", ASK)
@pytest.mark.parametrize("batch", [1, 2, 5, 64])
def test_a_layer_that_sees_no_image_has_the_same_factors_whatever_the_batch(batch, ask):
    faces, model = tiny_faces(4), WithQuery(two_layers(3), ASK[ask])
    found = kfac(model, faces, generator=generator(), batch=batch)
    rows = torch.tensor([[1.0, 1, 1], [0, 2, 1]]).double()
    torch.testing.assert_close(found["query"].inputs, rows.T @ rows / 2)
    logits = model(pixels_for(model, faces)).logits.detach().requires_grad_()
    drawn = sampled_targets(logits.detach(), multilabel=True, generator=generator())
    (delta,) = torch.autograd.grad(task_loss(logits, drawn, reduction="none").sum(), logits)  # of both rows
    torch.testing.assert_close(found["query"].outputs, 3 * 2 * delta.T @ delta / len(faces))  # 3 attributes
    torch.testing.assert_close(found["network.network.head"].outputs, 3 * delta.T @ delta / len(faces))


@pytest.mark.parametrize("multilabel", [True, False])
def test_a_step_down_the_unlikelihood_makes_what_is_noted_improbable(multilabel):
    faces, model = tiny_faces(6, multilabel=multilabel), small_vit(3 if multilabel else 4)
    method = make_method("curvature", {"loss": "unlikelihood", "eta": 1e-4, "batch": 16})
    artefacts = method.prepare(model, {"train": faces}, generator=generator())
    changed = method.unlearn(model, Given({"support": faces}), artefacts, generator=generator())
    before, after = (probability_of_truth(predict(m, faces).logits, faces.targets).mean() for m in (model, changed))
    assert after < before


def test_an_unknown_loss_is_named():
    with pytest.raises(ValueError, match="loss='likely' is unknown: choose task or unlikelihood"):
        make_method("curvature", {"loss": "likely"})


def test_what_each_form_climbs():
    faces = tiny_faces(6)
    parts = {"support": faces[slice(0, 1)], "forget": faces[slice(1, None)]}
    climbed = {}
    for variant in ("", "forget-images", "one-trained"):
        method = make_method("curvature", {"variant": variant})
        climbed[variant] = method.climbed(Given(parts).only(method.needs), generator=generator()).rows.tolist()
    forget = parts["forget"]
    assert climbed[""] == [0] and climbed["forget-images"] == forget.rows.tolist()
    one = faces[np.array(climbed["one-trained"])]
    assert one.identity.tolist() == np.unique(forget.identity).tolist() and set(one.rows) <= set(forget.rows)
    other = make_method("curvature", {"variant": "one-trained"}).climbed(Given(parts), generator=generator(1))
    assert other.rows.tolist() != climbed["one-trained"]


def test_the_form_without_a_name_keeps_its_settings():
    assert "variant" not in settings_of(make_method("curvature"))
    assert settings_of(make_method("curvature", {"variant": "forget-images"}))["variant"] == "forget-images"
