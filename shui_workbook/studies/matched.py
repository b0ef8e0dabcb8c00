"""What an objective of meta-training costs at matched strength: retain points lost where all forget as much (Table 5).

At the step that the tuning pool chooses, the smallest, all rows of Table 5 agree, because the model hardly moves. Here
MetaUnlearn rehearses with one of the longer steps; then the step along its loss grows until the forget score has fallen
by `GOAL` of what retraining takes from it. Objectives that look at those who stay are among them, so that it can be
seen whether looking helps.

    python -m shui_workbook.studies.matched --dataset faces --n-ids 10 --seeds 0 1 2
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch

from shui_lib.benchmark.metrics import score_or_nan
from shui_lib.benchmark.predict import task_loss
from shui_lib.core.machine import git_commit
from shui_lib.core.places import RESULTS
from shui_lib.core.progress import progress
from shui_lib.methods import Artefacts
from shui_lib.methods.parts.meta_gradient import loss_gradient
from shui_lib.methods.parts.objectives import (
    COMPARE,
    DISTANCES,
    OTHER_OBJECTIVES,
    MetaBatch,
    ObjectiveResult,
    Size,
    alignment_with_gradient,
)
from shui_workbook.arguments import Setting, command_line
from shui_workbook.records.compare import over_seeds
from shui_workbook.records.files import check_results, put
from shui_workbook.runs.experiment import Experiment
from shui_workbook.runs.settings import simulated_request_size
from shui_workbook.studies.ablations import BASE, FORM, ablations
from shui_workbook.studies.tradeoff import at_goal, curve

GOAL = 0.25  # of what the retrained model forgot, stated before any of this was run
ETAS = (1e-3, 3e-3)  # rehearsed with; the pool chooses 3e-4, which hardly moves the model
RETAIN_WEIGHTS = (1.0, 10.0)  # of a retain term beside eq. 6
ROW_KEY = ["dataset", "preset", "n_ids", "seed", "form", "eta"]
COLUMNS = ["forget", "retain", "test", "tow", "gap", "reached", "git"]


def objectives() -> dict[str, dict[str, object]]:
    """Settings by row: Table 5's, eq. 6 differentiated, and eq. 6 with a retain term ("eq6+retain")."""
    found = {k: v for k, v in ablations(10).items() if k.startswith(("aux_loss", "validation"))}
    return found | {name: {"objective": name} for name in map(retaining_name, RETAIN_WEIGHTS)}


def retaining_name(weight: float) -> str:
    """Of the row with a retain term of this weight."""
    return f"eq6+{weight:g}retain"


def eq6_and_retain(weight: float) -> Callable[..., ObjectiveResult]:
    """Eq. 6 plus a third term of the same kind: people who stay should look as they did under the original model.

    It adds weight · d((1 − m_r) L_r, (1 − m_r0) L_r0), with losses and scores on a sample of images of others.
    """

    def objective(model, theta, known: MetaBatch, *, size: Size) -> ObjectiveResult:
        found = alignment_with_gradient(model, theta, known, size=size, detached=True)
        loss, logits, gradient = loss_gradient(model, theta, known.retain, **size)
        targets = known.retain.targets
        missed, before = (1 - score_or_nan(z.float().cpu(), targets) for z in (logits, known.retain_logits))
        loss = loss.requires_grad_()
        was = before * task_loss(known.retain_logits, targets)
        term = weight * DISTANCES["smooth_l1"](missed * loss, was.to(loss))
        (slope,) = torch.autograd.grad(term, loss)
        summed = {name: g + slope * gradient[name] for name, g in found.gradient.items()}
        return ObjectiveResult(found.value + term.detach(), summed, found.alignment)

    return objective


for weight in RETAIN_WEIGHTS:
    OTHER_OBJECTIVES[retaining_name(weight)] = eq6_and_retain(weight)
    COMPARE.add(retaining_name(weight))


def rehearsed(experiment: Experiment) -> Artefacts:
    """What MetaUnlearn learns; in no stage, whose key would not know the objectives of this file."""
    method, data = experiment.method(FORM), {part: experiment.part(part) for part in ("train", "val")}
    generator = torch.Generator().manual_seed(experiment.seed)
    return method.prepare(experiment.model("original"), data, generator=generator)


def matched_row(experiment: Experiment, name: str, eta: float) -> dict[str, float]:
    """What one objective has cost where it has forgotten `GOAL` of what retraining forgets; nan where it never does.

    Returns:
        forget, retain and test points lost there, tow (%), gap (points that retraining forgets), and whether it got
        there (1 or 0).
    """
    row = {**BASE, "simulated_n_ids": simulated_request_size(experiment.n_ids), **objectives()[name], "eta": eta}
    tried = experiment.with_settings({FORM: row})
    found = curve(tried, FORM, artefacts=rehearsed(tried), until=GOAL, most=None)
    gap = found["gap"].iloc[0]
    lost = {what: at_goal(found, GOAL * gap, what) for what in ("forget", "retain", "test", "tow")}
    return {**lost, "gap": gap, "reached": float(lost["forget"] == lost["forget"])}


def compared(rows: pd.DataFrame, form: str, other: str, *, what: str = "retain") -> dict[str, float]:
    """Points lost by one row minus those by another at matched strength: mean and interval over the seeds of both."""
    wide = rows.pivot(index="seed", columns="form", values=what)
    return over_seeds(wide[form] - wide[other])


def on_the_pool(trials: pd.DataFrame, goals: Sequence[float]) -> pd.DataFrame:
    """Retain points lost by every row of `selection_ablations.csv` where it has forgotten as much, from its trials.

    Between two step sizes lines are straight, from doing nothing on; each step size has a loss learned for it.

    Args:
        trials: of one setting, means over requests of tuning-pool people; drops are fractions.
        goals: points of the forget score.
    Returns:
        A line a row, a column a goal; nan where no step size forgets as much.
    """
    found = {}
    for form, mine in trials.groupby("form", sort=False):
        eta = mine["settings"].map(lambda text: json.loads(text)["eta"])
        drops = 100 * mine.loc[eta.sort_values().index, ["forget_drop", "retain_drop"]]
        one = pd.DataFrame({"forget": [0.0, *drops["forget_drop"]], "retain": [0.0, *drops["retain_drop"]]})
        found[form.removeprefix(f"{FORM} ")] = {goal: at_goal(one, goal) for goal in goals}
    return pd.DataFrame(found).T


@dataclass(frozen=True, kw_only=True)
class Command(Setting):
    """Options of this command."""

    results: Path = RESULTS / "matched.csv"


def main(argv: Sequence[str] | None = None) -> None:
    """Record every row of the given seeds in results/matched.csv."""
    asked = command_line(Command, argv, __doc__).without_settings("those of the rows of Table 5")
    check_results(asked.results, [*ROW_KEY, *COLUMNS])
    for seed in progress(asked.seeds, desc="matched strength", unit="seed"):
        experiment = Experiment(**asked.of_seed(seed))
        key = {name: getattr(experiment, name) for name in ROW_KEY[:-2]}
        tried = [(name, eta) for name in objectives() for eta in ETAS]
        for name, eta in progress(tried, desc=f"seed {seed}", unit="row", leave=False):
            row = {**key, "form": name, "eta": eta, **matched_row(experiment, name, eta), "git": git_commit()}
            put(asked.results, pd.DataFrame([row])[[*ROW_KEY, *COLUMNS]], ROW_KEY)


if __name__ == "__main__":
    main()
