"""Serve the explorer as a page of its own: chapter 11 without the chapter, on this machine only.

python -m shui_workbook.course.app --port 8866 --parameters DATASET=faces SEED=1

The page is made of the chapter's cells that are tagged `page`. They are executed once before anybody is let in: what
is missing is trained there, where its progress is seen. Then Voilà runs them in a kernel for every visitor, and shows
what they show, without the code. It serves from a folder that holds nothing else.

A visitor's kernel takes memory. It goes a minute after its page is closed, and visitors for whom there is no memory
left are told so and asked to come back.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nbformat
import psutil
from tornado.web import HTTPError, RequestHandler

from shui_lib.core.places import DATA, RUNS
from shui_workbook.arguments import command_line, words_by_name
from shui_workbook.course.notebooks import NOTEBOOKS, fitting, run_notebook

CHAPTER = NOTEBOOKS / "11_explorer.ipynb"
TITLE = "Forgetting a person from one photo"
VISITOR = 1.5  # GiB that a kernel with its models takes, about
IDLE, EVERY = 60, 15  # seconds after which a kernel without a page is ended, and between two looks
PLACES = "SHUI_PLACES"  # the environment variable that tells the server how many visitors it lets in
# Read by Voilà from the folder that JUPYTER_CONFIG_PATH names.
CONFIGURATION = """from shui_workbook.course.app import let_in
c.VoilaConfiguration.prelaunch_hook = let_in
"""
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


def check_address(host: str, port: int) -> None:
    """Look at the address before anything is trained.

    Raises:
        ValueError: it is no port, or one that is taken, or the host is no address of this machine.
    """
    if not 0 < port < 2**16:
        raise ValueError(f"PORT={port} is no port: take one from 1024 to 65535")
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        raise ValueError(f"{host}:{port} cannot be listened on ({error.strerror}): take another, PORT=8867") from error


def places() -> int:
    """How many visitors four fifths of the free memory are enough for; one at least."""
    return max(1, int(0.8 * psutil.virtual_memory().available / 2**30 / VISITOR))


def let_in(handler: RequestHandler, notebook: nbformat.NotebookNode, cwd: str) -> None:
    """Called by Voilà before it starts a visitor's kernel.

    Raises:
        HTTPError: every place is taken.
    """
    taken, most = len(handler.kernel_manager.list_kernel_ids()), int(os.environ[PLACES])
    if taken >= most:
        message = (
            f"All {most} places are taken, as each takes memory. Come back in a minute: one is free when a page closes."
        )
        raise HTTPError(503, message, reason=message)


def serve(notebook: Path, *, host: str, port: int) -> int:
    """Let Voilà serve a notebook until it, or this process, is told to stop; its exit status."""
    template = notebook.parent.with_name("jupyter") / "voila" / "templates" / "page"
    template.mkdir(parents=True)
    for name, text in TEMPLATE.items():
        (template / name).write_text(text)
    options = [f"--Voila.ip={host}", f"--port={port}", "--Voila.port_retries=0", "--no-browser", "--template=page"]
    options += [f"--MappingKernelManager.cull_idle_timeout={IDLE}", f"--MappingKernelManager.cull_interval={EVERY}"]
    configuration = template.parents[2] / "configuration"
    configuration.mkdir()
    (configuration / "voila.py").write_text(CONFIGURATION)
    live = {"SHUI_PROGRESS": "live"}  # somebody is there to move a slider
    found = {"JUPYTER_PATH": str(template.parents[2]), "JUPYTER_CONFIG_PATH": str(configuration)}
    most = os.environ.get(PLACES) or str(places())
    print(f"http://{host}:{port}/ for {most} visitors at a time", flush=True)
    command = [sys.executable, "-m", "voila", str(notebook), *options]
    voila = subprocess.Popen(command, env={**os.environ, **live, **found, PLACES: most})
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return voila.wait()
    except KeyboardInterrupt:
        voila.terminate()
        voila.wait()
        return 0


@dataclass(frozen=True, kw_only=True)
class Command:
    """Options of this command."""

    host: str = "127.0.0.1"  # address to listen on: any other lets other machines in
    port: int = 8866
    data_root: Path = DATA
    runs_root: Path = RUNS
    parameters: tuple[str, ...] = ()  # NAME=VALUE


def main(argv: list[str] | None = None) -> int:
    """Execute the page once, and serve it."""
    args = command_line(Command, argv, __doc__)
    where = {"data_root": str(args.data_root.resolve()), "runs_root": str(args.runs_root.resolve())}
    with tempfile.TemporaryDirectory() as folder:
        cut = Path(folder) / "page.ipynb"
        nbformat.write(page(CHAPTER), cut)
        try:
            check_address(args.host, args.port)
            parameters = fitting(cut, {**words_by_name(args.parameters), **where})
        except ValueError as error:
            sys.exit(f"{error}")
        served = run_notebook(cut, Path(folder) / "served" / "explorer.ipynb", parameters)
        return serve(served, host=args.host, port=args.port)


if __name__ == "__main__":
    sys.exit(main())
