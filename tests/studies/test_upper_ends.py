"""Upper ends: the best place of each way, and whose photos an arm climbs."""

import pandas as pd
import pytest
from tiny import prepare_tiny

from shui_lib.methods.parts.kfac import Preconditioner, unpacked
from shui_lib.methods.parts.meta_gradient import loss_gradient, parameters
from shui_workbook.figures import plot_gain_by_handle
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies.upper_ends import (
    ARMS,
    BOTH_ENDS,
    COLUMNS,
    KEY,
    beside_handles,
    main,
    other_step,
    upper_ends,
    ways,
)

ABOUT = {"dataset": "faces", "preset": "cpu", "n_ids": 10, "gap": 9.0, "git": "abc"}


def way(arm: str, seed: int, tows: list[float]) -> pd.DataFrame:
    """A way whose losses tell the place: 1, 2, … points."""
    lines = [{"strength": k, "tow": tow, "retain": k, "forget": 2 * k, "test": 0} for k, tow in enumerate(tows)]
    return pd.DataFrame(lines).assign(arm=arm, seed=seed, **ABOUT)


def test_the_best_place_of_each_way_and_what_it_gains():
    curves = pd.concat([way("a", 0, [80, 85, 83]), way("a", 1, [90, 88, 70]), way("b", 0, [80, 79, 99])])
    found = upper_ends(curves).reset_index().set_index(["arm", "seed"])
    assert found["gain"].to_dict() == {("a", 0): 5, ("a", 1): 0, ("b", 0): 19}
    assert found["forget"].to_dict() == {("a", 0): 2, ("a", 1): 0, ("b", 0): 4}, "nothing is lost where nothing helps"
    assert found.loc[("b", 0), ["untouched", "tow"]].tolist() == [80, 99]


def test_gains_stand_beside_what_is_known_of_people(tmp_path):
    photo, person = BOTH_ENDS
    curves = pd.concat([way(photo, seed, [80, 82 + seed]) for seed in (0, 1)] + [way(person, 0, [80, 90])])
    ends = upper_ends(pd.concat([curves, curves.assign(dataset="ages", tow=80.0), curves.assign(dataset="unmeasured")]))
    known = pd.DataFrame({"dataset": ["faces", "ages"], "preset": "cpu", "held": [0.02, 0.01]})
    found = beside_handles(ends, known.assign(held_low=0.0, held_high=0.05))
    assert found["dataset"].tolist() == ["ages", "faces"], "who knows most comes last; without a handle nothing is said"
    assert found[[photo, person]].values.tolist() == [[0, 0], [2.5, 10]]
    assert found.loc[1, f"{photo}_low"] == pytest.approx(2.5 - 12.7062 * 0.5, abs=1e-3)
    left, right = plot_gain_by_handle(found)
    shown = [text.get_text() for text in left.get_yticklabels()]
    assert shown == ["ages, 10 people, cpu", "faces, 10 people, cpu"] and left.get_ylim() == (1.5, -0.5)
    assert [text.get_text() for text in right.get_legend().get_texts()] == [photo, person]


@pytest.fixture
def where(tmp_path):
    prepare_tiny(tmp_path / "data" / "tiny")
    return {"data_root": tmp_path / "data", "runs_root": tmp_path / "runs"}


def test_an_arm_climbs_what_its_form_is_given(where):
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, device="cpu", **where)
    found = {name: ways(one, ARMS[name]) for name in ("Curvature", "Curvature, the images to forget")}
    photo, person = found.values()
    assert photo.loc[0, "tow"] == person.loc[0, "tow"] == pytest.approx(one.tug_of_war("original"))
    shared = set(photo["strength"]) & set(person["strength"]) - {0}
    tows = [one.set_index("strength")["tow"] for one in found.values()]
    assert shared and all(tows[0][strength] != tows[1][strength] for strength in shared)


@pytest.mark.parametrize("kind", ["exact", "corrected", "others"])
def test_another_way_to_divide_is_another_step_uphill(where, kind):
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, device="cpu", **where)
    one = one.with_settings({"curvature": ARMS["Curvature, copies"].settings})
    step, model = other_step(one, kind), one.model("original")
    usual = Preconditioner(unpacked(one.artefacts("curvature").tensors, like=parameters(model)), damping=1.0)
    gradient = loss_gradient(model, parameters(model), one.part("support"))[2]

    def along(other):
        return sum((value * other[name]).sum() for name, value in step.items())

    assert along(gradient) > 0
    cosine = along(usual(gradient)) / (along(step) * sum((v * v).sum() for v in usual(gradient).values())).sqrt()
    assert 0.2 < cosine < 0.999


def test_ways_are_recorded_and_a_second_time_takes_their_place(where, tmp_path, capsys):
    words = ["--dataset", "tiny", "--n-ids", "2", "--preset", "smoke", "--reserved", "3", "--seeds", "0"]
    words += [word for name, path in where.items() for word in (f"--{name.replace('_', '-')}", str(path))]
    words += ["--results", str(tmp_path / "ends.csv"), "--arms", "gradient ascent", "Curvature"]
    main(words)
    first = pd.read_csv(tmp_path / "ends.csv")
    main(words)
    pd.testing.assert_frame_equal(first, pd.read_csv(tmp_path / "ends.csv"))
    assert first.columns.tolist() == COLUMNS and first.groupby(KEY).ngroups == 2
    assert "gradient ascent" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="no arm is called nonsense: there are gradient ascent"):
        main([*words[:-2], "nonsense"])
