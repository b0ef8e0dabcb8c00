"""Analyses of single identities: obvious twins, hand-made cases, and what the bootstrap draws."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr

from shui_lib.benchmark.metrics import accuracy, average_precision
from shui_lib.benchmark.predict import task_loss
from shui_lib.core.machine import git_commit
from shui_workbook import figures
from shui_workbook.studies import people


@pytest.fixture
def images():
    """Logits, targets and identities of 40 images of 6 people; nobody has attribute 4 but person 0."""
    chance = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(40, 5, generator=chance), (torch.rand(40, 5, generator=chance) < 0.5).float()
    identity = np.random.default_rng(0).permutation(np.arange(40) % 6)
    targets[:, 4] = torch.from_numpy(identity == 0)
    return logits, targets, identity


def chance(seed=0):
    return np.random.default_rng(seed)


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


# Models on single identities


def test_scores_of_an_identity_are_those_of_its_images(images):
    logits, targets, identity = images
    pool = torch.randn(30, 5), (torch.rand(30, 5) < 0.5).float()
    found = people.by_identity(logits, targets, identity, pool=pool)
    assert found.index.tolist() == [0, 1, 2, 3, 4, 5]
    for one, row in found.iterrows():
        mine = identity == one
        precise, constant, pooled = [], [], []
        for k in range(5):
            score, truth = logits[mine, k : k + 1], targets[mine, k : k + 1]
            if truth.sum() == 0:
                continue
            precise.append(average_precision(score, truth).item())
            constant.append(truth.min().item())
            against = pool[0][pool[1][:, k] == 0][:, k : k + 1]
            ranked = torch.cat([score[truth[:, 0] == 1], against]), torch.zeros(int(truth.sum()) + len(against), 1)
            ranked[1][: int(truth.sum())] = 1
            pooled.append(average_precision(*ranked).item())
        assert row["images"] == mine.sum()
        assert row["score"] == pytest.approx(100 * np.mean(precise))
        assert row["constant"] == pytest.approx(100 * np.mean(constant))
        assert row["pooled"] == pytest.approx(100 * np.mean(pooled))
        assert row["loss"] == pytest.approx(task_loss(logits[mine], targets[mine]).item())


def test_a_constant_attribute_hides_what_a_model_says():
    targets = torch.ones(4, 1)
    good, bad = (people.by_identity(x * torch.ones(4, 1), targets, np.zeros(4), pool=POOL) for x in (3.0, -3.0))
    assert good.loc[0, "score"] == bad.loc[0, "score"] == 100 and good.loc[0, "constant"] == 100
    assert good.loc[0, "pooled"] == 100 and bad.loc[0, "pooled"] < 50
    assert good.loc[0, "loss"] < bad.loc[0, "loss"]


POOL = torch.zeros(6, 1), torch.zeros(6, 1)


def test_an_identity_without_a_positive_has_a_loss_but_no_score():
    found = people.by_identity(torch.randn(3, 2), torch.zeros(3, 2), np.array([7, 7, 7])).loc[7]
    assert found[["score", "constant", "pooled"]].isna().all() and found["loss"] > 0


def test_classes_have_accuracy_in_place_of_precision():
    logits, targets = torch.randn(12, 4), torch.arange(12) % 4
    found = people.by_identity(logits, targets, np.zeros(12), pool=(logits, targets)).loc[0]
    assert found["score"] == pytest.approx(100 * accuracy(logits, targets))
    assert np.isnan(found["pooled"]) and np.isnan(found["constant"])


def test_compared_is_above_zero_where_a_model_knows_more():
    line = {"images": 3, "constant": 50.0}
    models = {
        "retrained": pd.DataFrame([{**line, "score": 60.0, "pooled": 50.0, "loss": 0.7}]),
        "original": pd.DataFrame([{**line, "score": 75.0, "pooled": 52.0, "loss": 0.4}]),
    }
    models = {name: frame.rename_axis("identity") for name, frame in models.items()}
    found = people.compared(models, "retrained").set_index("form")
    assert found.loc["original", [*people.MEASURES]].tolist() == pytest.approx([15, 2, 0.3])
    assert found.loc["retrained", [*people.MEASURES]].tolist() == [0, 0, 0]
    assert set(found.columns) >= {"identity", "images", "constant"}


# Distances


def test_support_distance_by_hand():
    features = torch.tensor([[1.0, 0], [3, 0], [0, 2], [0, 2]])
    support = torch.tensor([[0.0, 5], [2, 4]])  # of persons 8 and 3, in that order
    found = people.support_distance(support, np.array([8, 3]), features, np.array([3, 3, 8, 8]))
    assert found.index.tolist() == [8, 3]
    assert found["euclid"].tolist() == pytest.approx([3, 4])
    assert found["cosine"].tolist() == pytest.approx([0, 1 - 1 / 5**0.5])


def test_a_support_without_images_is_named():
    with pytest.raises(ValueError, match=r"identities \[4\] have a support but no image"):
        people.support_distance(torch.ones(1, 2), np.array([4]), torch.ones(2, 2), np.array([3, 3]))


def test_nearest_distance_against_loops():
    chance = torch.Generator().manual_seed(1)
    features, forget = torch.randn(20, 3, generator=chance), torch.randn(9, 3, generator=chance)
    identity, asking = np.arange(20) % 5, np.array([10, 11, 12] * 3)
    found = people.nearest_distance(features, identity, forget, asking)
    for one in range(5):
        centre = features[identity == one].mean(0)
        centres = {a: forget[asking == a].mean(0) for a in (10, 11, 12)}
        euclid = {a: (centre - c).norm().item() for a, c in centres.items()}
        cosine = [1 - torch.cosine_similarity(centre, c, dim=0).item() for c in centres.values()]
        assert found.loc[one, "euclid"] == pytest.approx(min(euclid.values()), rel=1e-5)
        assert found.loc[one, "cosine"] == pytest.approx(min(cosine), rel=1e-5)
        assert found.loc[one, "nearest"] == min(euclid, key=euclid.get)
        assert found.loc[one, "crowd"] == pytest.approx(np.mean([*euclid.values()]), rel=1e-5)


# Trends


def test_with_one_seed_it_is_spearmans_rho_without_an_interval():
    x, y = chance(1).integers(0, 9, 25), chance(2).normal(size=25)  # x has ties
    found = people.trend(x, y, seed=np.zeros(25))
    assert found.rho == pytest.approx(spearmanr(x, y).statistic) and found.seeds == 1
    assert np.isnan(found.low) and str(found) == f"{found.rho:+.2f} (one seed)"


def test_the_interval_is_that_of_seeds_and_not_of_people():
    seed = np.repeat(np.arange(5), 40)
    x, y = chance(3).normal(size=(2, 200))
    y[seed == 4] += 3 * x[seed == 4]  # one seed disagrees with the others
    each = [spearmanr(x[seed == s], y[seed == s]).statistic for s in range(5)]
    found = people.trend(x, y, seed=seed)
    assert found.rho == pytest.approx(np.mean(each)) and found.seeds == 5
    assert found.high - found.rho == pytest.approx(2.776 * np.std(each, ddof=1) / 5**0.5, rel=1e-3)
    assert found.low < 0 < found.high, "the people are many, the seeds are not"


def test_what_differs_between_seeds_is_no_trend():
    seed = np.repeat([0, 1], 20)
    x, y = chance(3).normal(size=40) + 50 * seed, chance(4).normal(size=40) + 50 * seed
    assert abs(people.trend(x, y, seed=seed).rho) < 0.4 and people.trend(x, y, seed=0 * seed).rho > 0.7


def test_ranks_are_taken_within_groups():
    photo = np.repeat([0, 1, 2], 10)
    x = np.tile(np.arange(10.0), 3) + 100 * photo
    y = np.tile(np.arange(10.0), 3) - 100 * photo  # up within a photo, down between photos
    assert people.trend(x, y, seed=0 * photo, within=photo).rho == pytest.approx(1)
    assert people.trend(x, y, seed=0 * photo).rho < 0


@pytest.mark.parametrize("planted", [0.0, 0.6])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(planted):
    inside, seed = [], np.repeat(np.arange(6), 40)
    for again in range(100):
        x, noise = chance(again).normal(size=(2, 240))
        y = planted * x + (1 - planted**2) ** 0.5 * noise
        found = people.trend(x, y, seed=seed)
        inside.append(found.low <= 6 / np.pi * np.arcsin(planted / 2) <= found.high)
    assert 0.88 <= np.mean(inside) <= 1


@pytest.mark.parametrize(("x", "y"), [([1, 2], [1, 2]), ([1, 2, 3], [5, 5, 5]), ([1, 2, 3], [1, 2, np.nan])])
def test_no_trend_where_there_is_nothing_to_rank(x, y):
    found = people.trend(x, y, seed=np.zeros(len(x)))
    assert np.isnan(found[:3]).all() and found.seeds == 0 and str(found) == "–"


def test_trends_are_those_of_every_form_and_pair():
    everybody = pd.DataFrame(
        {"form": ["a"] * 5 + ["b"] * 5, "identity": [*range(5)] * 2, "seed": 0, "near": [*range(5)] * 2}
    )
    everybody = everybody.assign(far=-everybody["near"], gap=[0.0, 1, 2, 3, 4, 4, 3, 2, 1, 0])
    found = people.trends(everybody, ("near", "far"), ("gap",)).set_index(["form", "distance", "measure"])
    assert found["rho"].to_dict() == pytest.approx(
        {("a", "near", "gap"): 1, ("b", "near", "gap"): -1, ("a", "far", "gap"): -1, ("b", "far", "gap"): 1}
    )


def test_fifths_are_those_of_each_seed():
    frame = pd.DataFrame({"seed": np.repeat([0, 1], 10), "x": [*range(10), *range(100, 110)]})
    frame = frame.assign(y=[0.0] * 8 + [3, 5] + [1.0] * 2 + [9] * 6 + [1, 1])
    assert people.far_minus_near(frame, "x", "y").to_dict() == {0: 4, 1: 0}


def one_person(seed, gap):
    return pd.DataFrame([{"seed": seed, "identity": 7, "dose": "calm", "gap": gap}])


def test_people_of_further_seeds_join_those_measured_now(tmp_path):
    to, setting, measured = (tmp_path, "asking"), {"dataset": "ages", "n_ids": 5}, one_person
    alone = people.with_recorded(measured(0, 0.123456), *to, record=True, **setting)
    assert alone["gap"].tolist() == [0.123456], "nothing is recorded yet"
    people.with_recorded(measured(1, 0.5), *to, record=True, **setting)
    both = people.with_recorded(measured(1, 0.7), *to, **setting)
    assert both[["seed", "gap"]].to_numpy().tolist() == [[1, 0.7], [0, 0.1235]], "measured now goes before recorded"
    assert list(both) == ["seed", "identity", "dose", "gap"]
    other = people.with_recorded(measured(2, 0.1), *to, dataset="ages", n_ids=10)
    assert other["seed"].tolist() == [2], "another request size is another setting"
    people.with_recorded(measured(1, 0.9), *to, record=True, **setting)
    known = pd.read_csv(tmp_path / "people_asking_ages_5.csv", keep_default_na=False)
    assert known["gap"].tolist() == [0.1235, 0.9], "recorded again is recorded once"
    assert known["git"].eq(git_commit()).all()


@pytest.mark.parametrize("name", ["NA", "None", "2024", "1e5"])
def test_people_of_a_data_set_with_any_name_are_recorded_once(tmp_path, name):
    setting = {"dataset": name, "preset": "cpu", "n_ids": 10}
    for value in (0.1, 0.2):
        people.with_recorded(one_person(1, value), tmp_path, "tow", record=True, **setting)
    known = people.with_recorded(one_person(0, 0.3), tmp_path, "tow", **setting)
    assert sorted(known["gap"].unique()) == [0.2, 0.3]


def test_people_of_the_repository_are_recorded_by_committed_code_only(tmp_path, monkeypatch):
    monkeypatch.setattr("shui_workbook.records.files.RESULTS", tmp_path)
    monkeypatch.setattr(people, "git_commit", lambda: "abcdefg-dirty")
    setting = {"dataset": "faces", "preset": "cpu", "n_ids": 10}
    with pytest.raises(ValueError, match="abcdefg-dirty"):
        people.with_recorded(one_person(1, 0.1), tmp_path, "tow", record=True, **setting)
    assert not list(tmp_path.glob("*.csv"))
    people.with_recorded(one_person(1, 0.1), tmp_path / "mine", "tow", **setting)


def test_the_best_forms_by_hand():
    tows = {"a": (90.0, 80.0), "b": (70.0, 95.0), "c": (60.0, 60.0), "original": (99.0, 99.0)}  # by seed
    lines = [
        {"form": form, "seed": seed, "identity": who, "tow": tow[seed], "gap": who + 10 * (form == "a")}
        for form, tow in tows.items()
        for seed in (0, 1)
        for who in (3, 4)
    ]
    top, mean = people.mean_of_best(pd.DataFrame(lines), ["a", "b", "c"], best=2)
    assert top == ["a", "b"], "85.0, 82.5, and 60"
    assert mean[["seed", "identity", "gap"]].to_numpy().tolist() == [[0, 3, 8], [0, 4, 9], [1, 3, 8], [1, 4, 9]]
    lines += [{"form": "new", "seed": 0, "identity": who, "tow": 99.0, "gap": 50.0} for who in (3, 4)]
    top, again = people.mean_of_best(pd.DataFrame(lines), ["a", "b", "c", "new"], best=2)
    assert top == ["a", "b"] and again.equals(mean), "one seed of a new form stands beside two of the others"


def test_bins_hold_everyone_once_in_order_and_each_seed_alike():
    frame = pd.DataFrame({"x": chance(1).permutation(22), "seed": 0}).assign(y=lambda f: 2.0 * f["x"])
    frame = pd.concat([frame, frame.assign(seed=1, y=frame["y"] + 2)])
    found = people.binned(frame, "x", "y", bins=4)
    assert found["lines"].tolist() == [10, 12, 10, 12] and found["seeds"].tolist() == [2] * 4
    assert found["left"].tolist() == [0, 5, 11, 16] and found["right"].tolist() == [4, 10, 15, 21]
    assert found["mean"].tolist() == [5, 16, 27, 38] and found["by_seed"][0] == {0: 4, 1: 6}
    assert (found["low"] < found["mean"]).all() and (found["mean"] < found["high"]).all()


def test_bins_of_photos_are_averaged_by_seed():
    frame = pd.DataFrame({"photo": np.repeat([0, 1, 2], 4), "seed": np.repeat([0, 0, 1], 4), "x": [1, 2, 3, 4] * 3})
    frame["x"] += 10 * frame["photo"]
    found = people.binned(frame.assign(y=[1.0, 1, 5, 5, 3, 3, 7, 7, 0, 0, 0, 0]), "x", "y", bins=2, within="photo")
    assert found["by_seed"].tolist() == [{0: 2, 1: 0}, {0: 6, 1: 0}] and found["mean"].tolist() == [1, 3]


def test_fewer_people_than_bins_leave_out_no_one():
    frame = pd.DataFrame({"x": [3.0, 1.0], "y": [1.0, np.nan], "seed": [0, 0]})
    assert people.binned(frame, "x", "y", bins=5)["lines"].tolist() == [1]


def test_effects_are_changes_against_the_first_dose():
    rows = [("f", "pose", dose, seed, one, 10 * one + dose * (one + seed))
            for seed in (0, 3) for dose in (0, 1, 2) for one in (1, 2, 3)]  # fmt: skip
    tried = pd.DataFrame(rows, columns=["form", "factor", "dose", "seed", "identity", "gap"])
    found = people.dose_effects(tried, ("gap",))
    assert found["dose"].tolist() == [0, 1, 2] and set(found["what"]) == {"gap"}
    assert found["mean"].tolist() == [0, 3.5, 7], "everybody against their own first dose"
    assert found["low"].iloc[0] == found["high"].iloc[0] == 0
    assert found["seeds"].tolist() == [2] * 3 and found["low"].iloc[2] < 4 < 10 < found["high"].iloc[2]


# Streisand


def test_verdicts():
    chance_alone = np.linspace(-1, 1, 41)  # its 2.5 % quantile is -0.95
    found = people.verdicts([-2.0, -0.5, 0.5, 1.5, -0.96], [1.0, 1.0, 1.0, 1.0, -3.0], chance_alone)
    assert found.tolist() == ["streisand", "", "", "better", "streisand"]


# Figures


def line_of_people():
    frame = pd.DataFrame({"x": chance(1).normal(size=20), "y": chance(2).normal(size=20), "seed": np.arange(20) % 2})
    return frame, people.binned(frame, "x", "y", bins=4)


def test_bars_and_dots_are_drawn():
    frame, bars = line_of_people()
    ax = figures.plot_by_distance(frame, bars, "x", "y", labels=("far", "gap"), marked=frame["y"] < -1, mark="hard")
    assert [bar.get_height() for bar in ax.patches] == pytest.approx(bars["mean"].tolist())
    dots, rings = (c.get_offsets() for c in ax.collections if len(c.get_offsets()) and hasattr(c, "get_sizes"))
    assert len(dots) == 20 and len(rings) == (frame["y"] < -1).sum()
    assert ax.get_legend_handles_labels()[1] == ["hard"]
    assert figures.plot_by_distance(frame, bars, "x", "y", labels=("far", "gap")).get_legend() is None


def test_fifths_are_lines_with_seeds_behind_the_first():
    _, bars = line_of_people()
    ax = figures.plot_fifths({"mean of three": bars, "original": bars, "pgu": bars.iloc[:0]}, "gap")
    assert ax.get_legend_handles_labels()[1] == ["one seed", "mean of three", "Original"], (
        "what has no people is left out"
    )
    thin = [line for line in ax.lines if line.get_alpha() == 0.3]
    assert ax.get_xlabel() == "bins by distance"
    assert len(thin) == 2 and [tick.get_text() for tick in ax.get_xticklabels()] == ["1\nnear", "2", "3", "4\nfar"]
    assert not figures.plot_fifths({}, "gap").get_xticks().size


def test_trends_are_filled_where_zero_lies_outside():
    found = pd.DataFrame(
        [("ssd one-shui", "loss", 0.5, 0.2, 0.7), ("original", "loss", 0.1, -0.2, 0.4)],
        columns=["form", "measure", "rho", "low", "high"],
    )
    axes = [figures.canvas(3, 2)]
    figures.plot_trends(found, axes, ["in loss"])
    dots = [c for c in axes[0].collections if hasattr(c, "get_sizes")]
    white = (1, 1, 1, 1)
    assert [tuple(dot.get_facecolor()[0]) == white for dot in dots] == [False, True]
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["SSD (one-shui)", "Original"]


def test_doses_have_an_axes_a_factor():
    rows = [(f, d, m, 1.0, 0.5, 1.5) for f in ("pose", "light") for m in ("pgu one-shui", "") for d in (0, 0.5, 1)]
    doses = pd.DataFrame(rows, columns=["factor", "dose", "form", "mean", "low", "high"])
    axes = plt.subplots(1, 2)[1]
    figures.plot_doses(doses, axes, "gap")
    assert [ax.get_xlabel() for ax in axes] == ["pose", "light"]
    assert [tick.get_text() for tick in axes[0].get_xticklabels()] == ["0", "0.5", "1"]
    assert axes[1].get_legend_handles_labels()[1] == ["PGU (one-shui)"]


def test_influence_adds_up():
    ax = figures.plot_influence(pd.DataFrame({"own": [0.3, 0.1], "others": [-0.5, 0.2]}))
    (marks,) = (c.get_offsets() for c in ax.collections)
    assert marks[:, 0].tolist() == pytest.approx([-0.2, 0.3])
