"""Handles and cosines on the page of results, from files that are written here."""

import pandas as pd

from shui_workbook.reports.photo import handle_table, proxy_table


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
