"""The authors' rehearsals: people with one image, and an objective that is a mean over batches."""

import numpy as np
import pytest
import torch
from test_methods import SMALL, generator, only, parts_of
from tiny import small_vit, tiny_faces
from torch.func import functional_call

from shui_lib.benchmark.metrics import score
from shui_lib.benchmark.predict import predict, task_loss
from shui_lib.benchmark.splits import simulated_requests
from shui_lib.methods import make_method
from shui_lib.methods.parts.meta_gradient import parameters
from shui_lib.methods.parts.objectives import (
    Alignment,
    MetaBatch,
    alignment_objective,
    alignment_with_gradient,
    mean_over_batches,
)
from shui_lib.methods.parts.rehearsals import rehearsals

WHO = np.array([3, 3, 5, 7, 7, 7, 9])  # 5 and 9 have one image


def test_people_with_one_image_hand_in_the_image_that_is_to_be_forgotten():
    seen = {}
    for support, forget in rehearsals(WHO, np.unique(WHO), n_ids=2, generator=generator(), lone=True):
        for row in support:
            seen[WHO[row]] = (row, [r for r in forget if WHO[r] == WHO[row]])
    assert set(seen) == {3, 5, 7, 9}
    assert seen[5] == (2, [2]) and seen[9] == (6, [6]), "support = forget"
    assert all(row not in rest for who, (row, rest) in seen.items() if who in (3, 7))
    assert len(seen[7][1]) == 2


def test_without_them_it_is_the_usual_epoch():
    found, usual = (
        [(s.tolist(), f.tolist()) for s, f in epoch]
        for epoch in (
            rehearsals(WHO, np.unique(WHO), n_ids=2, generator=generator(), lone=False),
            simulated_requests(WHO, np.unique(WHO), n_ids=2, generator=generator()),
        )
    )
    assert found == usual


def known_of(model) -> MetaBatch:
    forget, val = tiny_faces(5, (6, 6)), tiny_faces(6, (6, 6), seed=1)
    return MetaBatch(forget, val, predict(model, val).logits)


SIZE = {"size": {"micro_batch": 64, "bf16": False}, "detached": True, "accuracy_factor": True}


def test_the_mean_over_batches_has_scores_of_its_own_for_each():
    model, other = small_vit(), small_vit(seed=1)
    theta, known = {k: v.requires_grad_() for k, v in parameters(other).items()}, known_of(model)
    values = []
    for k in range(2):  # 30 images to forget, 16 and 14; their partners 16 and 16 of 36
        f, v = (part[slice(16 * k, 16 * k + 16)] for part in (known.forget, known.val))
        logits_f, logits_v = (functional_call(model, theta, (part.pixels(),)).logits for part in (f, v))
        logits_0 = known.val_logits[16 * k : 16 * k + 16]
        pairs = ((logits_f, f), (logits_v, v), (logits_0, v))
        losses = (task_loss(logits, part.targets) for logits, part in pairs)
        scores = (score(logits.detach(), part.targets) for logits, part in pairs)
        values.append(alignment_objective(Alignment(*losses, *scores)))
    by_hand = (16 * values[0] + 14 * values[1]) / 30
    gradient = torch.autograd.grad(by_hand, list(theta.values()), allow_unused=True, materialize_grads=True)
    plain = {name: value.detach() for name, value in theta.items()}
    found = mean_over_batches(model, plain, known, batch=16, **SIZE)
    torch.testing.assert_close(found.value, by_hand.detach())
    for name, g in zip(theta, gradient, strict=True):
        torch.testing.assert_close(found.gradient[name], g, atol=1e-7, rtol=1e-4)


def test_one_batch_is_the_objective_of_all_images_and_several_are_not():
    model = small_vit()
    theta, known = parameters(small_vit(seed=1)), known_of(model)
    whole = alignment_with_gradient(model, theta, known, **SIZE)
    torch.testing.assert_close(mean_over_batches(model, theta, known, batch=64, **SIZE).value, whole.value)
    assert mean_over_batches(model, theta, known, batch=8, **SIZE).value != pytest.approx(float(whole.value), rel=1e-3)


@pytest.mark.parametrize("more", [{"objective_batch": 4}, {"lone": True}])
def test_meta_unlearn_rehearses_as_its_authors_did(more):
    faces = tiny_faces(10, (5, 5))
    parts = parts_of(faces) | {"train": faces[np.r_[0, 5:35]]}  # of person 0 there is one photo
    model, found = small_vit(), []
    for settings in ({}, more):
        method = make_method("meta_unlearn", SMALL["meta_unlearn"] | settings)
        found.append(method.prepare(model, only(parts, method.prepares_on), generator=generator()))
    assert found[1].history["objective"].notna().all()
    assert len(found[1].history) == (3 if "lone" in more else len(found[0].history))
    assert any(not torch.equal(v, found[1].tensors[k]) for k, v in found[0].tensors.items())


def test_batches_of_another_objective_are_refused():
    with pytest.raises(ValueError, match="objective_batch is for terms of eq. 6, not for objective='scrub'"):
        make_method("meta_unlearn", {"objective_batch": 64, "objective": "scrub"})
