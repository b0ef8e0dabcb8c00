"""Run a chapter's code cells in the test's own process, which spares a kernel a chapter."""

import ast
import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from IPython.core.interactiveshell import InteractiveShell
from nbformat import NotebookNode

from shui_workbook.course.notebooks import NOTEBOOKS


def chapter(number: str) -> Path:
    """The notebook of a chapter, "03" for instance."""
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    return path


def code_cells(path: Path) -> list[dict[str, object]]:
    """The code cells of a chapter, their source as one string."""
    cells = json.loads(path.read_text())["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells if cell["cell_type"] == "code"]


def run(shell: InteractiveShell, source: str) -> None:
    """Run one cell; what it raises is raised, and its pictures are closed."""
    done = shell.run_cell(source, silent=True)
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
    shell = InteractiveShell()
    for cell in code_cells(path) if cells is None else cells:
        visit(shell, cell)
        try:
            None if cell["id"] in skip else run(shell, replaced(cell, parameters))
        except Exception as error:
            raise RuntimeError(f"cell {cell['id']} of {path.stem}: {cell['source'][:300]}") from error
    return shell


def replaced(cell: Mapping[str, object], parameters: Mapping[str, object]) -> str:
    """A cell's source; that of the parameters cell with other values at its end, as papermill injects them."""
    source = cell["source"]
    if "parameters" not in cell["metadata"].get("tags", []):
        return source
    takes = {statement.target.id for statement in ast.parse(source).body}
    return source + "\n" + "\n".join(f"{name} = {value!r}" for name, value in parameters.items() if name in takes)


def results_of(
    notebook: NotebookNode, parameters: Mapping[str, object]
) -> Iterator[tuple[NotebookNode, Exception | None]]:
    """Run a notebook's code cells in order, whatever they raise; each with its exception, None where there is none."""
    shell = InteractiveShell()
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
