"""Every notebook follows the anatomy of the design; that it runs is nbval's business (`make test`)."""

import ast
import base64
import io
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shui_workbook.course.exercises import exercises
from shui_workbook.course.notebooks import smaller
from shui_workbook.sweep.grid import FILES, GRID

NOTEBOOKS = sorted((Path(__file__).parents[2] / "notebooks").glob("*.ipynb"))
MOST_CELLS, MOST_LINES, MOST_KIB = 40, 15, 600
MACHINE = re.compile(r"/(home|root|tmp|work|Users|opt|usr|mnt|var)/|[A-Z]:\\\\")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def notebook(path):
    return json.loads(path.read_text())


def code_cells(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def source(cell):
    return "".join(cell["source"])


def tags(cell):
    return cell["metadata"].get("tags", [])


def prose(notebook):
    return "\n".join(source(cell) for cell in notebook["cells"] if cell["cell_type"] == "markdown")


def test_every_chapter_has_a_number_of_its_own():
    numbers = [int(path.name[:2]) for path in NOTEBOOKS]
    assert numbers[0] == 0 and len(set(numbers)) == len(numbers)


def test_one_parameters_cell_of_typed_commented_literals(notebook):
    tagged = [cell for cell in code_cells(notebook) if "parameters" in tags(cell)]
    assert len(tagged) == 1
    assert code_cells(notebook)[0] is tagged[0], "parameters come first, so that nothing derived is stale"
    for statement in ast.parse(source(tagged[0])).body:
        assert isinstance(statement, ast.AnnAssign), f"line {statement.lineno}: write NAME: TYPE = LITERAL"
        ast.literal_eval(statement.value)
    assert all("  # " in line for line in source(tagged[0]).splitlines()), "every parameter says what it is"


def test_chapters_share_their_defaults(notebook):
    def defaults(book):
        cell = next(cell for cell in code_cells(book) if "parameters" in tags(cell))
        return {s.target.id: ast.literal_eval(s.value) for s in ast.parse(source(cell)).body}

    first = defaults(json.loads(NOTEBOOKS[0].read_text()))
    mine = defaults(notebook)
    assert {name: mine[name] for name in first if name in mine} == {n: v for n, v in first.items() if n in mine}
    assert mine["dataset"] == "faces" and mine.get("show_faces", False) is False


def test_small_cells(notebook):
    assert len([cell for cell in notebook["cells"] if "quiz" not in tags(cell)]) <= MOST_CELLS
    for cell in code_cells(notebook):
        lines = source(cell).splitlines()
        assert len(lines) <= MOST_LINES, f"{len(lines)} lines: {lines[0]}"


def test_settings_are_looked_up_by_all_that_the_experiment_knows(notebook):
    """By its task and its runs folder too: else a user's classes get, or are said to get, settings for attributes."""
    for cell in code_cells(notebook):
        source = "".join(cell["source"])
        if re.search(r"\b(settings_for|selected_key)\(", source):
            assert "experiment.setting" in source, cell["id"]


def test_it_teaches(notebook):
    text = prose(notebook)
    first = source(notebook["cells"][0])
    assert first.startswith("# ")
    for words in ("You will learn", "minute", "Hardware"):
        assert words in first
    for heading in ("## Exercises", "## Take-aways", "**Read next:**"):
        assert heading in text
    assert text.count("Predict, then run.") >= 2, "two exercises at least"
    assert re.search("[Cc]hange the code|code has to change", text), "one exercise at least changes code, and says so"
    assert any(re.search(r"^\s*assert ", source(cell), re.M) for cell in code_cells(notebook)), "checks on behaviour"


def assigned(cell):
    """The names that a cell assigns or fills, with what it assigns: `best, wins = ..., ...` gives two names."""
    found = {}
    for node in ast.walk(ast.parse(source(cell))):
        for target in node.targets if isinstance(node, ast.Assign) else []:
            pairs = [(target, node.value)]
            if isinstance(target, ast.Tuple):
                pairs = zip(target.elts, getattr(node.value, "elts", target.elts), strict=False)
            found |= {ast.unparse(to).partition("[")[0]: ast.unparse(value) for to, value in pairs}
    return found


def test_exercises_have_a_stub_a_solution_and_a_check(notebook):
    found = exercises(notebook)
    assert len(found) >= 2, "two exercises at least"
    for stub, solution, check in found:
        blank = {name for name, value in assigned(stub).items() if value in ("...", "{}", "[]")}
        assert blank, f"no name to fill (`name = ...  # what it is`) in: {source(stub)[:80]}"
        assert blank <= set().union(*map(assigned, solution)), f"the solution does not fill {blank}"
        statements = list(ast.walk(ast.parse(source(check))))
        asserts = [node for node in statements if isinstance(node, ast.Assert)]
        assert asserts and all(node.msg for node in asserts), f"say what is wrong: {source(check)[:80]}"
        assert blank <= {node.id for node in statements if isinstance(node, ast.Name)}, f"unchecked: {blank}"


def test_solutions_are_cut_whole(notebook):
    """A cell that goes from the student copy holds no prose of the next exercise, and what stays holds no answer."""
    for before, cell in pairwise(notebook["cells"]):
        if "solution" in tags(cell):
            text = source(cell)
            assert "Predict, then run." not in text and "## " not in text, f"this is cut: {text[:80]}"
        if cell["cell_type"] == "markdown" and "check" in tags(before):
            goes_on = re.match(r"\*\*\d+\. |## ", source(cell))  # with the next exercise, or the take-aways
            assert "solution" in tags(cell) or goes_on, f"an answer, to be tagged `solution`: {source(cell)[:80]}"


def test_prose_follows_every_figure(notebook):
    cells = notebook["cells"]
    for here, cell in enumerate(cells):
        pictures = cell["cell_type"] == "code" and any("image/png" in o.get("data", {}) for o in cell["outputs"])
        if pictures:
            after = [c["cell_type"] for c in cells[here + 1 : here + 3]]
            assert "markdown" in after, f"nothing says what is seen in: {source(cell)[:80]}"


def test_outputs_are_saved_and_small(path, notebook):
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert any(cell["outputs"] for cell in cells)
    assert path.stat().st_size <= MOST_KIB * 1024


SAVED = {"text/plain", "text/html", "text/markdown", "image/png"}  # what GitHub and the site show too


def test_outputs_hold_no_errors_warnings_or_widgets(notebook):
    for cell in code_cells(notebook):
        for output in cell["outputs"]:
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr", "".join(output["text"])
            kinds = set(output.get("data", {}))
            assert kinds <= SAVED, f"{kinds} in: {source(cell)[:80]}"


def test_nothing_of_the_machine_is_left(notebook):
    assert set(notebook["metadata"]) <= {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    assert set(notebook["metadata"].get("language_info", {})) <= {"name"}
    for cell in notebook["cells"]:
        assert set(cell["metadata"]) <= {"tags"}, "timings and papermill's notes are stripped"
        for output in cell.get("outputs", []):
            data = {k: v for k, v in output.get("data", {}).items() if k != "image/png"}
            found = MACHINE.search(json.dumps([data, output.get("text", "")]))
            assert not found, f"a path of this machine: {found.group()} in {source(cell)[:80]}"


@pytest.mark.parametrize("path", sorted({run.notebook for run in GRID}), ids=lambda path: path.stem)
def test_make_results_runs_chapters_that_take_its_parameters(path):
    cell = next(cell for cell in code_cells(json.loads(path.read_text())) if "parameters" in tags(cell))
    takes = {statement.target.id for statement in ast.parse(source(cell)).body}
    given = {name for run in GRID if run.notebook == path for name in run.parameters}
    assert given | {"data_root", "runs_root"} <= takes
    assert ("rows_file" in takes) == (path in FILES) == ("record" not in takes), "what it finds is kept"


def test_pictures_are_saved_in_fewer_bytes_with_the_same_pixels():
    plain = io.BytesIO()
    Image.fromarray(np.tile(np.arange(64, dtype=np.uint8), (64, 3))).save(plain, "PNG", compress_level=0)
    packed = smaller(base64.b64encode(plain.getvalue()).decode())
    again = Image.open(io.BytesIO(base64.b64decode(packed)))
    assert len(packed) < len(plain.getvalue()) and (np.asarray(again) == np.asarray(Image.open(plain))).all()
