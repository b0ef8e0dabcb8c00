"""Serve the explorer as a page of its own: chapter 11 without the chapter, on this machine only.

python -m shui_workbook.course.app --port 8866 --parameters DATASET=faces SEED=1

The page is made of the chapter's cells that are tagged `page`. They are executed once before anybody is let in: what
is missing is trained there, where its progress is seen. Then Voilà runs them in a kernel for every visitor, and shows
what they show, without the code. It serves from a folder that holds nothing else.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat

from shui_lib.core.arguments import typed
from shui_workbook.course.notebooks import NOTEBOOKS, ROOT, run_notebook

CHAPTER = NOTEBOOKS / "11_explorer.ipynb"
TITLE = "Forgetting a person from one photo"
# Voilà's own look, without the icons that it fetches from somewhere else and that the page does not have.
TEMPLATE = {
    "conf.json": '{"base_template": "lab"}',
    "index.html.j2": """{%- extends 'voila/templates/lab/index.html.j2' -%}
{%- block notebook_css -%}
{{ super().replace('rel="stylesheet" href="https:', 'rel="help" href="https:') }}
{%- endblock notebook_css -%}
""",
}


def page(chapter: Path) -> nbformat.NotebookNode:
    """The cells of a chapter that make its page: those tagged `page`, after its parameters."""
    notebook = nbformat.read(chapter, as_version=4)
    notebook.cells = [c for c in notebook.cells if {"page", "parameters"} & set(c.metadata.get("tags", []))]
    notebook.metadata["title"] = TITLE
    return notebook


def serve(notebook: Path, *, host: str, port: int) -> int:
    """Let Voilà serve a notebook until it, or this process, is told to stop; its exit status."""
    template = notebook.parent.with_name("jupyter") / "voila" / "templates" / "page"
    template.mkdir(parents=True)
    for name, text in TEMPLATE.items():
        (template / name).write_text(text)
    options = [f"--Voila.ip={host}", f"--port={port}", "--Voila.port_retries=0", "--no-browser", "--template=page"]
    live = {"SHUI_PROGRESS": "live", "JUPYTER_PATH": str(template.parents[2])}  # somebody is there to move a slider
    voila = subprocess.Popen([sys.executable, "-m", "voila", str(notebook), *options], env={**os.environ, **live})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return voila.wait()
    except KeyboardInterrupt:
        voila.terminate()
        voila.wait()
        return 0


def main(argv: list[str] | None = None) -> int:
    """Execute the page once, and serve it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on: any other lets other machines in")
    parser.add_argument("--port", type=int, default=8866)
    parser.add_argument("--data-root", type=Path, default=ROOT / "data")
    parser.add_argument("--runs-root", type=Path, default=ROOT / "runs")
    parser.add_argument("--parameters", nargs="*", default=[], metavar="NAME=VALUE")
    args = parser.parse_args(argv)
    where = {"data_root": str(args.data_root.resolve()), "runs_root": str(args.runs_root.resolve())}
    with tempfile.TemporaryDirectory() as folder:
        cut = Path(folder) / "page.ipynb"
        nbformat.write(page(CHAPTER), cut)
        served = run_notebook(cut, Path(folder) / "served" / "explorer.ipynb", {**typed(args.parameters), **where})
        return serve(served, host=args.host, port=args.port)


if __name__ == "__main__":
    sys.exit(main())
