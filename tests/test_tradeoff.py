"""Trade-off curves: growing strength, and the area under them."""

import numpy as np
import pandas as pd
import pytest
from tiny import prepare_tiny

from shui_lib.experiment import Experiment
from shui_lib.tradeoff import COLUMNS, KEY, STRENGTH, curve, main, price, prices


def drawn(forget: list[float], retain: list[float], **more: object) -> pd.DataFrame:
    return pd.DataFrame({"forget": forget, "retain": retain}).assign(**more)


def test_the_price_is_the_slope_of_the_line_with_the_same_area():
    straight = drawn([0, 5, 10], [0, 1, 2])
    assert price(straight, 10) == pytest.approx(0.2)
    assert price(straight, 7.5) == pytest.approx(0.2)  # cut between two strengths
    assert price(drawn([0, 10], [0, 0]), 10) == 0
    assert price(drawn([0, 4, 10], [0, 0, 3]), 10) == pytest.approx(0.18)


def test_a_method_that_never_gets_there_has_no_price():
    assert np.isnan(price(drawn([0, 5], [0, 1]), 6))


def test_prices_are_for_forgetting_as_retraining_does():
    key = {"dataset": "faces", "preset": "cpu", "n_ids": 10, "seed": 0, "gap": 10.0}
    far, near = drawn([0, 20], [0, 20], form="far"), drawn([0, 8], [0, 4], form="near")
    (found,) = prices(pd.concat([far, near]).assign(**key)).to_dict("records")
    assert found["far"] == pytest.approx(1.0) and np.isnan(found["near"])


def test_a_curve_starts_at_nothing_and_grows(tmp_path):
    prepare_tiny(tmp_path / "data" / "tiny")
    where = {"data_root": tmp_path / "data", "runs_root": tmp_path / "runs", "device": "cpu"}
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, **where)
    found = curve(one, "gradient_ascent")
    assert found.loc[0, ["strength", "retain", "forget", "test"]].tolist() == [0] * 4
    assert found.loc[0, "tow"] == pytest.approx(one.tug_of_war("original"))
    assert found["strength"].is_monotonic_increasing and found["support_loss"].is_monotonic_increasing
    eta = one.method("gradient_ascent").eta
    again = one.with_settings({"gradient_ascent": {"eta": found["strength"].iloc[-1]}})
    lost = 100 * (one.score("original", "test") - again.score("gradient_ascent", "test"))
    assert found["strength"].iloc[1] == pytest.approx(eta / 8) and found["test"].iloc[-1] == pytest.approx(lost)


def test_a_second_run_replaces_the_first(tmp_path):
    prepare_tiny(tmp_path / "data" / "tiny")
    told = ["--dataset", "tiny", "--n-ids", "2", "--reserved", "3", "--preset", "smoke", "--data-root"]
    told += [str(tmp_path / "data"), "--runs-root", str(tmp_path / "runs"), "--results", str(tmp_path / "found.csv")]
    main([*told, "--seeds", "0"])
    once = pd.read_csv(tmp_path / "found.csv")
    main([*told, "--seeds", "0"])
    assert list(once) == [*KEY, *COLUMNS] and set(once["form"]) == set(STRENGTH)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "found.csv"), once)
