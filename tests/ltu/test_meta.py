import pytest
import torch
from tiny import TwoLayers, small_vit
from torch.func import functional_call
from torch.nn.functional import binary_cross_entropy_with_logits as bce
from torch.nn.functional import cross_entropy

from shui_lib.ltu.membership import KINDS, Member
from shui_lib.ltu.meta import gradient, meta_gradient
from shui_lib.methods.parts.meta_gradient import parameters

ALPHA = 0.3


def explicit(tune, tests, theta, alpha):
    """∇M by autograd through an update that is written down."""
    leaves = {name: value.clone().requires_grad_() for name, value in theta.items()}
    first = torch.autograd.grad(tune(leaves), [*leaves.values()], create_graph=True)
    tried = {name: value - alpha * g for (name, value), g in zip(leaves.items(), first, strict=True)}
    whole = tune(leaves) + sum(test(tried) for test in tests)
    return dict(zip(leaves, torch.autograd.grad(whole, [*leaves.values()]), strict=True))


def losses(kind, model, count):
    """A support and `count` queries in float64: cross-entropy, or "is a member" of two frozen networks."""
    generator = torch.Generator().manual_seed(0)

    def one(k):
        x = torch.randn(6, 3, 2, 2, generator=generator, dtype=torch.float64)
        y = torch.randint(4, (6,), generator=generator)
        said = lambda theta: functional_call(model, theta, (x,)).logits  # noqa: E731
        if kind == "ce":
            return lambda theta: cross_entropy(said(theta), y)
        torch.manual_seed(k)
        judge = Member(KINDS[k % 3], 4).double()
        return lambda theta: bce(judge(said(theta), y), torch.zeros(6, dtype=torch.float64))

    return one(0), [one(1 + k) for k in range(count)]


@pytest.mark.parametrize("kind", ["ce", "membership"])
@pytest.mark.parametrize("count", [0, 1, 3])
def test_it_is_the_gradient_through_an_explicit_update(kind, count):
    model = TwoLayers(4)
    tune, tests = losses(kind, model, count)
    theta = parameters(model)
    found, truth = meta_gradient(tune, tests, theta, alpha=ALPHA), explicit(tune, tests, theta, ALPHA)
    for name in theta:
        assert (found[name] - truth[name]).abs().max() < 1e-10, name
        assert not found[name].requires_grad


def test_first_order_lacks_the_hessian_and_zero_alpha_adds_gradients():
    model = TwoLayers(4)
    tune, tests = losses("ce", model, 2)
    theta = parameters(model)
    exact, first = (meta_gradient(tune, tests, theta, alpha=ALPHA, order=order) for order in (2, 1))
    assert max((exact[name] - first[name]).abs().max() for name in theta) > 1e-4
    added = meta_gradient(tune, tests, theta, alpha=0.0)
    parts = [gradient(loss, theta) for loss in (tune, *tests)]
    assert all(torch.allclose(added[name], sum(part[name] for part in parts)) for name in theta)
    with pytest.raises(ValueError, match="order=3"):
        meta_gradient(tune, tests, theta, alpha=ALPHA, order=3)


def test_a_network_with_attention_has_one_too():
    model, x = small_vit(4), torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    loss = lambda theta: cross_entropy(functional_call(model, theta, (x,)).logits, torch.tensor([0, 1, 2]))  # noqa: E731
    theta = parameters(model)
    exact, first = (meta_gradient(loss, [loss], theta, alpha=0.1, order=order) for order in (2, 1))
    assert any(not torch.allclose(exact[name], first[name], atol=1e-6) for name in theta)


def test_memory_does_not_grow_with_the_queries():
    """No query's graph is alive when the next one is asked."""
    theta, alive, most = {"w": torch.ones(3, requires_grad=False)}, [], []

    class Watched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, w):
            alive.append(1)
            most.append(len(alive))
            return (w**2).sum()

        @staticmethod
        def backward(ctx, g):
            alive.pop()
            return g * 2 * torch.ones(3)

    meta_gradient(lambda t: (t["w"] ** 3).sum(), [lambda t: Watched.apply(t["w"])] * 5, theta, alpha=0.1)
    assert len(most) == 5 and max(most) == 1
