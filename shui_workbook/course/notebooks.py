"""Run the notebooks headlessly with papermill, wrapped once: parameters are checked, cells have a time limit.

python -m shui_workbook.course.notebooks run --parameters DATASET=faces N_IDS=10
python -m shui_workbook.course.notebooks refresh          # execute in place, for committing
"""

from __future__ import annotations

import base64
import io
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal, NamedTuple

import nbformat
import papermill
import tyro
from papermill.inspection import inspect_notebook

from shui_lib.core.places import DATA, RUNS
from shui_lib.core.progress import progress
from shui_workbook.arguments import command_line, of_type, words_by_name
from shui_workbook.records.files import read_rows

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = ROOT / "notebooks"
PICTURE = ROOT / "docs" / "request.png"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
ONLY = "only:"  # how the comment of a parameter begins that takes the listed values and no other
CELL_LIMIT = 4 * 3600  # seconds; a cell that trains ViT-B/16 on a GPU takes an hour or two


class Outcome(NamedTuple):
    """What came of one chapter."""

    chapter: str
    seconds: float
    cpu_seconds: float  # of the kernel
    error: str  # empty where every cell ran


def declared(notebook: Path) -> dict[str, str]:
    """The parameters of a notebook and the types that its first cell declares; "" for one that declares none."""
    types = {name: one["inferred_type_name"] for name, one in inspect_notebook(str(notebook)).items()}
    return {name: "" if kind == "None" else kind for name, kind in types.items()}


def choices(notebook: Path) -> dict[str, tuple[str, ...]]:
    """The parameters of a notebook that take some values only: those whose comment begins with "only:".

    `dataset: str = "faces"  # only: faces (ten rendered people) | mnist` takes faces and mnist.
    """
    said = {name: one["help"] for name, one in inspect_notebook(str(notebook)).items()}
    listed = {name: text.removeprefix(ONLY).split("|") for name, text in said.items() if text.startswith(ONLY)}
    return {name: tuple(one.split()[0].strip(",:") for one in values) for name, values in listed.items()}


def fitting(notebook: Path, parameters: Mapping[str, object]) -> dict[str, object]:
    """The parameters with the types that the notebook declares; text is read as such a value.

    Raises:
        ValueError: a parameter that the notebook does not have, a value that is not of its type or not of its choices.
    """
    known, choice = declared(notebook), choices(notebook)
    if unknown := sorted(set(parameters) - set(known)):
        raise ValueError(f"{notebook.name} has no parameter {', '.join(unknown)}: it takes {', '.join(known)}")
    values = {name: of_type(name, value, known[name]) for name, value in parameters.items()}
    for name, value in values.items():
        if value not in choice.get(name, (value,)):
            raise ValueError(f"{name.upper()}={value}: {notebook.stem} takes {', '.join(choice[name])} only")
    return values


def shared_out(notebooks: Sequence[Path], parameters: Mapping[str, object]) -> dict[Path, dict[str, object]]:
    """Each notebook's own part of the parameters, every one checked before the first chapter starts.

    `seed` also stands for the `seeds` of a chapter that looks at several, unless these are given. A chapter that does
    not take a value keeps its own, where another chapter takes it: `left_out` says so.

    Raises:
        ValueError: a parameter that none of the notebooks has, or a value that none takes or is not of its type.
    """
    known = {path: declared(path) for path in notebooks}
    if unknown := sorted(set(parameters) - set().union(*known.values())):
        raise ValueError(f"no chapter has a parameter {', '.join(unknown)}: look at the first cell of {notebooks[0]}")
    given = {"seeds": str(parameters["seed"]), **parameters} if "seed" in parameters else parameters
    theirs = {path: set(known[path]) - set(_not_taken(path, given)) for path in notebooks}
    for path in notebooks:  # what no chapter takes is left in, and refused
        theirs[path] |= set(known[path]) - set().union(*theirs.values())
    return {path: fitting(path, {k: v for k, v in given.items() if k in theirs[path]}) for path in notebooks}


def _not_taken(notebook: Path, parameters: Mapping[str, object]) -> dict[str, tuple[str, ...]]:
    """Parameters whose value is none of those that the notebook takes, and what it takes."""
    return {k: taken for k, taken in choices(notebook).items() if k in parameters and str(parameters[k]) not in taken}


def left_out(notebooks: Sequence[Path], parameters: Mapping[str, object]) -> dict[Path, list[str]]:
    """What was asked for and a chapter does not follow, as it has no such parameter or does not take the value."""
    found: dict[Path, list[str]] = {}
    for path in notebooks:
        known, others = declared(path), _not_taken(path, parameters)
        lacks = [name for name in parameters if name not in known and not (name == "seed" and "seeds" in known)]
        found[path] = [f"{name.upper()}={parameters[name]} (no such parameter)" for name in lacks]
        found[path] += [f"{k.upper()}={parameters[k]} (takes {', '.join(v)})" for k, v in others.items()]
    return found


def check_setting(notebook: Path, values: Mapping[str, object]) -> None:
    """Look at what a notebook was given before it, or another one, starts.

    Raises:
        ValueError: an unknown preset, a seed out of range, settings of no method, or a data set that is not prepared.
    """
    from shui_lib.benchmark.data import folder_of  # here: they load torch, seconds for whoever only starts chapters
    from shui_lib.benchmark.presets import preset_named
    from shui_lib.core.randomness import checked_seed
    from shui_workbook.runs.settings import checked_settings

    if "preset" in values and "preset" not in choices(notebook):
        preset_named(str(values["preset"]))
    if "seed" in values:
        checked_seed(int(str(values["seed"])))
    if "settings" in values:
        checked_settings(str(values["settings"]))
    dataset, root = str(values.get("dataset", "faces")), Path(str(values.get("data_root", DATA)))
    if dataset != "faces" and not (folder_of(root, dataset) / "dataset.json").is_file():  # make draws faces
        raise ValueError(f"DATASET={dataset} is not prepared below {root}: `python -m data_prep --help` says how")


def run_notebook(notebook: Path, out: Path, parameters: Mapping[str, object]) -> Path:
    """Execute one notebook in its own folder, with the environment's kernel; the executed copy goes to `out`.

    Raises:
        ValueError: a parameter that the notebook does not have, or a value that is not of its type.
    """
    values = fitting(notebook, parameters)
    out.parent.mkdir(parents=True, exist_ok=True)
    # The kernel inherits the variables; its lines come out on our stderr.
    shown = os.environ.setdefault("SHUI_PROGRESS", "plain") != "off"
    if values.get("preset") != "paper":
        one_thread()
    papermill.execute_notebook(
        str(notebook),
        str(out),
        parameters=values,
        kernel_name="python3",
        cwd=str(notebook.parent),
        execution_timeout=CELL_LIMIT,
        progress_bar=shown,
        stderr_file=sys.stderr if shown else None,
    )
    return out


def one_thread() -> None:
    """Let the kernels that this process starts compute with one thread, unless OMP_NUM_THREADS says otherwise.

    The threads of a small network wait for each other: beside other work on the machine two are slower than one.
    Rows name the number with their device, as another number rounds differently.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def side_by_side() -> int:
    """How many chapters run at a time: with a GPU one; else one for each core, and four at most, for the memory."""
    import torch  # here: every chapter's own process imports this file, and has no use for it

    return 1 if torch.cuda.is_available() else min(os.cpu_count() or 1, 4)


def run_all(
    out: Path, parameters: Mapping[str, object], notebooks: Sequence[Path], *, workers: int = 1
) -> list[Outcome]:
    """Execute notebooks, `workers` at a time; one that fails leaves the others alone.

    Several begin with the last: later chapters are longer, and those of other networks wait for no stage of the first.
    Every chapter is a process of its own, and a stage that several of them need is made by one while the others wait.
    Result rows go to one file, and the stages that each chapter used are listed in `out`/stages. What was asked for
    and a chapter does not follow is said before it runs, and in the table.

    Raises:
        ValueError: as `shared_out` and `check_setting`, before anything runs.
    """
    rows = Path(str(parameters.get("rows_file") or out / "rows_live.csv"))
    takes_rows = any("rows_file" in declared(path) for path in notebooks)
    every = shared_out(notebooks, {**parameters, **({"rows_file": str(rows)} if takes_rows else {})})
    for path, values in every.items():
        check_setting(path, values)
    without = {path.stem: "; ".join(lines) for path, lines in left_out(notebooks, parameters).items() if lines}
    for chapter, lines in without.items():
        print(f"{chapter} runs without {lines}", flush=True)
    shutil.rmtree(out / "stages", ignore_errors=True)
    (out / "stages").mkdir(parents=True)
    started = time.perf_counter()
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        order = [*every] if workers == 1 else [*reversed(every)]
        running = {path: pool.submit(_outcome, path, out, every[path]) for path in order}
        ended = progress(as_completed(running.values()), total=len(running), desc="workbook", unit="notebook")
        for one in ended:
            if one.exception() is None and one.result().error:
                print(f"{one.result().chapter} failed: {one.result().error}", file=sys.stderr, flush=True)
    found = [_result(path, running[path]) for path in every]
    print(summary(found, without))
    print(f"{len(notebooks)} notebooks in {(time.perf_counter() - started) / 60:.1f} minutes: {out}")
    if rows.is_file():
        print(f"{len(read_rows(rows))} result rows: {rows}")
    return found


def _outcome(notebook: Path, out: Path, values: Mapping[str, object]) -> Outcome:
    """Execute one chapter in this process. An exception becomes its words: not every one can be sent back."""
    os.environ["SHUI_STAGES"] = str(out / "stages" / f"{notebook.stem}.txt")
    started, error = time.perf_counter(), ""
    try:
        run_notebook(notebook, out / notebook.name, values)
    except Exception as raised:  # whatever a cell raises, a kernel that dies, a disk that is full
        error = in_a_line(raised)
    spent = os.times()
    return Outcome(notebook.stem, time.perf_counter() - started, spent.children_user + spent.children_system, error)


def _result(notebook: Path, one: Future) -> Outcome:
    """What came of a chapter, its process killed included."""
    failed = one.exception()
    return Outcome(notebook.stem, 0.0, 0.0, in_a_line(failed)) if failed else one.result()


def in_a_line(error: BaseException) -> str:
    """The exception's last line, which names it; of a failed cell that is what the cell raised."""
    lines = str(error).strip().splitlines() or [""]
    named = isinstance(error, papermill.PapermillExecutionError)
    return f"{error.ename}: {error.evalue}".splitlines()[0] if named else f"{type(error).__name__}: {lines[-1]}"


def summary(found: Sequence[Outcome], without: Mapping[str, str] = MappingProxyType({})) -> str:
    """A table: what each chapter took, whether it failed, and what it ran without, by chapter."""
    lines = [f"{'chapter':32}  minutes  CPU min  outcome"]
    for one in found:
        message = f"failed: {one.error}" if one.error else "done"
        message += f", without {without[one.chapter]}" if one.chapter in without else ""
        lines.append(f"{one.chapter:32} {one.seconds / 60:8.1f} {one.cpu_seconds / 60:8.1f}  {message}")
    return "\n".join(lines)


def refresh(notebooks: Sequence[Path]) -> None:
    """Execute notebooks in place with their defaults, and strip what changes from run to run."""
    os.environ["SHUI_PROGRESS"] = "off"
    for notebook in notebooks:
        with tempfile.TemporaryDirectory() as folder:
            executed = nbformat.read(run_notebook(notebook, Path(folder) / notebook.name, {}), as_version=4)
        nbformat.write(stripped(executed), notebook)
        for cell in executed.cells:
            if "readme-picture" in cell.metadata.get("tags", []):
                save_picture(cell, PICTURE)


def save_picture(cell: nbformat.NotebookNode, path: Path) -> None:
    """Write the picture that a cell shows, so that the README can show it too."""
    shown = next(output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {}))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(base64.b64decode(shown))


def stripped(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook without timings, paths and versions of the machine it ran on, its pictures in fewer bytes."""
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {name: value for name, value in cell.metadata.items() if name == "tags" and value}
        for data in (output.get("data", {}) for output in cell.get("outputs", [])):
            if "image/png" in data:
                data["image/png"] = smaller(data["image/png"])
    return notebook


def smaller(picture: str) -> str:
    """The same pixels of a PNG (base64), compressed again as well as Pillow can, without transparency that is none."""
    from PIL import Image  # here: not for whoever only starts chapters

    packed = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        opaque = image.mode == "RGBA" and image.getextrema()[3] == (255, 255)
        (image.convert("RGB") if opaque else image).save(packed, "PNG", optimize=True)
    return min(picture, base64.b64encode(packed.getvalue()).decode(), key=len)


@dataclass(frozen=True, kw_only=True)
class Command:
    """Options of this command."""

    what: Annotated[Literal["run", "refresh"], tyro.conf.Positional]
    out: Path = RUNS / "notebooks"
    data_root: Path = DATA
    notebooks: tuple[Path, ...] = ()  # all chapters by default
    workers: int = field(default_factory=side_by_side)  # chapters at a time
    parameters: tuple[str, ...] = ()  # NAME=VALUE


def main(argv: list[str] | None = None) -> int:
    """Command line; 1 where a chapter failed."""
    args = command_line(Command, argv, __doc__)
    if args.what == "refresh":
        refresh(args.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")))
        return 0
    notebooks = [path.resolve() for path in args.notebooks or sorted(NOTEBOOKS.glob("*.ipynb"))]
    try:
        parameters = {"data_root": str(args.data_root.resolve()), **words_by_name(args.parameters)}
        found = run_all(args.out.resolve(), parameters, notebooks, workers=args.workers)
    except ValueError as error:
        sys.exit(f"{error}")
    return 1 if any(one.error for one in found) else 0


if __name__ == "__main__":
    sys.exit(main())
