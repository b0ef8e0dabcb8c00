"""How far fold models are from what they stand for, and whether that changes what is chosen.

A fold model stands for a model retrained without the pool people who ask (`pool.py`). It misses more than them: a
fifth of all people, and with them a fifth of the steps. So its score of the images to forget has a bias.

python -m shui_workbook.studies.fold_bias --dataset faces --sizes 5 10 20
python -m shui_workbook.studies.fold_bias --dataset faces --n-ids 10 --choices

The first measures the bias against models that were truly retrained. The second takes the recorded bias off what the
trials of a search are judged against, and tells which choices change.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from shui_lib.benchmark.metrics import Scores
from shui_lib.core.progress import progress
from shui_workbook.arguments import command_line
from shui_workbook.records.files import check_results, put
from shui_workbook.records.searches import KEY, choose, read_trials
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies.pool import SEEDS, PoolRequest, PoolSetting, fold_scores, pool_experiment
from shui_workbook.studies.selection import Trying

SIZES = (5, 10, 20)  # people in a request
BEST = 6  # trials of each form that are judged again without the bias


def fold_bias(
    *, dataset: str, preset: str, seed: int = SEEDS[0], sizes: Sequence[int] = SIZES, **where: object
) -> pd.DataFrame:
    """How far `fold_scores` are from models truly retrained without the same pool identities.

    Returns:
        One row per request size and split: score by the folds and of the retrained model, and their difference (%).
    """
    whole, _ = pool_experiment(n_ids=max(sizes), seed=seed, dataset=dataset, preset=preset, **where)
    rows = []
    for n_ids in progress(sizes, desc="fold bias", unit="request"):
        pool = {"reserved": whole.reserved, "from_pool": True}
        one = Experiment(dataset=dataset, preset=preset, seed=seed, n_ids=n_ids, **pool, **where)
        folds = fold_scores(one, one.request.identities, most=None)
        truly = Scores(*(one.score("retrained", part) for part in ("retain", "forget", "val")))
        key = {"preset": preset, "dataset": dataset, "seed": seed, "n_ids": n_ids}
        for part, ours, theirs in zip(("retain", "forget", "val"), folds, truly, strict=True):
            found = {"folds": 100 * ours, "retrained": 100 * theirs, "difference": 100 * (ours - theirs)}
            rows.append({**key, "split": part, **found})
    return pd.DataFrame(rows)


def corrected(requests: Sequence[PoolRequest], bias: float) -> list[PoolRequest]:
    """The same requests, the folds' forget score without its measured bias (a fraction, folds − retrained)."""
    return [one._replace(wanted=one.wanted._replace(forget=one.wanted.forget - bias)) for one in requests]


def choices_without_bias(found: pd.DataFrame, requests: Sequence[PoolRequest], bias: float) -> pd.DataFrame:
    """Would another setting be chosen if the folds' bias were taken off? The `BEST` trials of each form, judged again.

    Returns:
        A line a form: what was chosen, what would be, whether that differs, and the highest Tug-of-War of those judged
        again. Forms whose trials all made the model diverge are left out.
    """
    lines = []
    for form, trials in found.dropna(subset="tow").groupby("form"):
        trying = Trying(form, corrected(requests, bias), {})
        best = trials.nlargest(BEST, "tow")
        again = pd.DataFrame([trying.one(json.loads(settings)) for settings in best["settings"]])
        (was,), (would,) = choose(best).values(), choose(again).values()
        places = {"bias": 100 * bias, "chosen": json.dumps(was), "without_bias": json.dumps(would)}
        lines.append({**trying.key, **places, "changes": was != would, "tow": again["tow"].max()})
    return pd.DataFrame(lines)


def recorded_bias(path: Path, key: pd.Series) -> float:
    """How far the folds' forget score lies above a retrained model's, in points, as `fold_bias` recorded it.

    Raises:
        SystemExit: it was not measured for this setting.
    """
    known = pd.read_csv(path) if path.is_file() else pd.DataFrame(columns=[*key.index, "split"])
    known = known[(known[key.index] == key).all(axis=1) & (known["split"] == "forget")]
    if known.empty:
        raise SystemExit(f"no bias is recorded for {dict(key)} in {path}: measure it first, without --choices")
    return known["difference"].iloc[0]


@dataclass(frozen=True, kw_only=True)
class Command(PoolSetting):
    """Options of this command."""

    sizes: tuple[int, ...] = SIZES  # people in the requests that the bias is measured on
    choices: bool = False  # test the choices made for --n-ids people, with the recorded bias


def main(argv: Sequence[str] | None = None) -> None:
    """Record the bias in fold_bias.csv, or with --choices what it changes in fold_bias_choices.csv."""
    asked = command_line(Command, argv, __doc__)
    check_results(asked.folder)
    if asked.choices:
        key = pd.Series(asked.key)
        points = recorded_bias(asked.folder / "fold_bias.csv", key)
        trials = read_trials(asked.folder / "selection.csv")
        mine = (trials[key.index] == key).all(axis=1) & (trials["replaced"] == "")
        found = choices_without_bias(trials[mine], asked.requests(), points / 100)
        put(asked.folder / "fold_bias_choices.csv", found, [*KEY, "bias"], "form")
    else:
        one = {"dataset": asked.dataset, "preset": asked.preset, "sizes": asked.sizes, **asked.where}
        found = pd.concat([fold_bias(seed=seed, **one) for seed in asked.seeds])
        put(asked.folder / "fold_bias.csv", found, ["preset", "dataset", "seed", "n_ids"], "split")
    print(found.round(1).to_string(index=False))


if __name__ == "__main__":
    main()
