"""The paper's whole grid on paper: operations of every stage, and hours on one card and on several.

python -m benchmarks.plan                     # the table of docs/gpu.md
python -m benchmarks.plan --cards 1 8 --share 0.35

Operations are counted on tensors without values. Seconds follow from two rates and one share, that a card reaches of
its matrix rate; `make gpu-check` measures the share. What is left out: reading photos, metrics, intervals, notebooks.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.synthetic import VIT_B
from data_prep import celeba, celebahq, mufac
from shui_lib.benchmark.models import build_model
from shui_lib.benchmark.presets import ModelConfig, preset_named
from shui_workbook.reports.sections import save_section
from shui_workbook.runs.chain import FOLDS, POPULATION, QUERIES
from shui_workbook.studies.pool import REQUESTS
from shui_workbook.studies.trials import AXES, FIRST, FURTHER

DOCS = Path(__file__).resolve().parent.parent / "docs" / "gpu.md"
TERA, HOUR = 1e12, 3600.0
SEEDS = 3
TRIALS, POOL_REQUESTS = FIRST + FURTHER, REQUESTS  # of a search for settings, at most, by form and setting
FORMS = len(AXES)  # forms of methods that are searched for


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a card multiplies, in 10¹² operations a second."""

    name: str = "H100"
    bf16: float = 790.0  # measured for a product of two matrices of 8192 × 8192
    float32: float = 50.0  # of its vector units, below the 67 that its maker names; TF32 is off


@dataclass(frozen=True, kw_only=True)
class Faces:
    """A data set of the paper: photos and people of the official download, and the numbers of people asking."""

    name: str
    photos: int
    people: int
    n_ids: tuple[int, ...]


GRID = (
    Faces(
        name="celebahq", photos=celebahq.EXPECTED["images"], people=celebahq.EXPECTED["identities"], n_ids=(1, 20, 50)
    ),
    Faces(name="celeba", photos=celeba.EXPECTED["images"], people=celeba.EXPECTED["identities"], n_ids=(1, 5, 10)),
    Faces(name="mufac", photos=mufac.EXPECTED["images"], people=mufac.EXPECTED["identities"], n_ids=(5, 10)),
)


@cache
def operations() -> tuple[float, float]:
    """10¹² operations of ViT-B/16 for one photo: forward, and forward and backward."""
    with torch.device("meta"):
        model = build_model(ModelConfig(architecture="vit_base_patch16_224"), n_outputs=40, image_size=224, seed=0)
        x = torch.empty(1, 3, 224, 224)
        found = []
        for backward in (False, True):
            with FlopCounterMode(display=False) as counter:
                logits = model(x).logits
                if backward:
                    logits.sum().backward()
            found.append(counter.get_total_flops() / TERA)
    return found[0], found[1]


def stages(faces: Faces) -> pd.DataFrame:
    """What one seed of a data set computes: a line a stage with its times, and 10¹² operations of each dtype."""
    forward, step = operations()
    train, request = 0.6 * faces.photos, max(faces.n_ids)
    recipe, method = preset_named("paper").train, preset_named("paper").methods["meta_unlearn"]
    each = faces.photos / faces.people
    rehearsals = method["epochs"] * math.ceil(0.6 * faces.people / request)
    # A rehearsal: S forward, back and as a product, always in float32; then the photos to forget, and validation.
    on_support, on_others = request * 3 * step, request * each * step + 256 * forward
    bf16, float32 = (on_others, on_support) if method["bf16"] else (0.0, on_support + on_others)
    epoch = train * step + train * forward
    models = 2 * len(faces.n_ids) + 1  # retrained, and again, of each request; they share one original
    asked = (POPULATION + 2 * QUERIES * request * each) * forward
    lines = [
        ("train", "original, retrained, retrained again", models, recipe.epochs * train * step, 0.0),
        ("train", f"{FOLDS} fold models for choosing settings", FOLDS, 0.8 * recipe.epochs * train * step, 0.0),
        (
            "prepare",
            "MetaUnlearn's loss, and its reference's",
            2 * len(faces.n_ids),
            rehearsals * bf16,
            rehearsals * float32,
        ),
        ("prepare", "curvature, subspaces, importances", 6 * len(faces.n_ids), 0.0, train * step),
        ("unlearn", "SCRUB and Bad Teacher one-shui, one epoch", 2 * len(faces.n_ids), epoch, 0.0),
        ("unlearn", "their original forms, one epoch", 2 * len(faces.n_ids), 0.0, epoch),
        ("predict", "every photo, by every model", FORMS * len(faces.n_ids) + models, faces.photos * forward, 0.0),
        ("attack", "views of members and others", 2 * FORMS * len(faces.n_ids), asked, 0.0),
        ("search", "unlearn and predict, by trial", FORMS * TRIALS * POOL_REQUESTS, 0.2 * faces.photos * forward, 0.0),
    ]
    return pd.DataFrame(lines, columns=["kind", "stage", "times", "bf16", "float32"]).assign(dataset=faces.name)


def hours(card: Card, share: float) -> pd.DataFrame:
    """Hours of one card, all seeds: a line a kind of stage, a column a data set; settings are searched for one seed."""
    every = pd.concat([stages(faces) for faces in GRID])
    once = every["stage"].str.contains("fold") | every["kind"].eq("search")
    seeds = once.map({True: 1, False: SEEDS})
    seconds = (every["bf16"] / card.bf16 + every["float32"] / card.float32) / share * every["times"] * seeds
    table = every.assign(hours=seconds / HOUR).pivot_table("hours", "kind", "dataset", aggfunc="sum", sort=False)
    table["all"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    return table


def on_cards(table: pd.DataFrame, cards: int) -> float:
    """Hours of the clock on so many cards: their part of the work, and no less than the longest chain of one seed.

    Models of a seed wait for nothing but the original, so that chain is an original, then the rest of its share.
    """
    longest = max(_chain(faces, table) for faces in GRID)
    return max(table.loc["all", "all"] / cards, longest)


def _chain(faces: Faces, table: pd.DataFrame) -> float:
    """Hours of one seed: train one model, prepare the dearest artefacts, unlearn, predict and attack once."""
    every = stages(faces)
    counts = every.groupby("kind")["times"].sum()
    return sum(
        table.loc[kind, faces.name] / counts[kind] / SEEDS for kind in ("train", "prepare", "unlearn", "predict")
    )


def report(card: Card, share: float, cards: Sequence[int]) -> str:
    """The tables, in Markdown."""
    table = hours(card, share)
    forward, step = operations()
    head = ["hours of one card", *table.columns]
    lines = [head, ["---"] * len(head), *([str(kind), *(f"{h:.1f}" for h in row)] for kind, row in table.iterrows())]
    shown = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    clock = "; ".join(f"{n} card{'s' * (n > 1)}: {on_cards(table, n):.1f} hours of the clock" for n in cards)
    return (
        f"{VIT_B} takes {1e3 * forward:.0f} · 10⁹ operations for a photo, {1e3 * step:.0f} · 10⁹ in training. At "
        f"{share:.0%} of {card.bf16:.0f} · 10¹² a second in bf16 and of {card.float32:.0f} · 10¹² in float32 "
        f"({card.name}), {SEEDS} seeds:\n\n{shown}\n\n{clock}."
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Print the plan and put it into docs/gpu.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cards", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--share", type=float, default=0.35, help="of the matrix rate (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="into docs/gpu.md")
    args = parser.parse_args(argv)
    text = report(Card(), args.share, args.cards)
    print(text)
    if args.write:
        save_section(DOCS, "plan", text, by="python -m benchmarks.plan --write")


if __name__ == "__main__":
    main()
