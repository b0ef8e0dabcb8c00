"""Slides, Binder and Colab: as far as they can be tried on one machine."""

import base64
import io
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from PIL import Image

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


def picture(height=300):
    drawn = io.BytesIO()
    Image.new("L", (400, height)).save(drawn, "png")
    return new_output("display_data", data={"image/png": base64.b64encode(drawn.getvalue()).decode()})


def shown_by(chapter, *outputs):
    chapter.cells[1].source, chapter.cells[1].metadata = "## One\nFirst.", SLIDE
    chapter.cells[2].outputs = list(outputs)
    return [(c.source, len(c.get("outputs", []))) for c in slides.chosen(chapter).cells[1:-1]]


def test_a_second_picture_and_a_tall_one_have_slides_of_their_own(chapter):
    first, again, code = ("## One\nFirst.", 0), ("## One", 0), "secret_code = 1"
    assert shown_by(chapter, picture()) == [first, (code, 1)]
    assert shown_by(chapter, picture(), picture()) == [first, (code, 1), again, (code, 1)]
    table = new_output("display_data", data={"text/html": "<table>", "text/plain": "a table"})
    assert shown_by(chapter, table, picture()) == [first, (code, 1), again, (code, 1)]
    assert shown_by(chapter, picture(700)) == [first, again, (code, 1)]


def test_a_picture_has_an_alternative_and_fits_its_slide(chapter):
    chapter.cells[1].source = '## Who "pays"?'
    chapter.cells[2].outputs = [picture(), picture()]
    made = slides.page(slides.chosen(chapter), "07")
    assert made.count('alt="Picture: Who &quot;pays&quot;?"') == 2 and "No description" not in made
    assert made.count(slides.LOOK) == 1 and str(slides.HEIGHT - 10) in slides.LOOK


def test_no_slide_is_without_a_heading_and_none_is_for_readers_alone(chapter):
    chapter.cells[1].source = "## One\nnot on a slide"
    chapter.cells.insert(2, new_markdown_cell("It goes on.\n\n**Read next:** [08](08.ipynb)", metadata=SLIDE))
    told = [cell.source for cell in slides.chosen(chapter).cells]
    assert "## One\n\nIt goes on.\n\n" in told and not any("Read next" in text for text in told)


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
    begun = [one.source for one in found if one.cell_type == "markdown"]
    assert all(text.startswith("#") for text in begun), "a slide has a heading"
    assert len(begun) <= 10 and any("Take-aways" in text for text in begun) and "You will learn" in begun[0]


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
