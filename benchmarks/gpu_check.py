"""Does everything work on a card, and how fast? One command of at most eight minutes: results/gpu_<card>.json.

python -m benchmarks.gpu_check --dry-run                 # what it would do, and for how long
python -m benchmarks.gpu_check                           # all parts
python -m benchmarks.gpu_check --parts training          # one of them; what is known of the others stays in the file
python -m benchmarks.gpu_check --scale tiny              # on any machine, to see that the command works

Every part is a process of its own. One that fails, or whose time is over, leaves the others their turn: to each a part
of the time is kept, and what the parts before it have left over comes on top. It takes a Python with torch 2.11 or
later, torchvision, timm, safetensors and pandas; without Jupyter the chapters are left out.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch

from benchmarks.gpu_parts import PARTS, SCALES, Absent, Part
from benchmarks.machine import machine, slug
from shui_lib.core.machine import git_commit
from shui_lib.core.places import RESULTS, ROOT
from shui_lib.core.store import save_json

BUDGET = 480  # seconds, all parts together
ABSENT = 3  # exit code of a part that lacks something
Entry = dict[str, object]


def command_of(part: str, scale: str, told: Path) -> list[str]:
    """How a part is started in a process of its own; what it tells comes into the file `told`, a line a row."""
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--alone", part]
    return [*command, "--scale", scale, "--told", str(told)]


def limits(parts: Sequence[str], budget: float, known: Mapping[str, Part]) -> list[float]:
    """Seconds kept for each part: its own, or less in proportion where all together would be over the budget."""
    wanted = [known[part].seconds for part in parts]
    return [seconds * min(1.0, budget / sum(wanted)) for seconds in wanted]


def check(parts: Sequence[str], scale: str, file: Path, *, budget: float = BUDGET) -> list[Entry]:
    """Do the parts in turn and save the file after each; what came of them."""
    began, kept, found = time.monotonic(), limits(parts, budget, PARTS), []
    for place, part in enumerate(parts):
        left = budget - (time.monotonic() - began)
        entry = alone(part, scale, left - sum(kept[place + 1 :]))
        found.append(entry)
        save_json(file, merged(read(file), entry))
        print(in_words(entry), flush=True)
    return found


def alone(part: str, scale: str, limit: float) -> Entry:
    """One part in a process of its own, which is killed with all that it started when its time is over."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        told, said = Path(folder) / "rows.jsonl", Path(folder) / "said.txt"
        with said.open("w") as output:
            # A session of its own, so that its own processes end with it.
            process = subprocess.Popen(
                command_of(part, scale, told), cwd=ROOT, stdout=output, stderr=output, start_new_session=True
            )
            try:
                code = process.wait(limit)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end(process)
        rows = [json.loads(line) for line in told.read_text().splitlines()] if told.is_file() else []
        last = ["", *said.read_text(errors="replace").strip().splitlines()][-1]
    status, reason = _status(code, limit, last)
    seconds = round(time.monotonic() - began, 1)
    about = {"scale": scale, "machine": machine(), "git": git_commit()}
    return {"part": part, "status": status, "seconds": seconds, "reason": reason, "rows": rows} | about


def _end(process: subprocess.Popen) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _status(code: int | None, limit: float, last: str) -> tuple[str, str]:
    """In a word, and why; `last` is the last line that the part said."""
    if code is None:
        return "too long", f"stopped after {limit:.0f} seconds"
    return {0: ("done", ""), ABSENT: ("left out", last)}.get(code, ("failed", last))


def read(file: Path) -> list[Entry]:
    """The parts of a file; none where it is not there."""
    return json.loads(file.read_text()) if file.is_file() else []


def merged(old: Sequence[Entry], new: Entry) -> list[Entry]:
    """The parts in their order, one of them replaced."""
    found = {entry["part"]: entry for entry in [*old, new]}
    return [found[part] for part in PARTS if part in found]


def in_words(entry: Entry) -> str:
    """A line a part, and a line for each of its rows."""
    lines = [f"{entry['part']}: {entry['status']} after {entry['seconds']} s {entry['reason']}".rstrip()]
    return "\n  ".join([*lines, *map(_row_in_words, entry["rows"])])


def _row_in_words(row: Mapping[str, object]) -> str:
    """Case and numbers that there are."""
    numbers = {name: value for name, value in row.items() if isinstance(value, float)}
    told = [f"{name} {value:.4g}" for name, value in numbers.items()]
    return "; ".join(filter(None, [str(row["case"]), *told, str(row.get("note") or "")]))


def plan(parts: Sequence[str], file: Path, budget: float) -> str:
    """What would be done: a line a part, with the time kept for it, and what it took last time where that is known."""
    before = {entry["part"]: entry for entry in read(file)}
    lines = [f"{'part':16} kept, s  last time  what"]
    for part, kept in zip(parts, limits(parts, budget, PARTS), strict=True):
        took = f"{before[part]['seconds']:.0f} s" if part in before else "–"
        lines.append(f"{part:16} {kept:7.0f}  {took:>9}  {PARTS[part].about}")
        lines += [f"{'':36}would be left out: {reason}"] if (reason := PARTS[part].lacks()) else []
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU here"
    return "\n".join([*lines, f"{budget:.0f} seconds in all at most, on: {where}; written to {file}"])


def do_alone(part: str, scale: str, told: Path) -> int:
    """Inside a part's own process: do it and tell its rows; the exit code."""

    def tell(row: Mapping[str, object]) -> None:
        with told.open("a") as file:
            file.write(json.dumps(row) + "\n")

    try:
        if reason := PARTS[part].lacks():
            raise Absent(reason)
        PARTS[part].do(SCALES[scale], tell)
    except Absent as error:
        print(error)
        return ABSENT
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; 1 where a part failed or was too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--scale", choices=SCALES, default="paper", help="(default: %(default)s)")
    parser.add_argument("--budget", type=float, default=BUDGET, help="seconds (default: %(default)s)")
    parser.add_argument("--out", type=Path, help="the file (default: results/gpu_<card>.json)")
    parser.add_argument("--dry-run", action="store_true", help="say what would be done")
    parser.add_argument("--alone", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--told", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.alone:
        return do_alone(args.alone, args.scale, args.told)
    tiny = ROOT / "runs" / "gpu_tiny.json"
    file = args.out or (tiny if args.scale == "tiny" else RESULTS / f"gpu_{slug(machine())}.json")
    if args.dry_run:
        print(plan(args.parts, file, args.budget))
        return 0
    if args.scale != "tiny" and not torch.cuda.is_available():
        parser.error("PyTorch sees no GPU here: --dry-run says what would be done, --scale tiny does it in small")
    found = check(args.parts, args.scale, file, budget=args.budget)
    print(f"written to {file}")
    return 0 if all(entry["status"] in ("done", "left out") for entry in found) else 1


if __name__ == "__main__":
    sys.exit(main())
