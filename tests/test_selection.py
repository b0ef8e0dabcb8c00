"""Settings are chosen on people who are never in a reported request, with equal effort for every method."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tiny import prepare_tiny

import shui_lib
from shui_lib.config import settings_for
from shui_lib.experiment import Experiment
from shui_lib.methods import REGISTRY, make_method
from shui_lib.metrics import score
from shui_lib.selection import SEEDS, TRIALS, choose, judge, pool_experiment, record

REPORTED_SEEDS = range(5)
CHOSEN = Path(shui_lib.__file__).parent / "selected.json"
FOUND = Path(__file__).parent.parent / "results" / "selection.csv"


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    folder = tmp_path_factory.mktemp("selection")
    prepare_tiny(folder / "data" / "tiny", identities=40)
    return {
        "dataset": "tiny",
        "preset": "smoke",
        "data_root": folder / "data",
        "runs_root": folder / "runs",
        "device": "cpu",
    }


# On whom


def test_requests_come_from_the_pool_and_nobody_asks_twice(where):
    experiment, groups = pool_experiment(n_ids=2, **where)
    asking = np.concatenate(groups)
    assert len(groups) >= 2 and all(len(group) == 2 for group in groups)
    assert len(set(asking)) == len(asking)
    assert set(asking) <= set(experiment.split.pool)
    assert set(asking) <= set(experiment.part("support").identity)


@pytest.mark.parametrize("seed", REPORTED_SEEDS)
def test_nobody_of_the_pool_is_in_a_reported_request(where, seed):
    asking = np.concatenate(pool_experiment(n_ids=2, **where)[1])
    reported = Experiment(seed=seed, n_ids=10, **where)
    assert set(asking).isdisjoint(reported.request.identities)
    assert set(asking) <= set(reported.split.pool)
    assert seed not in SEEDS


# How much effort


def test_every_method_gets_the_same_number_of_trials():
    assert TRIALS.keys() == REGISTRY.keys()
    assert len({len(trials) for trials in TRIALS.values()}) == 1


@pytest.mark.parametrize("method", TRIALS)
def test_trials_are_valid_and_differ(method):
    made = [make_method(method, settings) for settings in TRIALS[method]]
    assert len(set(map(repr, made))) == len(made)


# What is chosen


def some_trials(**stand_ins: list[float]) -> pd.DataFrame:
    setting = {"preset": "cpu", "dataset": "tiny", "n_ids": 2}
    return pd.DataFrame(
        {**setting, "method": method, "settings": f'{{"eta": {k}}}', "stand_in": v, "forget_drop": 0.01 * k}
        for method, values in stand_ins.items()
        for k, v in enumerate(values)
    )


def test_the_trial_closest_to_what_is_wanted_is_chosen():
    found = some_trials(gradient_ascent=[80, 95, 90], meta_unlearn=[70, 60, 50])
    assert choose(found) == {"gradient_ascent": {"eta": 1}, "meta_unlearn": {"eta": 0}}


def test_of_trials_that_a_table_cannot_tell_apart_the_one_that_forgets_most_is_chosen():
    found = some_trials(gradient_ascent=[78.70, 78.66, 78.61, 78.55], meta_unlearn=[78.5, 78.7, 60, 50])
    assert choose(found) == {"gradient_ascent": {"eta": 2}, "meta_unlearn": {"eta": 1}}


def test_doing_nothing_costs_nothing_and_forgets_nothing(where):
    nothing = where | {"settings": {"gradient_ascent": {"eta": 0.0}}}
    experiment, (group, *_) = pool_experiment(n_ids=2, **nothing)
    found = judge(experiment, "gradient_ascent", group)
    assert [found[name] for name in ("retain_drop", "val_drop", "forget_drop")] == pytest.approx([0, 0, 0], abs=1e-6)
    forget = experiment.part("forget").of(group)
    rows = np.flatnonzero(np.isin(experiment.faces.rows, forget.rows))
    from_scratch = experiment.predictions("original").logits[rows]
    gap = score(from_scratch, forget.targets) - experiment.score("original", "val")
    assert found["stand_in"] == pytest.approx(100 * (1 - abs(gap)), abs=1e-4)
    assert found["eq6_cost"] == pytest.approx(found["objective"], abs=1e-6)


def test_a_new_search_replaces_the_old_one_of_its_setting_and_no_other(tmp_path):
    path = tmp_path / "selection.csv"
    record(path, some_trials(gradient_ascent=[80, 95]))
    record(path, some_trials(gradient_ascent=[70]).assign(n_ids=5))
    record(path, some_trials(gradient_ascent=[81]))
    assert pd.read_csv(path).groupby("n_ids")["stand_in"].agg(list).to_dict() == {2: [81], 5: [70]}


def test_what_the_package_uses_is_what_the_recorded_trials_choose():
    if not FOUND.is_file():
        pytest.skip("results/selection.csv is not there: `make tune` writes it")
    selected = json.loads(CHOSEN.read_text())
    recorded = pd.read_csv(FOUND)
    for (preset, dataset, n_ids), found in recorded.groupby(["preset", "dataset", "n_ids"]):
        chosen = choose(found)
        assert selected[f"{preset}/{dataset}/{n_ids}"] == chosen
        assert found.groupby("method").size().nunique() == 1, "methods differ in their number of trials"
        for method, settings in chosen.items():
            used = settings_for(method, preset=preset, dataset=dataset, n_ids=n_ids)
            assert used == used | settings
    assert len(selected) == recorded.groupby(["preset", "dataset", "n_ids"]).ngroups
