"""Learning to Unlearn: its meta-gradient against an update written out in one graph, and what an iteration costs.

The twin keeps every query's graph until the end, so it grows with them; ours lets each go. An iteration is set against
the same one of first order, and with the whole step untried (α = 0): yardsticks and not twins, as they end elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch.func import functional_call
from torch.nn.functional import cross_entropy

from benchmarks.measure import Measured, Row, check_close, measured, measured_in_turn, row
from benchmarks.synthetic import DEVICE, noise
from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.ltu.harmonise import flat
from shui_lib.ltu.ltu import LTU
from shui_lib.ltu.membership import KINDS, Guide, Member
from shui_lib.ltu.meta import Loss, meta_gradient
from shui_lib.ltu.networks import SIZES, build
from shui_lib.methods import Given
from shui_lib.methods.parts.meta_gradient import Theta, parameters

PEOPLE, PIXELS, ALPHA = 20, 16, 1e-3
MANY, FEW_QUERIES, MANY_QUERIES = 1024, 1, 9  # images of a batch where memory is asked for; queries
REPEATS = 3  # the least of so many peaks: what an allocator sets up or keeps is no query's


def network() -> FaceModel:
    """Chapter 20's, untrained."""
    return build(SIZES["cpu"].network, classes=PEOPLE, image_size=PIXELS, seed=0).to(DEVICE).eval()


def images(n: int) -> Faces:
    """Noise of so many classes."""
    targets = torch.arange(n) % PEOPLE
    return replace(noise(n, PIXELS), targets=targets, classes=tuple(map(str, range(PEOPLE))))


def losses(model: FaceModel, n: int, queries: int) -> list[Loss]:
    """A support and queries of `n` images each."""

    def one(k: int) -> Loss:
        faces = images(n * (k + 1))[slice(n * k, None)]
        x, y = faces.pixels(device=DEVICE), faces.targets.to(DEVICE)
        return lambda theta: cross_entropy(functional_call(model, theta, (x,)).logits, y)

    return [one(k) for k in range(1 + queries)]


def explicit(tune: Loss, tests: Sequence[Loss], theta: Theta) -> Theta:
    """∇M through an update that is written down, all in one graph."""
    leaves = {name: value.clone().requires_grad_() for name, value in theta.items()}
    first = torch.autograd.grad(tune(leaves), [*leaves.values()], create_graph=True)
    tried = {name: value - ALPHA * g for (name, value), g in zip(leaves.items(), first, strict=True)}
    whole = tune(leaves) + sum(test(tried) for test in tests)
    return dict(zip(leaves, torch.autograd.grad(whole, [*leaves.values()]), strict=True))


def rows() -> list[Row]:
    """Time of a meta-gradient, memory of every further query, and time of a whole iteration."""
    return [gradient_row(), memory_row(), *iteration_rows()]


def gradient_row(n: int = 32, queries: int = 3) -> Row:
    """The chapter's batch and number of queries; both ways agree."""
    model = network()
    theta, (tune, *tests) = parameters(model), losses(model, n, queries)
    ways = (lambda: meta_gradient(tune, tests, theta, alpha=ALPHA), lambda: explicit(tune, tests, theta))
    for way in ways:
        way()  # what the first call of all sets up is not counted
    ours, twin = measured_in_turn(*ways, device=DEVICE)
    case = f"meta-gradient, {queries} queries, n = {n}, against one graph"
    check_close(case, flat(ours.result), flat(twin.result), tolerance=1e-4)
    return row("ltu", case, ours, twin)


def memory_row(n: int = MANY) -> Row:
    """MiB for every further query."""
    model = network()
    theta, (tune, *tests) = parameters(model), losses(model, n, MANY_QUERIES)

    def peak(way, queries: int) -> float:
        run = lambda: way(tune, tests[:queries], theta)  # noqa: E731
        return min(measured(run, device=DEVICE).mib or 0.0 for _ in range(REPEATS))

    def ours(*given) -> Theta:
        return meta_gradient(*given, alpha=ALPHA)

    further = MANY_QUERIES - FEW_QUERIES
    mine, theirs = ((peak(way, MANY_QUERIES) - peak(way, FEW_QUERIES)) / further for way in (ours, explicit))
    case = f"MiB per query, {FEW_QUERIES} to {MANY_QUERIES}, n = {n}, against one graph"
    return row("ltu", case, Measured(None, None, max(mine, 0.0)), Measured(None, None, max(theirs, 0.0)))


def iteration_rows(turns: int = 2) -> list[Row]:
    """Seconds of an iteration, three samplers and four guides, against cheaper forms of it."""
    model, parts = network(), {"forget": images(100), "retain_subset": images(270), "val": images(198)}
    found = {kind: Guide(Member(kind, PEOPLE).eval().requires_grad_(False), 1.0) for kind in KINDS}

    def run(method: LTU) -> int:
        given, chance = Given(parts), torch.Generator().manual_seed(0)
        return sum(1 for _ in method.turns(model, given, generator=chance, found=found))

    method, lines = LTU(iterations=turns), []
    for words, changed in {"first order": {"order": 1}, "α = 0": {"alpha": 0.0}}.items():
        ways = (lambda: run(method), lambda changed=changed: run(replace(method, **changed)))
        run(replace(method, iterations=1))
        each = [cost._replace(seconds=cost.seconds / turns) for cost in measured_in_turn(*ways, device=DEVICE)]
        lines.append(row("ltu", f"an iteration, n = {method.batch}, against {words}", *each))
    return lines
