"""The tables of GAN unlearning: which cascades, what is measured of each model, and in which file it is noted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType

import pandas as pd

from shui_lib.core.progress import progress
from shui_lib.core.stages import Stage
from shui_lib.gan.cascade import Cascade
from shui_lib.gan.stylegan2 import GAN
from shui_lib.methods import Given
from shui_workbook.studies.gan.measures import audit_of, bounds, measure, photo_measures
from shui_workbook.studies.gan.rows import record, rows_of, there
from shui_workbook.studies.gan.study import CONTINUED, Study

# A class is forgotten where what is drawn of it is as far from it as the next class is (the paper: an FID of 150).
TURNED = {"stop": "fd_share", "goal": 1.0}
ONE_PHOTO = Cascade(shot="zero", asked="support", steps=30, batch=16, stop="never")
RATES = (5e-4, 2e-4, 1e-4)  # the GAN's own is 2e-3
LONG = {"steps": 200, "stop": "never"}  # does AUC_lu get there, if not within the budget of the tables?


def plan(items: Sequence[int], label: int) -> list[tuple[str, Cascade]]:
    """The cascades of the tables, the most telling first."""
    item, others, person = f"item-{items[0]}", [f"item-{count}" for count in items[1:]], f"class-{label}"
    few, zero = Cascade(), Cascade(shot="zero")
    found = [(item, few), (item, zero)]
    found += [(person, replace(base, **TURNED)) for base in (few, zero)]
    found += [(item, replace(few, mechanism=name)) for name in ("truncation", "projection")]
    found += [(person, replace(few, **TURNED, mechanism="other-class"))]
    found += [(item, replace(few, constant=value)) for value in (-1.0, 0.1, 0.5)]
    found += [(kind, base) for kind in others for base in (few, zero)]
    found += [(item, replace(few, perceptual=value)) for value in (0.5, 1.0)]
    found += [(item, replace(zero, mechanism=name)) for name in ("truncation", "projection")]
    found += [(person, replace(zero, **TURNED, mechanism="other-class"))]
    found += [(item, replace(zero, constant=value)) for value in (-1.0, 0.1, 0.5)]
    return found + [(item, replace(base, **LONG)) for base in (few, zero)]


Measure = Callable[[Study, GAN, str], dict[str, float]]  # of a GAN for a request


def everything(study: Study, gan: GAN, kind: str) -> dict[str, float]:
    """What every model is measured by."""
    return measure(study, gan, kind) | audit_of(study, gan, kind)


def tell(
    study: Study,
    path: Path,
    kind: str,
    method: str,
    make: Callable[[], tuple[GAN, dict[str, float]]],
    *,
    later: Mapping[str, Measure],
    cascade: Cascade | None = None,
    note: str = "",
) -> None:
    """Rows of one model, as far as they are missing; it is made only if some are.

    Args:
        make: the model, and what is known of it besides.
        later: measures beside everything, which older rows may lack, by a metric of theirs.
    """
    measures = {"acc": everything, **later}
    missing = {
        name: measured
        for name, measured in measures.items()
        if not there(study, path, rows_of(study, kind, method, {name: 0}, cascade))
    }
    if missing:
        gan, known = make()
        found = known if "acc" in missing else {}
        for measured in missing.values():
            found |= measured(study, gan, kind)
        record(path, rows_of(study, kind, method, found, cascade, note))


def table(
    study: Study,
    path: Path,
    *,
    items: Sequence[int],
    label: int,
    chosen: slice = slice(None),
    retrain: Sequence[str] = (),
    together: Sequence[int] = (),
    rival: bool = False,
    later: Mapping[str, Measure] = MappingProxyType({}),
) -> None:
    """Rows of the original, of chosen cascades of the plan, and of other GANs; what is there is not made again.

    Args:
        retrain: requests; their GAN is trained without the pictures of the seeds `together` (its own by default).
        rival: for the requests of the cascades also the original that goes on without unlearning.
        later: as of `tell`.
    """
    todo = plan(items, label)[chosen]
    kinds = list(dict.fromkeys(kind for kind, _ in todo))
    for kind in kinds:
        tell(study, path, kind, "original", partial(_original, study, kind), later=later)
    for kind, cascade in progress(todo, desc=f"seed {study.seed}", unit="cascade"):
        tell(study, path, kind, "cascade", partial(_forgotten, study, kind, cascade), later=later, cascade=cascade)
    note = f"went on with {CONTINUED:.0%} of its training, without what is to be forgotten"
    for kind in kinds if rival else ():
        make = partial(_trained, study, partial(study.continued, kind))
        tell(study, path, kind, "continued", make, later=later, note=note)
    note = f"trained without the requests of seeds {' '.join(map(str, together or [study.seed]))}"
    for kind in retrain:
        make = partial(_trained, study, partial(study.trained, kind, together))
        tell(study, path, kind, "retrained", make, later=later, note=note)


def _original(study: Study, kind: str) -> tuple[GAN, dict[str, float]]:
    return study.original(), bounds(study, study.request(kind))


def _forgotten(study: Study, kind: str, cascade: Cascade) -> tuple[GAN, dict[str, float]]:
    gan, history = study.forgotten(kind, cascade)
    last = history.iloc[-1]
    return gan, last[["step", "seconds", "invert_seconds"]].to_dict() | {"stopped": float(last["stop"])}


def _trained(study: Study, make: Callable[[], Stage]) -> tuple[GAN, dict[str, float]]:
    stage = make()
    return study.loaded(stage.file("gan.safetensors")), {"seconds": stage.lineage["measured"]["seconds"]}


def rates(study: Study, kind: str) -> pd.DataFrame:
    """What cascades of each learning rate forget, and what the others pay: a line a rate and shot, accuracy in [0, 1].

    To be asked for a request that no row has.
    """
    lines = []
    for rate in progress(RATES, desc="rates", unit="rate"):
        for shot in ("few", "zero"):
            course = study.forgotten(kind, Cascade(shot=shot, lr=rate, stop="never"))[1]
            before, after = course.iloc[0], course.iloc[-1]
            lines.append(
                {"lr": rate, "shot": shot, "auc_lu": after["auc_lu"], "acc_lost": before["acc"] - after["acc"]}
            )
    return pd.DataFrame(lines)


def photo(study: Study, path: Path, cascade: Cascade, words: Sequence[str] = ("person", "photo")) -> None:
    """One picture of each person that was never trained on, asked to be forgotten; what happens to the others of it.

    Args:
        words: "photo", the picture is an item; "person", it stands for its class (`Study.forgotten`).
    """
    _, test = study.faces
    for label in progress(range(study.config.classes), desc=f"one photo, seed {study.seed}", unit="person"):
        forms = [f"{word}-{label}" for word in words]
        todo = [
            kind
            for kind in forms
            if not there(study, path, rows_of(study, kind, "cascade", {"auc_support": 0}, cascade))
        ]
        own = (test.targets == label).nonzero()[:, 0]
        given = Given({"support": test[own[study.seed : study.seed + 1]].in_memory()})
        before = photo_measures(study, study.original(), given.support, label) if todo else {}
        for kind in todo:
            gan, _ = study.forgotten(kind, cascade, given)
            record(path, rows_of(study, kind, "original", before))
            record(path, rows_of(study, kind, "cascade", photo_measures(study, gan, given.support, label), cascade))
