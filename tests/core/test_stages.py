"""Stages: the key names everything that a folder depends on, and the folder is made once."""

import json
import time

import pytest

from shui_lib.core import stages
from shui_lib.core.stages import CorruptFile, Stage, load_or_compute, open_stage, stage_key


def parent(key: str) -> Stage:
    return Stage(None, {"key": key})


KEYS = {
    "kind": ("other", {"seed": 0}, {"original": parent("a")}),
    "fact": ("kind", {"seed": 1}, {"original": parent("a")}),
    "name of a fact": ("kind", {"tree": 0}, {"original": parent("a")}),
    "parent": ("kind", {"seed": 0}, {"original": parent("b")}),
    "role": ("kind", {"seed": 0}, {"prepared": parent("a")}),
    "no parent": ("kind", {"seed": 0}, {}),
}


@pytest.mark.parametrize("changed", KEYS.values(), ids=KEYS)
def test_a_key_changes_with_all_that_the_stage_depends_on(changed):
    assert stage_key(*changed) != stage_key("kind", {"seed": 0}, {"original": parent("a")})


def test_a_key_changes_with_the_format(monkeypatch):
    before = stage_key("kind", {"seed": 0}, {})
    monkeypatch.setattr(stages, "FORMAT", stages.FORMAT + 1)
    assert stage_key("kind", {"seed": 0}, {}) != before


def test_a_key_does_not_change_with_the_order_of_facts():
    one, other = {"a": 1, "b": 2}, {"b": 2, "a": 1}
    assert stage_key("kind", one, {}) == stage_key("kind", other, {}) and len(stage_key("kind", one, {})) == 12


def writes(text: str, **measured):
    def compute(folder):
        (folder / "result.txt").write_text(text)
        return measured

    return compute


def test_a_stage_is_computed_once_and_then_opened(tmp_path):
    made = load_or_compute(tmp_path, "kind", {"seed": 0}, writes("first", git="abc"))
    again = load_or_compute(tmp_path, "kind", {"seed": 0}, writes("second"))
    assert made == again and again.file("result.txt").read_text() == "first"
    other = load_or_compute(tmp_path, "kind", {"seed": 1}, writes("third"))
    assert other.file("result.txt").read_text() == "third"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([made.folder.name, other.folder.name])


def test_lineage_tells_what_a_stage_was_made_of(tmp_path):
    began = time.perf_counter()
    first = load_or_compute(tmp_path, "first", {"seed": 0}, writes("a", git="abc"))
    second = load_or_compute(tmp_path, "second", {}, writes("b"), parents={"original": first})
    told = json.loads((second.folder / "lineage.json").read_text())
    assert (told["kind"], told["facts"], told["parents"]) == ("second", {}, {"original": first.folder.name})
    assert second.folder.name == f"second-{second.key}" and list(told["files"]) == ["result.txt"]
    measured = json.loads((first.folder / "lineage.json").read_text())["measured"]
    assert measured["git"] == "abc" and 0 <= measured["seconds"] <= time.perf_counter() - began + 0.001


def test_a_killed_stage_goes_on_and_its_time_is_not_told(tmp_path):
    def killed(folder):
        (folder / "half.checkpoint").write_text("half")
        raise KeyboardInterrupt

    def goes_on(folder):
        assert (folder / "half.checkpoint").read_text() == "half"
        (folder / "result.txt").write_text("whole")

    with pytest.raises(KeyboardInterrupt):
        load_or_compute(tmp_path, "kind", {}, killed)
    stage = load_or_compute(tmp_path, "kind", {}, goes_on)
    assert sorted(path.name for path in stage.folder.iterdir()) == ["lineage.json", "result.txt"]
    assert stage.lineage["measured"]["seconds"] is None, "a part of the work is not the time of the whole"


def test_a_changed_file_and_an_unknown_one_are_noticed(tmp_path):
    stage = load_or_compute(tmp_path, "kind", {}, writes("good"))
    with pytest.raises(CorruptFile, match="other.txt is missing or damaged"):
        stage.file("other.txt")
    (stage.folder / "result.txt").write_text("evil")
    with pytest.raises(CorruptFile, match="result.txt is missing or damaged: delete"):
        stage.file("result.txt")


def test_no_stage_and_half_a_stage_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no finished stage"):
        open_stage(tmp_path / "nowhere")
    (tmp_path / "half").mkdir()
    with pytest.raises(CorruptFile, match=r"lineage.json is missing: delete"):
        open_stage(tmp_path / "half")


def test_the_journal_tells_what_was_made_and_what_was_found(tmp_path, monkeypatch):
    monkeypatch.setenv("SHUI_STAGES", str(tmp_path / "journal"))
    for _ in range(2):
        stage = load_or_compute(tmp_path, "kind", {}, writes("x"))
    folder = stage.folder.resolve()
    assert (tmp_path / "journal").read_text() == f"made {folder}\nfound {folder}\n"
