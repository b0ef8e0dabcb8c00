"""What every method promises, then the numbers of each."""

import copy
import json
import math
import re
from dataclasses import make_dataclass, replace
from functools import cache, partial
from typing import NamedTuple

import numpy as np
import pytest
import torch
from tiny import same_weights, small_efficientnet, small_face_resnet, small_resnet, small_vit, tiny_faces

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel, Output
from shui_lib.benchmark.predict import predict, task_loss
from shui_lib.benchmark.presets import ALL_INPUTS
from shui_lib.core.store import load_tensors, save_tensors
from shui_lib.methods import (
    REGISTRY,
    Artefacts,
    Given,
    Method,
    NotGiven,
    make_method,
    preparing_settings_of,
    register,
    settings_of,
    with_parameters,
)
from shui_lib.methods.meta_unlearn import _MetaTraining, embedding_rows
from shui_lib.methods.parts.copies import to_rise
from shui_lib.methods.parts.learned_loss import INPUTS
from shui_lib.methods.parts.meta_gradient import loss_gradient, parameters
from shui_lib.methods.parts.objectives import (
    OTHER_OBJECTIVES,
    TERMS,
    Alignment,
    MetaBatch,
    alignment_objective,
    match_objective,
)
from shui_lib.methods.parts.subspaces import layers_of
from shui_workbook.runs.settings import settings_for

PARTS = ("support", "forget", "retain", "train", "val")
SMALL = {  # settings that take no time
    "meta_unlearn": {"epochs": 1, "simulated_n_ids": 3, "val_sample": 8},
    "ssd": {"alpha": 1.0, "shrink": 0.1},
    "jit": {"copies": 2},
    "pgu": {"epochs": 1},
    "scrub": {"epochs": 1, "max_epochs": 1},
    "bad_teacher": {"epochs": 1},
    "curvature": {"copies": 2},
    "mu_mis": {"steps": 1, "eta": 1e-2},
}
NETWORKS = {
    "vit": partial(small_vit, size=32),
    "resnet18": small_resnet,
    "face_resnet": small_face_resnet,
    "efficientnet": small_efficientnet,
}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Forbidden:
    """Data that a method did not declare."""

    def __getattribute__(self, name):
        raise AssertionError(f"a method looked at .{name} of data that it did not declare")


def parts_of(faces: Faces, *, people: int = 7) -> dict[str, Faces]:
    """Identities 0 and 1 of those trained on ask and hand in their first image; who comes after them is validation."""
    who, row = faces.identity, np.arange(len(faces))
    support = np.array([row[who == 0][0], row[who == 1][0]])
    train = np.setdiff1d(row[who < people], support)
    rows = {"support": support, "train": train, "val": row[who >= people]}
    rows |= {"forget": train[who[train] < 2], "retain": train[who[train] >= 2]}
    return {part: faces[rows[part]] for part in PARTS}


def only(parts: dict[str, Faces], declared: tuple[str, ...]) -> dict[str, Faces]:
    return {name: part if name in declared else Forbidden() for name, part in parts.items()}


def small_method(name: str, variant: str) -> Method:
    return make_method(name, SMALL.get(name, {}) | ({"variant": variant} if variant else {}))


def run(
    name: str, variant: str, network: str, multilabel: bool, *, images: int = 6, people: int = 7
) -> tuple[FaceModel, Artefacts, FaceModel]:
    """The model given, what the method prepared, and what it returned; it saw what it declared and no more."""
    method = small_method(name, variant)
    faces = tiny_faces(people + 3, (images, images), size=32, multilabel=multilabel)
    parts = parts_of(faces, people=people)
    model = NETWORKS[network](3 if multilabel else 4)
    artefacts = method.prepare(model, only(parts, method.prepares_on), generator=generator())
    given = Given(only(parts, method.needs))
    return model, artefacts, method.unlearn(model, given, artefacts, generator=generator())


class Beside(FaceModel):
    """A ViT with one layer that no image passes, and one whose result nothing depends on."""

    def __init__(self):
        super().__init__(small_vit(3, size=32).network, 32)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.idle, self.discarded = torch.nn.Linear(2, 3), torch.nn.Linear(32, 5)

    def forward(self, x: torch.Tensor) -> Output:
        logits = super().forward(x)
        self.discarded(logits.features)
        return logits


def frozen(pattern: str) -> FaceModel:
    """A ViT in which parameters with such names are not trained."""
    model = small_vit(3, size=32)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(not re.search(pattern, name))
    return model


STILL = {  # a model, and which of its parameters nothing may move
    "unused": (Beside, "idle|discarded"),
    "frozen block": (partial(frozen, r"blocks\.0\."), r"blocks\.0\."),
    "frozen weights": (partial(frozen, r"blocks\.1\..*weight"), r"blocks\.1\..*weight"),
    "frozen biases": (partial(frozen, "bias"), "bias"),
}
MORE = [
    {},
    {"preconditioner": "pgu"},
    {"preconditioner": "kfac", "learned_steps": True},
    {"per_sample": True},
    {"copies": 2},
]


class Case(NamedTuple):
    name: str
    variant: str
    network: str
    multilabel: bool

    def __str__(self) -> str:
        return "-".join(filter(None, [*self[:3], "attributes" if self.multilabel else "classes"]))


FORMS = [(name, variant) for name, method in REGISTRY.items() for variant in method.variants or ("",)]
CASES = [Case(*form, network, task) for form in FORMS for network in NETWORKS for task in (True, False)]
contract = pytest.mark.parametrize("case", CASES, ids=str)
every_form = pytest.mark.parametrize(("name", "variant"), FORMS)
every_method = pytest.mark.parametrize("name", REGISTRY)
once = cache(run)


# The contract


@contract
def test_the_model_given_is_not_touched(case):
    model, _, unlearned = once(*case)
    assert same_weights(model, NETWORKS[case.network](3 if case.multilabel else 4))
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    shared = {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in unlearned.parameters()}
    assert not shared


@every_form
@pytest.mark.parametrize("more", [{}, {"preconditioner": "pgu"}, {"preconditioner": "kfac", "objective": "scrub"}])
def test_artefacts_depend_on_no_setting_of_the_request(name, variant, more):
    method = small_method(name, variant)
    method = replace(method, **{key: value for key, value in more.items() if hasattr(method, key)})
    read = set()

    class Watched(type(method)):
        def __getattribute__(self, attribute):
            read.add(attribute)
            return super().__getattribute__(attribute)

    watched = Watched(**settings_of(method))
    read.clear()
    parts = parts_of(tiny_faces(10, (6, 6), size=32, multilabel=True))
    artefacts = Watched.prepare(watched, small_vit(3, size=32), parts, generator=generator())
    assert not read & set(method.at_request)
    asked = {setting for setting in read if setting in settings_of(method)}
    assert asked <= set(preparing_settings_of(method)) and (asked or not artefacts.tensors or name == "curvature")


@contract
def test_another_model_of_the_same_make_comes_back(case):
    model, _, unlearned = once(*case)
    before, after = model.state_dict(), unlearned.state_dict()
    assert not unlearned.training
    assert before.keys() == after.keys()
    assert all(after[name].shape == value.shape and after[name].dtype == value.dtype for name, value in before.items())
    assert all(value.isfinite().all() for value in after.values())
    assert not same_weights(model, unlearned)
    logits = predict(unlearned, tiny_faces(2, size=32, multilabel=case.multilabel))
    assert logits.logits.isfinite().all() and logits.features.isfinite().all()


@pytest.mark.parametrize("still", STILL)
@pytest.mark.parametrize(
    ("name", "variant", "more"),
    [(*form, more) for form in FORMS for more in MORE if set(more) <= set(settings_of(small_method(*form)))],
)
def test_frozen_and_unused_parameters_stay(name, variant, more, still):
    make, pattern = STILL[still]
    model, method = make(), replace(small_method(name, variant), **more)
    parts = parts_of(tiny_faces(10, (6, 6), size=32))
    artefacts = method.prepare(model, parts, generator=generator())
    after = method.unlearn(model, Given(parts), artefacts, generator=generator())
    trained = {key: value.requires_grad for key, value in model.named_parameters()}
    assert trained == {key: value.requires_grad for key, value in after.named_parameters()}
    moved = {key for key, value in after.named_parameters() if not torch.equal(value, model.get_parameter(key))}
    assert moved and not [key for key in moved if re.search(pattern, key)]


@contract
def test_what_is_no_parameter_stays(case):
    model, _, unlearned = once(*case)
    found = dict(unlearned.named_buffers())
    assert all(torch.equal(value, found[name]) for name, value in model.named_buffers()), "batch norms counted"


@contract
def test_the_generator_says_it_all(case):
    torch.manual_seed(123)
    _, artefacts, unlearned = once(*case)
    torch.manual_seed(321)
    _, again, unlearned_again = run(*case)
    assert artefacts.tensors.keys() == again.tensors.keys()
    assert all(torch.equal(value, again.tensors[name]) for name, value in artefacts.tensors.items())
    assert same_weights(unlearned, unlearned_again)


@contract
def test_artefacts_hold_no_images_and_no_rows_of_samples(case):
    _, artefacts, _ = once(*case)
    images = len(parts_of(tiny_faces(10, (6, 6)))["train"])  # 40, no width of a layer
    for name, value in artefacts.tensors.items():
        assert value.dtype != torch.uint8, name
        assert images not in value.shape, name
        assert value.device.type == "cpu" and not value.requires_grad, name


GROW_WITH_PEOPLE = {"meta_unlearn": {"identities": (1,), "phi/identities.weight": (1, 0)}}  # rows, for one more


@every_form
def test_artefacts_do_not_grow_with_images_and_with_people_only_where_named(name, variant):
    def sizes(**of) -> dict[str, np.ndarray]:
        tensors = run(name, variant, "vit", True, **of)[1].tensors
        return {key: np.array(value.shape) for key, value in tensors.items()}

    few, more_images, more_people = (sizes(images=i, people=p) for i, p in ((5, 7), (10, 7), (5, 12)))
    assert few.keys() == more_images.keys() == more_people.keys() >= GROW_WITH_PEOPLE.get(name, {}).keys()
    for key, size in few.items():
        assert (more_images[key] == size).all(), key
        assert (more_people[key] - size == 5 * np.array(GROW_WITH_PEOPLE.get(name, {}).get(key, 0))).all(), key


@every_form
def test_settings_survive_json(name, variant):
    method = small_method(name, variant)
    assert make_method(name, json.loads(json.dumps(settings_of(method)))) == method


@every_form
def test_needs_and_prepares_on_are_parts_of_a_request(name, variant):
    method = small_method(name, variant)
    assert method.needs and set(method.needs) <= {"support", "forget", "retain", "val"}
    assert set(method.prepares_on) <= {"train", "val"}


@every_form
def test_a_declared_part_that_is_absent_is_named(name, variant):
    method, (model, artefacts, _) = small_method(name, variant), once(name, variant, "vit", True)
    parts = parts_of(tiny_faces(10, (6, 6), size=32))
    for absent in method.needs:
        given = Given({part: parts[part] for part in method.needs if part != absent})
        with pytest.raises(NotGiven, match=f"no {absent} data was given"):
            given.only(method.needs)
        with pytest.raises(NotGiven, match=f"no {absent} data was given"):
            method.unlearn(model, given, artefacts, generator=generator())


@every_form
def test_preparing_and_unlearning_go_through_a_file(name, variant, tmp_path):
    model, artefacts, unlearned = once(name, variant, "vit", True)
    save_tensors(tmp_path / "artefacts.safetensors", artefacts.tensors)
    loaded = Artefacts(load_tensors(tmp_path / "artefacts.safetensors"))
    method = small_method(name, variant)
    given = Given(parts_of(tiny_faces(10, (6, 6), size=32))).only(method.needs)
    assert same_weights(unlearned, method.unlearn(model, given, loaded, generator=generator()))


def test_a_variant_that_does_not_exist_is_named():
    two = register("two_forms", needs={"original": ("forget",), "one-shui": ("support",)})
    try:
        two(make_dataclass("TwoForms", [("variant", str, "one-shui")], frozen=True))
        assert make_method("two_forms").needs == ("support",)
        assert make_method("two_forms", {"variant": "original"}).needs == ("forget",)
        with pytest.raises(ValueError, match="two_forms has no variant 'best': choose original or one-shui"):
            make_method("two_forms", {"variant": "best"})
    finally:
        REGISTRY.pop("two_forms", None)


@every_method
def test_one_setting_that_does_not_exist_is_named(name):
    with pytest.raises(ValueError, match=f"{name} has no setting etta: it takes "):
        make_method(name, {"etta": 1})


def test_an_unknown_method_is_named():
    with pytest.raises(ValueError, match="'forget_me' is unknown: choose one of .*gradient_ascent, .*meta_unlearn"):
        make_method("forget_me")


def test_a_name_is_registered_once():
    with pytest.raises(ValueError, match="'meta_unlearn' is registered already"):
        register("meta_unlearn", needs=("support",))(type("Other", (), {}))


def test_given_names_the_part_that_is_absent():
    given = Given({"support": tiny_faces()})
    assert given.only(("support",)).support is given.support
    with pytest.raises(NotGiven, match=r"no retain data was given \(only support\)"):
        _ = given.retain
    with pytest.raises(NotGiven, match="no forget data"):
        given.only(("support", "forget"))


def test_with_parameters_is_a_copy():
    model = small_vit()
    theta = {name: torch.zeros_like(value) for name, value in parameters(model).items()}
    changed = with_parameters(model, theta)
    assert same_weights(model, small_vit())
    assert all(not value.any() for value in changed.parameters())


# Gradient ascent


def by_hand(model: FaceModel, support: Faces, eta: float) -> dict[str, torch.Tensor]:
    """θ + η ∇L(S), by autograd on a copy."""
    model = copy.deepcopy(model)
    task_loss(model(support.pixels()).logits, support.targets).backward()
    return {name: (p + eta * p.grad).detach() for name, p in model.named_parameters()}


def assert_close(model: FaceModel, theta: dict[str, torch.Tensor]) -> None:
    for name, value in model.named_parameters():
        torch.testing.assert_close(value.detach(), theta[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("multilabel", [True, False])
def test_gradient_ascent_by_hand(multilabel):
    model, support = small_vit(4 - multilabel), tiny_faces(multilabel=multilabel)[slice(0, 70)]
    method = make_method("gradient_ascent", {"eta": 0.3})
    found = method.unlearn(model, Given({"support": support}), Artefacts(), generator=generator())
    assert_close(found, by_hand(model, support, 0.3))


def test_two_steps_of_gradient_ascent_are_one_after_another():
    model, given = small_vit(), Given({"support": tiny_faces()[slice(0, 5)]})
    both, single = (make_method("gradient_ascent", {"eta": 0.1, "steps": steps}) for steps in (2, 1))
    found = both.unlearn(model, given, Artefacts(), generator=generator())
    for _ in range(2):
        model = single.unlearn(model, given, Artefacts(), generator=generator())
    assert_close(found, dict(model.named_parameters()))


# A step that is given its rise


@pytest.mark.parametrize("multilabel", [True, False])
@pytest.mark.parametrize(("name", "size"), [("gradient_ascent", "eta"), ("curvature", "eta"), ("pgu", "lr")])
def test_a_short_step_raises_what_it_climbs_by_as_much_as_it_is_told(name, size, multilabel):
    """Whatever the length of the gradient; PGU's is a fall. In double precision, for steps this short."""
    model, faces = small_vit(4 - multilabel).double(), tiny_faces(multilabel=multilabel)
    torch.nn.init.normal_(model.network.get_classifier().weight, generator=generator())  # zero would stop gradients
    support, nats = faces[slice(0, 5)], 1e-4
    more = {"epochs": 1} if name == "pgu" else {"copies": 0}
    method = make_method(name, {"variant": "rise", size: nats, **more})
    artefacts = method.prepare(model, {"train": faces}, generator=generator())

    def climbed(changed: FaceModel) -> float:
        logits = predict(changed, support).logits.double()
        return -method.loss(logits, support.targets) if name == "pgu" else task_loss(logits, support.targets)

    found = method.unlearn(model, Given({"support": support}), artefacts, generator=generator())
    assert float(climbed(found) - climbed(model)) == pytest.approx(nats, rel=0.05)


def test_a_step_that_does_not_climb_is_not_taken():
    ahead, nothing = {"w": torch.tensor([3.0, 4.0])}, {"w": torch.zeros(2)}
    back = {"w": -ahead["w"]}
    assert to_rise(0.5, ahead, ahead) == 0.5 / 25
    assert [to_rise(0.5, ahead, step) for step in (back, nothing)] == [0, 0]


# MetaUnlearn


def alignment(loss_f: float) -> Alignment:
    """Weighted: 0.5 loss_f to forget, 0.6 for validation under θ_u, 0.25 under θ."""
    losses = (torch.tensor(value, requires_grad=True) for value in (loss_f, 1.0, 1.0))
    return Alignment(*losses, score_f=0.5, score_v=0.4, score_v0=0.75)


def test_eq_5_is_squared_and_without_factor():
    a = alignment(3.0)._replace(loss_v=torch.tensor(3.5), loss_v0=torch.tensor(2.8))
    objective = alignment_objective(a, distance="squared", accuracy_factor=False)
    assert objective.item() == pytest.approx(0.5**2 + 0.2**2)


def test_eq_6_weighs_by_what_the_model_gets_wrong():
    # smooth-L1 of 1.5 − 0.6 = 0.9 is 0.9²/2; of 1.5 − 0.25 = 1.25 it is 1.25 − ½.
    a = alignment(3.0)
    objective = alignment_objective(a)
    assert objective.item() == pytest.approx(0.9**2 / 2 + 1.25 - 0.5)
    objective.backward()
    assert a.loss_f.grad.item() == pytest.approx(0.5 * (0.9 + 1))
    assert a.loss_v.grad is None and a.loss_v0.grad is None  # constants, as in the authors' code


def test_embedding_rows_by_hand():
    known = torch.tensor([2, 5, 11, 12])
    assert embedding_rows(known, np.array([11, 2, 11])).tolist() == [2, 0, 2]
    assert embedding_rows(known, np.array([99, 3, 5, 3])).tolist() == [4, 4, 1, 4]  # strangers share the last row


def test_a_model_that_has_never_seen_the_person_takes_the_step_too():
    model, artefacts, _ = once("meta_unlearn", "", "vit", True)
    stranger = parts_of(tiny_faces(10, (5, 5), size=32))["val"][slice(0, 1)]
    method = make_method("meta_unlearn", SMALL["meta_unlearn"])
    assert not same_weights(
        model, method.unlearn(model, Given({"support": stranger}), artefacts, generator=generator())
    )


@pytest.mark.parametrize("inputs", [("logits",), ("logits", "features"), ("ids", "targets", "logits")])
def test_the_learned_loss_takes_any_of_its_inputs(inputs):
    method = make_method("meta_unlearn", SMALL["meta_unlearn"] | {"inputs": inputs})
    parts, model = parts_of(tiny_faces(10, (5, 5))), small_vit()
    artefacts = method.prepare(model, parts, generator=generator())
    unlearned = method.unlearn(model, Given(parts), artefacts, generator=generator())
    assert not same_weights(unlearned, model)


def test_preparing_moves_phi_and_writes_one_row_per_simulated_request():
    method = make_method("meta_unlearn", SMALL["meta_unlearn"] | {"epochs": 2})
    parts, model = parts_of(tiny_faces(10, (5, 5))), small_vit()
    found = method.prepare(model, parts, generator=generator())
    untrained = make_method("meta_unlearn", settings_of(method) | {"alpha": 0.0}).prepare(
        model, parts, generator=generator()
    )
    moved = {name for name, value in found.tensors.items() if not torch.equal(value, untrained.tensors[name])}
    assert moved == {name for name in found.tensors if name.startswith("phi/")}
    assert found.history["epoch"].tolist() == [1] * 3 + [2] * 3  # 7 identities in groups of 3, the last filled up
    assert {"objective", "h", *Alignment._fields} <= set(found.history)


@pytest.mark.parametrize("preconditioner", ["none", "pgu", "kfac"])
@pytest.mark.parametrize("residual", [False, True])
def test_steps_beyond_the_paper_are_learned_and_taken(residual, preconditioner):
    settings = {"preconditioner": preconditioner, "residual": residual, "learned_steps": True}
    method = make_method("meta_unlearn", SMALL["meta_unlearn"] | settings)
    parts, model = parts_of(tiny_faces(10, (5, 5))), small_vit()
    artefacts = method.prepare(model, parts, generator=generator())
    sizes = artefacts.tensors["phi/log_steps"]
    unlearned = method.unlearn(model, Given(parts), artefacts, generator=generator())
    assert len(sizes) == len([*model.parameters()]) and sizes.any() and not same_weights(unlearned, model)
    if preconditioner == "pgu":
        moved = {n for n, p in unlearned.named_parameters() if not torch.equal(p, model.get_parameter(n))}
        assert moved <= {f"{layer}.weight" for layer in layers_of(model)}


@pytest.mark.parametrize("multilabel", [True, False], ids=["bce", "cross_entropy"])
@pytest.mark.parametrize("objective", [*TERMS, *OTHER_OBJECTIVES])
def test_every_objective_is_learned_from(objective, multilabel):
    method = make_method("meta_unlearn", SMALL["meta_unlearn"] | {"objective": objective})
    parts, model = parts_of(tiny_faces(10, (5, 5), multilabel=multilabel)), small_vit(3 if multilabel else 4)
    untaught = predict(model, parts["train"]).logits.flip(0)  # as if others had answered
    parts["held_out"] = replace(parts["train"], targets=untaught)
    found = method.prepare(model, only(parts, method.prepares_on), generator=generator())
    default = make_method("meta_unlearn", settings_of(method) | {"objective": "both"})
    other = default.prepare(model, only(parts, default.prepares_on), generator=generator())
    same = all(torch.equal(value, other.tensors[name]) for name, value in found.tensors.items())
    assert same == (objective == "both") and found.history["objective"].notna().all()


@pytest.mark.parametrize("preconditioner", ["none", "kfac"])
def test_a_residual_loss_that_has_learned_nothing_is_ascent(preconditioner):
    parts, model = parts_of(tiny_faces(10, (5, 5))), small_vit()
    settings = {"residual": True, "epochs": 0, "preconditioner": preconditioner, "eta": 1e-2, "damping": 1.0}
    ours = make_method("meta_unlearn", SMALL["meta_unlearn"] | settings)
    twin = {"none": {}, "kfac": {"damping": 1.0, "copies": 0}}[preconditioner]
    theirs = make_method("curvature" if twin else "gradient_ascent", {"eta": 1e-2, **twin})
    artefacts = ours.prepare(model, parts, generator=generator())  # curvature reads its own among them
    found, expected = (m.unlearn(model, Given(parts), artefacts, generator=generator()) for m in (ours, theirs))
    assert_close(found, dict(expected.named_parameters()))
    assert not same_weights(found, model)


def test_micro_batches_do_not_matter():
    parts, model = parts_of(tiny_faces(10, (5, 5))), small_vit()
    unlearned = []
    for micro_batch in (1, 64):
        method = make_method("meta_unlearn", SMALL["meta_unlearn"] | {"micro_batch": micro_batch})
        artefacts = method.prepare(model, parts, generator=generator())
        unlearned.append(method.unlearn(model, Given(parts), artefacts, generator=generator()))
    assert_close(unlearned[0], dict(unlearned[1].named_parameters()))


def test_the_paper_preset_reads_all_inputs_whatever_was_selected_for_small_models():
    assert ALL_INPUTS == INPUTS
    for dataset, n_ids in (("celebahq", 20), ("faces", 10)):
        assert settings_for("meta_unlearn", preset="paper", dataset=dataset, n_ids=n_ids)["inputs"] == INPUTS


@pytest.mark.parametrize("setting", ["distance", "objective", "preconditioner"])
def test_a_word_that_meta_unlearn_does_not_know_is_named_with_its_choices(setting):
    with pytest.raises(ValueError, match=f"{setting}='nothing' is unknown: choose .* or "):
        make_method("meta_unlearn", {setting: "nothing"})


def test_strangers_and_the_never_rehearsed_get_the_mean_row():
    faces = tiny_faces(10, (5, 5))
    alone = faces[np.r_[0, 5 : len(faces)]]  # of person 0 there is one photo: no rehearsal can have them
    parts = parts_of(faces) | {"train": alone}
    method = make_method("meta_unlearn", SMALL["meta_unlearn"] | {"inputs": INPUTS})
    artefacts = method.prepare(small_vit(), only(parts, method.prepares_on), generator=generator())
    rows = artefacts.tensors["phi/identities.weight"]
    assert artefacts.tensors["identities"].tolist() == [*range(10)]
    mean = rows[1:10].mean(0)
    assert rows[1:10].std(0).min() > 0
    torch.testing.assert_close(rows[[0, 10]], mean.expand(2, -1))


def test_reading_the_course_of_meta_training_leaves_the_global_randomness_alone():
    faces = tiny_faces(10, (5, 5))
    method = make_method("meta_unlearn", SMALL["meta_unlearn"])
    course = _MetaTraining(method, small_vit(), parts_of(faces), 0)
    course.size = {"eta": method.eta, "micro_batch": method.micro_batch, "precondition": None}
    before = torch.random.get_rng_state()
    for _ in course._one_epoch(generator()):
        assert torch.equal(torch.random.get_rng_state(), before)
        break


@pytest.mark.parametrize("preconditioner", ["none", "kfac"])
def test_what_is_matched_is_the_step_on_the_images_to_forget(preconditioner):
    faces, model = tiny_faces(10, (5, 5)), small_vit()
    changed = {"objective": "match", "preconditioner": preconditioner}
    method = make_method("meta_unlearn", SMALL["meta_unlearn"] | changed)
    course = _MetaTraining(method, model, parts_of(faces), 0)
    divide = method._precondition(method._known_of(model, parts_of(faces)["train"], generator()), course.theta)
    course.size = {"eta": method.eta, "micro_batch": method.micro_batch, "precondition": divide}
    support, forget = np.array([0, 5]), np.array([1, 2, 3, 6, 7])
    known = course._known(support, forget, np.arange(4), generator())
    step = loss_gradient(model, course.theta, parts_of(faces)["train"][forget])[2]
    step = divide(step) if divide else step
    assert known.theta is course.theta and known.wanted.keys() == step.keys()
    for name, value in known.wanted.items():
        torch.testing.assert_close(value, step[name])


def test_a_step_is_judged_by_where_it_points_and_not_by_its_length():
    model = small_vit()
    theta, faces = parameters(model), tiny_faces(4, (5, 5))
    wanted = {name: torch.randn_like(value) for name, value in theta.items()}
    known = MetaBatch(faces, faces, predict(model, faces).logits, theta=theta, wanted=wanted)
    found = {
        length: match_objective(
            model, {name: value + length * wanted[name] for name, value in theta.items()}, known, size={}
        )
        for length in (0.0, 0.1, 1.0, -1.0)
    }
    assert [one.value.item() for one in found.values()] == pytest.approx([1, 0, 0, 2], abs=1e-6)
    assert not any(part.any() for part in found[0.0].gradient.values()), "no length, no direction"


def test_a_request_in_which_nobody_has_an_attribute_is_learned_from_without_its_factor():
    parts = parts_of(tiny_faces(10, (5, 5)))
    rare = torch.zeros_like(parts["train"].targets)
    rare[0, 0] = 1
    parts["train"] = replace(parts["train"], targets=rare)
    method = make_method("meta_unlearn", SMALL["meta_unlearn"])
    history = method.prepare(small_vit(), only(parts, method.prepares_on), generator=generator()).history
    assert history["score_f"].isna().any() and history["objective"].notna().all()
    plain = Alignment(*torch.tensor([1.0, 2.0, 3.0]), math.nan, 0.5, 0.5)
    by_hand = alignment_objective(plain._replace(score_f=0.0))
    torch.testing.assert_close(alignment_objective(plain), by_hand)


WRONG = {
    "text": ("gradient_ascent", {"eta": "0.1"}, "gradient_ascent: eta='0.1' is str, expected float"),
    "negative": ("meta_unlearn", {"epochs": -3}, "meta_unlearn: epochs must be >= 0, got -3"),
    "fraction": ("gradient_ascent", {"steps": 1.5}, "gradient_ascent: steps=1.5 is float, expected int"),
    "infinite": ("ssd", {"alpha": math.inf}, "ssd: alpha must be >= 0, got inf"),
    "not a number": ("ssd", {"alpha": math.nan}, "ssd: alpha must be >= 0, got nan"),
    "flag": ("meta_unlearn", {"residual": 1}, "meta_unlearn: residual=1 is int, expected bool"),
    "whole flag": ("gradient_ascent", {"steps": True}, "gradient_ascent: steps=True is bool, expected int"),
    "words": ("meta_unlearn", {"inputs": "ids"}, "meta_unlearn: inputs='ids' should be several words"),
    "nothing": ("gradient_ascent", {"eta": None}, "gradient_ascent: eta=None is NoneType, expected float"),
}


@pytest.mark.parametrize("method, settings, reason", WRONG.values(), ids=WRONG)
def test_a_setting_of_another_type_or_range_is_named(method, settings, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        make_method(method, settings)


@pytest.mark.parametrize(("name", "variant"), [form for form in FORMS if hasattr(small_method(*form), "bf16")])
def test_a_method_that_is_asked_to_computes_in_bfloat16(name, variant):
    parts, model, seen = parts_of(tiny_faces(10, (6, 6), size=32)), small_vit(3, size=32), []
    model.network.head.register_forward_hook(lambda _, given, answer: seen.append(answer.dtype))
    kinds = {}
    for bf16 in (False, True):
        method = replace(small_method(name, variant), bf16=bf16)
        artefacts = method.prepare(model, parts, generator=generator())
        after = method.unlearn(model, Given(parts), artefacts, generator=generator())
        assert all(value.dtype == torch.float32 for value in after.parameters()), "weights stay as they are"
        kinds[bf16] = {*seen}
        seen.clear()
    assert kinds[False] == {torch.float32} and torch.bfloat16 in kinds[True]


def test_meta_unlearn_computes_all_in_bfloat16_but_what_it_says_of_the_photos_handed_in():
    parts, model, sizes = parts_of(tiny_faces(10, (6, 6), size=32)), small_vit(3, size=32), {}

    def looked(network, given, answer):
        sizes.setdefault(answer.logits.dtype, set()).add(len(given[0]))

    model.register_forward_hook(looked)
    replace(small_method("meta_unlearn", ""), bf16=True).prepare(model, parts, generator=generator())
    assert sizes[torch.float32] == {3}, "one photo each"
    assert 3 not in sizes[torch.bfloat16] and sizes[torch.bfloat16] > {8, len(parts["val"])}


def test_one_and_one_point_naught_are_one_setting():
    one, other = (make_method("gradient_ascent", {"eta": eta}) for eta in (1, 1.0))
    assert json.dumps(settings_of(one)) == json.dumps(settings_of(other))
    assert make_method("scrub", {"epochs": None}) == make_method("scrub")
