"""Equal effort: what every form is tried with first, and how its grid grows.

Every form gets `FIRST` trials, all combinations of the values of its axes. Then the best trial is looked at: as long as
a neighbour of it on an ordered axis has not been tried, with all else equal, it is. So a grid whose best trial lies at
an edge grows beyond it, by the same rule for all, until the best trial is surrounded. What is left of `FURTHER` trials
goes halfway from the best trial to its neighbours, until they are less than a factor `CLOSE` apart: a coarse grid
steps over a peak that may be narrower than its steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from shui_lib.benchmark.presets import preset_named
from shui_lib.methods.parts.learned_loss import INPUTS

FIRST = 12  # trials of every form
FURTHER = 12  # at most, beyond edges and between the best trial and its neighbours
CLOSE = 1.25  # values this close are not told apart
EPOCHS = preset_named("cpu").train.epochs  # of forms that train, at most: beyond, retraining is cheaper

Settings = dict[str, object]


@dataclass(frozen=True)
class Axis:
    """A setting's values in the first trials, ascending, and how they go on beyond their ends."""

    values: tuple[object, ...]
    factor: float = 0.0  # between a value and the next; 0 for words and the like, which have no order
    share: bool = False  # a share between 0 and 1: its odds grow by the factor
    most: int = 0  # whole numbers grow no further; 0: they have no end
    per_output: bool = False  # the values are for a curvature of one attribute: they count as many times as there are

    def next(self, value: object, *, up: bool, tried: Iterable[object] = ()) -> object:
        """The neighbour of a value: the nearest that was tried, beyond all of them a new one.

        The value itself where there is none: whole numbers end at 1 and at `most`.
        """
        beyond = [v for v in {*self.values, *tried} if (v > value if up else v < value)]
        if beyond:
            return min(beyond) if up else max(beyond)
        if self.most and np.max(value) >= self.most and up:
            return value
        if isinstance(value, tuple):
            return tuple(self._grown(v, up) for v in value)
        return self._grown(value, up)

    def between(self, value: object, other: object) -> object:
        """Halfway by ratio, or by that of odds; the value itself where the two are close, whole numbers or pairs."""
        if isinstance(value, (int, tuple)) or value == other or (self.share and 1 in (value, other)):
            return value
        one, two = (v / (1 - v) if self.share else v for v in (value, other))
        if max(one / two, two / one) < CLOSE:
            return value
        half = (one * two) ** 0.5
        return share_of(half) if self.share else float(f"{half:.3g}")

    def times(self, factor: int) -> Axis:
        """The axis with values so many times as large."""
        return replace(self, values=tuple(float(f"{value * factor:.6g}") for value in self.values))

    def _grown(self, value: float, up: bool) -> float:
        by = self.factor if up else 1 / self.factor
        if isinstance(value, int):
            return min(max(1, round(value * by)), self.most or math.inf)
        if self.share:
            return share_of(by * value / (1 - value))
        return float(f"{value * by:.2g}")


def share_of(odds: float) -> float:
    """A share to three digits; near 1 to two digits of what is left, so that none is rounded to 1."""
    share = odds / (1 + odds)
    return float(f"{share:.3g}") if share < 0.99 else 1 - float(f"{1 / (1 + odds):.2g}")


def spread(first: float, last: float, count: int) -> tuple[float, ...]:
    """Values at equal ratios, to two digits."""
    return tuple(float(f"{value:.2g}") for value in np.geomspace(first, last, count))


ROOT10 = 10**0.5
COPIES = Axis((0, 16))  # augmented copies of the photo: offered to all that can use them
# The grid was laid before the curvature was that of a mean over attributes.
_CURVATURE = {
    "eta": Axis((1.2e-5, 2.5e-5, 5e-5, 1e-4, 2e-4, 4e-4), 2, per_output=True),
    "damping": Axis((0.1, 1.0), 10),
}
RISES = Axis((0.05, 0.1, 0.2, 0.4, 0.8, 1.6), 2)  # of a loss, nats: whatever the network and its outputs
_SSD = {"alpha": Axis((10.0, 30.0, 50.0, 100.0, 200.0, 500.0), 2), "shrink": Axis((0.1, 1.0), 10)}
_JIT = {"sigma": Axis((0.1, 0.5, 2.0), 4), "eta": Axis((1e-4, 3e-4, 1e-3, 3e-3), ROOT10)}
_PGU = {"gamma": Axis((0.5, 0.75, 0.9), 3, share=True), "lr": Axis((0.1, 0.3, 1.0, 3.0), ROOT10)}
_SCRUB = {
    "lr": Axis((1e-3, 3e-3, 1e-2, 3e-2), ROOT10),
    "epochs max_epochs": Axis(((2, 1), (3, 2), (5, 3)), 1.6, most=EPOCHS),
}
AXES: dict[str, dict[str, Axis]] = {  # by form, as in `shui_lib.core.names`
    "gradient_ascent": {"eta": Axis(spread(0.03, 0.96, 6), 2), "copies": COPIES},
    # Half with all four inputs, as published, half without features and identities: see notebook 03.
    "meta_unlearn": {
        "inputs": Axis((INPUTS, ("logits", "targets"))),
        "eta": Axis((1e-4, 3e-4, 1e-3), ROOT10),
        "copies": COPIES,
    },
    **dict.fromkeys(("curvature", "curvature:forget-images", "curvature:one-trained"), _CURVATURE),
    "curvature:scale": {"eta": Axis(spread(3e-6, 6.144e-3, 12), 2, per_output=True)},
    "gradient_ascent:rise": {"eta": RISES, "copies": COPIES},
    "curvature:rise": {"eta": RISES, "damping": _CURVATURE["damping"]},
    "pgu:rise": {"gamma": Axis((0.5, 0.75), 3, share=True), "lr": Axis((0.03, 0.1, 0.3), ROOT10), "copies": COPIES},
    "ssd:original": _SSD,
    "ssd:one-shui": {"alpha": Axis((30.0, 100.0, 300.0), ROOT10), "shrink": Axis((0.1, 1.0), 10), "copies": COPIES},
    "jit:original": _JIT,
    "jit:one-shui": _JIT,
    "pgu:original": _PGU,
    "pgu:one-shui": {"gamma": Axis((0.5, 0.75), 3, share=True), "lr": Axis((0.3, 1.0, 3.0), ROOT10), "copies": COPIES},
    "mu_mis": {"eta": Axis((3e-5, 1e-4, 3e-4), ROOT10), "steps": Axis((3, 10), 3), "copies": COPIES},
    "scrub:original": _SCRUB,
    "scrub:one-shui": _SCRUB,
    "bad_teacher:original": {"lr": Axis((3e-5, 1e-4, 3e-4, 1e-3), ROOT10), "epochs": Axis((1, 2, 3), 2, most=EPOCHS)},
    "bad_teacher:one-shui": {"lr": Axis((1e-3, 3e-3, 1e-2, 3e-2), ROOT10), "epochs": Axis((1, 3, 5), 2, most=EPOCHS)},
}
# Where each image has one class, losses are larger than a mean over attributes, and grids of attributes end too early
# or begin too late: laid on the pool alone.
LOSS = Axis(("task", "unlikelihood"))
_CURVATURE_OF_CLASSES = {"eta": Axis((4e-4, 8e-4, 1.6e-3, 3.2e-3, 6.4e-3, 1.28e-2), 2), "loss": LOSS}
_JIT_OF_CLASSES = {**_JIT, "eta": Axis((3e-3, 1e-2, 3e-2, 1e-1), ROOT10)}
AXES_OF_CLASSES: dict[str, dict[str, Axis]] = {
    "gradient_ascent": {"eta": Axis((2.5e-3, 5e-3, 1e-2), 2), "loss": LOSS, "copies": COPIES},
    **dict.fromkeys(("curvature", "curvature:forget-images", "curvature:one-trained"), _CURVATURE_OF_CLASSES),
    "curvature:scale": {"eta": Axis(spread(1e-4, 3.2e-3, 6), 2), "loss": LOSS},
    "gradient_ascent:rise": {"eta": Axis(RISES.values[::2], 4), "loss": LOSS, "copies": COPIES},
    "curvature:rise": {"eta": RISES, "loss": LOSS},
    "jit:original": _JIT_OF_CLASSES,
    "jit:one-shui": _JIT_OF_CLASSES,
    "pgu:one-shui": {"gamma": Axis((0.5, 0.75), 3, share=True), "lr": Axis((0.1, 0.3, 1.0), ROOT10), "copies": COPIES},
}
FIXED: dict[str, Settings] = {  # besides, in every trial
    "meta_unlearn": {"alpha": 1e-3, "epochs": 3},
    "pgu:original": {"epochs": 10},
}
FIXED_OF_CLASSES: dict[str, Settings] = {
    f"curvature{variant}": {"damping": 0.1} for variant in ("", ":rise", ":forget-images", ":one-trained")
}


def axes_of(form: str, *, multilabel: bool, outputs: int = 1) -> dict[str, Axis]:
    """A form's axes; `outputs` is the number of attributes."""
    axes = AXES[form] if multilabel else AXES_OF_CLASSES.get(form, AXES[form])
    return {name: axis.times(outputs) if axis.per_output else axis for name, axis in axes.items()}


def fixed_of(form: str, *, multilabel: bool) -> Settings:
    """What is the same in every trial of a form."""
    return FIXED.get(form, {}) | ({} if multilabel else FIXED_OF_CLASSES.get(form, {}))


def first_trials(axes: Mapping[str, Axis]) -> list[Settings]:
    """All combinations of the axes' values."""
    return [_settings(zip(axes, values, strict=True)) for values in product(*(axis.values for axis in axes.values()))]


def untried_neighbours(
    best: Mapping[str, object], tried: Iterable[Mapping], axes: Mapping[str, Axis]
) -> list[Settings]:
    """Of the trials beside the best one, a step down or up one ordered axis, those that were not made yet.

    Where all were made, the trials halfway to them.
    """
    beside, halfway = (_around(best, list(tried), axes, halfway=halfway) for halfway in (False, True))
    return beside or halfway


def _around(
    best: Mapping[str, object], tried: Sequence[Mapping[str, object]], axes: Mapping[str, Axis], *, halfway: bool
) -> list[Settings]:
    tried, wanted = [_positions(one, axes) for one in tried], []
    here = _positions(best, axes)
    for name, axis in axes.items():
        known = [one[name] for one in tried]
        for up in (False, True) if axis.factor else ():
            value = axis.next(here[name], up=up, tried=known)
            there = {**here, name: axis.between(here[name], value) if halfway else value}
            if there not in [*tried, *wanted]:
                wanted.append(there)
    return [_settings(one.items()) for one in wanted]


def _settings(positions: Iterable[tuple[str, object]]) -> Settings:
    """A place on the axes as settings; an axis of two names holds pairs."""
    found: Settings = {}
    for name, value in positions:
        names = name.split()
        found |= dict(zip(names, value, strict=True)) if len(names) > 1 else {name: value}
    return found


def _positions(settings: Mapping[str, object], axes: Mapping[str, Axis]) -> dict[str, object]:
    """Settings as a place on the axes; what came from JSON is as it was."""
    found: dict[str, object] = {}
    for name in axes:
        values = tuple(_plain(settings[part]) for part in name.split())
        found[name] = values if len(values) > 1 else values[0]
    return found


def _plain(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value
