"""Upper ends: the best place of each way, and whose photos an arm climbs."""

from functools import partial
from itertools import combinations

import pandas as pd
import pytest
import torch

from shui_lib.methods.parts.copies import copies_of
from shui_lib.methods.parts.kfac import Preconditioner, unpacked
from shui_lib.methods.parts.meta_gradient import inner_product, parameters
from shui_workbook.figures import plot_gain_by_handle
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies import handle
from shui_workbook.studies import upper_ends as module
from shui_workbook.studies.climbs import answers, climbed
from shui_workbook.studies.sharpen import FEATURES, sharpened_by
from shui_workbook.studies.steps import DividedInBasis, KroneckerBasis, corrected_eigenvalues
from shui_workbook.studies.upper_ends import (
    ARMS,
    BOTH_ENDS,
    COLUMNS,
    CURVE,
    KEY,
    beside_handles,
    main,
    other_step,
    own_step,
    read,
    some_each,
    strangers,
    upper_ends,
    ways,
)

ABOUT = {"dataset": "faces", "preset": "cpu", "n_ids": 10, "damping": 1.0, "gap": 9.0, "git": "abc"}


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


def test_the_best_place_may_be_of_any_damping():
    curves = pd.concat([way("a", 0, [80, 85]), way("a", 0, [80, 83, 87]).assign(damping=0.05)])
    found = upper_ends(curves)
    assert found["damping"].tolist() == [0.05] and found["gain"].tolist() == [7]


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


def test_a_way_is_that_of_the_form_at_every_strength(where):
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, device="cpu", **where)
    arm = ARMS["Curvature"]
    both = ways(one, arm, (1.0, 0.05))
    assert both["damping"].unique().tolist() == [1.0, 0.05]
    found = both[both["damping"] == 1.0].set_index("strength")
    assert found.loc[0, "tow"] == pytest.approx(one.tug_of_war("original"))
    step = own_step(one.with_settings({arm.form: {**arm.settings, "loss": "task"}}), arm.form)
    length = inner_product(step, step).sqrt().item()
    strength = found.index[-1]
    there = one.with_settings({arm.form: {**arm.settings, "eta": arm.settings["eta"] * strength / length}})
    assert found.loc[strength, "tow"] == pytest.approx(there.tug_of_war("curvature"), abs=0.5)


def test_an_arm_climbs_what_its_form_is_given(where):
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, device="cpu", **where)
    photo, person = (own_step(one, ARMS[name].form) for name in ("Curvature", "Curvature, the images to forget"))
    cosine = inner_product(photo, person) / (inner_product(photo, photo) * inner_product(person, person)).sqrt()
    assert 0 < cosine < 0.99


def test_other_steps_are_of_the_same_copies_or_of_strangers(where):
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, device="cpu", **where)
    one = one.with_settings({"curvature": ARMS["Curvature, copies"].settings})
    method, model = one.method("curvature"), one.model("original")
    factors = unpacked(one.artefacts("curvature").tensors, like=parameters(model))
    basis, draws = KroneckerBasis(factors), partial(torch.Generator().manual_seed, 0)
    measured = corrected_eigenvalues(model, one.part("train"), basis, generator=draws())
    ways_to_divide = {
        "exact": (DividedInBasis(basis, basis.products, damping=1.0), one.part("support")),
        "corrected": (DividedInBasis(basis, measured, damping=1.0), one.part("support")),
        "strangers": (Preconditioner(factors, damping=1.0), strangers(one)),
        "three": (Preconditioner(factors, damping=1.0), some_each(one.part("forget"), 3)),
    }
    found = {kind: other_step(one, kind) for kind in ways_to_divide}
    for kind, (divide, photos) in ways_to_divide.items():
        for name, value in divide(method.gradient(model, photos, generator=draws())).items():
            torch.testing.assert_close(found[kind][name], value)
    found["usual"] = ways_to_divide["strangers"][0](method.gradient(model, one.part("support"), generator=draws()))
    for step, other in combinations(found.values(), 2):
        cosine = inner_product(step, other) / (inner_product(step, step) * inner_product(other, other)).sqrt()
        assert cosine < 0.999, "another step"


def test_other_steps_are_of_other_gradients_of_the_same_copies(where):
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, device="cpu", **where)
    one = one.with_settings({"curvature": ARMS["Curvature, copies"].settings})
    method, model, photos = one.method("curvature"), one.model("original"), one.part("support")
    factors = unpacked(one.artefacts("curvature").tensors, like=parameters(model))
    divide, draws = Preconditioner(factors, damping=1.0), partial(torch.Generator().manual_seed, 0)
    others = sharpened_by(method, model, factors, one.part("retain"), generator=draws(), places=(FEATURES,))
    usual = method.gradient(model, photos, generator=draws())
    with others.displacements[FEATURES].added(1.0, draws()):
        moved = method.gradient(model, photos, generator=draws())
    copies = copies_of(photos, model, copies=16, crop=method.crop, generator=draws())
    steps = {"filtered": others.wiener(usual), "moved": moved, "answers": climbed(model, copies, answers)}
    for kind, gradient in steps.items():
        expected, as_ever = divide(gradient), divide(usual)
        found = other_step(one, kind)
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value)
        assert any(not torch.equal(found[name], value) for name, value in as_ever.items()), "another step"


def test_strangers_are_as_many_people_as_ask(where):
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, device="cpu", **where)
    assert len(set(strangers(one).identity)) == len(strangers(one)) == 2
    assert not set(strangers(one).identity) & set(one.part("train").identity)
    most = len(set(one.part("val").identity))
    everybody = Experiment(dataset="tiny", n_ids=most + 1, preset="smoke", reserved=most + 1, device="cpu", **where)
    with pytest.raises(ValueError, match=f"tiny: validation has {most} people, and {most + 1} ask"):
        strangers(everybody)


def test_some_images_of_everybody(where):
    faces = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, device="cpu", **where).part("forget")
    counts = pd.Series(faces.identity).value_counts()
    found = pd.Series(some_each(faces, 3).identity).value_counts()
    assert found.to_dict() == counts.clip(upper=3).to_dict() and counts.max() > 3


def test_where_images_have_classes_every_arm_takes_the_same_loss(where, monkeypatch):
    seen = {}
    monkeypatch.setattr(module, "own_step", lambda asked, form: seen.setdefault(form, asked.method(form).loss))
    monkeypatch.setattr(module, "along", lambda asked, step: pd.DataFrame())
    one = Experiment(dataset="tiny", n_ids=2, preset="smoke", reserved=3, device="cpu", **where)
    forms = {arm.form: arm for arm in ARMS.values() if not arm.step and arm.form != "meta_unlearn"}
    for multilabel, loss in ((True, "task"), (False, "unlikelihood")):
        seen.clear()
        monkeypatch.setattr(type(one.faces), "multilabel", property(lambda faces, known=multilabel: known))
        for arm in forms.values():
            ways(one, arm)
        assert seen == dict.fromkeys(forms, loss)


def test_without_rows_nothing_stands_beside_anything(tmp_path):
    found = beside_handles(upper_ends(read(tmp_path)), handle.handles(handle.read(tmp_path)))
    assert found.empty and {"held", *BOTH_ENDS} <= {*found}


def test_ways_are_recorded_and_a_second_time_takes_their_place(where, tmp_path, capsys):
    words = ["--dataset", "tiny", "--n-ids", "2", "--preset", "smoke", "--reserved", "3", "--seeds", "0"]
    words += [word for name, path in where.items() for word in (f"--{name.replace('_', '-')}", str(path))]
    words += ["--results", str(tmp_path / "ends.csv"), "--arms", "gradient ascent", "Curvature"]
    main(words)
    first = pd.read_csv(tmp_path / "ends.csv")
    main(words)
    pd.testing.assert_frame_equal(first, pd.read_csv(tmp_path / "ends.csv"))
    assert first.columns.tolist() == COLUMNS and first.groupby(KEY).ngroups == 2 and first.groupby(CURVE).ngroups == 3
    assert "gradient ascent" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="--arms nonsense: choose one or more of gradient ascent"):
        main([*words[:-2], "nonsense"])
    with pytest.raises(SystemExit, match="--dampings 0.0: give numbers above 0, each once"):
        main([*words, "--dampings", "0"])
    for values in (["1", "1"], ["nan"], ["1", "inf"]):
        with pytest.raises(SystemExit, match="give numbers above 0, each once"):
            main([*words, "--dampings", *values])
    with pytest.raises(SystemExit, match="settings are those of ARMS"):
        main([*words, "--settings", "{}"])
