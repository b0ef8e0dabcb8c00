"""Progress that fits the place: a bar where somebody watches, a plain line now and then in a log, nothing in a test.

The environment variable SHUI_PROGRESS says which: "live" (bar or widget), "plain" (a line on stderr at most every ten
seconds) or "off". Without it, a terminal and Jupyter are live and everything else is plain; a program that executes
notebooks headlessly cannot be told from Jupyter by its kernel, so it sets the variable.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable

from tqdm import tqdm

MODES = ("live", "plain", "off")
EVERY = 10.0  # seconds between plain lines


class PlainLines(tqdm):
    """A bar that prints a whole line at most every ten seconds, and none at all if it ends sooner."""

    def __init__(self, *args, **options):
        self._said, self._lines = time.monotonic(), 0
        line = "{desc}: {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}"
        super().__init__(*args, **{**options, "bar_format": line})

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Print the line, unless one was printed a moment ago."""
        if time.monotonic() - self._said >= EVERY:
            self._say()

    def close(self) -> None:
        """Print the last line, if any was printed before."""
        if not self.disable:
            self.disable = True
            self._decr_instances(self)
            if self._lines:
                self._say()

    def _say(self) -> None:
        self._said, self._lines = time.monotonic(), self._lines + 1
        self.fp.write(f"{self}\n")
        self.fp.flush()


def mode() -> str:
    """How progress is shown: live, plain or off.

    Raises:
        ValueError: SHUI_PROGRESS holds another word.
    """
    chosen = os.environ.get("SHUI_PROGRESS")
    if chosen is None:
        return "live" if sys.stderr.isatty() or "ipykernel" in sys.modules else "plain"
    if chosen not in MODES:
        raise ValueError(f"SHUI_PROGRESS={chosen!r} is unknown: set it to {', '.join(MODES)}")
    return chosen


def progress(iterable: Iterable | None = None, **options) -> tqdm:
    """A tqdm bar (same arguments) that fits the place."""
    shown = mode()
    if shown == "live":
        from tqdm.auto import tqdm as live

        return live(iterable, **options)
    if shown == "plain":
        return PlainLines(iterable, **options)
    return tqdm(iterable, **{**options, "disable": True})
