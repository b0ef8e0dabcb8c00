"""What pip installs is whole: outside the checkout, the page's examples run from the built wheel alone."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from tiny import prepare_tiny

ROOT = Path(__file__).parent.parent
EXAMPLES = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL)
PACKAGES = ("shui_lib", "shui_workbook", "data_prep")
ASKED = """
import shui_lib, shui_workbook, data_prep
from shui_lib.core.places import DATA
from shui_workbook.runs.settings import PUBLISHED, settings_for
print(*(module.__file__ for module in (shui_lib, shui_workbook, data_prep)), sep="\\n")
print(DATA)
print(len(PUBLISHED), settings_for("curvature", preset="cpu", dataset="faces", n_ids=10)["eta"])
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The unpacked wheel of a copy of the sources: no older build can hide what it lacks."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for path in (*ROOT.glob("LICENSE*"), ROOT / "pyproject.toml", ROOT / "README.md"):
        shutil.copy(path, source)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "-w", str(folder), str(source)]
    built = subprocess.run(command, capture_output=True, text=True)
    if built.returncode and "setuptools" in built.stderr:
        pytest.skip("no network, and setuptools is not at hand: no wheel can be built")
    assert built.returncode == 0, built.stderr
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def run(site: Path, where: Path, *command: str) -> str:
    here = os.environ | {"PYTHONPATH": str(site), "SHUI_PROGRESS": "off"}
    done = subprocess.run([sys.executable, *command], cwd=where, env=here, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_has_its_data_files_and_looks_for_data_where_one_is(installed, tmp_path):
    *files, data, settings = run(installed, tmp_path, "-c", ASKED).splitlines()
    assert [Path(file).is_relative_to(installed) for file in files] == [True] * len(PACKAGES)
    assert Path(data) == tmp_path.resolve() / "data"
    assert re.fullmatch(r"\d+ 0\.\d+", settings)


def test_the_examples_of_the_page_run_from_the_wheel(installed, tmp_path):
    prepare_tiny(tmp_path / "data" / "faces")
    (tmp_path / "script.py").write_text("\n".join(EXAMPLES))
    assert "sign_ascent" in run(installed, tmp_path, "script.py")
