"""The rendered faces: the same anywhere, readable where they should be and nowhere else."""

import json

import numpy as np
import pandas as pd
import pytest

from data_prep import faces


def sample(identities: int, photos: int, task: str = "attributes") -> tuple[pd.DataFrame, pd.DataFrame]:
    """Persons and occasions, `photos` rows for each of `identities` people."""
    persons = faces.people(np.repeat(range(identities), photos), seed=0, task=task)
    return persons, faces.occasions(persons, list(range(photos)) * identities, seed=0)


def test_pictures_do_not_depend_on_the_chunk() -> None:
    persons, moments = sample(8, 5)
    whole = faces.draw(persons, moments, 32, chunk=40)
    for chunk in (1, 7, None):
        np.testing.assert_array_equal(faces.draw(persons, moments, 32, chunk=chunk), whole)
    assert whole.shape == (40, 32, 32, 3) and whole.dtype == np.uint8


def test_more_people_do_not_alter_the_others() -> None:
    few, many = faces.people(range(3), seed=0), faces.people(range(50), seed=0)
    pd.testing.assert_frame_equal(few, many[:3])
    alone = faces.people([2], seed=0)
    pd.testing.assert_frame_equal(alone, many[2:3].reset_index(drop=True))
    assert not few.equals(faces.people(range(3), seed=1))
    moments = [faces.occasions(p, [4] * len(p), seed=0) for p in (alone, few)]
    pd.testing.assert_frame_equal(moments[0], moments[1][2:].reset_index(drop=True))


@pytest.mark.parametrize("task", ["attributes", "ages"])
def test_prepared_folder(tmp_path, task: str) -> None:
    settings = {"identities": 6, "size": 24, "seed": 3, "task": task, "fewest": 2, "most": 5}
    description = faces.prepare(tmp_path / "a", **settings)
    faces.prepare(tmp_path / "b", **settings)
    for name in ("images.npy", "index.csv", "dataset.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    images, index = np.load(tmp_path / "a" / "images.npy"), pd.read_csv(tmp_path / "a" / "index.csv")
    targets = list(faces.VISIBLE + faces.PERSONAL) if task == "attributes" else ["label"]
    assert list(index) == ["image", "identity", *targets]
    assert images.shape == (len(index), 24, 24, 3)
    assert index["identity"].nunique() == 6 and index.groupby("identity").size().between(2, 5).all()
    assert index["image"][0] == "00000_000.png" and index["image"].is_unique
    assert index[targets].to_numpy().max() <= (1 if task == "attributes" else 7)
    told = json.loads((tmp_path / "a" / "dataset.json").read_text())
    assert tuple(told["classes"]) == description.classes and told["sources"]["renderer"]


def test_more_identities_and_a_later_start_give_the_same_rows(tmp_path) -> None:
    settings = {"size": 16, "fewest": 2, "most": 4}
    faces.prepare(tmp_path / "all", identities=5, **settings)
    faces.prepare(tmp_path / "late", identities=2, first_identity=3, **settings)
    whole, late = (pd.read_csv(tmp_path / name / "index.csv") for name in ("all", "late"))
    rows = (whole["identity"] >= 3).to_numpy()
    pd.testing.assert_frame_equal(whole[rows].reset_index(drop=True), late)
    images = np.load(tmp_path / "all" / "images.npy")[rows]
    np.testing.assert_array_equal(images, np.load(tmp_path / "late" / "images.npy"))


@pytest.mark.parametrize(
    ("factor", "low", "high", "rows"),
    [
        ("glasses", 0.0, 1.0, slice(10, 40)),
        ("hat", 0.0, 1.0, slice(0, 28)),
        ("smile", -0.25, 0.9, slice(10, 48)),
        ("mouth_open", 0.0, 0.9, slice(28, 48)),
        ("beard", 0.0, 1.0, slice(18, 48)),
        ("earrings", 0.0, 1.0, slice(20, 44)),
        ("hair_length_now", 0.1, 0.9, slice(0, 48)),
        ("yaw", -0.4, 0.4, slice(0, 48)),
        ("light_x", -0.9, 0.9, slice(0, 48)),
        ("back_tone", 0.0, 0.9, slice(0, 48)),
    ],
)
def test_one_factor_alone_changes_the_picture_where_it_should(factor, low, high, rows) -> None:
    persons, moments = sample(12, 1)
    moments = moments.assign(hat=0.0, beard=0.0, pitch=0.0, roll=0.0, shift_y=0.0, light_strength=0.2)
    pictures = [faces.draw(persons, moments.assign(**{factor: value}), 48).astype(int) for value in (low, high)]
    changed = np.abs(pictures[1] - pictures[0]).max(axis=3) > 12  # (12, 48, 48)
    assert (changed.sum(axis=(1, 2)) >= 4).all()
    assert changed[:, rows].sum() >= 0.97 * changed.sum()


def test_personal_labels_are_fixed_and_independent_of_what_is_seen() -> None:
    persons, moments = sample(2000, 1)
    table = faces.attributes(persons, moments, seed=0)
    both = np.corrcoef(table.to_numpy().T)
    cross = np.abs(both[len(faces.VISIBLE) :, : len(faces.VISIBLE)])
    assert cross.max() < 0.1
    later = faces.attributes(persons, faces.occasions(persons, [9] * 2000, seed=0), seed=0)
    personal = list(faces.PERSONAL)
    pd.testing.assert_frame_equal(table[personal], later[personal])
    assert table.mean().between(0.05, 0.75).all()


def test_label_noise_has_its_rate(tmp_path) -> None:
    faces.prepare(tmp_path / "d", identities=300, size=16, fewest=3, most=3)
    targets = pd.read_csv(tmp_path / "d" / "index.csv")[list(faces.VISIBLE + faces.PERSONAL)]
    true = faces.attributes(*sample(300, 3), seed=0)
    assert (targets != true).to_numpy().mean() == pytest.approx(faces.LABEL_NOISE, abs=0.006)


def test_noise_ceiling_is_what_the_truth_scores() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(200_000) < 0.3
    targets = truth ^ (rng.random(len(truth)) < 0.03)
    ranked = targets[np.lexsort((rng.random(len(truth)), ~truth))]
    precision = np.cumsum(ranked) / np.arange(1, len(ranked) + 1)
    assert precision[ranked].mean() == pytest.approx(faces.noise_ceiling(0.3), abs=0.003)
    assert faces.noise_ceiling(0.4, noise=0) == pytest.approx(1)


def test_ages_span_few_neighbouring_classes_and_all_of_them() -> None:
    persons, moments = sample(300, 6, "ages")
    label = np.searchsorted(faces.AGE_FROM, np.floor(moments["age"]), side="right") - 1
    span = pd.Series(label).groupby(persons["identity"]).agg(np.ptp)
    assert set(label) == set(range(8)) and span.max() <= 2 and (span > 0).mean() > 0.2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"identities": 0}, "at least 1"),
        ({"first_identity": -1}, "first_identity"),
        ({"seed": -1}, "seed=-1: use 0 or more"),
        ({"size": 8}, "16 or more"),
        ({"task": "moods"}, "unknown task 'moods'"),
        ({"fewest": 5, "most": 4}, "fewest <= most"),
    ],
)
def test_errors_name_the_mend_and_leave_nothing(tmp_path, change: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        faces.prepare(tmp_path / "d", **({"identities": 1, "size": 16} | change))
    assert not list(tmp_path.iterdir())


def test_frames_must_match() -> None:
    persons, moments = sample(2, 2)
    with pytest.raises(ValueError, match="one occasion"):
        faces.draw(persons, moments[:3], 16)
    with pytest.raises(ValueError, match="one for each row"):
        faces.occasions(persons, [0], seed=0)
    with pytest.raises(ValueError, match="negative"):
        faces.people([-1], seed=0)
