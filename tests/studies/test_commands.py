"""Commands that record rows: code that no commit holds is refused before anything is computed, not after its hours."""

import pkgutil
from importlib import import_module

import pytest

from shui_workbook import studies

NAMES = [f"shui_workbook.studies.{one.name}" for one in pkgutil.iter_modules(studies.__path__) if not one.ispkg]
MODULES = [import_module(name) for name in [*NAMES, "shui_workbook.studies.gan.__main__", "benchmarks.costs"]]
COMMANDS = [module for module in MODULES if hasattr(module, "main")]
WORDS = {"ltu": ["main"], "__main__": ["table"]}  # what to do, where a command has several things


@pytest.mark.parametrize("command", COMMANDS, ids=lambda module: module.__name__.removeprefix("shui_workbook."))
def test_a_command_asks_whether_its_rows_will_be_taken_before_it_computes(command, tmp_path, monkeypatch):
    def refuse(*asked):
        raise SystemExit("refused")

    monkeypatch.setattr(command, "check_results", refuse)
    words = WORDS.get(command.__name__.rpartition(".")[2], [])
    with pytest.raises(SystemExit, match="refused"):  # there are no data: whatever began to compute would say so
        command.main([*words, "--data-root", str(tmp_path), "--runs-root", str(tmp_path / "runs")])
