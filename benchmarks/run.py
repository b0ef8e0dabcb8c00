"""Fast paths against their obvious twins: one table, and results/bench_<machine>.json.

python -m benchmarks                      # all of them
python -m benchmarks --only map rmia      # some; the other objects of the file stay as they are
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from benchmarks.machine import machine, slug
from benchmarks.measure import Row
from benchmarks.report import RESULTS, merged, read, shown, write_speed
from shui_lib.core.store import save_json

# Each is a module beside this one with a function `rows()`. To add a case, write the module and name it here.
BENCHES = (
    "map",
    "evaluation",
    "input",
    "subspaces",
    "importances",
    "curvature",
    "splits",
    "rmia",
    "meta_gradient",
    "meta_memory",
    "meta_scrub",
    "ltu",
    "arithmetic",
    "sweep",
    "flops",
)


def rows_of(bench: str) -> list[Row]:
    """Measure one bench; each object says on which machine."""
    measure: Callable[[], list[Row]] = importlib.import_module(f"benchmarks.{bench}").rows
    return [{**row, "machine": machine()} for row in measure()]


def measure(name: str, file: Path) -> None:
    """Measure one bench in a fresh process, where ours and its twin take turns; print and save what it found."""
    # A process of its own: no allocator remembers what another bench left behind.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
        found = fresh.submit(rows_of, name).result()
    print(shown(found) or f"{name}: nothing to measure on this machine", flush=True)
    save_json(file, merged(read(file), name, found))


def main() -> None:
    """Parse the command line, measure, and keep the table of docs/speed.md in step."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=BENCHES, default=BENCHES, metavar="NAME", help=", ".join(BENCHES))
    file = RESULTS / f"bench_{slug(machine())}.json"
    for name in parser.parse_args().only:
        measure(name, file)
        write_speed()
    print(f"written to {file}")
