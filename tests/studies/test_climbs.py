"""What is climbed on a photo: which weights each way gives the gradients of its logits."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import small_vit, tiny_faces

from shui_lib.benchmark.predict import task_loss
from shui_lib.methods.parts.copies import climbing_gradient
from shui_lib.methods.parts.meta_gradient import parameters
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies.climbs import (
    COLUMNS,
    answers,
    climbed,
    cosine,
    labels,
    learned,
    main,
    margins,
    never_met,
)

LOGITS = torch.tensor([[2.0, -1.0, 0.5], [-3.0, 0.2, 1.0]])
ATTRIBUTES, CLASSES = torch.tensor([[1, 0, 0], [1, 1, 0]]), torch.tensor([0, 2])


@pytest.mark.parametrize("targets", [ATTRIBUTES, CLASSES])
def test_labels_climb_the_task_loss(targets):
    leaf = LOGITS.clone().requires_grad_()
    loss = task_loss(leaf, targets, reduction="none").sum() * (3 if targets.ndim == 2 else 1)
    torch.testing.assert_close(labels(LOGITS, targets), torch.autograd.grad(loss, leaf)[0])


def test_own_answers_are_made_less_sure_whatever_is_right():
    found = answers(LOGITS, ATTRIBUTES)
    assert torch.equal(found, answers(LOGITS, 1 - ATTRIBUTES))
    assert torch.equal(found.sign(), -LOGITS.sign()), "upwards along c every logit comes nearer to zero"
    assert answers(LOGITS, CLASSES).sum(1) == pytest.approx([0, 0], abs=1e-6)


def test_every_right_answer_loses_as_much():
    assert margins(LOGITS, ATTRIBUTES).tolist() == [[-1, 1, 1], [-1, -1, 1]]
    torch.testing.assert_close(margins(LOGITS, CLASSES)[0], torch.tensor([-2 / 3, 1 / 3, 1 / 3]))


@pytest.mark.parametrize("targets", [ATTRIBUTES, CLASSES])
def test_memory_that_is_linear_is_learned_as_it_is(targets):
    draws = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(40, 3, generator=draws)
    many = targets[torch.arange(40) % 2]
    right = many.float() if many.ndim == 2 else torch.nn.functional.one_hot(many, 3).float()
    against = learned(logits, many, 0.3 * logits + 0.2 * (2 * right - 1))
    expected = -(0.3 * LOGITS + 0.2 * (2 * right[:2] - 1))
    torch.testing.assert_close(against(LOGITS, many[:2]), expected, rtol=1e-4, atol=1e-5)


def test_a_climb_of_labels_is_the_gradient_of_the_task_loss():
    model, faces = small_vit().eval(), tiny_faces(3, (4, 4))
    ours = climbed(model, faces, labels, batch=5)
    theirs = climbing_gradient(model, parameters(model), faces, loss="task")
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=1e-4, atol=1e-7)
    assert cosine(ours, theirs) == pytest.approx(1, abs=1e-6)
    assert cosine(ours, {name: -value for name, value in theirs.items()}) == pytest.approx(-1, abs=1e-6)


def test_nobody_is_judged_by_a_model_that_met_them(where):
    one = Experiment(dataset="tiny", n_ids=3, preset="smoke", reserved=3, device="cpu", **where)
    support = one.part("support")
    found = never_met(one, support)
    for row, identity in enumerate(support.identity):
        (k,) = [k for k, fold in enumerate(one.folds) if identity in fold]
        assert torch.equal(found[row], one.logits(f"fold_{k}", "support")[row])
    stranger = replace(support[[0]], identity=np.array([-1]))
    assert never_met(one, stranger).isnan().all()


def test_every_pool_person_has_every_climb_and_a_second_run_takes_the_place_of_the_first(where, tmp_path, capsys):
    words = ["--dataset", "tiny", "--preset", "smoke", "--results", str(tmp_path / "climbs.csv")]
    words += [word for name, path in where.items() for word in (f"--{name.replace('_', '-')}", str(path))]
    main(words)
    first = pd.read_csv(tmp_path / "climbs.csv")
    main(words)
    pd.testing.assert_frame_equal(first, pd.read_csv(tmp_path / "climbs.csv"))
    assert first.columns.tolist() == COLUMNS and first.groupby("identity").size().eq(6).all()
    assert first["step"].between(-1.0001, 1.0001).all() and "memory, of this photo" in capsys.readouterr().out
