"""How grids grow beyond their ends."""

import numpy as np
import pytest

from shui_lib.benchmark.presets import preset_named
from shui_lib.core.names import parse
from shui_workbook.forms import needs_of
from shui_workbook.studies.trials import AXES, Axis, axes_of, first_trials, untried_neighbours

GAMMA = Axis((0.5, 0.75), 3, share=True)


@pytest.mark.parametrize(
    ("axis", "value", "below", "above"),
    [
        (Axis((0.1, 0.2, 0.4), 2), 0.4, 0.2, 0.8),
        (Axis((0.1, 0.2, 0.4), 2), 0.1, 0.05, 0.2),
        (GAMMA, 0.75, 0.5, 0.9),  # odds of 1, 3 and 9
        (GAMMA, 0.5, 0.25, 0.75),
        (Axis((1, 3), 3), 1, 1, 3),  # whole numbers end at one
        (Axis(((2, 1), (5, 3)), 1.6), (5, 3), (2, 1), (8, 5)),
        (Axis((1, 3), 2, most=5), 3, 1, 5),
        (Axis((1, 3), 2, most=3), 3, 1, 3),  # and where retraining would be cheaper
        (Axis(((2, 1), (5, 3)), 1.6, most=5), (5, 3), (2, 1), (5, 3)),
    ],
)
def test_the_neighbours_of_a_value(axis, value, below, above):
    assert axis.next(value, up=False) == below
    assert axis.next(value, up=True) == pytest.approx(above)


@pytest.mark.parametrize("multilabel", [True, False], ids=["attributes", "classes"])
@pytest.mark.parametrize("form", [form for form in AXES if "retain" in needs_of(*parse(form)[:2])])
def test_a_form_that_trains_tries_as_many_epochs_as_training_takes_and_no_more(form, multilabel):
    axes = axes_of(form, multilabel=multilabel)
    (axis,) = (axis for name, axis in axes.items() if "epochs" in name.split())
    tried = [axis.values[-1]]
    for _ in range(12):
        tried.append(axis.next(tried[-1], up=True, tried=tried))
    assert np.max(tried) == np.max(tried[-2]) == preset_named("cpu").train.epochs


def test_a_share_grows_towards_one_and_never_gets_there():
    """PGU's γ did, and the search ended with a division by zero."""
    share, seen = 0.75, []
    for _ in range(12):
        seen.append(share := GAMMA.next(share, up=True))
        assert GAMMA.between(0.75, share) < share < 1
    assert seen == sorted({*seen})


def test_a_value_that_was_tried_is_the_next():
    assert Axis((0.1, 0.2), 2).next(0.2, up=True, tried=[0.1, 0.2, 0.3]) == 0.3


def test_only_ordered_axes_grow_and_what_was_tried_is_not_tried_again():
    axes = {"eta": Axis((0.1, 0.2), 2), "copies": Axis((0, 16)), "epochs most": Axis(((2, 1), (3, 2)), 2)}
    tried = first_trials(axes)
    assert len(tried) == 8 and tried[0] == {"eta": 0.1, "copies": 0, "epochs": 2, "most": 1}
    best = {"eta": 0.2, "copies": 16, "epochs": 3, "most": 2, "simulated_n_ids": 10}
    beside = untried_neighbours(best, tried, axes)
    assert beside == [
        {"eta": 0.4, "copies": 16, "epochs": 3, "most": 2},
        {"eta": 0.2, "copies": 16, "epochs": 6, "most": 4},
    ]
    halfway = untried_neighbours(best, [*tried, *beside], axes)
    assert [one["eta"] for one in halfway] == [0.141, 0.283], "pairs have no half"
    assert untried_neighbours(best, [*tried, *beside, *halfway], axes)[0]["eta"] == 0.168


@pytest.mark.parametrize(
    ("axis", "value", "other", "half"),
    [
        (Axis((0.1, 0.2), 2), 0.1, 0.2, 0.141),
        (Axis((0.1, 0.2), 2), 0.2, 0.18, 0.2),  # close
        (GAMMA, 0.75, 0.9, 0.839),  # odds of 3 and 9: 5.2
        (GAMMA, 0.999, 1.0, 0.999),  # there is no half of infinite odds
        (Axis((1, 3), 3), 1, 3, 1),
    ],
)
def test_halfway_between_two_values(axis, value, other, half):
    assert axis.between(value, other) == half
