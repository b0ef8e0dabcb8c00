"""What forgetting costs at every strength of a method, from hardly a step to one that forgets as retraining does.

python -m shui_workbook.studies.tradeoff --dataset faces --n-ids 10 --seeds 0 1 2

A form whose search chose to do nothing is shown with the settings of its best trial: a curve needs a direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.metrics import Scores, score, tug_of_war
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import predict, query_losses, task_loss
from shui_lib.core.machine import git_commit
from shui_lib.core.places import RESULTS
from shui_lib.core.progress import progress
from shui_lib.methods import Artefacts, Given, with_parameters
from shui_lib.methods.parts.meta_gradient import Theta, parameters
from shui_workbook.arguments import Setting, command_line
from shui_workbook.records.files import check_results, put
from shui_workbook.records.searches import trials_known
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies.pool import some_of
from shui_workbook.studies.selection import acting

STRENGTH = {  # by form: the setting that grows, and its power that does (SSD dampens more where α is smaller)
    # MU-Mis is left out: each strength would take it ten steps of second derivatives.
    "gradient_ascent": ("eta", 1),
    "meta_unlearn": ("eta", 1),
    "curvature": ("eta", 1),
    "ssd:one-shui": ("alpha", -1),
    "jit:one-shui": ("eta", 1),
    "pgu:one-shui": ("lr", 1),
}
ONE_STEP = ("gradient_ascent", "meta_unlearn", "curvature")  # a longer step lies farther along the same line
FIRST, GROWTH, MOST = 1 / 8, 2.0, 20  # of the selected strength; from one step to the next; steps at most
SOME = 500  # images of retain, and of test, that a strength is judged on where nothing is recorded
FINEST = 0.1  # of what the retrained model forgot: two strengths of a curve lie no farther apart
BETWEEN = 12  # strengths that are tried in between for that, at most
SHARES = np.linspace(0, 1, 51)  # of what retraining forgets
COPIES = 4  # cropped and mirrored views of each image, for the losses on copies
SHORT = 1 / 16  # length of the first step along a direction, in the units of the weights
CURVE_KEY = ["dataset", "preset", "n_ids", "seed", "form"]
LOSSES = ["support_loss", "val_loss", "support_copies", "val_copies"]
COLUMNS = ["strength", "chosen", *Scores._fields, "tow", *LOSSES, "gap"]


def curve(
    experiment: Experiment,
    form: str,
    *,
    artefacts: Artefacts | None = None,
    losses: bool = False,
    until: float = 1.0,
    finest: float = FINEST,
    most: int | None = SOME,
) -> pd.DataFrame:
    """The method with its settings at growing strength, until it forgets as much as the retrained model.

    MetaUnlearn's loss stays the one that was learned for the selected strength. Between two strengths whose forget
    scores are far apart others are tried: an area under a curve of two points says nothing.

    Args:
        artefacts: what the method has prepared, where it is not the experiment's own.
        losses: also the losses of `LOSSES`, nan otherwise.
        until: share of what the retrained model forgot at which the curve may end.
        finest: share of what the retrained model forgot that two strengths may lie apart, before the end.
        most: images of retain, and of test, that are looked at; None for all.
    Returns:
        A line a strength, from 0: strength, and the selected one; how many points the retain, forget and test scores
        fell; ToW (%); the task loss (nats) of the Support Samples and of validation images, and of copies of both; gap,
        how many points the retrained model forgot.
    """
    method, given = experiment.method(form), Given({"support": experiment.part("support")})
    original, artefacts = experiment.model("original"), artefacts or experiment.artefacts(form)
    setting, power = STRENGTH[form]
    chosen = getattr(method, setting) ** power

    def stepped(strength: float) -> FaceModel:
        step = replace(method, **{setting: strength**power})
        generator = torch.Generator().manual_seed(experiment.seed)  # the same copies of the photos at every strength
        return step.unlearn(original, given.only(method.needs), artefacts, generator=generator)

    if chosen and form in ONE_STEP and getattr(method, "steps", 1) == 1:
        theta, there = parameters(original), parameters(stepped(chosen))
        stepped = _line(original, {name: (there[name] - weight) / chosen for name, weight in theta.items()})
    found = _grown(experiment, stepped, FIRST * chosen, losses=losses, until=until, finest=finest, most=most)
    found.insert(1, "chosen", chosen)
    return found


def along(
    experiment: Experiment, step: Theta, *, until: float = 1.0, finest: float = FINEST, most: int | None = SOME
) -> pd.DataFrame:
    """As `curve`, of any direction in the weights; strength is the length of the way from the original model.

    Args:
        step: by parameter, the direction; its own length does not matter.
    """
    length = sum(s.square().sum() for s in step.values()).sqrt()
    stepped = _line(experiment.model("original"), {name: moved / length for name, moved in step.items()})
    return _grown(experiment, stepped, SHORT, losses=False, until=until, finest=finest, most=most)


def _line(original: FaceModel, step: Theta) -> Callable[[float], FaceModel]:
    """The models on a straight line from the original one, by how many steps away they lie."""
    theta = parameters(original)
    return lambda far: with_parameters(original, {name: weight + far * step[name] for name, weight in theta.items()})


def _grown(
    experiment: Experiment,
    stepped: Callable[[float], FaceModel],
    first: float,
    *,
    losses: bool,
    until: float,
    finest: float,
    most: int | None,
) -> pd.DataFrame:
    """Scores of the original model, and of `stepped(strength)` from the first strength on."""
    parts, goal = _looked_at(experiment, most)
    parts |= {part: experiment.part(part) for part in ("support", "val") if losses}
    original, forget = experiment.model("original"), experiment.part("forget")
    start = experiment.scores("original").forget
    gap = start - experiment.scores("retrained").forget

    def model_at(strength: float) -> FaceModel:
        return stepped(strength) if strength else original

    @cache
    def judged(strength: float) -> dict[str, float]:
        return _judged(experiment, model_at(strength), parts, goal, losses=losses)

    @cache
    def lost(strength: float) -> float:
        """Of the forget score; of its few images alone, where they tell which strengths are worth a look."""
        if losses:  # all are recorded
            return start - judged(strength)["forget"]
        logits = predict(model_at(strength), forget, bf16=experiment.config.train.bf16).logits
        return start - score(logits, forget.targets)

    strengths = [0.0, first]
    while len(strengths) <= MOST and lost(strengths[-1]) < until * gap:
        strengths.append(GROWTH * strengths[-1])
    strengths = _resolved(strengths, lost, finest * gap, until * gap)
    strengths = strengths if losses else _thinned(strengths, lost, finest * gap)
    found = pd.DataFrame([{"strength": one, **judged(one)} for one in strengths])
    found[[*Scores._fields]] = 100 * (found.loc[0, [*Scores._fields]] - found[[*Scores._fields]]).astype(float)
    return found.assign(gap=100 * gap)


Parts = dict[str, Faces]


def _looked_at(experiment: Experiment, most: int | None) -> tuple[Parts, Scores]:
    """The images that strengths are judged on, by part, and what the retrained model scores there."""
    parts, goal = {}, []
    for part in Scores._fields:
        everybody = experiment.part(part)
        some = some_of(np.arange(len(everybody)), None if part == "forget" else most)
        parts[part] = everybody[some]
        goal.append(score(experiment.logits("retrained", part)[torch.from_numpy(some)], parts[part].targets))
    return parts, Scores(*goal)


def _judged(experiment: Experiment, model: FaceModel, parts: Parts, goal: Scores, *, losses: bool) -> dict[str, float]:
    """Scores (fractions), Tug-of-War (%) with the goal and, if wanted, losses (nats) of a model."""
    train, found = experiment.config.train, dict.fromkeys(LOSSES, np.nan)
    logits = {part: predict(model, faces, bf16=train.bf16).logits for part, faces in parts.items()}
    reached = Scores(*(score(logits[part], parts[part].targets) for part in Scores._fields))
    for part in ("support", "val") if losses else ():
        same = torch.Generator().manual_seed(experiment.seed)
        views = query_losses(model, parts[part], generator=same, queries=COPIES, crop=train.crop, bf16=train.bf16)
        found[f"{part}_loss"] = task_loss(logits[part], parts[part].targets).item()
        found[f"{part}_copies"] = views.mean().item()
    return {"tow": tug_of_war(reached, goal), **reached._asdict(), **found}


def _resolved(strengths: Sequence[float], lost: Callable[[float], float], most: float, goal: float) -> list[float]:
    """Strengths with others between those that lie more than `most` apart in what is lost, on the way to `goal`.

    The widest gap is halved first, `BETWEEN` times at most: a method may jump, and scores of few images always do.
    """
    found = list(strengths)
    for _ in range(BETWEEN if most > 0 else 0):
        gaps = {
            (low, high): abs(lost(high) - lost(low))
            for low, high in pairwise(found)
            if min(lost(low), lost(high)) < goal
        }
        if not gaps or max(gaps.values()) <= most:
            break
        low, high = max(gaps, key=gaps.get)
        found = sorted([*found, (low + high) / 2])
    return found


def _thinned(strengths: Sequence[float], lost: Callable[[float], float], most: float) -> list[float]:
    """The two ends, and as few between them as leave no neighbours farther than `most` apart that were not before."""
    kept = [strengths[0]]
    for here, after in pairwise(strengths[1:]):
        if abs(lost(after) - lost(kept[-1])) > most:
            kept.append(here)
    return [*kept, strengths[-1]]


def at_goal(curve: pd.DataFrame, goal: float, what: str = "retain") -> float:
    """What is lost, in points, where the forget score has first fallen by `goal` points; nan if it never does."""
    forget, lost = curve["forget"].to_numpy(), curve[what].to_numpy()
    if goal <= 0 or forget.max() < goal:
        return np.nan
    to = int((forget >= goal).argmax())  # the first line there
    share = (goal - forget[to - 1]) / (forget[to] - forget[to - 1])
    return float(lost[to - 1] + share * (lost[to] - lost[to - 1]))


def price(curve: pd.DataFrame, goal: float) -> float:
    """Retain points lost for a point forgotten, on the way to `goal` points: from the area under the curve.

    The slope of the straight line with the same area, 2 ∫ retain d(forget) / goal²; nan if the method never gets there,
    or where the goal is not above zero.
    """
    last = at_goal(curve, goal)
    if np.isnan(last):
        return np.nan
    forget, retain = curve["forget"].to_numpy(), curve["retain"].to_numpy()
    to = int((forget >= goal).argmax())  # the first line there
    return 2 * float(np.trapezoid(np.append(retain[:to], last), np.append(forget[:to], goal))) / goal**2


def prices(curves: pd.DataFrame) -> pd.DataFrame:
    """The price of every method in every seed, for forgetting as much as retraining does.

    Args:
        curves: columns `CURVE_KEY` and those of `curve`.
    Returns:
        A line a setting and seed, a column a form; nan where a form never gets there.
    """
    return curves.groupby(CURVE_KEY).apply(lambda one: price(one, one["gap"].iloc[0])).unstack("form")


def by_share(curves: pd.DataFrame) -> pd.DataFrame:
    """What each form has taken from retain by the time it has forgotten so much: the mean over seeds, by share.

    Args:
        curves: columns `form`, `seed`, `forget`, `retain` (points lost), `gap` (points that retraining forgets), in the
            order of growing strength.
    Returns:
        Index: share of the gap (%); a column a form, points of retain; nan from where most seeds do not get there. A
        seed whose retrained model forgets nothing has no gap, and is left out.
    """
    means = {}
    for form, mine in curves[curves["gap"] > 0].groupby("form", sort=False):
        seeds = [[0.0, *(at_goal(one, s * one["gap"].iloc[0]) for s in SHARES[1:])] for _, one in mine.groupby("seed")]
        seeds = pd.DataFrame(seeds)
        means[form] = seeds.mean().where(seeds.notna().mean() >= 0.5).to_numpy()
    return pd.DataFrame(means, index=100 * SHARES)


def stops(curves: pd.DataFrame) -> pd.DataFrame:
    """Where to stop: Tug-of-War of each curve untouched, at the first strength at which the Support Samples look as
    hard as validation images do (`photo`), at the one at which their copies do (`copies`), at the selected strength
    (`search`), and at the best.

    Args:
        curves: columns `CURVE_KEY` and those of `curve`.
    Returns:
        A line a curve, index `CURVE_KEY`; nan where a rule never stops.
    """
    return curves.groupby(CURVE_KEY).apply(_stops)


def _stops(one: pd.DataFrame) -> pd.Series:
    def first(there: pd.Series) -> float:
        return one.loc[there.idxmax(), "tow"] if there.any() else np.nan

    chosen = (one["strength"] - one["chosen"]).abs().idxmin()
    return pd.Series({
        "untouched": one["tow"].iloc[0],
        "photo": first(one["support_loss"] >= one["val_loss"]),
        "copies": first(one["support_copies"] >= one["val_copies"]),
        "search": one.loc[chosen, "tow"],
        "best": one["tow"].max(),
    })  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Command(Setting):
    """Options of this command."""

    forms: tuple[str, ...] = tuple(STRENGTH)  # whose curves; all by default
    results: Path = RESULTS / "tradeoff.csv"


def main(argv: Sequence[str] | None = None) -> None:
    """Record the curves of the given seeds in results/tradeoff.csv."""
    asked = command_line(Command, argv, __doc__)
    check_results(asked.results, [*CURVE_KEY, *COLUMNS, "git"])
    if unknown := set(asked.forms) - set(STRENGTH):
        raise SystemExit(f"no curve is known of {', '.join(sorted(unknown))}: choose from {', '.join(STRENGTH)}")
    trials = trials_known(asked.runs_root)
    for seed in progress(asked.seeds, desc="trade-off", unit="seed"):
        experiment = Experiment(**asked.of_seed(seed))
        key = {name: getattr(experiment, name) for name in CURVE_KEY[:-1]}
        for form in asked.forms:
            acts = acting(experiment, form, *trials)
            found = curve(acts, form, losses=True, most=None).assign(**key, form=form)
            if acts is not experiment:
                found["chosen"] = 0.0  # to do nothing
            found = found.assign(git=git_commit())
            put(asked.results, found[[*CURVE_KEY, *COLUMNS, "git"]], CURVE_KEY, "strength")


if __name__ == "__main__":
    main()
