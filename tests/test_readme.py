"""The README's table says what the committed rows say, and its sentences hold in them."""

from pathlib import Path

from shui_workbook.reports.pages import gains, overview

ROOT = Path(__file__).parent.parent
GAINS = gains(ROOT / "results")


def test_the_table_is_of_the_committed_rows():
    assert overview(GAINS) in (ROOT / "README.md").read_text(), "run `make tables`"


def test_metaunlearn_gains_where_each_image_has_one_class():
    assert GAINS["ages, 10 people"].loc["meta_unlearn", "low"] > 0
    for setting in ("faces, 10 people", "celebahq, 20 people"):
        gain = GAINS[setting].loc["meta_unlearn"]
        assert gain["low"] < 0 < gain["high"]


def test_curvature_gains_most_on_rendered_people_among_those_that_see_the_photo_alone():
    for setting in ("faces, 10 people", "ages, 10 people"):
        means = GAINS[setting].loc[
            ["curvature", "gradient_ascent", "meta_unlearn", "ssd one-shui", "pgu one-shui"], "mean"
        ]
        assert means.idxmax() == "curvature"


def test_on_photos_no_method_gains_much():
    for setting in ("celebahq, 20 people", "celebahq, 50 people"):
        support = GAINS[setting].loc[["curvature", "gradient_ascent", "meta_unlearn", "ssd one-shui", "jit one-shui"]]
        assert support["mean"].max() < 3
