"""Numbers that chapters state in words are those of the committed rows."""

import re
from functools import cache
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from shui_workbook.records import interval, over_seeds, paired_difference, read_rows
from shui_workbook.reports.sequences import sequences
from shui_workbook.studies import handle, upper_ends
from shui_workbook.studies.gain import split
from shui_workbook.studies.matched import ETAS, compared
from shui_workbook.studies.tradeoff import prices, stops

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"
KEY = ["dataset", "n_ids", "preset"]
FACES, AGES = ("faces", 10, "cpu"), ("ages", 10, "cpu")
TWENTY, FIFTY, PRETRAINED = ("celebahq", 20, "cpu"), ("celebahq", 50, "cpu"), ("celebahq", 20, "face-resnet")
RENDERED = ("faces", 10, "face-resnet")  # by the pretrained network


@cache
def cell(chapter: str, name: str) -> str:
    """The source of a chapter's cell."""
    (path,) = (ROOT / "notebooks").glob(f"{chapter}_*.ipynb")
    return next(c.source for c in nbformat.read(path, as_version=4).cells if c.id == name)


@cache
def rows() -> pd.DataFrame:
    return read_rows(RESULTS)


def of(setting: tuple[str, int, str], found: pd.DataFrame) -> pd.DataFrame:
    return found[(found[KEY] == pd.Series(setting, KEY)).all(axis=1) & (found.get("step", 0) == 0)]


def written(found: dict[str, float]) -> str:
    """As prose has it, with a minus sign: "+2.6 [−0.5, +5.6]"."""
    return interval(found).replace("-", "−")


def is_said(found: dict[str, float], text: str) -> bool:
    return written(found) in text.replace(" points [", " [").replace(" points, [", " [")


@pytest.mark.parametrize(
    ("setting", "part"),
    [
        (FACES, "+ copies of the photo"),
        (FACES, "+ scale of each layer"),
        (FACES, "+ directions"),
        (AGES, "+ copies of the photo"),
        (AGES, "+ scale of each layer"),
        (AGES, "+ directions"),
        (AGES, "what copies add to it"),
        (FIFTY, "+ scale of each layer"),
        (FIFTY, "+ directions"),
        (TWENTY, "all together"),
        (FIFTY, "all together"),
    ],
)
def test_chapter_12_says_what_each_part_of_the_gain_adds(setting, part):
    found = split(of(setting, rows())).loc[part]
    assert is_said(found, cell("12", "12-17d")), written(found)


@pytest.mark.parametrize(
    ("setting", "form", "other"),
    [
        (FACES, "curvature arm=curvature+copies", "gradient_ascent arm=ascent"),
        (TWENTY, "curvature arm=curvature+copies", "gradient_ascent arm=ascent"),
        (FIFTY, "curvature arm=curvature+copies", "gradient_ascent arm=ascent"),
        (AGES, "curvature arm=curvature", "gradient_ascent arm=ascent"),
        (AGES, "curvature", "gradient_ascent"),
        (AGES, "gradient_ascent", "original"),
        (PRETRAINED, "curvature", "original"),
        (PRETRAINED, "pgu one-shui", "original"),
        (RENDERED, "curvature", "original"),
        (RENDERED, "gradient_ascent", "original"),
        (RENDERED, "pgu one-shui", "original"),
        (RENDERED, "ssd one-shui", "original"),
        (RENDERED, "jit one-shui", "original"),
        (RENDERED, "meta_unlearn", "original"),
    ],
)
def test_chapter_12_says_who_is_ahead_of_whom(setting, form, other):
    found = paired_difference(of(setting, rows()), form, other)
    assert is_said(found, cell("12", "12-17d")), written(found)


def test_chapter_12_says_what_a_step_gains_by_eta_and_by_its_rise():
    mine = of(RENDERED, rows())
    mine = mine[mine["seed"].isin(mine.loc[mine["variant"] == "rise", "seed"])]
    pairs = [("curvature", "original"), ("curvature rise", "original"), ("pgu rise", "pgu one-shui")]
    for found in (paired_difference(mine, *pair) for pair in pairs):
        assert is_said(found, cell("12", "12-44")), written(found)


@pytest.mark.parametrize(
    ("form", "other"),
    [
        ("curvature", "gradient_ascent"),
        ("curvature", "retrained_again"),
        ("gradient_ascent", "retrained_again"),
    ],
)
def test_chapter_12_says_who_hides_people_better(form, other):
    found = paired_difference(of(FACES, rows()), form, other, metric="rmia_auc", away_from=50.0)
    assert is_said(found, cell("12", "12-42")), written(found)


@pytest.mark.parametrize(
    ("dataset", "preset"), [("celebahq", "vit-s14"), ("celebahq", "face-resnet"), ("faces", "face-resnet")]
)
def test_chapter_02_says_what_a_pretrained_network_knows_beyond_the_small_one(dataset, preset):
    beyond = handle.against(handle.read(RESULTS)).set_index(["dataset", "preset"]).loc[(dataset, preset)]
    held = beyond[["held", "held_low", "held_high"]].set_axis(["mean", "low", "high"])
    said = interval(held.to_dict(), "+.3f").replace("-", "−")
    assert said in cell("02", "02-h2").replace(" nats [", " ["), said
    if dataset == "faces":
        points = "by {handle:.0f} points [{handle_low:.0f}, {handle_high:.0f}]".format_map(100 * beyond)
        assert points in cell("02", "02-h2"), points


@cache
def ends(setting: tuple[str, int, str]) -> pd.DataFrame:
    """What every arm gains at best, a line a seed."""
    found = upper_ends.upper_ends(of(setting, upper_ends.read(RESULTS))).reset_index()
    return found.pivot(index="seed", columns="arm", values="gain")


def mean_gain(setting: tuple[str, int, str], arm: str) -> str:
    return f"{ends(setting)[arm].mean():+.1f}".replace("-", "−")


@pytest.mark.parametrize("setting", [FACES, TWENTY, PRETRAINED, RENDERED])
def test_chapter_07_says_how_far_a_step_along_one_photo_goes_at_best(setting):
    photo = over_seeds(ends(setting)[upper_ends.COPIES])
    assert is_said(photo, cell("07", "s30")), written(photo)


@pytest.mark.parametrize("setting", [FACES, TWENTY, RENDERED])
def test_chapter_07_says_how_far_strangers_photos_go_by_luck(setting):
    luck = mean_gain(setting, "Curvature, copies of strangers' photos")
    assert re.search(rf"strangers[^.]* {re.escape(luck)}\b", cell("07", "s30")), luck


@pytest.mark.parametrize("setting", [FACES, TWENTY, PRETRAINED, RENDERED])
def test_chapter_07_says_which_share_of_it_one_photo_points_to(setting):
    by_photo, by_images = (ends(setting)[arm].mean() for arm in upper_ends.BOTH_ENDS)
    assert f"{100 * by_photo / by_images:.0f} %" in cell("07", "s30"), by_photo / by_images


@pytest.mark.parametrize(
    "arm",
    [
        upper_ends.COPIES,
        "Curvature, copies of one trained photo",
        "Curvature, copies of three trained photos",
        "Curvature, the images to forget",
    ],
)
def test_chapter_12_says_how_far_each_step_goes_at_best(arm):
    assert mean_gain(FACES, arm) in cell("12", "12-42"), mean_gain(FACES, arm)


def test_chapter_12_says_that_other_ways_to_divide_find_no_more():
    gain = ends(FACES)
    for arm in ("Curvature, copies, exact damping", "Curvature, copies, corrected eigenvalues"):
        assert abs((gain[arm] - gain[upper_ends.COPIES]).mean()) < 0.5, "within half a point of the first"
    for setting in (TWENTY, PRETRAINED):
        more = (ends(setting)["Curvature, copies of one trained photo"] - ends(setting)[upper_ends.COPIES]).mean()
        assert 2.5 <= more < 3.5, "about three points more at best"


@pytest.mark.parametrize("form", ["aux_loss=first", "eq6+1retain"])
@pytest.mark.parametrize("eta", ETAS)
def test_chapter_09_says_what_objectives_cost_at_matched_strength(form, eta):
    found = pd.read_csv(RESULTS / "matched.csv")
    found = compared(of(FACES, found[found["eta"] == eta]), form, "aux_loss=first+second+accuracy")
    assert is_said(found, cell("09", "a09").replace(" points more [", " [")), written(found)


def test_chapter_04_says_what_scrub_gains():
    faces = of(FACES, rows())
    for form, other in (
        ("scrub one-shui published", "original"),
        ("scrub one-shui", "original"),
        ("scrub one-shui published", "scrub one-shui"),
    ):
        found = paired_difference(faces, form, other)
        assert is_said(found, cell("04", "04-23")), written(found)


@cache
def curves(setting: tuple[str, int, str]) -> pd.DataFrame:
    return of(setting, pd.read_csv(RESULTS / "tradeoff.csv"))


@pytest.mark.parametrize("setting", [FACES, AGES, TWENTY])
def test_chapter_12_says_how_much_dearer_gradient_ascent_is(setting):
    price = prices(curves(setting))
    found = over_seeds(price["gradient_ascent"] - price["curvature"])
    said = interval(found, "+.2f"), interval(found, ".2f")
    text = cell("12", "12-21").replace(" more [", " [").replace(" more than Curvature [", " [")
    assert any(words.replace("-", "−") in text for words in said), said


@pytest.mark.parametrize(("setting", "form"), [(FACES, "curvature"), (AGES, "pgu:one-shui")])
def test_chapter_12_says_what_stopping_by_photo_leaves_behind(setting, form):
    where = stops(curves(setting)).xs(form, level="form")
    found = over_seeds(where["photo"] - where["search"])
    assert is_said(found, cell("12", "12-44")), written(found)


@pytest.mark.parametrize("rule", ["photo", "copies"])
def test_no_rule_that_stops_is_shown_to_end_better_than_the_search(rule):
    where = pd.concat([stops(curves(setting)) for setting in (FACES, AGES, TWENTY)])
    lows = (where[rule] - where["search"]).groupby(["dataset", "form"]).agg(lambda gain: over_seeds(gain)["low"])
    assert not (lows > 0).any()


def test_chapter_10_says_what_union_gains_on_photos():
    ends = sequences(RESULTS).set_index(["dataset", "way", "method"]).loc["celebahq"]
    for method in ("curvature", "gradient_ascent"):
        assert ends.loc[("union", method), "− doing nothing [95 %]"].replace("-", "−") in cell("10", "q18")
    shown = {("latest", "curvature"), ("latest", "gradient_ascent"), ("queue 5", "curvature")}
    behind = ends["− union [95 %]"].str.extract(r", ([+-][\d.]+)\]")[0].astype(float).lt(0)
    assert set(behind[behind].index) == shown | {("share 5", "gradient_ascent")}, "union is ahead of these"


def test_chapter_04_says_where_pgu_original_is_ahead_of_one_shui():
    found = {}
    for setting, group in rows()[rows()["step"] == 0].groupby(KEY):
        if {"original", "one-shui"} <= set(group.loc[group["method"] == "pgu", "variant"]):
            found[setting] = paired_difference(group, "pgu original", "pgu one-shui")
    assert len(found) == 7 and all(difference["mean"] > 0 for difference in found.values())
    shown = {setting for setting, difference in found.items() if difference["low"] > 0}
    assert shown == {FACES, ("faces", 5, "cpu"), FIFTY}


def test_chapter_06_says_what_ssd_takes_from_those_who_stay():
    taken = []
    for n_ids in (1, 5, 10):
        ages = of(("ages", n_ids, "cpu"), rows())
        taken.append(-paired_difference(ages, "ssd one-shui", "original", metric="accuracy", split="retain")["mean"])
    assert "{:.0f} points with one person, {:.0f} with five, {:.0f} with ten".format(*taken) in cell("06", "06-07")
