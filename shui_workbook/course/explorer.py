"""Who asks, with which photo, by which method, how hard: what becomes of everybody, in less than a second.

`prepare` computes once what no choice changes; `respond` is a pure function of that and a `Choice`: it takes the
unlearning step in memory and asks the new model about every scored photo once; `draw` is the picture of its answer.
Nothing is written: the Support Sample and the unlearned model live as long as the call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from matplotlib.axes import Axes
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.metrics import Scores, score, score_name, tug_of_war
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import Predictions, pixels_for, task_loss
from shui_lib.core.names import parse
from shui_lib.methods import Artefacts, Given, Method
from shui_workbook.figures import plot_explorer
from shui_workbook.runs.experiment import Experiment
from shui_workbook.runs.settings import DEMONSTRATION, settings_for
from shui_workbook.studies.people import centroids

MOST_CLASSES = 14  # shown of a photo's answers


class Knob(NamedTuple):
    """The setting of a method that says how hard it forgets."""

    setting: str  # field of the method
    symbol: str
    meaning: str
    low: float  # log₁₀ at the weak end of a slider
    high: float  # and at the strong end; smaller than `low` where a smaller value forgets more

    def at(self, position: float) -> float:
        """The setting at a position of the slider, from 0 (weak) to 100 (strong)."""
        return 10 ** (self.low + position / 100 * (self.high - self.low))

    def position(self, strength: float) -> float:
        """Where a setting lies on the slider, from 0 to 100; one that does nothing at all lies at 0."""
        if not 0 < strength < math.inf:
            return 0.0
        return min(max(100 * (math.log10(strength) - self.low) / (self.high - self.low), 0.0), 100.0)


KNOBS = {  # of forms that see the Support Set only, without MU-Mis, whose ten steps take longer than a hand waits
    "gradient_ascent": Knob("eta", "η", "size of the one step up the task loss", -3, 0),
    "meta_unlearn": Knob("eta", "η", "size of the one step along the learned loss", -4, -1),
    "curvature": Knob("eta", "η", "size of the one step, held back where the training data is sensitive", -4, -1.5),
    "pgu:one-shui": Knob("lr", "lr", "learning rate of its projected steps", -2, 1),
    "ssd:one-shui": Knob("alpha", "α", "threshold of importance; smaller is stronger", 4, 0.5),
    "jit:one-shui": Knob("eta", "η", "size of the one step against sensitivity to noise", -5, 0),
}


class Choice(NamedTuple):
    """What somebody in front of the page has chosen."""

    form: str  # one of `KNOBS`
    strength: float  # of the form's knob
    identity: int | None = None  # who asks; None is everybody of the request
    photo: int | None = None  # row of the data set that is handed in; None is the Support Sample
    alone: bool = False  # the form's other settings: those for one person, or those for the whole request


@dataclass(frozen=True, eq=False)
class Prepared:
    """What does not depend on a choice."""

    experiment: Experiment
    model: FaceModel  # θ, in eval mode
    faces: Faces  # N photos that every choice is scored on: the request's, and some of everybody else
    pixels: Tensor  # (N, 3, S, S) of them, as the model takes them
    part: np.ndarray  # (N,) support, forget, retain or test, of the whole request
    even: np.ndarray  # (N,) is the photo of the sample that has as many of everybody?
    original: Predictions  # of θ on the N photos
    retrained: Tensor  # (N, K) logits of θ_r
    methods: Mapping[str, Method]  # with the settings for the whole request
    alone: Mapping[str, Method]  # with those for one person, as far as the artefacts do not depend on them
    artefacts: Mapping[str, Artefacts]
    places: pd.DataFrame  # index identity; x, y: the first principal components of the identities' centroids
    explained: tuple[float, float]  # share of the centroids' variance on each axis


class Response(NamedTuple):
    """What a choice leads to."""

    photos: dict[str, Faces]  # by part, the photo of it that θ sees nearest to the Support Sample
    answers: dict[str, pd.DataFrame]  # by part, index of classes; before, after, truth (percent)
    scores: pd.DataFrame  # index forget, retain, test, tow; original, unlearned, reference (percent)
    people: pd.DataFrame  # index identity; x, y, part, change of the mean loss (nats)


# Once -----------------------------------------------------------------------------------------------------------------


def prepare(experiment: Experiment, *, forms: Sequence[str] = tuple(KNOBS), most: int = 800) -> Prepared:
    """Load, or compute, all that no choice changes.

    Args:
        most: photos of retain and test that are scored, about; as many of every identity. The request's all are.
    """
    experiment = _with_a_step(experiment)
    rows, part, even = _scored(experiment, most)
    whole, faces = experiment.predictions("original"), experiment.faces
    known = np.concatenate([experiment.rows_of["train"], experiment.rows_of["test"]])
    places, explained = _map(whole.features[torch.from_numpy(known)], faces.identity[known])
    model, of = experiment.model("original"), torch.from_numpy(rows)
    methods = {form: experiment.method(form) for form in forms}
    return Prepared(
        experiment=experiment,
        model=model,
        faces=faces[rows],
        pixels=pixels_for(model, faces[rows]),
        part=part,
        even=even,
        original=Predictions(*(values[of] for values in whole)),
        retrained=experiment.predictions("retrained").logits[of],
        methods=methods,
        alone={form: _for_one(experiment, form, method) for form, method in methods.items()},
        artefacts={form: experiment.artefacts(form) for form in forms},
        places=places,
        explained=explained,
    )


def _with_a_step(experiment: Experiment) -> Experiment:
    """Where MetaUnlearn's search chose to do nothing there is nothing to turn: it gets the demonstration's settings."""
    if experiment.method("meta_unlearn").eta:
        return experiment
    return experiment.with_settings({**experiment.settings, "meta_unlearn": DEMONSTRATION})


def _for_one(experiment: Experiment, form: str, method: Method) -> Method:
    """The method with what was selected for a request of one person; what its artefacts depend on stays."""
    selected = settings_for(form, **experiment.setting | {"n_ids": 1})
    return replace(method, **{name: value for name, value in selected.items() if name in method.at_request})


def offered(first: str, data_root: str | Path, runs_root: str | Path) -> list[str]:
    """The data set asked for, then the other prepared ones of which some model has been trained already."""
    prepared = sorted(path.parent.name for path in Path(data_root).glob("*/dataset.json"))
    trained = [name for name in prepared if any(Path(runs_root).glob(f"{name}/original-*"))]
    return [first, *(name for name in trained if name != first)]


def _scored(experiment: Experiment, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows of the data set, the part that each belongs to, and whether it is of the even sample."""
    rows = {part: experiment.rows_of[part] for part in ("support", "forget", "retain", "test")}
    part = np.repeat([*rows], [len(found) for found in rows.values()])
    rows = np.concatenate([*rows.values()])
    even = _even(experiment.faces.identity[rows], part != "support", most=most, seed=experiment.seed)
    kept = even | np.isin(part, ["support", "forget"])
    return rows[kept], part[kept], even[kept]


def _even(identity: np.ndarray, eligible: np.ndarray, *, most: int, seed: int) -> np.ndarray:
    """(N,) which of the eligible photos to keep: the same number of every identity (or all it has), `most` in total."""
    order = np.random.default_rng(seed).permutation(np.flatnonzero(eligible))
    rank = pd.Series(order).groupby(identity[order]).cumcount().to_numpy()
    each = max(np.searchsorted(np.cumsum(np.bincount(rank)), most, side="right"), 1)
    return np.isin(np.arange(len(identity)), order[rank < each])


def _map(features: Tensor, identity: np.ndarray) -> tuple[pd.DataFrame, tuple[float, float]]:
    """The identities' centroids on their first two principal components, and the share of variance on each.

    An exact SVD of a few hundred centroids takes a millisecond and no seed; each axis is turned so that its direction
    has its largest entry above zero.
    """
    people, centres = centroids(features, identity)
    centred = centres - centres.mean(0)
    _, values, directions = torch.linalg.svd(centred, full_matrices=False)
    axes = directions[:2]
    axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
    frame = pd.DataFrame((centred @ axes.T).numpy(), pd.Index(people, name="identity"), ["x", "y"])
    return frame, tuple((values[:2] ** 2 / (values**2).sum()).tolist())


# At each choice -------------------------------------------------------------------------------------------------------


def respond(prepared: Prepared, choice: Choice) -> Response:
    """Forget, and look at everybody again; the same choice gives the same response.

    Raises:
        ValueError: an identity that is not of the request, or a photo that is not of the identity.
    """
    parts = parts_of(prepared, choice)
    after = _ask(unlearn(prepared, parts["support"], choice), prepared.pixels)
    before, near = prepared.original.logits, _nearest(prepared.original.features, parts)
    return Response(
        photos={part: prepared.faces[[row]] for part, row in near.items()},
        answers=_answers(prepared.faces, before, after, near),
        scores=_scores(prepared, after, parts, alone=choice.identity is not None),
        people=_people(prepared, after, parts),
    )


def parts_of(prepared: Prepared, choice: Choice) -> dict[str, np.ndarray]:
    """Positions among the N photos by part, when the one identity asks, or everybody of the request.

    The others of the request stay, and count as retain. A photo that was trained on stays one of forget when it is
    handed in.
    """
    part, identity = prepared.part, prepared.faces.identity
    asking = prepared.experiment.request.identities
    if choice.identity is not None:
        if choice.identity not in asking:
            raise ValueError(f"identity {choice.identity} does not ask: choose one of {sorted(asking.tolist())}")
        asking = [choice.identity]
    asks, trained = np.isin(identity, asking), np.isin(part, ["forget", "retain"])
    handed_in = asks & (part == "support")
    if choice.photo is not None:
        handed_in = asks & (prepared.faces.rows == choice.photo)
        if not handed_in.any() or choice.identity is None:
            raise ValueError(f"photo {choice.photo} is none of identity {choice.identity}: take one of `photos_of`")
    found = {"support": handed_in, "forget": asks & trained, "retain": ~asks & trained & prepared.even}
    found["test"] = (part == "test") & prepared.even
    return {name: np.flatnonzero(mask) for name, mask in found.items()}


def method_for(prepared: Prepared, form: str, *, alone: bool) -> Method:
    """The form with settings for one person, or for the whole request."""
    return (prepared.alone if alone else prepared.methods)[form]


def tuned(prepared: Prepared, form: str, *, alone: bool = False) -> float:
    """The strength that the form was given on the tuning pool (or by its preset): for one person, or for all."""
    return getattr(method_for(prepared, form, alone=alone), KNOBS[form].setting)


def photos_of(prepared: Prepared, identity: int) -> dict[int, bool]:
    """Rows of the data set that the identity could hand in, and whether the model was trained on it."""
    mine = prepared.faces.identity == identity
    return dict(zip(prepared.faces.rows[mine].tolist(), (prepared.part[mine] != "support").tolist(), strict=True))


def unlearn(prepared: Prepared, support: np.ndarray, choice: Choice) -> FaceModel:
    """θ_u: the chosen method at the chosen strength, from the artefacts that go with its own setting."""
    method = method_for(prepared, choice.form, alone=choice.alone)
    method = replace(method, **{KNOBS[choice.form].setting: choice.strength})
    given = Given({"support": prepared.faces[support]}).only(method.needs)
    generator = torch.Generator().manual_seed(prepared.experiment.seed)
    return method.unlearn(prepared.model, given, prepared.artefacts[choice.form], generator=generator)


@torch.inference_mode()
def _ask(model: FaceModel, pixels: Tensor, batch: int = 256) -> Tensor:
    """(N, K) logits on the CPU. Without `predict`, whose bar would blink at every move of a slider."""
    return torch.cat([model.eval()(part).logits for part in pixels.split(batch)]).float().cpu()


def _nearest(features: Tensor, parts: Mapping[str, np.ndarray]) -> dict[str, int]:
    """By part, the photo whose feature lies nearest to the (first) Support Sample's, which is no example of another."""
    anchor = parts["support"][0]
    distance = torch.linalg.vector_norm(features - features[anchor], dim=1)
    others = {part: rows for part, rows in parts.items() if part != "support"}
    others = {part: rows[rows != anchor] if len(rows) > 1 else rows for part, rows in others.items()}
    return {"support": anchor} | {part: rows[distance[rows].argmin()] for part, rows in others.items()}


def _answers(faces: Faces, before: Tensor, after: Tensor, near: Mapping[str, int]) -> dict[str, pd.DataFrame]:
    """What both models say of the photos; of many classes those that move most."""
    rows = torch.tensor([*near.values()])
    probabilities = {"before": before[rows], "after": after[rows]}
    probabilities = {
        when: logits.sigmoid() if faces.multilabel else logits.softmax(1) for when, logits in probabilities.items()
    }
    targets = faces.targets[rows]
    probabilities["truth"] = targets if faces.multilabel else torch.nn.functional.one_hot(targets, len(faces.classes))
    moved = (probabilities["after"] - probabilities["before"]).abs().amax(0)
    shown = moved.argsort(descending=True)[:MOST_CLASSES].sort().values
    names = [faces.classes[k] for k in shown]
    return {
        part: pd.DataFrame({when: 100 * values[n, shown].double() for when, values in probabilities.items()}, names)
        for n, part in enumerate(near)
    }


def _scores(prepared: Prepared, after: Tensor, parts: Mapping[str, np.ndarray], *, alone: bool) -> pd.DataFrame:
    """Scores and Tug-of-War in percent.

    For the whole request the reference is the retrained model. When one identity asks, no model was retrained without
    just that one: θ_r, which has never met them either, tells their forget score, and the original model the others,
    to whom it is what a retrained one would be.
    """
    measured = {
        "original": _three(prepared.original.logits, prepared.faces.targets, parts),
        "unlearned": _three(after, prepared.faces.targets, parts),
        "reference": _three(prepared.retrained, prepared.faces.targets, parts),
    }
    if alone:
        measured["reference"] = measured["original"]._replace(forget=measured["reference"].forget)
    frame = pd.DataFrame({name: 100 * pd.Series(found._asdict()) for name, found in measured.items()})
    frame.loc["tow"] = [tug_of_war(found, measured["reference"]) for found in measured.values()]
    return frame.loc[["forget", "retain", "test", "tow"]]


def _three(logits: Tensor, targets: Tensor, parts: Mapping[str, np.ndarray]) -> Scores:
    return Scores(*(score(logits[parts[part]], targets[parts[part]]) for part in Scores._fields))


def _people(prepared: Prepared, after: Tensor, parts: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """The map, with the change of each identity's mean loss over its scored photos."""
    targets = prepared.faces.targets
    losses = [task_loss(logits, targets, reduction="none") for logits in (after, prepared.original.logits)]
    rows = np.concatenate([parts[part] for part in ("forget", "retain", "test")])
    part = np.repeat(["forget", "retain", "test"], [len(parts[p]) for p in ("forget", "retain", "test")])
    found = pd.DataFrame({"identity": prepared.faces.identity[rows], "part": part})
    found["change"] = (losses[0] - losses[1])[rows].numpy()
    people = found.groupby("identity").agg(part=("part", "first"), change=("change", "mean"))
    return prepared.places.join(people, how="inner")


def draw(prepared: Prepared, choice: Choice, found: Response, *, show_faces: bool = False) -> list[Axes]:
    """The picture of a response."""
    form, metric = parse(choice.form), score_name(prepared.faces.targets)
    look = {"form": form.line, "metric": metric, "explained": prepared.explained}
    return plot_explorer(*found, **look, show_faces=show_faces)


def in_words(scores: pd.DataFrame) -> str:
    """The scores as a sentence: "forget 62.8 → 64.2 %, …, Tug-of-War 93.6 → 81.5 %"."""
    names = {"tow": "Tug-of-War"}
    return ", ".join(
        f"{names.get(part, part)} {one['original']:.1f} → {one['unlearned']:.1f} %" for part, one in scores.iterrows()
    )


def alternatives(found: Response) -> list[str]:
    """What stands in for each quarter of the picture where it cannot be seen, in its order."""

    def most(part: str) -> str:
        answers = found.answers[part]
        name = (answers["after"] - answers["before"]).abs().idxmax()
        return (
            f"{part}: {name} moves most, from {answers.loc[name, 'before']:.0f} to {answers.loc[name, 'after']:.0f} %"
        )

    worse = found.people.query("part == 'retain'")["change"]
    return [
        f"Answers before and after. {most('support')}. {most('forget')}.",
        f"Answers before and after. {most('retain')}. {most('test')}.",
        f"Scores before and after: {in_words(found.scores)}.",
        f"Map of people. Known worse by more than 0.1 nats: {(worse > 0.1).sum()} of {len(worse)} who stay.",
    ]
