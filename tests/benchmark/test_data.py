"""Views of faces, pixels, augmentation, and what is said about a folder that cannot be opened."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import CLASSES, prepare_tiny, small_vit, tiny_faces
from torchvision.transforms import v2

from data_prep import __main__ as command
from shui_lib.benchmark import data, predict, train
from shui_lib.benchmark.data import AUGMENT, Faces, augment, folder_of, load_faces
from shui_lib.benchmark.presets import preset_named
from shui_lib.core.randomness import draw_seed
from shui_lib.core.store import CorruptFile, checksum


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# Views


INDICES = {
    "slice": slice(2, 9, 3),
    "positions": np.array([5, 0, 5]),
    "mask": np.arange(40) % 3 == 0,
    "tensor": torch.tensor([7, 1]),
    "nothing": np.array([], dtype=int),
}


@pytest.mark.parametrize("index", INDICES.values(), ids=INDICES)
def test_a_view_holds_the_rows_asked_for_and_no_copy_of_the_images(index):
    faces = tiny_faces(8, (5, 5))
    positions = np.arange(40)[index]
    view = faces[index]
    assert len(view) == len(positions)
    assert np.shares_memory(view.images, faces.images)
    assert np.array_equal(view.rows, positions)
    assert np.array_equal(view.identity, faces.identity[positions])
    assert torch.equal(view.targets, faces.targets[torch.from_numpy(positions)])
    assert torch.equal(view.pixels(), faces.pixels()[torch.from_numpy(positions)])


def test_a_view_of_a_view():
    faces = tiny_faces(8, (5, 5))
    assert np.array_equal(faces[slice(10, 30)][np.array([3, 1])].rows, [13, 11])


def test_of_takes_all_images_of_the_identities():
    faces = tiny_faces(8, (5, 5))
    assert np.array_equal(faces.of(np.array([6, 2])).identity, [2] * 5 + [6] * 5)
    assert len(faces.of(np.array([99]))) == 0


def test_in_memory_holds_its_own_images_only():
    faces = tiny_faces(8, (5, 5))
    alone = faces[slice(5, 8)].in_memory()
    assert alone.images.shape == (3, 16, 16, 3)
    assert not np.shares_memory(alone.images, faces.images)
    assert torch.equal(alone.pixels(), faces[slice(5, 8)].pixels())


def test_batches_say_how_far_they_are_where_somebody_asks(monkeypatch):
    told = []

    class Bar:
        update, close = told.append, lambda self=None: told.append("closed")

    monkeypatch.setattr(data, "progress", lambda **options: told.append((options["desc"], options["total"])) or Bar)
    faces = tiny_faces()[:10]
    assert [len(part) for part in faces.batches(4)] == [4, 4, 2] and not told
    assert [len(part) for part in faces.batches(4, shown="grams")] == [4, 4, 2]
    assert told == [("grams", 10), 4, 4, 2, "closed"]
    told.clear()
    next(faces.batches(4, shown="grams"))
    assert told == [("grams", 10), "closed"], "whoever stops early leaves no bar behind"


def test_batches_are_in_order_and_complete():
    faces = tiny_faces(8, (5, 5))
    parts = list(faces.batches(16))
    assert [len(part) for part in parts] == [16, 16, 8]
    assert np.array_equal(np.concatenate([part.rows for part in parts]), faces.rows)


def test_the_task_shows_in_the_targets():
    attributes, classes = tiny_faces(), tiny_faces(multilabel=False)
    assert attributes.multilabel and attributes.targets.shape == (len(attributes), 3)
    assert not classes.multilabel and classes.targets.dtype == torch.long
    assert attributes.target_matrix is attributes.targets
    assert torch.equal(classes.target_matrix.argmax(1), classes.targets) and classes.target_matrix.sum() == len(classes)


# Pixels


def test_pixels_are_normalised_with_mean_and_std_one_half():
    faces = tiny_faces()
    pixels = faces.pixels()
    expected = (faces.images / 255 - 0.5) / 0.5
    assert pixels.shape == (len(faces), 3, 16, 16) and pixels.dtype == torch.float32
    np.testing.assert_allclose(pixels.permute(0, 2, 3, 1), expected, atol=1e-6)


@pytest.mark.parametrize("size", [8, 24])
def test_pixels_in_another_size_keep_the_mean_colour(size):
    faces = tiny_faces()
    resized = faces.pixels(size=size)
    assert resized.shape == (len(faces), 3, size, size)
    torch.testing.assert_close(resized.mean((2, 3)), faces.pixels().mean((2, 3)), atol=0.05, rtol=0)


# Augmentation


def ramps(n: int, size: int = 32) -> torch.Tensor:
    """(n, 3, size, size), from -1 at the left edge to 1 at the right edge."""
    centres = (2 * torch.arange(size) + 1) / size - 1
    return centres.expand(n, 3, size, size).clone()


@pytest.mark.parametrize("crop", [0.08, 0.5, 1.0])
def test_a_crop_of_a_ramp_is_a_ramp_of_allowed_width(crop):
    found = augment(ramps(200), size=16, crop=crop, flip=True, generator=generator())
    slope = found.diff(dim=3)[:, :, :, 2:-2]  # the border may reflect half a pixel
    width = slope.mean((1, 2, 3)).abs() * 16 / 2  # share of the image's width
    torch.testing.assert_close(slope, slope.mean((1, 2, 3), keepdim=True).expand_as(slope), atol=1e-4, rtol=0)
    assert found.abs().max() <= 1
    assert width.max() <= 1 + 1e-4
    assert width.min() >= (crop * 3 / 4) ** 0.5 - 1e-4
    assert crop == 1 or width.min() < 1 - (1 - crop) / 4  # it does crop


def test_about_half_are_mirrored():
    found = augment(ramps(400), size=16, crop=0.9, flip=True, generator=generator())
    mirrored = found[:, 0, 8, 0] > found[:, 0, 8, -1]
    assert 0.42 < mirrored.float().mean() < 0.58


def test_nothing_is_mirrored_where_it_may_not_be():
    x = ramps(400)
    straight = augment(x, size=16, crop=0.9, flip=False, generator=generator())
    assert (straight[:, 0, 8, 0] < straight[:, 0, 8, -1]).all()
    other = augment(x, size=16, crop=0.9, flip=True, generator=generator())
    mirrored = other[:, 0, 8, 0] > other[:, 0, 8, -1]
    torch.testing.assert_close(other[~mirrored], straight[~mirrored])  # the crops are the same


@pytest.mark.parametrize("flip", [True, False])
def test_training_and_attack_mirror_only_what_may_be_mirrored(flip, monkeypatch):
    asked, faces = [], replace(tiny_faces(), flip=flip)

    def spy(x, **options):
        asked.append(options["flip"])
        return augment(x, **options)

    monkeypatch.setattr(predict, "augment", spy)
    monkeypatch.setitem(train.AUGMENT, "batched", spy)
    model = small_vit()
    predict.pixels_for(model, faces, crop=0.9, generator=generator())
    predict.query_losses(model, faces, queries=1, crop=0.9, generator=generator(), batch=100)
    config = preset_named("smoke").train
    train.fit(model, faces, faces, config, seed=0)
    assert len(asked) >= 3 and set(asked) == {flip}


def boxes(name: str, crop: float, n: int = 1500) -> torch.Tensor:
    """Width and height (n, 2) of crops as shares of the image, from a ramp in each direction."""
    across = ramps(n, 64)[:, :1]
    x = torch.cat([across, across.transpose(2, 3), across], dim=1)
    found = AUGMENT[name](x, size=16, crop=crop, flip=False, generator=generator())
    sides = [found[:, 0].diff(dim=2)[:, :, 4:-4], found[:, 1].diff(dim=1)[:, 4:-4]]
    return torch.stack([side.mean((1, 2)).abs() * 16 / 2 for side in sides], dim=1)


def test_torchvision_draws_crops_again_where_ours_cuts_them():
    """The figures of D23, and that theirs are torchvision's own boxes."""
    shares = {name: boxes(name, 0.08) for name in AUGMENT}
    area = {name: share.prod(1).mean().item() for name, share in shares.items()}
    assert area == pytest.approx({"batched": 0.53, "torchvision": 0.48}, abs=0.02)
    full = {name: (share > 0.985).any(1).float().mean().item() for name, share in shares.items()}
    assert full["batched"] > 0.14 and full["torchvision"] < 0.08  # a ramp tells sides of 98.5 % and more


def test_the_torchvision_transform_is_torchvisions():
    x = tiny_faces().pixels()
    found = AUGMENT["torchvision"](x, size=12, crop=0.3, flip=True, generator=generator(1))
    seed = draw_seed(generator(1))
    both = v2.Compose([v2.RandomResizedCrop(12, scale=(0.3, 1.0), antialias=True), v2.RandomHorizontalFlip()])
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        expected = torch.stack([both(image) for image in x])
    assert torch.equal(found, expected) and found.shape == (len(x), 3, 12, 12)
    straight = AUGMENT["torchvision"](x, size=12, crop=1.0, flip=False, generator=generator(1))
    assert straight.shape == found.shape


def test_a_constant_image_stays_as_it_is():
    colours = torch.rand(20, 3, 1, 1, generator=generator()).expand(20, 3, 16, 16)
    torch.testing.assert_close(augment(colours, size=16, crop=0.3, flip=True, generator=generator()), colours)


def test_augmentation_follows_its_generator_and_no_other_randomness():
    x = tiny_faces().pixels()
    once = augment(x, size=12, crop=0.5, flip=True, generator=generator(1))
    torch.manual_seed(99)
    assert torch.equal(augment(x, size=12, crop=0.5, flip=True, generator=generator(1)), once)
    assert not torch.equal(augment(x, size=12, crop=0.5, flip=True, generator=generator(2)), once)
    assert once.shape == (len(x), 3, 12, 12)


# Folders


@pytest.fixture
def folder(tmp_path):
    return prepare_tiny(tmp_path / "tiny", identities=6)


def edit_index(folder, edit):
    index = pd.read_csv(folder / "index.csv")
    edit(index).to_csv(folder / "index.csv", index=False)


def test_a_prepared_folder_opens_without_reading_its_images(folder):
    faces = load_faces(folder)
    index = pd.read_csv(folder / "index.csv")
    assert isinstance(faces.images, np.memmap)
    assert (faces.name, faces.classes, faces.size) == ("tiny", CLASSES, 16)
    assert np.array_equal(faces.identity, index["identity"])
    assert np.array_equal(faces.targets, index[list(CLASSES)])


def test_a_folder_of_classes(folder):
    about = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(about | {"task": "multiclass"}))
    edit_index(folder, lambda index: index.assign(label=index["red"] + index["bright"]))
    faces = load_faces(folder)
    assert not faces.multilabel and set(faces.targets.tolist()) == {0, 1, 2}


def test_a_folder_says_whether_its_pictures_may_be_mirrored(folder):
    about = json.loads((folder / "dataset.json").read_text())
    assert "flip" not in about and load_faces(folder).flip, "face sets, and folders of before, do not say it"
    (folder / "dataset.json").write_text(json.dumps(about | {"flip": False}))
    faces = load_faces(folder)
    assert not (faces.flip or faces[:3].flip or faces.in_memory().flip)


@pytest.mark.parametrize("name", ["images.npy", "index.csv", "dataset.json"])
def test_a_missing_file_is_named_with_the_command_that_makes_it(folder, name):
    (folder / name).unlink()
    with pytest.raises(FileNotFoundError, match=rf"lacks {name}: prepare it with `python -m data_prep") as caught:
        load_faces(folder)
    advised = re.search(r"`python -m data_prep (faces [^`]*)`", str(caught.value))[1]
    assert command._parser().parse_args(advised.split()).out == folder, "the advice is a command that there is"


def test_a_folder_that_is_not_there_is_named_in_full(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=rf"^{re.escape(str(tmp_path / 'data' / 'faces'))} lacks images.npy"):
        load_faces("data/faces")


def test_files_that_disagree_are_refused(folder):
    images = len(pd.read_csv(folder / "index.csv"))
    edit_index(folder, lambda index: index.iloc[:-1])
    with pytest.raises(ValueError, match=f"holds {images} images, index.csv {images - 1} rows"):
        load_faces(folder)


@pytest.mark.parametrize(
    ("task", "edit", "message"),
    [
        ("multilabel", lambda i: i.assign(red=2 * i["red"] - 1), "targets other than 0 and 1 in [0-9]+ rows, row"),
        ("multilabel", lambda i: i.assign(red=i["red"].where(i.index != 3)), "targets .* in 1 rows, row 3 the first"),
        ("multiclass", lambda i: i.assign(label=i["red"] + 2), "targets outside 0 … 2, or no whole numbers, in [0-9]+"),
        ("multiclass", lambda i: i.assign(label=i["red"] - 1), "targets outside 0 … 2"),
        ("multiclass", lambda i: i.assign(label=i["red"] + 0.5), "targets .* no whole numbers"),
        ("multiclass", lambda i: i.assign(label=0, identity=i["identity"] + 0.5), "identities .* no whole numbers"),
    ],
)
def test_an_index_that_was_edited_into_nonsense_is_refused(folder, task, edit, message):
    """CelebA writes −1 for "no": taken as a target, it trains without a word."""
    about = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(about | {"task": task}))
    edit_index(folder, edit)
    with pytest.raises(ValueError, match=f"index.csv has {message}"):
        load_faces(folder)


def test_one_identity_is_refused(folder):
    edit_index(folder, lambda index: index.assign(identity=0))
    with pytest.raises(ValueError, match="one identity only"):
        load_faces(folder)


def test_fingerprint_changes_with_description_and_index(folder):
    before = load_faces(folder).fingerprint
    assert load_faces(folder).fingerprint == before and len(before) == 16
    edit_index(folder, lambda index: index.assign(identity=index["identity"][::-1].to_numpy()))
    relabelled = load_faces(folder).fingerprint
    about = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(about | {"licence": "another"}))
    assert len({before, relabelled, load_faces(folder).fingerprint}) == 3


def test_fingerprint_changes_when_the_same_rows_are_drawn_anew(folder, tmp_path):
    other = prepare_tiny(tmp_path / "other", identities=6, seed=1)
    assert load_faces(other).fingerprint != load_faces(folder).fingerprint


# Content


def test_a_cut_or_half_zeroed_image_file_is_named(folder):
    path = folder / "images.npy"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] + bytes(len(whole) - len(whole) // 2))
    with pytest.raises(CorruptFile, match=r"images.npy is not what was prepared .*: prepare the folder again"):
        load_faces(folder)
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFile, match=r"images.npy is damaged .*: prepare the folder again"):
        load_faces(folder)
    path.write_bytes(whole)
    assert len(load_faces(folder))


@pytest.mark.parametrize("change", [lambda x: x.astype(np.uint16), lambda x: x[:, ::2, ::2]], ids=["dtype", "size"])
def test_images_of_another_type_or_size_are_refused(folder, change):
    np.save(folder / "images.npy", change(np.load(folder / "images.npy")))
    with pytest.raises(ValueError, match=r"images.npy is uint\d+ \(.*\), expected uint8 \(.*, 16, 16, 3\)"):
        load_faces(folder)


def test_content_is_read_once_after_preparing(folder, monkeypatch):
    mark, read = load_faces(folder).fingerprint, []
    monkeypatch.setattr("shui_lib.benchmark.data.checksum", lambda path: read.append(path) or checksum(path))
    data._checksum.cache_clear()  # as in another process
    assert load_faces(folder).fingerprint == mark and not read
    images = np.load(folder / "images.npy", mmap_mode="r+")
    images[0, 0, 0, 0] ^= 1
    images.flush()
    with pytest.raises(CorruptFile, match="not what was prepared"):
        load_faces(folder)
    assert read == [folder / "images.npy"]


def test_the_fingerprint_follows_the_content_of_a_data_set_without_a_checksum(folder):
    about = json.loads((folder / "dataset.json").read_text())
    del about["images_sha256"]
    (folder / "dataset.json").write_text(json.dumps(about))
    before = load_faces(folder).fingerprint
    np.save(folder / "images.npy", 255 - np.load(folder / "images.npy"))
    assert load_faces(folder).fingerprint != before


@pytest.mark.parametrize("name", ["", ".", "..", "./few", "few/", "/few", "a/b", "a\\b", " few"])
def test_a_data_set_is_one_plain_folder_name(tmp_path, name):
    with pytest.raises(ValueError, match="is no plain folder name: name a folder of"):
        folder_of(tmp_path, name)
    assert folder_of(tmp_path, "few") == tmp_path / "few"


def test_a_crop_does_not_alias():
    """A pattern finer than the result can show becomes grey, as it does in evaluation."""
    faces = tiny_faces(4, size=64)
    noise = np.random.default_rng(0).integers(0, 256, faces.images.shape, dtype=np.uint8)
    faces = replace(faces, images=noise)
    cropped = augment(faces.pixels(), size=16, crop=0.9, flip=True, generator=generator())
    assert cropped.std().item() == pytest.approx(faces.pixels(size=16).std().item(), rel=0.15)


def test_a_name_is_not_assumed():
    faces = tiny_faces()
    assert Faces(faces.images, faces.rows, faces.identity, faces.targets, faces.classes).name == ""
