"""What a call costs: seconds of this process, and the most memory it held beyond what was there before."""

from __future__ import annotations

import ctypes
import gc
import time
import tracemalloc
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from shui_lib.core.machine import with_peak

Row = dict[str, object]


class Disagreement(RuntimeError):
    """Ours and its twin give different results: their costs cannot be compared."""


class Measured(NamedTuple):
    """The result of a call and its cost."""

    result: Any
    seconds: float | None
    mib: float | None  # None where it cannot be measured, or makes no sense


def measured(run: Callable[[], Any], *, device: torch.device | str = "cpu") -> Measured:
    """Call `run` and say what it costs.

    On a CPU seconds are those of the process (others may use the machine), on a GPU those of the clock. Memory is that
    of `with_peak`, after all that was freed has been given back.
    """
    device = torch.device(device)
    gc.collect()
    _give_memory_back()
    timed = partial(_timed_on_gpu, device) if device.type == "cuda" else _timed
    (result, seconds), mib = with_peak(lambda: timed(run), device)
    return Measured(result, seconds, mib)


def measured_in_turn(*ways: Callable[[], Any], device: torch.device | str = "cpu", repeats: int = 3) -> list[Measured]:
    """Ours and its twins in turn, again and again, so that a slow minute of the machine meets all of them.

    Of each the best time of all calls, and result and memory of the first.
    """
    found = [measured(way, device=device) for way in ways]
    for _ in range(repeats - 1):
        again = [measured(way, device=device).seconds for way in ways]
        found = [cost._replace(seconds=min(cost.seconds, s)) for cost, s in zip(found, again, strict=True)]
    return found


def measured_arrays(run: Callable[[], Any]) -> Measured:
    """The same for numpy, which reports every array to tracemalloc; Python's own objects would be slowed by it."""
    tracemalloc.start()
    result, seconds = _timed(run)
    mib = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return Measured(result, seconds, mib)


def row(name: str, case: str, ours: Measured, twin: Measured, note: str = "") -> Row:
    """One line of the table: ours over the twin's time and memory, smaller is better; None where there is none."""
    return {
        "name": name,
        "case": case,
        "ratio_time": _ratio(ours.seconds, twin.seconds),
        "ratio_memory": _ratio(ours.mib, twin.mib),
        "seconds": ours.seconds,
        "twin_seconds": twin.seconds,
        "mib": ours.mib,
        "twin_mib": twin.mib,
        "note": note,
    }


def check_equal(case: str, ours: np.ndarray | Tensor, twin: np.ndarray | Tensor) -> None:
    """Nothing, if both are the same to the last bit. Disagreement: they are not."""
    ours, twin = np.asarray(ours), np.asarray(twin)
    if ours.shape != twin.shape or not np.array_equal(ours, twin):
        raise Disagreement(f"{case}: ours {ours.shape} and its twin {twin.shape} differ: mend one of them")


def check_close(case: str, ours: Tensor, twin: Tensor, *, tolerance: float) -> None:
    """Nothing, if ‖ours − twin‖ ≤ tolerance · ‖twin‖. Disagreement: the distance is larger, or the twin is all zero."""
    distance, size = (ours - twin).norm().item(), twin.norm().item()
    if size == 0 or not distance <= tolerance * size:  # not: a distance may be nan
        raise Disagreement(f"{case}: ours is {distance:.3g} from its twin of norm {size:.3g}: mend one of them")


def _ratio(ours: float | None, twin: float | None) -> float | None:
    return None if ours is None or not twin else ours / twin


def _timed(run: Callable[[], Any]) -> tuple[Any, float]:
    began = time.process_time()
    result = run()
    return result, time.process_time() - began


def _timed_on_gpu(device: torch.device, run: Callable[[], Any]) -> tuple[Any, float]:
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    result = run()
    torch.cuda.synchronize(device)
    return result, time.perf_counter() - began


def _give_memory_back() -> None:
    """Free pages that malloc keeps would hide what the next call takes."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc
    if trim:
        trim(0)
