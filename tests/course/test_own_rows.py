"""Chapters 04 and 06 on a data set of one's own: what others searched or measured does not stand in for it."""

import json
from pathlib import Path

import pandas as pd
import pytest
from chapters import chapter, code_cells, new_shell, run
from IPython.display import display

from shui_lib.core.rows import make_rows
from shui_workbook import figures
from shui_workbook.records.searches import append, read_trials

OWN = {"dataset": "2024", "n_ids": 3, "preset": "cpu"}  # a folder may be called so


@pytest.fixture
def shell(tmp_path):
    """With what the cells about the search look at."""
    shell = new_shell()
    names = {"pd": pd, "Path": Path, "figures": figures, "read_trials": read_trials, "display": display}
    shell.push({**names, **OWN, "results": str(chapter("04").parents[1] / "results"), "runs_root": str(tmp_path)})
    return shell


def show(shell, *cells):
    for cell in cells:
        sources = {one["id"]: one["source"] for one in code_cells(chapter(cell[:2]))}
        run(shell, sources[cell])


def test_where_nothing_was_searched_a_line_says_so_and_no_empty_frame_is_shown(shell, capsys):
    show(shell, "04-22", "04-25")
    assert capsys.readouterr().out.splitlines() == [
        "no search is recorded for 2024, n_ids 3, preset cpu: settings are borrowed",
        "not tried on 2024, n_ids 3, preset cpu",
    ]


def test_what_its_owner_searched_is_shown(shell, capsys, tmp_path):
    judged = {"tow_before": 70.0, "forget_drop": 0.1, "retain_drop": 0.1, "val_drop": 0.0, "objective": 0.1}
    trials = [{"form": "ssd:one-shui", "settings": json.dumps({"alpha": a}), "tow": a} for a in (60.0, 80.0)]
    facts = {**OWN, **judged, "seeds": 1, "requests": 2, "note": "", "git": "abc"}
    append(tmp_path / "selection.csv", pd.DataFrame(trials).assign(**facts))
    show(shell, "04-22", "04-25")
    assert shell.user_ns["search"]["tow"].tolist() == [60, 80]
    assert capsys.readouterr().out.splitlines() == ["not tried on 2024, n_ids 3, preset cpu"]


@pytest.mark.parametrize(
    ("committed", "together"),
    [({}, True), ({"dataset": "faces"}, False), ({"preset": "smoke"}, False), ({"n_ids": 10}, False)],
)
def test_committed_rows_stand_beside_ones_own_where_they_are_of_the_same_setting(shell, capsys, committed, together):
    facts = {**OWN, "seed": 0, "model": "vit", "method": "original", "git": "abc", "config": "0", "device": "cpu"}
    live, others = (make_rows({("all", "tow"): value}, facts | more) for value, more in ((80.0, {}), (50.0, committed)))
    shell.push({"live": live, "rows": others, "seed": 0})
    show(shell, "06-17")
    assert list(shell.user_ns["beside"]) == (["live", "committed", "difference"] if together else ["live"])
    alone = "nothing is committed of 2024, preset cpu, n_ids 3, seed 0: your rows stand alone\n"
    assert capsys.readouterr().out == ("" if together else alone)
