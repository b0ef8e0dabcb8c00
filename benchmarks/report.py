"""What was measured, as a table: in the terminal, and in docs/speed.md from results/bench_*.json.

python -m benchmarks.report     # rewrite the table of docs/speed.md
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.measure import Row
from shui_workbook.reports.sections import save_section

ROOT = Path(__file__).resolve().parent.parent
RESULTS, SPEED = ROOT / "results", ROOT / "docs" / "speed.md"
HEADINGS = ("", "case", "ours, s", "twin, s", "faster", "ours, MiB", "twin, MiB", "less")


def read(file: Path) -> list[Row]:
    """The objects of a file, none if it is not there."""
    return json.loads(file.read_text()) if file.exists() else []


def merged(old: Sequence[Row], name: str, new: Sequence[Row]) -> list[Row]:
    """The objects with those of one bench replaced, or put at the end."""
    at = next((place for place, row in enumerate(old) if row["name"] == name), len(old))
    before, after = ([row for row in part if row["name"] != name] for part in (old[:at], old[at:]))
    return [*before, *new, *after]


def cells(row: Row) -> list[str]:
    """One line of the table; a dash where there is no number."""
    seconds, mib = (row["seconds"], row["twin_seconds"]), (row["mib"], row["twin_mib"])
    return [
        row["name"],
        row["case"],
        *map(_number, seconds),
        _times(row["ratio_time"]),
        *map(_number, mib),
        _times(row["ratio_memory"]),
    ]


def shown(rows: Iterable[Row]) -> str:
    """The table for a terminal, with its notes; empty without rows."""
    rows = list(rows)
    lines = [list(HEADINGS), *map(cells, rows)] if rows else []
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            f"{cell:{'<' if k < 2 else '>'}{width}}" for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    ]
    return "\n".join(text + [f"  {row['case']}: {row['note']}" for row in rows if row["note"]])


def markdown(rows: Sequence[Row]) -> str:
    """The figures of one machine as Markdown: what it is, the table, the notes."""
    about = rows[0]["machine"]
    where = f"{about['gpu']}, " if about["gpu"] else ""
    threads = "1 thread" if about["threads"] == 1 else f"{about['threads']} threads"
    title = f"**{where}{about['cpu']}, {about['cores']} cores, {threads}, torch {about['torch']}**"
    lines = [HEADINGS, ["---"] * len(HEADINGS), *map(cells, rows)]
    notes = [f"- {row['name']}, {row['case']}: {row['note']}." for row in rows if row["note"]]
    return "\n".join([title, "", *("| " + " | ".join(line) + " |" for line in lines), "", *notes]).strip()


def report() -> str:
    """Every machine's figures."""
    found = (read(file) for file in sorted(RESULTS.glob("bench_*.json")))
    return "\n\n".join(markdown(rows) for rows in found if rows)


def write_speed() -> None:
    """Put the current report between its markers in docs/speed.md. ValueError: a marker is missing."""
    save_section(SPEED, "figures", report(), by="make bench")


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _times(ratio: float | None) -> str:
    """A ratio of costs as "so many times less"."""
    return "–" if not ratio else f"{1 / ratio:,.0f}×" if ratio < 0.1 else f"{1 / ratio:.2f}×"


if __name__ == "__main__":
    write_speed()
