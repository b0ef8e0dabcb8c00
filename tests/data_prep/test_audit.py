"""The leakage audit finds every planted copy and nothing else, in linear time, and writes a clean data set."""

import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import raw_layouts
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_prep import audit as module
from data_prep import celebahq, faces, mufac, persons
from data_prep.audit import COPY, PLACES, audit, drop, groups, kept, main, read, summary
from data_prep.candidates import CROWD, MOST_BITS, ROUNDS, VIEWS, WORDS, hashes, near
from data_prep.prepared import DataError, create_images, finish, writing
from data_prep.same_photo import difference
from shui_lib.benchmark.data import load_faces

EACH = 12  # planted copies of each kind, every second one under another identity


def resized(image: np.ndarray, size: int) -> np.ndarray:
    """Made smaller, then brought back to size."""
    small = Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(small.resize(image.shape[:2], Image.Resampling.BICUBIC))


def cropped(image: np.ndarray, *box: float) -> np.ndarray:
    """The window left, top, right, bottom (fractions), brought back to size."""
    box = tuple(len(image) * edge for edge in box)
    return np.asarray(Image.fromarray(image).resize(image.shape[:2], Image.Resampling.BICUBIC, box=box))


def as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def lit(image: np.ndarray, gain: float) -> np.ndarray:
    """Brighter or darker; what leaves the range is clipped."""
    return np.clip(image * gain, 0, 255).astype(np.uint8)


COPIES = {
    "exact": lambda image: image,
    "jpeg": lambda image: as_jpeg(image, 80),
    "resized": lambda image: resized(image, 30),
    "cropped": lambda image: cropped(image, 0.04, 0.04, 0.96, 0.96),
    "cropped at a corner": lambda image: cropped(image, 0.06, 0.06, 1, 1),
    "cropped at a side": lambda image: cropped(image, 0.03, 0, 1, 1),
    "brighter": lambda image: lit(image, 1.25),
    "darker": lambda image: lit(image, 0.7),
    "mirrored": lambda image: image[:, ::-1],
    "mirrored, cropped, jpeg": lambda image: as_jpeg(cropped(image[:, ::-1], 0.02, 0.01, 0.97, 0.96), 85),
}


@dataclass(frozen=True, eq=False)
class Planted:
    """A prepared data set with copies at its end, and what there is to find."""

    folder: Path
    images: np.ndarray
    identity: np.ndarray
    kind: dict[tuple[int, int], str]  # (row, later row) -> how the later one was made


def plant(images: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, dict[tuple[int, int], str]]:
    """Copies to append, the rows they are made of, and all pairs; the last source has two copies."""
    source = np.random.default_rng(seed).permutation(len(images))[: EACH * len(COPIES)]
    made = [(row, kind) for row, kind in zip(source, np.repeat(list(COPIES), EACH), strict=True)]
    copies = np.array([COPIES[kind](images[row]) for row, kind in [*made, (source[-1], "exact")]])
    pairs = {(int(row), len(images) + number): kind for number, (row, kind) in enumerate(made)}
    last = len(images) + len(made)
    pairs |= {(int(source[-1]), last): "third of a group", (last - 1, last): "third of a group"}
    return copies, np.append(source, source[-1]), pairs


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    """The default rendered data set, all of it, with copies."""
    root = tmp_path_factory.mktemp("audit")
    faces.prepare(root / "faces")
    images, index, description, _ = read(root / "faces")
    copies, source, pairs = plant(images)
    owner = index["identity"].to_numpy()[source]
    owner = np.where(np.arange(len(source)) % 2, (owner + 7) % 200, owner)
    added = index.iloc[source].assign(image=[f"copy_{n}.png" for n in range(len(source))], identity=owner)
    whole = pd.concat([index, added], ignore_index=True)
    with writing(root / "planted") as partial:
        create_images(partial, len(whole), description.size)[:] = np.concatenate([images, copies])
        finish(partial, whole, description)
    images, index, *_ = read(root / "planted")
    return Planted(root / "planted", images, index["identity"].to_numpy(), pairs)


@pytest.fixture(scope="module")
def seen(planted) -> pd.DataFrame:
    """Copies and look-alikes."""
    return audit(planted.images, planted.identity, most=2 * COPY)


@pytest.fixture(scope="module")
def found(seen) -> pd.DataFrame:
    """The copies."""
    return seen[seen["difference"] < COPY].reset_index(drop=True)


def rows(pairs: pd.DataFrame) -> set[tuple[int, int]]:
    return set(zip(pairs["first"].tolist(), pairs["second"].tolist(), strict=True))


def frame(*pairs: tuple[int, int]) -> pd.DataFrame:
    return pd.DataFrame(pairs, columns=["first", "second"], dtype=np.int64)


# Rendered faces with planted copies


@pytest.mark.parametrize("kind", [*COPIES, "third of a group"])
def test_every_planted_copy_is_found(planted, found, kind):
    wanted = {pair for pair, how in planted.kind.items() if how == kind}
    assert len(wanted) == (2 if kind == "third of a group" else EACH)
    assert not wanted - rows(found)


def test_nothing_else_is_found(planted, found):
    assert not rows(found) - planted.kind.keys()
    assert not found.duplicated(["first", "second"]).any() and (found["first"] < found["second"]).all()
    assert len(planted.images) > 2700


def test_pairs_tell_who_is_shown_and_how_much_differs(planted, found):
    np.testing.assert_array_equal(found["identity_first"], planted.identity[found["first"]])
    np.testing.assert_array_equal(found["identity_second"], planted.identity[found["second"]])
    np.testing.assert_array_equal(found["same_identity"], found["identity_first"] == found["identity_second"])
    assert found["difference"].is_monotonic_increasing and found["difference"].max() < COPY
    how = [planted.kind[pair] for pair in zip(found["first"], found["second"], strict=True)]
    exact = found[[kind == "exact" for kind in how]]
    assert exact["difference"].max() < 0.005 and exact["bits"].max() == 0
    mirrored = {kind for kind, flag in zip(how, found["mirrored"], strict=True) if flag}
    assert mirrored == {"mirrored", "mirrored, cropped, jpeg", "third of a group"}


def test_look_alikes_are_seen_and_refused(planted, seen):
    others = seen[[pair not in planted.kind for pair in zip(seen["first"], seen["second"], strict=True)]]
    assert len(others) > 10 and others["difference"].min() > COPY
    assert others["same_identity"].mean() > 0.5, "most of the nearest show one person on two occasions"


def test_summary_counts_groups_within_and_across(planted, found):
    counts = summary(found, planted.identity)
    half = EACH // 2 * len(COPIES)
    assert counts.index.tolist() == list(PLACES)
    assert counts.loc["within an identity"].tolist() == [half, half, 2 * half, half]
    assert counts.loc["across identities"].tolist() == [half + 2, half, 2 * half + 1, 2 * half + 1]


def test_drop_writes_a_data_set_without_copies(planted, found, tmp_path):
    drop(planted.folder, tmp_path / "clean", found)
    clean, rest = load_faces(tmp_path / "clean"), kept(found, planted.identity)
    np.testing.assert_array_equal(clean.images, planted.images[rest])
    np.testing.assert_array_equal(clean.identity, planted.identity[rest])
    assert not len(audit(clean.images, clean.identity))
    assert load_faces(tmp_path / "clean").fingerprint != load_faces(planted.folder).fingerprint
    before, after = (json.loads((f / "dataset.json").read_text()) for f in (planted.folder, tmp_path / "clean"))
    told, counts = after["options"], summary(found, planted.identity)["dropped"]
    assert told["copies_dropped"] == counts.iloc[0] and told["dropped_across_identities"] == counts.iloc[1]
    assert before["images_sha256"].startswith(told["cleaned_from"])
    assert before["counts"]["images"] - after["counts"]["images"] == counts.sum()
    assert {k: v for k, v in told.items() if k in before["options"]} == before["options"]


# Groups


CASES = {
    "none": ([], [0, 0, 1], [1, 1, 1]),
    "pair": ([(0, 1)], [0, 0, 1], [1, 0, 1]),
    "across": ([(0, 2)], [0, 0, 1], [0, 1, 0]),
    "three ways": ([(0, 1), (0, 2), (1, 2)], [4, 4, 4], [1, 0, 0]),
    "chain": ([(2, 3), (0, 1), (1, 2)], [4, 4, 4, 4, 4], [1, 0, 0, 0, 1]),
    "chain that leaves the identity": ([(0, 1), (1, 2)], [4, 4, 5, 5], [0, 0, 0, 1]),
    "two groups": ([(0, 1), (2, 3)], [4, 4, 4, 5], [1, 0, 0, 0]),
}


@pytest.mark.parametrize("case", CASES)
def test_first_of_each_group_is_kept(case):
    pairs, identity, keep = CASES[case]
    assert kept(frame(*pairs), np.array(identity)).astype(int).tolist() == keep
    assert summary(frame(*pairs), np.array(identity))["dropped"].sum() == len(keep) - sum(keep)
    assert summary(frame(*pairs), np.array(identity))["pairs"].sum() == len(pairs)


def slow_groups(pairs: list[tuple[int, int]], count: int) -> list[int]:
    """The lowest number that can be reached from each picture."""
    lowest = list(range(count))
    for _ in range(count):
        for a, b in pairs:
            lowest[a] = lowest[b] = min(lowest[a], lowest[b])
    return lowest


@given(
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=14),
    st.lists(st.integers(0, 2), min_size=12, max_size=12),
)
def test_groups_and_what_is_kept_agree_with_the_slow_twin(pairs, identity):
    slow, identity = np.array(slow_groups(pairs, 12)), np.array(identity)
    fast = groups(frame(*pairs), 12)
    np.testing.assert_array_equal(fast[:, None] == fast, slow[:, None] == slow)
    members = {group: np.flatnonzero(slow == group) for group in set(slow.tolist())}
    keep = {group for group, rows in members.items() if len(set(identity[rows].tolist())) == 1}
    assert set(np.flatnonzero(kept(frame(*pairs), identity)).tolist()) == keep, "a group's number is its first row"


# The lookup


def random_hashes(count: int, seed: int = 0) -> np.ndarray:
    found = np.random.default_rng(seed).integers(0, 2**64, (count, VIEWS, WORDS), dtype=np.uint64)
    found[..., -1] &= np.uint64(2**32 - 1)  # 288 bits: the last word is half full
    return found


def flipped(hashes: np.ndarray, bits: int, generator: np.random.Generator) -> np.ndarray:
    """One hash, uint64 (WORDS,), with `bits` of it turned."""
    places = generator.choice(288, bits, replace=False)
    turned = hashes.copy()
    for place in places.tolist():
        turned[place // 64] ^= np.uint64(1 << place % 64)
    return turned


@pytest.mark.parametrize("count", [2, 3, 40, 3000])
def test_lookup_finds_near_hashes_and_their_view(count):
    generator, table = np.random.default_rng(1), random_hashes(count)
    wanted = {}
    for number, row in enumerate(range(0, min(count - 1, 400), 2)):
        bits, view = number % 30, number % VIEWS
        table[row + 1, 0] = flipped(table[row, view], bits, generator)
        wanted[row, row + 1] = bits
    found = near(table)
    assert {
        (a, b) if a < b else (b, a): d for a, b, d in np.stack([found.first, found.second, found.bits], 1).tolist()
    } == wanted
    seen = np.bitwise_count(table[found.first, found.view] ^ table[found.second, 0]).sum(axis=1)
    np.testing.assert_array_equal(seen, found.bits)


def test_lookup_agrees_with_all_pairs_on_pictures(planted):
    table = hashes(planted.images[-400:])
    apart = np.stack([np.bitwise_count(table[:, view, None] ^ table[None, :, 0]).sum(axis=-1) for view in range(VIEWS)])
    apart = np.minimum(apart.min(axis=0), apart.min(axis=0).T)
    wanted = {(a, b) for a, b in np.argwhere(apart <= MOST_BITS).tolist() if a < b}
    found = near(table)
    got = {(min(a, b), max(a, b)) for a, b in zip(found.first.tolist(), found.second.tolist(), strict=True)}
    assert got <= wanted
    sure = {(a, b) for a, b in wanted if apart[a, b] <= 36}  # beyond this a round may miss, on one view
    assert len(sure) > 10 and sure <= got


def test_comparisons_grow_with_the_number_of_pictures_not_its_square():
    few, many = near(random_hashes(500)).comparisons / 500, near(random_hashes(8000)).comparisons / 8000
    assert many < 1.5 * few, "sixteen times the pictures: as many comparisons for each"


def test_a_crowd_of_copies_stays_linear_and_whole():
    count = 20 * CROWD
    found = near(np.repeat(random_hashes(1), count, axis=0))
    assert found.comparisons <= count * VIEWS * ROUNDS * CROWD
    assert count - 1 <= len(found.first) <= count * CROWD
    pairs = frame(*zip(found.first.tolist(), found.second.tolist(), strict=True))
    assert len(set(groups(pairs, count).tolist())) == 1


# The look at the pixels


def test_empty_pictures_are_copies_and_noise_is_not():
    generator = np.random.default_rng(0)
    empty = np.full((4, 24, 24, 3), [[[[0]]], [[[255]]], [[[130]]], [[[131]]]], np.uint8)
    noise = generator.integers(0, 256, (2, 24, 24, 3), dtype=np.uint8)
    images = np.concatenate([empty, empty, noise])
    zero = np.zeros(1, np.int64)
    for row in range(4):
        assert difference(images, zero + row, zero + row + 4, zero)[0] < 0.05
    assert difference(images, zero + 8, zero + 9, zero)[0] > 0.5
    assert len(difference(images, zero[:0], zero[:0], zero[:0])) == 0


def test_a_small_change_in_one_place_is_no_copy(planted):
    images = np.array(planted.images[:20])
    changed = images.copy()
    changed[:, 30:40, 18:30] = np.roll(images, 1, axis=0)[:, 30:40, 18:30]  # the mouth of somebody else
    found = audit(np.concatenate([images, changed]), np.arange(40), most=1)
    differs = {(a, b): d for a, b, d in zip(found["first"], found["second"], found["difference"], strict=True)}
    mouths = [differs[row, row + 20] for row in range(20) if (row, row + 20) in differs]
    assert len(mouths) > 10 and np.mean(np.array(mouths) > COPY) > 0.5


# MUFAC


def test_mufac_can_be_audited_and_cleaned(tmp_path):
    raw = raw_layouts.mufac(tmp_path)
    photo = raw / "train_images" / "AGE_S_45.jpg"
    Image.open(photo).save(raw / "train_images" / "AGE_S_47.jpg", quality=60)  # the same person
    Image.open(photo).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(raw / "test_images" / "AGE_D_46.jpg")
    Image.open(raw / "val_images" / "AGE_D_46.jpg").save(raw / "val_images" / "AGE_D_48.jpg", quality=60)
    mufac.prepare(raw, tmp_path / "data")
    assert main([str(tmp_path / "data"), "--csv", str(tmp_path / "p.csv"), "--drop", str(tmp_path / "clean")]) == 0
    pairs = pd.read_csv(tmp_path / "p.csv")
    named = {frozenset(pair) for pair in zip(pairs["image_first"], pairs["image_second"], strict=True)}
    family = ["train_images/AGE_S_45.jpg", "train_images/AGE_S_47.jpg", "test_images/AGE_D_46.jpg"]
    own = ["val_images/AGE_D_46.jpg", "val_images/AGE_D_48.jpg"]
    assert named == {frozenset(own), *(frozenset({a, b}) for a in family for b in family if a != b)}
    left = set(pd.read_csv(tmp_path / "clean" / "index.csv")["image"])
    assert not left & {*family, own[1]} and own[0] in left and len(left) == 12 - 4
    clean = load_faces(tmp_path / "clean")
    assert len(clean) == 8 and not clean.multilabel and clean.name == "mufac"


@pytest.fixture
def families(tmp_path) -> Path:
    """MUFAC with one person under three names: two share a photo, two others another one, of another stated age."""
    raw = raw_layouts.mufac(tmp_path / "raw")
    first, second = "train_images/AGE_D_46.jpg", "train_images/AGE_D_48.jpg"  # h and d, of F0003 D
    raw_layouts.again(raw, "train", "F0004", "S", [(first, "h"), (second, "d")])
    raw_layouts.again(raw, "test", "F0009", "D2", [(second, "c")])
    own = raw / "val_images" / "AGE_S_45.jpg"  # one re-encoded photo in common is not enough
    Image.open(own).save(raw / "test_images" / "AGE_D_46.jpg", quality=60)
    mufac.prepare(raw, tmp_path / "families")
    return tmp_path / "families"


def test_a_person_under_three_names_becomes_one(families, tmp_path, capsys):
    before = pd.read_csv(families / "index.csv")
    assert before["identity"].nunique() == 8 and len(before) == 15
    assert main([str(families), "--merge", str(tmp_path / "one"), "--drop", str(tmp_path / "less")]) == 0
    said = capsys.readouterr().out
    after, dropped = (pd.read_csv(tmp_path / name / "index.csv") for name in ("one", "less"))
    of_three = before[before["image"].isin(["train_images/AGE_D_46.jpg", "train_images/AGE_D_48.jpg"])]
    assert of_three["identity"].nunique() == 1
    pd.testing.assert_frame_equal(after[after["image"].isin(of_three["image"])].reset_index(drop=True),
                                  of_three.reset_index(drop=True))  # fmt: skip
    assert len(after) == 15 - 3 - 2 and after["identity"].nunique() == 8 - 2, "one copy of each photo stays"
    assert len(dropped) == 15 - 5 - 2, "without merging the photos of all three are lost"
    assert "joined 3 identities into 1, at most 3 into one" in said
    assert "In 2 of 3 groups what is noted of the copies disagrees" in said
    told = json.loads((tmp_path / "one" / "dataset.json").read_text())["options"]
    assert (told["identities_merged"], told["copies_dropped"], told["dropped_across_identities"]) == (2, 3, 2)
    assert not len(audit(load_faces(tmp_path / "one").images, after["identity"].to_numpy()))


def test_a_stated_number_of_re_encoded_photos_joins_too(families, tmp_path, capsys):
    arguments = [str(families), "--merge", str(tmp_path / "one")]
    assert main([*arguments, "--shared", "1"]) == 0
    assert "joined 5 identities into 2" in capsys.readouterr().out
    assert pd.read_csv(tmp_path / "one" / "index.csv")["identity"].nunique() == 5
    assert main([*arguments, "--shared", "2"]) == 0
    assert "joined 3 identities into 1" in capsys.readouterr().out
    for wrong in (["--shared", "1"], ["--merge", str(tmp_path / "x"), "--shared", "0"]):
        with pytest.raises(SystemExit):
            main([str(families), *wrong])


def test_the_report_counts_kinds(families):
    images, index, *_ = read(families)
    counts = persons.by_kind(audit(images, index["identity"].to_numpy(), most=2 * COPY))
    assert counts.loc["byte-identical"].tolist() == [0, 1 + 3]
    assert counts.loc["re-encoded"].tolist() == [0, 1]


def test_empty_pictures_join_nobody():
    images = np.zeros((6, 16, 16, 3), np.uint8)
    identity = np.arange(6)
    pairs = audit(images, identity)
    assert len(pairs) and set(pairs["kind"]) == {"re-encoded"}
    np.testing.assert_array_equal(persons.joined(pairs, identity), identity)


def slow_persons(pairs: list[tuple[int, int, str]], identity: list[int], shared: int | None) -> list[int]:
    """The lowest identity that can be reached over identities with enough in common."""
    group = slow_groups([pair[:2] for pair in pairs], len(identity))
    links = []
    for one in set(identity):
        for other in set(identity) - {one}:
            common = [p for p in pairs if {identity[p[0]], identity[p[1]]} == {one, other}]
            photos = {group[p[0]] for p in common}
            if any(p[2] == "byte-identical" for p in common) or (shared and len(photos) >= shared):
                links.append((one, other))
    lowest = slow_groups(links, max(identity) + 1)
    return [min(i for i in set(identity) if lowest[i] == lowest[own]) for own in identity]


PAIRS = st.tuples(st.integers(0, 9), st.integers(0, 9), st.sampled_from(["byte-identical", "re-encoded"]))


@given(
    st.lists(PAIRS, max_size=9),
    st.lists(st.integers(0, 5), min_size=10, max_size=10),
    st.sampled_from([None, 1, 2]),
)
def test_persons_agree_with_the_slow_twin(pairs, identity, shared):
    table = pd.DataFrame(pairs, columns=["first", "second", "kind"]).astype({"first": np.int64, "second": np.int64})
    found = persons.joined(table, np.array(identity), shared=shared)
    assert found.tolist() == slow_persons(pairs, identity, shared)


def test_a_leak_is_what_is_counted_split_by_split():
    identity = np.repeat(np.arange(40), 5)
    twins = frame(*((row, row + 100) for row in range(0, 100, 5)))  # one photo of five of everybody
    forgotten, tested = persons.leak(twins, identity, asking=1)
    # The twin of an asking person is among the 23 or 24 of 39 others that stay; of a tested one among the 24 of 39.
    assert forgotten == pytest.approx(20 * 23 / 39, abs=2.5) and tested == pytest.approx(20 * 24 / 39, abs=1.5)
    assert persons.leak(frame(), identity) == (0, 0)
    own = frame(*((row, row + 1) for row in range(0, 200, 5)))
    assert persons.leak(own, identity) == (0, 0), "copies within an identity never cross"
    everything = frame(*((row, row + 100) for row in range(100)))
    assert persons.leak(everything, identity)[1] > 4 * tested


# The command


@pytest.fixture
def small(tmp_path) -> Path:
    """A prepared data set of 12 pictures, two of them copies."""
    faces.prepare(tmp_path / "small", identities=4, fewest=3, most=3, size=32)
    images, index, description, _ = read(tmp_path / "small")
    images = np.array(images)
    images[1] = images[0]
    with writing(tmp_path / "small") as partial:
        create_images(partial, 12, 32)[:] = images
        finish(partial, index, description)
    return tmp_path / "small"


def test_command_prints_a_table_and_writes_what_is_asked_for(small, tmp_path, capsys):
    assert main([str(small)]) == 0
    said = capsys.readouterr().out
    assert "12 images of 4 identities" in said
    assert [line.split()[-4:] for line in said.splitlines()[-4:-2]] == [["1", "1", "2", "1"], ["0", "0", "0", "0"]]
    assert {path.name for path in tmp_path.iterdir()} == {"small"}, "nothing is written unless asked for"
    assert main([str(small), "--csv", str(tmp_path / "new" / "p.csv"), "--drop", str(tmp_path / "clean")]) == 0
    assert pd.read_csv(tmp_path / "new" / "p.csv")["image_second"].tolist() == ["00000_001.png"]
    assert "clean: 11 images" in capsys.readouterr().out and len(load_faces(tmp_path / "clean")) == 11
    assert main([str(tmp_path / "clean"), "--drop", str(tmp_path / "again")]) == 0, "no copies is no error"
    assert len(load_faces(tmp_path / "again")) == 11
    assert {path.name for path in tmp_path.iterdir()} == {"small", "new", "clean", "again"}


BAD = {
    "missing": (lambda folder: (folder / "images.npy").unlink(), "lacks images.npy: prepare it"),
    "broken description": (lambda folder: (folder / "dataset.json").write_text("{"), "cannot be read"),
    "description of another kind": (lambda folder: (folder / "dataset.json").write_text("{}"), "cannot be read"),
    "half an array": (lambda folder: (folder / "images.npy").write_bytes(b"\x93NUMPY"), "cannot be read"),
    "other pixels": (
        lambda folder: np.save(folder / "images.npy", np.zeros((12, 8, 8, 3), np.uint8)),
        "expected uint8",
    ),
    "rows cut off": (lambda folder: cut(folder / "index.csv"), r"expected uint8 \(11, 32, 32, 3\)"),
    "other columns": (lambda folder: rename(folder / "index.csv"), "index.csv has"),
}


def cut(path: Path) -> None:
    path.write_text("\n".join(path.read_text().splitlines()[:-1]) + "\n")


def rename(path: Path) -> None:
    path.write_text(path.read_text().replace("identity", "person"))


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_named_with_the_mend(small, case, capsys):
    spoil, message = BAD[case]
    spoil(small)
    with pytest.raises(DataError, match=message):
        read(small)
    assert main([str(small)]) == 2
    said = capsys.readouterr().err
    assert str(small) in said and "prepare it with" in said and said.count("\n") == 1


def test_bad_targets_are_refused(small, tmp_path, capsys):
    before = load_faces(small).fingerprint
    assert main([str(small), "--drop", str(small / ".." / "small")]) == 2
    assert "name another folder" in capsys.readouterr().err and load_faces(small).fingerprint == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("keep me")
    assert main([str(small), "--drop", str(tmp_path / "mine")]) == 2
    assert "choose another --out" in capsys.readouterr().err and (tmp_path / "mine" / "thesis.txt").exists()
    assert main([str(small), "--csv", str(tmp_path / "mine")]) == 2
    assert "name a file in it" in capsys.readouterr().err
    with pytest.raises(DataError, match="mend the identities"):
        drop(small, tmp_path / "none", frame(*((0, row) for row in range(1, 12))))
    assert not (tmp_path / "none").exists()


def test_an_interrupted_drop_leaves_nothing(small, tmp_path, monkeypatch, capsys):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "finish", interrupt)
    assert main([str(small), "--drop", str(tmp_path / "clean")]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"small"}


# Real photos


def test_celebahq_photos_of_few_people_are_audited(real_data, tmp_path, capsys):
    """Those with 25 photos or more: what is found stays small, names are right, the cleaned set has no copies left."""
    celebahq.prepare(real_data, tmp_path / "hq", min_images=25)
    capsys.readouterr()
    assert main([str(tmp_path / "hq"), "--merge", str(tmp_path / "merged"), "--csv", str(tmp_path / "p.csv")]) == 0
    assert "joined 0 identities into 0" in capsys.readouterr().out, (
        "CelebA-HQ files nobody's photo twice, byte for byte"
    )
    pairs = pd.read_csv(tmp_path / "p.csv")
    faces, rest = load_faces(tmp_path / "hq"), load_faces(tmp_path / "merged")
    assert len(rest) == len(faces) - len(set(pairs.loc[pairs["kind"] != "similar only", "second"]))
