"""What a stage says about the machine and the code that made it."""

from __future__ import annotations

import platform
import subprocess
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
T = TypeVar("T")
_peaks: dict[str, list[float]] = defaultdict(list)  # by kind of device, in MiB: of each call under way, so far


def device_name(device: torch.device) -> str:
    """The GPU's name, or the processor's architecture and number of threads."""
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu {platform.machine()} {torch.get_num_threads()} threads"


@cache
def git_commit() -> str:
    """Short hash of the commit that was checked out when this process first asked, "-dirty" if files differed from it.

    Empty outside a checkout.
    """
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=here, capture_output=True, text=True
        )
    except OSError:
        return ""
    return found.stdout.strip()


def with_peak(run: Callable[[], T], device: torch.device) -> tuple[T, float | None]:
    """`run()`, and by how much memory grew at its peak over what was held at the start, in MiB.

    On a GPU that is what torch allocated there; else the resident set of this process, mapped files and all threads
    included. What was freed before and kept by the allocator is used again without growth: it is a lower bound. Calls
    may be nested. None where the system does not tell, which is everywhere but on Linux and in some containers.
    """
    level = _restart(device)
    if level is None:
        return run(), None
    try:
        result = run()
    finally:
        peak = max(_peaks[device.type].pop(), _memory(device)[1])
    return result, peak - level


def resident(line: str) -> float:
    """VmRSS, the resident set now, or VmHWM, its peak, in MiB. OSError: the system does not tell."""
    found = (text.split()[1] for text in STATUS.read_text().splitlines() if text.startswith(line))
    if (size := next(found, None)) is None:
        raise OSError(f"{STATUS} has no line {line}: memory is measured on Linux alone")
    return int(size) / 1024


def _memory(device: torch.device) -> tuple[float, float]:
    """Held now, and the peak since the last restart; MiB."""
    if device.type == "cuda":
        import torch

        return torch.cuda.memory_allocated(device) / 2**20, torch.cuda.max_memory_allocated(device) / 2**20
    return resident("VmRSS"), resident("VmHWM")


def _restart(device: torch.device) -> float | None:
    """Forget the peak, but for the measurements around this one; what is held now in MiB, None if that fails."""
    try:
        level, peak = _memory(device)
        if device.type == "cuda":
            import torch

            torch.cuda.reset_peak_memory_stats(device)
        else:
            RESET.write_text("5")
    except OSError:
        return None
    _peaks[device.type] = [*(max(outer, peak) for outer in _peaks[device.type]), level]
    return level
