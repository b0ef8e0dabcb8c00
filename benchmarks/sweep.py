"""What sharing runs out to Dask's workers costs: workers that wait, and what the scheduler takes for a task.

Twenty-four runs under `smoke` on two workers. Efficiency is the time that runs took over the time that the workers were
there; other work on the machine makes both longer.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Measured, Row, row
from shui_workbook.sweep.cluster import client_for, dask_is_there, outcomes

WORKERS, RUNS, NOTHINGS = 2, 24, 200
FORMS = ("original", "retrained", "gradient_ascent", "curvature")


def one_run(root: str, seed: int) -> float:
    """A run of its own seed, from training to the rows of the attack; its seconds of the clock."""
    from shui_workbook.runs.experiment import Experiment  # inside: a worker imports it when the first run comes

    began = time.perf_counter()
    where = {"data_root": Path(root) / "data", "runs_root": Path(root) / "runs", "device": "cpu"}
    Experiment(n_ids=2, seed=seed, preset="smoke", reserved=2, **where).rows(*FORMS, attacked=True)
    return time.perf_counter() - began


def nothing(number: int) -> int:
    """A task that is all overhead."""
    return number


def rows() -> list[Row]:
    """Nothing where Dask is not installed."""
    if not dask_is_there():
        return []
    from data_prep.faces import prepare

    with tempfile.TemporaryDirectory() as root, client_for(WORKERS) as client:
        prepare(Path(root) / "data" / "faces", identities=40, size=32)
        finished(client, one_run, {f"warm {k}": (root, 1000 + k) for k in range(WORKERS)})  # each imports torch
        clock, each = finished(client, one_run, {str(seed): (root, seed) for seed in range(RUNS)})
        idle, _ = finished(client, nothing, {str(k): (k,) for k in range(NOTHINGS)})
        here, _ = finished(None, nothing, {str(k): (k,) for k in range(NOTHINGS)})
    busy = Measured(None, sum(each), None)
    there = Measured(None, WORKERS * clock, None)
    note = f"efficiency {busy.seconds / there.seconds:.2f}: seconds of {WORKERS} workers against those of their runs"
    overhead = f"{1e3 * idle / NOTHINGS:.2g} ms a task"
    return [
        row("sweep", f"{RUNS} runs under smoke on {WORKERS} Dask workers", there, busy, note),
        row("sweep", f"{NOTHINGS} tasks that do nothing, twin: without Dask", *_seconds(idle, here), overhead),
    ]


def finished(client: object, do: Callable[..., object], tasks: Mapping[str, Sequence[object]]) -> tuple[float, list]:
    """Seconds of the clock for all tasks, and what they gave. Whatever one raises is raised here."""
    began, found = time.perf_counter(), []
    for _, result in outcomes(client, do, tasks):
        if isinstance(result, Exception):
            raise result
        found.append(result)
    return time.perf_counter() - began, found


def _seconds(*values: float) -> list[Measured]:
    return [Measured(None, value, None) for value in values]
