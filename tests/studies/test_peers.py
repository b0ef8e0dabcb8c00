"""Measures of other papers: known values at the ends, a second way to the same number, and what they must refuse."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import special_ortho_group
from tiny import prepare_tiny, small_resnet, small_vit, tiny_faces

from data_prep import faces as rendered
from shui_lib.benchmark.predict import pixels_for, predict, task_loss
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies import peers


def logits(seed, n=5, k=3):
    return 3 * torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_jensen_shannon_agrees_with_scipy():
    a, b = logits(0), logits(1)
    classes = peers.jensen_shannon(a, b, multilabel=False)
    theirs = [jensenshannon(p, q, base=2) ** 2 for p, q in zip(a.softmax(1), b.softmax(1), strict=True)]
    np.testing.assert_allclose(classes, theirs, rtol=1e-8)
    attributes = peers.jensen_shannon(a, b, multilabel=True)
    p, q = (np.stack([z.sigmoid(), 1 - z.sigmoid()], -1) for z in (a, b))
    theirs = [[jensenshannon(p[n, k], q[n, k], base=2) ** 2 for k in range(3)] for n in range(5)]
    np.testing.assert_allclose(attributes, np.mean(theirs, axis=1), rtol=1e-8)


def test_zrf_is_one_for_the_same_answers_and_near_zero_for_opposite_ones():
    far = torch.tensor([[50.0, -50.0], [-50.0, 50.0]])
    for multilabel in (True, False):
        assert peers.zrf(logits(0), logits(0), multilabel=multilabel) == pytest.approx(1)
        assert peers.zrf(far, -far, multilabel=multilabel) == pytest.approx(0, abs=1e-6)


def test_over_forgotten_counts_images_that_are_known_less_than_by_the_retrained_model():
    targets = torch.tensor([[1, 0, 1]] * 4)
    retrained = torch.zeros(4, 3)
    answers = torch.tensor([[1.0, -1, 1], [-1, 1, -1], [-2, 0, 0], [0, 0, 3]])
    assert peers.over_forgotten(answers, retrained, targets) == 0.5


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawn")
    rendered.prepare(folder / "few", identities=24, size=24, seed=3, first_identity=5, fewest=5, most=7)
    return Experiment(dataset="few", n_ids=2, preset="smoke", data_root=folder, runs_root=folder / "runs")


def test_near_doubles_are_the_same_photos_a_moment_later(drawn):
    asking = drawn.part("forget")
    exactly = peers.near_doubles(drawn, change=0)
    assert torch.equal(exactly.pixels(), asking.pixels()), "of the right person and the right photo"
    doubles = peers.near_doubles(drawn)
    assert torch.equal(doubles.targets, asking.targets) and (doubles.identity == asking.identity).all()
    apart = (doubles.pixels()[:, None] - asking.pixels()[None]).abs().mean((2, 3, 4))  # to every photo
    assert (apart.argmin(1) == torch.arange(len(asking))).all() and (apart.diagonal() > 0).all()


def test_photos_that_were_not_drawn_have_no_near_doubles(tmp_path):
    prepare_tiny(tmp_path / "tiny")
    other = Experiment(dataset="tiny", n_ids=2, preset="smoke", data_root=tmp_path, runs_root=tmp_path / "runs")
    assert peers.near_doubles(other) is None


def test_relearning_counts_its_steps_and_leaves_the_model_alone():
    model, photos = small_vit(), tiny_faces()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    def better(now):
        return task_loss(predict(now, photos).logits, photos.targets) < 0.6

    assert peers.relearn_steps(model, photos, lambda now: True) == 0
    steps = peers.relearn_steps(model, photos, better, lr=1e-2)
    assert 1 < steps < 30
    assert peers.relearn_steps(model, photos, better, lr=1e-2, most=steps - 1) == np.inf
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_cka_does_not_see_rotations_and_scales_and_sees_the_rest():
    x = torch.randn(40, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turn = torch.from_numpy(special_ortho_group(6, seed=0).rvs())
    assert peers.cka(x, 3 * x @ turn + 5) == pytest.approx(1)
    gram = [f @ f.T for f in (x - x.mean(0), x[:, :2] - x[:, :2].mean(0))]  # the other way: by images
    assert peers.cka(x, x[:, :2]) == pytest.approx(((gram[0] * gram[1]).sum() / gram[0].norm() / gram[1].norm()).item())
    with pytest.raises(ValueError, match="same for every image"):
        peers.cka(x, torch.ones(40, 2))


@pytest.mark.parametrize("model", [small_vit(), small_resnet(size=16)], ids=["vit", "resnet"])
def test_every_block_says_something_of_every_image(model):
    faces = tiny_faces()
    found = peers.block_features(model, faces, batch=7)
    assert len(found) >= 2
    assert all(f.ndim == 2 and len(f) == len(faces) for f in found.values())
    assert not any(module._forward_hooks for module in model.modules())


def test_klom_of_histograms_by_hand():
    unlearned = np.array([[0.0], [1.0], [1.2], [20.0]])  # 20 bins of 1: 1/4, 2/4, and 1/4 in the last
    retrained = np.array([[0.5], [0.6], [1.1], [5.0]])  # 2/4, 1/4, none in the last, 1/4 elsewhere
    wanted = 1 / 4 * np.log(1 / 2) + 1 / 2 * np.log(2) + 1 / 4 * np.log(1 / 4 / peers.EMPTY)
    known = 1 + peers.EMPTY  # they are made a distribution again
    np.testing.assert_allclose(peers.klom(unlearned, retrained), wanted + np.log(known), rtol=1e-9)
    np.testing.assert_allclose(peers.klom(unlearned, unlearned), 0, atol=1e-12)
    far = np.array([[-1e9], [0.0], [1e9]])
    np.testing.assert_allclose(peers.klom(far, np.sign(far) * 100), 0, atol=1e-12)  # clipped
    with pytest.raises(ValueError, match="three or more"):
        peers.klom(unlearned[:2], retrained)


def test_klom_of_normals_and_both_floors_with_ten_trainings():
    chance = np.random.default_rng(0)
    one, other, far = (chance.normal(mean, 1, (2000, 3)) for mean in (0, 0, 2))
    np.testing.assert_allclose(peers.klom(one, other, bins=None), 0, atol=0.01)
    np.testing.assert_allclose(peers.klom(far, other, bins=None), 2, atol=0.25)
    few = chance.normal(0, 1, (2, 10, 500))
    assert np.median(peers.klom(*few, bins=None)) > 0.05
    assert np.median(peers.klom(*few)) > 2, "most bins of a histogram of ten are empty"
    with pytest.raises(ValueError, match="three or more"):
        peers.klom(one[:2], other, bins=None)


def test_flops_count_a_product_of_matrices():
    a, b = torch.ones(3, 4), torch.ones(4, 5)
    assert peers.flops(lambda: a @ b) == 2 * 3 * 4 * 5
    model, faces = small_vit(), tiny_faces()
    forward = peers.flops(lambda: model(pixels_for(model, faces)))
    assert peers.flops(lambda: model(pixels_for(model, faces)).logits.sum().backward()) > 2 * forward
