"""What MetaUnlearn owes to its parts: Tables 5-7 of the paper, and a few questions of our own.

Each row of a table is MetaUnlearn with one thing changed. The step size fits the objective that it was chosen for, so
every row gets its own, from three trials on the tuning pool (`shui_workbook.studies.selection`); all else stays.

The rows of `steps_and_objectives` build a better step: what is taken is gradient ascent, plain or preconditioned, and
what is learned is added to it, so that a loss that has learned nothing is ascent itself.

    python -m shui_workbook.studies.ablations --dataset faces --n-ids 10 --seeds 0 1 2
    python -m shui_workbook.studies.ablations --seeds 0 1 2 --only step=
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from shui_lib.benchmark.presets import ALL_INPUTS
from shui_lib.core.places import RESULTS
from shui_lib.core.progress import progress
from shui_lib.methods import Method, make_method
from shui_workbook.arguments import Setting, command_line
from shui_workbook.records.files import check_results, put, record
from shui_workbook.runs.experiment import Experiment
from shui_workbook.runs.settings import simulated_request_size
from shui_workbook.studies.pool import PoolRequest, judge, pool_requests

FORM = "meta_unlearn"
ETAS = (3e-4, 1e-3, 3e-3)
ETAS_OF_ASCENT = {"none": (0.06, 0.12, 0.25), "pgu": (0.12, 0.25, 0.5), "kfac": (7e-4, 1.4e-3, 2.8e-3)}
BASE = {"alpha": 1e-3, "epochs": 3, "inputs": ALL_INPUTS}
Settings = Mapping[str, object]


def ablations(n_ids: int) -> dict[str, dict[str, object]]:
    """What each row changes, by its name in `reported.csv` ("inputs=logits"), or a name of ours."""
    plain = {"accuracy_factor": False}
    found: dict[str, dict[str, object]] = {"aux_loss=scrub_loss": {"objective": "scrub"}}
    for name, terms in {"first": "first", "second": "second", "first+second": "both"}.items():
        found[f"aux_loss={name}"] = {"objective": terms, **plain}
        found[f"aux_loss={name}+accuracy"] = {"objective": terms}
    for k in range(1, len(ALL_INPUTS) + 1):
        found[f"inputs={'+'.join(ALL_INPUTS[:k])}"] = {"inputs": ALL_INPUTS[:k]}
    other = {1: 10, 5: 10, 10: 5, 20: 50, 50: 20}.get(n_ids, 2 * n_ids)  # the paper swaps sizes within a data set
    for size in (n_ids, other):
        found[f"simulated_n_ids={size}"] = {"simulated_n_ids": size}
    found["validation=differentiable"] = {"detached": False}
    found["objective_batch=64"] = {"objective_batch": 64}  # as the authors' code, where ours looks at all of D_f
    found["lone=True"] = {"lone": True}  # people with one image rehearse too, as there
    found["distance=squared"] = {"distance": "squared"}
    for steps in (2, 4):
        found[f"steps={steps}"] = {"steps": steps}
    return found


def steps_and_objectives() -> dict[str, dict[str, object]]:
    """Every preconditioner of the step with every objective, and with learned sizes; "ascent" has learned nothing."""
    ascent = {"residual": True}
    learned = {"eq6": {"objective": "both"}} | {name: {"objective": name} for name in ("held_out", "rank", "match")}
    found: dict[str, dict[str, object]] = {}
    for step in ETAS_OF_ASCENT:
        found[f"step={step}+ascent"] = {"preconditioner": step, **ascent, "epochs": 0}
        for name, objective in learned.items():
            found[f"step={step}+{name}"] = {"preconditioner": step, **ascent, **objective}
    for name in ("eq6", "held_out"):
        found[f"step=kfac+{name}+sizes"] = found[f"step=kfac+{name}"] | {"learned_steps": True}
    return found


def choose_eta(row: Settings, requests: Sequence[PoolRequest]) -> pd.DataFrame:
    """The trials of one row: each η with Tug-of-War against the fold models, and A, over the requests."""
    lines = []
    for eta in ETAS_OF_ASCENT[row.get("preconditioner", "none")] if row.get("residual") else ETAS:
        settings = {**row, "eta": eta / row.get("steps", 1)}  # several steps go as far as one
        tried = [judge(e.with_settings({FORM: settings}), FORM, group, wanted) for e, group, wanted in requests]
        lines.append({"settings": json.dumps(settings), **pd.DataFrame(tried).mean(), "requests": len(tried)})
    return pd.DataFrame(lines)


def ablation_rows(experiment: Experiment, name: str, settings: Settings) -> pd.DataFrame:
    """Result rows of MetaUnlearn with these settings, `variant` the ablation's name."""
    return experiment.with_settings({FORM: settings}).rows(FORM).assign(variant=name, note="")


@dataclass(frozen=True, kw_only=True)
class Command(Setting):
    """Options of this command."""

    only: str = ""  # rows whose name begins so, for instance "step="; all by default
    results: Path = RESULTS


def main(argv: Sequence[str] | None = None) -> None:
    """Choose η for every row, record trials in results/selection_ablations.csv, rows in results/rows_ablations.csv."""
    asked = command_line(Command, argv, __doc__).without_settings("what each row changes, and η its own search's")
    check_results(asked.results)
    changes = {**ablations(asked.n_ids), **steps_and_objectives()}
    changes = {name: change for name, change in changes.items() if name.startswith(asked.only)}
    if not changes:
        sys.exit(f"no row's name begins with {asked.only!r}")
    key = {name: getattr(asked, name) for name in ("preset", "dataset", "n_ids")}
    requests = pool_requests(**key, data_root=asked.data_root, runs_root=asked.runs_root)
    known: dict[Method, pd.DataFrame] = {}  # three rows are MetaUnlearn as it is, under three names
    for name, change in progress(changes.items(), desc="ablations", unit="row"):
        row = {**BASE, "simulated_n_ids": simulated_request_size(asked.n_ids), **change}
        method = make_method(FORM, row)
        if method not in known:
            known[method] = choose_eta(row, requests)
        tried = known[method].assign(**key, form=f"{FORM} {name}", seeds=1)
        put(asked.results / "selection_ablations.csv", tried, [*key, "form"], "settings")
        chosen = json.loads(tried.loc[tried["tow"].idxmax(), "settings"])
        for seed in asked.seeds:
            rows = ablation_rows(Experiment(**asked.of_seed(seed)), name, chosen)
            record(asked.results / "rows_ablations.csv", rows)


if __name__ == "__main__":
    main()
