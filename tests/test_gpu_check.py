"""`make gpu-check` without a card: its time is kept, parts leave each other alone, it imports no more than it says."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import prepare_tiny

from benchmarks import gpu_check, gpu_parts
from benchmarks.gpu_parts import PARTS, SCALES, Absent, Part, lacking
from shui_workbook.course.notebooks import Outcome

ROOT = Path(__file__).parent.parent
BIT = '{"name": "a", "case": "half", "seconds": 1.5, "note": ""}'
WAYS = {  # of parts to end, as programs that get the file of their rows
    "well": f"open(told, 'a').write('''{BIT}\\n''')",
    "failing": f"open(told, 'a').write('''{BIT}\\n'''); raise ValueError('no such kernel')",
    "endless": f"open(told, 'a').write('''{BIT}\\n'''); import time; time.sleep(600)",
    "absent": "print('no photos: bring some'); sys.exit(3)",
    "crashing": "import os; os.abort()",
}


@pytest.fixture
def parts(monkeypatch):
    """Parts that end in every way there is."""
    found = {name: Part(do=lambda scale, tell: None, seconds=10) for name in WAYS}
    monkeypatch.setattr(gpu_check, "PARTS", found)
    start = "import sys; told = sys.argv[1]; "
    command = lambda part, scale, told: [sys.executable, "-c", start + WAYS[part], str(told)]  # noqa: E731
    monkeypatch.setattr(gpu_check, "command_of", command)
    return found


def test_a_part_that_ends_badly_leaves_the_others_alone_and_its_rows_stay(parts, tmp_path):
    file = tmp_path / "gpu_here.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpu_check, "limits", lambda parts, budget, known: [1.5] * len(parts))
        found = gpu_check.check(list(WAYS), "tiny", file, budget=9.0)
    assert [entry["status"] for entry in found] == ["done", "failed", "too long", "left out", "failed"]
    assert [len(entry["rows"]) for entry in found] == [1, 1, 1, 0, 0]
    assert found[1]["reason"] == "ValueError: no such kernel" and found[3]["reason"] == "no photos: bring some"
    assert json.loads(file.read_text()) == found and sum(entry["seconds"] for entry in found) < 9.5


def test_every_part_has_its_own_time_and_what_was_left_over(parts, tmp_path, monkeypatch):
    given, clock = [], [0.0]

    def alone(part: str, scale: str, limit: float) -> dict[str, object]:
        given.append(round(limit, 6))
        clock[0] += min(limit, {"failing": 1000.0}.get(part, 4.0))
        return {"part": part, "status": "done", "seconds": 4.0, "reason": "", "rows": []}

    monkeypatch.setattr(gpu_check, "alone", alone)
    monkeypatch.setattr(gpu_check.time, "monotonic", lambda: clock[0])
    gpu_check.check(list(WAYS), "tiny", tmp_path / "a.json", budget=60.0)
    assert given == [20.0, 26.0, 10.0, 16.0, 22.0]  # 60 less what is kept for those behind, and less what is over
    assert clock[0] <= 60


def test_the_time_that_is_kept_is_never_more_than_there_is():
    assert sum(gpu_check.limits(list(PARTS), gpu_check.BUDGET, PARTS)) <= gpu_check.BUDGET <= 8 * 60
    assert gpu_check.limits(["rate", "step"], 45.0, PARTS) == pytest.approx([20.0, 25.0])
    assert gpu_check.limits(["rate"], 480.0, PARTS) == [PARTS["rate"].seconds]


def test_what_a_part_started_ends_with_it(tmp_path, monkeypatch):
    started = "import subprocess, sys, time; open(sys.argv[1], 'w').write(str(subprocess.Popen(['sleep', '99']).pid)); "
    command = [sys.executable, "-c", f"{started}time.sleep(99)", str(tmp_path / "pid")]
    monkeypatch.setattr(gpu_check, "command_of", lambda *_: command)
    assert gpu_check.alone("rate", "tiny", 2.0)["status"] == "too long"
    status = Path("/proc", (tmp_path / "pid").read_text(), "status")
    for _ in range(100):  # a killed process may take a moment to go
        if not status.exists() or "zombie" in status.read_text():
            return
        time.sleep(0.05)
    pytest.fail(f"process {status.parent.name} is still there")


def test_a_part_done_again_replaces_its_own_entry(tmp_path):
    old = [{"part": "training", "seconds": 1.0}, {"part": "rate", "seconds": 2.0}]
    assert gpu_check.merged(old, {"part": "rate", "seconds": 3.0}) == [{"part": "rate", "seconds": 3.0}, old[0]]


def test_a_dry_run_lists_every_part_with_its_time_and_does_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(gpu_parts, "ROOT", tmp_path)
    monkeypatch.delenv("SHUI_DATA", raising=False)
    monkeypatch.setattr(gpu_check, "alone", lambda *_: pytest.fail("a part was started"))
    assert gpu_check.main(["--dry-run", "--out", str(tmp_path / "gpu.json")]) == 0
    said = capsys.readouterr().out
    for name, part in PARTS.items():
        assert f"{name:16} {part.seconds:7d}" in said and part.about in said
    assert "would be left out: no photos: prepare data/celebahq" in said and "480 seconds in all" in said
    assert not list(tmp_path.iterdir())


def test_without_a_card_nothing_large_is_started(capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu_check.main([])
    assert "PyTorch sees no GPU here" in capsys.readouterr().err


def test_what_is_lacking_is_said():
    def no_card() -> None:
        raise Absent("no card")

    assert lacking(int, no_card)() == "no card" and lacking(int)() == "" == PARTS["rate"].lacks()


# The parts


def test_a_training_of_a_pretrained_backbone_says_how_it_went(tmp_path, monkeypatch):
    """On a tiny data set in CelebA-HQ's place, with weights that were written here."""
    from shui_lib.benchmark.face_resnet import FaceResNet
    from shui_lib.core.store import save_tensors

    prepare_tiny(tmp_path / "data" / "celebahq")
    state = {name: value for name, value in FaceResNet(1).state_dict().items() if not name.startswith("head.")}
    save_tensors(tmp_path / "face-resnet.safetensors", state)
    monkeypatch.setattr(gpu_parts, "ROOT", tmp_path)
    monkeypatch.setattr("shui_lib.core.places.WEIGHTS", tmp_path)
    monkeypatch.delenv("SHUI_WEIGHTS", raising=False)
    rows = []
    PARTS["training"].do(SCALES["tiny"], rows.append)
    (row,) = rows
    assert row["case"].startswith("face-resnet at 112 px") and "of 16 px, 1 epochs" in row["case"]
    assert len(row["loss"]) == 1 and len(row["map"]) == 2 and row["images_per_second"] > 0


def test_a_gan_is_trained_and_forgets(monkeypatch):
    rows = []
    PARTS["gan"].do(SCALES["tiny"], rows.append)
    assert [row["case"].split(",")[0] for row in rows] == ["training", "cascade"]
    assert rows[0]["images_per_second"] > 0 and 0 <= rows[1]["auc_used"] <= 1
    assert PARTS["gan"].lacks() == ""
    monkeypatch.setattr(gpu_parts, "find_spec", lambda name: None)
    assert PARTS["gan"].lacks().startswith("no scikit-learn")


def test_a_chapter_that_fails_is_named_and_the_others_are_told(monkeypatch, tmp_path):
    told = []

    def run_all(out, parameters, notebooks, *, workers):
        people = notebooks[0].stem < "20"
        assert parameters.get("preset") == ("smoke" if people else None) and parameters["runs_root"] == "x"
        assert workers == gpu_parts.SIDE_BY_SIDE >= len(notebooks)
        return [Outcome(path.stem, 2.0, 1.0, "KeyError: 'a'" * path.stem.startswith("05")) for path in notebooks]

    monkeypatch.setattr("shui_workbook.course.notebooks.run_all", run_all)
    monkeypatch.setattr(gpu_parts, "smoke", lambda folder: {"preset": "smoke", "runs_root": "x"})
    with pytest.raises(RuntimeError, match="05_membership_inference failed"):
        PARTS["chapters"].do(SCALES["tiny"], told.append)
    assert [row["case"] for row in told] == sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
    assert [row["note"] for row in told if row["note"]] == ["KeyError: 'a'"]


ONLY = ("torch", "torchvision", "timm", "safetensors", "pandas")
GUARD = '''
"""Nothing but the standard library, what is named and what that brings along, and this repository can be imported."""
import importlib.metadata as metadata, re, sys
from importlib.machinery import PathFinder

wanted, waiting = set(), {only!r}.split()
while waiting:
    name = re.sub("[-_.]+", "-", waiting.pop()).lower()
    if name not in wanted:
        wanted.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        waiting += [re.match(r"[\\w.-]+", one)[0] for one in needs if "extra ==" not in one]
of = metadata.packages_distributions()
allowed = {{top for top, dists in of.items() if any(re.sub("[-_.]+", "-", d).lower() in wanted for d in dists)}}
allowed |= {{"benchmarks", "shui_lib", "shui_workbook", "data_prep", "sitecustomize", "usercustomize"}}

class Plain:
    """Finds what lies on the path, but for packages that a plain machine lacks."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        top = name.split(".")[0]
        lacks = top in of and top not in allowed and top not in sys.stdlib_module_names
        return None if lacks else PathFinder.find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = Plain
'''


def test_a_plain_python_is_enough(tmp_path):
    """All parts in one process, in small; the chapters and the training say what they lack."""
    (tmp_path / "sitecustomize.py").write_text(GUARD.format(only=" ".join(ONLY)))
    script = """
import sys
from benchmarks import gpu_check
from benchmarks.gpu_parts import PARTS, SCALES
for part in ("rate", "step", "double_backward"):
    PARTS[part].do(SCALES["tiny"], print)
assert "no papermill" in PARTS["chapters"].lacks(), PARTS["chapters"].lacks()
import data_prep.celebahq
assert gpu_check.main(["--dry-run"]) == 0
for name in ("IPython", "matplotlib", "scipy", "sklearn"):
    assert name not in sys.modules, name
"""
    there = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, env=there, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "double_backward" in done.stdout
