"""The architecture against obvious twins, in float64 where gradients are checked."""

import pytest
import torch
import torch.nn.functional as F

from shui_lib.core.store import CorruptFile, save_tensors
from shui_lib.gan.steps import r1_penalty
from shui_lib.gan.stylegan2 import (
    Equalised,
    GANConfig,
    Generator,
    build,
    load_gan,
    lrelu,
    modulated_conv,
    save_gan,
    spread,
)

TINY = GANConfig(classes=3, channels=(6, 4), latent=5, group=4)


@pytest.fixture
def gan():
    return build(TINY, seed=0)


def numbers(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("width", [1, 3])
def test_modulated_convolution_is_one_convolution_a_picture(demodulate, width):
    x, weight, style = numbers(4, 5, 8, 8), numbers(6, 5, width, width, seed=1), numbers(4, 5, seed=2)
    found = modulated_conv(x, weight, style, demodulate=demodulate)
    for picture, scale, y in zip(x, style, found, strict=True):
        own = weight * scale[None, :, None, None]
        if demodulate:
            own = own / (own.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        assert torch.allclose(y, F.conv2d(picture[None], own, padding=width // 2)[0], atol=1e-10)


def test_demodulated_outputs_do_not_feel_the_length_of_the_style():
    x, weight, style = numbers(2, 5, 8, 8), numbers(6, 5, 3, 3, seed=1), numbers(2, 5, seed=2)
    assert torch.allclose(modulated_conv(x, weight, style), modulated_conv(x, weight, 100 * style), atol=1e-6)


def test_modulated_convolution_has_its_gradients():
    inputs = (numbers(2, 2, 4, 4), numbers(3, 2, 3, 3, seed=1), numbers(2, 2, seed=2))
    assert torch.autograd.gradcheck(modulated_conv, [part.requires_grad_() for part in inputs])


@pytest.mark.parametrize("count", [8, 4, 6, 1])
def test_spread_is_the_mean_standard_deviation_of_each_group(count):
    x, group = numbers(count, 3, 2, 2), {8: 4, 4: 4, 6: 2, 1: 1}[count]
    found = spread(x, 4)
    stride = count // group
    for place in range(count):
        mates = x[place % stride :: stride]
        assert len(mates) == group
        expected = (mates.var(0, correction=0) + 1e-8).sqrt().mean()
        assert torch.allclose(found[place, -1], expected.expand(2, 2))
    assert torch.equal(found[:, :-1], x)


def test_r1_is_the_squared_gradient_of_each_picture(gan):
    d, x, y = gan.discriminator.double(), numbers(4, 3, 8, 8), torch.tensor([0, 1, 2, 0])
    found, h, total = r1_penalty(d, x, y), 1e-5, 0.0
    for place in range(0, x.numel(), 37):  # some pixels, by differences
        step = torch.zeros(x.numel(), dtype=x.dtype).index_fill_(0, torch.tensor([place]), h).view_as(x)
        slope = (d(x + step, y).sum() - d(x - step, y).sum()) / (2 * h)
        exact = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(d(exact, y).sum(), exact)
        assert torch.allclose(slope, gradient.flatten()[place], atol=1e-6)
        total = gradient.square().sum((1, 2, 3)).mean()
    assert torch.allclose(found, total)


def test_both_networks_have_their_gradients(gan):
    g, d = gan.generator.double(), gan.discriminator.double()
    y, z = torch.tensor([0, 2]), numbers(2, 5)
    assert torch.autograd.gradcheck(lambda z: g(z, y).tanh(), [z.requires_grad_()], fast_mode=True)
    assert torch.autograd.gradcheck(lambda x: d(x, y), [numbers(2, 3, 8, 8).requires_grad_()], fast_mode=True)
    weights = list(d.parameters())
    assert torch.autograd.grad(r1_penalty(d, numbers(2, 3, 8, 8), y), weights, allow_unused=True)[0].abs().sum() > 0


# Where it is smaller than the official one


@pytest.mark.parametrize("training", [True, False])
def test_one_latent_styles_all_layers(gan, training):
    """No style mixing: every affine map reads the w that the mapping gives, in training too."""
    g, read = gan.generator.train(training), []
    styles = [module for module in g.synthesis.modules() if isinstance(module, Equalised)]
    for style in styles:
        style.register_forward_pre_hook(lambda _, given: read.append(given[0]))
    z, y, mapped = numbers(6, 5, dtype=torch.float32), torch.arange(6) % 3, []
    g.mapping[-1].register_forward_hook(lambda _, given, answer: mapped.append(lrelu(answer)))
    g(z, y, noise=torch.Generator().manual_seed(0))
    assert len(mapped) == 1 and len(read) == len(styles) == 5, "three convolutions and two maps to colours"
    assert all(torch.equal(w, mapped[0]) for w in read)


def doubled(x):
    """Bilinear: a new pixel is three parts of the nearest old one and one part of the next, along either axis."""
    for axis in (2, 3):
        padded = torch.cat([x.narrow(axis, 0, 1), x, x.narrow(axis, -1, 1)], axis)
        before, after = padded.narrow(axis, 0, x.shape[axis]), padded.narrow(axis, 2, x.shape[axis])
        x = torch.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1).flatten(axis, axis + 1)
    return x


def test_maps_and_pictures_are_doubled_by_plain_bilinear_resampling(gan):
    synthesis, seen = gan.generator.double().synthesis, {}
    for level, convs in enumerate(synthesis.convs):
        convs[0].register_forward_pre_hook(lambda _, given, level=level: seen.update({f"in {level}": given[0]}))
        convs[-1].register_forward_hook(lambda _, given, answer, level=level: seen.update({f"out {level}": answer}))
    w, picture = numbers(3, 5), 0.0
    found = synthesis(w)
    torch.testing.assert_close(seen["in 1"], doubled(seen["out 0"]))
    for level in range(2):
        scaled = synthesis.styles[level](w) / synthesis.to_rgb[level].shape[1] ** 0.5
        shown = modulated_conv(seen[f"out {level}"], synthesis.to_rgb[level], scaled, demodulate=False)
        picture = shown + (doubled(picture) if level else synthesis.bias)
    torch.testing.assert_close(found, picture)


def test_the_discriminator_halves_by_the_mean_of_four_pixels(gan):
    block, x = gan.discriminator.double().blocks[0], numbers(2, 4, 8, 8)

    def halved(y):
        return (y[:, :, ::2, ::2] + y[:, :, 1::2, ::2] + y[:, :, ::2, 1::2] + y[:, :, 1::2, 1::2]) / 4

    main = halved(lrelu(block.second(lrelu(block.first(x)))))
    torch.testing.assert_close(block(x), (main + block.shortcut(halved(x))) / 2**0.5)


def test_equalised_layers_keep_the_variance():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer, slow = Equalised(200, 300), Equalised(200, 300, speed=0.01)
    x = numbers(500, 200, seed=3, dtype=torch.float32)
    assert layer(x).var().item() == pytest.approx(1, rel=0.1) == slow(x).var().item()
    assert slow.weight.std().item() == pytest.approx(100, rel=0.05)  # so that its steps are small in comparison


def test_the_label_matters_and_noise_is_asked_for(gan):
    z, g = numbers(1, 5, dtype=torch.float32), gan.generator
    assert not torch.allclose(g(z, torch.tensor([0])), g(z, torch.tensor([1])))
    assert torch.equal(g(z, torch.tensor([0])), g(z, torch.tensor([0])))
    with torch.no_grad():
        g.synthesis.convs[0][0].noise.fill_(1.0)
    noisy = g(z, torch.tensor([0]), noise=torch.Generator().manual_seed(0))
    assert not torch.allclose(noisy, g(z, torch.tensor([0])))
    x = numbers(4, 3, 8, 8, dtype=torch.float32)
    assert not torch.allclose(
        gan.discriminator(x, torch.zeros(4, dtype=int)), gan.discriminator(x, torch.ones(4, dtype=int))
    )


def test_wrong_sizes_are_named(gan):
    with pytest.raises(ValueError, match="the GAN's are"):
        gan.discriminator(torch.zeros(2, 3, 16, 16), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="label-conditional"):
        GANConfig(classes=1)


def test_a_gan_survives_its_file(gan, tmp_path):
    save_gan(tmp_path / "gan.safetensors", gan, {"seed": 0})
    again = load_gan(tmp_path / "gan.safetensors")
    z, y = numbers(2, 5, dtype=torch.float32), torch.tensor([0, 2])
    assert torch.equal(again.generator(z, y), gan.generator(z, y)) and again.generator.config == TINY


def test_an_unconditional_checkpoint_is_refused(gan, tmp_path):
    own = {f"generator.{name}": t for name, t in gan.generator.state_dict().items() if "label" not in name}
    save_tensors(
        tmp_path / "gan.safetensors", own, {"config": {"classes": 3, "channels": [6, 4], "latent": 5, "group": 4}}
    )
    with pytest.raises(CorruptFile, match="no label-conditional GAN"):
        load_gan(tmp_path / "gan.safetensors")
    save_tensors(tmp_path / "other.safetensors", own)
    with pytest.raises(CorruptFile, match="train one"):
        load_gan(tmp_path / "other.safetensors")


def test_the_default_is_small():
    assert sum(parameter.numel() for parameter in Generator(GANConfig()).parameters()) < 100_000
