"""Cosines between the gradient of a proxy and that of a person."""

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import prepare_tiny, small_vit, tiny_faces

from shui_lib.benchmark.predict import pixels_for, task_loss
from shui_lib.methods import make_method
from shui_workbook.studies.proxies import COLUMNS, COSINES, PROXIES, cosines, main


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some_people():
    faces = tiny_faces(4, (5, 5))
    first = np.arange(0, len(faces), 5)
    return faces[first], faces[np.setdiff1d(np.arange(len(faces)), first)]


def flat(gradients) -> torch.Tensor:
    return torch.cat([g.flatten() for g in gradients]).double()


def test_cosines_by_hand():
    support, forget = some_people()
    model, scale = small_vit(), {}
    for k, (name, value) in enumerate(model.named_parameters()):
        scale[name] = torch.full_like(value, 1.0 + k)
    precondition = lambda gradient: {name: g * scale[name] for name, g in gradient.items()}  # noqa: E731
    method = make_method("curvature")
    found = cosines(method, model, precondition, support=support, forget=forget, generator=generator())
    found = found.set_index(["identity", "proxy"])
    weight = flat(scale.values())

    def gradient(part):
        loss = task_loss(model(pixels_for(model, part)).logits, part.targets)
        return flat(torch.autograd.grad(loss, list(model.parameters())))

    goal = gradient(forget.of(np.array([2])))
    for proxy, part in (("photo", support[[2]]), ("someone else's photo", support[[3]])):
        g = gradient(part)
        expected = [(g @ goal) / (g.norm() * goal.norm())]
        expected += [((weight * g) @ (weight * goal)) / ((weight * g).norm() * (weight * goal).norm())]
        expected += [(g @ (weight * goal)) / ((g @ (weight * g)) * (goal @ (weight * goal))).sqrt()]
        assert found.loc[(2, proxy), COSINES].tolist() == pytest.approx([e.item() for e in expected], abs=1e-4)


def test_the_nearer_a_proxy_is_to_the_images_the_higher_its_cosine():
    support, forget = some_people()
    model, method = small_vit(), make_method("curvature")
    same = cosines(method, model, dict, support=support, forget=support, generator=generator())
    photo = same[same["proxy"] == "photo"]
    np.testing.assert_allclose(photo[COSINES], 1, atol=1e-6)
    found = cosines(method, model, dict, support=support, forget=forget, generator=generator())
    mean = found.groupby("proxy")["gradient"].mean()
    assert mean["three trained photos, which are among them"] > mean["one trained photo, which is one of them"]
    # without knowing anybody else
    alone = {name for name, proxy in PROXIES.items() if not proxy.filtered and not proxy.moved}
    assert set(found["proxy"]) == alone and len(found) == 4 * len(alone)


def test_a_trained_photo_is_compared_with_the_others_too():
    """Being one of them is no knowledge of them: with noise for people nothing is left of the cosine but chance."""
    support, forget = some_people()
    model, method = small_vit(), make_method("curvature")
    found = cosines(method, model, dict, support=support, forget=forget, generator=generator())
    mean = found.groupby("proxy")["gradient"].mean()
    assert mean["one trained photo, against the others"] < mean["one trained photo, which is one of them"]
    assert mean["three trained photos, against the others"] < mean["three trained photos, which are among them"]
    lone = forget[np.unique(forget.identity, return_index=True)[1]]  # one image to forget each: there are no others
    found = cosines(method, model, dict, support=support, forget=lone, generator=generator()).set_index("proxy")
    assert found.loc["one trained photo, against the others", COSINES].isna().all(axis=None)
    assert found.loc["one trained photo, which is one of them", "gradient"].tolist() == pytest.approx([1.0] * 4)


def test_one_person_has_nobody_to_be_held_against():
    support, forget = some_people()
    with pytest.raises(ValueError, match="give those of two or more"):
        cosines(make_method("curvature"), small_vit(), dict, support=support[[0]], forget=forget, generator=generator())
    with pytest.raises(SystemExit, match="--n-ids 1: give 2 or more"):
        main(["--dataset", "nowhere", "--n-ids", "1"])


def test_a_second_run_replaces_the_first(tmp_path):
    prepare_tiny(tmp_path / "data" / "tiny")
    told = ["--dataset", "tiny", "--n-ids", "2", "--reserved", "3", "--preset", "smoke", "--data-root"]
    told += [str(tmp_path / "data"), "--runs-root", str(tmp_path / "runs"), "--results", str(tmp_path / "found.csv")]
    main([*told, "--seeds", "0"])
    once = pd.read_csv(tmp_path / "found.csv")
    main([*told, "--seeds", "0"])
    assert list(once) == COLUMNS and len(once) == 2 * len(PROXIES)
    assert once[COSINES].abs().max().max() <= 1 + 1e-6
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "found.csv"), once)
