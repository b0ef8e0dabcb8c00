"""Fixtures that several test files use."""

import os
import shutil
import subprocess
from pathlib import Path

import matplotlib
import pytest

# Tests start processes too: they shall find this checkout, and what tests share.
HERE = Path(__file__).parent
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH")]))
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
QUIET += ["--disable-component-update", "--disable-sync"]  # it shall ask nobody but us


# Files that take longest, the longest first: with several processes none is left over for the end. Chapters among
# them stand apart: they would wait for each other's stages.
LONGEST = (
    "30_gan_unlearning",
    "test_exercises",
    "12_forgetting_with_curvature",
    "test_grid",
    "test_exercise_checks",
    "test_experiment",
    "test_methods",
    "test_runner",
)
LONGEST += ("test_train_gan", "test_cascade", "test_gan_study", "test_gpu_check", "test_devices", "test_api")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, and leave every other order as it is: that of notebooks too."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path.stem, len(place)))


@pytest.fixture(scope="session")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all processes of a session share: a stage that one of them has made is loaded by the others."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(autouse=True)
def plain_style():
    """No test draws in the style that another one has set."""
    with matplotlib.rc_context():
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder SHUI_DATA, with official layouts or zips of them; skips where there is none."""
    if not (where := os.environ.get("SHUI_DATA")):
        pytest.skip("SHUI_DATA is unset: point it to a folder with celebahq64.zip and celeba_annotations.zip")
    if not Path(where).is_dir():
        pytest.skip(f"SHUI_DATA={where} is no folder")
    return Path(where)


@pytest.fixture(scope="module")
def browser():
    """Chromium; skips where there is none."""
    playwright = pytest.importorskip(
        "playwright.sync_api", reason="playwright is not installed: pip install playwright"
    )
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with playwright.sync_playwright() as playing:
        found = found or playing.chromium.executable_path
        if not Path(found).is_file():
            pytest.skip("no Chromium found: apt-get install chromium, or playwright install chromium")
        browser = playing.chromium.launch(executable_path=found, args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def whole_history():
    """Skips where git does not hold every commit of the repository."""
    asked = ["git", "rev-parse", "--is-shallow-repository"]
    try:
        said = subprocess.run(asked, cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()
    except OSError:
        said = ""
    if said != "false":
        pytest.skip("not a whole git history")
