"""Handles, cosines and upper ends on the page of results, from files that are written here."""

import pandas as pd

from shui_workbook.reports.photo import climbs_table, ends_table, handle_table, proxy_table


def test_a_handle_is_told_in_percent_with_its_interval(tmp_path):
    assert handle_table(tmp_path).startswith("Not measured: `python -m shui_workbook.studies.handle`")
    lines = [
        {"dataset": "2024", "preset": "cpu", "seed": seed, "identity": person, "trained": 0.2, "held": 0.05}
        for seed in (0, 1)
        for person in range(3)
    ]
    pd.DataFrame(lines).assign(unmet=0.5, git="abc").to_csv(tmp_path / "handle.csv", index=False)
    line = handle_table(tmp_path).splitlines()[-1]
    cells = ["2024, `cpu`", "2", "3", "0.500", "0.200 [0.200, 0.200]", "0.050 [0.050, 0.050]", "25 [25, 25]"]
    assert line == f"| {' | '.join(cells)} |"


def test_a_cosine_is_the_mean_of_people_with_an_interval_over_seeds(tmp_path):
    assert proxy_table(tmp_path).startswith("Not measured: `python -m shui_workbook.studies.proxies`")
    about = {"dataset": "faces", "preset": "cpu", "n_ids": 10, "gradient": 0.1, "metric": 0.2, "git": "abc"}
    values = {0: (0.3, 0.5), 1: (0.4, 0.6)}  # by seed, of two people: means .4 and .5
    lines = [
        {**about, "seed": seed, "identity": k, "proxy": "photo", "step": step}
        for seed, steps in values.items()
        for k, step in enumerate(steps)
    ]
    pd.DataFrame(lines).to_csv(tmp_path / "proxies.csv", index=False)
    text = proxy_table(tmp_path)
    assert "faces, 10 people, cpu (2 seeds)" in text and "| photo | 0.45 [-0.19, 1.09] |" in text
    assert "| someone else's photo | – |" in text


def test_an_upper_end_is_told_with_what_it_loses_and_against_curvature_on_copies(tmp_path):
    assert ends_table(tmp_path).startswith("Not measured: `python -m shui_workbook.studies.upper_ends`")
    about = {"dataset": "faces", "preset": "cpu", "n_ids": 10, "gap": 9.0, "git": "abc", "test": 0.5, "damping": 1.0}
    ways = {"gradient ascent": (0, 4, 1), "Curvature, copies": (0, 2, 6), "Curvature, the images to forget": (0, 1, 8)}
    lines = [
        {**about, "seed": seed, "arm": arm, "strength": k, "tow": 80 + tow + seed * k, "retain": k, "forget": 3 * k}
        for seed in (0, 1)
        for arm, tows in ways.items()
        for k, tow in enumerate(tows)
    ]
    pd.DataFrame(lines).to_csv(tmp_path / "upper_ends.csv", index=False)
    title, _, head, _, *table = ends_table(tmp_path).splitlines()
    said = (
        "Doing nothing reaches 80.0; the retrained model scores 9.0 points less on the images to forget. Dampings: 1."
    )
    assert f"{said} Not run: gradient ascent, copies; MetaUnlearn; Curvature; " in title and "forget." in title
    assert head.split(" | ")[1:3] == ["ToW − doing nothing", "− that of Curvature, copies"]
    cells = ["gradient ascent", "+4.5 [-1.9, +10.9]", "-2.5 [-8.9, +3.9]", "+3.0 [+3.0, +3.0]", "+1.0 [+1.0, +1.0]"]
    assert table[0] == f"| {' | '.join([*cells, '+0.5 [+0.5, +0.5]', '2'])} |"
    assert table[1].startswith("| Curvature, copies | +7.0 [-5.7, +19.7] |  | +6.0")
    assert table[2].split(" | ")[2] == "+2.0 [+2.0, +2.0]", "paired over seeds: the same in both"


def test_ways_to_climb_stand_by_their_cosine(tmp_path):
    assert climbs_table(tmp_path).startswith("Not measured: `python -m shui_workbook.studies.climbs`")
    about = {"dataset": "faces", "preset": "cpu", "git": "abc", "gradient": 0.5}
    ways = {"margins": (0.1, 0.2), "labels": (0.3, 0.24)}
    lines = [
        {**about, "seed": seed, "identity": k, "climb": climb, "step": values[k] + 0.1 * (seed - 100)}
        for seed in (100, 101)
        for climb, values in ways.items()
        for k in (0, 1)
    ]
    pd.DataFrame(lines).to_csv(tmp_path / "climbs.csv", index=False)
    head, _, *table = climbs_table(tmp_path).splitlines()
    assert "faces, cpu (4 people, 2 pools)" in head and table == ["| labels | 0.32 |", "| margins | 0.20 |"]
