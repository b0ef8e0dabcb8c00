"""The handle: who is drawn, what is measured, and what follows."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from tiny import prepare_tiny, small_vit, tiny_faces

from shui_lib.benchmark.data import load_faces
from shui_lib.benchmark.predict import predict, task_loss
from shui_lib.core import places
from shui_workbook.figures import plot_handles
from shui_workbook.studies import handle
from shui_workbook.studies.handle import COLUMNS, Design, against, draw, gaps, handles, main

SMALL = Design(shared=8, own=5, photos=3, held=2)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_everyone_has_a_place_and_no_held_photo_is_trained_on():
    identity = tiny_faces(20, (4, 9)).identity
    drawn = draw(identity, SMALL, generator=generator())
    mine, theirs = (set(identity[rows]) for rows in drawn.trained)
    assert len(mine) == len(theirs) == 5 and not mine & theirs
    for group, people in enumerate((mine, theirs)):
        assert set(drawn.trained[group]) <= set(drawn.train[group]) and not people & set(
            identity[drawn.train[1 - group]]
        )
        assert set(identity[drawn.held[group]]) == people
        counts = pd.Series(identity[drawn.trained[group]]).value_counts()
        assert counts.between(2, 3).all() and len(drawn.held[group]) == 2 * 5
        assert not set(drawn.held[group]) & (set(drawn.train[0]) | set(drawn.train[1]))
    assert (
        set(identity[drawn.train[0]]) - mine == set(identity[drawn.train[1]]) - theirs == set(identity[drawn.watched])
    )
    again, other = (draw(identity, SMALL, generator=generator(seed)) for seed in (0, 1))
    assert np.array_equal(again.train[0], drawn.train[0]) and not np.array_equal(other.train[0], drawn.train[0])
    assert again.mark == drawn.mark != other.mark
    assert replace(drawn, watched=drawn.watched[::-1]).mark != drawn.mark, "any row"


def test_too_few_people_are_named():
    with pytest.raises(ValueError, match="18 identities asked for, but 17 have more than 2 images: ask for fewer"):
        draw(tiny_faces(17, (4, 4)).identity, SMALL, generator=generator())


@pytest.mark.parametrize("name", ["shared", "own", "photos", "held"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True])
def test_a_design_without_people_or_photos_is_refused(name, value):
    with pytest.raises(ValueError, match=rf"{name}={value}: give a whole number above 0 \(--{name}\)"):
        Design(**{name: value})


def test_models_are_trained_by_the_recipe_of_their_data_set(tmp_path, monkeypatch):
    prepare_tiny(tmp_path / "data" / "tiny")
    asked, known = [], handle.preset_named
    monkeypatch.setattr(handle, "preset_named", lambda name, **more: asked.append(more) or known(name, **more))
    monkeypatch.setattr(handle, "fit", lambda *_, **__: (small_vit(), pd.DataFrame({"epoch": [1]})))
    where = {"data_root": tmp_path / "data", "runs_root": tmp_path / "runs", "device": "cpu"}
    gaps("tiny", "smoke", 0, SMALL, **where)
    assert asked == [{"dataset": load_faces(tmp_path / "data" / "tiny").name}] * 2


def test_gaps_are_between_the_model_that_met_a_person_and_the_one_that_did_not(tmp_path, monkeypatch):
    prepare_tiny(tmp_path / "data" / "tiny")
    faces = load_faces(tmp_path / "data" / "tiny")
    models, trained_on = [], []

    def fit(network, train, watched, config, *, seed, checkpoint):
        models.append(small_vit(seed=len(models)))
        trained_on.append(set(train.rows))
        return models[-1], pd.DataFrame({"epoch": [1]})

    monkeypatch.setattr(handle, "fit", fit)
    where = {"data_root": tmp_path / "data", "runs_root": tmp_path / "runs", "device": "cpu"}
    found = gaps("tiny", "smoke", 3, SMALL, **where).set_index("identity")
    drawn = draw(faces.identity, SMALL, generator=generator(3))
    assert trained_on == [set(rows) for rows in drawn.train]
    loss = [task_loss(predict(model, faces).logits, faces.targets, reduction="none").numpy() for model in models]
    for group, name in ((0, "trained"), (0, "held"), (1, "trained"), (1, "held")):
        rows = getattr(drawn, name)[group]
        for person in np.unique(faces.identity[rows]):
            own = rows[faces.identity[rows] == person]
            expected = (loss[1 - group][own] - loss[group][own]).mean()
            assert found.loc[person, name] == pytest.approx(expected, abs=1e-6)
            if name == "trained":
                assert found.loc[person, "unmet"] == pytest.approx(loss[1 - group][own].mean(), abs=1e-6)
    assert len(found) == 10
    gaps("tiny", "smoke", 3, SMALL, **where)
    assert len(models) == 2, "trained again"
    monkeypatch.setattr(handle, "source_of", lambda *modules: "other code")
    gaps("tiny", "smoke", 3, SMALL, **where)
    assert len(models) == 4, "losses of other code are not those of this one"
    for wrong, message in ((("./tiny", 3), "no plain folder name"), (("tiny", -1), "seed must be a whole number")):
        with pytest.raises(ValueError, match=message):
            gaps(wrong[0], "smoke", wrong[1], SMALL, **where)


def test_a_second_run_replaces_the_first(tmp_path):
    prepare_tiny(tmp_path / "data" / "tiny")
    told = ["--dataset", "tiny", "--presets", "smoke", "--shared", "8", "--own", "4", "--held", "2", "--data-root"]
    told += [str(tmp_path / "data"), "--runs-root", str(tmp_path / "runs"), "--results", str(tmp_path)]
    main([*told, "--seeds", "0", "1"])
    once = pd.read_csv(tmp_path / "handle.csv")
    main([*told, "--seeds", "1"])
    assert list(once) == COLUMNS and len(once) == 2 * 2 * 4
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "handle.csv"), once)
    main([*told, "--seeds", "0"])
    with pytest.raises(SystemExit, match="handles of another design .8 shared, 2 x 4; 9 . 2 photos.: give --results"):
        main([*told, "--seeds", "2", "--own", "3"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--presets", "cpu", "big"], "'big' is unknown"),
        (["--presets"], "--presets: name one or more"),
        (["--presets", "cpu", "vit-s14"], "no weights at"),
        (["--seeds", "0", "-1"], "seed must be a whole number"),
        (["--seeds", "0", "0"], "--seeds 0 0: give one or more, each once"),
        (["--shared", "0"], "shared=0: give a whole number above 0"),
    ],
)
def test_a_command_is_refused_before_it_trains(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(places, "WEIGHTS", tmp_path)
    with pytest.raises(SystemExit):
        main(["--dataset", "nowhere", "--results", str(tmp_path), *words])
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_models_that_are_nowhere_finite_have_no_handle():
    (line,) = handles(measured(10, 2, 0.2, 0.08).assign(trained=np.nan)).to_dict("records")
    assert np.isnan(line["handle"]) and "not above zero" in line["note"]


# What follows


def measured(people: int, seeds: int, trained: float, held: float, *, noise: float = 0.05) -> pd.DataFrame:
    """Every person in every seed, with a share of their own."""
    chance = np.random.default_rng(0)
    own = noise * chance.normal(size=(people, 1, 2))
    values = np.array([trained, held]) + own + 0.2 * noise * chance.normal(size=(people, seeds, 2))
    key = pd.MultiIndex.from_product([range(people), range(seeds)], names=["identity", "seed"])
    found = pd.DataFrame(values.reshape(-1, 2), index=key, columns=["trained", "held"]).reset_index()
    return found.assign(dataset="faces", preset="cpu", unmet=0.4, git="")


def test_the_handle_is_the_ratio_of_means():
    found = measured(60, 3, 0.2, 0.08)
    (line,) = handles(found).to_dict("records")
    assert (line["people"], line["seeds"]) == (60, 3)
    assert line["handle"] == pytest.approx(found["held"].mean() / found["trained"].mean())
    assert line["handle_low"] < line["handle"] < line["handle_high"]
    assert line["trained"] == pytest.approx(found["trained"].mean()) and line["note"] == ""


def test_a_person_measured_in_several_seeds_counts_once():
    def width(found: pd.DataFrame) -> float:
        (line,) = handles(found).to_dict("records")
        return line["held_high"] - line["held_low"]

    several = measured(40, 4, 0.2, 0.08)
    others = several.assign(identity=several["identity"] + 1000 * several["seed"])  # as if they were four times as many
    assert width(several) > 1.3 * width(others)
    one = measured(40, 1, 0.2, 0.08)
    assert width(one) == pytest.approx(2 * 1.96 * one["held"].std() / 40**0.5, rel=0.15)


def test_presets_are_compared_on_the_people_that_both_have():
    cpu = measured(60, 3, 0.2, 0.08)
    better = cpu.assign(preset="face-resnet", trained=1.5 * cpu["trained"], held=2 * cpu["held"])
    alone = better.assign(dataset="elsewhere")
    (line,) = against(pd.concat([cpu, better[better["identity"] < 50], alone])).to_dict("records")
    (same,) = handles(cpu[cpu["identity"] < 50]).to_dict("records")
    assert (line["dataset"], line["preset"]) == ("faces", "face-resnet")
    assert line["held"] == pytest.approx(same["held"]) and line["handle"] == pytest.approx(same["handle"] / 3)
    # the interval is of differences: a third of the handle, and so of its interval
    width = line["handle_high"] - line["handle_low"]
    assert width == pytest.approx((same["handle_high"] - same["handle_low"]) / 3, rel=1e-6)
    assert against(cpu).empty and "handle_high" in against(cpu)


def test_without_a_memory_there_is_no_handle():
    found = pd.concat([measured(40, 2, 0.0, 0.0), measured(40, 2, 0.2, 0.0).assign(preset="paper")])
    lines = handles(found).set_index("preset")
    assert np.isnan(lines.loc["cpu", "handle"]) and "not above zero" in lines.loc["cpu", "note"]
    assert lines.loc["paper", "handle_low"] < 0 < lines.loc["paper", "handle_high"]


def test_the_figure_shows_both_gaps_and_the_handle():
    found = handles(pd.concat([measured(40, 2, 0.2, 0.08), measured(40, 2, 0.0, 0.0).assign(preset="paper")]))
    gaps_, ratio = plot_handles(found)
    assert [label.get_text() for label in gaps_.get_yticklabels()] == ["faces, cpu", "faces, paper"]
    points = ratio.containers[0].lines[0].get_xdata()
    assert points[0] == pytest.approx(100 * found.loc[0, "handle"]) and np.isnan(points[1])
    assert [box.get_label() for box in gaps_.containers] == ["photos it was trained on", "other photos of them"]
    clear = handles(pd.concat([measured(40, 2, 0.2, 0.08), measured(40, 2, 2.0, 0.8).assign(preset="paper")]))
    assert (gaps_.get_xscale(), plot_handles(clear)[0].get_xscale()) == ("linear", "log"), "a gap of zero has no log"
