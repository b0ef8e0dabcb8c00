"""Requests that arrive one after another, at a model that has already forgotten others (beyond the paper).

Each request is one person with one photo s_t, which is gone once it is served. `serve(θ, S)` stands for a method's
`unlearn`, with the settings selected for as many photos as S holds. Four ways to go on:

    latest   θ_t = serve(θ_{t−1}, s_t): from where the last request has left the model.
    share    the same with an N-th of the step that was selected for N photos at once: what each of them would add.
    union    θ_t = serve(θ, {s_1, …, s_t}): always from the original model, for which the method was prepared. Earlier
             photos are gone, but a method of one step needs their mean gradient at θ only, which can be kept.
    queue    θ_t = serve(θ_{t−N}, {s_{t−N+1}, …, s_t}) at every N-th request: photos are kept until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cache

import pandas as pd
import torch

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.metrics import Scores, UndefinedScore, score, score_name, tug_of_war
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import predict
from shui_lib.core.names import MethodSpec
from shui_lib.core.progress import progress
from shui_lib.core.rows import Measured, make_rows
from shui_lib.methods import Artefacts, Given, Method, settings_of
from shui_workbook.runs.experiment import Experiment, or_reason
from shui_workbook.runs.settings import settings_for, spec_named

Serve = Callable[[FaceModel, Faces], FaceModel]
STRATEGIES = ("latest", "share", "union", "queue")


def latest(model: FaceModel, serve: Serve, photos: Faces) -> Iterator[FaceModel]:
    """θ_1, θ_2, …: each step from the model before."""
    for k in range(len(photos)):
        model = serve(model, photos[[k]])
        yield model


def united(model: FaceModel, serve: Serve, photos: Faces) -> Iterator[FaceModel]:
    """θ_1, θ_2, …: each from the given model, with all photos so far."""
    for k in range(1, len(photos) + 1):
        yield serve(model, photos[slice(k)])


def queued(model: FaceModel, serve: Serve, photos: Faces, *, size: int) -> Iterator[FaceModel]:
    """θ_1, θ_2, …: the model as it is until `size` photos are in, then one step on all of these."""
    for k in range(1, len(photos) + 1):
        if k % size == 0:
            model = serve(model, photos[slice(k - size, k)])
        yield model


def sequence(
    experiment: Experiment,
    form: str,
    strategy: str,
    *,
    size: int,
    base: str = "original",
    like: Experiment | None = None,
) -> Iterator[FaceModel]:
    """θ_1, θ_2, …, θ_n: a model after each of the experiment's n requests.

    Args:
        form: a method's form with a step size η.
        strategy: one of `STRATEGIES`.
        size: N of "queue" and "share".
        base: the trained model that the requests arrive at; the method is prepared anew on it.
        like: as in `server`.
    Raises:
        ValueError: an unknown strategy.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy {strategy!r} is unknown: choose one of {', '.join(STRATEGIES)}")
    serve = server(experiment, form, base=base, share=size if strategy == "share" else 1, like=like)
    model, photos = experiment.model(base), experiment.part("support")
    if strategy == "queue":
        return queued(model, serve, photos, size=size)
    return (united if strategy == "union" else latest)(model, serve, photos)


def server(
    experiment: Experiment, form: str, *, base: str = "original", share: int = 1, like: Experiment | None = None
) -> Serve:
    """A function that serves photos at a model, with the settings selected for that many photos.

    Args:
        base: the model that the method was prepared on.
        share: with N above 1, the N-th part of the step that was selected for N photos.
        like: an experiment whose settings are taken, if not this one's: a reference model has those of its target.
    """
    name, known = f"{form}@{base}", {}

    @cache
    def tuned(n_ids: int) -> tuple[Method, Artefacts]:
        there = _with_settings_for(like or experiment, form, n_ids)
        method = there.method(name)
        there = experiment.with_settings({form: settings_of(method)})
        folder = there.prepared_folder(name)
        if folder not in known:  # sizes that differ only in what preparing does not read share their artefacts
            known[folder] = there.artefacts(name)
        return method, known[folder]

    def serve(model: FaceModel, photos: Faces) -> FaceModel:
        method, artefacts = tuned(max(share, len(photos)))
        method = replace(method, eta=method.eta / share)
        given = Given({"support": photos}).only(method.needs)
        generator = torch.Generator().manual_seed(experiment.seed)
        return method.unlearn(model, given, artefacts, generator=generator)

    return serve


def _with_settings_for(experiment: Experiment, form: str, n_ids: int) -> Experiment:
    """With the settings selected for requests of n_ids, or for the nearest size that was tuned."""
    return experiment.with_settings(
        {form: settings_for(spec_named(form).name, **experiment.setting | {"n_ids": n_ids})}
    )


# Measures -------------------------------------------------------------------------------------------------------------


def rows(
    experiment: Experiment, form: str, strategy: str, *, size: int, every: int, attacked: bool = False
) -> pd.DataFrame:
    """Result rows of a sequence, a `step` a request: scores, and after every `every`-th and the last one Tug-of-War,
    with `attacked` RMIA too.

    `forget` holds the images of everybody who has asked so far; `retain` those of people who never ask, so that it
    can be compared between steps. Tug-of-War and RMIA compare with a model retrained at that point, to which those
    who have not asked yet belong to the people to keep; RMIA's reference has served the same requests as the target.

    Args:
        form: a method's form, or "original" for the model that nobody touches.
        strategy, size: as `sequence`; ignored for "original".
    """
    waits = form == "original"
    n = experiment.n_ids
    models = iter([experiment.model("original")] * n) if waits else sequence(experiment, form, strategy, size=size)
    found, last = [], None
    for step, model in enumerate(progress(models, desc=f"{form} {strategy}", unit="request", total=n), start=1):
        if model is not last:  # a model that waits says the same of those who do not ask
            last, still = model, _scores(experiment, model, "retain", "test")
        asked = experiment.part("forget").of(experiment.request.identities[:step])  # requests are nested
        forgotten = or_reason(_score, experiment, model, asked, unit=100)
        values = still | {("forget", score_name(asked.targets)): forgotten}
        if compares(step, n, every=every):
            at = experiment.with_n_ids(step)
            values["all", "tow"] = or_reason(_tug_of_war, at, model, values)
            if attacked:
                values |= _attack(at, model, _reference(at, form, strategy, size, like=experiment))
        variant = "" if waits else f"{strategy} {size}" if strategy in ("share", "queue") else strategy
        found.append(make_rows(values, experiment.about(MethodSpec(spec_named(form).method, variant)) | {"step": step}))
    return pd.concat(found, ignore_index=True)


def compares(step: int, n: int, *, every: int) -> bool:
    """Whether there is a retrained model to compare with after this request, of n."""
    return step % every == 0 or step == n


def retrained_rows(experiment: Experiment, *, every: int) -> pd.DataFrame:
    """Rows of the models retrained after every `every`-th request, and after the last."""
    found = []
    n = experiment.n_ids
    for step in (step for step in range(1, n + 1) if compares(step, n, every=every)):
        at = experiment.with_n_ids(step)
        model = at.model("retrained")
        values = _scores(experiment, model, "retain", "test") | _scores(at, model, "forget") | {("all", "tow"): 100.0}
        found.append(make_rows(values, experiment.about(MethodSpec("retrained")) | {"step": step}))
    return pd.concat(found, ignore_index=True)


def _scores(at: Experiment, model: FaceModel, *parts: str) -> dict[tuple[str, str], float | Measured]:
    faces = {part: at.part(part) for part in parts}
    return {(part, score_name(f.targets)): or_reason(_score, at, model, f, unit=100) for part, f in faces.items()}


def _score(at: Experiment, model: FaceModel, faces: Faces) -> float:
    return score(predict(model, faces, bf16=at.config.train.bf16).logits, faces.targets)


def _tug_of_war(at: Experiment, model: FaceModel, values: Mapping[tuple[str, str], float | Measured]) -> float:
    if unknown := next((value.note for value in values.values() if isinstance(value, Measured)), ""):
        raise UndefinedScore(unknown)
    known = {part: value / 100 for (part, _), value in values.items()}
    reached = Scores(_score(at, model, at.part("retain")), known["forget"], known["test"])
    return tug_of_war(reached, at.scores("retrained"))


def _reference(at: Experiment, form: str, strategy: str, size: int, *, like: Experiment) -> FaceModel:
    """The model retrained at this point, after the same requests as the target, with its settings."""
    if form == "original":
        return at.model("retrained")
    *_, last = sequence(at, form, strategy, size=size, base="retrained", like=like)
    return last


def _attack(at: Experiment, model: FaceModel, reference: FaceModel) -> dict[tuple[str, str], Measured]:
    found = at.attack_on(at.ask(model), at.ask(reference))
    return {("all", "rmia_auc"): found["rmia_auc"]}
