"""What code a stage was made by: a hash that changes when that code does, and not when its words do.

The key of a stage holds it, so that nothing is read back that other code has made. It covers a module and all of ours
that it imports, without comments, docstrings and what errors say. Files of `MOVE_NO_NUMBER` are left out: they store,
name and report, or hold settings, which stand in the key themselves.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
import sys
import textwrap
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import ModuleType

PACKAGE = Path(__file__).resolve().parent.parent
OURS = ("shui_lib", "shui_workbook")  # side by side; a study of the workbook has stages of its own
CORE = ("machine", "names", "places", "progress", "rows", "source", "stages", "store")
MOVE_NO_NUMBER = {*(f"shui_lib.core.{name}" for name in CORE), "shui_lib.benchmark.presets", "shui_lib.methods"}


@cache
def source_of(*modules: str) -> str:
    """Twelve hexadecimal digits of the code of modules ("shui_lib.benchmark.train") and of what they import."""
    found: set[str] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module not in found and module not in MOVE_NO_NUMBER and _file(module).is_file():
            found.add(module)
            waiting += _imported(module)
    return _hash(*(_words(_read(module)) for module in sorted(found)))


def source_of_method(method: type) -> str:
    """As `source_of`, of the module that a method is written in, and of what its two functions are now.

    The functions may be others than the module's: a notebook can replace them, or hold the whole class.
    """
    now = [_text(getattr(method, function)) for function in ("prepare", "unlearn")]
    written_in = sys.modules.get(method.__module__)
    if method.__module__.split(".")[0] != PACKAGE.name and getattr(written_in, "__file__", None):
        now.append(_text(written_in))  # of somebody's package: helpers beside the class move numbers too
    return _hash(source_of(method.__module__), *now)


def _text(written: Callable | ModuleType) -> str:
    try:
        text = inspect.getsource(written)
        return _words(textwrap.dedent(text))
    except SyntaxError:  # a lambda, cut out of its line
        return text
    except (OSError, TypeError):  # typed into a console, which keeps no text
        return repr((written.__code__.co_code, written.__code__.co_consts, written.__code__.co_names))


@cache
def _words(text: str) -> str:
    """The tree of a text as words, without docstrings and what its errors say; comments are not in it."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            node.body = [line for line in body if not _is_text(line)]
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            node.exc.args, node.exc.keywords = [], []
    return ast.dump(tree)


def _is_text(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def _file(module: str) -> Path:
    """The file of one of our modules; for others one that is not there."""
    if module.split(".")[0] not in OURS:
        return PACKAGE / "not ours"
    path = PACKAGE.parent.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def _read(module: str) -> str:
    return _file(module).read_text(encoding="utf-8")


def _imported(module: str) -> list[str]:
    """Names of modules that a module imports, ours or not; of `from a import b` both a and a.b."""
    found: list[str] = []
    for node in ast.walk(ast.parse(_read(module))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def _hash(*texts: str) -> str:
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]
