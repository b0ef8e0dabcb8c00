"""Inversion, substitutes, losses and the cascade."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_gan import QUICK, killed_and_resumed_alike, same, small_faces, small_gan

from shui_lib.benchmark.data import Faces
from shui_lib.gan.cascade import Cascade
from shui_lib.gan.latents import (
    Inversion,
    Substitutes,
    all_labels,
    invert,
    mean_latent,
    other_class,
    psnr_of,
    render,
)
from shui_lib.gan.steps import (
    Diverged,
    Game,
    adversarial,
    fake_label_of,
    learn_discriminator,
    redraw,
    substitution,
    unlearn_discriminator,
)
from shui_lib.methods import Given, NotGiven
from shui_workbook.studies.gan.requests import request_of

FAST = {"steps": 4, "check": 2, "batch": 6, "inversion": QUICK, "r1_every": 2}
CHILD = """
import sys
from pathlib import Path
from small_gan import QUICK, small_faces, small_gan
from shui_lib.gan.cascade import Cascade
from shui_lib.gan.stylegan2 import save_gan
from shui_lib.methods import Given
from shui_workbook.studies.gan.requests import request_of
folder, request = Path(sys.argv[1]), request_of(small_faces(), "item-6", seed=0)
given = Given({"forget": request.forget, "learn": request.learn})
cascade = Cascade(steps=60, check=2, batch=6, inversion=QUICK, stop="never", mechanism="projection")
gan, _ = cascade.unlearn(small_gan(), given, checkpoint=folder / "cascade.checkpoint")
save_gan(folder / "gan.safetensors", gan)
"""


def given_of(kind: str, *parts: str) -> Given:
    request = request_of(small_faces(), kind, seed=0)
    return Given({part: getattr(request, part).in_memory() for part in parts or ("forget", "learn")})


# Inversion and substitutes


def test_generated_pictures_are_found_again():
    g = small_gan().generator
    w = g.latent(torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2] * 2)).detach()
    found, psnr = invert(g, g.synthesis(w).detach(), Inversion(steps=400))
    assert psnr.min() > 30
    assert torch.allclose(psnr_of(g.synthesis(found), g.synthesis(w)), psnr)


def test_each_picture_is_inverted_for_itself():
    g, x = small_gan().generator, small_faces().pixels()[:5]
    together, alone = invert(g, x, QUICK)[0], torch.cat([invert(g, one[None], QUICK)[0] for one in x])
    assert torch.allclose(together, alone, atol=1e-4)
    assert all(parameter.grad is None for parameter in g.parameters())


def test_pictures_of_another_size_or_none_are_refused():
    with pytest.raises(ValueError, match="the GAN draws"):
        invert(small_gan().generator, torch.zeros(2, 3, 16, 16))
    with pytest.raises(ValueError, match="the GAN draws"):
        invert(small_gan().generator, torch.zeros(0, 3, 8, 8))


def test_substitutes_at_their_ends():
    g = small_gan().generator
    w = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    average = mean_latent(g, all_labels(g))
    at = {name: Substitutes(g, w, name, label=None) for name in ("average", "truncation", "projection")}
    assert torch.allclose(at["average"].at(0.0), average.expand(4, 8))
    assert torch.allclose(render(g, at["projection"].at(0.0)), g.synthesis(w), atol=1e-5)
    assert torch.allclose(at["projection"].at(0.0), w) and torch.allclose(
        at["projection"].at(0.25), at["truncation"].at(0)
    )
    for passed in (0.5, 1.0):
        assert torch.allclose(at["projection"].at(passed), at["average"].at(0))


@pytest.mark.parametrize("passed", [0.0, 0.3, 1.0])
def test_truncation_is_one_half_of_the_way_to_the_mean_latent(passed):
    g = small_gan().generator
    w = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
    z = torch.randn(10_000, 8, generator=torch.Generator().manual_seed(0))
    mean = g.latent(z, torch.arange(10_000) % 3).mean(0)
    torch.testing.assert_close(Substitutes(g, w, "truncation", label=None).at(passed), (w + mean) / 2)


def test_other_class_never_picks_its_own():
    g = small_gan().generator
    means = torch.stack([mean_latent(g, label[None]) for label in all_labels(g)])
    for label in range(3):
        picked = other_class(g, means, label)
        assert not (picked == means[label]).all(1).any()
        assert torch.equal(picked[(label + 1) % 3], means[(label + 1) % 3])  # the nearest is itself where allowed


@pytest.mark.parametrize(("mechanism", "label"), [("other-class", None), ("truncation", 1), ("nothing", None)])
def test_substitutes_that_do_not_serve_are_named(mechanism, label):
    kind = "item-6" if label is None else "class-1"
    with pytest.raises(ValueError, match="does not serve"):
        Cascade(mechanism=mechanism, **FAST).unlearn(small_gan(), given_of(kind), label=label)


# Losses by hand


def test_losses_by_hand():
    one, two = torch.tensor([1.0, -1.0]), torch.tensor([0.0, 2.0])
    soft = [torch.log1p(torch.exp(sign * part)).mean() for sign, part in ((-1, one), (1, two))]
    expected = 0.5 * ((1 + 2) ** 2 + (-1 + 2) ** 2) / 2 + soft[1]
    assert torch.allclose(unlearn_discriminator(one, two, -2.0), expected)
    assert torch.allclose(adversarial(one), soft[0])
    assert torch.allclose(learn_discriminator(one, one - 0.5, two), soft[0] + 0.25 + soft[1])
    x, y = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    assert torch.allclose(substitution(x, y), (x - y).square().mean())


def test_the_perceptual_term_is_zero_for_equal_pictures_alone():
    def maps(x):
        return [x, x[:, :1, ::2]]

    x, y = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16)
    assert substitution(x, x, perceptual=1.0, maps=maps) == 0
    angles = 2 - 2 * F.cosine_similarity(x, y).mean()  # of the second map, of one channel, nothing is left
    assert torch.allclose(substitution(x, y, perceptual=0.5, maps=maps), F.mse_loss(x, y) + 0.5 * angles)


def test_the_fake_label_is_a_constant_or_a_quantile():
    logits = torch.arange(101.0)
    assert fake_label_of(logits, constant=None, quantile=0.01) == 1
    assert fake_label_of(logits, constant=0.1, quantile=0.01) == pytest.approx(0.1)


def test_latents_are_constants_and_only_the_synthesis_moves():
    gan, before = small_gan(), small_gan()
    w = torch.randn(4, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    kept = w.detach().clone()
    shown, label = torch.zeros(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
    told = redraw(Game(gan, 0.01), w, label, shown)
    drawn = before.generator.synthesis(w)
    by_hand = F.softplus(-before.discriminator(drawn, label)).mean() + drawn.square().mean()
    assert told["unlearn_g"] == pytest.approx(by_hand.item(), rel=1e-5)
    assert w.grad is None and torch.equal(w, kept)
    moved = {
        name for name, p in gan.generator.named_parameters() if not torch.equal(p, before.generator.get_parameter(name))
    }
    assert moved and all(name.startswith("synthesis") for name in moved)
    assert all(map(torch.equal, gan.discriminator.parameters(), before.discriminator.parameters()))


# The cascade


@pytest.mark.parametrize("kind", ["item-6", "class-1"])
@pytest.mark.parametrize("shot", ["few", "zero"])
def test_a_cascade_returns_a_new_gan_and_touches_nothing(shot, kind):
    gan, before, cascade = small_gan(), small_gan(), Cascade(shot=shot, stop="never", **FAST)
    label = 1 if kind == "class-1" else None
    given = given_of(kind, *cascade.needs)
    found, history = cascade.unlearn(gan, given, label=label)
    assert same(gan, before) and not same(found, gan)
    assert all(parameter.grad is None for network in gan for parameter in network.parameters())
    assert history["step"].tolist() == [0, 2, 4] and history["seconds"].is_monotonic_increasing
    assert same(found, cascade.unlearn(gan, given, label=label)[0])


def test_zero_shot_never_looks_at_what_stays():
    alone = Cascade(shot="zero", **FAST)
    assert alone.needs == ("forget",)
    assert same(
        *(alone.unlearn(small_gan(), given_of("item-6", *parts))[0] for parts in (["forget"], ["forget", "learn"]))
    )
    with pytest.raises(NotGiven, match="no learn data"):
        Cascade(**FAST).unlearn(small_gan(), given_of("item-6", "forget"))


def test_zero_shot_works_where_the_data_folder_is_gone(tmp_path):
    faces = small_faces()
    np.save(tmp_path / "images.npy", faces.images)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r", allow_pickle=False)
    stored = Faces(mapped, faces.rows, faces.identity, faces.targets, faces.classes)
    given = Given({"forget": request_of(stored, "item-6", seed=0).forget.in_memory()})
    (tmp_path / "images.npy").unlink()
    del mapped, stored
    found, _ = Cascade(shot="zero", **FAST).unlearn(small_gan(), given)
    assert same(found, Cascade(shot="zero", **FAST).unlearn(small_gan(), given_of("item-6", "forget"))[0])


def test_one_photo_asks_for_the_support_alone():
    cascade = Cascade(shot="zero", asked="support", **FAST)
    assert cascade.needs == ("support",)
    found, history = cascade.unlearn(small_gan(), Given({"support": small_faces()[:1].in_memory()}))
    assert not same(found, small_gan()) and "auc_used" not in history


def test_a_class_is_told_apart_after_unlearning():
    settings = FAST | {"steps": 30, "check": 30, "lr": 5e-3, "constant": -3.0}
    _, history = Cascade(stop="never", **settings).unlearn(small_gan(), given_of("class-1"), label=1)
    assert history["auc_used"].iloc[0] < 0.2 < 0.9 < history["auc_used"].iloc[-1]
    assert history["fake_label"].eq(-3.0).all()


def test_latents_that_are_known_are_not_looked_for_again(monkeypatch):
    cascade, given = Cascade(shot="zero", **FAST), given_of("item-6", "forget")
    expected = cascade.unlearn(small_gan(), given)[0]
    w = invert(small_gan().generator, given.forget.pixels(), QUICK)[0]
    monkeypatch.setattr("shui_lib.gan.cascade.invert", lambda *_: pytest.fail("looked for again"))
    assert same(expected, cascade.unlearn(small_gan(), given, w=w)[0])
    assert not same(expected, cascade.unlearn(small_gan(), given, w=w + 1)[0])


def test_it_stops_after_two_looks_in_a_row():
    said = iter([0.9, 0.1, 0.9, 0.9, 0.9, 0.9])
    _, history = Cascade(stop="auc_lu", **FAST | {"steps": 12}).unlearn(
        small_gan(), given_of("item-6"), watch=lambda _: {"auc_lu": next(said)}
    )
    assert history["stop"].tolist() == [True, False, True, True]
    _, history = Cascade(stop="fd_share", goal=1.0, **FAST).unlearn(
        small_gan(), given_of("class-1"), label=1, watch=lambda _: {"fd_share": 1.0}
    )
    assert history["step"].tolist() == [0, 2]


def test_kill_9_in_a_cascade_changes_no_weight(tmp_path):
    assert killed_and_resumed_alike(CHILD, tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"shot": "some"}, "few or zero"), ({"stop": "auc_used", "shot": "zero"}, "zero-shot has none"),
     ({"steps": 0}, "must be positive"), ({"quantile": 2.0}, "quantile in")],
)  # fmt: skip
def test_settings_are_checked(settings, words):
    with pytest.raises(ValueError, match=words):
        Cascade(**settings)


def test_bad_requests_are_named():
    gan, given = small_gan(), given_of("class-1")
    with pytest.raises(ValueError, match="class 9 does not exist"):
        Cascade(**FAST).unlearn(gan, given, label=9)
    with pytest.raises(ValueError, match="give them, or set perceptual=0"):
        Cascade(perceptual=1.0, **FAST).unlearn(gan, given)
    with pytest.raises(ValueError, match="needs `watch`"):
        Cascade(stop="auc_lu", **FAST).unlearn(gan, given)
    with pytest.raises(ValueError, match="do not fit a GAN of 8 px"):
        Cascade(shot="zero", **FAST).unlearn(gan, Given({"forget": small_faces(size=16)}))


def test_a_cascade_that_diverges_keeps_its_checkpoint(tmp_path):
    file = tmp_path / "cascade.checkpoint"
    cascade = Cascade(stop="never", **FAST | {"lr": 1e30})
    Cascade(stop="never", **FAST | {"steps": 2}).unlearn(small_gan(), given_of("item-6"), checkpoint=file)
    kept = file.read_bytes()
    with pytest.raises(Diverged, match="lower the learning rate"):
        cascade.unlearn(small_gan(), given_of("item-6"), checkpoint=file)
    assert file.read_bytes() == kept
