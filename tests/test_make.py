"""What make would do: folders with spaces stay whole, and what it names is there. Nothing is executed."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def would_do(*words: str, threads: str | None = None) -> str:
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    here = {name: value for name, value in os.environ.items() if name not in ("OMP_NUM_THREADS", "MAKEFLAGS")}
    here |= {"OMP_NUM_THREADS": threads} if threads else {}
    command = ["make", "--no-print-directory", *words]
    return subprocess.run(command, cwd=ROOT, env=here, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("target", ["workbook", "app", "results", "sweep", "tune", "profile"])
def test_a_folder_with_a_space_stays_one_word(target):
    said = would_do("-n", target, "DATA_ROOT=my photos", "OUT=my runs", "DATASET=celeb a")
    for words in ("my photos", "my runs", "celeb a"):
        assert not re.search(rf'(?<!")(?<!DATASET=){words}(?!"|/)', said), said
    assert '--data-root "my photos"' in said


@pytest.mark.parametrize("word", ["N_ID=1", "n_ids=1", "FORMS=all"])
def test_a_parameter_that_nobody_reads_is_refused(word):
    """Without a word it would run with the default."""
    with pytest.raises(subprocess.CalledProcessError) as failed:
        would_do("-n", "workbook", word)
    assert f"make has no parameter {word.partition('=')[0]}: it takes" in failed.value.stderr
    used = set(re.findall(r"\$\((?:or \$\()?([A-Z_]+)\)", (ROOT / "Makefile").read_text()))
    known = set(re.search("^KNOWN := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())
    own = {"BIN", "READY", "PIP", "PARAMETERS", "NOTEBOOKS", "LONGEST_FIRST", "MAKEFILE_LIST", "KNOWN", "GIVEN"}
    assert used - known <= own, "a parameter of make that it would refuse"


def test_the_tests_that_are_named_are_there():
    named = re.findall(r"(?:tests|notebooks)/\S+\.(?:py|ipynb)", would_do("-n", "test"))
    assert len(named) > 13 and not [name for name in named if not (ROOT / name).is_file()]


@pytest.mark.parametrize(
    ("words", "threads", "seen"), [([], None, "1"), ([], "3", "3"), (["PRESET=paper"], None, "")], ids=str
)
def test_one_thread_a_process_for_small_presets(words, threads, seen):
    """A goal of its own that prints what every command of the Makefile is given."""
    said = would_do("-s", "--eval=threads: ; @echo [$$OMP_NUM_THREADS]", "threads", *words, threads=threads)
    assert said.strip() == f"[{seen}]"


def test_settings_of_methods_pass_through_as_one_word():
    settings = '{"curvature": {"eta": 0.01}}'
    assert f"'SETTINGS={settings}'" in would_do("-n", "workbook", f"SETTINGS={settings}")


def test_a_card_is_checked_without_an_environment():
    said = would_do("-n", "gpu-check", "VENV=nowhere", "PYTHON=python9", "GPU=--parts rate")
    assert said.strip() == "SHUI_PROGRESS=off python9 -m benchmarks.gpu_check --parts rate"
