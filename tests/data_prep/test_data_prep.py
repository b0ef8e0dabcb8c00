"""Official layouts -> prepared format: good input, every kind of bad input, interruptions, real lists."""

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import raw_layouts
from PIL import Image, ImageOps

from data_prep import __main__ as command
from data_prep import celeba, celebahq, mufac, photos, prepared
from data_prep.prepared import DataError, Description, create_images, finish, listed, writing

LOADERS = {"celeba": celeba, "celebahq": celebahq, "mufac": mufac}
LAYOUTS = {"celeba": raw_layouts.celeba, "celebahq": raw_layouts.celebahq, "mufac": raw_layouts.mufac}
DESCRIPTION = Description(name="tiny", task="multilabel", classes=("a", "b"), size=4, licence="none", sources={})


def load(out: Path) -> tuple[np.ndarray, pd.DataFrame, dict]:
    description = json.loads((out / "dataset.json").read_text())
    return np.load(out / "images.npy"), pd.read_csv(out / "index.csv"), description


def tiny_index() -> pd.DataFrame:
    return pd.DataFrame({"image": ["x", "y"], "identity": [0, 1], "a": [0, 1], "b": [1, 1]})


def write_tiny(out: Path, value: int = 1) -> None:
    with writing(out) as folder:
        create_images(folder, 2, 4)[:] = value
        finish(folder, tiny_index(), DESCRIPTION)


def content(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# The format


def test_prepared_folder_holds_three_readable_files(tmp_path):
    write_tiny(tmp_path / "tiny")
    images, index, description = load(tmp_path / "tiny")
    assert content(tmp_path) == {"tiny"}
    assert content(tmp_path / "tiny") == {"images.npy", "index.csv", "dataset.json"}
    assert images.dtype == np.uint8 and images.shape == (2, 4, 4, 3) and (images == 1).all()
    pd.testing.assert_frame_equal(index, tiny_index())
    assert description["counts"] == {"images": 2, "identities": 2}
    assert description["classes"] == ["a", "b"] and description["size"] == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda i: i.iloc[:1], "images.npy is (2, 4, 4, 3), expected (1, 4, 4, 3)"),
        (lambda i: i[["identity", "image", "a", "b"]], "index has columns"),
        (lambda i: i.assign(a=[0.0, np.nan]), "columns a are not integers"),
        (lambda i: i.assign(identity=["1", "2"]), "columns identity are not integers"),
        (lambda i: i.assign(image="x"), "an image that is listed twice in rows 0, 1"),
        (lambda i: i.assign(image=["x", None]), "an empty image name in rows 1"),
        (lambda i: i.assign(identity=[0, -1]), "a negative identity in rows 1"),
        (lambda i: i.assign(b=[1, 2]), "a target outside 0 … 1 in rows 1"),
    ],
)
def test_finish_refuses_an_index_that_does_not_fit(tmp_path, change, message):
    with pytest.raises(DataError, match=re.escape(message)), writing(tmp_path / "tiny") as folder:
        create_images(folder, 2, 4)
        finish(folder, change(tiny_index()), DESCRIPTION)
    assert content(tmp_path) == set()


def test_description_knows_two_tasks():
    with pytest.raises(ValueError, match="'regression', expected 'multilabel' or 'multiclass'"):
        Description(name="x", task="regression", classes=(), size=4, licence="", sources={})


def test_listed_shows_twenty_and_counts_the_rest():
    assert listed("ab") == "a, b"
    assert listed(range(23)).endswith("18, 19 … and 3 more")


# Good raw data


def places(root: Path, name: str) -> dict[str, Path]:
    """The same download in every form that `raw` may have."""
    folder = LAYOUTS[name](root / "unpacked")
    (root / "zips").mkdir()
    shutil.make_archive(str(root / "zips" / "around"), "zip", folder.parent)
    shutil.make_archive(str(root / "inner"), "zip", folder)
    zips = {"zip": root / "zips" / "around.zip", "zip's folder": root / "zips", "inner zip": root / "inner.zip"}
    return {"folder": folder, "around": folder.parent} | zips


@pytest.mark.parametrize("name", LOADERS)
def test_every_form_of_the_download_gives_the_same_bytes(tmp_path, name):
    results = []
    for form, raw in places(tmp_path, name).items():
        out = tmp_path / "out" / form
        LOADERS[name].prepare(raw, out, size=16)
        results.append([(out / file).read_bytes() for file in ("images.npy", "index.csv", "dataset.json")])
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize("name", ["celeba", "celebahq"])
def test_attributes_identities_and_pixels_come_from_the_right_row(tmp_path, name):
    raw, loader = LAYOUTS[name](tmp_path), LOADERS[name]
    description = loader.prepare(raw, tmp_path / "out", size=64)
    images, index, _ = load(tmp_path / "out")
    assert description.classes == tuple(raw_layouts.ATTRIBUTES)
    assert index["identity"].tolist() == [7] * 5 + [2] * 3 + [90]
    lines = next(raw.glob("*attr*.txt")).read_text().splitlines()[2:]
    for row, line in enumerate(lines):
        name, *signs = line.split()
        assert index.loc[row, "image"] == name
        assert [1 if sign == "1" else 0 for sign in signs] == index.iloc[row, 2:].tolist()
        with Image.open(raw / loader.PHOTOS / name) as photo:
            square = np.asarray(ImageOps.fit(photo, (64, 64), Image.Resampling.BICUBIC))
        np.testing.assert_array_equal(images[row], square)


def test_squashed_photos_keep_everything_that_is_on_them(tmp_path):
    high = np.zeros((218, 178, 3), np.uint8)
    high[:10] = 255  # a bright top that the centre square cuts away
    buffer = io.BytesIO()
    Image.fromarray(high).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    found = {}
    for squash in (False, True):
        found[squash] = np.zeros((1, 32, 32, 3), np.uint8)
        photos.decode(tmp_path, ["a.png"], found[squash], squash=squash)
    assert found[True][0, 0].min() > 200 and found[False].max() < 30


def test_celeba_may_be_squashed_and_says_so(tmp_path):
    raw = LAYOUTS["celeba"](tmp_path)
    about = LOADERS["celeba"].prepare(raw, tmp_path / "out", size=16, squash=True)
    assert about.options == {"min_images": 1, "squash": True}
    assert LOADERS["celeba"].prepare(raw, tmp_path / "other", size=16).options == {"min_images": 1}


def test_shrinking_a_large_photo_is_antialiased(tmp_path):
    # Stripes of one pixel must become flat grey; picking every eighth pixel would give black or white.
    stripes = np.zeros((128, 256, 3), np.uint8)
    stripes[:, ::2] = 255
    buffer = io.BytesIO()
    Image.fromarray(stripes).save(buffer, "PNG")
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    images = np.zeros((1, 16, 16, 3), np.uint8)
    photos.decode(tmp_path, ["a.png"], images)
    assert images.min() > 110 and images.max() < 145


@pytest.mark.parametrize("with_folder", [False, True])
def test_mufac_takes_age_from_the_letter_and_persons_in_sorted_order(tmp_path, with_folder):
    raw = raw_layouts.mufac(tmp_path, with_folder=with_folder)
    mufac.prepare(raw, tmp_path / "out")
    images, index, description = load(tmp_path / "out")
    assert description["task"] == "multiclass" and len(description["classes"]) == 8
    assert images.shape == (12, 64, 64, 3)
    assert index["label"].tolist() == [0, 7, 1, 3] * 3
    assert index["identity"].tolist() == [5, 4, 5, 4, 1, 0, 1, 0, 3, 2, 3, 2]  # F0001 D is 0, F0001 S is 1
    assert index["image"].str.split("/").str[0].unique().tolist() == ["train_images", "val_images", "test_images"]


def test_min_images_keeps_frequent_identities_and_their_numbers(tmp_path, capsys):
    celeba.prepare(raw_layouts.celeba(tmp_path), tmp_path / "out", size=8, min_images=3)
    images, index, description = load(tmp_path / "out")
    assert len(images) == 8 and set(index["identity"]) == {7, 2}
    assert description["options"] == {"min_images": 3}
    assert description["counts"] == {"images": 8, "identities": 2}
    assert "found       9   official 202,599  <- differs" in capsys.readouterr().out
    with pytest.raises(DataError, match="no identity has 6 photos, the most is 5"):
        celeba.prepare(tmp_path, tmp_path / "out", min_images=6)


@pytest.mark.parametrize("name", LOADERS)
def test_line_ends_and_byte_order_mark_do_not_matter(tmp_path, name):
    plain, marked = LAYOUTS[name](tmp_path / "plain"), LAYOUTS[name](tmp_path / "marked")
    for file in [path for path in marked.iterdir() if path.suffix in (".txt", ".csv")]:
        text = file.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        file.write_bytes(b"\xef\xbb\xbf" + text + b"\r\n")
    for folder in (plain, marked):
        LOADERS[name].prepare(folder, tmp_path / "out" / folder.parent.name, size=8)
    first, second = load(tmp_path / "out" / "plain"), load(tmp_path / "out" / "marked")
    np.testing.assert_array_equal(first[0], second[0])
    pd.testing.assert_frame_equal(first[1], second[1])


# Bad raw data: (dataset, damage to the official folder, what the message must say)

edit = raw_layouts.edit
ROW = " ".join(["1"] * 40)
CELEBA_LIST, HQ_LIST = "list_attr_celeba.txt", "CelebAMask-HQ-attribute-anno.txt"
TRAIN = "custom_train_dataset.csv"
BAD = {
    "missing list": ("celeba", lambda f: (f / "identity_CelebA.txt").unlink(), ["lacks identity_CelebA.txt"]),
    "missing photos": (
        "celebahq",
        lambda f: shutil.rmtree(f / "CelebA-HQ-img"),
        ["raw lacks CelebA-HQ-img: download it from https://"],
    ),
    "missing csv": (
        "mufac",
        lambda f: [path.unlink() for path in f.glob("custom_t*.csv")],
        ["lacks custom_train_dataset.csv, custom_test_dataset.csv"],
    ),
    "photos are a file": (
        "celebahq",
        lambda f: (shutil.rmtree(f / "CelebA-HQ-img"), (f / "CelebA-HQ-img").touch()),
        ["CelebA-HQ-img is missing or no folder"],
    ),
    "missing row": ("celeba", lambda f: edit(f / CELEBA_LIST, 5, None), ["promises 9 rows, found 8", CELEBA_LIST]),
    "extra row": (
        "celebahq",
        lambda f: edit(f / HQ_LIST, 0, f"9.jpg {ROW}"),
        ["promises 9 rows, found 10", HQ_LIST],
    ),
    "no rows": (
        "celeba",
        lambda f: (f / "identity_CelebA.txt").write_text("\n"),
        ["identity_CelebA.txt has no rows, expected an image and a number"],
    ),
    "no count": ("celeba", lambda f: edit(f / CELEBA_LIST, 1, None), ["number of rows in line 1", "found '5_o_"]),
    "empty list": ("celebahq", lambda f: (f / HQ_LIST).write_bytes(b""), [HQ_LIST, "number of rows in line 1"]),
    "lists disagree": (
        "celeba",
        lambda f: edit(f / "identity_CelebA.txt", 2, "000077.jpg 3"),
        ["name different images", "in the first: 1 (000077.jpg)", "in the second: 1 (000002.jpg)"],
    ),
    "partition disagrees": (
        "celeba",
        lambda f: edit(f / "list_eval_partition.txt", 9, None),
        ["list_eval_partition.txt", "in the first: 1 (000009.jpg)", "in the second: 0 ()"],
    ),
    "partition unknown": (
        "celeba",
        lambda f: edit(f / "list_eval_partition.txt", 9, "000009.jpg 3"),
        ["list_eval_partition.txt has 1 rows that are not an image and a number from 0 to 2: line 9"],
    ),
    "not an identity": (
        "celebahq",
        lambda f: (edit(f / "CelebA-HQ-identity.txt", 2, "1.jpg x"), edit(f / "CelebA-HQ-identity.txt", 4, "3.jpg")),
        ["CelebA-HQ-identity.txt has 2 rows", "line 2 (1.jpg x), line 4 (3.jpg)"],
    ),
    "not ±1": (
        "celebahq",
        lambda f: edit(f / HQ_LIST, 6, f"3.jpg 0 {ROW[2:]}"),
        ["1 rows that are not an image and 40 times 1 or -1: line 6 (3.jpg 0 1"],
    ),
    "too few values": ("celebahq", lambda f: edit(f / HQ_LIST, 6, f"3.jpg {ROW[2:]}"), ["line 6 (3.jpg 1"]),
    "too many values": ("celebahq", lambda f: edit(f / HQ_LIST, 6, f"3.jpg 1 {ROW}"), ["line 6 (3.jpg 1"]),
    "duplicate row": (
        "celeba",
        lambda f: edit(f / "identity_CelebA.txt", 0, "000003.jpg 7"),
        ["1 rows that repeat an image: line 10 (000003.jpg)"],
    ),
    "not text": ("celebahq", lambda f: (f / HQ_LIST).write_bytes(b"\xff\xfe\x00"), [HQ_LIST, "Download"]),
    "climbing": (
        "celeba",
        lambda f: edit(f / "identity_CelebA.txt", 3, "../../x.jpg 7"),
        ["1 rows that leave the image folder: line 3 (../../x.jpg)"],
    ),
    "climbing Windows": (
        "celebahq",
        lambda f: edit(f / "CelebA-HQ-identity.txt", 3, "..\\x.jpg 7"),
        ["leave the image folder: line 3 (..\\x.jpg)"],
    ),
    "photo missing": (
        "celebahq",
        lambda f: [(f / "CelebA-HQ-img" / name).unlink() for name in ("3.jpg", "8.jpg")],
        ["CelebA-HQ-img lacks 2 listed photos: 3.jpg, 8.jpg. Download"],
    ),
    "photo not listed": (
        "celeba",
        lambda f: [(f / "img_align_celeba" / name).touch() for name in ("b.jpg", "a.JPG", ".c.jpg", "d.txt")],
        ["img_align_celeba has 2 photos that no list names: a.JPG, b.jpg. Move"],
    ),
    "photos broken": (
        "celebahq",
        lambda f: (
            os.truncate(f / "CelebA-HQ-img" / "1.jpg", 900),
            (f / "CelebA-HQ-img" / "4.jpg").write_text("<html>not found</html>"),
            (f / "CelebA-HQ-img" / "6.jpg").write_bytes(b""),
        ),
        ["has 3 unreadable photos: 1.jpg (image file is truncated", ", 4.jpg (cannot identify", ", 6.jpg ("],
    ),
    "unknown letter": (
        "mufac",
        lambda f: (edit(f / TRAIN, 3, "F0003,D,i,AGE_D_46.jpg"), edit(f / TRAIN, 5, "F0003,D,ab,AGE_D_48.jpg")),
        ["2 rows with an age_class outside a-h: custom_train_dataset.csv line 3 (F0003,D,i,", ", custom_train"],
    ),
    "mufac duplicate": (
        "mufac",
        lambda f: edit(f / TRAIN, 0, "F0003,D,a,train_images/AGE_D_46.jpg"),
        ["1 rows that repeat an image: custom_train_dataset.csv line 6"],
    ),
    "mufac short and long rows": (
        "mufac",
        lambda f: [edit(f / TRAIN, i, row) for i, row in enumerate(["F3,S,a", "F3,,h,x.jpg", "1,2,a,b,c"], 2)],
        ["3 rows that are not family_id,person_id,age_class,image_path: custom_train_dataset.csv line 2 (F3,S,a,)"],
    ),
    "mufac head": (
        "mufac",
        lambda f: edit(f / TRAIN, 1, "family,person_id,age_class,image_path"),
        ["custom_train_dataset.csv: columns ['family_id'] are missing in line 1"],
    ),
    "mufac climbing": (
        "mufac",
        lambda f: (edit(f / TRAIN, 2, "F0003,S,a,../../x.jpg"), edit(f / TRAIN, 3, "F0003,S,a,/etc/x.jpg")),
        ["2 rows that leave the image folder: custom_train_dataset.csv line 2 (F0003,S,a,../../x.jpg)"],
    ),
    "mufac photo missing": (
        "mufac",
        lambda f: (f / "val_images" / "AGE_S_45.jpg").rename(f / "val_images" / "other.jpg"),
        ["mufac lacks 1 listed photos: val_images/AGE_S_45.jpg"],
    ),
    "mufac photo not listed": (
        "mufac",
        lambda f: edit(f / TRAIN, 4, None),
        ["mufac has 1 photos that no list names: train_images/AGE_S_47.jpg"],
    ),
    "mufac unclosed quote": (
        "mufac",
        lambda f: edit(f / TRAIN, 3, '"F0003' + "x" * 200_000),
        ["custom_train_dataset.csv after line 2: field larger than", "Download the file again"],
    ),
    "mufac path without a name": (
        "mufac",
        lambda f: edit(f / TRAIN, 2, "F0003,S,a,."),
        ["mufac lacks 1 listed photos: train_images/."],
    ),
    "mufac without rows": (
        "mufac",
        lambda f: [raw_layouts.write_lines(f / file, [",".join(mufac.COLUMNS)]) for file in mufac.LISTS],
        ["mufac has no rows"],
    ),
    "mufac photo broken": (
        "mufac",
        lambda f: os.truncate(f / "test_images" / "AGE_S_45.jpg", 2000),
        ["has 1 unreadable photos: test_images/AGE_S_45.jpg (image file is truncated"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_raw_data_is_named_and_leaves_nothing_behind(tmp_path, case):
    name, damage, messages = BAD[case]
    damage(LAYOUTS[name](tmp_path / "raw"))
    (tmp_path / "out").mkdir()
    with pytest.raises(DataError) as caught:
        LOADERS[name].prepare(tmp_path / "raw", tmp_path / "out" / name, size=8)
    for message in messages:
        assert message in str(caught.value)
    assert content(tmp_path / "out") == set()


def test_every_missing_photo_is_counted(tmp_path):
    folder = raw_layouts.celebahq(tmp_path, {1: 25}, pixels=8)
    for photo in (folder / "CelebA-HQ-img").iterdir():
        photo.write_bytes(b"no photo")
    with pytest.raises(DataError, match=r"has 25 unreadable photos: 0.jpg .* 19.jpg [^,]* … and 5 more"):
        celebahq.prepare(folder, tmp_path / "out")
    for photo in (folder / "CelebA-HQ-img").iterdir():
        if photo.stem not in ("0", "1"):
            photo.unlink()
    with pytest.raises(DataError, match="lacks 23 listed photos: .* … and 3 more"):
        celebahq.prepare(folder, tmp_path / "out")


def test_wrong_raw_folder_says_what_is_expected(tmp_path):
    with pytest.raises(DataError, match="nowhere does not exist: --raw is the folder, or the zip, of the download"):
        celeba.prepare(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(
        DataError, match=r"lacks custom_train.*, custom_val.*, custom_test_dataset.csv: download it from http"
    ):
        mufac.prepare(tmp_path, tmp_path / "out")


def test_wrong_zips_say_so(tmp_path):
    forms = places(tmp_path, "celebahq")
    with pytest.raises(
        DataError, match="around.zip lacks identity_CelebA.txt, list_attr_celeba.txt, list_eval_.*, img_align_celeba: "
    ):
        celeba.prepare(forms["zip"], tmp_path / "out")
    shutil.copy(forms["zip"], forms["zip's folder"] / "again.zip")
    with pytest.raises(
        DataError, match="holds several CelebAMask-HQ-att.*: pass one of these as --raw: .*again.zip, .*around.zip"
    ):
        celebahq.prepare(forms["zip's folder"], tmp_path / "out")
    os.truncate(forms["zip"], 5000)
    with pytest.raises(DataError, match="around.zip is not a whole zip file .*: download it again"):
        celebahq.prepare(forms["zip"], tmp_path / "out")


def test_damaged_zip_member_is_named(tmp_path):
    forms = places(tmp_path, "celebahq")
    with zipfile.ZipFile(forms["zip"]) as content_:
        inside = next(info for info in content_.infolist() if info.filename.endswith("/5.jpg"))
    data = bytearray(forms["zip"].read_bytes())
    data[inside.header_offset + 400] ^= 0xFF
    forms["zip"].write_bytes(data)
    with pytest.raises(DataError, match=r"has 1 unreadable photos: 5.jpg"):
        celebahq.prepare(forms["zip"], tmp_path / "out")


# Full disks, interruptions, other people's folders


def test_full_disk_is_noticed_before_writing(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=3 * 2**20)
    monkeypatch.setattr(prepared.shutil, "disk_usage", lambda folder: usage)
    message = f"no space in {tmp_path}: about 12 MiB are needed and 3 MiB are free"
    with pytest.raises(DataError, match=re.escape(message)), writing(tmp_path / "tiny") as folder:
        create_images(folder, 1000, 64)
    assert content(tmp_path) == set()


@pytest.mark.skipif(not hasattr(os, "posix_fallocate"), reason="this system cannot reserve disk space")
def test_disk_that_fills_up_while_writing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prepared.os, "posix_fallocate", full)
    with (
        pytest.raises(DataError, match="no space in .*: about 12 MiB are needed"),
        writing(tmp_path / "tiny") as folder,
    ):
        create_images(folder, 1000, 64)
    assert content(tmp_path) == set()


def test_ctrl_c_keeps_the_older_dataset(tmp_path, monkeypatch, capsys):
    raw, out = raw_layouts.celebahq(tmp_path / "raw"), tmp_path / "out" / "hq"
    celebahq.prepare(raw, out, size=8)
    before = (out / "images.npy").read_bytes()
    calls, picture = [], photos._picture

    def interrupted(*arguments, **how):
        calls.append(arguments)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return picture(*arguments, **how)

    monkeypatch.setattr(photos, "_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        celebahq.prepare(raw, out, size=16)
    assert content(out.parent) == {"hq"} and (out / "images.npy").read_bytes() == before
    calls.clear()
    assert command.main(["celebahq", "--raw", str(raw), "--out", str(out)]) == 130
    assert "interrupted" in capsys.readouterr().err


HANGING = """
import sys, time
from pathlib import Path
from data_prep.prepared import create_images, writing
with writing(Path(sys.argv[1])) as folder:
    create_images(folder, 10, 8)
    print("ready", flush=True)
    time.sleep(60)
"""


def test_killed_run_is_cleaned_up_and_a_living_one_is_respected(tmp_path):
    out = tmp_path / "tiny"
    write_tiny(out, value=1)
    with subprocess.Popen([sys.executable, "-c", HANGING, str(out)], stdout=subprocess.PIPE) as child:
        assert child.stdout.readline().strip() == b"ready"
        with pytest.raises(DataError, match=r"\.tiny\.partial is being written by another run: wait for it"):
            write_tiny(out, value=2)
        assert (tmp_path / ".tiny.partial" / "images.npy").exists(), "the living run lost its files"
        child.send_signal(signal.SIGKILL)
    assert content(tmp_path) == {"tiny", ".tiny.partial"}
    assert (load(out)[0] == 1).all()
    write_tiny(out, value=3)
    assert content(tmp_path) == {"tiny"} and (load(out)[0] == 3).all()


def test_run_killed_between_the_two_renames_loses_nothing(tmp_path):
    write_tiny(tmp_path / "tiny")
    (tmp_path / "tiny").rename(tmp_path / ".tiny.old")
    with pytest.raises(DataError), writing(tmp_path / "tiny"):
        raise DataError("the next run fails too")
    assert content(tmp_path) == {"tiny"} and (load(tmp_path / "tiny")[0] == 1).all()


def test_failed_rename_brings_the_older_dataset_back(tmp_path, monkeypatch):
    write_tiny(tmp_path / "tiny", value=1)
    rename = Path.rename

    def refusing(self, target):
        if self.name == ".tiny.partial":
            raise PermissionError("no")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refusing)
    with pytest.raises(PermissionError):
        write_tiny(tmp_path / "tiny", value=2)
    assert (load(tmp_path / "tiny")[0] == 1).all()


def test_only_prepared_datasets_are_replaced(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(DataError, match="thesis is not empty and holds no dataset.json"):
        write_tiny(tmp_path / "thesis")
    with pytest.raises(DataError, match="chapter.tex is a file, expected a folder"):
        write_tiny(tmp_path / "thesis" / "chapter.tex")
    assert content(tmp_path) == {"thesis"} and content(tmp_path / "thesis") == {"chapter.tex"}
    (tmp_path / "empty").mkdir()
    write_tiny(tmp_path / "empty")
    assert (tmp_path / "empty" / "dataset.json").exists()


def test_forgotten_finish_is_a_programming_error(tmp_path):
    with pytest.raises(RuntimeError, match="never finished"), writing(tmp_path / "tiny"):
        pass
    assert content(tmp_path) == set()


# The command


def test_command_prepares_and_reports(tmp_path, capsys):
    raw, out = raw_layouts.mufac(tmp_path), tmp_path / "out"
    arguments = ["mufac", "--raw", str(raw), "--out", str(out), "--size", "32", "--min-images", "2"]
    assert command.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "official   1,216" in printed and f"{out}: 12 images of 6 identities" in printed
    assert load(out)[0].shape == (12, 32, 32, 3)


def test_command_draws_faces(tmp_path, capsys):
    out = tmp_path / "faces"
    arguments = ["faces", "--out", str(out), "--identities", "2", "--seed", "3", "--task", "ages"]
    assert command.main([*arguments, "--first-identity", "5"]) == 0
    images, index, description = load(out)
    assert images.shape[1:] == (48, 48, 3) and set(index["identity"]) == {5, 6}
    assert description["task"] == "multiclass"
    assert "of 2 identities" in capsys.readouterr().out


def test_command_fails_with_one_message_and_code_2(tmp_path):
    line = [sys.executable, "-m", "data_prep", "celeba", "--raw", str(tmp_path), "--out", str(tmp_path / "x")]
    run = subprocess.run(line, capture_output=True, text=True, check=False)
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr.startswith("data_prep celeba: ") and "Traceback" not in run.stderr
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize("option", ["--size=0", "--size=x", "--min-images=-1"])
def test_command_refuses_sizes_that_are_none(tmp_path, option, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(["celeba", "--raw", str(tmp_path), "--out", str(tmp_path / "x"), option])
    assert stop.value.code == 2 and "is not a whole number of at least 1" in capsys.readouterr().err


# Real data

FULL_SCALE = """
import re, sys
from pathlib import Path
from data_prep import celeba
index = celeba.read_index(Path(sys.argv[1]))
assert index.shape == (202_599, 42), index.shape
assert index["identity"].nunique() == 10_177
assert index.iloc[:, 2:].isin([0, 1]).all(axis=None)
assert index["image"].iloc[-1] == "202599.jpg" and index["identity"].iloc[-1] == 10101
status = Path("/proc/self/status")  # ru_maxrss would count the memory of the parent process too
print(re.search(r"VmHWM:\\s+(\\d+)", status.read_text())[1] if status.exists() else 0)
"""


def test_celeba_lists_at_full_scale_stay_below_two_gigabytes(real_data):
    line = [sys.executable, "-W", "error", "-c", FULL_SCALE, str(real_data)]
    run = subprocess.run(line, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) < 2 * 2**20  # KiB


def test_celeba_without_photos_says_what_is_missing(real_data, tmp_path):
    with pytest.raises(DataError, match="lacks img_align_celeba"):
        celeba.prepare(real_data / "celeba_annotations.zip", tmp_path / "out")


def test_celebahq_photos_from_the_shared_zip(real_data, tmp_path, capsys):
    celebahq.prepare(real_data, tmp_path / "out", min_images=25)
    images, index, _ = load(tmp_path / "out")
    assert "differs" not in capsys.readouterr().out  # 30,000 images, 6,217 identities
    assert index.groupby("identity").size().between(25, 28).all()
    assert len(images) == len(index) and images.shape[1:] == (64, 64, 3)
    assert (images.reshape(len(images), -1).std(axis=1) > 5).all(), "an image was left empty"
