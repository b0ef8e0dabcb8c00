"""Figures that can be read: names that do not lie over each other, and no pile at the origin."""

from itertools import combinations

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from shui_lib.core.rows import Measured, make_rows
from shui_workbook import figures
from shui_workbook.figures.ltu import plot_kept
from shui_workbook.figures.tradeoff import price_by_share
from shui_workbook.reports.tables import BESIDE, LEFT_OVER, PAPERS, tug_of_wars


@pytest.fixture(autouse=True)
def no_figure_is_left_open():
    yield
    plt.close("all")


def words(ax):
    """Every annotation of an axes with the box that it takes up, in pixels."""
    ax.figure.canvas.draw()
    return {text.get_text(): Text.get_window_extent(text) for text in ax.texts}  # without the line to its point


def test_forms_at_the_origin_are_one_mark_and_a_list_of_names():
    drops = pd.DataFrame(
        {"forget": [0.2, -0.3, 9.0], "retain": [0.1, 0.0, 4.0]}, ["jit one-shui", "meta_unlearn", "pgu"]
    )
    ax = figures.plot_tradeoff(drops)
    (listed,) = [text for text in words(ax) if "hardly moved" in text]
    assert "JiT (one-shui)\nMetaUnlearn" in listed and "PGU" not in listed
    marks = [line for line in ax.lines if line.get_marker() not in ("None", None, "")]
    assert len(marks) == 2, "one for PGU, one for those at the origin"


def test_names_of_near_points_do_not_lie_over_each_other():
    places = {"forget": [5.0, 5.1, 5.2, 5.3], "retain": [2.0, 2.02, 2.04, 2.3]}
    boxes = [*words(figures.plot_tradeoff(pd.DataFrame(places, ["ssd", "jit", "pgu", "scrub"]))).values()]
    assert len(boxes) == 4
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_a_name_lies_on_no_other_point_and_no_line_strikes_it_through():
    places = {"forget": [3.0, 4.4, 18.0], "retain": [0.1, 0.3, 11.0]}
    ax = figures.plot_tradeoff(pd.DataFrame(places, ["scrub original", "scrub one-shui", "pgu"]))
    name = words(ax)["SCRUB (original)"]
    assert not name.contains(*ax.transData.transform((4.4, 0.3))), "it would hide the other form's mark"
    assert all(text.get_path_effects() and text.get_zorder() > 4 for text in ax.texts)


def test_numbers_on_the_map_of_people_do_not_lie_over_each_other():
    places = {"x": [0.0, 0.01, 0.02, 5.0], "y": [0.0, 0.02, 0.01, 5.0], "change": [0.4, 0.3, 0.2, 0.1]}
    people = pd.DataFrame(places, index=[118, 193, 167, 38]).assign(part="retain")
    people = pd.concat([people, people.iloc[:1].assign(part="test"), people.iloc[:1].assign(part="forget")])
    shown = words(figures.plot_people(people, (0.3, 0.2)))
    assert set(shown) == {"118", "193", "167", "38"}
    assert not any(one.overlaps(other) for one, other in combinations(shown.values(), 2))


def curve(form, seed, forget, retain):
    return pd.DataFrame({"form": form, "seed": seed, "forget": forget, "retain": retain, "gap": 20.0})


def test_the_price_is_the_mean_of_seeds_at_equal_shares_of_what_retraining_forgets():
    curves = pd.concat([
        curve("pgu", 0, [0, 10, 20], [0, 2, 6]),
        curve("pgu", 1, [0, 5, 25], [0, 2, 10]),
        curve("jit", 0, [0, 4, 3], [0, 1, 5]),  # it goes back: only the first way counts
    ])  # fmt: skip
    found = price_by_share(curves)
    assert found.loc[50, "pgu"] == pytest.approx((2 + 4) / 2)
    assert found.loc[100, "pgu"] == pytest.approx((6 + 8) / 2)
    assert found.loc[10, "jit"] == pytest.approx(0.5) and found.loc[20, "jit"] == pytest.approx(1)
    assert found["jit"].loc[22:].isna().all(), "it never gets farther"


def test_every_line_of_the_trade_off_has_its_name():
    curves = pd.concat([curve("pgu", 0, [0, 20], [0, 6]), curve("curvature", 0, [0, 20], [0, 2])])
    ax = figures.plot_tradeoff_curves(curves, pd.DataFrame({"forget": [20.0], "retain": [0.5]}))
    assert set(words(ax)) == {"PGU", "Curvature", "Retrained"}
    assert ax.get_legend() is None and ax.get_title(loc="left") == ""


def test_forms_that_forget_nothing_are_named_above_and_not_at_the_origin():
    curves = pd.concat([curve("pgu", 0, [0, 20], [0, 6]), curve("jit", 0, [0, 0], [0, 0])])
    ax = figures.plot_tradeoff_curves(curves, pd.DataFrame({"forget": [20.0], "retain": [0.5]}))
    assert set(words(ax)) == {"PGU", "Retrained"}
    assert ax.get_title(loc="left") == "forget nothing: JiT"


def test_where_retraining_forgets_nothing_there_is_no_price():
    """A request of one may leave the forget score as it was (ages, one person)."""
    nothing = curve("pgu", 0, [0, 1], [0, 6]).assign(gap=0.0)
    ax = figures.plot_tradeoff_curves(nothing, pd.DataFrame({"forget": [0.0], "retain": [0.5]}))
    assert any("nothing has a price" in text for text in words(ax))
    both = pd.concat([nothing.assign(seed=1), curve("pgu", 0, [0, 20], [0, 6])])
    assert set(words(figures.plot_tradeoff_curves(both, pd.DataFrame({"forget": [20.0], "retain": [0.5]})))) == {
        "PGU",
        "Retrained",
    }


def test_trials_that_a_later_search_replaced_are_not_drawn():
    old = pd.DataFrame({"form": "ssd:one-shui", "tow": [99.0, 70.0], "tow_before": 90.0, "replaced": "abc"})
    new = old.assign(tow=[80.0, 75.0], tow_before=81.0, replaced=[np.nan, ""])
    ax = figures.plot_trials(pd.concat([old, new]))
    assert sorted({x for dots in ax.collections for x, _ in dots.get_offsets()}) == [-6, -1]


def test_trials_are_compared_with_doing_nothing_on_their_own_requests():
    easy = pd.DataFrame({"form": "ssd:one-shui", "tow": [92.0, 93.0], "tow_before": 91.0})
    hard = pd.DataFrame({"form": "bad_teacher:one-shui", "tow": [88.0, 89.5], "tow_before": 90.0})
    ax = figures.plot_trials(pd.concat([easy, hard]))
    best = [max(x for x, _ in dots.get_offsets()) for dots in ax.collections[1::2]]
    assert best == [2, -0.5] and ax.lines[0].get_xdata()[0] == 0, "the mean of both baselines would show a gain"


def test_the_numbers_of_a_gain_lie_within_their_panel():
    steps = pd.DataFrame({"mean": [9.6, -1.0, np.nan], "low": [6.4, -7.3, np.nan], "high": [12.8, 5.4, np.nan]})
    _, axes = plt.subplots(1, 2, figsize=(7, 2.4), layout="constrained")
    figures.plot_split({"faces": steps, "ages": 3 * steps}, axes)
    for ax in axes:
        shown, panel = words(ax), ax.get_window_extent()
        numbers = [box for word, box in shown.items() if word != "not run"]
        assert len(numbers) == 2 and all(box.x0 > panel.x0 and box.x1 < panel.x1 for box in numbers)


def test_lines_of_shares_differ_in_colour_and_marker():
    names = ["LTU", "FT", "RandL", "SalUn", "BadT"]
    lines = [{"line": name, "kept": kept, "mean": 5, "low": 4, "high": 6} for name in names for kept in (0.1, 0.3)]
    drawn = [bars.lines[0] for bars in plot_kept(pd.DataFrame(lines), 2.0).containers]
    assert len({line.get_color() for line in drawn}) == len({line.get_marker() for line in drawn}) == len(names)
    assert not {line.get_color() for line in drawn[1:]} & {colour for _, colour, _ in figures.METHODS.values()}
    starts = [line.get_xdata()[0] for line in drawn]
    assert np.diff(starts).min() > 0.1, "intervals of one share stand side by side"


def test_a_strategy_is_shown_with_its_line_and_its_marks():
    about = {"split": "retain", "metric": "map", "method": "curvature"}
    rows = pd.DataFrame([{**about, "variant": "queue 5", "step": step, "value": 70.0} for step in range(1, 21)])
    _, grid = plt.subplots(2, 1, squeeze=False)
    for line in grid:
        figures.plot_sequences(rows, line, [("retain", "map", "retain")])
    above, below = grid[:, 0]
    (drawn,) = above.lines
    assert drawn.get_linestyle() == "--" and drawn.get_marker() == "s" and drawn.get_markevery() == [4, 9, 14, 19]
    assert (above.get_xlabel(), below.get_xlabel()) == ("", "requests so far") and above.get_ylabel() == "percent"


def test_klom_is_drawn_beside_its_floor_part_by_part():
    lines = [
        {"form": form, "part": part, "klom": value, "low": value - 1, "high": value + 1}
        for form, values in {"retrained_again": (2.0, 3.0), "original": (7.0, 3.5), "curvature": (4.0, 5.0)}.items()
        for part, value in zip(("forget", "test"), values, strict=True)
    ]
    forget, test = figures.plot_klom(pd.DataFrame(lines))
    assert [label.get_text() for label in forget.get_yticklabels()] == ["Original", "Curvature"]
    for ax, floor, mine in ((forget, 2, 7), (test, 3, 3.5)):
        dashed = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
        assert dashed == [floor] and ax.lines[0].get_xdata()[0] == mine


def some_rows(method, value, **about):
    about = {"dataset": "faces", "preset": "cpu", "model": "vit", "n_ids": 10, "seed": 0, "seconds": 1.0, "git": "a",
             "config": "0", "device": "cpu", "method": method, **about}  # fmt: skip
    return make_rows({("all", "tow"): Measured(value)}, about)


def test_the_papers_values_and_ours_stand_by_setting_and_form():
    reported = pd.DataFrame({
        "dataset": "celeba", "n_ids": 10, "method": ["ssd", "jit"], "variant": np.nan, "metric": "tow",
        "mean": ["10.0", "not run"], "std": ["1.0", ""],
    })  # fmt: skip
    ours = [some_rows("ssd", 70.0, variant="one-shui"), some_rows("ssd", 80.0, variant="one-shui", seed=1)]
    ours += [some_rows("ssd", 1.0, variant="original"), some_rows("curvature", 90.0), some_rows("jit", 9.0, n_ids=5)]
    found = tug_of_wars(pd.concat(ours), reported)
    assert len(found) == 2 * len(BESIDE | LEFT_OVER)
    paper, here = found["paper: celeba, 10"], found["here: faces, 10"]
    assert list(paper.index) == list(PAPERS) and paper.loc["ssd", "tow"] == 10
    assert np.isnan(paper.loc["jit", "tow"])
    assert here.loc["ssd", "tow"] == 75 and here.loc["curvature", "tow"] == 90 and np.isnan(here.loc["jit", "tow"])
    axes = figures.plot_reported(found)
    below = next(ax for ax in axes if ax.get_title() == "paper: celeba, 10")
    assert "10" in words(below), "what lies below the axis is told with its number"


def test_a_weak_push_is_seen_beside_a_strong_one():
    push = np.array([[100.0, -50.0], [0.01, -0.02]])
    ax = figures.plot_push(push, ["strong", "weak"], ["a", "b"])
    shown = ax.collections[0].get_array().reshape(2, 2)
    assert np.allclose(np.abs(shown).max(axis=1), 1), "each person has a scale of its own"
    assert [label.get_text() for label in ax.get_yticklabels()] == ["strong: 1e+02", "weak: 0.02"]


def test_a_bargain_says_its_numbers():
    lost = pd.DataFrame({"forget": [12.5, -0.3], "retain": [9.1, 0.4]}, ["gradient_ascent", "retrained"])
    assert set(words(figures.plot_bargain(lost))) == {"12.5", "-0.3", "9.1", "0.4"}


def test_the_pipeline_has_two_rows_that_share_their_steps():
    shown = [text.get_text() for text in figures.plot_pipeline().texts]
    assert sum("one step" in text for text in shown) == 2
    assert any("the data is gone" in text for text in shown)


def test_layers_have_short_names_of_nine_points():
    few = figures.plot_by_layer(pd.DataFrame(0.5, [f"blocks.{k}" for k in range(4)], ["ssd"]), "CKA")
    first = few.get_xticklabels()[0]
    assert (first.get_text(), first.get_rotation()) == ("block 0", 0)
    layers = [f"network.blocks.{k}.attn.qkv.weight" for k in range(12)]
    ax = figures.plot_weight_changes(pd.DataFrame(1e-2, ["ssd"], layers))
    assert ax.get_xticklabels()[3].get_text() == "3 attn.qkv"
    assert {label.get_fontsize() for label in ax.get_xticklabels()} == {9.0}


def test_chance_has_a_mark_where_it_is_known():
    frame = pd.DataFrame(
        {"attribute": ["hat", "beard"], "method": "original", "score": [80.0, 60.0], "chance": [30, 10]}
    )
    ax = figures.plot_by_row(frame, "attribute", "score", "average precision (%)")
    marks = [one for one in ax.collections if one.get_label() == "chance"]
    assert [list(place) for place in marks[0].get_offsets()] == [[30, 0], [10, 1]]
