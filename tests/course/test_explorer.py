"""The explorer: pure functions against slow and obvious twins, its picture, and the thin layer of menus above it."""

import matplotlib

matplotlib.use("Agg")
from dataclasses import replace
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from tiny import prepare_tiny, same_weights, tiny_faces

from shui_lib.benchmark.metrics import Scores, score, tug_of_war
from shui_lib.benchmark.predict import predict, task_loss
from shui_workbook.course import explorer, panel
from shui_workbook.course.explorer import KNOBS, Choice
from shui_workbook.course.panel import Panel
from shui_workbook.figures import thumbnails
from shui_workbook.forms import forms_named
from shui_workbook.runs.experiment import Experiment
from shui_workbook.runs.settings import PUBLISHED, published_for, settings_for, spec_named

GENTLE = Choice("gradient_ascent", 0.01)


def experiment(where: Path, dataset: str = "tiny") -> Experiment:
    size = {"n_ids": 3, "reserved": 5, "seed": 0}
    folders = {"data_root": where / "data", "runs_root": where / "runs"}
    return Experiment(dataset=dataset, preset="smoke", device="cpu", **size, **folders)


@pytest.fixture(scope="module")
def where(tmp_path_factory) -> Path:
    where = tmp_path_factory.mktemp("explorer")
    prepare_tiny(where / "data" / "tiny")
    return where


@pytest.fixture(scope="module")
def prepared(where):
    """Every photo of retain and test is scored."""
    return explorer.prepare(experiment(where), most=10_000)


@pytest.fixture(scope="module")
def sampled(where):
    return explorer.prepare(experiment(where), forms=("gradient_ascent",), most=60)


@pytest.fixture
def one(prepared) -> Choice:
    """One identity asks."""
    return GENTLE._replace(identity=int(prepared.experiment.request.identities[1]))


@pytest.fixture(autouse=True)
def close_figures():
    yield
    plt.close("all")


# Prepared once


def test_a_sample_has_as_many_photos_of_everybody(prepared, sampled):
    for part in ("support", "forget"):
        assert (sampled.part == part).sum() == (prepared.part == part).sum(), "the request's are all there"
    counts = np.unique(sampled.faces.identity[sampled.even], return_counts=True)[1]
    assert len(counts) == len(np.unique(prepared.faces.identity)) and sampled.even.sum() <= 60
    assert counts.min() == counts.max(), "5 photos at least of everybody, and 60 are asked for of some 20"
    assert not sampled.even[sampled.part == "support"].any()


def test_one_photo_of_everybody_is_the_least():
    identity = np.repeat([3, 5, 9], [4, 1, 2])
    kept = explorer._even(identity, np.full(7, True), most=1, seed=0)
    assert sorted(identity[kept]) == [3, 5, 9]


def test_the_map_is_what_pca_finds_in_all_photos(prepared, sampled):
    trained = prepared.part != "support"
    features, identity = prepared.original.features[trained].double().numpy(), prepared.faces.identity[trained]
    people = np.unique(identity)
    pca = PCA(2).fit(centres := np.stack([features[identity == i].mean(0) for i in people]))
    assert prepared.places.index.tolist() == people.tolist()
    assert np.allclose(np.abs(prepared.places), np.abs(pca.transform(centres)), atol=1e-4)
    assert sampled.places.equals(prepared.places)
    assert prepared.explained == pytest.approx(pca.explained_variance_ratio_, abs=1e-5)


# At each choice


@pytest.mark.parametrize("form", KNOBS)
def test_the_whole_request_scores_as_in_the_rows(prepared, form):
    whole = prepared.experiment
    found = explorer.respond(prepared, Choice(form, explorer.tuned(prepared, form))).scores
    for column, model in {"original": "original", "unlearned": form, "reference": "retrained"}.items():
        assert [*found[column][[*Scores._fields]]] == pytest.approx([100 * s for s in whole.scores(model)], abs=1e-3)
        assert found.loc["tow", column] == pytest.approx(whole.tug_of_war(model), abs=1e-3)


def test_the_same_choice_gives_the_same_response(prepared, one):
    before = {name: value.clone() for name, value in prepared.model.state_dict().items()}
    first, again = explorer.respond(prepared, one), explorer.respond(prepared, one)
    assert first.scores.equals(again.scores) and first.people.equals(again.people)
    assert all(torch.equal(value, before[name]) for name, value in prepared.model.state_dict().items())
    harder = explorer.respond(prepared, one._replace(strength=1.0))
    assert not np.allclose(harder.people["change"], first.people["change"])


def test_a_step_of_no_length_moves_nobody(prepared, one):
    found = explorer.respond(prepared, one._replace(strength=0.0))
    assert np.allclose(found.people["change"], 0, atol=1e-5)
    assert np.allclose(found.scores["original"], found.scores["unlearned"], atol=1e-6)


def test_nothing_is_written(prepared, one, where):
    before = {path: path.stat().st_mtime_ns for path in where.rglob("*")}
    explorer.draw(prepared, one, explorer.respond(prepared, one))
    assert {path: path.stat().st_mtime_ns for path in where.rglob("*")} == before


def test_one_identity_asks_and_the_others_stay(prepared, one):
    whole, faces = prepared.experiment, prepared.experiment.faces
    train = whole.rows_of["train"]
    rows = {"forget": train[faces.identity[train] == one.identity], "test": whole.rows_of["test"]}
    rows["retain"] = np.setdiff1d(train, rows["forget"])
    support = whole.part("support").of([one.identity])
    assert len(support) == 1
    parts = explorer.parts_of(prepared, one)
    assert {part: sorted(prepared.faces.rows[where]) for part, where in parts.items()} == {
        "support": support.rows.tolist(), **{part: sorted(found) for part, found in rows.items()},
    }  # fmt: skip
    after = predict(explorer.unlearn(prepared, parts["support"], one), faces).logits
    said = {"original": whole.predictions("original").logits, "unlearned": after}
    three = {
        name: {part: score(logits[of], faces.targets[of]) for part, of in rows.items()} for name, logits in said.items()
    }
    never_met = score(whole.predictions("retrained").logits[rows["forget"]], faces.targets[rows["forget"]])
    three["reference"] = {**three["original"], "forget": never_met}
    found = explorer.respond(prepared, one).scores
    for name, mine in three.items():
        assert found[name][[*mine]].tolist() == pytest.approx([100 * s for s in mine.values()], abs=1e-3)
        tow = tug_of_war(Scores(**mine), Scores(**three["reference"]))
        assert found.loc["tow", name] == pytest.approx(tow, abs=1e-3)


def test_the_change_of_an_identity_is_that_of_its_mean_loss(prepared, one):
    faces, found = prepared.experiment.faces, explorer.respond(prepared, one).people
    unlearned = explorer.unlearn(prepared, explorer.parts_of(prepared, one)["support"], one)
    for identity, person in found.iterrows():
        rows = faces.identity == identity
        rows[[*prepared.experiment.rows_of["support"], *prepared.experiment.request.reserved]] = False
        mine = faces[np.flatnonzero(rows)]
        before, after = (task_loss(predict(m, mine).logits, mine.targets) for m in (prepared.model, unlearned))
        assert person["change"] == pytest.approx((after - before).item(), abs=1e-5)
    assert found.index[found["part"] == "forget"].tolist() == [one.identity]


def test_photos_are_the_nearest_of_their_part(prepared, one):
    found, parts = explorer.respond(prepared, one).photos, explorer.parts_of(prepared, one)
    features, (support,) = prepared.original.features.numpy(), parts["support"]
    for part in ("forget", "retain", "test"):
        distance = {row: np.linalg.norm(features[row] - features[support]) for row in parts[part]}
        assert found[part].rows == prepared.faces.rows[min(distance, key=distance.get)]


def test_somebody_with_one_trained_photo_can_hand_it_in():
    features, rows = torch.eye(3), {"support": [1], "forget": [1], "retain": [0, 2]}
    near = explorer._nearest(features, {part: np.array(mine) for part, mine in rows.items()})
    assert near["forget"] == near["support"] == 1 and near["retain"] in (0, 2)


def test_pictures_of_a_data_set_whose_name_begins_like_the_rendered_one_are_blank():
    photos = tiny_faces(3)
    rendered, real = (thumbnails(replace(photos, name=name), show_faces=False) for name in ("faces", "faces_of_us"))
    assert len(np.unique(real)) == 2 < len(np.unique(rendered))


def test_another_photo_can_be_handed_in(prepared, one):
    photos = explorer.photos_of(prepared, one.identity)
    handed_in = prepared.experiment.part("support").of([one.identity]).rows
    assert [row for row, trained in photos.items() if not trained] == handed_in.tolist()
    same = explorer.respond(prepared, one._replace(photo=int(handed_in[0])))
    assert same.people.equals(explorer.respond(prepared, one).people)
    old = next(row for row, trained in photos.items() if trained)
    parts, found = (f(prepared, one._replace(photo=old)) for f in (explorer.parts_of, explorer.respond))
    assert prepared.faces.rows[parts["support"]] == old and old in prepared.faces.rows[parts["forget"]]
    assert found.photos["support"].rows == old and found.photos["forget"].rows != old
    assert not np.allclose(found.people["change"], same.people["change"])


def test_choices_that_are_not_there_are_refused(prepared, one):
    stranger = int(prepared.faces.identity[prepared.part == "test"][0])
    for wrong, words in [
        (one._replace(identity=stranger), f"identity {stranger} does not ask: choose one of"),
        (one._replace(photo=int(prepared.experiment.rows_of["test"][0])), "is none of identity"),
        (GENTLE._replace(photo=int(prepared.experiment.rows_of["support"][0])), "is none of identity None"),
    ]:
        with pytest.raises(ValueError, match=words):
            explorer.respond(prepared, wrong)


def test_answers_to_attributes(prepared, one):
    found, faces = explorer.respond(prepared, one), prepared.experiment.faces
    for part, photo in found.photos.items():
        logits = prepared.experiment.predictions("original").logits[photo.rows[0]]
        assert found.answers[part].index.tolist() == list(faces.classes)
        assert found.answers[part]["before"].tolist() == pytest.approx((100 * logits.sigmoid()).tolist(), abs=1e-4)
        assert found.answers[part]["truth"].tolist() == (100 * photo.targets[0]).tolist()


def test_of_many_classes_those_that_move_most(monkeypatch, prepared, one):
    full = explorer.respond(prepared, one).answers
    monkeypatch.setattr(explorer, "MOST_CLASSES", 2)
    moved = sum((answers["after"] - answers["before"]).abs().gt(0) for answers in full.values())
    most = max((a["after"] - a["before"]).abs().max() for a in full.values())
    shown = explorer.respond(prepared, one).answers
    assert moved.all() and all(len(answers) == 2 for answers in shown.values())
    assert max((a["after"] - a["before"]).abs().max() for a in shown.values()) == most


def test_answers_to_classes():
    logits, targets = torch.tensor([[0.0, 1.0, 2.0]]), torch.tensor([2])
    faces = explorer.Faces(np.zeros((1, 4, 4, 3), np.uint8), np.arange(1), np.zeros(1, int), targets, tuple("abc"))
    found = explorer._answers(faces, logits, -logits, {"test": 0})["test"]
    assert found[["before", "after"]].sum().tolist() == pytest.approx([100, 100])
    assert found["truth"].tolist() == [0, 0, 100] and found["before"].idxmax() == "c" and found["after"].idxmax() == "a"


# Knobs


def test_every_form_that_sees_the_photo_alone_has_a_knob_but_the_slow_one():
    assert {*KNOBS} == {*forms_named("support")} - {"mu_mis"}


@pytest.mark.parametrize("form", KNOBS)
def test_a_slider_reaches_what_was_chosen_and_what_was_published(prepared, form):
    method, knob = prepared.methods[form], KNOBS[form]
    assert method.needs == ("support",)
    name = spec_named(form)
    assert name.name == form, "a form's full name, as settings are stored by"
    setting = {"dataset": "faces", "n_ids": 10}
    known = [settings_for(form, preset="cpu", **setting)]
    if name.method in PUBLISHED:
        known.append(published_for(name.method, name.variant, **setting))
    default = getattr(method, knob.setting)
    for strength in (one.get(knob.setting, default) for one in known):
        assert strength == 0 or np.isclose(knob.at(knob.position(strength)), strength)
    assert knob.position(0.0) == 0, "doing nothing is the weak end"
    ends = [
        explorer.unlearn(prepared, np.flatnonzero(prepared.part == "support"), Choice(form, 10**end))
        for end in (knob.low, knob.high)
    ]
    assert not same_weights(*ends)


# Picture


def test_the_picture_holds_every_part(prepared, one):
    found = explorer.respond(prepared, one)
    axes = explorer.draw(prepared, one, found)
    axes[0].figure.canvas.draw()
    assert [ax.get_title().split(" · ")[0] for ax in axes[:8:2]] == ["support", "forget", "retain", "test"]
    assert f"identity {one.identity}" in axes[0].get_title()
    moves, people = axes[-2:]
    assert f"{found.scores.loc['tow', 'original']:.1f} → {found.scores.loc['tow', 'unlearned']:.1f}" in [
        text.get_text() for text in moves.texts
    ]
    assert sum(len(dots.get_offsets()) for dots in people.collections) == len(found.people)
    worst = found.people[found.people["part"] == "retain"]["change"].nlargest(5).index
    assert {text.get_text() for text in people.texts} == {str(identity) for identity in worst}


def test_photos_of_real_people_are_blank(prepared, one):
    found = explorer.respond(prepared, one)
    shown = {}
    for allowed in (False, True):
        axes = explorer.draw(prepared, one, found, show_faces=allowed)
        shown[allowed] = [np.asarray(ax.images[0].get_array()) for ax in axes[:8:2]]
    assert all(len(np.unique(picture)) == 2 for picture in shown[False]), "no photo, but a blank with a stroke"
    for picture, photo in zip(shown[True], found.photos.values(), strict=True):
        assert np.array_equal(picture, thumbnails(photo, show_faces=True)[0])


def test_scores_in_words(prepared, one):
    found = explorer.respond(prepared, one).scores
    said = explorer.in_words(found)
    assert said.startswith(f"forget {found.loc['forget', 'original']:.1f} → {found.loc['forget', 'unlearned']:.1f} %")
    assert said.count("→") == 4 and "Tug-of-War" in said


def test_data_sets_on_offer(tmp_path):
    for name in ("bare", "trained", "asked", "gone"):
        (tmp_path / "data" / name).mkdir(parents=True)
    for name in ("bare", "trained", "asked"):
        (tmp_path / "data" / name / "dataset.json").touch()
    for name in ("trained", "gone"):
        (tmp_path / "runs" / name / "original-0123").mkdir(parents=True)
    assert explorer.offered("asked", tmp_path / "data", tmp_path / "runs") == ["asked", "trained"]


# Menus and slider


@pytest.fixture
def counted(monkeypatch):
    """Choices that were responded to."""
    seen, respond = [], explorer.respond
    monkeypatch.setattr(explorer, "respond", lambda prepared, choice: seen.append(choice) or respond(prepared, choice))
    return seen


@pytest.fixture
def shown(prepared, counted) -> Panel:
    def prepared_for(name):
        if name == "broken":
            raise ValueError("3 training identities <are> too few")
        return prepared

    return Panel(prepared_for, ["tiny", "broken"])


def drawn(shown) -> str:
    return shown.picture.value


def test_the_panel_begins_with_one_person(shown, counted, prepared):
    first = int(prepared.experiment.request.identities[0])
    strength = explorer.tuned(prepared, "gradient_ascent", alone=True)
    assert counted == [Choice("gradient_ascent", strength, first, alone=True)]
    assert drawn(shown).count('<img src="data:image/png;base64,') == 4 and "Tug-of-War" in shown.words.value


def test_one_change_draws_once(shown, counted, prepared):
    asking = prepared.experiment.request.identities.tolist()
    pictures = [drawn(shown)]
    for control, value in [
        (shown.slider, 80),
        (shown.identity, asking[1]),
        (shown.photo, shown.photo.options[1][1]),
        (shown.form, "ssd:one-shui"),
        (shown.identity, panel.NOBODY),
        (shown.form, "meta_unlearn"),
    ]:
        if control is shown.photo:
            value = shown.photo.options[1][1]
        before = len(counted)
        control.value = value
        assert len(counted) == before + 1
        pictures.append(drawn(shown))
    assert len(set(pictures)) == len(pictures), "every change is seen"
    assert counted[-1] == Choice("meta_unlearn", explorer.tuned(prepared, "meta_unlearn"))
    assert shown.photo.disabled and "learned for one η" in shown.note.value
    assert plt.get_fignums() == [], "no figure is left open"


def test_menus_follow_each_other(shown, prepared):
    asking = prepared.experiment.request.identities.tolist()
    shown.identity.value = asking[2]
    rows = [row for row, trained in explorer.photos_of(prepared, asking[2]).items() if trained]
    assert [value for _, value in shown.photo.options] == [panel.NOBODY, *rows]
    for form, knob in KNOBS.items():
        shown.form.value = form
        assert shown.choice().strength == pytest.approx(explorer.tuned(prepared, form, alone=True))
        assert shown.slider.value == pytest.approx(knob.position(shown.choice().strength))
        assert f"{knob.symbol} = " in shown.note.value and knob.meaning in shown.note.value
        shown.slider.value = 100
        assert shown.choice().strength == pytest.approx(10**knob.high)
        assert "→" in shown.words.value, "the strongest step can be drawn"


@pytest.mark.parametrize("form", KNOBS)
def test_every_slider_is_stronger_to_the_right(prepared, one, form):
    knob = KNOBS[form]
    changes = []
    for position in (0, 100):
        found = explorer.respond(prepared, one._replace(form=form, strength=knob.at(position)))
        changes.append(found.people["change"].abs().mean())
    assert changes[0] <= changes[1] and knob.at(100) == pytest.approx(10**knob.high)


def test_the_strength_is_that_tuned_for_as_many_as_ask(prepared, monkeypatch):
    selected = {"eta": 0.123, "damping": 0.5, "copies": 3}
    monkeypatch.setattr(explorer, "settings_for", lambda form, *, n_ids, **where: selected if n_ids == 1 else {})
    method = explorer._for_one(prepared.experiment, "curvature", prepared.methods["curvature"])
    assert (method.eta, method.damping, method.copies) == (0.123, 0.5, 3)
    learned = explorer._for_one(prepared.experiment, "meta_unlearn", prepared.methods["meta_unlearn"])
    assert learned.eta == prepared.methods["meta_unlearn"].eta, "the loss was learned for that one"


def test_settings_for_one_person_are_those_of_a_choice_that_says_so(prepared, one):
    cautious = replace(prepared.methods["curvature"], damping=50.0)
    found = replace(prepared, alone={**prepared.alone, "curvature": cautious})
    choice = one._replace(form="curvature", strength=0.01)
    whole, alone = (explorer.respond(found, choice._replace(alone=which)).people["change"] for which in (False, True))
    assert whole.abs().mean() > 1.3 * alone.abs().mean()


def test_at_work_nothing_can_be_moved_and_it_says_so(shown, prepared, monkeypatch):
    seen, respond = [], explorer.respond

    def watched(*what):
        controls = [control.disabled for control in shown.follow_up]
        seen.append((all(controls), shown.words.value, "shui-busy" in shown.box._dom_classes))
        return respond(*what)

    monkeypatch.setattr(explorer, "respond", watched)
    shown.slider.value = 70
    assert seen == [(True, "<b>At work …</b> the picture below is still the one before.", True)]
    assert "shui-busy" not in shown.box._dom_classes and not shown.slider.disabled
    assert shown.words.value.startswith("forget")


def test_a_data_set_that_cannot_serve_says_so_and_the_last_one_stays(shown, counted):
    before, picture = len(counted), drawn(shown)
    shown.dataset.value = "broken"
    assert shown.words.value == "broken: 3 training identities &lt;are&gt; too few"
    assert shown.dataset.value == "tiny" and len(counted) == before and drawn(shown) == picture
    shown.slider.value = 30
    assert len(counted) == before + 1


def test_menus_and_picture_agree_after_a_failure(shown, prepared, monkeypatch):
    asking = prepared.experiment.request.identities.tolist()
    shown.slider.value = 42
    good, picture = shown.choice(), drawn(shown)

    def fails(*_):
        raise ValueError("no such step")

    monkeypatch.setattr(explorer, "respond", fails)
    for control, value in ((shown.identity, asking[1]), (shown.form, "ssd:one-shui"), (shown.slider, 90)):
        control.value = value
        assert shown.choice() == good and drawn(shown) == picture and "no such step" in shown.words.value


def test_the_saved_picture_needs_no_widget(shown):
    saved = shown.saved().data
    assert drawn(shown) in saved and shown.words.value in saved
    for word in ("forget", "retain", "mAP", "Tug-of-War", "nats"):
        assert f"<b>{word}</b>" in saved
    assert "VBox" not in shown.box._repr_mimebundle_()["text/plain"]


def test_every_quarter_of_the_picture_has_words(prepared, one):
    found = explorer.respond(prepared, one)
    said = explorer.alternatives(found)
    assert len(said) == 4 and all(part in " ".join(said[:2]) for part in found.answers)
    assert explorer.in_words(found.scores) in said[2]
    harmed = (found.people.query("part == 'retain'")["change"] > 0.1).sum()
    assert f"nats: {harmed} of" in said[3]


def test_the_map_has_one_scale_for_every_method(prepared, one):
    limits = set()
    for strength in (1e-3, 1.0):
        choice = one._replace(strength=strength)
        axes = explorer.draw(prepared, choice, explorer.respond(prepared, choice))
        limits |= {dots.get_clim() for dots in axes[-1].collections if dots.get_array() is not None}
    assert len({limit for limit in limits if limit != (None, None)}) == 1
