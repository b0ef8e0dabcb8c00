"""Learning to Unlearn against its rivals and without each of its parts: rows of chapter 20.

    python -m shui_workbook.studies.ltu tune                     # settings, on seed 100, which is never reported
    python -m shui_workbook.studies.ltu main --seeds 0 1 2 3 4   # Tables 1 and 2
    python -m shui_workbook.studies.ltu ablations --seeds 0 1 2 3 4
    python -m shui_workbook.studies.ltu more_ablations           # projections, samplers, number of guides
    python -m shui_workbook.studies.ltu gentle                   # its parts at a third of the chosen step
    python -m shui_workbook.studies.ltu kept --seeds 0 1 2       # Table 2 as a curve over |D_r′|
    python -m shui_workbook.studies.ltu tune main ablations --dataset faces40       # twice as many people
    python -m shui_workbook.studies.ltu tune main --dataset writers --seeds 0 1 2   # digits; `data_prep writers` first

What is in the file already is not computed again, so a killed command goes on where it was. Every method has the same
number of trials. Settings are chosen for each data set where 10 % are forgotten, and used at every share.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import torch
import tyro

from shui_lib.benchmark.metrics import UndefinedScore
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import predict
from shui_lib.core.machine import device_name, git_commit
from shui_lib.core.places import DATA, ROOT, RUNS
from shui_lib.core.progress import progress
from shui_lib.core.store import save_json
from shui_lib.ltu.baselines import BASELINES
from shui_lib.ltu.ltu import LTU
from shui_lib.ltu.membership import EVALUATION, Guide, Member, NoGuide, auc_of, fit
from shui_lib.ltu.samplers import SAMPLERS
from shui_lib.methods import Given, Method, make_method, with_parameters
from shui_workbook.arguments import check_seeds, command_line
from shui_workbook.records.compare import over_seeds
from shui_workbook.records.files import check_results, put
from shui_workbook.studies.ltu_judge import METRICS
from shui_workbook.studies.ltu_measures import guidance, measures
from shui_workbook.studies.ltu_world import World

ROWS, TRIALS_FILE = ROOT / "results" / "ltu_rows.csv", ROOT / "results" / "ltu_selection.csv"
CHOSEN = ROOT / "results" / "ltu_selected.json"
LTU_KEY = ["dataset", "size", "share", "kept", "seed", "method", "variant", "metric"]
DONOR = "faces"  # whose settings a data set takes that was never tuned
TRAINED = ("original", "retrained", "retrained_again")
TUNING_SEED = 100
SMALL_DATA = ("ft", "randl", "salun", "bad_teacher")  # Table 2 gives these D_r′ in place of D_r
# Guides by their mean AUC on held-out members in the rows of `main` (faces; a dropped one counts as 55 %), the highest
# first: a weak one alone would be dropped. So the order is of the rows that it is reported on, and readers are told.
ABLE_FIRST = ("statistics", "labelled", "sorted", "shadow")
# The paper's Tables 3 and 4, then ours: settings that differ from the method's own.
ABLATIONS: dict[str, dict[str, object]] = {
    "w/o ForFeed": {"forget": False},
    "w/o RemFeed": {"remember": False},
    "w/o MetaOpt": {"alpha": 0.0},
    "GradAdd": {"harmony": "none"},
    "iterative": {"harmony": "alternating"},
    "order=1": {"order": 1},
    "PCGrad": {"harmony": "both"},
    "layer-wise": {"harmony": "layers"},
    **{f"sampler={name}": {"samplers": (name,)} for name in SAMPLERS},
    **{f"guides={k}": {"guides": ABLE_FIRST[:k]} for k in (1, 2, 3)},  # all four is the method itself
}
FIRST_ABLATIONS = ("w/o ForFeed", "w/o RemFeed", "w/o MetaOpt", "GradAdd", "iterative", "order=1")
TEST = "evaluation in the guide"
GENTLE, GENTLE_PARTS = "β/3", ("", "w/o ForFeed", "w/o RemFeed", "w/o MetaOpt", "GradAdd", "order=1")

_RATES = [{"lr": lr} for lr in (3e-3, 1e-2, 3e-2)]
# As many for every method. A grid whose best lay at an edge was moved once, on the tuning seed.
TRIALS: dict[str, list[dict[str, object]]] = {
    "ltu": [{"beta": beta} for beta in (1e-3, 3e-3, 1e-2)],
    "ft": [{"lr": lr} for lr in (3e-3, 1e-2, 3e-2)],
    "randl": _RATES,
    "salun": _RATES,
    "amnesiac": [{"lr": lr} for lr in (1e-2, 3e-2, 6e-2)],
    "fisher": [{"alpha": alpha} for alpha in (1e-7, 1e-6, 1e-5)],
    "ssd": [{"alpha": alpha} for alpha in (3.0, 5.0, 10.0)],
    "bad_teacher": [{"lr": lr} for lr in (3e-4, 1e-3, 3e-3)],
    "gradient_ascent": [{"eta": eta} for eta in (3e-4, 1e-3, 3e-3)],
}
FIXED = {  # what the reused methods are told besides
    "ssd": {"variant": "original", "shrink": 1.0, "batch": 64},
    "bad_teacher": {"variant": "original", "crop": None, "batch": 64},
    "gradient_ascent": {"steps": 10},
}


def method_of(name: str, settings: dict[str, object]) -> Method:
    """A method of this chapter with its settings."""
    if name == "ltu":
        return LTU(**settings)
    return BASELINES[name](**settings) if name in BASELINES else make_method(name, FIXED[name] | settings)


def chosen(name: str, dataset: str = DONOR, folder: Path | str | None = None) -> dict[str, object]:
    """The settings that a data set's tuning request preferred; those of the donor where nobody has tuned it.

    Args:
        folder: where ltu_selected.json lies; by default the committed one.
    """
    known = _choices(Path(folder) / CHOSEN.name if folder else CHOSEN)
    return known.get(dataset, {}).get(name) or known[DONOR][name]


def _choices(path: Path) -> dict[str, dict[str, dict[str, object]]]:
    return json.loads(path.read_text()) if path.is_file() else {}


def access(name: str, variant: str = "") -> str:
    """What a line of the tables was made with: the words of the column "access"."""
    if name in TRAINED:
        return ""
    if name == "ltu":
        return "forget, D_r′, val"
    if name in ("gradient_ascent", "ssd"):
        return "forget" if name == "gradient_ascent" else "forget, artefacts"
    return "forget, D_r′" if variant.startswith("D_r′") else "forget, D_r"


def given_to(world: World, variant: str = "") -> Given:
    """The request. Gradient ascent is written for a Support Set, so D_f stands under that name, too."""
    parts = world.parts
    small = variant.startswith("D_r′")
    retain = parts["retain_subset" if small else "retain"]
    return Given({**parts, "retain": retain, "support": parts["forget"]})


def unlearned(world: World, name: str, method: Method, variant: str = "") -> tuple[FaceModel, float]:
    """The original model after a method, and the seconds that took, preparing left out."""
    model, given = world.model("original"), given_to(world, variant)
    generator = torch.Generator().manual_seed(world.seed)
    artefacts = method.prepare(model, world.parts, generator=generator)
    started = time.perf_counter()
    done = method.unlearn(model, given.only(method.needs), artefacts, generator=generator)
    return done, time.perf_counter() - started


def taught_to_the_test(world: World, method: LTU) -> tuple[FaceModel, float]:
    """As `unlearned`, LTU whose only guide looks at what the evaluation looks at, on the images that it looks at."""
    model, parts = world.model("original"), world.parts
    started = time.perf_counter()
    n = min(len(parts["retain"]), len(parts["test"]))
    lesson = [(predict(model, parts[p][slice(0, n)]).logits, parts[p].targets[:n]) for p in ("retain", "test")]
    generator = torch.Generator().manual_seed(world.seed)
    guide = fit(Member(EVALUATION, len(parts["test"].classes)), *lesson, generator=generator)
    found = {EVALUATION: Guide(guide, auc_of(guide, *lesson))}
    given = given_to(world).only(method.needs)
    for turn in method.turns(model, given, generator=generator, found=found):
        last = turn
    return with_parameters(model, last.theta), time.perf_counter() - started


Making = Callable[[], tuple[FaceModel, float]]  # a model, and the seconds that making it took

# Running --------------------------------------------------------------------------------------------------------------


def keep(path: Path, world: World, name: str, variant: str, found: dict[str, float], **about: object) -> None:
    """Add rows to a file; those of the same key are replaced. Errors as of `put`."""
    rows = pd.DataFrame([{"metric": metric, "value": value} for metric, value in found.items()])
    key = {n: getattr(world, n) for n in LTU_KEY[:5]} | {"method": name, "variant": variant}
    rows = rows.assign(**key, **about, device=device_name(torch.device("cpu")), git=git_commit())
    if torch.cuda.is_available():
        rows["device"] = device_name(torch.device("cuda"))
    first = [*LTU_KEY, "value"]
    put(path, rows[[*first, *sorted(set(rows) - set(first))]], LTU_KEY, read=read)


def read(path: Path = ROWS) -> pd.DataFrame:
    """The committed rows."""
    named = dict.fromkeys(("dataset", "size", "method", "variant", "metric"), str)  # a data set may be called 2024
    return pd.read_csv(path, dtype=named, keep_default_na=False, na_values={"value": "", "seconds": ""})


def is_there(path: Path, world: World, name: str, variant: str) -> bool:
    """Are there rows already?"""
    if not path.is_file():
        return False
    wanted = {n: getattr(world, n) for n in LTU_KEY[:5]} | {"method": name, "variant": variant}
    return bool((read(path)[list(wanted)] == pd.Series(wanted)).all(axis=1).any())


def once(world: World, name: str, variant: str, make: Making, **what: bool) -> None:
    """Make and measure a model whose rows are not there yet; one that no guide can guide has empty rows."""
    if is_there(ROWS, world, name, variant):
        return
    found, note = _made(world, make, **what)
    keep(ROWS, world, name, variant, found, note=note)


def _made(world: World, make: Making, *, more: bool = False, guides: bool = False) -> tuple[dict[str, float], str]:
    """What is measured of a model that is made now, and ""; empty values and why, where there is none to measure.

    There is none where no guide is better than a coin, or where the model has diverged.
    """
    found, note = dict.fromkeys([*METRICS, "gap"], np.nan), ""
    try:
        model, found["UT"] = make()
        found |= measures(world, model, more=more)
        if guides:
            method = method_of("ltu", chosen("ltu", world.dataset) | {"size": world.size})
            found |= guidance(world, model, method, given_to(world).only(method.needs))
    except (NoGuide, UndefinedScore) as error:
        note = str(error)
    return found, note


def tune(world: World) -> None:
    """Try every setting where nothing is reported, and keep those with the smallest average gap."""
    world, best = replace(world, seed=TUNING_SEED), _choices(CHOSEN).get(world.dataset, {})
    for name, trials in TRIALS.items():
        tried = []
        for settings in progress(trials, desc=name, unit="trial"):
            tried.append({"method": name, "settings": json.dumps(settings)})
            found, note = _made(world, lambda n=name, s=settings: unlearned(world, n, method_of(n, s)))
            tried[-1] |= {"seconds": round(found.pop("UT", np.nan), 2)} | found
            if note:
                print(f"{name} {json.dumps(settings)} is left out: {note}", file=sys.stderr)
        frame = pd.DataFrame(tried).round(4).assign(dataset=world.dataset)
        best.pop(name, None)
        if frame["gap"].notna().any():
            best[name] = trials[int(frame["gap"].fillna(np.inf).argmin())]
        put(TRIALS_FILE, frame, ["dataset", "method"], decimals=4)
        save_json(CHOSEN, _choices(CHOSEN) | {world.dataset: best})


def main_tables(world: World) -> None:
    """Every trained model and every method, with all of D_r; then those of Table 2 with D_r′ alone."""
    for name in TRAINED:
        once(world, name, "", lambda name=name: (world.model(name), world.seconds(name)), more=True)
    for name in TRIALS:
        method = method_of(name, chosen(name, world.dataset))
        once(world, name, "", lambda n=name, m=method: unlearned(world, n, m), more=True, guides=name == "ltu")
    small_data(world)


def small_data(world: World) -> None:
    """What rivals do with D_r′ alone."""
    for name in SMALL_DATA:
        method = method_of(name, chosen(name, world.dataset) | ({"retain_share": 1.0} if name == "bad_teacher" else {}))
        once(world, name, "D_r′", lambda n=name, m=method: unlearned(world, n, m, "D_r′"))


def ablations(world: World) -> None:
    """The paper's Tables 3 and 4, the first-order gradient, and the evaluation as a guide."""
    changed(world, FIRST_ABLATIONS)
    method = method_of("ltu", chosen("ltu", world.dataset))
    once(world, "ltu", TEST, lambda: taught_to_the_test(world, method))


def more_ablations(world: World) -> None:
    """Other projections, one sampler at a time, fewer guides."""
    changed(world, [variant for variant in ABLATIONS if variant not in FIRST_ABLATIONS])


def changed(world: World, variants: Sequence[str]) -> None:
    """LTU with one thing changed, at its own chosen step."""
    for variant in variants:
        method = method_of("ltu", chosen("ltu", world.dataset) | ABLATIONS[variant])
        once(world, "ltu", variant, lambda m=method: unlearned(world, "ltu", m))


def gentle(world: World) -> None:
    """LTU and some of its parts at a third of the chosen step: where steps break a model, no part can be told."""
    settings = chosen("ltu", world.dataset)
    for variant in GENTLE_PARTS:
        method = method_of("ltu", settings | ABLATIONS.get(variant, {}) | {"beta": settings["beta"] / 3})
        once(world, "ltu", f"{GENTLE} {variant}".strip(), lambda m=method: unlearned(world, "ltu", m))


def kept(world: World) -> None:
    """LTU and its rivals over the size of D_r′. One batch at least has to be left for LTU."""
    for share in (0.1, 1.0):
        one = replace(world, kept=share)
        method = method_of("ltu", chosen("ltu", world.dataset))
        once(one, "ltu", "", lambda one=one, m=method: unlearned(one, "ltu", m))
        small_data(one)


# Reading --------------------------------------------------------------------------------------------------------------


def against(rows: pd.DataFrame, form: tuple[str, str], other: tuple[str, str], metric: str = "gap") -> dict[str, float]:
    """Mean of form − other in a metric, paired over the seeds that have both, with its interval.

    Args:
        rows: of one data set, share and kept.
        form, other: method and variant.
    """
    wide = rows[rows["metric"] == metric].pivot_table(index="seed", columns=["method", "variant"], values="value")
    return over_seeds(wide[form] - wide[other])


COMMANDS = {
    "main": main_tables, "ablations": ablations, "more_ablations": more_ablations, "gentle": gentle, "kept": kept,
}  # fmt: skip


What = Literal["tune", "main", "ablations", "more_ablations", "gentle", "kept"]


@dataclass(frozen=True, kw_only=True)
class Command:
    """Options of this command."""

    what: Annotated[tuple[What, ...], tyro.conf.Positional]
    dataset: str = "faces"
    share: float = 0.1  # of the training images, to be forgotten
    kept: float = 0.3  # of the others, at hand when the request comes
    size: str = "cpu"
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    data_root: Path = DATA
    runs_root: Path = RUNS

    def __post_init__(self) -> None:
        """ValueError: as `check_seeds`."""
        check_seeds(self.seeds)


def main(argv: Sequence[str] | None = None) -> None:
    """Add rows to results/ltu_rows.csv."""
    args = asdict(command_line(Command, argv, __doc__))
    what, seeds = args.pop("what"), args.pop("seeds")
    if not what:
        sys.exit(f"say what: tune, {', '.join(COMMANDS)}")
    check_results(ROWS)
    for word in what:
        if word == "tune":
            tune(World(**args))
            continue
        for seed in progress(seeds, desc=word, unit="seed"):
            COMMANDS[word](World(seed=seed, **args))


if __name__ == "__main__":
    main()
