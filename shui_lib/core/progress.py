"""Progress that fits the place: a bar where somebody watches, a plain line now and then in a log, nothing in a test.

The environment variable SHUI_PROGRESS says which: "live" (bar or widget), "plain" (a line on stderr every ten seconds)
or "off". Without it, a terminal and Jupyter are live and everything else is plain. A program that executes notebooks
headlessly sets the variable: its kernel looks like Jupyter's.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

from tqdm import tqdm

MODES = ("live", "plain", "off")
EVERY = 10.0  # seconds between plain lines; what ends sooner prints none
LINE = "{desc}: {n_fmt}/{total_fmt} {elapsed}<{remaining}{postfix}\n"


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
    return tqdm(iterable, **(options | plain))
