"""Slides, Binder and Colab: as far as they can be tried on one machine."""

import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from shui_workbook.course import launch, slides
from shui_workbook.course.notebooks import NOTEBOOKS

ROOT = Path(__file__).parents[2]
SLIDE = {"tags": ["slide"]}


# Slides


@pytest.fixture
def chapter() -> nbformat.NotebookNode:
    shown = [new_output("stream", text="what it shows")]
    return new_notebook(
        cells=[
            new_markdown_cell("# The title", metadata=SLIDE),
            new_markdown_cell("not on a slide"),
            new_code_cell("secret_code = 1", outputs=shown, metadata=SLIDE),
            new_markdown_cell("## The second", metadata={"tags": ["slide", "page"]}),
        ]
    )


def test_slides_are_the_tagged_cells_and_show_no_code(chapter, tmp_path):
    nbformat.write(chapter, tmp_path / "07_test.ipynb")
    (page,) = slides.write([tmp_path / "07_test.ipynb"], tmp_path / "out")
    text = page.read_text()
    assert page.name == "07_test.html" and text.count("<section>") == 4, "title and one more, each a column of one"
    assert "The title" in text and "what it shows" in text and "The second" in text
    assert "not on a slide" not in text and "secret_code" not in text


def test_a_slide_begins_at_a_heading_and_not_with_the_picture_before(chapter):
    chapter.cells[1].source = "Above, the dots lie apart.\n\n## One\nFirst.\n\n## The second thought\nThen."
    chapter.cells[1].metadata = SLIDE
    told = [cell.source.split() for cell in slides.chosen(chapter).cells if cell.cell_type == "markdown"]
    assert ["##", "One", "First."] in told and ["##", "The", "second", "thought", "Then."] in told
    assert not any("Above," in words for words in told), "that picture is not on the slide"


def test_a_picture_stands_on_the_slide_of_its_section(chapter):
    def kinds():
        return [(c.metadata["slideshow"]["slide_type"], c.source.split("\n")[0]) for c in slides.chosen(chapter).cells]

    title, opening = ("slide", "# The title"), ("slide", "## One")
    chapter.cells[1].source = "## One\nnot on a slide"
    assert kinds() == [title, opening, ("-", "secret_code = 1"), ("slide", "## The second")]
    chapter.cells[1].metadata = SLIDE
    assert kinds() == [title, opening, ("-", "secret_code = 1"), ("slide", "## The second")], "not twice"


def test_a_chapter_without_tags_has_no_page(chapter, tmp_path):
    for cell in chapter.cells:
        cell.metadata = {}
    nbformat.write(chapter, tmp_path / "07_test.ipynb")
    assert slides.write([tmp_path / "07_test.ipynb"], tmp_path / "out") == []


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_slides_of_the_chapters_can_be_made(path):
    found = slides.chosen(nbformat.read(path, as_version=4)).cells
    assert found and found[0].source.startswith("#"), "the first slide is the title"
    assert all(one.metadata["slideshow"]["slide_type"] in ("slide", "-") for one in found)


# Colab


def test_a_chapter_for_colab_begins_with_the_cell_that_brings_the_course(tmp_path):
    (tmp_path / "README.md").write_text(f"<!-- badges: written by `{launch.BY}` -->\n<!-- end of badges -->\n")
    source = NOTEBOOKS / "01_benchmark_construction.ipynb"
    launch.write(tmp_path, "somebody/course", [source])
    copy = json.loads((tmp_path / "colab" / source.name).read_text())
    first, rest = copy["cells"][0], copy["cells"][1:]
    assert "https://github.com/somebody/course.git" in "".join(first["source"])
    assert [cell["id"] for cell in rest] == [cell["id"] for cell in json.loads(source.read_text())["cells"]]
    assert not any(cell.get("outputs") for cell in rest)
    links = re.findall(r"\]\((https:[^)]+)\)", (tmp_path / "README.md").read_text())
    assert links[0].startswith("https://mybinder.org/v2/gh/somebody/course/main?urlpath=lab/tree/notebooks/00_")
    assert links[1] == "https://colab.research.google.com/github/somebody/course/blob/main/colab/00_start_here.ipynb"


@pytest.mark.parametrize("wrong", ["course", "https://github.com/a/b", "a/b/c", "a b/c"])
def test_what_is_no_repository_is_refused(wrong, tmp_path):
    with pytest.raises(ValueError, match="write OWNER/NAME"):
        launch.write(tmp_path, wrong, [])


def test_the_first_cell_runs_and_later_chapters_find_what_it_made(tmp_path):
    """A small repository in place of this one, and a pip that only says what it was asked."""
    there = tmp_path / "there"
    (there / "notebooks").mkdir(parents=True)
    (there / "notebooks" / "a.txt").touch()
    (there / "data_prep").mkdir()
    rendering = "import pathlib, sys; to = pathlib.Path(sys.argv[-1]); to.mkdir(parents=True)\n"
    (there / "data_prep" / "__main__.py").write_text(rendering + "(to / 'dataset.json').touch()\n")
    (there / "pip").mkdir()
    (there / "pip" / "__init__.py").touch()
    (there / "pip" / "__main__.py").write_text("import pathlib, sys; pathlib.Path('asked').write_text(str(sys.argv))")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "all"]):
        subprocess.run([*git, *command], cwd=there, check=True)
    cell = launch.FIRST.format(url=there.as_uri())
    program = f"{cell}\nprint(os.getcwd())\n{cell}\nprint(os.getcwd())"
    (colab := tmp_path / "content").mkdir()
    environment = os.environ | {"PYTHONPATH": str(there)}
    done = subprocess.run(["python3", "-c", program], cwd=colab, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(colab / "course" / "notebooks")] * 2
    assert (colab / "course" / "data" / "faces" / "dataset.json").is_file()
    assert "'install', '--quiet', '-e'" in (colab / "asked").read_text()


# Binder


def test_binder_installs_what_the_package_asks_for():
    script = ROOT / ".binder" / "postBuild"
    text = script.read_text()
    assert os.access(script, os.X_OK) and subprocess.run(["bash", "-n", str(script)]).returncode == 0
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for name in ("torch", "torchvision"):
        (line,) = [one for one in wanted["dependencies"] if re.match(rf"{name}[><=]", one)]
        assert f'"{line}"' in text
    python = (ROOT / ".binder" / "runtime.txt").read_text().strip().removeprefix("python-")
    assert tuple(map(int, python.split("."))) >= (3, 11)
    assert sorted(path.name for path in ROOT.glob("notebooks/0[0-4]_*.ipynb")), "the chapters that it prepares"
