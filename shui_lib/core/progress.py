"""Progress that fits the place: a bar where somebody watches, a plain line now and then in a log, nothing in a test.

The environment variable SHUI_PROGRESS says which: "live" (bar or widget), "plain" (a line on stderr every ten seconds)
or "off". Without it, a terminal and Jupyter are live and everything else is plain. A program that executes notebooks
headlessly sets the variable: its kernel looks like Jupyter's.

A bar tells the time that is left from its first second on; a log is told in words if that is two minutes or more, by
bars that are updated by hand, as training's (an iterated one speaks up with its first line).
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterable

from tqdm import tqdm

MODES = ("live", "plain", "off")
EVERY = 10.0  # seconds between plain lines; what ends sooner prints none
TIMED, LONG = 1.0, 90.0  # seconds of work that an estimate is made from, and from which on it is told
LINE = "{desc}: {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}\n"


class Plain(tqdm):
    """Lines in a log, and one before them that says how long a long work will take, once some of it was timed."""

    timed_from: tuple[float, float] | None = None  # when the first step, which sets things up, had ended; what was done

    def update(self, n: float = 1) -> bool | None:
        """As tqdm's."""
        shown, now = super().update(n), time.time()
        began, done = self.timed_from = self.timed_from or (now, self.n)
        if now - began >= TIMED and not self.disable and self.total:
            self.timed_from = math.inf, 0  # it is told once
            if (left := (now - began) / max(self.n - done, 1) * (self.total - self.n)) >= LONG:
                print(f"{self.desc}: about {left / 60:.0f} minutes on this machine", file=sys.stderr, flush=True)
        return shown


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
    """A tqdm bar (same arguments) that fits the place. Set its postfix with `refresh=False`: the next line shows it."""
    shown = mode()
    if shown == "live":
        from tqdm.auto import tqdm as live

        return live(iterable, **options)
    plain = {"mininterval": EVERY, "delay": EVERY, "bar_format": LINE, "disable": shown == "off"}
    return Plain(iterable, **(options | plain))
