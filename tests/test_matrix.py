"""Every chapter on data and at request sizes that it was not written for: it ends, and no check of its own fails.

Minutes long, so it runs only with SHUI_MATRIX=run (`make test-matrix`):

    SHUI_MATRIX=run python -m pytest -q -n auto --dist loadgroup tests/test_matrix.py

Chapters are executed cell by cell in the test's own process, which spares a kernel a chapter, under preset `smoke`.
A data set's chapters and sizes share its stages. Warnings are errors here as in every test: a reader would see them.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
import own_data
import pandas as pd
import pytest
import raw_layouts
from chapters import chapter, execute
from tiny import prepare_tiny

from data_prep import audit
from data_prep.__main__ import main as prepare

pytestmark = [
    pytest.mark.skipif(os.environ.get("SHUI_MATRIX") != "run", reason="minutes long: `make test-matrix` runs it"),
    pytest.mark.filterwarnings("ignore:Glyph .* missing from:UserWarning"),  # matplotlib's font has no Chinese
]
FOREIGN = ("眼镜", "größer als $5", "0", "a_b^c {x}", "<b>nan</b>")  # nothing that a formula or a page may read


def rendered(folder: Path, *options: str) -> None:
    assert prepare(["faces", "--out", str(folder), "--identities", "60", "--size", "32", *options]) == 0


def with_classes(folder: Path, classes: tuple[str, ...]) -> None:
    """A tiny data set with as many attributes, of these names: those that it has, and further ones by person."""
    prepare_tiny(folder, identities=40)
    index, about = pd.read_csv(folder / "index.csv"), json.loads((folder / "dataset.json").read_text())
    values = index[about["classes"]].to_numpy()
    more = np.stack([index["identity"] // 2**k % 2 for k in range(len(classes))], axis=1)
    values = np.concatenate([values, more], axis=1)[:, : len(classes)]
    index = index[["image", "identity"]].join(pd.DataFrame(values, columns=classes))
    index.to_csv(folder / "index.csv", index=False)
    (folder / "dataset.json").write_text(json.dumps(about | {"classes": classes}))


def with_a_rare_attribute(folder: Path) -> None:
    """One that a single person has: it is without a positive in all splits but one, and in nearly every fold."""
    with_classes(folder, ("bright", "red", "rare"))
    index = pd.read_csv(folder / "index.csv")
    index.assign(rare=(index["identity"] == 0).astype(int)).to_csv(folder / "index.csv", index=False)


def celebahq(folder: Path, real_data: Path) -> None:
    """Photos as they are downloaded, of people who have sixteen or more."""
    options = ["--raw", str(real_data / "celebahq64.zip"), "--size", "32", "--min-images", "16"]
    assert prepare(["celebahq", "--out", str(folder), *options]) == 0


def mufac(folder: Path) -> None:
    """Families in MUFAC's layout, some persons of which stand there twice: prepared, and merged by the audit."""
    raw = raw_layouts.mufac(folder.with_name("mufac_raw"), families=8)
    for person in "DS":
        photos = [(f"train_images/F0103_AGE_{person}_{45 + k}.jpg", "b") for k in range(6)]
        raw_layouts.again(raw, "train", "F0900", person, photos)
    listed = folder.with_name("mufac_listed")
    assert prepare(["mufac", "--raw", str(raw), "--out", str(listed), "--size", "32"]) == 0
    assert audit.main([str(listed), "--merge", str(folder)]) == 0
    before, after = (pd.read_csv(place / "index.csv") for place in (listed, folder))
    assert len(before) - len(after) == 12 and before["identity"].nunique() - after["identity"].nunique() == 2


DATA = {
    "faces": rendered,
    "ages": lambda folder: rendered(folder, "--task", "ages"),
    "one_attribute": lambda folder: with_classes(folder, ("bright",)),
    "no_positive": with_a_rare_attribute,
    "foreign_names": lambda folder: with_classes(folder, FOREIGN),
    "five_photos": lambda folder: prepare_tiny(folder, identities=40, images=(5, 5)),
    "celebahq": celebahq,
    "mufac": mufac,
    "my_digits": own_data.digits,
}
REAL = ("celebahq", "my_digits")  # made of files in SHUI_DATA, skipped without
SIZES = {"faces": (1, 2, 5), "ages": (1, 2, 5), "five_photos": (5,), "celebahq": (2,)}
EVERY, FIRST = range(13), range(7)  # chapters; a user's own data is walked through the first
CHAPTERS = {"mufac": FIRST, "my_digits": FIRST}
CELLS = [
    pytest.param(name, n_ids, number, id=f"{name}-{n_ids}-{number:02}", marks=pytest.mark.xdist_group(name))
    for name in DATA
    for n_ids in SIZES.get(name, (3,))
    for number in CHAPTERS.get(name, EVERY)
]


@pytest.fixture(scope="session")
def roots(tmp_path_factory) -> dict[str, str]:
    top = tmp_path_factory.mktemp("matrix")
    return {"data_root": str(top / "data"), "runs_root": str(top / "runs")}


@pytest.fixture
def dataset(request, roots) -> str:
    """A prepared data set, made when it is first asked for."""
    name = request.param
    folder = Path(roots["data_root"]) / name
    if not folder.is_dir():
        real = (request.getfixturevalue("real_data"),) if name in REAL else ()
        folder.parent.mkdir(exist_ok=True)
        DATA[name](folder, *real)
    return name


@pytest.fixture
def run(roots, monkeypatch):
    """Executes a chapter under preset `smoke`."""
    monkeypatch.setenv("SHUI_PROGRESS", "off")

    def run(number: int, **parameters: object) -> None:
        path = chapter(f"{number:02}")
        monkeypatch.chdir(path.parent)
        execute(path, {"preset": "smoke", **roots, **parameters})

    return run


@pytest.mark.parametrize(("dataset", "n_ids", "number"), CELLS, indirect=["dataset"])
def test_a_chapter_ends(dataset, n_ids, number, run):
    run(number, dataset=dataset, n_ids=n_ids)


@pytest.mark.xdist_group("my_digits")
@pytest.mark.parametrize("dataset", ["my_digits"], indirect=True)
@pytest.mark.parametrize("number", [0, 3, 6])
def test_chapters_say_whose_settings_a_data_set_of_ones_own_borrows(dataset, number, run, capsys):
    """Those of ages, which have classes as digits do; those of faces were tuned for attributes."""
    run(number, dataset=dataset, n_ids=3, demonstrate=False)
    told = re.findall(r"^(?:gradient_ascent|meta_unlearn)\W+(settings .*)$", capsys.readouterr().out, re.MULTILINE)
    assert told and all(line.startswith("settings selected for cpu/ages/10") for line in told)
