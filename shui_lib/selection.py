"""Choosing settings honestly: on requests made of the tuning pool, of seeds that are never reported.

Every method gets the same number of trials. A trial is judged by a stand-in for Tug-of-War that needs no retrained
model (as long as there are no models that have never seen a pool identity): after unlearning, the images to forget
should score like validation images under the original, and retain and validation images as they did before:

    (1 − |m_f(θ_u) − m_v(θ)|) · (1 − |m_r(θ_u) − m_r(θ)|) · (1 − |m_v(θ_u) − m_v(θ)|)

A of eq. 6 is recorded beside it, with "eq6_cost" = A + retain drop + validation drop. That sum does not choose: A is
in squared nats and its whole range is a few hundredths, so that doing nothing always costs least.

    python -m shui_lib.selection --dataset faces --n-ids 10
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd

from shui_lib.experiment import Experiment, unlearn_from
from shui_lib.meta_loss import INPUTS
from shui_lib.methods import Given
from shui_lib.methods.meta_unlearn import Alignment, alignment_objective
from shui_lib.metrics import Scores, score, tug_of_war
from shui_lib.predict import predict, task_loss
from shui_lib.progress import progress
from shui_lib.splits import FEWEST_IMAGES
from shui_lib.store import save_frame, save_json

SEEDS = (100, 101)  # reported seeds are 0, 1, 2, …; with one seed alone, the winner was one by luck
TIE = 0.1  # percent, the digit that tables show
TRIALS = {
    "gradient_ascent": [{"eta": float(f"{eta:.2g}")} for eta in np.geomspace(1e-2, 1, 12)],
    # A third as published (all four inputs), two thirds without features and identities: see notebook 03.
    "meta_unlearn": [
        *(
            {"eta": eta, "alpha": 1e-3, "epochs": epochs, "inputs": INPUTS}
            for eta, epochs in product((1e-3, 3e-3), (1, 3))
        ),
        *(
            {"eta": eta, "alpha": alpha, "epochs": epochs, "inputs": ("logits", "targets")}
            for eta, alpha, epochs in product((3e-3, 5e-3), (1e-3, 3e-3), (3, 6))
        ),
    ],
}


def pool_experiment(*, n_ids: int, seed: int = SEEDS[0], **where: object) -> tuple[Experiment, list[np.ndarray]]:
    """An experiment in which all pool identities have handed in a photo, and groups of n_ids of them."""
    probe = Experiment(seed=seed, n_ids=n_ids, from_pool=True, **where)
    sizes = pd.Series(probe.faces.identity).value_counts()
    asking = int((sizes[probe.split.pool] >= FEWEST_IMAGES).sum())
    everyone = Experiment(seed=seed, n_ids=asking, reserved=asking, from_pool=True, **where)
    groups = everyone.request.identities[: asking // n_ids * n_ids].reshape(-1, n_ids)
    return everyone, list(groups)


def judge(experiment: Experiment, method: str, group: np.ndarray) -> dict[str, float]:
    """What one trial did to one request: A of eq. 6, and the drops of retain and validation score (fractions)."""
    support, train, val = (experiment.part(part) for part in ("support", "train", "val"))
    given = Given({"support": support.of(group)})
    model = unlearn_from(experiment.artefacts_folder(method), given, device=experiment.device)
    asked = np.isin(train.identity, group)
    bf16 = experiment.config.train.bf16
    after = {"train": predict(model, train, bf16=bf16).logits, "val": predict(model, val, bf16=bf16).logits}
    before = {part: experiment.logits("original", part) for part in ("train", "val")}
    losses = [(after["train"][asked], train[asked]), (after["val"], val), (before["val"], val)]
    judged = Alignment(
        *(task_loss(logits, faces.targets) for logits, faces in losses),
        *(score(logits, faces.targets) for logits, faces in losses),
    )
    kept = train.targets[~asked]
    retain_before, retain_after = (score(logits["train"][~asked], kept) for logits in (before, after))
    objective = alignment_objective(judged).item()
    drops = {"retain_drop": retain_before - retain_after, "val_drop": judged.score_v0 - judged.score_v}
    wanted = Scores(retain_before, judged.score_v0, judged.score_v0)
    return {
        "stand_in": tug_of_war(Scores(retain_after, judged.score_f, judged.score_v), wanted),
        "eq6_cost": objective + sum(drops.values()),
        "objective": objective,
        **drops,
        "forget_drop": score(before["train"][asked], train[asked].targets) - judged.score_f,
    }


def trials(
    *, dataset: str, n_ids: int, preset: str, seeds: Sequence[int] = SEEDS, **where: object
) -> Iterator[dict[str, object]]:
    """Run every trial of every method; one row per trial, averaged over the requests."""
    for method, choices in TRIALS.items():
        for settings in progress(choices, desc=f"tune {method}", unit="trial"):
            if method == "meta_unlearn":
                settings = {**settings, "simulated_n_ids": n_ids if n_ids > 1 else 10}
            setting = {"dataset": dataset, "n_ids": n_ids, "preset": preset, "settings": {method: settings}}
            judged = []
            for seed in seeds:
                experiment, groups = pool_experiment(seed=seed, **setting, **where)
                judged += [judge(experiment, method, group) for group in groups]
            key = {"preset": preset, "dataset": dataset, "n_ids": n_ids, "method": method}
            counts = {"seeds": len(seeds), "requests": len(judged)}
            yield {**key, "settings": json.dumps(settings), **pd.DataFrame(judged).mean(), **counts}


def choose(found: pd.DataFrame) -> dict[str, dict[str, object]]:
    """Per method, the settings of the trial with the highest stand-in for Tug-of-War.

    Trials within `TIE` of the best are equal as far as a table can show; of those, the one that forgets most. Else a
    method that gains nothing would be represented by the trial that does next to nothing.
    """
    top = found.groupby("method")["stand_in"].transform("max")
    equal = found[found["stand_in"] >= top - TIE]
    best = equal.loc[equal.groupby("method")["forget_drop"].idxmax()]
    return {row.method: json.loads(row.settings) for row in best.itertuples()}


def main(argv: list[str] | None = None) -> None:
    """Run the trials, record them in results/selection.csv and what they chose in shui_lib/selected.json."""
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="faces")
    parser.add_argument("--n-ids", type=int, default=10)
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--data-root", type=Path, default=here.parent / "data")
    parser.add_argument("--runs-root", type=Path, default=here.parent / "runs")
    parser.add_argument("--results", type=Path, default=here.parent / "results")
    args = parser.parse_args(argv)
    setting = {"dataset": args.dataset, "n_ids": args.n_ids, "preset": args.preset}
    found = pd.DataFrame(trials(**setting, seeds=args.seeds, data_root=args.data_root, runs_root=args.runs_root))
    record(args.results / "selection.csv", found)
    chosen = choose(found)
    selected = json.loads((here / "selected.json").read_text())
    selected["{preset}/{dataset}/{n_ids}".format(**setting)] = chosen
    save_json(here / "selected.json", selected)
    print(json.dumps(chosen, indent=2))


def record(path: Path, found: pd.DataFrame) -> None:
    """Add trials to the file, in place of earlier ones of the same setting."""
    setting = ["preset", "dataset", "n_ids"]
    if path.is_file():
        earlier = pd.read_csv(path)
        replaced = earlier[setting].apply(tuple, axis=1).isin(found[setting].apply(tuple, axis=1))
        found = pd.concat([earlier[~replaced], found])
    save_frame(path, found.sort_values([*setting, "method", "settings"]).round(6))


if __name__ == "__main__":
    main()
