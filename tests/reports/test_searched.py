"""How long searches were, as docs/results.md tells it."""

from pathlib import Path

import pandas as pd
import pytest

from shui_workbook.reports.searched import ended, searches_table

RESULTS = Path(__file__).parents[2] / "results"
ONE = {"preset": "cpu", "dataset": "tiny", "n_ids": 10, "form": "gradient_ascent", "tow_before": 80.0, "note": ""}


def search(trials: int, best: float = 90.0, **about: object) -> pd.DataFrame:
    """A search of ascending steps, the last of which is the best."""
    lines = [{"settings": f'{{"eta": {0.1 * i:.1f}}}', "tow": best - trials + i} for i in range(1, trials + 1)]
    return pd.DataFrame(lines).assign(**{**ONE, "git": "abc1234", "replaced": "", **about})


@pytest.mark.parametrize(
    ("trials", "told"),
    [
        (search(19), "19"),
        (search(24), "24+"),
        (search(14, best=79.0), "14 (nothing)"),
        (search(24, best=79.0), "24+ (nothing)"),
        (search(12).assign(tow=float("nan")), "12 (nothing)"),  # every trial diverged
    ],
)
def test_a_search_says_how_it_ended(trials, told):
    assert ended(trials) == told


def test_trials_of_replaced_searches_do_not_count(tmp_path):
    every = [search(12, replaced="later"), search(16), search(13, n_ids=1), search(15, form="ssd:one-shui")]
    pd.concat(every).to_csv(tmp_path / "selection.csv", index=False)
    lines = searches_table(tmp_path).splitlines()
    assert lines[0] == "|  | tiny, 1 person | tiny, 10 people |"
    assert lines[2:] == ["| gradient_ascent | 13 | 16 |", "| ssd one-shui | – | 15 |"]
    other = tmp_path / "none"
    assert searches_table(other).startswith("Nothing was searched")


def test_the_committed_page_tells_of_the_committed_searches():
    page = (RESULTS.parent / "docs" / "results.md").read_text()
    assert searches_table(RESULTS) in page, "run `make tables`"
