"""What make would do: folders with spaces stay whole, and what it names is there. Nothing is executed."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
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


@pytest.mark.parametrize(
    ("target", "more"),
    [
        ("workbook", ["OUT=my runs", "DATASET=celeb a"]),
        ("app", ["DATASET=celeb a"]),
        ("tune", ["DATASET=celeb a"]),
        ("results", []),
        ("sweep", []),
        ("profile", []),
    ],
)
def test_a_folder_with_a_space_stays_one_word(target, more):
    said = would_do("-n", target, "DATA_ROOT=my photos", *more)
    for words in ("my photos", "my runs", "celeb a"):
        assert not re.search(rf'(?<!")(?<!DATASET=){words}(?!"|/)', said), said
    assert '--data-root "my photos"' in said


@pytest.mark.parametrize(
    ("target", "word"),
    [
        *[("workbook", word) for word in ("N_ID=1", "n_ids=1", "FORMS=all", "PORT=80")],
        ("tune", "SEED=1"),
        ("tune", "RESERVED=50"),
        ("lab", "DATASET=ages"),
    ],
)
def test_a_parameter_that_nobody_reads_is_refused(target, word):
    """Without a word it would run with the default."""
    with pytest.raises(subprocess.CalledProcessError) as failed:
        would_do("-n", target, word)
    assert f"make {target} has no parameter {word.partition('=')[0]}: it takes" in failed.value.stderr


MADE = {"BIN", "READY", "PIP", "ALONE", "NOTEBOOKS", "LONGEST_FIRST", "MAKEFILE_LIST", "MAKECMDGOALS"}
MADE |= {"PARAMETERS", "OF_CHAPTERS", "EVERY", "TAKEN", "GIVEN"}  # nobody gives these to make


def test_every_target_takes_what_its_commands_read():
    """The parameters in a rule's lines are those that it says it takes, and no other is read anywhere."""
    text = (ROOT / "Makefile").read_text()
    of = {name: words for name, words in re.findall(r"^([A-Za-z_-]+) := (.*)$", text, re.MULTILINE)}
    told = {name: words.replace("$(OF_CHAPTERS)", of["OF_CHAPTERS"]).split() for name, words in of.items()}
    takes = {name.removeprefix("TAKES_"): {*words} for name, words in told.items() if name.startswith("TAKES_")}
    parameters = " ".join(f"$({name})" for name in [*told["OF_CHAPTERS"], "PRESET", "SETTINGS"])
    rules = dict(re.findall(r"^([a-z-]+):[^:=\n]*##[^\n]*\n((?:\t[^\n]*\n)*)", text, re.MULTILINE))
    assert set(takes) <= set(rules)
    for target, lines in rules.items():
        read = names_in(lines.replace("$(PARAMETERS)", parameters)) - MADE - {*told["EVERY"]}
        assert read == takes.get(target, set()), target
    assert names_in(text) - MADE <= set().union(told["EVERY"], *takes.values()), "one that make would refuse"


def names_in(text: str) -> set[str]:
    return set(re.findall(r"\$\((?:or \$\()?([A-Z_]+)\)", text))


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


def test_rows_are_made_with_one_thread_whatever_was_asked_for():
    """Another number of threads rounds differently; make prints what it would give to that target."""
    said = would_do("-np", "results", "PRESET=paper", threads="4")
    assert re.search(r"^results: (?:export )?OMP_NUM_THREADS := 1$", said, re.MULTILINE)


def test_settings_of_methods_pass_through_as_one_word():
    settings = '{"curvature": {"eta": 0.01}}'
    assert f"'SETTINGS={settings}'" in would_do("-n", "workbook", f"SETTINGS={settings}")


def test_a_card_is_checked_without_an_environment():
    said = would_do("-n", "gpu-check", "VENV=nowhere", "PYTHON=python9", "GPU=--parts rate")
    assert said.strip() == "SHUI_PROGRESS=off python9 -m benchmarks.gpu_check --parts rate"


# Installing


def cpu_wheels_command(folder: Path) -> str:
    """How make asks for PyTorch's CPU wheels, from an index that nobody serves."""
    (folder / "torch.txt").write_text("torch>=2.11,<2.15\ntorchvision>=0.26,<0.30\n")
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(sys.executable)
    said = would_do("-n", f"{folder}/ready", f"VENV={folder}", "CPU_INDEX=http://127.0.0.1:9/")
    (line,) = (line for line in said.splitlines() if "--isolated" in line)
    return line.split(" || ")[2].removesuffix(" 2>/dev/null")


def test_cpu_wheels_are_asked_for_by_the_versions_of_the_project(tmp_path):
    said = would_do("-n", f"{tmp_path}/ready", f"VENV={tmp_path}")
    (line,) = (line for line in said.splitlines() if line.startswith("sed "))
    asked = subprocess.run(line.partition(" > ")[0], shell=True, cwd=ROOT, capture_output=True, text=True, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = [one for one in project if re.match(r"torch(vision)?[<>=]", one)]
    assert asked.stdout.split("\n") == [*wanted, ""] and len(wanted) == 2


def test_a_wheel_that_lies_about_is_not_mixed_with_the_cpu_index(tmp_path):
    """pip on this machine may know further places: a torch found there beside another's torchvision does not import."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name in ("torch-2.13.0+cpu", "torchvision-0.28.0"):
        write_wheel(wheels, name)
    command, there = cpu_wheels_command(tmp_path), {**os.environ, "PIP_FIND_LINKS": str(wheels)}
    options = {"shell": True, "cwd": ROOT, "env": there, "capture_output": True, "text": True}
    dry = " --dry-run --ignore-installed"
    alone = subprocess.run(command.replace("--quiet", "") + dry, **options)
    assert alone.returncode and "from versions: none" in alone.stderr and "Would install" not in alone.stdout
    mixed = subprocess.run(command.replace("--quiet", "").replace("--isolated", "") + dry, **options)
    assert "Would install torch-2.13.0+cpu torchvision-0.28.0" in mixed.stdout, mixed.stderr


def write_wheel(folder: Path, name: str) -> None:
    """An empty package."""
    package, version = name.split("-")
    about = f"{package}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
