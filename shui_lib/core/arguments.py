"""Command-line arguments that several commands share."""

from __future__ import annotations

import argparse
import ast
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def add_setting(parser: argparse.ArgumentParser) -> None:
    """What an `Experiment` takes, over several seeds: dataset, n_ids, preset, reserved, seeds and both folders."""
    parser.add_argument("--dataset", default="faces")
    parser.add_argument("--n-ids", type=int, default=10)
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--reserved", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data-root", type=Path, default=ROOT / "data")
    parser.add_argument("--runs-root", type=Path, default=ROOT / "runs")


def typed(words: Sequence[str]) -> dict[str, object]:
    """`["N_IDS=20", "DATASET=celebahq"]` to {"n_ids": 20, "dataset": "celebahq"}; empty values are left out.

    Raises:
        ValueError: a word without "=".
    """
    parameters: dict[str, object] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is no parameter: write NAME=VALUE, N_IDS=20 for instance")
        if value:
            try:
                parameters[name.lower()] = ast.literal_eval(value)
            except (ValueError, SyntaxError):
                parameters[name.lower()] = value
    return parameters
