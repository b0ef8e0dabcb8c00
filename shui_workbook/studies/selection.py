"""Choosing settings honestly: on requests made of the tuning pool, of seeds that are never reported.

Fold models, each trained without a fifth of the training identities, tell what a retrained model would say about
pool identities (with a small bias, measured by `--bias`: a fold also misses people who did not ask). Every form of
every method gets the same number of trials, and the trial with the highest Tug-of-War against the fold predictions is
chosen. Validation identities stand for the test set here. A of eq. 6 is recorded beside it and chooses nothing.

    python -m shui_workbook.studies.selection --dataset faces --n-ids 10
    python -m shui_workbook.studies.selection --dataset faces --bias

Trials and choices are written to the runs folder, where experiments find them; with `--results results`, to the
repository's own. There every form keeps its best trial, so that tables compare methods; a user's search may also
choose to do nothing, and says where the best trial is at an edge of its grid or worse than that.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch

from shui_lib.benchmark.metrics import Scores, UndefinedScore, score, tug_of_war
from shui_lib.benchmark.predict import predict, task_loss
from shui_lib.benchmark.splits import FEWEST_IMAGES, FEWEST_IMAGES_ALONE
from shui_lib.core.names import parse
from shui_lib.core.places import ROOT
from shui_lib.core.progress import progress
from shui_lib.core.store import SOON, locked, save_json
from shui_lib.methods import Given
from shui_lib.methods.parts.learned_loss import INPUTS
from shui_lib.methods.parts.objectives import Alignment, alignment_objective
from shui_lib.runs.experiment import Experiment
from shui_lib.runs.serve import unlearn_from
from shui_lib.runs.settings import OWN, simulated_request_size
from shui_workbook.arguments import typed
from shui_workbook.records.files import put

SELECTED = ROOT / "shui_lib" / "runs" / "selected.json"
KEY = ["preset", "dataset", "n_ids", "form"]  # of a search
JUDGED = ("tow", "tow_before", "forget_drop", "retain_drop", "val_drop", "objective")  # what `judge` measures
SEEDS = (100,)  # reported seeds are 0, 1, 2, …
REQUESTS = 6  # of one seed, drawn from the pool again and again; they overlap
REQUESTS_WITH_DATA = 2  # for forms that train on retain data, which cost a hundred times as much


def grid(**choices: Sequence[object]) -> list[dict[str, object]]:
    """All combinations."""
    return [dict(zip(choices, values, strict=True)) for values in product(*choices.values())]


_SSD = grid(alpha=(10.0, 30.0, 50.0, 100.0, 200.0, 500.0), shrink=(0.1, 1.0))
_JIT = grid(sigma=(0.1, 0.5, 2.0), eta=(1e-4, 3e-4, 1e-3, 3e-3))
_PGU = grid(gamma=(0.5, 0.75, 0.9), lr=(0.1, 0.3, 1.0, 3.0))
_SCRUB = [
    {"lr": lr, "epochs": epochs, "max_epochs": most}
    for lr, (epochs, most) in product((1e-3, 3e-3, 1e-2, 3e-2), ((2, 1), (3, 2), (5, 3)))
]
_CURVATURE = grid(eta=(1.2e-5, 2.5e-5, 5e-5, 1e-4, 2e-4, 4e-4), damping=(0.1, 1.0))
TRIALS = {  # by form, as in `shui_lib.core.names`
    "gradient_ascent": grid(eta=[float(f"{eta:.2g}") for eta in np.geomspace(1e-2, 1, 12)]),
    # Half with all four inputs, as published, half without features and identities: see notebook 03.
    "meta_unlearn": grid(inputs=(INPUTS, ("logits", "targets")), eta=(3e-4, 1e-3, 3e-3), alpha=(1e-3,), epochs=(1, 3)),
    # Times K (`trials_of`): the grid was laid before the curvature was that of a mean over K attributes.
    **dict.fromkeys(("curvature", "curvature:forget-images", "curvature:one-trained"), _CURVATURE),
    "ssd:original": _SSD,
    "ssd:one-shui": _SSD,
    "jit:original": _JIT,
    "jit:one-shui": _JIT,
    "pgu:original": [{**trial, "epochs": 10} for trial in _PGU],
    "pgu:one-shui": _PGU,
    "scrub:original": _SCRUB,
    "scrub:one-shui": _SCRUB,
    "bad_teacher:original": grid(lr=(3e-5, 1e-4, 3e-4, 1e-3), epochs=(1, 2, 3)),
    "bad_teacher:one-shui": grid(lr=(1e-3, 3e-3, 1e-2, 3e-2), epochs=(1, 3, 5)),
}
# Where each image has one class, losses are larger than a mean over attributes, and the best trial of the grids above
# lay at an edge. These were moved, on the pool alone: Curvature's three times, JiT's and PGU's twice, the others' once.
_CURVATURE_OF_CLASSES = grid(
    eta=(4e-4, 8e-4, 1.6e-3, 3.2e-3, 6.4e-3, 1.28e-2), damping=(0.1,), loss=("task", "unlikelihood")
)
_JIT_OF_CLASSES = grid(sigma=(0.1, 0.5, 2.0), eta=(3e-3, 1e-2, 3e-2, 1e-1))
TRIALS_OF_CLASSES = {
    "gradient_ascent": grid(eta=[float(f"{eta:.2g}") for eta in np.geomspace(2.5e-4, 2.5e-2, 12)]),
    **dict.fromkeys(("curvature", "curvature:forget-images", "curvature:one-trained"), _CURVATURE_OF_CLASSES),
    "jit:original": _JIT_OF_CLASSES,
    "jit:one-shui": _JIT_OF_CLASSES,
    "pgu:one-shui": grid(gamma=(0.3, 0.5, 0.75), lr=(0.1, 0.3, 1.0, 3.0)),
}


# What leaves a model as it is, in each method's own words.
NOTHING = {
    "gradient_ascent": {"eta": 0.0},
    "meta_unlearn": {"eta": 0.0, "epochs": 0},
    "curvature": {"eta": 0.0},
    "ssd": {"alpha": 1e30},
    "jit": {"eta": 0.0},
    "pgu": {"lr": 0.0},
    "scrub": {"lr": 0.0},
    "bad_teacher": {"lr": 0.0},
}


def trials_of(form: str, *, multilabel: bool, outputs: int = 1) -> list[dict[str, object]]:
    """The settings that a form is tried with, as many for every form; `outputs` is the number of attributes."""
    trials = TRIALS[form] if multilabel else TRIALS_OF_CLASSES.get(form, TRIALS[form])
    if parse(form).method == "curvature" and multilabel:
        return [{**trial, "eta": float(f"{trial['eta'] * outputs:.6g}")} for trial in trials]
    return trials


def pool_experiment(*, n_ids: int, seed: int = SEEDS[0], **where: object) -> tuple[Experiment, list[np.ndarray]]:
    """An experiment in which all pool identities have handed in a photo, and `REQUESTS` groups of n_ids of them."""
    probe = Experiment(seed=seed, n_ids=n_ids, from_pool=True, **where)
    sizes = pd.Series(probe.faces.identity).value_counts()
    asking = int((sizes[probe.split.pool] >= FEWEST_IMAGES).sum())
    fewest = FEWEST_IMAGES_ALONE if n_ids == 1 else FEWEST_IMAGES
    everyone = Experiment(seed=seed, n_ids=asking, reserved=asking, from_pool=True, **where)
    generator, groups = torch.Generator().manual_seed(seed), []
    enough = int((sizes[everyone.request.identities] >= fewest).sum())
    if enough < n_ids:
        raise ValueError(f"the tuning pool has {enough} identities with {fewest} images or more: {n_ids} cannot ask")
    while len(groups) < REQUESTS:
        order = everyone.request.identities[torch.randperm(asking, generator=generator).numpy()]
        order = order[sizes[order] >= fewest]
        groups += list(order[: len(order) // n_ids * n_ids].reshape(-1, n_ids))
    return everyone, groups[:REQUESTS]


def fold_scores(experiment: Experiment, group: np.ndarray) -> Scores:
    """What a model retrained without `group` would score, from models that have never seen its members.

    The images to forget are judged each by the fold model that did not train on its identity. Everybody else is to
    the retrained model what they are to the original one, so those scores are the original's; a fold's own would be
    too low, as a fold model misses a fifth of the people and of the steps (`fold_bias` measures both).
    """
    train, before = experiment.part("train"), experiment.logits("original", "train")
    asked, held_out = np.isin(train.identity, group), experiment.held_out_logits
    kept = score(before[~asked], train.targets[~asked])
    return Scores(kept, score(held_out[asked], train.targets[asked]), experiment.score("original", "val"))


def fold_bias(
    *, dataset: str, preset: str, seed: int = SEEDS[0], sizes: Sequence[int] = (5, 10, 20), **where: object
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
        folds = fold_scores(one, one.request.identities)
        truly = Scores(*(one.score("retrained", part) for part in ("retain", "forget", "val")))
        key = {"preset": preset, "dataset": dataset, "seed": seed, "n_ids": n_ids}
        for part, ours, theirs in zip(("retain", "forget", "val"), folds, truly, strict=True):
            found = {"folds": 100 * ours, "retrained": 100 * theirs, "difference": 100 * (ours - theirs)}
            rows.append({**key, "split": part, **found})
    return pd.DataFrame(rows)


def judge(experiment: Experiment, form: str, group: np.ndarray, wanted: Scores) -> dict[str, float]:
    """One trial on one request: Tug-of-War against `wanted` (percent), the drops of scores (fractions), A of eq. 6."""
    train, val = experiment.part("train"), experiment.part("val")
    asked = np.isin(train.identity, group)
    support = experiment.part("support").of(group)
    parts = {"support": support, "forget": train[asked], "retain": train[~asked], "val": val}
    needed = Given(parts).only(experiment.method(form).needs)
    model = unlearn_from(experiment.artefacts_folder(form), needed, seed=experiment.seed, device=experiment.device)
    bf16, splits = experiment.config.train.bf16, ("forget", "retain", "val")
    outputs = {"train": experiment.logits("original", "train"), "val": experiment.logits("original", "val")}
    before = {"forget": outputs["train"][asked], "retain": outputs["train"][~asked], "val": outputs["val"]}
    after = {part: predict(model, parts[part], bf16=bf16).logits for part in splits}
    was, became = ({part: score(logits[part], parts[part].targets) for part in splits} for logits in (before, after))
    losses = [task_loss(after["forget"], train[asked].targets)]
    losses += [task_loss(logits["val"], val.targets) for logits in (after, before)]
    judged = Alignment(*losses, became["forget"], became["val"], was["val"])
    reached = Scores(became["retain"], became["forget"], became["val"])
    untouched = Scores(was["retain"], was["forget"], was["val"])
    return {
        "tow": tug_of_war(reached, wanted),
        "tow_before": tug_of_war(untouched, wanted),
        **{f"{part}_drop": was[part] - became[part] for part in splits},
        "objective": alignment_objective(judged).item(),
    }


class PoolRequest(NamedTuple):
    """A request made of pool people, and what a model retrained without them would score."""

    experiment: Experiment
    group: np.ndarray
    wanted: Scores


def pool_requests(*, n_ids: int, seeds: Sequence[int] = SEEDS, **where: object) -> list[PoolRequest]:
    """The requests that every form is tried on: `REQUESTS` of each seed."""
    pools = [pool_experiment(n_ids=n_ids, seed=seed, **where) for seed in seeds]
    return [PoolRequest(e, group, fold_scores(e, group)) for e, groups in pools for group in groups]


def search(
    form: str, requests: Sequence[PoolRequest], also: Mapping[str, object] = MappingProxyType({})
) -> pd.DataFrame:
    """Run every trial of a form, with the settings of `also` besides; one row per trial, averaged over the requests.

    A trial that makes the model diverge in any request has no score; its note says so. How long the whole takes is said
    after the first trial.
    """
    experiment, found = requests[0].experiment, []
    if "retain" in experiment.method(form).needs:
        requests = requests[:: REQUESTS // REQUESTS_WITH_DATA]
    n_ids = len(requests[0].group)
    key = {"preset": experiment.preset, "dataset": experiment.dataset, "n_ids": n_ids, "form": form}
    trials = trials_of(form, multilabel=experiment.faces.multilabel, outputs=len(experiment.faces.classes))
    started = time.monotonic()
    for trial in progress(trials, desc=f"tune {form}", unit="trial"):
        settings = {**trial, **also}
        if form == "meta_unlearn":  # the pool's experiment holds one large request
            settings = {**settings, "simulated_n_ids": simulated_request_size(n_ids)}
        try:
            judged = [judge(e.with_settings({form: settings}), form, group, wanted) for e, group, wanted in requests]
            note = ""
        except UndefinedScore as error:
            judged, note = [dict.fromkeys(JUDGED, np.nan)] * len(requests), f"no score: {error}"
            print(f"{form} {json.dumps(settings)} is left out: {error}", file=sys.stderr)
        counts = {"seeds": len({r.experiment.seed for r in requests}), "requests": len(judged)}
        found.append({**key, "settings": json.dumps(settings), **pd.DataFrame(judged).mean(), **counts, "note": note})
        if len(found) == 1 and (whole := (time.monotonic() - started) * len(trials)) > SOON:
            print(f"{form}: about {whole / 60:.0f} minutes for {len(trials)} trials", file=sys.stderr, flush=True)
    return pd.DataFrame(found)


def choose(found: pd.DataFrame, *, or_nothing: bool = False) -> dict[str, dict[str, object]]:
    """Per form, the settings of the trial with the highest Tug-of-War against the folds, of those that have one.

    With `or_nothing`, doing nothing is one of the trials (`NOTHING`), and the only one where all others diverge.
    """
    chosen = {}
    for form, trials in found.groupby("form"):
        known = trials[trials["tow"].notna()]
        if or_nothing and (known.empty or known["tow"].max() < known["tow_before"].iloc[0]):
            chosen[form] = dict(NOTHING[parse(form).method])
        elif not known.empty:
            chosen[form] = json.loads(known.loc[known["tow"].idxmax(), "settings"])
    return chosen


def remarks(found: pd.DataFrame) -> list[str]:
    """What to know of the search of one form: settings whose best value is an edge of the grid, and what it loses."""
    known, form = found[found["tow"].notna()], found["form"].iloc[0]
    if known.empty:
        return [f"{form}: every trial made the model diverge"]
    best = known.loc[known["tow"].idxmax()]
    tried, logits = pd.DataFrame([json.loads(settings) for settings in found["settings"]]), []
    for name, value in json.loads(best["settings"]).items():
        values = sorted({v for v in tried[name] if isinstance(v, (int, float))}) if name in tried else []
        if len(values) > 2 and value in (values[0], values[-1]):
            logits.append(f"{form}: {name}={value} is an edge of its grid, the best may lie beyond")
    if best["tow"] < best["tow_before"]:
        logits.append(f"{form}: the best trial reaches {best['tow']:.1f}, doing nothing {best['tow_before']:.1f}")
    return logits


def main(argv: list[str] | None = None) -> None:
    """Run the trials, record them in results/selection.csv and what they chose in shui_lib/runs/selected.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="faces")
    parser.add_argument("--n-ids", type=int, default=10)
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--forms", nargs="+", default=[], help="all by default")
    parser.add_argument(
        "--also",
        nargs="+",
        default=[],
        metavar="NAME=VALUE",
        help="what if: settings of every trial besides; recorded in selection_also.csv, and nothing is chosen",
    )
    parser.add_argument("--bias", action="store_true", help="measure the folds against truly retrained models instead")
    parser.add_argument("--data-root", type=Path, default=ROOT / "data")
    parser.add_argument("--runs-root", type=Path, default=ROOT / "runs")
    parser.add_argument("--results", type=Path, help="folder of the trials; the runs folder by default")
    args = parser.parse_args(argv)
    shipped = args.results is not None and args.results.resolve() == (ROOT / "results").resolve()
    selected = SELECTED if shipped else args.runs_root / OWN
    args.results = args.results or args.runs_root
    setting, also = {"dataset": args.dataset, "n_ids": args.n_ids, "preset": args.preset}, typed(args.also)
    where = {"data_root": args.data_root, "runs_root": args.runs_root}
    if args.bias:
        found = fold_bias(dataset=args.dataset, preset=args.preset, **where)
        put(args.results / "fold_bias.csv", found, ["preset", "dataset", "seed", "n_ids"], "split")
        return print(found.round(1).to_string(index=False))
    requests = pool_requests(**setting, seeds=args.seeds, **where)
    for form in args.forms or TRIALS:  # written form by form, so that a killed search loses one
        found = search(form, requests, also)
        if also:
            put(args.results / "selection_also.csv", found.assign(also=" ".join(args.also)), [*KEY, "also"], "settings")
            print(found[["settings", "tow", "tow_before"]].round(1).to_string(index=False))
            continue
        put(args.results / "selection.csv", found, KEY, "settings")
        chosen = choose(found, or_nothing=not shipped)
        select(selected, "{preset}/{dataset}/{n_ids}".format(**setting), chosen)
        print(*remarks(found), json.dumps(chosen), sep="\n")
    print(f"trials are in {args.results / 'selection.csv'}, choices in {selected}")


def select(path: Path, key: str, chosen: dict[str, dict[str, object]]) -> None:
    """Note the chosen settings of some forms under "preset/dataset/n_ids"; those of other forms stay."""
    with locked(path):
        selected = json.loads(path.read_text()) if path.is_file() else {}
        save_json(path, {**selected, key: selected.get(key, {}) | chosen})


if __name__ == "__main__":
    main()
