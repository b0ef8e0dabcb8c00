"""Where the time of `make workbook` goes: CPU minutes by chapter, and seconds by kind of stage.

python -m shui_workbook.sweep.profile --out runs/profile
python -m shui_workbook.sweep.profile --out runs/profile --go-on     # chapters that were measured are not run again
python -m shui_workbook.sweep.profile --write                        # and put the table into docs/speed.md

Chapters run one after the other with an empty folder for stages, so that each stage is charged to the chapter that
needs it first. `make workbook` runs them side by side, and ends sooner.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from shui_lib.core.machine import git_commit
from shui_lib.core.places import DATA, ROOT, RUNS
from shui_lib.core.store import save_frame, save_json
from shui_workbook.arguments import command_line, words_by_name
from shui_workbook.course.notebooks import NOTEBOOKS, Outcome, run_all, shared_out
from shui_workbook.reports.sections import save_section
from shui_workbook.reports.tables import as_markdown
from shui_workbook.sweep.cost import read_journal

LARGEST = 6  # kinds of stages with a column of their own
SPEED, WRITES = ROOT / "docs" / "speed.md", "python -m shui_workbook.sweep.profile --write"


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
    go_on: bool = False  # empty nothing, and leave out what was measured before
    write: bool = False  # put the table into docs/speed.md
    notebooks: tuple[Path, ...] = ()  # all chapters by default
    parameters: tuple[str, ...] = ()  # NAME=VALUE


def emptied(out: Path) -> None:
    """Remove an earlier profile. SystemExit: the folder holds something else."""
    if out.is_dir() and not (out / "stages").is_dir() and any(out.iterdir()):
        sys.exit(f"{out} is there and is no profile: name another folder, it would be emptied")
    shutil.rmtree(out, ignore_errors=True)


def measured(out: Path, parameters: Mapping[str, object], notebooks: Sequence[Path]) -> dict[str, dict[str, object]]:
    """By chapter, those of an earlier call included: its `Outcome` and the stages that it used (`read_journal`).

    One chapter at a time, written to `out`/outcomes.json as soon as it has ended. One that failed is run again.

    Raises:
        ValueError: as `shared_out`, before anything runs.
    """
    file = out / "outcomes.json"
    known = json.loads(file.read_text()) if file.is_file() else {}
    for path, values in shared_out(notebooks, parameters).items():
        if path.stem not in known or known[path.stem]["outcome"]["error"]:
            (one,) = run_all(out, values, [path])
            stages = read_journal(out / "stages" / f"{path.stem}.txt")
            known[path.stem] = {"outcome": one._asdict(), "stages": stages}
            save_json(file, known)
    return known


def main(argv: list[str] | None = None) -> int:
    """Command line; 1 where a chapter failed."""
    args = command_line(Command, argv, __doc__)
    out = args.out.resolve()
    notebooks = [path.resolve() for path in args.notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))]
    if not args.go_on:
        emptied(out)
    roots = {"data_root": str(args.data_root.resolve()), "runs_root": str(out / "runs")}
    try:
        found = measured(out, {**roots, **words_by_name(args.parameters)}, notebooks)
    except ValueError as error:
        sys.exit(f"{error}")
    outcomes = [Outcome(**one["outcome"]) for _, one in sorted(found.items())]
    table = profile(outcomes, {chapter: one["stages"] for chapter, one in found.items()})
    print(table.round(1).to_string())
    save_frame(out / "profile.csv", table.round(2).reset_index())
    failed = [one.chapter for one in outcomes if one.error]
    if args.write and failed:
        print(f"not written to {SPEED.name}: {', '.join(failed)} failed, whose minutes are too few", file=sys.stderr)
    elif args.write:
        told = f"Minutes at commit {git_commit()}, and what of the clock went into stages, by kind:"
        save_section(SPEED, "chapters", f"{told}\n\n{as_markdown(table.round(1).astype(str))}", by=WRITES)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
