"""Command lines, read by tyro, and parameters of notebooks, which come as text."""

from __future__ import annotations

import ast
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import tyro

from shui_lib.core.places import DATA, RUNS

Arguments = TypeVar("Arguments")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What an `Experiment` takes, over several seeds."""

    dataset: str = "faces"
    n_ids: int = 10
    preset: str = "cpu"
    reserved: int = 10
    seeds: tuple[int, ...] = (0, 1, 2)
    settings: str = ""  # of methods, in place of the selected ones, as JSON: '{"curvature": {"eta": 0.01}}'
    data_root: Path = DATA
    runs_root: Path = RUNS

    def __post_init__(self) -> None:
        """ValueError: as `check_setting`."""
        check_setting(self.preset, self.seeds)

    def of_seed(self, seed: int) -> dict[str, object]:
        """The arguments of the `Experiment` of one seed."""
        names = ("dataset", "n_ids", "preset", "reserved", "settings", "data_root", "runs_root")
        return {"seed": seed} | {name: getattr(self, name) for name in names}

    def without_settings(self, whose: str) -> Self:
        """The same, for a command that gives methods settings itself. SystemExit: others were asked for."""
        if self.settings:
            raise SystemExit(f"--settings has no part here: settings are {whose}. Leave it out")
        return self


def check_setting(preset: str, seeds: Sequence[int]) -> None:
    """ValueError: no such preset, or `check_seeds`."""
    from shui_lib.benchmark.presets import preset_named  # loads torch, which a sweep's plan does without

    preset_named(preset)
    check_seeds(seeds)


def check_seeds(seeds: Sequence[int]) -> None:
    """ValueError: no seed at all, one that is none, or one twice; before a command spends hours on the others."""
    from shui_lib.core.randomness import checked_seed

    for seed in seeds:
        checked_seed(seed)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"--seeds {' '.join(map(str, seeds))}: give one or more, each once")


def command_line(kind: type[Arguments], argv: Sequence[str] | None, about: str) -> Arguments:
    """The command line as a dataclass; its fields are the options, their comments what `--help` says.

    Args:
        argv: words in place of those of the command line.
        about: what the command does, its module's docstring as a rule.
    Raises:
        SystemExit: a word is unknown or not of its option's type, or the dataclass refuses its value; a message names
            it.
    """
    started = getattr(sys.modules["__main__"], "__spec__", None)  # of `python -m`
    name = f"python -m {started.name.removesuffix('.__main__')}" if started else None
    about = re.sub("(?m)^(?=python -m )", "    ", about)  # lines that are indented stay lines
    return tyro.cli(kind, prog=name, args=argv, description=about, config=(tyro.conf.FlagCreatePairsOff,))


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
