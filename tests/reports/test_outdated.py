"""Rows made before a form was given other settings."""

import copy

import pandas as pd
import pytest

from shui_lib.core.places import RESULTS
from shui_lib.core.rows import make_rows
from shui_lib.core.store import save_frame
from shui_workbook.records.compare import form_of
from shui_workbook.records.files import read_rows
from shui_workbook.reports import outdated as code
from shui_workbook.runs.settings import selected


def rows_of(method: str, variant: str = "", *, git: str = "then", **about) -> pd.DataFrame:
    usual = {"dataset": "faces", "preset": "cpu", "n_ids": 10, "seed": 0, "git": git}
    return make_rows({("retain", "map"): 50.0}, usual | {"method": method, "variant": variant} | about)


@pytest.fixture
def earlier(monkeypatch):
    """At commit "then" Curvature's step for ten people was another one; at "now" all was as it is."""
    before = copy.deepcopy(dict(selected()))
    before["cpu/faces/10"]["curvature"]["eta"] *= 2
    monkeypatch.setattr(code, "selected_at", {"then": before, "now": selected()}.__getitem__)


@pytest.mark.parametrize(
    ("rows", "changed"),
    [
        (rows_of("curvature"), True),
        (rows_of("curvature", git="now"), False),
        (rows_of("curvature", dataset="faces+strangers"), True),
        (rows_of("curvature", n_ids=5), False),
        (rows_of("curvature", n_ids=20), True),  # borrows those for ten
        (rows_of("curvature", "eta=0.1"), False),
        (rows_of("meta_unlearn", "published"), False),
        (rows_of("ssd", "one-shui"), False),
        (rows_of("retrained"), False),
        (rows_of("curvature", "latest", n_ids=20, step=20), False),
        (rows_of("curvature", "queue 10", n_ids=20, step=20), True),
        (rows_of("curvature", "queue 5", n_ids=20, step=20), False),
        (rows_of("curvature", "union", n_ids=20, step=20), True),
    ],
)
def test_a_row_is_outdated_where_its_own_settings_have_changed(earlier, rows, changed):
    assert code.outdated(rows).tolist() == [changed]


def test_outdated_rows_are_named_and_taken_out_when_asked(earlier, tmp_path, capsys):
    rows = pd.concat([rows_of("curvature"), rows_of("curvature", seed=1, git="now"), rows_of("ssd", "one-shui")])
    save_frame(tmp_path / "rows_faces_10.csv", rows)
    code.main(["--results", str(tmp_path)])
    assert capsys.readouterr().out == "rows_faces_10.csv: curvature, faces, 10 people, cpu: seeds 0: 1 rows\n"
    assert len(read_rows(tmp_path)) == 3
    code.main(["--results", str(tmp_path), "--remove"])
    kept = read_rows(tmp_path)
    assert list(zip(kept["method"], kept["git"], strict=True)) == [("curvature", "now"), ("ssd", "then")]


def test_people_are_looked_up_by_form_and_those_without_a_commit_are_outdated(earlier, tmp_path, capsys):
    line = {"dataset": "faces", "preset": "cpu", "n_ids": 10, "identity": 3, "gap": 0.1, "seed": 0}
    forms = [
        ("curvature", "then"),
        ("curvature", "now"),
        ("pgu one-shui", "then"),
        ("pgu one-shui", ""),
        ("original", ""),
    ]
    save_frame(tmp_path / "people_asking_faces_10.csv", pd.DataFrame([{**line, "form": f, "git": g} for f, g in forms]))
    save_frame(tmp_path / "people_pairs_faces_10.csv", pd.DataFrame([line]))  # of gradient ascent, without a commit
    trained = [line | {"form": form, "git": ""} for form in ("ssd:one-shui", "retrained_again")]
    save_frame(tmp_path / "klom.csv", pd.DataFrame(trained))
    code.main(["--results", str(tmp_path), "--remove"])
    said = capsys.readouterr().out
    assert "klom.csv: ssd one-shui, faces, 10 people, cpu: seeds 0: 1 rows\n" in said
    assert said.count("\n") == 4 and "people_pairs_faces_10.csv: gradient_ascent, faces, 10 people, cpu" in said
    kept = pd.read_csv(tmp_path / "people_asking_faces_10.csv", keep_default_na=False)
    assert list(zip(kept["form"], kept["git"], strict=True)) == [forms[1], forms[2], forms[4]]
    assert kept["gap"].eq(0.1).all() and not len(pd.read_csv(tmp_path / "people_pairs_faces_10.csv"))


def test_a_price_curve_goes_whole(earlier, tmp_path, capsys):
    setting = {"dataset": "faces", "preset": "cpu", "n_ids": 10}
    curves = [(0, "curvature", "then"), (1, "curvature", "now"), (0, "ssd:one-shui", "then")]
    points = [setting | {"seed": s, "form": f, "git": g, "strength": x} for s, f, g in curves for x in (0.0, 0.1)]
    save_frame(tmp_path / "tradeoff.csv", pd.DataFrame(points))
    code.main(["--results", str(tmp_path), "--remove"])
    assert "tradeoff.csv: curvature, faces, 10 people, cpu: seeds 0: 2 rows" in capsys.readouterr().out
    kept = pd.read_csv(tmp_path / "tradeoff.csv")
    assert list(zip(kept["seed"], kept["form"], strict=True)) == [(s, f) for s, f, _ in curves[1:] for _ in range(2)]


def test_a_commit_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no selected settings at commit '0000000': fetch the whole history"):
        code.outdated(rows_of("curvature", git="0000000"))


@pytest.mark.usefixtures("whole_history")
@pytest.mark.parametrize("path", code.files(RESULTS), ids=lambda path: path.stem)
def test_committed_rows_have_the_settings_of_today(path):
    rows = code.read(path)
    old = rows[code.outdated(rows)]
    said = old.groupby(["dataset", "n_ids", form_of(old)]).size().to_dict()
    assert not said, "`python -m shui_workbook.reports.outdated --remove`, and compute them again"
