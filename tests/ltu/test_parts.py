from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import small_vit, tiny_faces
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import normalize

from shui_lib.ltu.harmonise import flat, harmonise, without
from shui_lib.ltu.membership import KINDS, Member, NoGuide, fit, guides, statistics
from shui_lib.ltu.networks import SIZES, build, of_half_width, train
from shui_lib.ltu.samplers import Samplers, class_means, nearest_free
from shui_workbook.studies.ltu_judge import gaps, taken_for_strangers
from shui_workbook.studies.ltu_measures import relearn_steps


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# Harmonising


def conflict():
    g = torch.randn(3, 7, generator=generator(), dtype=torch.float64)
    r = {"a": g[0], "b": g[1]}
    return r, {"a": g[2] - 2 * g[0], "b": -g[1]}


def test_what_is_left_of_forgetting_is_orthogonal():
    r, f = conflict()
    found = harmonise(r, f)
    kept = flat(found.gradient) - flat(r)
    assert found.cosine < 0 < found.removed
    assert abs(torch.dot(kept, flat(r))) < 1e-6
    again = harmonise(r, {"a": kept[:7], "b": kept[7:]})
    assert torch.allclose(flat(again.gradient), flat(found.gradient)), "it is idempotent"


def test_agreeing_and_zero_gradients_stay():
    r, _ = conflict()
    zero = {name: torch.zeros_like(value) for name, value in r.items()}
    assert torch.equal(flat(harmonise(r, r).gradient), 2 * flat(r))
    assert torch.equal(flat(harmonise(zero, r).gradient), flat(r))
    assert torch.equal(flat(harmonise(r, zero).gradient), flat(r))


def test_the_other_ways():
    r, f = conflict()
    added = flat(harmonise(r, f, way="none").gradient)
    assert torch.allclose(added, flat(r) + flat(f))
    both = flat(harmonise(r, f, way="both").gradient)
    assert torch.allclose(both, without(flat(r), flat(f)) + without(flat(f), flat(r)))
    layers = harmonise(r, f, way="layers").gradient
    assert all(torch.dot(layers[name] - r[name], r[name]).abs() < 1e-6 for name in r)
    with pytest.raises(ValueError, match="sideways"):
        harmonise(r, f, way="sideways")


# Samplers


def test_each_takes_the_nearest_free_one():
    pool = torch.tensor([[0.0], [1.0], [10.0]])
    assert sorted(nearest_free(torch.tensor([[0.1], [0.2]]), pool, generator=generator()).tolist()) == [0, 1]
    with pytest.raises(ValueError, match="2 images"):
        nearest_free(pool[:2], pool[:1], generator=generator())


def test_features_bring_nearer_images_than_chance_and_all_are_reproducible():
    faces, model = tiny_faces(20, multilabel=False), small_vit(4)
    from shui_lib.benchmark.predict import predict

    features = predict(model, faces).features
    asked, pool = slice(0, 12), slice(12, None)
    samplers = Samplers(features[pool], faces.targets[pool], classes=4)
    labels = faces.targets[asked]
    drawn = {n: samplers.draw(n, features[asked], labels, generator=generator(1)) for n in ("feat", "label", "rand")}
    for name, rows in drawn.items():
        assert len(set(rows.tolist())) == 12 and rows.max() < len(features[pool])
        assert torch.equal(rows, samplers.draw(name, features[asked], labels, generator=generator(1)))
    distance = torch.cdist(normalize(features[asked], dim=1), normalize(features[pool], dim=1))
    mean = {name: distance[torch.arange(12), rows].mean() for name, rows in drawn.items()}
    assert mean["feat"] < mean["rand"]
    right = (faces.targets[pool][drawn["label"]] == labels).float().mean()
    assert right > (faces.targets[pool][drawn["rand"]] == labels).float().mean()


def test_a_class_without_images_is_equally_near_to_all():
    means = class_means(torch.eye(2), torch.tensor([0, 1]), 3)
    assert torch.allclose(means, torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]))
    with pytest.raises(ValueError, match="words"):
        Samplers(torch.eye(2), torch.tensor([0, 1]), classes=2, vectors="words")


# Membership models


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_the_answers_and_the_model_is_frozen(kind):
    logits, targets = torch.randn(8, 4, generator=generator()), torch.arange(8) % 4
    member = fit(Member(kind, 4), (3 * logits, targets), (logits, targets), generator=generator())
    before = {name: value.clone() for name, value in member.state_dict().items()}
    member = member.double()
    z = logits.double().requires_grad_()
    loss = lambda z: bce(member(z, targets), torch.zeros(8, dtype=torch.float64))  # noqa: E731
    (slope,) = torch.autograd.grad(loss(z), z)
    way = torch.randn(8, 4, generator=generator(1), dtype=torch.float64)
    with torch.no_grad():
        steep = (loss(z + 1e-7 * way) - loss(z - 1e-7 * way)) / 2e-7
    assert (slope * way).sum().item() == pytest.approx(steep.item(), rel=1e-3, abs=1e-8)
    assert slope.abs().max() > 0
    assert not any(p.requires_grad for p in member.parameters())
    assert all(torch.equal(before[n], v.float()) for n, v in member.state_dict().items())


def test_statistics_are_what_they_are_called():
    p = torch.tensor([[0.7, 0.2, 0.1]])
    loss, most, entropy, modified, margin = statistics(p.log(), torch.tensor([1]))[0].tolist()
    values = np.array([0.7, 0.2, 0.1])
    assert loss == pytest.approx(-np.log(0.2), abs=1e-5) and most == pytest.approx(0.7)
    assert entropy == pytest.approx(-(values * np.log(values)).sum(), abs=1e-5)
    by_hand = -(1 - 0.2) * np.log(0.2) - 0.7 * np.log(1 - 0.7) - 0.1 * np.log(1 - 0.1)
    assert modified == pytest.approx(by_hand, abs=1e-5) and margin == pytest.approx(0.2 - 0.7)


def test_membership_models_of_a_model_that_remembers_nothing_are_refused():
    """An untrained network answers members and others alike."""
    faces, size = tiny_faces(40, multilabel=False), SIZES["smoke"]
    model = build(size.network, classes=4, image_size=16, seed=0).eval()
    order = torch.randperm(len(faces), generator=generator())
    inside, outside = order.chunk(2)
    with pytest.raises(NoGuide, match="AUC above 0.75"):
        shadow = (size.network, size.recipe)
        guides(model, faces[inside], faces[outside], shadow=shadow, least=0.75, generator=generator())


def test_half_the_channels():
    small = of_half_width(SIZES["cpu"].network)
    assert small.options["channels"] == tuple(c // 2 for c in SIZES["cpu"].network.options["channels"])
    assert of_half_width(SIZES["paper"].network).options["channels"] == (32, 64, 128, 256)


def test_the_papers_network_has_the_small_stem():
    model = build(SIZES["paper"].network, classes=10, image_size=32, seed=0)
    assert model.network.conv1.kernel_size == (3, 3) and model.network.conv1.stride == (1, 1)
    assert model.network.forward_features(torch.zeros(1, 3, 32, 32)).shape == (1, 512, 4, 4)
    assert sum(p.numel() for p in model.parameters()) == 11_173_962  # as counted for CIFAR ResNet-18 everywhere


def test_training_as_the_paper_crops_out_of_the_image_and_adds_no_rim():
    """Red climbs by a step a pixel to the right, green downwards: how steeply, in a crop, is its share of the side."""
    faces, seen, climb = tiny_faces(50, (5, 5), size=32, multilabel=False), [], np.arange(32, dtype=np.uint8)
    pictures = np.zeros_like(faces.images)
    pictures[..., 0], pictures[..., 1] = 8 * climb, 8 * climb[:, None]
    model = build(SIZES["smoke"].network, classes=4, image_size=32, seed=0)
    model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    recipe = replace(SIZES["paper"].recipe, epochs=1)
    train(model, replace(faces, images=pictures), recipe, generator=generator())
    red, green = (torch.cat(seen)[:, :2] * 127.5 / 8).unbind(1)
    wide, tall = (red[:, 16, 24] - red[:, 16, 8]) / 16, (green[:, 24, 16] - green[:, 8, 16]) / 16
    assert (wide < 0).float().mean().item() == pytest.approx(0.5, abs=0.1) and (tall > 0).all(), "half are mirrored"
    wide = wide.abs()
    share, ratio = wide * tall, wide / tall
    assert 0.639 < share.min() < 0.7 and 0.9 < share.max() < 1.001
    assert 0.749 < ratio.min() < 0.85 and 1.2 < ratio.max() < 1.334
    across = red.diff(dim=2).abs()
    assert (across[..., 1:-1] <= across[..., 15:16] + 1e-3).all(), "the climb is nowhere broken by a rim"


# Evaluation


def test_the_attack_learns_from_retain_and_test_alone(monkeypatch):
    from sklearn.svm import SVC

    import shui_workbook.studies.ltu_judge as judge

    taught = []

    class Watched(SVC):
        def fit(self, x, y):
            taught.append((x.copy(), list(y)))
            return super().fit(x, y)

    monkeypatch.setattr(judge, "SVC", Watched)
    retain, test = torch.linspace(0.9, 1, 30), torch.linspace(0, 0.3, 20)
    forget = torch.tensor([0.95, 0.96, 0.1, 0.12])
    assert taken_for_strangers(retain, test, forget) == 50.0
    ((x, y),) = taught
    assert y == [1] * 20 + [0] * 20
    assert np.allclose(x.ravel(), torch.cat([retain[:20], test]).double().numpy())
    assert not set(x.ravel().tolist()) & set(forget.double().tolist())


def test_gaps_are_distances():
    found = {"UA": 10.0, "RA": 90.0, "TA": 70.0, "MI": 20.0}
    goal = {"UA": 20.0, "RA": 88.0, "TA": 73.0, "MI": 15.0}
    told = gaps(found, goal)
    assert [told[m] for m in ("UA", "RA", "TA", "MI")] == [10, 2, 3, 5] and told["gap"] == 5
    assert told["tow"] == pytest.approx(100 * 0.98 * 0.9 * 0.97)
    assert gaps(goal, goal)["gap"] == 0 and gaps(goal, goal)["tow"] == 100


def test_relearning_counts_steps():
    faces, model = tiny_faces(8, multilabel=False), small_vit(4)
    assert relearn_steps(model, faces, target=0.0, generator=generator()) == 0
    assert relearn_steps(model, faces, target=1.01, generator=generator(), most=3) == 3
