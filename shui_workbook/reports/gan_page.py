"""Chapter 30's tables and claims as Markdown, for docs/results.md: everything from rows, nothing typed."""

from __future__ import annotations

from pathlib import Path

from shui_workbook.records.compare import interval
from shui_workbook.reports.gan import (
    AUDITS,
    PHOTO,
    SCORES,
    Numbers,
    elsewhere,
    in_short,
    load,
    photo_pairs,
    summary,
    verdicts,
)
from shui_workbook.reports.tables import as_markdown


def section(folder: Path) -> str:
    """Answers, tables, claims, other worlds and one photo; a sentence where there are no rows."""
    if not (Path(folder) / "gan_rows.csv").is_file():
        return "No rows: `python -m shui_workbook.studies.gan table` makes them."
    rows = load(folder)
    parts = [in_short(rows), "", "In brackets: the 95 % interval, and the number of requests.", ""]
    for title, metrics in (("What D tells and what G draws", SCORES), ("What the generator still holds", AUDITS)):
        parts += [f"**{title}**", "", as_markdown(summary(rows, metrics)), ""]
    found = verdicts(Numbers(rows)).astype(str)
    parts += ["**Claims**", "", as_markdown(found.set_index("claim")), ""]
    if len(others := elsewhere(folder)):
        parts += ["**Other data, other GANs** (trained in the same way)", "", as_markdown(others), ""]
    for word, meaning in PHOTO.items():
        pairs = photo_pairs(rows, word)
        if len(pairs):
            change = [interval(pair, "+.3g") for _, pair in pairs.iterrows()]
            cells = pairs[["people", "seeds"]].astype(str).assign(**{"after − before": change})
            parts += [f"**One photo, never trained on: {meaning}**", "", as_markdown(cells), ""]
    return "\n".join(parts).strip()
