"""Chapters as somebody meets them in JupyterLab: opened, run, saved, and opened again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from test_browser import PATIENCE, free_port
from tiny import prepare_tiny

from shui_workbook.course.notebooks import KERNEL, NOTEBOOKS

PANEL = """
from shui_workbook.runs.experiment import Experiment
from shui_workbook.course import explorer
from shui_workbook.course.panel import Panel

where = {"data_root": "../data", "runs_root": "../runs"}
one = Experiment(dataset="tiny", preset="smoke", device="cpu", n_ids=3, reserved=5, seed=0, **where)
prepared = explorer.prepare(one, most=200)
Panel(lambda name: prepared, ["tiny"]).show()
"""
QUIZ = 'from shui_workbook.course.quiz import show_quiz\n\nshow_quiz("01")'


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """JupyterLab's address and its folder, started as `make lab` starts it."""
    where = tmp_path_factory.mktemp("lab")
    prepare_tiny(where / "data" / "tiny")
    (books := where / "books").mkdir()
    shutil.copy(NOTEBOOKS / "01_benchmark_construction.ipynb", books / "chapter.ipynb")
    cells = [new_code_cell(PANEL.strip()), new_code_cell(QUIZ)]
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    nbformat.write(new_notebook(cells=cells, metadata=metadata), books / "panel.ipynb")
    port, log = free_port(), where / "log.txt"
    options = [
        f"--port={port}",
        "--no-browser",
        "--allow-root",
        "--IdentityProvider.token=",
        f"--ServerApp.root_dir={books}",
    ]
    options += ["--ServerApp.contents_manager_class=shui_workbook.course.contents.Contents"]
    own = {f"JUPYTER_{kind}_DIR": str(where / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    own |= {"JUPYTERLAB_SETTINGS_DIR": str(where / "SETTINGS"), "JUPYTERLAB_WORKSPACES_DIR": str(where / "WORKSPACES")}
    command = [sys.executable, "-m", "jupyterlab", *options]
    with log.open("w") as out:
        running = subprocess.Popen(
            command, env=os.environ | own, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        until = time.monotonic() + PATIENCE
        while not answers(f"http://127.0.0.1:{port}/api"):
            assert time.monotonic() < until and running.poll() is None, log.read_text()[-3000:]
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/lab/tree", books
    finally:
        os.killpg(running.pid, signal.SIGTERM)
        running.wait(60)


def answers(url: str) -> bool:
    with suppress(OSError):
        return urllib.request.urlopen(url, timeout=5).status == 200
    return False


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(1000 * PATIENCE)
    yield page
    page.close()


def opened(page, url: str) -> None:
    """Open a notebook, and wait until its kernel is there and Lab has written what it wants to write."""
    page.goto(f"{url}?reset")
    page.wait_for_selector(".jp-Notebook .jp-CodeCell")
    page.wait_for_selector(".jp-NotebookPanel-toolbar [data-status=idle], .jp-Toolbar-kernelStatus[data-status=idle]")
    page.wait_for_timeout(2000)


def changed(page) -> int:
    return page.locator(".jp-mod-dirty").count()


def test_a_chapter_that_is_opened_is_not_changed(lab, page):
    opened(page, f"{lab[0]}/chapter.ipynb")
    assert changed(page) == 0


def test_picture_and_quiz_run_and_the_picture_is_saved(lab, page):
    url, books = lab
    opened(page, f"{url}/panel.ipynb")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_text("Run All Cells", exact=True).click()
    page.wait_for_selector(".shui-panel .shui-picture img")
    assert not page.locator(".shui-saved").first.is_visible(), "once is enough while the menus live"
    page.wait_for_selector(".Quiz")
    page.locator(".Quiz label", has_text="So that training is faster").click()
    assert page.locator(".Quiz .Feedback").first.inner_text().startswith("No.")
    page.keyboard.press("Control+s")
    until = time.monotonic() + PATIENCE
    while "shui-saved" not in (books / "panel.ipynb").read_text():
        assert time.monotonic() < until, "the saved file has the picture"
        time.sleep(0.5)
    saved = json.loads((books / "panel.ipynb").read_text())
    assert saved["metadata"] == {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    mine, theirs = books / "mine.ipynb", books / "theirs.ipynb"
    mine.write_text(json.dumps(saved))
    saved["cells"][1]["source"] += ["  # changed: the signature does not hold, the file is not trusted"]
    theirs.write_text(json.dumps(saved))
    for file in (mine, theirs):
        opened(page, f"{url}/{file.name}")
        assert changed(page) == 0 and page.locator(".shui-saved .shui-picture img").count() == 4
        assert page.locator(".shui-saved").first.is_visible()
        text = page.locator(".jp-Notebook").inner_text()
        assert "VBox(" not in text and "Error displaying widget" not in text
