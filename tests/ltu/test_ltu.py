import copy
import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import same_weights, tiny_faces
from torch.nn.functional import cross_entropy

import shui_lib.ltu.membership as membership
from shui_lib.ltu.baselines import BASELINES, Fisher, SalUn, fisher, joined, most_salient
from shui_lib.ltu.ltu import LTU
from shui_lib.ltu.membership import Guide, Member, NoGuide
from shui_lib.ltu.networks import SIZES, Recipe, build, train
from shui_lib.methods import REGISTRY, Artefacts, Given, with_parameters
from shui_lib.methods.parts.meta_gradient import parameters
from shui_workbook.studies.ltu import ABLATIONS
from shui_workbook.studies.ltu_requests import PARTS, as_people, draw_random_request, with_wrong_labels


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def world():
    faces = with_wrong_labels(tiny_faces(30, (6, 6), multilabel=False), 0.2, generator=generator())
    request = draw_random_request(faces, share=0.2, kept=0.5, generator=generator())
    model = build(SIZES["smoke"].network, classes=4, image_size=16, seed=0)
    parts = request.parts(faces)
    return train(model, parts["train"], Recipe(epochs=3, batch=32), generator=generator()), parts


@pytest.fixture
def two_guides(monkeypatch):
    """Membership models that are there already: how good they are is not the matter here."""

    def made(model, members, others, **options):
        torch.manual_seed(0)
        return {kind: Guide(Member(kind, 4).eval().requires_grad_(False), 0.6) for kind in ("sorted", "statistics")}

    monkeypatch.setattr("shui_lib.ltu.ltu.guides", made)


# The request


def test_parts_are_disjoint_and_nested():
    faces = tiny_faces(30, (6, 6), multilabel=False)
    small, large = (draw_random_request(faces, share=s, kept=0.3, generator=generator(1)) for s in (0.1, 0.5))
    for request in (small, large):
        rows = np.concatenate([request.forget, request.retain, request.val, request.test])
        assert sorted(rows) == list(range(len(faces))), "every image has one place"
        assert set(request.retain_subset) < set(request.retain)
        assert len(request.retain_subset) == round(0.3 * len(request.retain))
    assert set(small.forget) < set(large.forget)
    assert np.array_equal(small.test, large.test) and np.array_equal(small.train, large.train)
    more = draw_random_request(faces, share=0.1, kept=0.6, generator=generator(1))
    assert set(small.retain_subset) < set(more.retain_subset)
    assert sorted(small.parts(faces)) == sorted(PARTS)


def test_every_class_is_in_every_part():
    faces = as_people(tiny_faces(10, (10, 10)))
    assert len(faces.classes) == 10
    request = draw_random_request(faces, share=0.1, kept=0.3, generator=generator())
    for rows in (request.train, request.val, request.test):
        assert len(faces.targets[torch.from_numpy(rows)].unique()) == 10


@pytest.mark.parametrize("share, kept", [(0.0, 0.3), (1.0, 0.3), (0.1, 0.0), (0.1, 1.1)])
def test_impossible_requests_are_refused(share, kept):
    with pytest.raises(ValueError, match="share="):
        draw_random_request(tiny_faces(multilabel=False), share=share, kept=kept, generator=generator())


def test_wrong_labels_are_wrong():
    faces = tiny_faces(20, multilabel=False)
    noised = with_wrong_labels(faces, 0.25, generator=generator())
    assert (noised.targets != faces.targets).sum() == round(0.25 * len(faces))
    with pytest.raises(ValueError, match="classes"):
        with_wrong_labels(tiny_faces(), 0.1, generator=generator())


# The method


def test_it_says_what_it_sees_and_is_in_no_list_of_support_only_methods():
    assert "retain_subset" in LTU().needs and "support" not in LTU().needs and LTU().prepares_on == ()
    assert "ltu" not in REGISTRY


@pytest.mark.parametrize("change", [{}, *ABLATIONS.values()], ids=["LTU", *ABLATIONS])
def test_it_works_with_what_it_declares_and_leaves_the_model_alone(world, two_guides, change):
    model, parts = world
    method = LTU(**({"iterations": 2, "batch": 8, "beta": 0.01, "size": "smoke"} | change))
    given = Given(parts).only(method.needs)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    done = [method.unlearn(model, given, Artefacts(), generator=generator()) for _ in range(2)]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert same_weights(*done), "the same generator gives the same model"
    assert not same_weights(done[0], model)


def test_a_model_that_remembers_nothing_is_guided_only_where_any_guide_will_do(world):
    _, parts = world
    untrained = build(SIZES["smoke"].network, classes=4, image_size=16, seed=0).eval()
    given, options = Given(parts).only(LTU().needs), {"size": "smoke", "iterations": 1, "batch": 8}
    with pytest.raises(NoGuide, match="AUC above 0.9"):
        LTU(**options, least=0.9).unlearn(untrained, given, Artefacts(), generator=generator())
    done = LTU(**options, least=0.0).unlearn(untrained, given, Artefacts(), generator=generator())
    assert not same_weights(done, untrained)


def test_turns_tell_how_the_gradients_stood(world, two_guides):
    model, parts = world
    turns = list(LTU(iterations=3, batch=8).turns(model, Given(parts), generator=generator()))
    assert len(turns) == 3
    assert all(-1 <= turn.cosine <= 1 and 0 <= turn.removed <= 1 for turn in turns)
    assert all((turn.removed > 0) == (turn.cosine < 0) for turn in turns)
    alternating = LTU(iterations=2, batch=8, harmony="alternating")
    assert all(np.isnan(turn.cosine) for turn in alternating.turns(model, Given(parts), generator=generator()))


def test_five_passes_and_twenty_iterations_at_least(world, two_guides):
    model, parts = world
    one = LTU(batch=8, forget=False, samplers=("rand",))
    count = sum(1 for _ in one.turns(model, Given(parts), generator=generator()))
    assert count == max(20, -(-5 * len(parts["forget"]) // 8))


def test_unlearning_works_when_the_rest_of_the_data_is_gone_from_disk(world, two_guides, tmp_path):
    """Only D_f, D_r′ and val are read: the array of everything else is deleted, and the result is the same."""
    model, parts = world
    method = LTU(iterations=2, batch=8)
    wanted = method.unlearn(model, Given(parts).only(method.needs), Artefacts(), generator=generator())
    np.save(tmp_path / "all.npy", parts["forget"].images)
    on_disk = {name: replace(part, images=np.load(tmp_path / "all.npy", mmap_mode="r")) for name, part in parts.items()}
    given = Given({name: on_disk[name].in_memory() for name in method.needs})
    del on_disk
    gc.collect()
    (tmp_path / "all.npy").unlink()
    assert sum(len(part.images) for part in given.parts.values()) < len(parts["forget"].images)
    assert same_weights(method.unlearn(model, given, Artefacts(), generator=generator()), wanted)


def test_guides_never_change_while_they_guide(world, monkeypatch):
    model, parts = world
    torch.manual_seed(0)
    found = {kind: Guide(Member(kind, 4).eval().requires_grad_(False), 0.6) for kind in membership.KINDS}
    before = {k: {n: v.clone() for n, v in g.model.state_dict().items()} for k, g in found.items()}
    list(LTU(iterations=3, batch=8).turns(model, Given(parts), generator=generator(), found=found))
    for kind, guide in found.items():
        assert all(torch.equal(before[kind][n], v) for n, v in guide.model.state_dict().items())


def test_it_looks_at_plain_images_in_eval_mode_throughout(world):
    model, parts = world
    model, seen, modes = copy.deepcopy(model).train(), set(), set()
    plain = {image.numpy().tobytes() for part in LTU().needs for image in parts[part].pixels()}

    def looked(network, given):
        modes.update(module.training for module in network.modules())
        seen.update(image.numpy().tobytes() for image in given[0])

    model.register_forward_pre_hook(looked)
    method = LTU(iterations=3, batch=8, size="smoke", least=0.0)
    done = method.unlearn(model, Given(parts), Artefacts(), generator=generator())
    assert modes == {False} and not done.training
    assert len(seen) > len(parts["forget"]) and seen <= plain


@pytest.mark.parametrize(("kind", "matter"), [("sorted", False), ("labelled", True)])
def test_labels_of_the_images_to_forget_matter_to_membership_models_alone(world, kind, matter):
    model, parts = world
    torch.manual_seed(0)
    found = {kind: Guide(Member(kind, 4).eval().requires_grad_(False), 0.6)}
    wrong = replace(parts["forget"], targets=(parts["forget"].targets + 1) % 4)

    def after(forget):
        given = Given(parts | {"forget": forget}).only(LTU().needs)
        *_, last = LTU(iterations=2, batch=8, beta=0.1).turns(model, given, generator=generator(), found=found)
        return with_parameters(model, last.theta)

    assert same_weights(after(parts["forget"]), after(wrong)) != matter


def test_forgetting_makes_guides_say_not_a_member(world):
    """Descending along g_f alone lowers what the guides think of D_f."""
    model, parts = world
    torch.manual_seed(0)
    found = {"statistics": Guide(Member("statistics", 4).eval().requires_grad_(False), 0.6)}
    method = LTU(iterations=10, batch=32, beta=0.02, remember=False)
    from shui_lib.benchmark.predict import predict

    last = list(method.turns(model, Given(parts), generator=generator(), found=found))[-1]

    def thought(m):
        said = predict(m, parts["forget"]).logits
        return found["statistics"].model(said, parts["forget"].targets).mean()

    assert thought(with_parameters(model, last.theta)) < thought(model)


# Baselines


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_keep_the_contract(world, name):
    model, parts = world
    method = BASELINES[name]()
    given = Given(parts).only(method.needs)
    before = {n: value.clone() for n, value in model.state_dict().items()}
    done = [method.unlearn(model, given, Artefacts(), generator=generator()) for _ in range(2)]
    assert all(torch.equal(before[n], value) for n, value in model.state_dict().items())
    assert same_weights(*done) and not same_weights(done[0], model)
    assert not done[0].training


def test_salun_moves_the_salient_weights_alone(world):
    model, parts = world
    method = SalUn(salient=0.1, epochs=2)
    mask = method.mask(model, Given(parts))
    total = sum(m.numel() for m in mask.values())
    assert sum(int(m.sum()) for m in mask.values()) == round(0.1 * total)
    done = parameters(method.unlearn(model, Given(parts), Artefacts(), generator=generator()))
    before = parameters(model)
    assert all(torch.equal(done[n][mask[n] == 0], before[n][mask[n] == 0]) for n in mask)
    assert any(not torch.equal(done[n], before[n]) for n in mask)


def test_the_mask_ranks_over_the_whole_network():
    mask = most_salient({"a": torch.tensor([1.0, -5.0]), "b": torch.tensor([3.0, 0.1])}, 0.5)
    assert mask["a"].tolist() == [0, 1] and mask["b"].tolist() == [1, 0]


def test_fisher_noise_is_smaller_where_retain_images_need_a_weight(world):
    model, parts = world
    found = fisher(model, parts["retain"], batch=16, generator=generator())
    done = parameters(Fisher(alpha=1e-6).unlearn(model, Given(parts), Artefacts(), generator=generator()))
    moved = torch.cat([(done[n] - v).abs().flatten() for n, v in parameters(model).items()])
    need = torch.cat([f.flatten() for f in found.values()])
    high = need > need.median()
    assert moved[high].mean() < moved[~high].mean()


def test_fisher_forgetting_by_hand(world):
    """α / F for each weight of each layer alike: of the published code's exceptions none is made."""
    model, parts = world
    steep = {name: 10 * value for name, value in parameters(model).items() if ".fc." in name}
    model, retain = with_parameters(model, steep), parts["retain"][:4]
    given = Given(parts | {"retain": retain})
    done = parameters(Fisher(alpha=1e-6).unlearn(model, given, Artefacts(), generator=generator()))
    chance = generator()
    logits = model(retain[torch.randperm(4, generator=chance)].pixels()).logits
    answers = torch.multinomial(logits.detach().softmax(1), 1, generator=chance)[:, 0]
    slopes = torch.autograd.grad(cross_entropy(logits, answers), [*model.parameters()])
    uneven = set()
    for (name, value), slope in zip(parameters(model).items(), slopes, strict=True):
        deviation = (1e-6 * (1 / (slope.square() + 1e-8)).clamp(max=1e3)).sqrt()
        torch.testing.assert_close(done[name], value + deviation * torch.randn(value.shape, generator=chance))
        if deviation.std() > 0.1 * deviation.mean():
            uneven.add((name.split(".")[-2], value.ndim))
    assert {("fc", 2), ("conv1", 4), ("bn1", 1)} <= uneven, "elsewhere a mean over inputs would not show"


def test_fisher_forgetting_erases_no_class_by_name(world):
    """Whichever class is to be forgotten, the same noise is added: D_f is not looked at."""
    model, parts = world
    of_class = [parts["forget"][parts["forget"].targets == label] for label in range(4)]
    given = [Given(parts | {"forget": forget}) for forget in of_class]
    one, *others = (Fisher().unlearn(model, each, Artefacts(), generator=generator()) for each in given)
    assert all(map(len, of_class)) and all(same_weights(one, other) for other in others)


def test_joined_views_keep_their_images(world):
    _, parts = world
    both = joined(parts["forget"], parts["retain"])
    assert torch.equal(both.pixels(), torch.cat([parts["forget"].pixels(), parts["retain"].pixels()]))
    assert torch.equal(both.targets, torch.cat([parts["forget"].targets, parts["retain"].targets]))
