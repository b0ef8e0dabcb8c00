"""Command-line arguments that several commands share."""

from __future__ import annotations

import argparse
import ast
import math
import re
from collections.abc import Sequence
from pathlib import Path

from shui_lib.core.places import DATA, RUNS


def add_setting(parser: argparse.ArgumentParser) -> None:
    """What an `Experiment` takes, over several seeds: dataset, n_ids, preset, reserved, seeds and both folders."""
    parser.add_argument("--dataset", default="faces")
    parser.add_argument("--n-ids", type=int, default=10)
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--reserved", type=int, default=10)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--data-root", type=Path, default=DATA)
    parser.add_argument("--runs-root", type=Path, default=RUNS)


def words_by_name(words: Sequence[str]) -> dict[str, str]:
    """`["N_IDS=20", "DATASET=celebahq"]` to {"n_ids": "20", "dataset": "celebahq"}; empty values are left out.

    Raises:
        ValueError: a word without "=".
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"{word!r} is no parameter: write NAME=VALUE, N_IDS=20 for instance")
        if value:
            found[name.lower()] = value
    return found


def typed(words: Sequence[str]) -> dict[str, object]:
    """As `words_by_name`, where no type is declared: what reads as a Python literal is one, the rest is text.

    Raises:
        ValueError: a word without "=".
    """
    return {name: _literal(value) for name, value in words_by_name(words).items()}


def of_type(name: str, value: object, declared: str) -> object:
    """A parameter's value as the type that it is declared with, whether it comes as text or as a value.

    Args:
        declared: bool, int, float or str; empty where nothing is declared, and then everything goes.
    Raises:
        ValueError: the value is not of this type, or the type is another one; both are named.
    """
    if not declared:
        return _literal(value) if isinstance(value, str) else value
    if declared not in READERS:
        raise ValueError(f"{name} is declared as {declared}: a parameter is one of {', '.join(READERS)}")
    found = READERS[declared](value)
    if found is None:
        raise ValueError(f"{name.upper()}={value} is no {declared}: {FORMS[declared]}")
    return found


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _bool(value: object) -> bool | None:
    if isinstance(value, bool):
        return value
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(str(value).lower())


def _int(value: object) -> int | None:
    whole = not isinstance(value, bool) and re.fullmatch(r"[+-]?[0-9]+", str(value))
    return int(str(value)) if whole else None


def _float(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def _str(value: object) -> str | None:
    if not isinstance(value, str | Path):
        return None
    quoted = _literal(str(value))  # 'faces' in quotes is the same word
    return quoted if isinstance(quoted, str) else str(value)


READERS = {"bool": _bool, "int": _int, "float": _float, "str": _str}
FORMS = {
    "bool": "write true or false (yes, no, 1, 0 are read too)",
    "int": "write a whole number",
    "float": "write a finite number",
    "str": "write text",
}
