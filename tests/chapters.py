"""Run a chapter's code cells in the test's own process, which spares a kernel a chapter."""

import ast
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.core.interactiveshell import InteractiveShell
from nbformat import NotebookNode
from traitlets.config import Config

from shui_lib.core.store import locked
from shui_workbook.course.notebooks import NOTEBOOKS


def once(folder: Path, make: Callable[[Path], object]) -> Path:
    """A folder of data, made by whichever process of the tests comes first."""
    with locked(folder):
        if not folder.is_dir():
            make(folder)
    return folder


def chapter(number: str) -> Path:
    """The notebook of a chapter, "03" for instance."""
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    return path


def code_cells(path: Path) -> list[dict[str, object]]:
    """The code cells of a chapter, their source as one string."""
    cells = json.loads(path.read_text())["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells if cell["cell_type"] == "code"]


def new_shell() -> InteractiveShell:
    """A shell that writes no history: that would be a thread each, and all shells live until the process ends."""
    return InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))


def run(shell: InteractiveShell, source: str) -> None:
    """Run one cell; what it raises is raised, and its pictures are closed. Inside, it is *the* shell, as in a kernel:
    what captures a cell's displays asks for that one."""
    for kind in shell._walk_mro():
        kind._instance = shell
    try:
        done = shell.run_cell(source, silent=True)
    finally:
        InteractiveShell.clear_instance()
    plt.close("all")
    done.raise_error()


def shell_of(
    path: Path,
    parameters: Mapping[str, object],
    *,
    cells: Sequence[Mapping[str, object]] | None = None,
    skip: Collection[str] = (),
    visit: Callable[[InteractiveShell, Mapping[str, object]], None] = lambda shell, cell: None,
) -> InteractiveShell:
    """Run a chapter's cells in order, its parameters replaced; the shell holds its names.

    Args:
        cells: those to run; all by default.
        skip: ids of cells that are not run.
        visit: called with every cell before it is run, or skipped.
    Raises:
        RuntimeError: a cell raised; it names the cell.
    """
    shell = new_shell()
    for cell in code_cells(path) if cells is None else cells:
        visit(shell, cell)
        try:
            None if cell["id"] in skip else run(shell, replaced(cell, parameters))
        except Exception as error:
            raise RuntimeError(f"cell {cell['id']} of {path.stem}: {cell['source'][:300]}") from error
    return shell


def replaced(cell: Mapping[str, object], parameters: Mapping[str, object]) -> str:
    """A cell's source; that of the parameters cell with other values at its end, as papermill injects them.

    Nothing of a quiz: it is shown by a notebook's page, which is not here, and `tests/course/test_quiz.py` looks at it.
    """
    source, tags = cell["source"], cell["metadata"].get("tags", [])
    if "parameters" not in tags:
        return "" if "quiz" in tags else source
    takes = {statement.target.id for statement in ast.parse(source).body}
    return source + "\n" + "\n".join(f"{name} = {value!r}" for name, value in parameters.items() if name in takes)


def results_of(
    notebook: NotebookNode, parameters: Mapping[str, object]
) -> Iterator[tuple[NotebookNode, Exception | None]]:
    """Run a notebook's code cells in order, whatever they raise; each with its exception, None where there is none."""
    shell = new_shell()
    for cell in notebook.cells:
        if cell.cell_type == "code":
            try:
                run(shell, replaced(cell, parameters))
            except Exception as error:  # whatever a cell raises
                yield cell, error
            else:
                yield cell, None


def execute(
    path: Path, parameters: Mapping[str, object], *, until: str = "", skip: Collection[str] = ()
) -> InteractiveShell:
    """As `shell_of`, up to the cell with the id `until`; without one, all cells."""
    cells = code_cells(path)
    ends = [k for k, cell in enumerate(cells) if cell["id"] == until]
    return shell_of(path, parameters, cells=cells[: ends[0]] if ends else cells, skip=skip)
