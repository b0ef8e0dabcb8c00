"""Sweeps: which runs they are made of, what is done and what is not, and a worker that is killed on the way."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from tiny import prepare_tiny

from shui_lib.core.rows import make_rows
from shui_lib.core.stages import load_or_compute
from shui_workbook.records.files import read_rows, record
from shui_workbook.sweep import cluster, cost, run
from shui_workbook.sweep.grid import FILES, GRID, WITH_ROWS, apart, gather, grid_of, main, prepared
from shui_workbook.sweep.run import Places, Run, done

PARAMETERS = """\
dataset: str = "tiny"
n_ids: int = 1
seed: int = 0
forms: str = ""
data_root: str = ""
runs_root: str = ""
rows_file: str = ""
"""
CELL = """\
from shui_workbook.runs.experiment import Experiment
from shui_workbook.records import record

where = {"preset": "smoke", "data_root": data_root, "runs_root": runs_root, "reserved": 5, "device": "cpu"}
experiment = Experiment(dataset=dataset, n_ids=n_ids, seed=seed, **where)
record(rows_file, experiment.rows("original", "retrained"));
"""


LIGHT = """\
import time
from pathlib import Path

from shui_lib.core.rows import make_rows
from shui_workbook.records.files import record
from shui_lib.core.stages import load_or_compute


def compute(folder):
    time.sleep(0.5)  # so that several runs want it at once
    (folder / "seed.txt").write_text(str(seed))


stage = load_or_compute(Path(runs_root) / dataset, "shared", {"seed": seed}, compute)
key = {"dataset": dataset, "preset": "none", "model": "none", "n_ids": n_ids, "seed": seed, "method": forms}
record(rows_file, make_rows({("all", "tow"): float(stage.file("seed.txt").read_text())}, {**key, "config": stage.key}));
"""  # a chapter that does not import timm, which takes longer than all that it does here


def write_notebook(path: Path, parameters: str = PARAMETERS, cell: str = CELL) -> Path:
    cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]}), new_code_cell(cell)]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=kernel), path)
    return path


@pytest.fixture
def notebook(tmp_path) -> Path:
    return write_notebook(tmp_path / "05_rows.ipynb")


@pytest.fixture
def places(tmp_path) -> Places:
    prepare_tiny(tmp_path / "data" / "tiny")
    return Places(tmp_path / "data", tmp_path / "runs", tmp_path / "out")


# Which runs


def test_a_grid_is_every_combination_that_a_notebook_takes(notebook, tmp_path):
    other = write_notebook(tmp_path / "07_one.ipynb", "seed: int = 0\n", "pass")
    axes = {"dataset": ["tiny"], "n_ids": [1, 2], "seed": [0, 1, 2]}
    runs = grid_of([notebook, other], axes, forms="jit")
    assert len(runs) == len({r.name for r in runs}) == 2 * 3 + 3
    assert all(r.parameters["forms"] == "jit" for r in runs if r.notebook == notebook)
    assert [r.parameters for r in runs if r.notebook == other] == [{"seed": 0}, {"seed": 1}, {"seed": 2}]
    with pytest.raises(ValueError, match="parameter colour"):
        grid_of([notebook, other], axes, colour="red")


def test_an_axis_that_nobody_asked_for_is_dropped(tmp_path, places, capsys):
    """Chapters 07 to 09 have no parameter `forms`, 07 and 08 no `seed`."""
    path = write_notebook(tmp_path / "07_one.ipynb", 'dataset: str = "tiny"\nn_ids: int = 1\n', "pass")
    roots = [f"--{name}-root={getattr(places, f'{name}_root')}" for name in ("data", "runs")]
    grid = ["grid", "--notebooks", str(path), "--datasets", "tiny", "--dry-run", f"--out={places.out}", *roots]
    main(grid)
    assert "1 runs, 0 done, 1 to do" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no notebook of the sweep has a parameter forms"):
        main([*grid, "--forms", "jit"])
    with pytest.raises(SystemExit, match="N_IDS=ten is no int"):
        main([*grid, "--parameters", "N_IDS=ten"])


def test_runs_that_share_an_original_start_apart(notebook):
    axes = {"dataset": ["tiny", "small"], "n_ids": [1, 2], "seed": [0, 1]}
    runs = apart(grid_of([notebook], axes))
    for half in (runs[:4], runs[4:]):
        assert len({(r.parameters["dataset"], r.parameters["seed"]) for r in half}) == 4


def test_runs_without_their_data_are_left_out(notebook, places, capsys):
    runs = grid_of([notebook], {"dataset": ["tiny", "nowhere"]})
    assert [r.parameters["dataset"] for r in prepared(runs, places.data_root)] == ["tiny"]
    assert "skipped: nowhere is not prepared" in capsys.readouterr().out


def test_runs_without_their_weights_are_left_out(notebook, places, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr("shui_lib.core.places.WEIGHTS", tmp_path)
    runs = grid_of([notebook], {"dataset": ["tiny"]})
    pretrained = [Run(run.notebook, {**run.parameters, "preset": "face-resnet"}) for run in runs]
    assert prepared([*runs, *pretrained], places.data_root) == runs
    assert "skipped: preset face-resnet has no weights here (make weights" in capsys.readouterr().out
    (tmp_path / "face-resnet.safetensors").touch()
    assert prepared([*runs, *pretrained], places.data_root) == [*runs, *pretrained]


def test_make_results_names_every_run_once():
    assert len({run.name for run in GRID}) == len(GRID)
    files = [FILES[run.notebook].format_map(run.parameters) for run in GRID if run.notebook in FILES]
    assert {"rows_faces_10.csv", "rows_ages_5.csv", "rows_celebahq_50.csv", "rows_sequential.csv"} <= {*files}


# What is done


def finish(one: Run, places: Places) -> None:
    folder = places.out / one.name
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps({"key": one.key(places)}))


def test_a_run_is_done_until_notebook_package_or_data_change(notebook, places, monkeypatch):
    one = Run(notebook, {"dataset": "tiny", "seed": 0})
    assert not done(one, places)
    finish(one, places)
    assert done(one, places)
    assert not done(Run(notebook, {"dataset": "tiny", "seed": 1}), places)
    with monkeypatch.context() as changed:
        changed.setattr(run, "_package", lambda: "another")
        assert not done(one, places)
    prepare_tiny(places.data_root / "tiny", seed=1)
    run._data.cache_clear()
    assert not done(one, places)
    prepare_tiny(places.data_root / "tiny")
    run._data.cache_clear()
    assert done(one, places)
    write_notebook(notebook, cell=CELL + "print('more')\n")
    assert not done(one, places)


def test_a_run_is_done_again_after_a_search_of_ones_own_and_with_another_method_of_a_package(
    notebook, places, monkeypatch
):
    one = Run(notebook, {"dataset": "tiny", "seed": 0})
    finish(one, places)
    own = places.runs_root / "selected.json"
    own.parent.mkdir(exist_ok=True)
    own.write_text('{"cpu/tiny/2": {"gradient_ascent": {"eta": 0.5}}}')
    assert not done(one, places), "make tune has chosen another setting"
    own.unlink()
    assert done(one, places)
    monkeypatch.setattr(run, "_other_methods", lambda: {"mine": "abc"})
    assert not done(one, places)


def test_constants_of_the_literature_are_part_of_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(run, "ROOT", tmp_path)
    (tmp_path / "shui_workbook" / "runs").mkdir(parents=True)
    published = tmp_path / "shui_workbook" / "runs" / "published.toml"
    keys = []
    for alpha in (5, 10):
        published.write_text(f"alpha = {alpha}")
        keys.append(run._package.__wrapped__())
    assert keys[0] != keys[1]


def test_shared_stages_are_paid_in_equal_parts():
    def stage(seconds, made):
        return {"seconds": seconds, "mib": 8.0, "made": made}

    shared = {"original": stage(100.0, True), "one": stage(10.0, True)}
    later = {"original": stage(100.0, False), "two": stage(20.0, True), "three": stage(None, True)}
    setting = {"dataset": "tiny", "n_ids": 5, "seed": 0}
    first = {"notebook": "05", "parameters": setting, "seconds": 114.0, "stages": shared}
    second = {"notebook": "05", "parameters": setting | {"seed": 1}, "seconds": 26.0, "stages": later}
    (alone,) = cost.measured([first]).values()
    assert alone == (114.0, 16.0)
    (kind, mean), *_ = cost.measured([first, second]).items()
    assert mean == ((114 + 26) / 2, (4 + 8 + 4 + 8 + 8) / 2)
    assert kind == cost.kind_of("05", setting | {"n_ids": 7, "seed": 9})
    said = cost.estimate([kind, kind, "unknown"], cost.measured([first, second]), workers=2)
    assert "about 1.2 minutes on 2 workers" in said and "1 without an estimate" in said


# Where


def test_workers_share_the_machine(monkeypatch):
    monkeypatch.setattr(cluster.os, "cpu_count", lambda: 16)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    shares = [cluster.share(k, 3) for k in range(3)]
    assert [one["CUDA_VISIBLE_DEVICES"] for one in shares] == ["4", "6", "4"]
    assert {one["OMP_NUM_THREADS"] for one in shares} == {"5"}
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cluster.share(0, 3)["OMP_NUM_THREADS"] == "1"


def test_workers_without_dask_are_refused(monkeypatch):
    monkeypatch.setattr(cluster, "dask_is_there", lambda: False)
    with pytest.raises(ModuleNotFoundError, match=r"pip install -e '.\[cluster\]'"), cluster.client_for(2):
        pass
    with cluster.client_for() as client:
        assert client is None


def test_a_run_that_fails_leaves_the_others_alone(notebook, places, capsys):
    write_notebook(notebook, cell="assert seed != 1, 'seed 1 is out of order'")
    paths = [f"--{name}={getattr(places, name.replace('-', '_'))}" for name in ("data-root", "runs-root", "out")]
    grid = ["grid", "--notebooks", str(notebook), "--datasets", "tiny", "--seeds", "0", "1", "--forms", ""]
    with pytest.raises(SystemExit, match="1 runs failed"):
        main([*grid, *paths])
    assert "seed 1 is out of order" in capsys.readouterr().err
    assert len(list(places.out.glob("*/run.json"))) == 1


# One process makes a stage, the others wait


def hold(folder: Path, how: str) -> None:
    """Make a stage; slowly, with something to go on from, the first time."""

    def compute(partial: Path) -> None:
        if how == "slowly":
            (partial / "some.checkpoint").write_text("half")
            time.sleep(600)
        (partial / "seen.txt").write_text(" ".join(path.name for path in partial.glob("*.checkpoint")))

    load_or_compute(folder, "stage", {}, compute)


def test_a_file_that_refuses_its_rows_keeps_them_from_no_other(places, monkeypatch, tmp_path):
    monkeypatch.setattr("shui_workbook.sweep.grid.done", lambda run, places: True)
    runs = [Run(WITH_ROWS, {"dataset": name, "n_ids": 1, "seed": 0}) for name in ("tiny", "other")]
    about = {"preset": "none", "model": "none", "n_ids": 1, "seed": 0}
    for one in runs:
        key = {**about, "dataset": one.parameters["dataset"]}
        record(places.out / one.name / "rows.csv", make_rows({("test", "map"): 50.0}, {**key, "method": "original"}))
    for method in ("original", "ssd"):  # of another machine
        rows = make_rows({("test", "map"): 40.0}, {**about, "dataset": "tiny", "method": method})
        record(tmp_path / "rows" / "rows_tiny_1.csv", rows)
    with pytest.raises(ValueError, match="rows_tiny_1.csv: the models of tiny, seed 0 are others"):
        gather(runs, places, tmp_path / "rows")
    assert read_rows(tmp_path / "rows" / "rows_other_1.csv")["value"].tolist() == [50]
    assert read_rows(tmp_path / "rows" / "rows_tiny_1.csv")["value"].tolist() == [40, 40]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_whoever_waits_for_a_stage_goes_on_when_its_maker_is_killed(tmp_path):
    def start(how):
        return subprocess.Popen([sys.executable, __file__, str(tmp_path), how])

    first = start("slowly")
    while not list(tmp_path.glob(".stage-*.partial/some.checkpoint")):
        assert first.poll() is None
        time.sleep(0.01)
    second = start("at once")
    with pytest.raises(subprocess.TimeoutExpired):  # it needs a moment to start, and then waits
        second.wait(6)
    first.kill()
    first.wait()
    assert second.wait(600) == 0
    (folder,) = tmp_path.iterdir()  # neither a lock nor a partial folder is left
    assert (folder / "seen.txt").read_text() == "some.checkpoint"
    assert json.loads((folder / "lineage.json").read_text())["measured"]["seconds"] is None, "it was resumed"


# 8 runs, two workers, one of them killed; each takes three seconds to start a kernel

SEEDS, SIZES, METHODS = (0, 1), (1, 3), ("a",)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no kill -9")
def test_a_killed_worker_loses_nothing(notebook, places):
    pytest.importorskip("distributed", reason="Dask is not installed: pip install -e '.[dev]'")
    write_notebook(notebook, PARAMETERS.replace('forms: str = ""\n', ""))  # 4 runs of an experiment
    light = write_notebook(notebook.with_name("06_light.ipynb"), cell=LIGHT)  # 4 runs
    command = [
        sys.executable,
        "-m",
        "shui_workbook.sweep.grid",
        "grid",
        "--notebooks",
        notebook,
        light,
        "--datasets",
        "tiny",
    ]
    command += ["--n-ids", *SIZES, "--seeds", *SEEDS, "--forms", *METHODS, "--workers", 2, "--out", places.out]
    command = [str(word) for word in (*command, "--data-root", places.data_root, "--runs-root", places.runs_root)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    kill_a_worker(process, places, after=3)
    said, complaints = process.communicate(timeout=600)
    assert process.returncode == 0, complaints
    notes = [json.loads(path.read_text()) for path in places.out.glob("*/run.json")]
    assert len(notes) == 8 and said.startswith("8 runs, 0 done, 8 to do")
    made = Counter(folder for note in notes for folder, stage in note["stages"].items() if stage["made"])
    assert max(made.values()) == 1, "no stage is made twice"
    runs = places.runs_root / "tiny"
    assert len(list(runs.glob("original-*"))) == len(list(runs.glob("shared-*"))) == len(SEEDS)
    assert not list(runs.glob(".*")), "nothing half-made is left"
    rows = read_rows(places.out / "rows.csv")  # which refuses a key that occurs twice
    found = rows.groupby(["seed", "n_ids", "method"]).size().unstack()
    assert found.shape == (4, 2 + len(METHODS))
    assert (found[["original", "retrained"]] == 11).all(axis=None) and (found[[*METHODS]] == 1).all(axis=None)
    next(places.out.glob("06_*/run.json")).unlink()
    again = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert again.startswith("8 runs, 7 done, 1 to do: about ")
    assert read_rows(places.out / "rows.csv").equals(rows)


def kill_a_worker(process: subprocess.Popen, places: Places, *, after: int) -> None:
    """Kill -9 a worker that executes a notebook, once some runs are done."""
    import psutil  # comes with Dask

    while len(list(places.out.glob("*/run.json"))) < after:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.1)
    while True:
        children = psutil.Process(process.pid).children(recursive=True)
        alive = [child for child in children if child.status() != psutil.STATUS_ZOMBIE]
        kernels = [child for child in alive if "ipykernel_launcher" in " ".join(child.cmdline())]
        if kernels:
            kernels[0].parent().kill()
            return
        time.sleep(0.1)


if __name__ == "__main__":
    hold(Path(sys.argv[1]), sys.argv[2])
