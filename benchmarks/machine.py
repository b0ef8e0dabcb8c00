"""Which machine a figure was measured on, in words that name no host."""

from __future__ import annotations

import os
import platform
import re
from pathlib import Path

import torch

FILLING = {"amd", "intel", "nvidia", "geforce", "tesla", "quadro", "core", "cpu", "processor", "gen", "apple"}


def processor() -> str:
    """The processor's name as the system tells it, or its architecture."""
    info = Path("/proc/cpuinfo")
    text = info.read_text() if info.exists() else ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.processor() or platform.machine()


def machine() -> dict[str, object]:
    """What the figures depend on."""
    return {
        "cores": os.cpu_count(),
        "cpu": processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def slug(machine: dict[str, object]) -> str:
    """The machine in a file name: "h200" for a GPU, otherwise "2core-epyc"."""
    if machine["gpu"]:
        return "-".join(_telling(machine["gpu"]))
    return f"{machine['cores']}core-{[*_telling(machine['cpu']), 'cpu'][0]}"


def _telling(name: str) -> list[str]:
    """Words of a hardware name without makers and marks: "Intel(R) Xeon(R) CPU @ 2.20GHz" to ["xeon"]."""
    name = re.sub(r"\((?:r|tm)\)|@.*", " ", name.lower())
    words = re.findall(r"[a-z0-9]+(?:-[a-z0-9]+)*", name)
    return [word for word in words if word not in FILLING and not re.fullmatch(r"\d+(th|nd|rd|st)", word)]
