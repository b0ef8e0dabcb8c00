"""The Wiener filter and copies in feature space, against what they are by hand."""

import numpy as np
import pytest
import torch
from tiny import small_vit, tiny_faces

from shui_lib.benchmark.predict import pixels_for
from shui_lib.methods import make_method
from shui_lib.methods.parts.kfac import kfac
from shui_lib.methods.parts.meta_gradient import parameters
from shui_workbook.studies.proxies import PROXIES, cosines
from shui_workbook.studies.sharpen import FEATURES, FIRST_MAPS, PLACES, Displacements, WienerFilter, sharpened_by


@pytest.fixture(scope="module")
def factors():
    return kfac(small_vit(), tiny_faces(3, (4, 4)), generator=torch.Generator().manual_seed(0))


def gradients(count, seed):
    chance = torch.Generator().manual_seed(seed)
    shapes = {name: value.shape for name, value in parameters(small_vit()).items()}
    return [{name: torch.randn(shape, generator=chance) for name, shape in shapes.items()} for _ in range(count)]


def test_where_photos_say_what_the_person_says_nothing_is_taken_away(factors):
    people, (one,) = gradients(5, 0), gradients(1, 1)
    kept = WienerFilter(factors, people, people)(one)
    assert all(torch.allclose(kept[name], value, atol=1e-4) for name, value in one.items())


def test_where_people_are_alike_nothing_is_left(factors):
    (same,), alone, (one,) = gradients(1, 0), gradients(5, 1), gradients(1, 2)
    kept = WienerFilter(factors, alone, [same] * 5)(one)
    for layer in factors:
        assert kept[f"{layer}.weight"].abs().max() < 1e-4
    others = [name for name in one if name.rpartition(".")[0] not in factors]
    assert others and all(torch.equal(kept[name], one[name]) for name in others), "a step does not move them"


def test_half_is_left_where_people_differ_as_much_as_photos_of_one(factors):
    others, noise, (one,) = gradients(400, 0), gradients(400, 1), gradients(1, 2)
    alone = [
        {name: value + more[name] for name, value in person.items()} for person, more in zip(others, noise, strict=True)
    ]
    wiener = WienerFilter(factors, alone, others)
    shares = torch.cat([share.flatten() for share in wiener.shares.values()])
    assert shares.mean().item() == pytest.approx(0.5, abs=0.01) and shares.std() < 0.05
    weight = next(iter(factors)) + ".weight"
    assert (wiener(one)[weight] / one[weight]).median().item() == pytest.approx(0.5, abs=0.05)


def test_photos_are_moved_as_somebody_else_varies():
    model, faces = small_vit(), tiny_faces(3, (4, 4))
    layer, seen = model.get_submodule(FIRST_MAPS), []
    moves = Displacements(model, faces[[0]], faces[[1]], place=FIRST_MAPS)

    def maps(part):
        seen.clear()
        hook = layer.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
        model(pixels_for(model, part))
        hook.remove()
        return seen[0]

    expected = maps(faces[[5]]) + 0.3 * (maps(faces[[1]]) - maps(faces[[0]]))
    with moves.added(0.3, torch.Generator().manual_seed(0)):
        torch.testing.assert_close(maps(faces[[5]]), expected)
    torch.testing.assert_close(maps(faces[[5]]), expected - 0.3 * moves.maps)


def test_photos_are_moved_in_their_features():
    model, faces = small_vit(), tiny_faces(3, (4, 4))
    moves = Displacements(model, faces[[0]], faces[[1]], place=FEATURES)
    one, other, photo = (model(pixels_for(model, faces[[k]])).features.detach() for k in (0, 1, 5))
    with moves.added(0.3, torch.Generator().manual_seed(0)):
        found = model(pixels_for(model, faces[[5]])).logits
    head = model.network.get_classifier()
    torch.testing.assert_close(found, head(photo + 0.3 * (other - one)))
    torch.testing.assert_close(model(pixels_for(model, faces[[5]])).logits, head(photo))


def test_proxies_are_sharpened_by_people_who_stay(factors):
    faces, model, method = tiny_faces(6, (5, 5)), small_vit(), make_method("curvature")
    asked = faces.of(np.array([0, 1, 2]))
    first = np.unique(asked.identity, return_index=True)[1]
    generator = torch.Generator().manual_seed(0)
    sharpened = sharpened_by(method, model, factors, faces.of(np.array([3, 4, 5])), generator=generator)
    assert {place: len(moves.maps) for place, moves in sharpened.displacements.items()} == dict.fromkeys(PLACES, 3)
    kind = {"support": asked[first], "forget": asked, "generator": generator, "sharpened": sharpened}
    found = cosines(method, model, dict, **kind)
    assert list(found["proxy"].unique()) == list(PROXIES)
    wide = found.pivot(index="identity", columns="proxy", values="gradient")
    for sharper in [name for name, proxy in PROXIES.items() if proxy.filtered or proxy.moved]:
        assert not np.allclose(wide[sharper], wide["copies of the photo"], atol=1e-3)
    with pytest.raises(ValueError, match="1 of those who stay have two photos or more"):
        sharpened_by(method, model, factors, faces.of(np.array([3])), generator=generator)
    elsewhere = sharpened_by(method, model, factors, faces, generator=generator, places=("nowhere",))
    assert not elsewhere.displacements
    found = cosines(method, model, dict, **kind | {"sharpened": elsewhere})
    assert set(found["proxy"]) == {name for name, proxy in PROXIES.items() if not proxy.moved}, "filtered, not moved"
