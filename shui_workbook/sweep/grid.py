"""Many runs of the notebooks: every data set with every request size, seed and choice of methods, on many workers.

python -m shui_workbook.sweep.grid results                # every committed row; resumes from what is there
python -m shui_workbook.sweep.grid grid --datasets faces ages --n-ids 5 10 --seeds 0 1 2 --workers 2 --dry-run

A run is a notebook with parameters. It has a folder of its own, with the executed notebook, its result rows, and, once
it is done, `run.json`. A second call skips what is done; a run is done again when the notebook, the package or the
data changed. Rows of all runs of a call are gathered at its end in one file, each key once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import tyro

from shui_lib.core.places import DATA as DATA_ROOT
from shui_lib.core.places import RESULTS, RUNS
from shui_lib.core.progress import progress
from shui_lib.core.rows import KEY
from shui_workbook.arguments import command_line, typed, words_by_name
from shui_workbook.course.notebooks import NOTEBOOKS, declared, fitting
from shui_workbook.records.files import read_rows, record
from shui_workbook.sweep.cluster import client_for, outcomes
from shui_workbook.sweep.cost import estimate, kind_of, measured
from shui_workbook.sweep.run import DATA, Places, Run, done, execute, short_hash

WITH_ROWS = NOTEBOOKS / "05_membership_inference.ipynb"  # scores and attack of whatever `forms` names
PEOPLE = [NOTEBOOKS / f"{name}.ipynb" for name in ("07_support_distance", "08_retain_proximity")]
SEQUENCES = NOTEBOOKS / "10_sequential_requests.ipynb"
FILES = {WITH_ROWS: "rows_{dataset}_{n_ids}.csv", SEQUENCES: "rows_sequential.csv"}  # of a folder of rows
DEFAULTS = {"dataset": ["faces"], "n_ids": [10], "seed": [0], "forms": ["tuned"]}  # of axes that nobody named
TOGETHER = ("dataset", "preset", "reserved", "seed")  # runs that agree in these share an original model


# Which runs ---------------------------------------------------------------------------------------------------------


def tables(dataset: str, sizes: Sequence[int], seeds: int, **more: object) -> list[Run]:
    """Scores and attack for every request size and seed."""
    return [
        Run(WITH_ROWS, {"dataset": dataset, "n_ids": n, "seed": seed, **more}) for seed in range(seeds) for n in sizes
    ]


def people(dataset: str, n_ids: int, seeds: int, **more: object) -> list[Run]:
    """What chapters 07 and 08 record of single people."""
    every = " ".join(map(str, range(seeds)))
    return [Run(path, {"dataset": dataset, "n_ids": n_ids, "seeds": every, "record": True, **more}) for path in PEOPLE]


def sequences(dataset: str, seeds: int, forms: str, **more: object) -> list[Run]:
    """Twenty requests, one after another."""
    twenty = {"dataset": dataset, "n_ids": 20, "forms": forms, "attacked": True, **more}
    return [Run(SEQUENCES, {**twenty, "seed": seed}) for seed in range(seeds)]


# What `make results` runs. Published constants where `forms` is all; with strangers an FPR of 0.01 % is resolved.
PHOTOS = {"preset": "cpu", "reserved": 50}
GRID = [
    *tables("faces", (10,), 10, forms="all"),
    *tables("faces", (5, 1), 10, forms="tuned"),
    *tables("faces", (10,), 2, forms="support", strangers="strangers"),
    *tables("ages", (10, 5), 10, forms="tuned"),
    *tables("ages", (1,), 10, forms="support"),
    *tables("celebahq", (20, 50), 5, forms="tuned", **PHOTOS),
    *tables("celebahq", (20,), 5, forms="support", preset="face-resnet", reserved=50),
    *tables("faces", (10,), 10, forms="support", preset="face-resnet"),
    *people("faces", 10, 10),
    *people("celebahq", 20, 3, **PHOTOS),
    *sequences("faces", 3, "gradient_ascent curvature meta_unlearn", reserved=20, every=5),
    *sequences("celebahq", 3, "gradient_ascent curvature", every=10, **PHOTOS),
]


def grid_of(notebooks: Iterable[Path], axes: Mapping[str, Sequence[object]], **fixed: object) -> list[Run]:
    """Every notebook with every combination of the axes that it has a parameter for, each run once.

    Raises:
        ValueError: a parameter that none of the notebooks has.
    """
    notebooks = list(notebooks)
    known = {path: declared(path) for path in notebooks}
    if unknown := sorted({*axes, *fixed} - set().union(*known.values())):
        raise ValueError(f"no notebook of the sweep has a parameter {', '.join(unknown)}: look at its first cell")
    runs = {}
    for path, values in product(notebooks, product(*axes.values())):
        parameters = {**dict(zip(axes, values, strict=True)), **fixed}
        run = Run(path, fitting(path, {name: value for name, value in parameters.items() if name in known[path]}))
        runs.setdefault(run.name, run)
    return apart([*runs.values()])


def apart(runs: Sequence[Run]) -> list[Run]:
    """The runs in rounds of which each has one run of every original model: workers seldom wait for the same one."""
    seen: dict[str, int] = {}
    rounds = []
    for run in runs:
        group = short_hash([run.parameters.get(name) for name in TOGETHER])
        seen[group] = seen.get(group, -1) + 1
        rounds.append(seen[group])
    return [run for _, run in sorted(zip(rounds, runs, strict=True), key=lambda pair: pair[0])]


def prepared(runs: Sequence[Run], data_root: Path) -> list[Run]:
    """The runs whose data sets and pretrained weights are there; says which are not."""
    needs = [{str(run.parameters[p]) for p in DATA if run.parameters.get(p)} for run in runs]
    missing = {name for name in set().union(*needs) if not (data_root / name / "dataset.json").is_file()}
    for name in sorted(missing):
        print(f"skipped: {name} is not prepared below {data_root} (python -m data_prep ... --out {data_root / name})")
    lacking = {name: file for name in {_preset(run) for run in runs} if (file := _missing_weights(name))}
    for name, file in sorted(lacking.items()):
        print(f"skipped: preset {name} has no weights here (make weights WEIGHTS={file})")
    whole = [run for run, names in zip(runs, needs, strict=True) if not names & missing]
    return [run for run in whole if _preset(run) not in lacking]


def _missing_weights(preset: str) -> str:
    """The name of the weights that a preset asks for and that are not here, or ""."""
    from shui_lib.benchmark.models import weights_file  # here: both load PyTorch
    from shui_lib.benchmark.presets import preset_named

    name = preset_named(preset).model.weights
    return name if name and not weights_file(name).is_file() else ""


def _preset(run: Run) -> str:
    return run.parameters.get("preset", "cpu")


# Doing them -----------------------------------------------------------------------------------------------------------


def gather(runs: Sequence[Run], places: Places, rows: Path) -> None:
    """Rows of all finished runs into one file, or, if `rows` is a folder, into those that `FILES` names.

    Raises:
        ValueError: as `record`, of the files that refused theirs, once the others have them.
    """
    found: dict[Path, list[pd.DataFrame]] = {}
    refused: list[str] = []
    for run in runs:
        mine = places.out / run.name / "rows.csv"
        if mine.is_file() and done(run, places):
            target = rows if rows.suffix == ".csv" else rows / FILES[run.notebook].format_map(run.parameters)
            found.setdefault(target, []).append(read_rows(mine))
    for target, frames in found.items():
        try:
            every = record(target, pd.concat(frames).drop_duplicates(KEY, keep="last"))
        except ValueError as error:
            refused.append(str(error))
        else:
            print(f"{len(every)} result rows: {target}")
    if refused:
        raise ValueError("\n".join(refused))


def sweep(runs: Sequence[Run], places: Places, rows: Path, **where: object) -> dict[str, BaseException]:
    """Do the runs that are not done, on the workers of `client_for(**where)`, and gather the rows of all.

    Returns:
        What the runs that failed raised, by name.
    """
    left = {run.name: (run, places) for run in runs if not done(run, places)}
    failed = {}
    try:
        if left:
            with client_for(**where) as client:
                bar = progress(outcomes(client, execute, left), total=len(left), desc="sweep", unit="run")
                failed = {name: result for name, result in bar if isinstance(result, BaseException)}
    finally:  # also of a sweep that is interrupted
        gather(runs, places, rows)
    return failed


def plan(runs: Sequence[Run], places: Places, workers: int, *, every: bool) -> None:
    """Print what is to be done and what it will cost; with `every`, one line a run."""
    left = [run for run in runs if not done(run, places)]
    for run in left if every else []:
        print(run.name, *(f"{name}={value}" for name, value in run.parameters.items()))
    finished = [json.loads(path.read_text()) for path in places.out.glob("*/run.json")]
    kinds = [kind_of(run.notebook.stem, run.parameters) for run in left]
    text = f": {estimate(kinds, measured(finished), workers)}" if left else ""
    print(f"{len(runs)} runs, {len(runs) - len(left)} done, {len(left)} to do{text}")


# Command line ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Command:
    """Options of this command."""

    what: Annotated[Literal["results", "grid"], tyro.conf.Positional]  # the grid of `make results`, or yours
    # The grid.
    notebooks: tuple[Path, ...] = (WITH_ROWS,)
    datasets: tuple[str, ...] = ()  # for `results`: only these (default: all that are prepared)
    n_ids: tuple[int, ...] = ()  # default: 10
    seeds: tuple[int, ...] = ()  # default: 0
    forms: tuple[str, ...] = ()  # one run each: tuned (default), all, or names in one word
    parameters: tuple[str, ...] = ()  # NAME=VALUE, the same in every run
    # Where.
    workers: int = 0  # on this machine (default: none, this process)
    scheduler: str = ""  # tcp://HOST:PORT of a Dask cluster that runs
    slurm: int = 0  # jobs of one worker each
    slurm_options: tuple[str, ...] = ()  # NAME=VALUE of SLURMCluster
    data_root: Path = DATA_ROOT
    runs_root: Path = RUNS
    out: Path = RUNS / "sweep"  # executed notebooks, rows and notes
    rows: Path | None = None  # file or folder of the rows (default: rows.csv in --out, or results)
    dry_run: bool = False  # say what would be done, and what it costs


def _runs(args: Command) -> list[Run]:
    if args.what == "results":
        return apart([run for run in GRID if not args.datasets or run.parameters["dataset"] in args.datasets])
    given = {"dataset": args.datasets, "n_ids": args.n_ids, "seed": args.seeds, "forms": args.forms}
    notebooks = [path.resolve() for path in args.notebooks]
    takes = set().union(*map(declared, notebooks))
    axes = {name: values or DEFAULTS[name] for name, values in given.items() if values or name in takes}
    return grid_of(notebooks, axes, **words_by_name(args.parameters))


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    args = command_line(Command, argv, __doc__)
    places = Places(*(path.resolve() for path in (args.data_root, args.runs_root, args.out)))
    rows = args.rows or (RESULTS if args.what == "results" else args.out / "rows.csv")
    workers = {"workers": args.workers, "scheduler": args.scheduler, "slurm": args.slurm}
    try:
        runs = prepared(_runs(args), places.data_root)
        plan(runs, places, args.slurm or args.workers or 1, every=args.dry_run)
        if args.dry_run:
            return
        failed = sweep(runs, places, rows.resolve(), **workers, options=typed(args.slurm_options))
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"{error}")
    for name, error in failed.items():
        print(f"failed: {name}: {str(error).strip().splitlines()[-1]}", file=sys.stderr)
    if failed:
        sys.exit(f"{len(failed)} runs failed; their notebooks below {places.out} show where. Run again to resume")


if __name__ == "__main__":
    main()
