"""All attacks on one model at once; what each of them computes is tested in test_rmia.py."""

import numpy as np
import pytest

from shui_lib.attack import estimates as module
from shui_lib.attack.estimates import attack, attack_scores
from shui_lib.attack.rmia import Signals, one_shui


def losses(seed: int) -> dict[str, np.ndarray]:
    """Members are known better."""
    chance = np.random.default_rng(seed)
    sizes = {"members": 30, "non_members": 300, "population": 100, "trained": 50}
    return {part: chance.gamma(2, 0.1 if part == "members" else 0.2, (8, n)) for part, n in sizes.items()}


@pytest.fixture
def both() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return losses(0), losses(1)


def test_the_loss_attack_asks_the_model_under_attack_alone(both):
    target, reference = both
    found = attack_scores(target, reference)["loss"]
    for scores, part in zip(found, ("members", "non_members"), strict=True):
        assert np.array_equal(scores, -target[part].mean(0))
    assert all(map(np.array_equal, found, attack_scores(target, losses(2))["loss"])), "whatever the reference says"


def test_members_and_non_members_are_not_mistaken_for_each_other(both):
    for name, (member, other) in attack_scores(*both).items():
        assert (len(member), len(other)) == (30, 300), name
    for name in ("rmia", "loss"):
        member, other = attack_scores(*both)[name]
        assert member.mean() > other.mean(), "members are known better"


def test_a_large_population_of_the_authors_attack_is_thinned_out(both, monkeypatch):
    whole = attack_scores(*both)
    monkeypatch.setattr(module, "AUTHORS_POPULATION", 380)  # 30 + 300 + 50: nobody is left out
    same = attack_scores(*both)
    monkeypatch.setattr(module, "AUTHORS_POPULATION", 100)
    thin = attack_scores(*both)
    for name, (member, other) in whole.items():
        assert all(np.array_equal(a, b) for a, b in zip((member, other), same[name], strict=True))
        assert [len(scores) for scores in thin[name]] == [30, 300]
    assert all(np.array_equal(a, b) for a, b in zip(whole["rmia"], thin["rmia"], strict=True))
    steps = np.unique(-np.concatenate(thin["rmia_one_shui"]) * 100)
    assert np.allclose(steps, steps.round()), "shares of a hundred images"


def test_the_authors_tpr_is_a_number_where_a_step_has_none(both):
    sizes = {"members": 30, "non_members": 300}
    found = attack(*both, {part: np.arange(n) // 10 for part, n in sizes.items()})
    groups = [Signals(*(losses[part] for losses in both)) for part in ("members", "non_members", "trained")]
    population = (np.hstack([groups[g][k] for g in (2, 0, 1)]) for k in range(2))
    between = found["rmia_one_shui_interpolated_tpr_at_1e-4"]
    assert between.value == one_shui(*groups[:2], Signals(*population)).tpr > 0 and between.note == "interpolated"
    assert np.isnan([between.low, between.high, found["rmia_one_shui_tpr_at_1e-4"].value]).all()


@pytest.mark.parametrize("who", ["the model", "its reference"])
def test_answers_that_are_no_numbers_leave_every_figure_empty(both, who):
    ids = {"members": np.arange(30), "non_members": np.arange(300)}
    whole, bad = attack(*both, ids), both[who != "the model"]
    bad["members"][3, 7] = np.nan
    found = attack(*both, ids)
    assert [*found] == [*whole]
    assert np.isnan([estimate[:3] for estimate in found.values()]).all()
    assert {estimate.note for estimate in found.values()} == {
        f"1 of 3840 answers of {who} are not finite numbers: it has diverged"
    }
