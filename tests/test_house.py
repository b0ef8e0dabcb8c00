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

# What each module of shui_lib may import from shui_lib. Arrows point one way:
# selection, workbook -> experiment -> methods -> meta_gradient, train -> models, data, splits -> config.
METHOD = {
    "data", "distillation", "kfac", "meta_gradient", "meta_loss", "methods", "metrics", "models", "objectives",
    "preconditioners", "predict", "progress", "randomness", "splits", "store", "train",
}  # fmt: skip
MAY_IMPORT = {
    "config": set(),
    "data": set(),
    "metrics": set(),  # a leaf: methods may import it
    "progress": set(),
    "randomness": set(),
    "store": set(),
    "meta_loss": {"predict"},
    "names": set(),
    "splits": {"config"},
    "settings": {"config", "methods", "names"},
    "serve": {"config", "methods", "models", "stages", "store"},
    "stages": {"store"},
    "models": {"config", "randomness", "store"},
    "predict": {"data", "models", "progress"},
    "train": {"config", "data", "metrics", "models", "predict", "progress", "randomness", "store"},
    "meta_gradient": {"data", "meta_loss", "models", "predict"},
    "objectives": {"data", "distillation", "meta_gradient", "metrics", "models", "predict"},
    "ablations": {"arguments", "config", "experiment", "methods", "progress", "results", "selection", "settings"},
    "distillation": {"data", "models", "predict", "randomness"},
    "preconditioners": {"data", "meta_gradient", "models", "predict", "progress", "randomness"},
    "kfac": {"data", "models", "predict", "preconditioners", "progress"},
    "machine": set(),
    "arguments": set(),
    "rmia": set(),  # arrays only
    "analyses": {"metrics", "predict", "store"},
    "attack": {"rmia"},
    "results": {"store"},
    "claims": {"analyses", "results"},
    "tables": {"methods", "results"},  # methods: for the access column
    "report": {"claims", "figures", "results", "store", "tables"},
    "experiment": {
        "attack", "config", "data", "machine", "methods", "metrics", "models", "names", "predict", "results", "serve",
        "settings", "splits", "stages", "store", "train",
    },
    "explorer": {
        "analyses", "data", "experiment", "figures", "methods", "metrics", "models", "names", "predict",
    },
    "panel": {"explorer", "figures"},
    "app": {"arguments", "workbook"},
    "exercises": {"progress", "store", "workbook"},
    "laboratory": {"figures", "progress", "rmia"},
    "selection": {
        "arguments", "experiment", "meta_loss", "methods", "metrics", "objectives", "predict", "progress",
        "serve", "settings", "splits", "store",
    },
    "sequential": {
        "data", "experiment", "methods", "metrics", "models", "names", "predict", "progress", "results", "settings",
    },
    "tradeoff": {"arguments", "experiment", "methods", "metrics", "models", "predict", "progress", "selection"},
    "workbook": {"arguments", "progress", "results"},
    "cluster": set(),
    "cost": {"stages"},
    "run": {"cost", "store", "workbook"},
    "sweep": {"arguments", "cluster", "cost", "progress", "results", "run", "workbook"},
}  # fmt: skip
CODE = sorted([*(ROOT / "shui_lib").rglob("*.py"), *(ROOT / "data_prep").rglob("*.py")])


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


def ours(path: Path) -> set[str]:
    return {name.removeprefix("shui_lib.") for name in imports(path) if name.startswith("shui_lib")}


# Arrows


@pytest.mark.parametrize("path", [path for path in CODE if "shui_lib" in path.parts], ids=module_name)
def test_arrows_point_one_way(path):
    name = module_name(path).removeprefix("shui_lib").removeprefix(".")
    if name == "":
        allowed = set()
    elif name == "methods":  # the registry imports every method, at its end
        allowed = {"data", "models"} | {m.removeprefix("shui_lib.") for m in MODULES if ".methods." in m}
    elif name.startswith("methods."):
        allowed = METHOD
    elif name.startswith("figures"):
        allowed = {"data"} | {m.removeprefix("shui_lib.") for m in MODULES if ".figures." in m}  # data: it draws photos
    else:
        assert name in MAY_IMPORT, f"say in MAY_IMPORT what {name} may import"
        allowed = MAY_IMPORT[name]
    assert ours(path) <= allowed


@pytest.mark.parametrize("path", [path for path in CODE if "methods" in path.parts], ids=module_name)
def test_a_method_cannot_look_at_what_it_is_judged_by(path):
    assert ours(path).isdisjoint({"rmia", "experiment", "results", "figures", "selection", "stages"})


@pytest.mark.parametrize("path", [path for path in CODE if "data_prep" in path.parts], ids=module_name)
def test_data_prep_stands_alone(path):
    assert not ours(path)


def test_no_arrow_leads_back():
    order, open_ = (
        [],
        {name: allowed - {"figures", "methods", "methods.meta_unlearn"} for name, allowed in MAY_IMPORT.items()},
    )
    while ready := [name for name, allowed in open_.items() if allowed <= set(order)]:
        order += ready
        open_ = {name: allowed for name, allowed in open_.items() if name not in ready}
    assert not open_, f"a circle among {', '.join(open_)}"


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
