"""The contract of all unlearning methods, and their registry.

A method is a frozen dataclass whose fields are its hyperparameters, with two functions:

    prepare(model, data, *, generator, checkpoint=None) -> Artefacts      while the training data exists
    unlearn(model, given, artefacts, *, generator) -> FaceModel           when the request comes

`prepare` does not know the request. `unlearn` sees only what `needs` declares; a support-only method works on a
machine that has never held the data set. Neither changes the model it is given. Parameters that are frozen
(`requires_grad` is False) or that no answer depends on stay as they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from types import NoneType, UnionType
from typing import NamedTuple, Protocol, Union, get_args, get_origin, get_type_hints

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.models import FaceModel
from shui_lib.methods.parts.meta_gradient import with_parameters


class Artefacts(NamedTuple):
    """What a method keeps of the training data: no images, no per-sample rows."""

    tensors: Mapping[str, Tensor] = {}
    history: pd.DataFrame = pd.DataFrame({"epoch": []})  # the course of preparing; unlearn never reads it


class Method(Protocol):
    """What every method offers; `register` adds the five attributes."""

    name: str
    variants: tuple[str, ...]  # forms of the algorithm: original (its own paper), one-shui (the authors' code), ours
    needs: tuple[str, ...]  # what unlearn may see: support, forget, retain, val
    prepares_on: tuple[str, ...]  # what prepare may see: train, val, held_out (train, its targets the (N, K) logits
    # of models that never saw the person)
    at_request: tuple[str, ...]  # settings that prepare does not read: they change no artefacts

    def prepare(
        self,
        model: FaceModel,
        data: Mapping[str, Faces],
        *,
        generator: torch.Generator,
        checkpoint: Path | None = None,
    ) -> Artefacts:
        """Learn from the data what the request will need; `checkpoint` is a file that a killed run goes on from."""
        ...

    def unlearn(self, model: FaceModel, given: Given, artefacts: Artefacts, *, generator: torch.Generator) -> FaceModel:
        """A new model that has forgotten the identities of the request."""
        ...


class PreparesNothing:
    """For methods that keep nothing of the training data."""

    def prepare(
        self,
        model: FaceModel,
        data: Mapping[str, Faces],
        *,
        generator: torch.Generator,
        checkpoint: Path | None = None,
    ) -> Artefacts:
        """Nothing to prepare."""
        return Artefacts()


class NotGiven(RuntimeError):
    """A method looked at data that it did not declare, or that the request does not hold."""


@dataclass(frozen=True, eq=False)
class Given:
    """What comes with a request. Looking at a part that is absent raises."""

    parts: Mapping[str, Faces]

    def __getattr__(self, part: str) -> Faces:
        if part.startswith("_") or part == "parts":
            raise AttributeError(part)
        if part not in self.parts:
            raise NotGiven(f"no {part} data was given (only {', '.join(self.parts)}): declare it in `needs`")
        return self.parts[part]

    def only(self, needs: tuple[str, ...]) -> Given:
        """The declared parts and no others.

        Raises:
            NotGiven: a declared part is absent.
        """
        return replace(self, parts={part: getattr(self, part) for part in needs})


REGISTRY: dict[str, type[Method]] = {}
Needs = tuple[str, ...]


def register(
    name: str,
    *,
    needs: Needs | Mapping[str, Needs],
    prepares_on: Needs | Mapping[str, Needs] | Callable[[Method], Needs] = (),
    at_request: tuple[str, ...] = (),
) -> Callable[[type], type]:
    """Class decorator: make a method known under `name`, with what it may see.

    A method that comes in several forms has a field `variant`, and tells its needs by variant; one whose needs follow
    from other settings tells them by a function of itself. `at_request` may be left out: then artefacts are made anew
    for every change of a setting.
    """

    def add(cls: type) -> type:
        if name in REGISTRY:
            raise ValueError(f"a method named {name!r} is registered already ({REGISTRY[name].__name__})")
        cls.name, cls.variants = name, tuple(needs) if isinstance(needs, Mapping) else ()
        cls.needs, cls.prepares_on = _declared(needs), _declared(prepares_on)
        nothing = issubclass(cls, PreparesNothing)
        cls.at_request = tuple(field.name for field in fields(cls)) if nothing else at_request
        REGISTRY[name] = cls
        return cls

    return add


def _declared(parts: Needs | Mapping[str, Needs] | Callable[[Method], Needs]) -> object:
    if callable(parts):
        return property(parts)
    return property(lambda method: parts[method.variant]) if isinstance(parts, Mapping) else parts


def make_method(name: str, settings: Mapping[str, object] | None = None) -> Method:
    """A method with its settings.

    Raises:
        ValueError: the method, its variant or one of the settings is unknown, or a value is of another type than its
            field, below zero or not finite. A whole number for a fraction is taken as one: 1 and 1.0 are one setting.
    """
    if name not in REGISTRY:
        raise ValueError(f"method {name!r} is unknown: choose one of {', '.join(sorted(REGISTRY))}")
    cls, settings = REGISTRY[name], dict(settings or {})
    unknown = set(settings) - {field.name for field in fields(cls)}
    if unknown:
        known = ", ".join(field.name for field in fields(cls))
        raise ValueError(f"{name} has no setting {', '.join(sorted(unknown))}: it takes {known}")
    if cls.variants and settings.get("variant", cls.variants[0]) not in cls.variants:
        raise ValueError(f"{name} has no variant {settings['variant']!r}: choose {' or '.join(cls.variants)}")
    types = get_type_hints(cls)
    method = cls(**{key: _typed(f"{name}: {key}", value, types[key]) for key, value in settings.items()})
    for key, value in settings_of(method).items():
        if isinstance(value, (int, float)) and not 0 <= value < math.inf:
            raise ValueError(f"{name}: {key} must be >= 0, got {value}")
    return method


def _typed(what: str, value: object, wanted: type) -> object:
    """A setting's value in the type of its field."""
    if get_origin(wanted) is tuple:
        if not isinstance(value, (list, tuple)) or not all(isinstance(word, str) for word in value):
            raise ValueError(f"{what}={value!r} should be several words")
        return tuple(value)
    if get_origin(wanted) in (UnionType, Union):
        (wanted,) = (kind for kind in get_args(wanted) if kind is not NoneType)
        if value is None:
            return None
    value = value.item() if isinstance(value, np.generic) else value
    value = float(value) if wanted is float and isinstance(value, int) and not isinstance(value, bool) else value
    if type(value) is not wanted:
        raise ValueError(f"{what}={value!r} is {type(value).__name__}, expected {wanted.__name__}")
    return value


def settings_of(method: Method) -> dict[str, object]:
    """A method's settings, ready for JSON and `make_method`; without the variant where that has no name."""
    return {name: value for name, value in asdict(method).items() if (name, value) != ("variant", "")}


def preparing_settings_of(method: Method) -> dict[str, object]:
    """Those that its artefacts depend on."""
    return {name: value for name, value in settings_of(method).items() if name not in method.at_request}


from shui_lib.methods import (  # noqa: E402  (each registers itself)
    bad_teacher,
    curvature,
    gradient_ascent,
    jit,
    meta_unlearn,
    mu_mis,
    pgu,
    scrub,
    ssd,
)

for entry in entry_points(group="shui.methods"):  # of other packages: their modules register themselves too
    import_module(entry.module)
