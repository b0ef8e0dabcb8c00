"""MNIST, MNIST by writer and CIFAR-10: official files -> prepared format, and what is wrong with bad ones."""

import gzip
import json
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import raw_layouts

from data_prep import __main__ as command
from data_prep import cifar10, mnist, writers
from data_prep.idx import read_idx
from data_prep.prepared import DataError
from shui_lib.benchmark.data import load_faces

LOADERS = {"mnist": mnist, "writers": writers, "cifar10": cifar10}
LAYOUTS = {"mnist": raw_layouts.mnist, "writers": raw_layouts.writers, "cifar10": raw_layouts.cifar10}


def load(out: Path) -> tuple[np.ndarray, pd.DataFrame, dict]:
    return np.load(out / "images.npy"), pd.read_csv(out / "index.csv"), json.loads((out / "dataset.json").read_text())


# Good raw data


def test_digits_are_padded_and_keep_every_pixel(tmp_path):
    raw = raw_layouts.mnist(tmp_path)
    mnist.prepare(raw, tmp_path / "out")
    images, index, about = load(tmp_path / "out")
    official = np.concatenate([read_idx(raw / f"{name}-images-idx3-ubyte.gz") for name in ("train", "t10k")])
    assert images.shape == (42, 32, 32, 3)
    np.testing.assert_array_equal(images[:, 2:-2, 2:-2], np.repeat(official[..., None], 3, axis=3))
    assert images.sum() == 3 * official.sum(dtype=np.int64), "the frame is black"
    targets = np.concatenate([read_idx(raw / f"{name}-labels-idx1-ubyte.gz") for name in ("train", "t10k")])
    assert index["label"].tolist() == targets.tolist()
    assert about["classes"] == list("0123456789") and about["task"] == "multiclass"


def test_nobody_is_named_so_every_picture_is_an_identity_in_the_official_order(tmp_path):
    for name in ("mnist", "cifar10"):
        LOADERS[name].prepare(LAYOUTS[name](tmp_path / name), tmp_path / "out")
        _, index, about = load(tmp_path / "out")
        train = {"mnist": 30, "cifar10": 20}[name]
        assert index["identity"].tolist() == list(range(about["counts"]["images"]))
        assert (index["image"].str.startswith("train/") == (index["identity"] < train)).all()


@pytest.mark.parametrize("task", ["digit", "role"])
def test_writers_are_the_identities(tmp_path, task):
    raw = raw_layouts.writers(tmp_path)
    writers.prepare(raw, tmp_path / "out", task=task)
    _, index, about = load(tmp_path / "out")
    rows = np.concatenate(
        [read_idx(raw / f"qmnist-{s}-labels-idx2-int.gz")[:n] for s, n in (("train", 30), ("test", 12))]
    )
    assert index["identity"].tolist() == rows[:, 2].tolist()
    wanted = rows[:, 0] if task == "digit" else rows[:, 1] == 4
    assert index["label"].tolist() == wanted.astype(int).tolist()
    assert about["classes"] == {"digit": list("0123456789"), "role": ["employee", "student"]}[task]
    assert about["options"] == {"min_images": 1, "task": task}


def test_writers_with_few_digits_are_left_out_with_their_digits(tmp_path):
    raw = raw_layouts.writers(tmp_path)
    writers.prepare(raw, tmp_path / "all")
    writers.prepare(raw, tmp_path / "some", min_images=3)
    images, index, _ = load(tmp_path / "all")
    some, kept, _ = load(tmp_path / "some")
    often = index.groupby("identity")["identity"].transform("size") >= 3
    assert 0 < often.sum() < len(index)
    np.testing.assert_array_equal(some, images[often])
    assert kept["image"].tolist() == index["image"][often].tolist()


def test_qmnists_own_images_are_taken_where_mnists_are_not(tmp_path):
    raw = raw_layouts.writers(tmp_path, (30, 22))  # as many digits as labels, to be renamed
    writers.prepare(raw, tmp_path / "first")
    for ours, split in (("train", "train"), ("t10k", "test")):
        (raw / f"{ours}-images-idx3-ubyte.gz").rename(raw / f"qmnist-{split}-images-idx3-ubyte.gz")
        (raw / f"{ours}-labels-idx1-ubyte.gz").unlink()
    writers.prepare(raw, tmp_path / "second")
    for first, second in zip(load(tmp_path / "first")[:2], load(tmp_path / "second")[:2], strict=True):
        np.testing.assert_array_equal(first, second)


def test_pictures_of_cifar_are_red_green_blue(tmp_path):
    raw = raw_layouts.cifar10(tmp_path)
    cifar10.prepare(raw, tmp_path / "out")
    images, index, about = load(tmp_path / "out")
    first = (raw / "cifar-10-batches-bin" / "data_batch_1.bin").read_bytes()
    assert index["label"][0] == first[0] and about["classes"] == list(raw_layouts.THINGS)
    assert images[0, 0, 0].tolist() == [first[1], first[1 + 1024], first[1 + 2048]]
    assert images[0, 3, 7, 1] == first[1 + 1024 + 3 * 32 + 7]
    last = (raw / "cifar-10-batches-bin" / "test_batch.bin").read_bytes()
    assert images[-1, -1, -1, 2] == last[-1] and index["image"].iloc[-1] == "test/00003"


def forms(root: Path, name: str) -> dict[str, Path]:
    """The same download as people have it."""
    if name == "cifar10":
        packed, plain = raw_layouts.cifar10(root / "a"), raw_layouts.cifar10(root / "b", packed=False)
        shutil.rmtree(packed / "cifar-10-batches-bin")
        return {"archive": packed / cifar10.ARCHIVE, "its folder": packed, "unpacked": plain / "cifar-10-batches-bin"}
    folder = LAYOUTS[name](root / "a")
    shutil.copytree(folder, root / "b" / "MNIST" / "raw")
    for file in (root / "b" / "MNIST" / "raw").iterdir():
        file.with_suffix("").write_bytes(gzip.decompress(file.read_bytes()))  # torchvision keeps both
    zipped = shutil.make_archive(str(root / "c"), "zip", root / "a")
    return {"folder": folder, "around": root / "a", "torchvision": root / "b", "zip": Path(zipped)}


@pytest.mark.parametrize("name", LOADERS)
def test_every_form_of_the_download_gives_the_same_images(tmp_path, name):
    made = []
    for form, raw in forms(tmp_path, name).items():
        LOADERS[name].prepare(raw, tmp_path / "out" / form)
        made.append([(tmp_path / "out" / form / file).read_bytes() for file in ("images.npy", "index.csv")])
    assert all(result == made[0] for result in made)


@pytest.mark.parametrize(("name", "flip"), [("mnist", False), ("writers", False), ("cifar10", True)])
def test_digits_say_that_they_may_not_be_mirrored(tmp_path, name, flip):
    LOADERS[name].prepare(LAYOUTS[name](tmp_path / "raw"), tmp_path / "out")
    assert load_faces(tmp_path / "out").flip is flip


def test_another_size_is_resized(tmp_path):
    cifar10.prepare(raw_layouts.cifar10(tmp_path / "raw"), tmp_path / "out", size=16)
    assert load(tmp_path / "out")[0].shape == (24, 16, 16, 3)


def test_commands_know_their_options(tmp_path, capsys):
    raw, out = raw_layouts.writers(tmp_path / "raw"), tmp_path / "out"
    assert command.main(["writers", "--raw", str(raw), "--out", str(out), "--task", "role", "--min-images", "3"]) == 0
    assert f"{out}: 36 images of 7 identities" in capsys.readouterr().out
    assert command.main(["mnist", "--raw", str(raw), "--out", str(tmp_path / "digits")]) == 0
    with pytest.raises(SystemExit):
        command.main(["mnist", "--raw", str(raw), "--out", str(out), "--min-images", "3"])


# Bad raw data


def cut(file: Path, left: int) -> None:
    file.write_bytes(file.read_bytes()[:left])


def rewrite(file: Path, change) -> None:
    array = read_idx(file)
    raw_layouts.idx(file, change(array))


IMAGES, LABELS, WRITTEN = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz", "qmnist-train-labels-idx2-int.gz"
BAD = {
    "no labels": ("mnist", lambda f: (f / LABELS).unlink(), "lacks train-labels-idx1-ubyte: download it from http"),
    "no writers": ("writers", lambda f: (f / WRITTEN).unlink(), "lacks qmnist-train-labels-idx2-int: download it from https://github.com/f"),
    "cut short": ("mnist", lambda f: cut(f / IMAGES, 999), "train-images-idx3-ubyte.gz cannot be unpacked"),
    "web page": ("mnist", lambda f: (f / IMAGES).write_text("<html>"), "starts with 3c 68 74 6d, so it is no idx file"),
    "empty": ("mnist", lambda f: (f / IMAGES).write_bytes(b""), "starts with nothing, so it is no idx file"),
    "unpacked and cut": (
        "mnist",
        lambda f: (f / IMAGES).write_bytes(gzip.decompress((f / IMAGES).read_bytes())[:5000]),
        "promises (30, 28, 28) and so 23,536 bytes, it has 5,000",
    ),
    "other size": ("mnist", lambda f: rewrite(f / IMAGES, lambda a: a[:, :20]), "expected uint8 (N, 28, 28)"),
    "too few labels": ("mnist", lambda f: rewrite(f / LABELS, lambda a: a[:-1]), "expected 30 from 0 to 9"),
    "letters": ("mnist", lambda f: rewrite(f / LABELS, lambda a: a + 5), "expected 30 from 0 to 9"),
    "labels disagree": (
        "writers",
        lambda f: rewrite(f / LABELS, lambda a: a[::-1].copy()),
        "labels of 30: download both again",
    ),
    "fewer writers": ("writers", lambda f: rewrite(f / WRITTEN, lambda a: a[:20]), "expected at least 30 rows of 8"),
    "two roles": (
        "writers",
        lambda f: rewrite(f / WRITTEN, lambda a: a * np.array([1, 0, 1, 1, 1, 1, 1, 1], np.int32) + row_of_students()),
        "both employee and student",
    ),
    "no archive": ("cifar10", lambda f: [shutil.rmtree(f / "cifar-10-batches-bin"), (f / cifar10.ARCHIVE).unlink()],
                   "lacks cifar-10-binary.tar.gz: download cifar-10-binary.tar.gz from"),
    "archive cut": (
        "cifar10",
        lambda f: [shutil.rmtree(f / "cifar-10-batches-bin"), cut(f / cifar10.ARCHIVE, 20_000)],
        "cifar-10-binary.tar.gz is not whole",
    ),
    "batch cut": (
        "cifar10",
        lambda f: cut(f / "cifar-10-batches-bin" / "data_batch_3.bin", 5000),
        "data_batch_3.bin has 5,000 bytes, expected a multiple of 3,073",
    ),
    "eleventh class": (
        "cifar10",
        lambda f: (f / "cifar-10-batches-bin" / "test_batch.bin").write_bytes(bytes([10]) * 3073),
        "test_batch.bin has classes up to 10",
    ),
    "no batch": (
        "cifar10",
        lambda f: (f / "cifar-10-batches-bin" / "data_batch_2.bin").unlink(),
        "lacks data_batch_2.bin",
    ),
}  # fmt: skip


def row_of_students() -> np.ndarray:
    """To be added: the first half of the digits by students."""
    added = np.zeros((30, 8), np.int32)
    added[:15, 1] = 4
    return added


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_named_and_leave_nothing_behind(tmp_path, case):
    name, damage, message = BAD[case]
    damage(LAYOUTS[name](tmp_path / "raw"))
    with pytest.raises(DataError) as caught:
        LOADERS[name].prepare(tmp_path / "raw", tmp_path / "out")
    assert message in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_digits_of_another_data_set_with_the_same_file_names_are_refused(tmp_path):
    raw = raw_layouts.mnist(tmp_path, (2000, 12))
    rewrite(raw / LABELS, lambda _: (np.arange(2000) % 10).astype(np.uint8))
    with pytest.raises(DataError, match="each class equally often, as FashionMNIST and KMNIST"):
        mnist.prepare(raw, tmp_path / "out")


@pytest.mark.parametrize("form", ["archive", "folder of the archive", "unpacked"])
def test_the_pickled_archive_is_refused_with_the_reason(tmp_path, form):
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    (batches / "data_batch_1").write_bytes(pickle.dumps({b"labels": [0], b"data": b""}))
    (batches / "batches.meta").write_bytes(pickle.dumps({b"label_names": []}))
    with tarfile.open(tmp_path / "cifar-10-python.tar.gz", "w:gz") as archive:
        archive.add(batches, batches.name)
    if form == "unpacked":
        (tmp_path / "cifar-10-python.tar.gz").unlink()
    raw = tmp_path / "cifar-10-python.tar.gz" if form == "archive" else tmp_path
    with pytest.raises(DataError, match="files are pickles: opening one runs the code .* cifar-10-binary.tar.gz from"):
        cifar10.prepare(raw, tmp_path / "out")


# Real data


def test_the_real_digits_by_writer(real_data, tmp_path, capsys):
    for task in writers.TASKS:
        writers.prepare(real_data, tmp_path / task, task=task)
        assert "differs" not in capsys.readouterr().out  # 70,000 digits of 836 writers
    faces = load_faces(tmp_path / "digit")
    assert faces.size == 32 and len(faces) == 70_000 and not faces.flip
    counts = np.bincount(faces.targets)
    assert counts.tolist() == [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958]
    roles = load_faces(tmp_path / "role")
    assert roles.classes == ("employee", "student") and roles.targets.sum() == 29_050 + 5_001
    assert not (set(faces.identity[:60_000].tolist()) & set(faces.identity[60_000:].tolist()))


def test_the_real_mnist(real_data, tmp_path):
    mnist.prepare(real_data, tmp_path / "out")
    _, index, about = load(tmp_path / "out")
    assert about["counts"] == {"images": 70_000, "identities": 70_000}
    assert index["label"][:5].tolist() == [5, 0, 4, 1, 9] and index["label"][60_000:60_003].tolist() == [7, 2, 1]
