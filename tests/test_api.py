"""The public face: the page's examples run as they stand, other packages register themselves, core is light."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tiny import prepare_tiny

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
METHOD = """
from dataclasses import dataclass
from shui_lib.methods import PreparesNothing, register, with_parameters

@register("stand_still", needs=("support",))
@dataclass(frozen=True)
class StandStill(PreparesNothing):
    amount: float = 0.5

    def unlearn(self, model, given, artefacts, *, generator):
        return with_parameters(model, {})
"""
DATA = """
\"\"\"Photos of nobody.\"\"\"

def prepare(raw, out, *, size, **rest):
    raise ValueError(f"nobody is shown in {raw.name}")
"""


def run(where: Path, *command: str) -> subprocess.CompletedProcess:
    """A process of its own, in another folder; what lies in `where` can be imported."""
    paths = os.pathsep.join([str(where), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": paths, "SHUI_PROGRESS": "off"}
    return subprocess.run([sys.executable, *command], cwd=where, env=environment, capture_output=True, text=True)


@pytest.fixture
def installed(tmp_path) -> Path:
    """A folder as pip leaves it: two modules, and the entry points that name them."""
    (tmp_path / "still.py").write_text(METHOD)
    (tmp_path / "nobody.py").write_text(DATA)
    about = tmp_path / "somebodys_package-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys-package\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[shui.methods]\nx = still\n\n[shui.datasets]\nnobody = nobody\n")
    return tmp_path


def test_the_examples_of_the_page_are_one_script_that_runs(tmp_path):
    prepare_tiny(tmp_path / "data" / "faces")
    (tmp_path / "script.py").write_text("\n".join(EXAMPLES))
    done = run(tmp_path, "script.py")
    assert done.returncode == 0, done.stderr
    first, *table = done.stdout.splitlines()
    assert all(0 <= float(number) <= 100 for number in first.split()) and len(first.split()) == 2
    for method in ("original", "retrained", "sign_ascent", "ssd"):
        assert any(method in line and "tow" in line for line in table)
    assert any("sign_ascent" in line and "rmia_auc" in line for line in table)


def test_the_page_names_where_each_name_is():
    named = re.findall(r"^\| (`.*?) \| `([\w.]+)` \|", PAGE, re.MULTILINE)
    names = [(module, name) for several, module in named for name in re.findall(r"`(\w+)`", several)]
    assert len(names) == 20
    lines = "\n".join(f"from {module} import {name}" for module, name in names)
    exec(lines, {})


@pytest.mark.parametrize("first", ["shui_lib.methods", "still"])
def test_a_method_of_another_package_registers_itself(installed, first):
    asked = "from shui_lib.methods import make_method; from shui_lib.runs.settings import forms_named"
    tell = "print(make_method('stand_still', {'amount': 1.0}), 'stand_still' in forms_named('support'))"
    done = run(installed, "-c", f"import {first}; {asked}; {tell}")
    assert done.stdout.strip() == "StandStill(amount=1.0) True", done.stderr


def test_without_that_package_its_method_is_unknown(tmp_path):
    done = run(tmp_path, "-c", "from shui_lib.methods import make_method; make_method('stand_still')")
    assert "method 'stand_still' is unknown" in done.stderr


def test_a_data_set_of_another_package_has_its_command(installed):
    done = run(installed, "-m", "data_prep", "nobody", "--raw", "album", "--out", "out")
    assert (done.returncode, done.stderr) == (2, "data_prep nobody: nobody is shown in album\n")
    assert "Photos of nobody." in run(installed, "-m", "data_prep", "--help").stdout


@pytest.mark.parametrize("module", ["shui_lib.core", "shui_workbook.sweep.grid"])
def test_what_reads_rows_or_starts_chapters_loads_neither_torch_nor_scipy(tmp_path, module):
    """Each chapter has a process of its own that starts its kernel: seconds for nothing, fifteen times."""
    done = run(tmp_path, "-c", f"import sys, {module}; print({{'torch', 'scipy', 'matplotlib'}} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr
