"""What forgetting costs at every strength of a method, from hardly a step to one that forgets as retraining does.

python -m shui_lib.tradeoff --dataset faces --n-ids 10 --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from shui_lib.arguments import ROOT, add_setting
from shui_lib.experiment import Experiment
from shui_lib.methods import Given
from shui_lib.metrics import Scores, score, tug_of_war
from shui_lib.models import FaceModel
from shui_lib.predict import predict, task_loss
from shui_lib.progress import progress
from shui_lib.selection import record

STRENGTH = {"gradient_ascent": "eta", "meta_unlearn": "eta", "curvature": "eta", "pgu:one-shui": "lr"}  # by form
FIRST, GROWTH, MOST = 1 / 8, 1.5, 18  # of the selected strength; from one step to the next; steps at most
KEY = ["dataset", "preset", "n_ids", "seed", "form"]
COLUMNS = ["strength", *Scores._fields, "tow", "support_loss", "val_loss", "gap"]


def curve(experiment: Experiment, form: str) -> pd.DataFrame:
    """The method with its selected settings at growing strength, until it forgets as much as the retrained model.

    MetaUnlearn's loss stays the one that was learned for the selected strength.

    Returns:
        A line a strength, from 0: strength; how many points the retain, forget and test scores fell; ToW (%); the task
        loss of the Support Samples and of validation images (nats); gap, how many points the retrained model forgot.
    """
    method, given = experiment.method(form), Given({"support": experiment.part("support")})
    original, artefacts = experiment.model("original"), experiment.artefacts(form)
    goal, bf16, lines = experiment.scores("retrained"), experiment.config.train.bf16, []

    def judge(strength: float, model: FaceModel) -> None:
        said = {
            part: predict(model, experiment.part(part), bf16=bf16).logits
            for part in (*Scores._fields, "support", "val")
        }
        reached = Scores(*(score(said[part], experiment.part(part).targets) for part in Scores._fields))
        losses = {f"{p}_loss": task_loss(said[p], experiment.part(p).targets).item() for p in ("support", "val")}
        lines.append({"strength": strength, **reached._asdict(), "tow": tug_of_war(reached, goal), **losses})

    judge(0.0, original)
    strength = FIRST * getattr(method, STRENGTH[form])
    while len(lines) <= MOST and lines[-1]["forget"] > goal.forget:
        step = replace(method, **{STRENGTH[form]: strength})
        generator = torch.Generator().manual_seed(experiment.seed)  # the same copies of the photos at every strength
        judge(strength, step.unlearn(original, given.only(method.needs), artefacts, generator=generator))
        strength *= GROWTH
    found = pd.DataFrame(lines)
    found[[*Scores._fields]] = 100 * (found.loc[0, [*Scores._fields]] - found[[*Scores._fields]]).astype(float)
    return found.assign(gap=100 * (experiment.score("original", "forget") - goal.forget))


def price(curve: pd.DataFrame, goal: float) -> float:
    """Retain points lost for a point forgotten, on the way to `goal` points: from the area under the curve.

    The slope of the straight line with the same area, 2 ∫ retain d(forget) / goal²; nan if the method never gets there.
    """
    if curve["forget"].max() < goal:
        return np.nan
    forget, retain = curve["forget"].to_numpy(), curve["retain"].to_numpy()
    to = int((forget >= goal).argmax())  # the first line there
    share = (goal - forget[to - 1]) / (forget[to] - forget[to - 1])
    last = retain[to - 1] + share * (retain[to] - retain[to - 1])
    return 2 * float(np.trapezoid(np.append(retain[:to], last), np.append(forget[:to], goal))) / goal**2


def prices(curves: pd.DataFrame) -> pd.DataFrame:
    """The price of every method in every seed, for forgetting as much as retraining does.

    Args:
        curves: columns `KEY` and those of `curve`.
    Returns:
        A line a setting and seed, a column a form; nan where a form never gets there.
    """
    return curves.groupby(KEY).apply(lambda one: price(one, one["gap"].iloc[0])).unstack("form")


def main(argv: Sequence[str] | None = None) -> None:
    """Record the curves of the given seeds in results/tradeoff.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_setting(parser)
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "tradeoff.csv")
    args = vars(parser.parse_args(argv))
    path, seeds = args.pop("results"), args.pop("seeds")
    for seed in progress(seeds, desc="trade-off", unit="seed"):
        experiment = Experiment(seed=seed, **args)
        key = {name: getattr(experiment, name) for name in KEY[:-1]}
        for form in STRENGTH:
            found = curve(experiment, form).assign(**key, form=form)
            record(path, found[[*KEY, *COLUMNS]], KEY, "strength")


if __name__ == "__main__":
    main()
