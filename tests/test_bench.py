"""The small logic of `make bench`: names of machines, files that keep what was not measured, twins that must agree."""

import importlib
import json
import re

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import prepare_tiny

from benchmarks import arithmetic, costs, ltu, of_tests, plan, report, sweep
from benchmarks import run as bench
from benchmarks.machine import machine, slug
from benchmarks.measure import (
    Disagreement,
    Measured,
    check_close,
    check_equal,
    measured,
    measured_arrays,
    measured_in_turn,
    row,
)
from benchmarks.meta_memory import CARD, slope, where_it_ends
from benchmarks.synthetic import CPU_PRESET
from shui_lib.core.machine import RESET
from shui_lib.core.places import ROOT


def some_row(name: str = "map", case: str = "small", **about) -> dict[str, object]:
    return {**row(name, case, Measured(None, 1.0, 10.0), Measured(None, 4.0, 20.0)), **about}


# Machines


@pytest.mark.parametrize(
    ("cores", "cpu", "gpu", "expected"),
    [
        (2, "AMD EPYC", None, "2core-epyc"),
        (64, "AMD EPYC 7763 64-Core Processor", None, "64core-epyc"),
        (4, "Intel(R) Xeon(R) CPU @ 2.20GHz", None, "4core-xeon"),
        (16, "13th Gen Intel(R) Core(TM) i7-13700K", None, "16core-i7-13700k"),
        (8, "Apple M2", None, "8core-m2"),
        (8, "", None, "8core-cpu"),
        (16, "AMD EPYC", "NVIDIA H200", "h200"),
        (16, "AMD EPYC", "NVIDIA A100-SXM4-80GB", "a100-sxm4-80gb"),
        (16, "AMD EPYC", "NVIDIA GeForce RTX 4090", "rtx-4090"),
    ],
)
def test_a_slug_names_the_hardware(cores, cpu, gpu, expected):
    assert slug({"cores": cores, "cpu": cpu, "gpu": gpu}) == expected


def test_the_machine_is_described_without_a_host():
    found = machine()
    assert set(found) == {"cores", "cpu", "gpu", "threads", "torch"}
    assert found["torch"] == torch.__version__ and found["threads"] == torch.get_num_threads()


# Learning to Unlearn


def test_the_meta_gradient_and_its_twin_agree(monkeypatch):
    found = ltu.gradient_row(n=4, queries=2)
    assert found["name"] == "ltu" and found["seconds"] > 0 and found["twin_seconds"] > 0
    monkeypatch.setattr(ltu, "explicit", lambda tune, tests, theta: {name: 2 * v for name, v in theta.items()})
    with pytest.raises(Disagreement, match="meta-gradient, 2 queries, n = 4"):
        ltu.gradient_row(n=4, queries=2)


# Costs of methods


def test_costs_of_a_form_are_recorded_once(tmp_path):
    prepare_tiny(tmp_path / "data" / "tiny")
    told = ["--dataset", "tiny", "--n-ids", "2", "--reserved", "3", "--preset", "smoke", "--seeds", "0"]
    told += ["--data-root", str(tmp_path / "data"), "--runs-root", str(tmp_path / "runs")]
    for forms in ("curvature jit:one-shui", "curvature"):
        costs.main([*told, "--forms", forms, "--results", str(tmp_path / "costs.csv")])
    found = pd.read_csv(tmp_path / "costs.csv").set_index("form")
    assert list(found.index) == ["curvature", "jit one-shui"]
    assert (found["unlearn_seconds"] > 0).all() and found.loc["curvature", "artefacts_mib"] > 0
    assert found.loc["jit one-shui", ["prepare_seconds", "artefacts_mib"]].tolist() == [0, 0]


# Files


def test_measuring_one_bench_again_replaces_its_objects_alone():
    old = [some_row("a"), some_row("b", "one"), some_row("b", "two"), some_row("c")]
    found = report.merged(old, "b", [some_row("b", "three")])
    assert [(r["name"], r["case"]) for r in found] == [("a", "small"), ("b", "three"), ("c", "small")]
    assert [r["name"] for r in report.merged(old, "d", [some_row("d")])] == ["a", "b", "b", "c", "d"]
    assert report.merged([], "a", old[:1]) == old[:1]


def test_a_bench_is_written_with_its_machine(tmp_path, monkeypatch, capsys):
    file = tmp_path / "bench_here.json"
    file.write_text(json.dumps([some_row("a", machine={"cores": 1}), some_row("map", "old", machine={"cores": 1})]))
    monkeypatch.setattr(bench, "ProcessPoolExecutor", lambda *_, **__: Here())
    monkeypatch.setattr("benchmarks.map.rows", lambda: [some_row("map", "new")])
    bench.measure("map", file)
    first, second = json.loads(file.read_text())
    assert (first["name"], first["machine"]) == ("a", {"cores": 1})
    assert (second["case"], second["machine"]) == ("new", machine())
    assert "new" in capsys.readouterr().out


class Here:
    """A pool that stays in this process."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *arguments):
        self.result = lambda: function(*arguments)
        return self


@pytest.mark.parametrize("name", bench.BENCHES)
def test_every_registered_bench_can_be_measured(name):
    assert callable(importlib.import_module(f"benchmarks.{name}").rows)


# Ratios


def test_ratios_are_ours_over_the_twins():
    found = row("map", "small", Measured(None, 1.0, 10.0), Measured(None, 4.0, 20.0), "why")
    assert (found["ratio_time"], found["ratio_memory"], found["note"]) == (0.25, 0.5, "why")
    assert (found["seconds"], found["twin_seconds"], found["mib"], found["twin_mib"]) == (1.0, 4.0, 10.0, 20.0)


def test_what_is_not_measured_has_no_ratio():
    found = row("map", "small", Measured(None, 1.0, None), Measured(None, 4.0, 0.0))
    assert found["ratio_memory"] is None
    assert row("map", "small", Measured(None, None, 1.0), Measured(None, None, 2.0))["ratio_time"] is None


# Agreement


@pytest.mark.parametrize("twin", [[1, 2, 4], [1, 2], [[1, 2, 3]]])
def test_results_that_are_not_the_same_are_an_error(twin):
    check_equal("case", np.array([1, 2, 3]), np.array([1, 2, 3]))
    with pytest.raises(Disagreement, match="case: ours .* differ"):
        check_equal("case", np.array([1, 2, 3]), np.array(twin))


@pytest.mark.parametrize("ours", [[1.0, 1.1], [1.0, torch.nan]])
def test_results_that_are_not_close_are_an_error(ours):
    twin = torch.tensor([1.0, 1.0])
    check_close("case", torch.tensor([1.0, 1.001]), twin, tolerance=0.01)
    with pytest.raises(Disagreement, match="case: ours is .* from its twin"):
        check_close("case", torch.tensor(ours), twin, tolerance=0.01)


def test_a_twin_that_gives_nothing_is_an_error():
    with pytest.raises(Disagreement, match="norm 0"):
        check_close("case", torch.zeros(2), torch.zeros(2), tolerance=1.0)


# Costs


def test_every_call_is_timed_and_the_first_result_kept():
    order = []
    ours, twin = measured_in_turn(lambda: order.append("o") or len(order), lambda: order.append("t"), repeats=3)
    assert "".join(order) == "ototot" and (ours.result, twin.result) == (1, None)
    assert min(ours.seconds, twin.seconds) >= 0


def test_memory_is_what_a_call_holds_at_its_peak():
    if not RESET.exists():
        pytest.skip("peak memory is read from Linux's /proc")
    assert 60 < measured(lambda: torch.ones(64, 2**18)[0, 0].item()).mib < 80  # 64 MiB, freed at the end


def test_memory_of_arrays():
    assert 16 <= measured_arrays(lambda: np.ones((16, 2**17)).sum()).mib < 17


def test_a_card_is_full_where_the_slopes_say():
    assert where_it_ends(CARD - 100, 2.0, 2.0) == 10  # 4 images to forget for one of S: 10 MiB each
    assert slope("small", -0.5, 2.0)["ratio_memory"] == 0.0


# The page


def test_the_page_holds_what_was_measured():
    assert f"\n\n{report.report()}\n\n" in report.SPEED.read_text(), "run `python -m benchmarks.report`"


def test_prose_about_speed_has_no_number_of_its_own():
    page = report.SPEED.read_text()
    prose = re.sub(r"<!-- (\w+): written by .*?<!-- end of \1 -->", "", page, flags=re.DOTALL)
    assert report.report() in page and len(prose) < len(page) - len(report.report())
    targets = prose.split("## Targets")[1].split("\n## ")[0]  # what was asked for, not what was measured
    rest = prose.replace(targets, "")
    assert not [word for word in rest.split() if word.strip("(),.;").rstrip("×%").replace(".", "").isdigit()]


def test_the_table_shows_a_dash_where_there_is_no_number():
    assert report.cells(some_row(mib=None, ratio_memory=None)) == ["map", "small", "1", "4", "4.00×", "–", "20", "–"]
    assert report.shown([]) == ""


# The plan


def test_the_plan_counts_what_a_model_computes():
    forward, step = plan.operations()
    patches, width, depth = 196 + 1, 768, 12
    layers = depth * (patches * 12 * width**2 + 2 * patches**2 * width) + 196 * 3 * 16**2 * width + 40 * width
    assert forward == pytest.approx(2 * layers / 1e12, rel=1e-3)
    assert step == pytest.approx(3 * forward, rel=0.01)


def test_more_cards_and_a_higher_share_take_less_time_but_no_less_than_a_chain():
    table, twice = plan.hours(plan.Card(), 0.3), plan.hours(plan.Card(), 0.6)
    assert twice.loc["all", "all"] == pytest.approx(table.loc["all", "all"] / 2)
    assert table.loc["all", "all"] == pytest.approx(table.drop(index="all", columns="all").to_numpy().sum())
    one, eight, many = (plan.on_cards(table, cards) for cards in (1, 8, 10_000))
    assert one == table.loc["all", "all"] and eight == pytest.approx(one / 8) and one / 10_000 < many < eight


def test_the_page_holds_the_plan():
    section = plan.DOCS.read_text().split("--write` -->")[1].split("<!-- end of plan")[0]
    assert section.strip() == plan.report(plan.Card(), 0.35, [1, 8]), "run `python -m benchmarks.plan --write`"


# What tests cost


def test_seconds_are_charged_to_the_file_that_takes_them(tmp_path, capsys):
    busy = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass\n"
    (tmp_path / "test_slow.py").write_text(f"def test_a():\n    {busy!r}\n    exec({busy!r})\n\ndef test_b(): pass\n")
    child = f"import subprocess, sys\ndef test_c(): subprocess.run([sys.executable, '-c', {busy!r}], check=True)\n"
    (tmp_path / "test_child.py").write_text(child)
    (tmp_path / "test_import.py").write_text(f"{busy}\ndef test_d(): assert False\n")
    told = ["-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(tmp_path), str(tmp_path)]
    assert of_tests.main([*told, "--out", str(tmp_path / "cost.csv")]) == 1
    found = pd.read_csv(tmp_path / "cost.csv").set_index("file")
    assert found["tests"].to_dict() == {"test_child.py": 1, "test_import.py": 1, "test_slow.py": 2}
    assert (found["seconds"] >= 0.3).all(), found
    assert "the slowest of 4 tests" in capsys.readouterr().out


def test_the_tests_of_this_repository_can_be_measured():
    """Without pytest-xdist, whose marker the matrix carries."""
    assert of_tests.main(["--collect-only", str(ROOT / "tests" / "test_matrix.py")]) == 0


def test_minutes_of_tests_stand_by_room_in_the_page(tmp_path, monkeypatch):
    page = tmp_path / "speed.md"
    monkeypatch.setattr(of_tests, "SPEED", page)
    page.write_text(
        "before\n<!-- tests: written by `python -m benchmarks.of_tests --write tests` -->\n<!-- end of tests -->"
    )
    files = {
        "file": ["tests/a/x.py", "tests/a/y.py", "tests/b/z.py"],
        "tests": [2, 1, 4],
        "seconds": [30.0, 60.0, 240.0],
    }
    of_tests.write(pd.DataFrame(files))
    assert "| tests/b | 4 | 4.0 |\n| tests/a | 3 | 1.5 |\n| all | 7 | 5.5 |" in page.read_text()


# Runs on workers


def test_what_a_run_raises_is_raised_here():
    def fails(_: int) -> None:
        raise KeyError("a run")

    assert sweep.finished(None, sweep.nothing, {"a": (1,), "b": (2,)})[1] == [1, 2]
    with pytest.raises(KeyError, match="a run"):
        sweep.finished(None, fails, {"a": (1,)})


# Arithmetic


def test_every_way_of_a_step_goes_to_the_same_weights_but_for_rounding():
    ours = arithmetic.Trainer(CPU_PRESET)
    start, ended = arithmetic.weights_of(ours.start), ours()
    assert torch.equal(ours(), ended) and not torch.equal(start, ended)
    for words, way in arithmetic.WAYS.items():
        if words != "torch.compile":  # half a minute of compiling
            apart = (arithmetic.Trainer(CPU_PRESET, **way)() - ended).norm() / (ended - start).norm()
            assert apart < (0.5 if words == "bf16" else 1e-2), words
