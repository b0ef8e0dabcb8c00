"""MU-Mis against its equations."""

import pytest
import torch
from test_methods import generator
from tiny import TwoLayers, small_vit, tiny_faces

from shui_lib.methods import Artefacts, Given, make_method
from shui_lib.methods.mu_mis import drawn_classes, sensitivity_gap


def test_the_sensitivity_of_two_layers_by_hand():
    model, x = TwoLayers(4), torch.randn(5, 12, generator=generator()).double()
    own, other = torch.eye(4)[[0, 1, 2, 3, 0]], torch.eye(4)[[1, 1, 3, 0, 2]]
    found = sensitivity_gap(lambda x: model(x).logits, x, own, other)
    hidden = model.first(x).tanh()
    expected = 0.0
    for k in range(5):
        slope = model.second.weight * (1 - hidden[k] ** 2) @ model.first.weight  # (K, 12)
        squares = slope.square().sum(1)
        expected += (squares[own[k].argmax()] - squares[other[k].argmax()]) / 5
    torch.testing.assert_close(found, expected)


def test_classes_draw_their_own_and_another():
    targets = torch.eye(4)[[2, 0, 3]]
    others = set()
    for seed in range(30):
        own, other = drawn_classes(targets, generator=generator(seed))
        assert torch.equal(own, targets) and (other.sum(1) == 1).all() and not (own * other).any()
        others.add(int(other[0].argmax()))
    assert others == {0, 1, 3}


def test_attributes_draw_one_that_is_there_and_one_that_is_not():
    targets = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]])
    own, other = drawn_classes(targets, generator=generator())
    assert own.sum(1).tolist() == [1, 1, 0] and other.sum(1).tolist() == [1, 0, 1]
    assert (own * targets).sum() == 2 and (other * (1 - targets)).sum() == 2


@pytest.mark.parametrize("multilabel", [True, False])
def test_steps_go_down_the_gap(multilabel):
    model, support = small_vit(4 - multilabel), tiny_faces(multilabel=multilabel)[[0, 9, 20]]
    given, (own, other) = Given({"support": support}), drawn_classes(support.target_matrix, generator=generator(1))

    def gap(model) -> float:
        return sensitivity_gap(lambda x: model(x).logits, support.pixels(), own, other).item()

    after = make_method("mu_mis", {"eta": 0.05, "steps": 1}).unlearn(model, given, Artefacts(), generator=generator(1))
    assert gap(after) < gap(model)


def test_one_attribute_alone_has_no_other_class():
    """Why attributes take each other for classes: yes and no of one attribute are equally sensitive."""
    model, x = TwoLayers(1), torch.randn(3, 12, generator=generator()).double()
    both = lambda x: torch.cat([model(x).logits / 2, -model(x).logits / 2], dim=1)  # noqa: E731
    gap = sensitivity_gap(both, x, torch.eye(2)[[0, 0, 1]], torch.eye(2)[[1, 1, 0]])
    assert gap.item() == pytest.approx(0)
