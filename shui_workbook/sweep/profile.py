"""Where the time of `make workbook` goes: CPU minutes by chapter, and seconds by kind of stage.

python -m shui_workbook.sweep.profile --out runs/profile

Chapters run one after the other with an empty folder for stages, so that each stage is charged to the chapter that
needs it first. `make workbook` runs them side by side, and ends sooner.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from shui_lib.core.places import DATA, RUNS
from shui_workbook.arguments import command_line, words_by_name
from shui_workbook.course.notebooks import NOTEBOOKS, Outcome, run_all
from shui_workbook.sweep.cost import read_journal

LARGEST = 6  # kinds of stages with a column of their own


def profile(found: Sequence[Outcome], stages: Mapping[str, Mapping[str, Mapping[str, object]]]) -> pd.DataFrame:
    """Minutes by chapter: of the clock, of the processor, and what the stages made there took, the largest by kind.

    Args:
        stages: by chapter, as `read_journal` gives them.
    """
    lines = []
    for one in found:
        made = {folder: stage for folder, stage in stages.get(one.chapter, {}).items() if stage["made"]}
        by_kind: dict[str, float] = {}
        for folder, stage in made.items():
            kind = Path(folder).name.rpartition("-")[0]
            by_kind[kind] = by_kind.get(kind, 0.0) + (stage["seconds"] or 0.0) / 60
        lines.append({"chapter": one.chapter, "clock": one.seconds / 60, "CPU": one.cpu_seconds / 60, **by_kind})
    table = pd.DataFrame(lines).set_index("chapter").fillna(0.0)
    kinds = table.drop(columns=["clock", "CPU"])
    largest = kinds.sum().nlargest(LARGEST).index
    shown = table[["clock", "CPU"]].join(kinds[largest])
    shown["other stages"] = kinds.drop(columns=largest).sum(axis=1)
    shown.loc["all"] = shown.sum()
    return shown


@dataclass(frozen=True, kw_only=True)
class Command:
    """Options of this command."""

    data_root: Path = DATA
    out: Path = RUNS / "profile"  # emptied first
    notebooks: tuple[Path, ...] = ()  # all chapters by default
    parameters: tuple[str, ...] = ()  # NAME=VALUE


def main(argv: list[str] | None = None) -> int:
    """Command line; 1 where a chapter failed."""
    args = command_line(Command, argv, __doc__)
    out = args.out.resolve()
    if out.is_dir() and not (out / "stages").is_dir() and any(out.iterdir()):
        sys.exit(f"{out} is there and is no profile: name another folder, it would be emptied")
    shutil.rmtree(out, ignore_errors=True)
    roots = {"data_root": str(args.data_root.resolve()), "runs_root": str(out / "runs")}
    notebooks = [path.resolve() for path in args.notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))]
    try:
        found = run_all(out, {**roots, **words_by_name(args.parameters)}, notebooks)
    except ValueError as error:
        sys.exit(f"{error}")
    table = profile(found, {one.chapter: read_journal(out / "stages" / f"{one.chapter}.txt") for one in found})
    print(table.round(1).to_string())
    return 1 if any(one.error for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
