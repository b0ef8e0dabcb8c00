"""Scores against other people's implementations, and against numbers worked out by hand."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score
from torchmetrics.classification import MultilabelAveragePrecision

from shui_lib.benchmark.metrics import (
    Scores,
    UndefinedScore,
    accuracy,
    average_precision,
    mean_average_precision,
    score,
    score_by_class,
    score_name,
    score_or_nan,
    tug_of_war,
)

few_levels = st.integers(0, 3)  # scores with many ties
one_image = st.tuples(few_levels, st.booleans())


def column(values) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(one_image, min_size=1, max_size=30).filter(lambda images: any(y for _, y in images)))
def test_average_precision_agrees_with_sklearn_in_the_presence_of_ties(images):
    scores, targets = zip(*images, strict=True)
    found = average_precision(column(scores), column(targets)).item()
    assert found == pytest.approx(average_precision_score(targets, scores), abs=1e-12)


def test_constant_scores_give_the_share_of_positives():
    targets = column([1, 0, 0, 1, 0])
    assert average_precision(torch.zeros(5, 1), targets).item() == pytest.approx(2 / 5)


def test_average_precision_by_hand():
    # Ranked + − + −: precision 1 at the first positive, 2/3 at the second.
    found = average_precision(column([4, 3, 2, 1]), column([1, 0, 1, 0]))
    assert found.item() == pytest.approx((1 + 2 / 3) / 2)


def test_map_agrees_with_torchmetrics():
    chance = torch.Generator().manual_seed(0)
    logits = torch.randn(300, 40, generator=chance)
    targets = (torch.rand(300, 40, generator=chance) < 0.3).long()
    theirs = MultilabelAveragePrecision(40, average="macro")(logits.sigmoid(), targets).item()
    assert mean_average_precision(logits, targets) == pytest.approx(theirs, abs=1e-6)


def test_map_leaves_out_attributes_without_a_positive():
    logits, targets = torch.randn(6, 3), torch.tensor([[1.0, 0, 0]] * 3 + [[0, 0, 1]] * 3)
    each = average_precision(logits, targets)
    assert each.isnan().tolist() == [False, True, False]
    assert mean_average_precision(logits, targets) == pytest.approx((each[0] + each[2]).item() / 2)


def test_map_without_any_positive_is_an_error():
    with pytest.raises(ValueError, match="no attribute has a positive"):
        mean_average_precision(torch.randn(4, 2), torch.zeros(4, 2))


def test_map_does_not_mind_an_increasing_function_of_the_scores():
    logits = torch.randn(50, 4, dtype=torch.float64)
    targets = (torch.rand(50, 4) < 0.5).float()
    assert mean_average_precision(logits, targets) == mean_average_precision(logits.sigmoid(), targets)


def test_accuracy_by_hand():
    logits = torch.tensor([[2.0, 1], [0, 3], [5, 4], [1, 2]])
    assert accuracy(logits, torch.tensor([0, 1, 1, 1])) == 0.75


def test_accuracy_by_class_is_a_share_of_the_images_of_that_class():
    logits = torch.tensor([[2.0, 1, 0], [0, 3, 0], [5, 4, 0], [1, 2, 0]])  # said: 0, 1, 0, 1
    found = score_by_class(logits, torch.tensor([0, 1, 1, 1]))
    assert found[:2].tolist() == pytest.approx([1, 2 / 3])
    assert found[2].isnan(), "no image is of the third class"


def test_the_score_by_class_of_attributes_is_their_average_precision():
    logits, targets = torch.randn(20, 3), torch.tensor([[1.0, 0, 0], [0, 1, 0]]).repeat(10, 1)
    found = score_by_class(logits, targets)
    assert found[:2].tolist() == average_precision(logits, targets)[:2].tolist() and found[2].isnan()


def test_the_task_decides_the_score():
    classes, attributes = torch.tensor([0, 1]), torch.tensor([[1.0, 0], [0, 1]])
    logits = torch.tensor([[1.0, 0], [1, 0]])
    assert (score_name(classes), score(logits, classes)) == ("accuracy", 0.5)
    assert (score_name(attributes), score(logits, attributes)) == ("map", 0.5)


# Tug-of-War


def test_tug_of_war_by_hand():
    # (1 − 0.1)(1 − 0.2)(1 − 0.5) = 0.36; each of the three factors is another number.
    unlearned, retrained = Scores(retain=0.8, forget=0.7, test=0.1), Scores(retain=0.9, forget=0.5, test=0.6)
    assert tug_of_war(unlearned, retrained) == pytest.approx(36.0)
    assert tug_of_war(retrained, unlearned) == pytest.approx(36.0)


@pytest.mark.parametrize("part", Scores._fields)
def test_tug_of_war_looks_at_each_of_the_three_splits(part):
    same = Scores(0.5, 0.5, 0.5)
    assert tug_of_war(same._replace(**{part: 0.75}), same) == 75


def test_tug_of_war_of_equal_models_is_100():
    assert tug_of_war(Scores(0.3, 0.2, 0.1), Scores(0.3, 0.2, 0.1)) == 100


@pytest.mark.parametrize("bad", [83.1, 1.01, -0.1, math.nan, np.nan])
@pytest.mark.parametrize("part", Scores._fields)
def test_tug_of_war_refuses_percent_and_nan(bad, part):
    good = Scores(0.9, 0.8, 0.7)
    for pair in [(good._replace(**{part: bad}), good), (good, good._replace(**{part: bad}))]:
        with pytest.raises(ValueError, match=rf"{part} scores .* takes fractions"):
            tug_of_war(*pair)


# Answers that are no numbers


@pytest.mark.parametrize("multilabel", [True, False])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_answers_that_are_no_numbers_have_no_score(multilabel, bad):
    logits, targets = torch.randn(8, 4), torch.arange(8) % 4
    logits[2, 1] = logits[2, 3] = logits[5, 0] = bad
    targets = torch.nn.functional.one_hot(targets, 4).float() if multilabel else targets
    for measure in (score, score_by_class):
        with pytest.raises(UndefinedScore, match="2 of 8 answers are not finite numbers: the model has diverged"):
            measure(logits, targets)
    assert math.isnan(score_or_nan(logits, targets))
