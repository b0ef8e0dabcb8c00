"""The explorer's page as somebody meets it: served by `make app`, opened in Chromium, a slider moved."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import nbformat
import psutil
import pytest
from tiny import prepare_tiny

from shui_workbook.course import app
from shui_workbook.course.explorer import KNOBS
from shui_workbook.figures import look

PATIENCE = 300  # seconds; a page that comes at all comes in ten on a machine with nothing else to do


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def served(tmp_path_factory) -> Iterator[str]:
    """The page's address, of a small data set and models of seconds."""
    where = tmp_path_factory.mktemp("app")
    prepare_tiny(where / "data" / "tiny")
    port, log = free_port(), where / "log.txt"
    roots = ["--data-root", where / "data", "--runs-root", where / "runs"]
    small = ["DATASET=tiny", "PRESET=smoke", "N_IDS=3", "RESERVED=5"]
    command = [
        sys.executable,
        "-m",
        "shui_workbook.course.app",
        "--port",
        str(port),
        *map(str, roots),
        "--parameters",
        *small,
    ]
    with log.open("w") as out:
        running = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield wait_for(f"http://127.0.0.1:{port}/", running, log)
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
        with socket.socket() as one:
            assert one.connect_ex(("127.0.0.1", port)), "the server goes when the command is stopped"
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def wait_for(url: str, running: subprocess.Popen, log: Path) -> str:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until and running.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}voila/static/voila.js", timeout=5):
                return url
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise AssertionError(f"no page at {url}:\n{log.read_text()[-3000:]}")


@pytest.fixture(scope="module")
def page(browser, served):
    """The page, opened once; whatever the browser complains about until it is closed fails."""
    page, wrong = browser.new_page(viewport={"width": 1200, "height": 1000}), []
    page.set_default_timeout(1000 * PATIENCE)
    page.on("console", lambda said: said.type == "error" and wrong.append(f"console: {said.text}"))
    page.on("pageerror", lambda error: wrong.append(f"page: {error}"))
    page.on("requestfailed", lambda request: wrong.append(f"failed: {request.url}"))
    page.on("request", lambda request: inside(request.url, served) or wrong.append(f"from elsewhere: {request.url}"))
    page.on("response", lambda answer: answer.status >= 400 and wrong.append(f"{answer.status}: {answer.url}"))
    page.goto(served)
    page.wait_for_selector(".shui-picture img")
    yield page
    if where := os.environ.get("SHUI_SCREENSHOT"):  # to look at what the test saw
        page.screenshot(path=where, full_page=True)
    page.close()
    assert not wrong, "\n".join(wrong)


def inside(url: str, served: str) -> bool:
    return url.startswith((served, f"blob:{served}", "data:"))


def picture(page, *, after: bytes = b"") -> bytes:
    """The picture's bytes, its four parts together, once they are others than `after`."""
    script = "() => [...document.querySelectorAll('.shui-panel .shui-picture img')].map(one => one.src).join()"
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = page.evaluate(script).encode()
        if found.startswith(b"data:image/png") and found != after:
            return found
        time.sleep(0.2)
    raise AssertionError("the picture has not changed")


def test_the_slider_moves_the_picture(page):
    first, words = picture(page), page.locator(".widget-html-content").all_inner_texts()
    assert any("Tug-of-War" in said for said in words)
    handle = page.locator(".noUi-handle").bounding_box()
    middle = handle["x"] + handle["width"] / 2, handle["y"] + handle["height"] / 2
    page.mouse.move(*middle)
    page.mouse.down()
    page.mouse.move(middle[0] - 60, middle[1], steps=5)
    page.mouse.up()
    picture(page, after=first)
    assert page.locator(".widget-html-content").all_inner_texts() != words


def test_menus_move_the_picture_and_the_slider(page):
    first, menus = picture(page), page.locator("select")
    assert menus.count() == 4, "data set, who asks, photo, method"
    menus.nth(1).select_option(index=1)
    second = picture(page, after=first)
    menus.nth(3).select_option(label=look("ssd:one-shui")[0])
    picture(page, after=second)
    assert KNOBS["ssd:one-shui"].meaning in page.locator("#rendered_cells").inner_text()


@pytest.mark.parametrize("size", [(390, 844), (1280, 900)], ids=["phone", "laptop"])
def test_it_fits_the_screen(page, size):
    width, height = size
    page.set_viewport_size({"width": width, "height": height})
    page.wait_for_timeout(500)
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing lies to the right of the screen"
    every = "[...document.querySelectorAll('.shui-panel *')]"
    assert not page.evaluate(f"{every}.filter(e => e.getBoundingClientRect().right > innerWidth + 1).length")
    handle = page.locator(".noUi-handle").bounding_box()
    assert handle["x"] >= 0 and handle["x"] + handle["width"] <= width
    assert all(page.locator(".shui-panel .shui-picture img").nth(k).get_attribute("alt") for k in range(4))
    assert not page.locator(".shui-saved").is_visible(), "the saved picture is hidden while the menus live"
    if where := os.environ.get("SHUI_SCREENSHOT"):
        page.screenshot(path=Path(where).with_suffix(f".{width}.png"), full_page=True)


def test_the_page_says_what_it_is(page):
    text = page.locator("#rendered_cells").inner_text()
    assert page.title() == app.TITLE
    assert "Forget somebody" in text and "Exercises" not in text and "import " not in text


def test_a_closed_page_gives_its_memory_back_and_a_visitor_too_many_is_told(browser, tmp_path):
    prepare_tiny(tmp_path / "data" / "tiny")
    port, log = free_port(), tmp_path / "log.txt"
    places = {app.PLACES: "2"}
    with log.open("w") as out:
        start = (
            f"from shui_workbook.course import app; app.IDLE = app.EVERY = 3; app.main({arguments(tmp_path, port)!r})"
        )
        command, quiet = [sys.executable, "-c", start], {"stdout": out, "stderr": subprocess.STDOUT}
        running = subprocess.Popen(command, env=os.environ | places, start_new_session=True, **quiet)
    try:
        url = wait_for(f"http://127.0.0.1:{port}/", running, log)
        pages = [browser.new_page() for _ in range(3)]
        for page in pages[:2]:
            page.set_default_timeout(1000 * PATIENCE)
            page.goto(url)
            page.wait_for_selector(".shui-picture img")
        assert pages[2].goto(url).status == 503
        assert "All 2 places are taken" in pages[2].inner_text("body")
        assert len(kernels(running)) == 2
        for page in pages:
            page.close()
        until = time.monotonic() + PATIENCE
        while kernels(running):
            assert time.monotonic() < until, "kernels of pages that are closed live on"
            time.sleep(0.5)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
            running.wait()


def arguments(where: Path, port: int) -> list[str]:
    small = ["DATASET=tiny", "PRESET=smoke", "N_IDS=3", "RESERVED=5"]
    roots = ["--data-root", str(where / "data"), "--runs-root", str(where / "runs")]
    return ["--port", str(port), *roots, "--parameters", *small]


def kernels(running: subprocess.Popen) -> list[psutil.Process]:
    found = []
    for one in psutil.Process(running.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it ended while we looked, or nobody has fetched its status yet
            found += [one] if "ipykernel_launcher" in " ".join(one.cmdline()) else []
    return found


# Without a browser


def test_an_address_is_looked_at_before_anything_is_trained(monkeypatch, tmp_path):
    monkeypatch.setattr(app, "run_notebook", lambda *_: pytest.fail("it was trained"))
    with pytest.raises(SystemExit, match="PORT=80000 is no port"):
        app.main(["--port", "80000"])
    with pytest.raises(SystemExit, match="N_IDS=ten is no int"):
        app.main(["--port", str(free_port()), "--parameters", "N_IDS=ten"])
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(SystemExit, match="cannot be listened on"):
            app.main(["--port", str(other.getsockname()[1])])


def test_places_are_counted_in_free_memory(monkeypatch):
    class Memory(NamedTuple):
        available: float

    for free, most in ((0.5, 1), (4, 2), (16, 8)):
        monkeypatch.setattr(app.psutil, "virtual_memory", lambda free=free: Memory(free * 2**30))
        assert app.places() == most


def test_the_page_is_cut_from_the_chapter():
    chapter, cut = nbformat.read(app.CHAPTER, as_version=4), app.page(app.CHAPTER)
    kept = [cell for cell in chapter.cells if {"page", "parameters"} & set(cell.metadata.get("tags", []))]
    assert cut.cells == kept and 0 < len(kept) < len(chapter.cells)
    assert "parameters" in kept[0].metadata["tags"]
    assert not any({"solution", "check"} & set(cell.metadata["tags"]) for cell in kept)


def test_nothing_but_this_machine_is_let_in_by_default(monkeypatch, tmp_path):
    asked = {}
    monkeypatch.setattr(app, "run_notebook", lambda cut, out, parameters: asked.update(parameters) or out)
    monkeypatch.setattr(app, "serve", lambda notebook, **where: asked.update(where) or 0)
    assert app.main(["--data-root", str(tmp_path), "--port", str(free_port()), "--parameters", "SEED=3"]) == 0
    assert asked["host"] == "127.0.0.1" and asked["seed"] == 3 and asked["data_root"] == str(tmp_path)
