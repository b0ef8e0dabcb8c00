"""Running notebooks headlessly: parameters are looked at first, and a chapter that fails leaves the others alone."""

import os
from concurrent.futures import ThreadPoolExecutor

import nbformat
import numpy as np
import papermill
import pytest
from nbformat.v4 import new_code_cell, new_notebook
from tiny import prepare_tiny, tiny_faces

from shui_lib.ltu.networks import SIZES
from shui_workbook.course import notebooks
from shui_workbook.course.notebooks import NOTEBOOKS, Outcome, fitting, main, run_all, run_notebook, shared_out
from shui_workbook.figures.photos import thumbnails
from shui_workbook.studies.gan.study import CHAPTER, PRESETS

PARAMETERS = 'n_ids: int = 10  # how many\nshow_faces: bool = False  # photos\ndata_root: str = ""  # where'
KERNEL = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}


def write(path, *sources, parameters=PARAMETERS):
    cells = [new_code_cell(parameters, metadata={"tags": ["parameters"]}), *map(new_code_cell, sources)]
    nbformat.write(new_notebook(cells=cells, metadata=KERNEL), path)
    return path


def said(path):
    return "".join(o.get("text", "") for c in nbformat.read(path, 4).cells for o in c.get("outputs", []))


# Parameters

SISTERS = ("20", "30")  # they ask for images, or pictures, and not for people


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_chapter_declares_types_that_can_be_checked(path):
    known = notebooks.declared(path)
    wanted = {"dataset"} if path.stem[:2] in SISTERS else {"dataset", "n_ids", "preset"}
    assert wanted <= known.keys() and set(known.values()) <= {"bool", "int", "float", "str"}
    number = next(name for name in ("n_ids", "seed") if name in known)
    assert fitting(path, {number: "3"}) == {number: 3}


@pytest.mark.parametrize("no", ["false", "no", "0", "False"])
def test_no_means_no_where_photos_are_asked_for(tmp_path, no):
    path = write(tmp_path / "00_a.ipynb")
    assert fitting(path, {"show_faces": no}) == {"show_faces": False}


@pytest.mark.parametrize("word", ["N_IDS=ten", "N_IDS=2.0", "SHOW_FACES=nein", "COLOUR=red", "COLOUR"])
def test_a_wrong_parameter_is_one_line_before_anything_runs(tmp_path, word):
    path = write(tmp_path / "00_a.ipynb", "raise SystemError('never')")
    with pytest.raises(SystemExit) as ended:
        main(["run", "--notebooks", str(path), "--out", str(tmp_path / "out"), "--parameters", word])
    name = word.partition("=")[0]
    assert name in str(ended.value).upper() and "\n" not in str(ended.value)
    assert not (tmp_path / "out" / "00_a.ipynb").exists()


def test_a_chapter_is_given_what_it_has_and_a_seed_stands_for_several(tmp_path):
    one = write(tmp_path / "00_a.ipynb", parameters="seed: int = 0  # one")
    many = write(tmp_path / "07_b.ipynb", parameters='seeds: str = "0"  # several\nn_ids: int = 1  # how many')
    assert shared_out([one, many], {"seed": "3", "n_ids": "2"}) == {one: {"seed": 3}, many: {"seeds": "3", "n_ids": 2}}
    assert shared_out([one, many], {"seed": "3", "seeds": "1 2"})[many] == {"seeds": "1 2"}
    with pytest.raises(ValueError, match="no chapter has a parameter colour"):
        shared_out([one, many], {"colour": "red"})


OWN = 'dataset: str = "mnist"  # only: mnist (digits) | cifar10, at 32 px\ndata_root: str = ""  # where'
ANY = 'dataset: str = "faces"  # faces | celeba\nn_ids: int = 10  # how many\ndata_root: str = ""  # where'


def test_a_chapter_keeps_its_own_data_where_it_takes_no_other_and_says_so(tmp_path, capsys):
    mine = write(tmp_path / "00_a.ipynb", "print(dataset, 'is shown')", parameters=ANY)
    own = write(tmp_path / "30_b.ipynb", "print(dataset, 'is shown')", parameters=OWN)
    for name in ("ages", "cifar10"):
        prepare_tiny(tmp_path / "data" / name)
    command = ["run", "--out", str(tmp_path / "out"), "--workers", "1", "--data-root", str(tmp_path / "data")]
    command += ["--notebooks", str(mine), str(own)]
    assert main([*command, "--parameters", "DATASET=ages", "N_IDS=3", "SEED="]) == 0
    assert "ages is shown" in said(tmp_path / "out" / mine.name)
    assert "mnist is shown" in said(tmp_path / "out" / own.name)
    printed = capsys.readouterr().out.splitlines()
    told = "without N_IDS=3 (no such parameter); DATASET=ages (takes mnist, cifar10)"
    assert printed[0] == f"30_b runs {told}"
    assert printed[2].endswith("done") and printed[3].endswith(f"done, {told}")
    assert main([*command, "--parameters", "DATASET=cifar10"]) == 0
    assert "cifar10 is shown" in said(tmp_path / "out" / own.name) and "without" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("PRESET=smok", "preset 'smok' is unknown: choose one of smoke, "),
        ("SEED=4294967296", "seed must be a whole number from 0"),
        ("DATASET=fases", "DATASET=fases is not prepared below .*data_prep"),
        ("DATASET=../faces", "no plain folder name"),
        ('SETTINGS={"curvture": {"eta": 1}}', "settings of method 'curvture', which is unknown: choose one of "),
        ('SETTINGS={"curvature": {"etta": 1}}', "curvature has no setting etta: it takes variant, eta"),
        ("SETTINGS={eta: 1}", "is no JSON"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_before_anything_runs(tmp_path, word, message):
    """Not chapter by chapter, while those that keep their own data run for minutes."""
    known = f'{ANY}\npreset: str = "cpu"  # smoke | cpu\nseed: int = 0  # which\nsettings: str = ""  # of methods'
    path = write(tmp_path / "00_a.ipynb", "raise SystemError('never')", parameters=known)
    where = ["--out", str(tmp_path / "out"), "--data-root", str(tmp_path)]
    with pytest.raises(SystemExit, match=message):
        main(["run", *where, "--notebooks", str(path), "--parameters", word])
    assert not (tmp_path / "out").exists()


def test_a_value_that_no_chapter_takes_is_refused(tmp_path):
    own = write(tmp_path / "30_b.ipynb", "raise SystemError('never')", parameters=OWN)
    with pytest.raises(ValueError, match="DATASET=ages: 30_b takes mnist, cifar10 only"):
        fitting(own, {"dataset": "ages"})
    with pytest.raises(SystemExit, match="DATASET=ages: 30_b takes mnist, cifar10 only"):
        main(["run", "--out", str(tmp_path / "out"), "--notebooks", str(own), "--parameters", "DATASET=ages"])


def test_the_sisters_take_what_they_say(tmp_path):
    with_data = {f"{path.stem[:2]}": notebooks.choices(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
    assert {number for number, taken in with_data.items() if taken} == set(SISTERS)
    assert with_data["20"] == {"preset": tuple(SIZES)}
    assert with_data["30"]["preset"] == tuple(PRESETS) == tuple(CHAPTER) and "faces" in with_data["30"]["dataset"]


@pytest.mark.parametrize("wrong", ["no", "false", 1, np.True_, None])
def test_photos_of_real_people_are_drawn_for_true_alone(wrong):
    photos = tiny_faces(3)
    assert len(np.unique(thumbnails(photos, show_faces=wrong))) == 2, "blank"
    assert len(np.unique(thumbnails(photos, show_faces=True))) > 2


def test_plain_papermill_shows_no_photo_where_no_is_said(tmp_path):
    """The runner does not see what papermill is given; where photos are drawn is where it counts."""
    prepare_tiny(tmp_path / "data")
    draw = (
        "import numpy as np\nfrom shui_lib.benchmark.data import load_faces\n"
        "from shui_workbook.figures.photos import thumbnails\n"
        "print(len(np.unique(thumbnails(load_faces(data_root), show_faces=show_faces))), 'shades')"
    )
    path, out = write(tmp_path / "00_a.ipynb", draw), tmp_path / "out.ipynb"
    given = {"show_faces": "no", "data_root": str(tmp_path / "data")}
    papermill.execute_notebook(str(path), str(out), parameters=given, progress_bar=False)
    assert "2 shades" in said(out)


# Running


def test_a_chapter_that_fails_leaves_the_others_alone(tmp_path, capsys):
    write(tmp_path / "00_a.ipynb", "print(n_ids, 'ask')")
    write(tmp_path / "01_b.ipynb", "raise KeyError('nobody')", "print('never')")
    write(tmp_path / "02_c.ipynb", "import os\nos._exit(7)")
    write(tmp_path / "03_d.ipynb", "print('last')")
    paths, out = sorted(tmp_path.glob("*.ipynb")), tmp_path / "out"
    command = ["run", "--out", str(out), "--workers", "2", "--parameters", "N_IDS=3", "--notebooks"]
    assert main([*command, *map(str, paths)]) == 1
    table = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in table[1:5]] == [path.stem for path in paths]
    assert table[1].endswith("done") and table[4].endswith("done")
    assert "failed: KeyError: 'nobody'" in table[2] and "failed: DeadKernelError" in table[3]
    assert "3 ask" in said(out / "00_a.ipynb") and "last" in said(out / "03_d.ipynb")
    assert main([*command, str(paths[0])]) == 0


def test_chapters_run_side_by_side(tmp_path):
    """Each waits for the file of the other."""
    for mine, other in ("ab", "ba"):
        wait = f"import time\nfrom pathlib import Path\nPath(data_root, '{mine}').touch()\nend = time.time() + 60\n"
        wait += f"while not Path(data_root, '{other}').exists():\n    time.sleep(0.1)\n    assert time.time() < end"
        write(tmp_path / f"0_{mine}.ipynb", wait)
    found = run_all(tmp_path / "out", {"data_root": str(tmp_path)}, sorted(tmp_path.glob("*.ipynb")), workers=2)
    assert [one.error for one in found] == ["", ""] and all(one.seconds > 0 and one.cpu_seconds > 0 for one in found)


@pytest.mark.parametrize(("workers", "order"), [(1, "abc"), (2, "cba")])
def test_several_chapters_begin_with_the_last_and_are_told_in_order(tmp_path, monkeypatch, workers, order):
    begun = []

    class Pool(ThreadPoolExecutor):
        def __init__(self, workers, **_):
            super().__init__(1)

    def outcome(path, out, values):
        begun.append(path.stem)
        return Outcome(path.stem, 1.0, 1.0, "")

    monkeypatch.setattr(notebooks, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(notebooks, "_outcome", outcome)
    paths = [write(tmp_path / f"{name}.ipynb") for name in "abc"]
    found = run_all(tmp_path / "out", {}, paths, workers=workers)
    assert "".join(begun) == order and [one.chapter for one in found] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("preset", "before", "threads"), [("cpu", None, "1"), ("cpu", "3", "3"), ("paper", None, None)]
)
def test_small_presets_compute_with_one_thread(tmp_path, monkeypatch, preset, before, threads):
    monkeypatch.setattr(papermill, "execute_notebook", lambda *_, **__: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "8")  # so that what is set within is undone
    monkeypatch.delenv("OMP_NUM_THREADS")
    if before:
        monkeypatch.setenv("OMP_NUM_THREADS", before)
    path = write(tmp_path / "00_a.ipynb", parameters='preset: str = "cpu"  # which')
    run_notebook(path, tmp_path / "out.ipynb", {"preset": preset})
    assert os.environ.get("OMP_NUM_THREADS") == threads
