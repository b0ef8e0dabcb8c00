"""Downloads as people have them, photos as cameras write them, zips that cannot be read, and two runs at once."""

import io
import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import raw_layouts
from PIL import Image

from data_prep import __main__ as command
from data_prep import celeba, celebahq, mufac, photos, prepared
from data_prep.prepared import DataError, Description, create_images, finish, writing
from data_prep.raw import DEPTH, Download, read

LOADERS = {"celeba": celeba, "celebahq": celebahq, "mufac": mufac}
LAYOUTS = {"celeba": raw_layouts.celeba, "celebahq": raw_layouts.celebahq, "mufac": raw_layouts.mufac}


def load(out: Path) -> tuple[np.ndarray, pd.DataFrame, dict]:
    return np.load(out / "images.npy"), pd.read_csv(out / "index.csv"), json.loads((out / "dataset.json").read_text())


def zipped(folder: Path, *, keep: str = "") -> None:
    """Replace a folder by a zip beside it, as it is downloaded; `keep` leads the names of its members."""
    with zipfile.ZipFile(folder.with_suffix(".zip"), "w") as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, keep + file.relative_to(folder).as_posix())
    shutil.rmtree(folder)


def moved(folder: Path, *parts: str) -> Path:
    """Move a folder to a place below its old parent."""
    target = folder.parent.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(folder, target))


def table(file: Path, head: int, first: str) -> None:
    """Write a list as Kaggle does: comma-separated, the columns' names in line 1."""
    lines = file.read_text().split("\n")
    names = lines[head - 1].split() if head else [first]
    rows = [",".join(line.split()) for line in lines[head:] if line.strip()]
    raw_layouts.write_lines(file.with_suffix(".csv"), [",".join(["image_id", *names]), *rows])
    file.unlink()


# Layouts


def drive(folder: Path) -> Path:
    """CelebA's folder on Google Drive: Anno, Eval, Img with a zip, and what else lies there."""
    for file in ("identity_CelebA.txt", "list_attr_celeba.txt"):
        moved(folder / file, "Anno", file)
    moved(folder / "list_eval_partition.txt", "Eval", "list_eval_partition.txt")
    zipped(moved(folder / "img_align_celeba", "Img", "img_align_celeba"), keep="img_align_celeba/")
    (folder / "Img" / "img_align_celeba_png.7z").mkdir()
    (folder / "README.txt").write_text("CelebA")
    return folder


def torchvision(folder: Path) -> Path:
    """What torchvision downloads: more lists, and the zip beside them."""
    zipped(folder / "img_align_celeba", keep="img_align_celeba/")
    (folder / "list_bbox_celeba.txt").write_text("9\n")
    return folder


def kaggle(folder: Path) -> Path:
    """Kaggle's copy: tables, the folder doubled; identities from elsewhere."""
    table(folder / "list_attr_celeba.txt", 2, "")
    table(folder / "list_eval_partition.txt", 0, "partition")
    moved(moved(folder / "img_align_celeba", "inner"), "img_align_celeba", "img_align_celeba")
    return folder


def two_zips(folder: Path) -> Path:
    """The lists in one zip, the photos in another, without a folder in it."""
    zipped(folder / "img_align_celeba")
    with zipfile.ZipFile(folder / "lists.zip", "w") as archive:
        for file in sorted(folder.glob("*.txt")):
            archive.write(file, f"celeba/{file.name}")
            file.unlink()
    return folder


def windows(folder: Path) -> Path:
    """Lists with backslashes and folders, photos with large letters."""
    for photo in (folder / "img_align_celeba").iterdir():
        photo.rename(photo.with_suffix(".JPG"))
    for file in folder.glob("*.txt"):
        file.write_text(file.read_text().replace("0000", "img_align_celeba\\0000"))
    return folder


def deep(folder: Path) -> Path:
    """In a folder in a folder, beside hidden ones and another zip."""
    place = moved(folder, "a", "b", "celeba").parent.parent
    shutil.copytree(place / "b" / "celeba", place / ".Trash" / "celeba")
    (place / "thesis.zip").write_bytes(b"PK, but no zip")
    return place


@pytest.mark.parametrize("layout", [drive, torchvision, kaggle, two_zips, windows, deep])
def test_celeba_is_found_as_people_have_it(tmp_path, layout):
    celeba.prepare(raw_layouts.celeba(tmp_path / "plain"), tmp_path / "out", size=8)
    celeba.prepare(layout(raw_layouts.celeba(tmp_path / "other")), tmp_path / "again", size=8)
    (images, index, _), (others, again, _) = load(tmp_path / "out"), load(tmp_path / "again")
    np.testing.assert_array_equal(images, others)
    pd.testing.assert_frame_equal(index, again)


def test_a_zip_in_a_zip_is_to_be_unpacked(tmp_path):
    folder = drive(raw_layouts.celeba(tmp_path))
    zipped(folder, keep="CelebA/")
    with pytest.raises(
        DataError,
        match=r"lacks img_align_celeba: .*CelebA/Img/img_align_celeba.zip in .*celeba.zip, a zip in a zip: unpack",
    ):
        celeba.prepare(tmp_path, tmp_path / "out")


def without_identities(root: Path) -> Path:
    """CelebAMask-HQ.zip as it is: no identities, a mapping to CelebA's photos; CelebA's own list beside it."""
    folder = raw_layouts.celebahq(root)
    pairs = [line.split() for line in (folder / "CelebA-HQ-identity.txt").read_text().splitlines()]
    (folder / "CelebA-HQ-identity.txt").unlink()
    rows = [f"{n:<16}{200 - n:<16}{201 - n:06}.jpg" for n in range(len(pairs))]
    raw_layouts.write_lines(folder / "CelebA-HQ-to-CelebA-mapping.txt", ["idx  \torig_idx \torig_file", *rows])
    zipped(folder, keep="CelebAMask-HQ/")
    shown = [f"{201 - n:06}.jpg {identity}" for n, (_, identity) in enumerate(pairs)]
    raw_layouts.write_lines(root / "identity_CelebA.txt", ["000001.jpg 3", *shown])
    return root


def test_identities_of_celebahq_follow_from_its_mapping(tmp_path):
    celebahq.prepare(raw_layouts.celebahq(tmp_path / "plain"), tmp_path / "out", size=8)
    celebahq.prepare(without_identities(tmp_path / "zip"), tmp_path / "again", size=8)
    pd.testing.assert_frame_equal(load(tmp_path / "out")[1], load(tmp_path / "again")[1])
    sources = load(tmp_path / "again")[2]["sources"]
    assert set(sources) == {celebahq.MAPPING, celebahq.OF_CELEBA, celebahq.ATTRIBUTES}


def test_celebahq_without_either_says_what_to_put_where(tmp_path):
    root = without_identities(tmp_path)
    (root / "identity_CelebA.txt").unlink()
    with pytest.raises(
        DataError, match=r"lacks CelebA-HQ-identity.txt: put CelebA's identity_CelebA.txt .* beside the"
    ):
        celebahq.prepare(root, tmp_path / "out")


def test_a_mapping_to_photos_that_celebas_list_lacks_is_named(tmp_path):
    root = without_identities(tmp_path)
    raw_layouts.edit(root / "identity_CelebA.txt", 3, None)
    with pytest.raises(DataError, match=r"mapping.txt has 1 rows .* photo of identity_CelebA.txt: line 3 \(1 "):
        celebahq.prepare(root, tmp_path / "out")


@pytest.mark.parametrize("packed", [False, True])
def test_mufac_is_found_in_the_folder_that_the_download_has(tmp_path, packed):
    mufac.prepare(raw_layouts.mufac(tmp_path / "plain"), tmp_path / "out", size=8)
    folder = raw_layouts.mufac(tmp_path / "other", with_folder=True)
    for file in folder.glob("*.csv"):
        file.write_text(file.read_text().replace("_images/", "_images\\"))
    folder = moved(folder, "data", "custom_korean_family_dataset_resolution_128")
    if packed:
        zipped(folder, keep=f"{folder.name}/")
    mufac.prepare(tmp_path / "other", tmp_path / "again", size=8)
    for one, other in zip(load(tmp_path / "out")[:2], load(tmp_path / "again")[:2], strict=True):
        np.testing.assert_array_equal(one, other)


def test_nothing_is_looked_for_without_end(tmp_path):
    folder = raw_layouts.celeba(tmp_path.joinpath(*"abcdef"))
    with pytest.raises(DataError, match="lacks identity_CelebA.txt"):
        celeba.prepare(tmp_path, tmp_path / "out")
    assert len(folder.relative_to(tmp_path).parts) > DEPTH


def test_two_downloads_are_too_many_and_the_nearer_one_is_taken(tmp_path):
    for name in ("new", "old"):
        raw_layouts.mufac(tmp_path / name)
    with pytest.raises(DataError, match=r"several custom_train_dataset.csv: pass one of these as --raw: .*new.*old"):
        mufac.prepare(tmp_path, tmp_path / "out")
    with Download(tmp_path / "new") as download:
        assert download.find("custom_train_dataset.csv") == tmp_path / "new" / "mufac" / "custom_train_dataset.csv"


# A part of the photos


@pytest.mark.parametrize("name", LOADERS)
def test_partial_takes_the_photos_that_are_there(tmp_path, name, capsys):
    raw = LAYOUTS[name](tmp_path)
    LOADERS[name].prepare(raw, tmp_path / "all", size=8)
    gone = sorted(raw.rglob("*.jpg"))[::3]
    for photo in gone:
        photo.unlink()
    with pytest.raises(DataError, match=f"lacks {len(gone)} listed photos.* take those that are there with --partial"):
        LOADERS[name].prepare(raw, tmp_path / "some", size=8)
    arguments = [name, "--raw", str(raw), "--out", str(tmp_path / "some"), "--size", "8", "--partial"]
    assert command.main(arguments) == 0
    (images, index, _), (some, there, _) = load(tmp_path / "all"), load(tmp_path / "some")
    kept = ~index["image"].str.split("/").str[-1].isin([p.name for p in gone if name != "mufac"])
    kept &= ~index["image"].isin([f"{p.parent.name}/{p.name}" for p in gone])
    pd.testing.assert_frame_equal(there, index[kept].reset_index(drop=True))
    np.testing.assert_array_equal(some, images[kept])
    assert f"found {len(some):>7,}   listed {len(images):>9,}" in capsys.readouterr().out


def test_no_photo_at_all_is_no_part(tmp_path):
    raw = raw_layouts.celeba(tmp_path)
    for photo in (raw / "img_align_celeba").iterdir():
        photo.rename(photo.with_name(f"other_{photo.name}"))
    with pytest.raises(DataError, match="lacks 9 listed photos"):
        celeba.prepare(raw, tmp_path / "out", partial=True)


# Zips


def test_flipping_any_byte_of_a_zip_is_an_error_that_names_it_or_changes_nothing(tmp_path):
    content = b"000001.jpg 7\n" * 20
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        path, buffer = tmp_path / "lists.zip", io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("celeba/list.txt", content)
        whole, refused = buffer.getvalue(), 0
        for place in range(len(whole)):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
            try:
                with Download(path) as download:
                    (file,) = download.need("list.txt", where="elsewhere")
                    assert read(file) == content
            except DataError as error:
                assert str(path) in str(error)
                refused += 1
        assert refused > len(whole) / 3


def marked(archive: Path, *, flag: int = 0, method: int | None = None) -> Path:
    """Change what the last member of a zip says of itself: its flags, its method of compression."""
    data = bytearray(archive.read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 8] |= flag
    data[at + 10] = data[at + 10] if method is None else method
    archive.write_bytes(data)
    return archive


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"method": 9},
            r"packed with method 9 \(CelebAMask.*, such as Deflate64, which Python cannot unpack: unpack it",
        ),
        (
            {"flag": 1},
            r"is encrypted \(CelebAMask-HQ.*\): unpack it with the program that made it, and pass the folder",
        ),
    ],
)
@pytest.mark.parametrize("around", [True, False])
def test_zips_that_python_cannot_read_are_to_be_unpacked(tmp_path, change, message, around):
    zipped(raw_layouts.celebahq(tmp_path), keep="CelebAMask-HQ/")
    archive = marked(tmp_path / "CelebAMask-HQ.zip", **change)
    with pytest.raises(DataError, match=message):
        celebahq.prepare(tmp_path if around else archive, tmp_path / "out")


def test_a_real_archive_with_a_password_is_refused(tmp_path):
    if not (program := shutil.which("zip")):
        pytest.skip("no program zip here")
    folder = raw_layouts.mufac(tmp_path)
    subprocess.run([program, "-q", "-r", "-P", "secret", "locked.zip", folder.name], cwd=tmp_path, check=True)
    with pytest.raises(DataError, match="locked.zip is encrypted"):
        mufac.prepare(tmp_path / "locked.zip", tmp_path / "out")


def test_a_damaged_list_in_a_zip_is_named(tmp_path):
    zipped(raw_layouts.celebahq(tmp_path), keep="CelebAMask-HQ/")
    archive = tmp_path / "CelebAMask-HQ.zip"
    data = bytearray(archive.read_bytes())
    data[data.index(b"0.jpg 7")] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(DataError, match=r"CelebA-HQ-identity.txt is damaged in its zip \(Bad CRC-32.*the zip again"):
        celebahq.prepare(archive, tmp_path / "out")


def test_a_damaged_zip_beside_whole_files_stands_in_no_way(tmp_path):
    raw = raw_layouts.mufac(tmp_path)
    (raw / "holiday.zip").write_bytes(b"no zip")
    mufac.prepare(raw, tmp_path / "out", size=8)
    assert len(load(tmp_path / "out")[1]) == 12


# Photos as they are meant


def decoded(data: bytes, size: int = 32) -> np.ndarray:
    return photos._picture(data, size)


def png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_sixteen_bits_are_scaled(mode):
    ramp = np.repeat(np.linspace(0, 65535, 32).astype(np.uint16)[None], 32, axis=0)
    buffer = io.BytesIO()
    image = (
        Image.fromarray(ramp) if mode == "I;16" else Image.frombytes("I;16B", (32, 32), ramp.astype(">u2").tobytes())
    )
    image.save(buffer, "PNG" if mode == "I;16" else "TIFF")
    found = decoded(buffer.getvalue())
    assert np.abs(found.astype(int) - (ramp / 257)[..., None]).max() <= 0.51


@pytest.mark.parametrize("turn", range(1, 9))
def test_exif_orientation_is_obeyed(turn):
    corners = np.zeros((32, 32, 3), np.uint8)
    corners[:16, :16], corners[:16, 16:], corners[16:, :16] = [255, 0, 0], [0, 255, 0], [0, 0, 255]
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }  # fmt: skip
    image = Image.fromarray(corners)
    image, exif = image.transpose(undo[turn]) if turn > 1 else image, Image.Exif()
    exif[0x0112] = turn
    for kind in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        image.save(buffer, kind, exif=exif, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}))
        assert np.abs(decoded(buffer.getvalue()).astype(int) - corners).mean() < 3, kind


def test_broken_exif_data_says_nothing():
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), "red").save(buffer, "PNG", exif=b"Exif\0\0no exif at all")
    assert decoded(buffer.getvalue())[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L", "I;16"])
def test_what_is_transparent_is_white_whatever_colour_it_hides(mode):
    picture = np.full((32, 32, 4), [40, 40, 40, 255], np.uint8)
    picture[:, 16:] = [200, 200, 200, 0]
    image = Image.fromarray(picture)
    if mode in ("RGBA", "LA"):
        data = png(image.convert(mode))
    elif mode == "P":
        indexed = Image.fromarray((np.arange(32) >= 16).astype(np.uint8)[None].repeat(32, axis=0), "P")
        indexed.putpalette([40, 40, 40, 200, 200, 200])
        data = png(indexed, transparency=1)
    elif mode == "I;16":
        data = png(Image.fromarray(picture[..., 0].astype(np.uint16) * 257), transparency=200 * 257)
    else:
        data = png(image.convert("RGB").convert(mode), transparency=(200, 200, 200) if mode == "RGB" else 200)
    found = decoded(data)
    assert found[16, 4].tolist() == [40, 40, 40] and found[16, 28].tolist() == [255, 255, 255]


@pytest.mark.parametrize(("mode", "colour"), [("CMYK", (0, 255, 255, 0)), ("L", 76), ("P", None), ("RGB", (255, 0, 0))])
def test_other_modes_are_as_they_were(mode, colour):
    red = Image.new("RGB", (32, 32), "red")
    image = red.convert("P") if mode == "P" else Image.new(mode, (32, 32), colour)
    buffer = io.BytesIO()
    image.save(buffer, "PNG" if mode == "P" else "JPEG", **({} if mode == "P" else {"quality": 95}))
    wanted = [76, 76, 76] if mode == "L" else [255, 0, 0]
    assert np.abs(decoded(buffer.getvalue())[5, 5].astype(int) - wanted).max() < 4


# Two runs at once

SECOND = """
import sys
from pathlib import Path
from data_prep.prepared import DataError, writing
try:
    with writing(Path(sys.argv[1])):
        raise SystemExit("wrote")
except DataError as error:
    raise SystemExit(str(error))
"""


def second_run(out: Path) -> str:
    """What another process says that wants to write to `out` now."""
    line = [sys.executable, "-c", SECOND, str(out)]
    return subprocess.run(line, capture_output=True, text=True, check=False).stderr


def write_tiny(out: Path) -> None:
    about = Description(name="tiny", task="multilabel", classes=("a", "b"), size=4, licence="none", sources={})
    with writing(out) as folder:
        create_images(folder, 2, 4)[:] = 1
        finish(folder, pd.DataFrame({"image": ["x", "y"], "identity": [0, 1], "a": [0, 1], "b": [1, 1]}), about)


@pytest.mark.skipif(prepared.fcntl is None, reason="this system has no locks")
def test_the_lock_is_held_until_the_folder_is_in_place(tmp_path, monkeypatch):
    rename, said = Path.rename, []

    def watched(self, target):
        if self.name == ".tiny.partial":
            said.append(second_run(tmp_path / "tiny"))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    write_tiny(tmp_path / "tiny")
    assert len(said) == 1 and "is being written by another run" in said[0]
    assert {path.name for path in (tmp_path / "tiny").iterdir()} == {"images.npy", "index.csv", "dataset.json"}
    assert load(tmp_path / "tiny")[0].all() and {path.name for path in tmp_path.iterdir()} == {"tiny"}


@pytest.mark.skipif(prepared.fcntl is None, reason="this system has no locks")
def test_a_failing_run_removes_only_its_own_folder(tmp_path, monkeypatch):
    remove, said = shutil.rmtree, []

    def watched(path, *arguments, **options):
        said.append(second_run(tmp_path / "tiny"))
        remove(path, *arguments, **options)

    with pytest.raises(DataError, match="stop"), writing(tmp_path / "tiny"):
        monkeypatch.setattr(prepared.shutil, "rmtree", watched)
        raise DataError("stop")
    assert len(said) == 1 and "is being written by another run" in said[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(prepared.fcntl is None, reason="this system has no locks")
def test_a_lock_of_a_folder_that_has_moved_away_does_not_count(tmp_path, monkeypatch):
    acquire, times = prepared._acquire, []

    def late(file, partial):
        if not times:
            shutil.rmtree(partial)  # the other run has finished since the file was opened
        times.append(1)
        acquire(file, partial)

    monkeypatch.setattr(prepared, "_acquire", late)
    write_tiny(tmp_path / "tiny")
    assert len(times) == 2 and load(tmp_path / "tiny")[0].all()
