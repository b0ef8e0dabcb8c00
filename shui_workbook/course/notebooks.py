"""Run the notebooks headlessly with papermill, wrapped once: unknown parameters are errors, runs have a time limit.

python -m shui_workbook.course.notebooks run --parameters DATASET=faces N_IDS=10
python -m shui_workbook.course.notebooks refresh          # execute in place, for committing
"""

from __future__ import annotations

import argparse
import base64
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat
import papermill
from papermill.inspection import inspect_notebook

from shui_lib.core.arguments import typed
from shui_lib.core.progress import progress
from shui_lib.core.rows import read_rows

ROOT = Path(__file__).resolve().parent.parent.parent
NOTEBOOKS = ROOT / "notebooks"
PICTURE = ROOT / "docs" / "request.png"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
CELL_LIMIT = 4 * 3600  # seconds; a cell that trains ViT-B/16 on a GPU takes an hour or two


def run_notebook(notebook: Path, out: Path, parameters: Mapping[str, object]) -> Path:
    """Execute one notebook in its own folder, with the environment's kernel; the executed copy goes to `out`.

    Raises:
        ValueError: a parameter that the notebook does not have.
    """
    known = inspect_notebook(str(notebook))
    unknown = sorted(set(parameters) - set(known))
    if unknown:
        raise ValueError(f"{notebook.name} has no parameter {', '.join(unknown)}: it takes {', '.join(known)}")
    out.parent.mkdir(parents=True, exist_ok=True)
    # The kernel inherits the variable; its lines come out on our stderr.
    shown = os.environ.setdefault("SHUI_PROGRESS", "plain") != "off"
    papermill.execute_notebook(
        str(notebook),
        str(out),
        parameters=dict(parameters),
        kernel_name="python3",
        cwd=str(notebook.parent),
        execution_timeout=CELL_LIMIT,
        progress_bar=shown,
        stderr_file=sys.stderr if shown else None,
    )
    return out


def run_all(out: Path, parameters: Mapping[str, object], notebooks: Sequence[Path]) -> None:
    """Execute notebooks in order, and say where the results are."""
    started = time.perf_counter()
    rows = Path(str(parameters["rows_file"])) if "rows_file" in parameters else out / "rows_live.csv"
    for notebook in progress(notebooks, desc="workbook", unit="notebook"):
        known = inspect_notebook(str(notebook))
        mine = {k: v for k, v in {**parameters, "rows_file": str(rows)}.items() if k in known or k in parameters}
        run_notebook(notebook, out / notebook.name, mine)
    print(f"{len(notebooks)} notebooks in {(time.perf_counter() - started) / 60:.1f} minutes: {out}")
    if rows.is_file():
        print(f"{len(read_rows(rows))} result rows: {rows}")


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
    """The notebook without timings, paths and versions of the machine it ran on."""
    notebook.metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    for cell in notebook.cells:
        cell.metadata = {name: value for name, value in cell.metadata.items() if name == "tags" and value}
    return notebook


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "refresh"])
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "notebooks")
    parser.add_argument("--data-root", type=Path, default=ROOT / "data")
    parser.add_argument("--notebooks", type=Path, nargs="*", help="all chapters by default")
    parser.add_argument("--parameters", nargs="*", default=[], metavar="NAME=VALUE")
    args = parser.parse_args(argv)
    if args.what == "refresh":
        refresh(args.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")))
        return
    try:
        parameters = {"data_root": str(args.data_root.resolve()), **typed(args.parameters)}
        run_all(args.out.resolve(), parameters, args.notebooks or sorted(NOTEBOOKS.glob("*.ipynb")))
    except ValueError as error:
        sys.exit(f"{error}")


if __name__ == "__main__":
    main()
