"""The metric laboratory and the attack's figures: pure functions, drawn headlessly, and sliders that redraw."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from shui_lib.attack import rmia
from shui_lib.attack.rmia import Signals
from shui_workbook import figures
from shui_workbook.course import laboratory

NEGATIVES = 120


def likely(seed: int, *, known: float) -> dict[str, Signals]:
    """Likelihoods of three queries; members are likelier by `known` under the model than under the reference."""
    chance = np.random.default_rng(seed)
    found = {}
    for part, n, gain in (("members", 30, known), ("non_members", NEGATIVES, 0), ("population", 200, 0)):
        reference = chance.uniform(0.3, 0.7, (3, n))
        found[part] = Signals((reference + gain + chance.normal(0, 0.05, (3, n))).clip(0.01, 1), reference)
    return found


@pytest.fixture
def cached():
    return {"original": likely(0, known=0.2), "ssd one-shui published": likely(1, known=0.0)}


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


# Measuring


def test_measure_is_rmia(cached):
    found = laboratory.measure(cached)
    groups = cached["original"]
    members, others = (rmia.scores(groups[p], groups["population"]) for p in ("members", "non_members"))
    mine = found.scores[found.scores["form"] == "original"]
    assert np.array_equal(mine["score"], [*members, *others]), "in the order given: identities are laid beside them"
    curve = rmia.roc(members, others)
    assert found.readings.loc["original", "auc"] == pytest.approx(100 * rmia.auc(curve))
    assert found.readings.loc["original", "tpr"] == pytest.approx(100 * rmia.tpr_at(curve, 0.01))
    drawn = found.curves[found.curves["form"] == "original"]
    assert np.array_equal(drawn["fpr"], curve.fpr) and np.array_equal(drawn["tpr"], curve.tpr)
    assert found.readings["auc"].idxmax() == "original"


def test_nothing_given_is_changed(cached):
    before = {part: np.copy(signal) for part, signal in cached["original"].items()}
    laboratory.measure(cached, gamma=2.0, a=0.5, negatives=10)
    assert all(np.array_equal(before[part], signal) for part, signal in cached["original"].items())


@pytest.mark.parametrize("negatives", [100, 99])
def test_the_resolution_limit_becomes_visible(cached, negatives):
    one = laboratory.measure(cached, fpr=0.01, negatives=negatives).readings.loc["original"]
    assert np.isnan(one["tpr"]) == (negatives < 100)
    assert one["reason"] == ("" if negatives == 100 else "TPR not resolvable (N₋ = 99)")


def test_ties_at_the_top_become_visible(cached):
    few = {"original": cached["original"] | {"population": Signals(np.full((1, 2), 1e-3), np.ones((1, 2)))}}
    one = laboratory.measure(few, fpr=0.01).readings.loc["original"]
    assert np.isnan(one["tpr"]) and one["reason"].endswith(f"of N₋ = {NEGATIVES} tie at the top)")


def test_fewer_negatives_are_a_part_of_more(cached):
    def drawn(count):
        scores = laboratory.measure(cached, negatives=count).scores
        return scores.loc[(scores["form"] == "original") & (scores["group"] == "non-member"), "score"]

    assert len(drawn(20)) == 20
    assert set(drawn(20)) <= set(drawn(50)) <= set(drawn(None))
    assert drawn(50).tolist() == drawn(50).tolist()


@pytest.mark.parametrize("negatives", [0, NEGATIVES + 1])
def test_negatives_that_are_not_there_are_refused(cached, negatives):
    with pytest.raises(ValueError, match=f"{negatives} negatives asked for: there are 1 to {NEGATIVES}"):
        laboratory.measure(cached, negatives=negatives)


def test_a_large_gamma_switches_the_attack_off(cached):
    found = {gamma: laboratory.measure(cached, gamma=gamma).readings.loc["original"] for gamma in (1, 4)}
    assert found[1]["auc"] > 80 and found[1]["tied"] < 5
    assert found[4]["auc"] == pytest.approx(50, abs=2) and found[4]["tied"] > 95


def test_a_row_in_words():
    rows = pd.DataFrame(
        {"value": [61.42, 50.0, np.nan], "low": [33.9, np.nan, np.nan], "high": [79.2, np.nan, np.nan]}
    ).assign(note=["", "no interval from one identity", "settings selected for cpu/faces/10; not resolvable (N₋ = 9)"])
    said = rows.apply(laboratory.in_words, axis=1).tolist()
    assert said == ["61.4 [33.9, 79.2]", "50.0 no interval from one identity", "not resolvable (N₋ = 9)"]


# Figures


@pytest.mark.parametrize("knobs", [{}, {"gamma": 4.0}, {"fpr": 1e-4}, {"negatives": 1}, {"gamma": 4.0, "fpr": 0.3}])
def test_the_laboratory_is_drawn(cached, knobs):
    curve, scores = laboratory.draw(cached, **knobs)
    curve.figure.canvas.draw()
    left, right = curve.get_xlim()
    assert 0 < left <= knobs.get("fpr", 0.01) <= right
    resolved = rmia.resolvable(knobs.get("fpr", 0.01), knobs.get("negatives", NEGATIVES))
    assert ("not resolvable" in curve.get_title()) != resolved
    assert "tie at zero" in scores.get_title()
    assert [text.get_text().split("\n")[0] for text in scores.get_legend().get_texts()] == [
        "Original",
        "SSD (one-shui, published)",
    ]


@pytest.mark.parametrize("log", [True, False])
def test_roc_is_drawn_with_its_limit(cached, log):
    ax = figures.plot_roc(laboratory.measure(cached).curves, negatives=NEGATIVES, log=log)
    assert len(ax.get_lines()) == 3, "two forms, and guessing"
    assert (ax.get_xscale() == "log") == log
    if log:
        assert ax.get_xlim()[0] < 1 / NEGATIVES, "the shaded part is in sight"
    ax.figure.canvas.draw()


def test_the_steps_of_rmia_are_drawn(cached):
    groups = cached["original"]
    population = rmia.ratio(groups["population"])[0]
    ratios = {"member": rmia.ratio(groups["members"])[:, 0], "non-member": rmia.ratio(groups["non_members"])[:, 0]}
    ax = figures.plot_ratios(population, ratios, gamma=1.0)
    score = rmia.scores(groups["members"], groups["population"])[0]
    assert f"member: above {100 * score:.0f} % of z" in [text.get_text() for text in ax.get_legend().get_texts()]
    scores = laboratory.measure(cached).scores
    ax = figures.plot_rmia_scores(scores[scores["form"] == "original"], threshold=0.9)
    heights = [sum(bar.get_height() for bar in bars) for bars in ax.containers]
    assert heights == pytest.approx([100, 100])


def test_people_are_drawn_in_the_order_of_their_means():
    scores = pd.DataFrame({"identity": [7, 7, 3, 3], "group": ["member"] * 2 + ["non-member"] * 2})
    ax = figures.plot_identity_scores(scores.assign(score=[0.9, 0.7, 0.1, 0.3]))
    means = ax.collections[-1].get_offsets()
    assert means[:, 0].tolist() == pytest.approx([0.2, 0.8]) and means[:, 1].tolist() == [0, 1]


# Sliders


def test_sliders_redraw(cached):
    seen = []
    panel = laboratory.panel(lambda **knobs: seen.append(knobs), NEGATIVES)
    gamma, a, fpr, negatives = panel.children[:4]
    assert seen == [{"gamma": rmia.GAMMA, "a": rmia.A, "fpr": 0.01, "negatives": NEGATIVES}], "the default first"
    gamma.value, a.value, fpr.value, negatives.value = 2.0, 0.5, 1e-3, 20
    assert len(seen) == 5
    assert seen[-1] == {"gamma": 2.0, "a": 0.5, "fpr": pytest.approx(1e-3), "negatives": 20}


def test_every_end_of_every_slider_can_be_drawn(cached):
    drawn = []

    def picture(**knobs):
        drawn.append(laboratory.draw(cached, **knobs))
        plt.close("all")

    sliders = laboratory.panel(picture, NEGATIVES).children[:4]
    for slider in sliders:
        is_log = hasattr(slider, "base")
        for end in (slider.min, slider.max):
            slider.value = slider.base**end if is_log else end
    assert len(drawn) >= len(sliders) + 1


@pytest.mark.parametrize(("word", "alive"), [("live", True), ("plain", False), ("off", False)])
def test_widgets_are_for_live_sessions(monkeypatch, word, alive):
    monkeypatch.setenv("SHUI_PROGRESS", word)
    assert laboratory.live() == alive
