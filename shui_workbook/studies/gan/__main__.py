"""GAN unlearning, from data to rows: train, forget by cascade, measure. Everything is resumed where it was killed.

python -m shui_workbook.studies.gan train                                 the GAN of seed 0, with its sample sheets
python -m shui_workbook.studies.gan table --seeds 0 1 2                   Tables III to XIV, as far as asked for
python -m shui_workbook.studies.gan photo --seeds 0 1 2                   one untrained picture of a person
python -m shui_workbook.studies.gan table --dataset mnist --flip 0        digits (`python -m data_prep mnist` first)
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from shui_lib.core.places import ROOT
from shui_lib.core.progress import progress
from shui_lib.core.store import load_note
from shui_lib.gan.cascade import Cascade
from shui_lib.gan.stylegan2 import GANConfig, load_gan, save_gan
from shui_lib.gan.train import GANTraining, labels_of
from shui_lib.methods import Given
from shui_workbook.studies.gan.measures import bounds, measure, photo_measures
from shui_workbook.studies.gan.rows import record, rows_of, there
from shui_workbook.studies.gan.study import COMMITTED, PRESETS, Study


def plan(items: Sequence[int], label: int) -> list[tuple[str, Cascade]]:
    """The cascades of the tables, the most telling first."""
    main, more = [], []
    for shot in ("few", "zero"):
        base = Cascade(shot=shot)
        for count in items:
            main.append((f"item-{count}", base))
        main.append((f"class-{label}", replace(base, stop="as_paper")))
        more += [(f"item-{items[0]}", replace(base, mechanism=name)) for name in ("truncation", "projection")]
        more.append((f"class-{label}", replace(base, stop="as_paper", mechanism="other-class")))
        more += [(f"item-{items[0]}", replace(base, constant=value)) for value in (-1.0, 0.1, 0.5)]
        more += [(f"item-{items[0]}", replace(base, perceptual=value)) for value in (0.5, 1.0)]
    return main + more


def table(
    study: Study, path: Path, *, items: Sequence[int], label: int, retrain: bool, only: int | None = None
) -> None:
    """Rows of the original, of each cascade of the plan, and of the retrained GANs; what is there is not made again."""
    kinds = [*(f"item-{count}" for count in items), f"class-{label}"]
    for kind in kinds:
        request = study.request(kind)
        if not there(study, path, rows_of(study, kind, "original", {"acc": 0})):
            found = measure(study, study.original(), request) | bounds(study, request)
            record(path, rows_of(study, kind, "original", found))
    for kind, cascade in progress(plan(items, label)[:only], desc=f"seed {study.seed}", unit="cascade"):
        if there(study, path, rows_of(study, kind, "cascade", {"acc": 0}, cascade)):
            continue
        gan, history = study.forgotten(kind, cascade)
        found = (
            measure(study, gan, study.request(kind)) | history.iloc[-1][["step", "seconds", "invert_seconds"]].to_dict()
        )
        record(path, rows_of(study, kind, "cascade", found | {"stopped": float(history["stop"].iloc[-1])}, cascade))
    for kind in kinds if retrain else ():
        if not there(study, path, rows_of(study, kind, "retrained", {"acc": 0})):
            record(path, rows_of(study, kind, "retrained", measure(study, study.retrained(kind), study.request(kind))))


def photo(study: Study, path: Path, cascade: Cascade) -> None:
    """One picture of each person that was never trained on, asked to be forgotten; what happens to the others of it."""
    _, test = study.faces
    for label in progress(range(study.config.classes), desc=f"one photo, seed {study.seed}", unit="person"):
        kind = f"photo-{label}"
        if there(study, path, rows_of(study, kind, "cascade", {"auc_support": 0}, cascade)):
            continue
        own = (labels_of(test) == label).nonzero()[:, 0]
        given = Given({"support": test[own[study.seed : study.seed + 1]].in_memory()})
        for method in ("original", "cascade"):
            gan = study.original() if method == "original" else study.forgotten(kind, cascade, given)[0]
            found = photo_measures(study, gan, given.support, label)
            record(path, rows_of(study, kind, method, found, cascade if method == "cascade" else None))


def main(argv: Sequence[str] | None = None) -> None:
    """Train, or record rows in results/gan_rows.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "table", "photo"))
    parser.add_argument("--dataset", default="faces")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--kimg", type=float, default=PRESETS["cpu"].kimg)
    parser.add_argument("--flip", type=int, choices=(0, 1), default=1, help="mirror pictures: 0 for digits")
    parser.add_argument("--channels", type=int, nargs="+", default=list(GANConfig.channels), help="at 4, 8, ... px")
    parser.add_argument("--items", type=int, nargs="+", default=[64, 16, 256])
    parser.add_argument("--label", type=int, default=0, help="the class to be forgotten")
    parser.add_argument("--only", type=int, help="the first N cascades of the plan")
    parser.add_argument("--commit", action="store_true", help=f"with train: also write results/{COMMITTED.name}")
    parser.add_argument("--retrain", action="store_true", help="also the retrained GANs")
    parser.add_argument("--data-root", type=Path, default=ROOT / "data")
    parser.add_argument("--runs-root", type=Path, default=ROOT / "runs")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "gan_rows.csv")
    args = parser.parse_args(argv)
    training = GANTraining(kimg=args.kimg, flip=bool(args.flip))
    for seed in args.seeds:
        study = Study(args.dataset, seed, args.data_root, args.runs_root, training, tuple(args.channels))
        if args.what == "train":
            file = study.trained("").file("gan.safetensors")
            if args.commit:
                save_gan(COMMITTED, load_gan(file), load_note(file))
        elif args.what == "table":
            table(study, args.results, items=args.items, label=args.label, retrain=args.retrain, only=args.only)
        else:
            photo(study, args.results, Cascade(shot="zero", asked="support", steps=60))


if __name__ == "__main__":
    main()
