"""The hash of code that stages are keyed by: it follows what the code does, and not its words."""

import importlib
import inspect

import pytest

from shui_lib.core import source
from shui_lib.core.source import source_of, source_of_method
from shui_lib.methods import REGISTRY

CODE = """
\"\"\"A module.\"\"\"

from shui_lib.core.progress import progress
from shui_lib.benchmark.two import two


def one():
    \"\"\"One.\"\"\"
    if two < 0:
        raise ValueError(f"two is {two}")
    return 1  # as it says
"""


@pytest.fixture
def written(tmp_path, monkeypatch):
    """A package of two modules, and a function that writes them and says the hash of the first."""
    package = tmp_path / "shui_lib"
    monkeypatch.setattr(source, "PACKAGE", package)
    (package / "benchmark").mkdir(parents=True)
    (package / "core").mkdir()

    def hashed(one: str = CODE, two: str = "two = 2", progress: str = "") -> str:
        for name, text in {"benchmark/one": one, "benchmark/two": two, "core/progress": progress}.items():
            (package / f"{name}.py").write_text(text)
        for known in (source._read, source_of):
            known.cache_clear()
        return source_of("shui_lib.benchmark.one")

    yield hashed
    for known in (source._read, source_of):
        known.cache_clear()


def test_words_do_not_count_and_code_does(written):
    assert written() == written(CODE.replace("as it says", "of course").replace("One.", "The first.") + "\n\n")
    assert written() == written(CODE.replace("two is", "at least 0 expected, got"))
    assert written() != written(CODE.replace("return 1", "return 2"))
    assert written() != written(CODE.replace("two < 0", "two < 1"))
    assert written() != written(CODE.replace("ValueError", "KeyError"))


def test_what_is_imported_counts_but_for_what_moves_no_number(written):
    assert written() != written(two="two = 3")
    assert written() == written(progress="bar = 1")


def test_a_study_of_the_workbook_counts_with_what_it_imports(written, tmp_path):
    written()
    study = tmp_path / "shui_workbook" / "study.py"
    study.parent.mkdir()
    hashes = []
    for text, two in (("one = 1", "two = 2"), ("one = 1", "two = 3"), ("one = 2", "two = 3")):
        study.write_text(f"from shui_lib.benchmark.two import two\n{text}\n")
        written(two=two)
        hashes.append(source_of("shui_workbook.study"))
    assert len(set(hashes)) == 3


def test_a_method_that_is_replaced_has_another_hash(monkeypatch):
    """GradientAscent.unlearn as a no-op must not report yesterday's score."""
    method, other = REGISTRY["gradient_ascent"], source_of_method(REGISTRY["ssd"])
    before = source_of_method(method)
    monkeypatch.setattr(method, "unlearn", lambda self, model, given, artefacts, *, generator: model)
    assert source_of_method(method) != before and source_of_method(REGISTRY["ssd"]) == other


def test_words_in_the_functions_of_a_method_do_not_count_either(monkeypatch):
    method, hashes = REGISTRY["gradient_ascent"], set()
    text = inspect.getsource(method.unlearn)
    words = text.replace('"""One', '"""Two', 1).replace("\n        model", "\n        # as it says\n        model", 1)
    assert len(words.splitlines()) == len(text.splitlines()) + 1
    for now in (text, words):
        monkeypatch.setattr(inspect, "getsource", lambda _, now=now: now)
        hashes.add(source_of_method(method))
    assert len(hashes) == 1


@pytest.mark.parametrize("changed", ["scale = 2", "scale = 3"])
def test_helpers_beside_a_method_of_another_package_count(tmp_path, monkeypatch, changed):
    """Its class asks them; with its two functions alone yesterday's score would be read back."""
    text = "class Mine:\n    def prepare(self): ...\n    def unlearn(self):\n        return step()\n\n\n"
    hashes = []
    for number, line in enumerate(("scale = 2", changed)):
        name = f"somebodys_{number}_{changed[-1]}"
        (tmp_path / f"{name}.py").write_text(f"{text}def step():\n    {line}\n    return scale\n")
        monkeypatch.syspath_prepend(tmp_path)
        hashes.append(source_of_method(importlib.import_module(name).Mine))
    assert (hashes[0] == hashes[1]) == (changed == "scale = 2")
