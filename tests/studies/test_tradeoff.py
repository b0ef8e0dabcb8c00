"""Trade-off curves: growing strength, and the area under them."""

import numpy as np
import pandas as pd
import pytest
from tiny import prepare_tiny

from shui_lib.methods.parts.meta_gradient import loss_gradient, parameters
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies import tradeoff
from shui_workbook.studies.tradeoff import (
    BETWEEN,
    COLUMNS,
    CURVE_KEY,
    LOSSES,
    ONE_STEP,
    STRENGTH,
    _resolved,
    _thinned,
    along,
    by_share,
    curve,
    main,
    price,
    prices,
    stops,
)


def drawn(forget: list[float], retain: list[float], **more: object) -> pd.DataFrame:
    return pd.DataFrame({"forget": forget, "retain": retain}).assign(**more)


def test_the_price_is_the_slope_of_the_line_with_the_same_area():
    straight = drawn([0, 5, 10], [0, 1, 2])
    assert price(straight, 10) == pytest.approx(0.2)
    assert price(straight, 7.5) == pytest.approx(0.2)  # cut between two strengths
    assert price(drawn([0, 10], [0, 0]), 10) == 0
    assert price(drawn([0, 4, 10], [0, 0, 3]), 10) == pytest.approx(0.18)


def lost(form: str, seed: int, forget: list[float], retain: list[float]) -> pd.DataFrame:
    return drawn(forget, retain, form=form, seed=seed, gap=20.0)


def test_the_price_is_the_mean_of_seeds_at_equal_shares_of_what_retraining_forgets():
    curves = pd.concat([
        lost("pgu", 0, [0, 10, 20], [0, 2, 6]),
        lost("pgu", 1, [0, 5, 25], [0, 2, 10]),
        lost("jit", 0, [0, 4, 3], [0, 1, 5]),  # it goes back: only the first way counts
    ])  # fmt: skip
    found = by_share(curves)
    assert found.loc[50, "pgu"] == pytest.approx((2 + 4) / 2)
    assert found.loc[100, "pgu"] == pytest.approx((6 + 8) / 2)
    assert found.loc[10, "jit"] == pytest.approx(0.5) and found.loc[20, "jit"] == pytest.approx(1)
    assert found["jit"].loc[22:].isna().all(), "it never gets farther"
    dip = by_share(lost("ssd", 0, [0, 10, 8, 16], [0, 2, 4, 8]))["ssd"]
    assert dip[60] == pytest.approx(6), "12 points lie on the way from 8 to 16, not from 10"


def test_a_method_that_never_gets_there_has_no_price():
    assert np.isnan(price(drawn([0, 5], [0, 1]), 6))
    assert np.isnan(price(drawn([0, 5], [0, 1]), 0)), "nothing to forget, nothing to pay for"
    assert np.isnan(price(drawn([0, 5], [0, 1]), -2))


def test_rules_stop_where_they_say():
    key = {"dataset": "faces", "preset": "cpu", "n_ids": 10, "seed": 0, "form": "curvature"}
    losses = {"support_loss": [0.4, 0.5, 0.7, 0.9], "val_loss": 0.6, "support_copies": [0.5, 0.55, 0.58, 0.6]}
    one = drawn([0, 1, 2, 3], [0, 0, 0, 0], **key, **losses, val_copies=0.62, strength=[0, 1, 1.5, 2.25])
    one = one.assign(chosen=1.0, tow=[80.0, 85.0, 90.0, 70.0])
    (found,) = stops(one).to_dict("records")
    assert np.isnan(found.pop("copies")), "never as hard as a stranger's: it never stops"
    assert found == {"untouched": 80, "photo": 90, "search": 85, "best": 90}


def test_prices_are_for_forgetting_as_retraining_does():
    key = {"dataset": "faces", "preset": "cpu", "n_ids": 10, "seed": 0, "gap": 10.0}
    far, near = drawn([0, 20], [0, 20], form="far"), drawn([0, 8], [0, 4], form="near")
    (found,) = prices(pd.concat([far, near]).assign(**key)).to_dict("records")
    assert found["far"] == pytest.approx(1.0) and np.isnan(found["near"])


def test_a_curve_starts_at_nothing_and_grows(tmp_path):
    prepare_tiny(tmp_path / "data" / "tiny")
    where = {"data_root": tmp_path / "data", "runs_root": tmp_path / "runs", "device": "cpu"}
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, **where)
    found = curve(one, "gradient_ascent", losses=True)
    assert found.loc[0, ["strength", "retain", "forget", "test"]].tolist() == [0] * 4
    assert found.loc[0, "tow"] == pytest.approx(one.tug_of_war("original"))
    assert found["strength"].is_monotonic_increasing and found["support_loss"].is_monotonic_increasing
    eta = one.method("gradient_ascent").eta
    assert found["chosen"].eq(eta).all() and found["support_copies"].is_monotonic_increasing
    again = one.with_settings({"gradient_ascent": {"eta": found["strength"].iloc[-1]}})
    lost = 100 * (one.score("original", "test") - again.score("gradient_ascent", "test"))
    assert np.isclose(found["strength"], eta / 8).any() and found["test"].iloc[-1] == pytest.approx(lost)


@pytest.mark.parametrize("form", ONE_STEP)
def test_a_form_of_one_step_finds_its_gradient_once_and_is_where_each_strength_would_take_it(
    tmp_path, monkeypatch, form
):
    prepare_tiny(tmp_path / "data" / "tiny")
    where = {"data_root": tmp_path / "data", "runs_root": tmp_path / "runs", "device": "cpu"}
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, **where)
    one = one.with_settings({form: {"eta": 0.5}})
    method, steps = type(one.method(form)), []
    unlearn = method.unlearn
    monkeypatch.setattr(method, "unlearn", lambda self, *a, **k: (steps.append(self.eta), unlearn(self, *a, **k))[1])
    once = curve(one, form, losses=True)
    assert steps == [0.5]
    monkeypatch.setattr(tradeoff, "ONE_STEP", ())
    anew = curve(one, form, losses=True)
    assert len(steps[1:]) == len(anew[1:]), "the twin unlearns at every strength but 0"
    smooth = ["strength", "chosen", "gap", *LOSSES]
    assert np.allclose(once[smooth], anew[smooth], rtol=1e-4, atol=1e-6)
    assert np.allclose(once, anew, atol=0.1), "scores, but for a rank that rounding turns round"


def test_a_curve_has_no_long_way_between_two_strengths(tmp_path):
    prepare_tiny(tmp_path / "data" / "tiny")
    where = {"data_root": tmp_path / "data", "runs_root": tmp_path / "runs", "device": "cpu"}
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, **where)
    one = one.with_settings({"gradient_ascent": {"eta": 40.0}})  # the first step takes everything
    rough, fine = (curve(one, "gradient_ascent", finest=finest) for finest in (10.0, 0.1))
    assert fine["gap"].iloc[0] > 0 and len(rough) < len(fine)
    assert set(rough["strength"]) <= set(fine["strength"]) and fine["strength"].is_monotonic_increasing


def test_strengths_are_halved_until_two_lie_close():
    found = _resolved([0.0, 1.0, 16.0], lambda strength: strength, most=1.0, goal=8.0)
    inside = np.diff([strength for strength in found if strength <= 8])
    assert inside.max() <= 1 and {0.0, 1.0, 16.0} <= set(found)
    jump = _resolved([0.0, 1.0], lambda strength: 10.0 * (strength > 0.3), most=1.0, goal=8.0)
    assert len(jump) == 2 + BETWEEN, "a jump is halved a few times and not for ever"
    noisy = _resolved([float(k) for k in range(19)], lambda strength: hash(strength) % 7, most=0.1, goal=99.0)
    assert len(noisy) == 19 + BETWEEN, "scores of few images always jump"
    assert _resolved([0.0, 1.0], lambda strength: 5.0, most=0.0, goal=0.0) == [0.0, 1.0]


def test_of_strengths_close_together_few_are_looked_at():
    close = [0.0, 0.1, 0.2, 0.9, 1.1, 1.5, 4.0]
    assert _thinned(close, lambda strength: strength, 1.0) == [0.0, 0.9, 1.5, 4.0], "1.5 to 4 was as far before"
    assert _thinned(close, lambda strength: 0.0, 1.0) == [0.0, 4.0], "what never moves is a line between two points"
    assert _thinned(close, lambda strength: strength, -1.0) == close, "no goal: nothing is left out"


def test_the_images_of_those_who_stay_are_asked_for_the_lines_alone(tmp_path, monkeypatch):
    prepare_tiny(tmp_path / "data" / "tiny")
    where = {"data_root": tmp_path / "data", "runs_root": tmp_path / "runs", "device": "cpu"}
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, **where)
    sizes = {part: len(one.part(part)) for part in ("retain", "forget")}
    one.scores("original"), one.scores("retrained"), one.artefacts("gradient_ascent")
    asked, predict = [], tradeoff.predict
    monkeypatch.setattr(tradeoff, "predict", lambda m, x, **o: (asked.append(len(x)), predict(m, x, **o))[1])
    found = curve(one, "gradient_ascent")
    assert sizes["retain"] != sizes["forget"] and asked.count(sizes["retain"]) == len(found)
    assert asked.count(sizes["forget"]) > len(found)
    asked.clear()
    assert curve(one, "gradient_ascent", most=3)["forget"].equals(found["forget"])
    assert asked.count(sizes["retain"]) == 0 and asked.count(3) >= 2 * len(found), "of retain and test some alone"


def test_ssd_grows_as_its_threshold_falls(tmp_path):
    prepare_tiny(tmp_path / "data" / "tiny")
    where = {"data_root": tmp_path / "data", "runs_root": tmp_path / "runs", "device": "cpu"}
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, **where)
    found, alpha = curve(one, "ssd:one-shui"), one.method("ssd:one-shui").alpha
    assert np.isclose(found["strength"], 1 / (8 * alpha)).any() and found["chosen"].eq(1 / alpha).all()


def test_a_second_run_replaces_the_first(tmp_path, monkeypatch):
    monkeypatch.setattr("shui_workbook.studies.tradeoff.MOST", 2)
    monkeypatch.setattr("shui_workbook.studies.tradeoff.BETWEEN", 1)
    prepare_tiny(tmp_path / "data" / "tiny")
    told = ["--dataset", "tiny", "--n-ids", "2", "--reserved", "3", "--preset", "smoke", "--data-root"]
    told += [str(tmp_path / "data"), "--runs-root", str(tmp_path / "runs"), "--results", str(tmp_path / "found.csv")]
    main([*told, "--seeds", "0"])
    once = pd.read_csv(tmp_path / "found.csv")
    main([*told, "--seeds", "0"])
    assert list(once) == [*CURVE_KEY, *COLUMNS, "git"] and set(once["form"]) == set(STRENGTH)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "found.csv"), once)


def test_a_direction_is_followed_as_the_method_that_takes_it(tmp_path):
    prepare_tiny(tmp_path / "data" / "tiny")
    where = {"data_root": tmp_path / "data", "runs_root": tmp_path / "runs", "device": "cpu"}
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, **where)
    model = one.model("original")
    gradient = loss_gradient(model, parameters(model), one.part("support"))[2]
    found = along(one, {name: 7.0 * g for name, g in gradient.items()})
    last, length = found.iloc[-1], sum(g.square().sum() for g in gradient.values()).sqrt().item()
    again = one.with_settings({"gradient_ascent": {"eta": last["strength"] / length, "copies": 0}})
    assert again.tug_of_war("gradient_ascent") == pytest.approx(last["tow"], abs=0.05)
    assert found["strength"].iloc[0] == 0 and found["retain"].iloc[0] == 0


def test_a_form_without_a_curve_is_named(tmp_path):
    with pytest.raises(SystemExit, match="no curve is known of curvture: choose from gradient_ascent, .*curvature"):
        main(["--forms", "curvature", "curvture", "--results", str(tmp_path / "tradeoff.csv")])
