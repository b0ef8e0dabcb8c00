"""The house's own rules: which module may import which, one list of versions, and nothing of any one machine."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

# The rooms from bottom to top: a file may import from its own room and from those that are named beside it.
CORE = {"shui_lib.core"}
BENCHMARK = CORE | {"shui_lib.benchmark"}
PARTS = BENCHMARK | {"shui_lib.methods.parts"}
METHODS = PARTS | {"shui_lib.methods"}
LIBRARY = METHODS | {"shui_lib.attack"}
RUNNING = LIBRARY | {"shui_workbook.runs"}
SISTERS = {"shui_lib.ltu", "shui_lib.gan"}
RECORDS = CORE | {"shui_workbook", "shui_workbook.records"}
STUDIES = RUNNING | SISTERS | RECORDS | {"shui_workbook.figures", "shui_workbook.studies"}
SHOWN = STUDIES | {"shui_workbook.studies.gan", "shui_workbook.reports"}
MAY_IMPORT = {
    "shui_lib": set(),
    "shui_lib.core": CORE,
    "shui_lib.benchmark": BENCHMARK,
    "shui_lib.methods.parts": PARTS,
    "shui_lib.methods": METHODS,
    "shui_lib.attack": BENCHMARK | {"shui_lib.attack"},
    "shui_lib.ltu": METHODS | {"shui_lib.attack", "shui_lib.ltu"},
    "shui_lib.gan": METHODS | {"shui_lib.attack", "shui_lib.gan"},
    "shui_workbook.runs": RUNNING,
    "shui_workbook": RUNNING,
    "shui_workbook.records": RECORDS,
    "shui_workbook.figures": BENCHMARK | {"shui_workbook.figures"},
    "shui_workbook.studies": STUDIES,
    "shui_workbook.studies.gan": STUDIES | {"shui_workbook.studies.gan"},
    "shui_workbook.reports": SHOWN,
    "shui_workbook.course": SHOWN | {"shui_workbook.course"},
    "shui_workbook.sweep": SHOWN | {"shui_workbook.course", "shui_workbook.sweep"},
}
OURS = ("shui_lib", "shui_workbook")
CODE = sorted(path for room in (*OURS, "data_prep") for path in (ROOT / room).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path) for path in CODE}


def imports(path: Path) -> set[str]:
    """Every module that a file imports, anywhere in it; `from package import module` is the module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: write imports in full"
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= inner & MODULES or {node.module}
    return found


def room_of(module: str, *, package: bool) -> str:
    """The folder that a module lives in, dotted."""
    return module if package else module.rpartition(".")[0]


def ours(path: Path) -> set[str]:
    """Rooms of the package that a file imports from."""
    names = {name for name in imports(path) if name.split(".")[0] in OURS}
    return {room_of(name, package=(ROOT / name.replace(".", "/")).is_dir()) for name in names}


# Arrows


@pytest.mark.parametrize("path", [path for path in CODE if "data_prep" not in path.parts], ids=module_name)
def test_arrows_point_one_way(path):
    room = room_of(module_name(path), package=path.name == "__init__.py")
    assert room in MAY_IMPORT, f"say in MAY_IMPORT what {room} may import"
    assert ours(path) <= MAY_IMPORT[room]


def test_every_room_of_the_plan_exists():
    assert not [room for room in MAY_IMPORT if not (ROOT / room.replace(".", "/")).is_dir()]


METHOD_FILES = [path for path in (ROOT / "shui_lib" / "methods").rglob("*.py") if path.name != "__init__.py"]


@pytest.mark.parametrize("path", METHOD_FILES, ids=module_name)
def test_methods_never_import_each_other(path):
    others = {module_name(other) for other in METHOD_FILES if other.parent.name == "methods" and other != path}
    assert not imports(path) & others


@pytest.mark.parametrize("path", METHOD_FILES, ids=module_name)
def test_a_method_cannot_look_at_what_it_is_judged_by(path):
    judges = {
        "shui_lib.attack",
        "shui_workbook.runs",
        *(room for room in MAY_IMPORT if room.startswith("shui_workbook")),
    }
    assert ours(path).isdisjoint(judges)
    assert imports(path).isdisjoint({"shui_lib.core.rows", "shui_lib.core.stages"})


@pytest.mark.parametrize("path", [path for path in CODE if "data_prep" in path.parts], ids=module_name)
def test_data_prep_stands_alone(path):
    """But for the weights of others, which are rewritten for the library's own networks."""
    assert ours(path) <= (BENCHMARK if path.name == "weights.py" else set())


def test_no_arrow_leads_back():
    order, open_ = set(), {room: allowed - {room} for room, allowed in MAY_IMPORT.items()}
    while ready := {room for room, allowed in open_.items() if allowed <= order}:
        order |= ready
        open_ = {room: allowed for room, allowed in open_.items() if room not in ready}
    assert not open_, f"a circle among {', '.join(open_)}"


# The library is thin

# Of shui_lib without its sisters: models, splits, methods, metrics, the attack. In which order they are used, with
# which settings, and where the results lie, is the workbook's (`shui_workbook.runs`).
MOST_LINES = 5_000


def test_the_library_is_thin():
    paths = [path for path in (ROOT / "shui_lib").rglob("*.py") if not {"ltu", "gan"} & set(path.parts)]
    lines = sum(len(path.read_text().splitlines()) for path in paths)
    assert lines <= MOST_LINES, f"{lines} lines: what belongs to studies, reports or preparing data lives elsewhere"


@pytest.mark.parametrize("sister", ["ltu", "gan"])
def test_a_sister_is_thin(sister):
    lines = sum(len(path.read_text().splitlines()) for path in (ROOT / "shui_lib" / sister).rglob("*.py"))
    assert lines < 900, f"{lines} lines: what only the workbook calls lives there"


# Nothing is unpickled: a file from elsewhere must not run code


@pytest.mark.parametrize("path", CODE, ids=module_name)
def test_nothing_is_unpickled(path):
    unsafe = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    assert not {name.split(".")[0] for name in imports(path)} & unsafe
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
            assert isinstance(node.value, ast.Constant) and node.value.value is False
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in {"torch.load", "torch.save", "pd.read_pickle"}


# One list of versions


def requirements(lines: list[str]) -> dict[str, str]:
    """Specifier by name: "numpy>=2.2,<3" to {"numpy": ">=2.2,<3"}."""
    parted = (re.fullmatch(r"([\w-]+)(?:\[.*\])?\s*(.*)", line).groups() for line in lines)
    return {name.lower(): specifier for name, specifier in parted}


def test_conda_and_pip_ask_for_the_same_versions():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    (pip,) = (entry["pip"] for entry in listed if isinstance(entry, dict))
    conda = requirements([entry for entry in listed if isinstance(entry, str)])
    conda |= requirements([line for line in pip if not line.startswith("-e")])
    wanted = requirements([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]])
    wanted = {{"torch": "pytorch"}.get(name, name): specifier for name, specifier in wanted.items()}
    assert conda.pop("python") == PROJECT["requires-python"]
    assert conda.pop("pip") == ""
    assert conda == wanted
    assert any(line.split("[")[0] == "-e ." for line in pip)


# Reader's path


def test_readme_lists_every_chapter():
    chapters = sorted(path.name for path in (ROOT / "notebooks").glob("*.ipynb"))
    if not chapters:
        pytest.skip("no notebooks yet")
    table = "\n".join(line for line in (ROOT / "README.md").read_text().splitlines() if line.startswith("|"))
    assert not [name for name in chapters if name not in table]


# Any machine


def text_files() -> list[Path]:
    """Files under version control, and those about to be; not what git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in said.split("\0") if name and name != ".ci/run"]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


MACHINE = re.compile(r"(?<![\w.~<}])/(work|tmp|root|home|Users)/|\bshared/|[A-Z]:\\\\Users")


def test_no_file_knows_a_machine():
    hits = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if "MACHINE =" not in line and (found := MACHINE.search(line)):
                hits.append(f"{path.relative_to(ROOT)}:{number}: {found[0]}")
    assert not hits, "\n".join(hits)
