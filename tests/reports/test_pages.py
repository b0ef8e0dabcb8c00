"""What `make tables` writes: full tables, the picture of gains, and where they stand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from shui_lib.core.rows import make_rows
from shui_workbook.records import record
from shui_workbook.records.files import read_rows
from shui_workbook.reports import gan_page, pages
from shui_workbook.reports.ltu_page import section as learning_to_unlearn
from shui_workbook.reports.pages import (
    costs,
    digest,
    draw,
    gain,
    gains,
    overview,
    rises,
    rivalries,
    rivalry,
    shown,
    tables,
    trained_in,
    trainings,
    write,
)
from shui_workbook.reports.photo import climbs_table, ends_table, handle_table, proxy_table

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"


@pytest.fixture
def house(tmp_path) -> Path:
    """A project of two settings: three seeds of ten people, one seed of one."""
    for seed, n_ids in ((0, 10), (1, 10), (2, 10), (0, 1)):
        about = {"dataset": "tiny", "preset": "cpu", "model": "vit", "n_ids": n_ids, "seed": seed}
        for method, tow in {"original": 80 + seed, "retrained": 100, "scrub": 90, "curvature": 85 + 2 * seed}.items():
            variant = "one-shui" if method == "scrub" else ""
            values = {("forget", "map"): 70.0, ("all", "tow"): float(tow)}
            record(
                tmp_path / "results" / "rows_tiny.csv",
                make_rows(values, {**about, "method": method, "variant": variant}),
            )
    pd.read_csv(RESULTS / "reported.csv").to_csv(tmp_path / "results" / "reported.csv", index=False)
    cost = {"prepare_seconds": 0.0, "prepare_mib": None, "artefacts_mib": 2.0, "unlearn_seconds": 0.1234}
    about = {"dataset": "tiny", "preset": "cpu", "n_ids": 10, "seed": 0, "machine": "2core"}
    lines = [{**about, "form": form, **cost, "unlearn_mib": 1000.0} for form in ("scrub one-shui", "curvature")]
    pd.DataFrame(lines).to_csv(tmp_path / "results" / "costs.csv", index=False)
    klom = {"trainings": [3, 4, 4], "form": ["original", "original", "retrained_again"], "part": "forget"}
    klom |= {
        "dataset": "tiny",
        "preset": "cpu",
        "n_ids": 10,
        "seed": 0,
        "klom": [9.0, 7.04, 2.0],
        "low": 1.5,
        "high": 8.0,
    }
    pd.DataFrame(klom | {"normal": 0.126}).to_csv(tmp_path / "results" / "klom.csv", index=False)
    sections = (
        "searches results rivals gain rises costs ltu trainings handle proxies climbs upper-ends gan evidence verdicts"
    )
    for page, names in (("README.md", ["claims", "overview"]), ("docs/results.md", sections.split())):
        marked = "".join(f"<!-- {name}: written by `make tables` -->\n<!-- end of {name} -->\n" for name in names)
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text(f"before\n{marked}after\n")
    return tmp_path


def test_gains_are_paired_over_seeds_and_need_several(house):
    found = gains(house / "results")
    assert list(found) == ["tiny, 10 people"]
    frame = found["tiny, 10 people"]
    assert list(frame.index) == ["curvature", "scrub one-shui"]
    assert frame.loc["curvature", "mean"] == 6 and frame.loc["scrub one-shui", "mean"] == 9
    assert frame.loc["curvature", "low"] == pytest.approx(6 - 4.3027 / np.sqrt(3), abs=1e-3)  # differences 5, 6, 7


def test_the_gain_is_split_into_parts_by_setting(house):
    for seed in range(3):
        about = {"dataset": "tiny", "preset": "cpu", "model": "vit", "n_ids": 10, "seed": seed, "method": "curvature"}
        for arm, tow in {"arm=ascent": 81.0, "arm=ascent+copies": 86.0}.items():
            rows = make_rows({("all", "tow"): tow + seed**2}, {**about, "variant": arm})
            record(house / "results" / "rows_gain.csv", rows)
    lines = gain(house / "results").splitlines()
    assert lines[0] == "|  | tiny, 10 people, cpu (3 seeds) |"
    assert "| + copies of the photo | **+5.0 [+5.0, +5.0]** |" in lines
    assert not any("directions" in line for line in lines), "that arm has no rows"
    alone = {"dataset": "tiny", "preset": "cpu", "model": "vit", "n_ids": 1, "seed": 5, "method": "curvature"}
    for arm in ("arm=ascent", "arm=ascent+copies"):
        record(house / "results" / "rows_gain.csv", make_rows({("all", "tow"): 80.0}, {**alone, "variant": arm}))
    text = gain(house / "results")  # no seed that the original has, too
    assert "| ascent on the photo | – | " in text and "nan" not in text and "- tiny, 10 people, cpu: ascent 0," in text
    assert not {"arm=ascent", "curvature arm=ascent"} & set(gains(house / "results")["tiny, 10 people"].index)


@pytest.fixture(autouse=True)
def of_the_readme(monkeypatch):
    """The README of that project shows the one setting that has several seeds."""
    monkeypatch.setattr(pages, "SHOWN", {"tiny, 10 people": "small, 10 people", **pages.SHOWN})


def test_the_readme_shows_its_settings_by_their_names(house):
    found = shown(gains(house / "results"))
    assert list(found) == ["small, 10 people"]
    assert "| Curvature | **+6.0 [+3.5, +8.5]** |" in overview(found) and "SCRUB" not in overview(found)
    worse = overview({"x": found["small, 10 people"].assign(low=-1.0)})
    assert "| Curvature | +6.0 [-1.0, +8.5] |" in worse, "bold where zero lies outside"


def test_panels_share_one_scale_where_the_unit_is_one(house):
    frame = gains(house / "results")["tiny, 10 people"]
    far = frame.assign(high=frame["high"] + 50)
    drawn = draw({"near": frame, "far": far}).axes
    assert drawn[0].get_xlim() == drawn[1].get_xlim() and drawn[0].get_xlim()[1] > 50


def test_the_picture_sets_apart_who_sees_more_than_the_support(house):
    fig = draw(gains(house / "results"))
    (panel,) = fig.axes
    assert panel.get_title(loc="left") == "tiny, 10 people"
    assert [label.get_text() for label in panel.get_yticklabels()] == ["Curvature", "SCRUB (one-shui)"]
    (apart,) = [line for line in panel.lines if line.get_linestyle() == ":"]
    assert set(apart.get_ydata()) == {0.5}


def test_pages_get_their_sections_and_the_picture_knows_its_rows(house):
    write(house)
    full = (house / "docs" / "results.md").read_text()
    assert tables(house / "results") in full and full.startswith("before") and full.endswith("after\n")
    for section in (rivalries, costs, trainings):
        assert section(house / "results") in full
    assert (house / "site" / "tables.html").read_text().count("<table") == 2
    assert "| the paper's claim |" in full and "**The paper's claims" in (house / "README.md").read_text()
    assert Image.open(house / "docs" / "gains.png").text["Rows"] == digest(shown(gains(house / "results")))


def test_rivals_are_compared_within_seeds(house):
    found = rivalry(house / "results", "curvature")
    assert list(found) == ["tiny, 10 people"] and list(found.index) == ["original", "scrub one-shui"]
    assert found.loc["original", "tiny, 10 people"] == "**+6.0 [+3.5, +8.5]**"  # 5, 6, 7
    assert found.loc["scrub one-shui", "tiny, 10 people"] == "-3.0 [-8.0, +2.0]"  # -5, -3, -1


def test_a_step_by_its_rise_stands_beside_that_by_eta_over_the_seeds_of_both(house):
    assert rises(house / "results").empty
    for seed, tow in enumerate((86.0, 80.0)):  # curvature gains 5, 6 and 7 over doing nothing
        about = {"dataset": "tiny", "preset": "cpu", "model": "vit", "n_ids": 10, "seed": seed, "method": "curvature"}
        record(house / "results" / "rows_tiny.csv", make_rows({("all", "tow"): tow}, {**about, "variant": "rise"}))
    assert "curvature rise" not in gains(house / "results")["tiny, 10 people"].index, "it has seeds of its own"
    found = rises(house / "results")
    assert found.index.tolist() == ["tiny, 10 people: curvature"]
    seeds, _, worst, _, worst_by_rise, difference = found.iloc[0]
    assert (seeds, worst, worst_by_rise, difference.split()[0]) == (2, "+5.0", "-1.0", "-3.0")
    for variant, tow in (("one-shui", 81.0), ("rise", 84.0)):
        about = {"dataset": "tiny", "preset": "cpu", "model": "vit", "n_ids": 10, "seed": 0, "method": "pgu"}
        record(house / "results" / "rows_tiny.csv", make_rows({("all", "tow"): tow}, {**about, "variant": variant}))
    assert rises(house / "results").loc["tiny, 10 people: pgu one-shui", "difference"] == "+3.0"


def test_costs_stand_by_form(house):
    lines = costs(house / "results").splitlines()
    assert lines[0] == "**tiny, n_ids 10, preset `cpu`** (2core)"
    assert lines[4] == "| curvature | support | 0 | – | 2 | 0.123 | 1000 |"
    assert lines[5].startswith("| scrub one-shui | forget + retain |")
    assert len(lines) == 6, "rows that name no time and no machine tell nothing of trainings"


def test_the_least_and_the_usual_time_of_a_training_count_every_model_once():
    def of(config: str, seconds: float | None, **other) -> pd.DataFrame:
        about = {"dataset": "tiny", "preset": "cpu", "model": "vit", "n_ids": 10, "seed": 0, "method": "original"}
        about |= {"device": "cpu x86_64 1 threads", "config": config, "seconds": seconds}
        return make_rows({("forget", "map"): 70.0, ("all", "tow"): 80.0}, about | other)

    models = [of("a", 50.4), of("b", 60.0), of("c", 100.0, dataset="tiny+strangers", method="retrained")]
    others = [of("a", 50.4, n_ids=5), of("d", 1.0, method="ssd"), of("e", None), of("f", 2.0, device="NVIDIA H200")]
    found = trained_in(pd.concat(models + others))
    assert found.index.tolist() == ["tiny, `cpu`"] and found.iloc[0].tolist() == [50, 60, 3]


def test_trainings_stand_by_form_and_part_with_the_most_that_were_measured(house):
    lines = trainings(house / "results").splitlines()
    assert lines[0] == "**tiny, n_ids 10, preset `cpu`, the request of seed 0** (4 trainings of each kind)"
    assert lines[-2:] == ["| Original | 7.0 [1.5, 8.0] (0.13) |", "| Retrained, other seed | 2.0 [1.5, 8.0] (0.13) |"]


def test_what_nobody_could_measure_is_said_below_the_table(house):
    path = house / "results" / "rows_tiny.csv"
    rows, note = read_rows(path), "settings selected for cpu/tiny/5; not resolvable (N₋ = 5)"
    added = rows[rows["metric"] == "tow"].assign(metric="rmia_tpr_at_1e-4", value=np.nan, note=note)
    record(path, added)
    text = tables(house / "results")
    assert "TPR at 0.01 %: not resolvable (N₋ = 5)." in text and "| TPR at 0.01 %" not in text
    assert "With settings selected for cpu/tiny/5: original, retrained, curvature, scrub one-shui." in text


def test_presets_stand_apart(house):
    path = house / "results" / "rows_tiny.csv"
    record(path, read_rows(path).assign(preset="paper"))
    assert list(gains(house / "results")) == ["tiny, 10 people", "tiny, 10 people, paper"]


def test_a_form_that_lacks_seeds_says_so(house):
    path = house / "results" / "rows_tiny.csv"
    rows = read_rows(path)
    rows[(rows["method"] != "scrub") | (rows["seed"] == 0)].to_csv(path, index=False)
    text = tables(house / "results")
    assert "+10.0 (1 of 3 seeds) |" in text and "nan" not in text


def test_a_changed_row_changes_the_digest(house):
    found = gains(house / "results")
    changed = {setting: frame.assign(mean=frame["mean"] + 0.1) for setting, frame in found.items()}
    assert digest(found) != digest(changed)


def test_committed_pages_and_picture_are_of_the_committed_rows():
    page = (ROOT / "docs" / "results.md").read_text()
    of_photos = (handle_table, proxy_table, climbs_table, ends_table)
    for section in (tables, rivalries, costs, learning_to_unlearn, trainings, gan_page.section, *of_photos):
        assert section(RESULTS) in page, "run `make tables`"
    assert Image.open(ROOT / "docs" / "gains.png").text["Rows"] == digest(shown(gains(RESULTS))), "run `make tables`"
