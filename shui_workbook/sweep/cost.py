"""What runs of a sweep will take in time and on disk, measured on those that are finished."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from shui_lib.core.stages import open_stage

OWN = ("n_ids", "seed")  # parameters in which runs of one kind differ


class Cost(NamedTuple):
    """Of one run."""

    seconds: float
    mib: float


def read_journal(journal: Path) -> dict[str, dict[str, object]]:
    """What each stage that a run used has cost: {folder: {"seconds", "mib", "made"}}, from the stages' lineages.

    Args:
        journal: lines "made FOLDER" or "found FOLDER", as `shui_lib.core.stages` writes them. `seconds` is None
            for a stage that was killed and resumed.
    """
    lines = [line.split(" ", 1) for line in journal.read_text().splitlines()] if journal.is_file() else []
    made = {folder for word, folder in lines if word == "made"}
    found = {}
    for folder in dict.fromkeys(folder for _, folder in lines):
        seconds = open_stage(Path(folder)).lineage["measured"]["seconds"]
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        found[folder] = {"seconds": seconds, "mib": round(size / 2**20, 3), "made": folder in made}
    return found


def kind_of(notebook: str, parameters: Mapping[str, object]) -> str:
    """Runs of one kind cost about the same: notebook and parameters, but for the request's size and the seed."""
    return json.dumps([notebook, {k: v for k, v in parameters.items() if k not in OWN}], sort_keys=True)


def measured(finished: Sequence[Mapping[str, object]]) -> dict[str, Cost]:
    """Mean cost of a run of each kind, as if nothing had been there before.

    A stage that several of the runs used is paid by them in equal parts; with one run alone it is paid in full.

    Args:
        finished: what the runs' `run.json` say: notebook, parameters, seconds and stages (`read_journal`).
    """
    users = Counter(folder for run in finished for folder in run["stages"])
    costs = defaultdict(list)
    for run in finished:
        stages = run["stages"]
        own = run["seconds"] - sum(one["seconds"] or 0 for one in stages.values() if one["made"])
        seconds = max(own, 0) + sum((one["seconds"] or 0) / users[folder] for folder, one in stages.items())
        mib = sum(one["mib"] / users[folder] for folder, one in stages.items())
        costs[kind_of(run["notebook"], run["parameters"])].append(Cost(seconds, mib))
    return {kind: Cost(*(sum(part) / len(part) for part in zip(*known, strict=True))) for kind, known in costs.items()}


def estimate(kinds: Iterable[str], known: Mapping[str, Cost], workers: int) -> str:
    """A sentence about runs of these kinds."""
    kinds = list(kinds)
    costs = [known[kind] for kind in kinds if kind in known]
    text = []
    if costs:
        minutes, gib = sum(c.seconds for c in costs) / 60 / workers, sum(c.mib for c in costs) / 1024
        time = f"{minutes:.1f} minutes" if minutes < 120 else f"{minutes / 60:.1f} hours"
        text.append(f"about {time} on {workers} worker{'s' * (workers > 1)} and {gib:.2f} GiB of stages")
        text.append("measured on finished runs of the same kinds; stages that are there already cost less")
    if unknown := len(kinds) - len(costs):
        text.append(f"{unknown} without an estimate: no run of their kind is finished yet, do one of them first")
    return "; ".join(text)
