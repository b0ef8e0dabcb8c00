"""What tests cost: processor seconds by file and of the slowest, kernels and other processes of theirs included.

python -m benchmarks.of_tests tests/attack tests/core                      # unit tests
python -m benchmarks.of_tests --nbval-lax notebooks/05_membership_inference.ipynb
python -m benchmarks.of_tests --out before.csv tests                       # ... and a line a file in before.csv
python -m benchmarks.of_tests --write tests                                # ... and a line a room in docs/speed.md

Everything else that is given goes to pytest. One process alone, so leave out `-n`: what xdist's workers take cannot be
told apart. Seconds of the clock say little on a machine that does other work; these say how much there is to do.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import pytest

from benchmarks.report import SPEED
from shui_lib.core.machine import git_commit
from shui_lib.core.store import save_frame
from shui_workbook.reports.sections import save_section
from shui_workbook.reports.tables import as_markdown

SLOWEST = 30
# What the tables import is there before pytest looks at it; nothing of it is rewritten.
ALONE = ["-q", "-p", "no:xdist", "-W", "ignore::pytest.PytestAssertRewriteWarning"]


def spent() -> float:
    """Processor seconds of this process so far, and of those that it started and that have ended."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


class Ledger:
    """A pytest plugin that charges processor seconds to files and tests; the first test of a file pays its fixtures."""

    def __init__(self) -> None:
        self.files: Counter[str] = Counter()
        self.tests: Counter[str] = Counter()
        self.count: Counter[str] = Counter()

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector: pytest.Collector) -> Iterator[None]:
        """Importing a file is its own cost, and that of what it is the first to import."""
        before = spent()
        report = yield
        if isinstance(collector, pytest.File):
            self.files[collector.nodeid] += spent() - before
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Setup, call and teardown."""
        before = spent()
        done = yield
        file, seconds = item.nodeid.split("::")[0], spent() - before
        self.files[file] += seconds
        self.tests[item.nodeid] += seconds
        self.count[file] += 1
        return done

    def by_file(self) -> pd.DataFrame:
        """Columns file, tests, seconds; the dearest first."""
        lines = [{"file": file, "tests": self.count[file], "seconds": s} for file, s in self.files.most_common()]
        return pd.DataFrame(lines, columns=["file", "tests", "seconds"]).round({"seconds": 1})


def main(argv: Sequence[str] | None = None) -> int:
    """Run pytest and say what it cost; pytest's exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="a CSV file with a line for each test file")
    parser.add_argument("--write", action="store_true", help="put a line for each room into docs/speed.md")
    args, others = parser.parse_known_args(argv)
    ledger = Ledger()
    code = pytest.main([*ALONE, *others], plugins=[ledger])
    table = ledger.by_file()
    print(table.to_string(index=False))
    print(f"\nthe slowest of {sum(ledger.count.values())} tests, of {table['seconds'].sum():.0f} CPU seconds in all:")
    print("\n".join(f"{seconds:7.1f}  {name}" for name, seconds in ledger.tests.most_common(SLOWEST)))
    if args.out:
        save_frame(args.out, table)
    if args.write:
        write(table)
    return int(code)


def by_room(table: pd.DataFrame) -> pd.DataFrame:
    """Tests and minutes by folder of tests/, the dearest first, and of all."""
    room = table["file"].map(lambda file: Path(file).parent.as_posix())
    found = table.assign(minutes=table["seconds"] / 60).groupby(room)[["tests", "minutes"]].sum()
    found = found.sort_values("minutes", ascending=False)
    found.loc["all"] = found.sum()
    return found.astype({"tests": int})


def write(table: pd.DataFrame) -> None:
    """Put `by_room` between its markers in docs/speed.md. ValueError: a marker is missing."""
    cells = by_room(table).assign(minutes=lambda found: found["minutes"].map("{:.1f}".format)).astype(str)
    told = f"Minutes of the processor at commit {git_commit()}:"
    save_section(SPEED, "tests", f"{told}\n\n{as_markdown(cells)}", by="python -m benchmarks.of_tests --write tests")


if __name__ == "__main__":
    sys.exit(main())
