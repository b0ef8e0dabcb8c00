"""Requests of the tuning pool: nobody who is reported, judged by models that have never seen who asks."""

import numpy as np
import pandas as pd
import pytest
import torch

from shui_lib.benchmark.metrics import Scores, score, tug_of_war
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies.pool import REQUESTS, SEEDS, fold_scores, judge, pool_experiment


def test_requests_come_from_the_pool_and_nobody_asks_twice_in_one(pooled):
    experiment, groups = pool_experiment(n_ids=2, **pooled)
    assert 2 <= len(groups) <= REQUESTS and all(len(set(group)) == 2 for group in groups)
    assert len({tuple(group) for group in groups}) > 1
    assert set(np.concatenate(groups)) <= set(experiment.split.pool)
    assert set(np.concatenate(groups)) <= set(experiment.part("support").identity)
    again = pool_experiment(n_ids=2, **pooled)[1]
    assert np.array_equal(groups, again)


@pytest.mark.parametrize("seed", range(5))
def test_nobody_of_the_pool_is_in_a_reported_request(pooled, seed):
    asking = np.concatenate(pool_experiment(n_ids=2, **pooled)[1])
    reported = Experiment(seed=seed, n_ids=10, **pooled)
    assert set(asking).isdisjoint(reported.request.identities)
    assert set(asking) <= set(reported.split.pool)
    assert seed not in SEEDS


def test_whoever_asks_alone_has_images_enough(pooled, monkeypatch):
    monkeypatch.setattr("shui_workbook.studies.pool.FEWEST_IMAGES_ALONE", 7)
    everyone, groups = pool_experiment(**{**pooled, "n_ids": 1})
    sizes = pd.Series(everyone.faces.identity).value_counts()
    assert 2 <= len(groups) <= REQUESTS and all(len(group) == 1 and sizes[group[0]] >= 7 for group in groups)
    assert sizes[everyone.request.identities].min() < 7, "others were left out"


def test_more_than_the_pool_holds_cannot_ask(pooled, monkeypatch):
    monkeypatch.setattr("shui_workbook.studies.pool.FEWEST_IMAGES_ALONE", 1000)
    with pytest.raises(ValueError, match="the tuning pool has 0 identities with 1000 images or more: 1 cannot ask"):
        pool_experiment(**{**pooled, "n_ids": 1})


def test_doing_nothing_drops_nothing(pooled):
    nothing = pooled | {"settings": {"gradient_ascent": {"eta": 0.0}}}
    experiment, (group, *_) = pool_experiment(n_ids=2, **nothing)
    wanted = fold_scores(experiment, group)
    found = judge(experiment, "gradient_ascent", group, wanted)
    assert [found[f"{part}_drop"] for part in ("forget", "retain", "val")] == pytest.approx([0, 0, 0], abs=1e-6)
    forget = experiment.part("forget").of(group)
    retain = np.setdiff1d(experiment.rows_of["train"], forget.rows)
    logits = experiment.predictions("original").logits
    by_hand = [score(logits[rows], experiment.faces[rows].targets) for rows in (retain, forget.rows)]
    by_hand = Scores(*by_hand, experiment.score("original", "val"))
    assert found["tow"] == pytest.approx(tug_of_war(by_hand, wanted), abs=1e-4)


def test_folds_judge_people_they_have_never_seen(pooled):
    experiment, (group, *_) = pool_experiment(n_ids=2, **pooled)
    folds = np.concatenate(experiment.folds)
    assert sorted(folds) == sorted(experiment.split.train)
    forget = experiment.part("forget").of(group)
    logits = []
    for row, identity in zip(forget.rows, forget.identity, strict=True):
        (k,) = [k for k, fold in enumerate(experiment.folds) if identity in fold]
        logits.append(experiment.predictions(f"fold_{k}").logits[row])
    assert fold_scores(experiment, group).forget == pytest.approx(score(torch.stack(logits), forget.targets))


def test_validation_stands_for_the_test_set_and_the_original_model_for_those_who_stay(pooled):
    experiment, (group, *_) = pool_experiment(n_ids=2, **pooled)
    found, train = fold_scores(experiment, group), experiment.part("train")
    stay = ~np.isin(train.identity, group)
    logits = experiment.logits("original", "train")[torch.from_numpy(stay)]
    assert found.test == experiment.score("original", "val") != experiment.score("original", "test")
    assert found.retain == pytest.approx(score(logits, train[stay].targets))
