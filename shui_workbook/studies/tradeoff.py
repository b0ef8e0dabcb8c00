"""What forgetting costs at every strength of a method, from hardly a step to one that forgets as retraining does.

python -m shui_workbook.studies.tradeoff --dataset faces --n-ids 10 --seeds 0 1 2
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from shui_lib.benchmark.metrics import Scores, score, tug_of_war
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import predict, query_losses, task_loss
from shui_lib.core.places import ROOT
from shui_lib.core.progress import progress
from shui_lib.methods import Given
from shui_lib.runs.experiment import Experiment
from shui_workbook.arguments import add_setting
from shui_workbook.records.files import put

STRENGTH = {  # by form: the setting that grows, and its power that does (SSD dampens more where α is smaller)
    "gradient_ascent": ("eta", 1),
    "meta_unlearn": ("eta", 1),
    "curvature": ("eta", 1),
    "ssd:one-shui": ("alpha", -1),
    "jit:one-shui": ("eta", 1),
    "pgu:one-shui": ("lr", 1),
}
FIRST, GROWTH, MOST = 1 / 8, 1.5, 18  # of the selected strength; from one step to the next; steps at most
COPIES = 4  # cropped and mirrored views of each image, for the losses on copies
CURVE_KEY = ["dataset", "preset", "n_ids", "seed", "form"]
LOSSES = ["support_loss", "val_loss", "support_copies", "val_copies"]
COLUMNS = ["strength", "chosen", *Scores._fields, "tow", *LOSSES, "gap"]


def curve(experiment: Experiment, form: str) -> pd.DataFrame:
    """The method with its selected settings at growing strength, until it forgets as much as the retrained model.

    MetaUnlearn's loss stays the one that was learned for the selected strength.

    Returns:
        A line a strength, from 0: strength, and the selected one; how many points the retain, forget and test scores
        fell; ToW (%); the task loss (nats) of the Support Samples and of validation images, and of copies of both; gap,
        how many points the retrained model forgot.
    """
    method, given = experiment.method(form), Given({"support": experiment.part("support")})
    original, artefacts = experiment.model("original"), experiment.artefacts(form)
    goal, train, lines = experiment.scores("retrained"), experiment.config.train, []
    setting, power = STRENGTH[form]
    chosen = getattr(method, setting) ** power

    def judge(strength: float, model: FaceModel) -> None:
        logits = {
            part: predict(model, experiment.part(part), bf16=train.bf16).logits
            for part in (*Scores._fields, "support", "val")
        }
        reached = Scores(*(score(logits[part], experiment.part(part).targets) for part in Scores._fields))
        losses = {}
        for part in ("support", "val"):
            faces, same = experiment.part(part), torch.Generator().manual_seed(experiment.seed)
            copies = query_losses(model, faces, generator=same, queries=COPIES, crop=train.crop, bf16=train.bf16)
            losses[f"{part}_loss"] = task_loss(logits[part], faces.targets).item()
            losses[f"{part}_copies"] = copies.mean().item()
        told = {"strength": strength, "chosen": chosen, "tow": tug_of_war(reached, goal)}
        lines.append(told | reached._asdict() | losses)

    judge(0.0, original)
    strength = FIRST * chosen
    while len(lines) <= MOST and lines[-1]["forget"] > goal.forget:
        step = replace(method, **{setting: strength**power})
        generator = torch.Generator().manual_seed(experiment.seed)  # the same copies of the photos at every strength
        judge(strength, step.unlearn(original, given.only(method.needs), artefacts, generator=generator))
        strength *= GROWTH
    found = pd.DataFrame(lines)
    found[[*Scores._fields]] = 100 * (found.loc[0, [*Scores._fields]] - found[[*Scores._fields]]).astype(float)
    return found.assign(gap=100 * (experiment.score("original", "forget") - goal.forget))


def price(curve: pd.DataFrame, goal: float) -> float:
    """Retain points lost for a point forgotten, on the way to `goal` points: from the area under the curve.

    The slope of the straight line with the same area, 2 ∫ retain d(forget) / goal²; nan if the method never gets there,
    or where the goal is not above zero.
    """
    if goal <= 0 or curve["forget"].max() < goal:
        return np.nan
    forget, retain = curve["forget"].to_numpy(), curve["retain"].to_numpy()
    to = int((forget >= goal).argmax())  # the first line there
    share = (goal - forget[to - 1]) / (forget[to] - forget[to - 1])
    last = retain[to - 1] + share * (retain[to] - retain[to - 1])
    return 2 * float(np.trapezoid(np.append(retain[:to], last), np.append(forget[:to], goal))) / goal**2


def prices(curves: pd.DataFrame) -> pd.DataFrame:
    """The price of every method in every seed, for forgetting as much as retraining does.

    Args:
        curves: columns `CURVE_KEY` and those of `curve`.
    Returns:
        A line a setting and seed, a column a form; nan where a form never gets there.
    """
    return curves.groupby(CURVE_KEY).apply(lambda one: price(one, one["gap"].iloc[0])).unstack("form")


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


def main(argv: Sequence[str] | None = None) -> None:
    """Record the curves of the given seeds in results/tradeoff.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_setting(parser)
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "tradeoff.csv")
    args = vars(parser.parse_args(argv))
    path, seeds = args.pop("results"), args.pop("seeds")
    for seed in progress(seeds, desc="trade-off", unit="seed"):
        experiment = Experiment(seed=seed, **args)
        key = {name: getattr(experiment, name) for name in CURVE_KEY[:-1]}
        for form in STRENGTH:
            found = curve(experiment, form).assign(**key, form=form)
            put(path, found[[*CURVE_KEY, *COLUMNS]], CURVE_KEY, "strength")


if __name__ == "__main__":
    main()
