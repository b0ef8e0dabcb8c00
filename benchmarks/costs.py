"""What every form costs: seconds and peak memory of preparing while the data exists, and of serving the request.

python -m benchmarks.costs --dataset faces --n-ids 10     # results/costs.csv

Rows of experiments tell the time of the last step on a machine that does other things, too. Here each form has a fresh
process to itself, and both of its steps are measured as `make bench` measures: processor seconds on a CPU. A form whose
search chose to do nothing is measured with the settings of its best trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import torch

from benchmarks.machine import machine, slug
from benchmarks.measure import measured
from shui_lib.benchmark.predict import predict
from shui_lib.core.machine import git_commit
from shui_lib.core.names import parse
from shui_lib.core.places import RESULTS
from shui_lib.core.progress import progress
from shui_lib.methods import Given
from shui_workbook.arguments import Setting, command_line
from shui_workbook.forms import forms_named
from shui_workbook.records.files import check_results, put
from shui_workbook.records.searches import trials_known
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies.selection import acting

COST_KEY = ["dataset", "preset", "n_ids", "seed", "form", "machine"]
MEASURED = ["prepare_seconds", "prepare_mib", "artefacts_mib", "unlearn_seconds", "unlearn_mib"]


def cost_of(form: str, setting: Mapping[str, object]) -> dict[str, object]:
    """One form in one experiment: seconds and MiB of `prepare` and of `unlearn`, and MiB of the artefacts."""
    experiment = Experiment(**setting)
    experiment = acting(experiment, form, *trials_known(setting["runs_root"]))
    method, model, device = experiment.method(form), experiment.model("original"), experiment.device
    predict(model, experiment.part("support"))  # the first call of all is slower
    data = {part: experiment.part(part) for part in method.prepares_on}
    given = Given({part: experiment.part(part) for part in method.needs})

    def draws() -> torch.Generator:
        return torch.Generator().manual_seed(experiment.seed)

    before = measured(lambda: method.prepare(model, data, generator=draws()), device=device)
    served = measured(lambda: method.unlearn(model, given, before.result, generator=draws()), device=device)
    kept = sum(t.numel() * t.element_size() for t in before.result.tensors.values()) / 2**20
    about = {name: getattr(experiment, name) for name in COST_KEY[:4]}
    return about | {
        "form": parse(form).line,
        "machine": slug(machine()),
        "prepare_seconds": before.seconds if method.prepares_on else 0.0,
        "prepare_mib": before.mib if method.prepares_on else 0.0,
        "artefacts_mib": kept,
        "unlearn_seconds": served.seconds,
        "unlearn_mib": served.mib,
    }


@dataclass(frozen=True, kw_only=True)
class Command(Setting):
    """Options of this command."""

    forms: str = "tuned"  # as shui_lib/core/names.py writes them, in one word
    results: Path = RESULTS / "costs.csv"


def main(argv: Sequence[str] | None = None) -> None:
    """Measure every tuned form and record what was found."""
    asked = command_line(Command, argv, __doc__)
    check_results(asked.results, [*COST_KEY, *MEASURED, "git"])
    forms = forms_named(asked.forms)
    for seed in asked.seeds:
        Experiment(**asked.of_seed(seed)).stage("original")  # trained here, if it is not there
        for form in progress(forms, desc="costs", unit="form"):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as fresh:
                found = fresh.submit(cost_of, form, asked.of_seed(seed)).result()
            found |= {"git": git_commit()}  # of this process, which knew it before it wrote
            put(asked.results, pd.DataFrame([found]).round(3), COST_KEY, "form")


if __name__ == "__main__":
    main()
