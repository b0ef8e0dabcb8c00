"""GAN unlearning, from data to rows: train, forget by cascade, measure. Everything is resumed where it was killed.

python -m shui_workbook.studies.gan train --commit                    the GAN of seed 0, with its sample sheets
python -m shui_workbook.studies.gan table --seeds 0 1 2 --part 0 2    the first cascades of Tables III to XIV
python -m shui_workbook.studies.gan table --seeds 0 1 2 --part 0 0 --retrain item-64    a GAN that never saw them
python -m shui_workbook.studies.gan table --seeds 0 1 2 --part 0 4 --rival --relearn    going on without unlearning
python -m shui_workbook.studies.gan rates --seeds 100                 how the cascades' learning rate was chosen
python -m shui_workbook.studies.gan photo --seeds 0 1 2               one untrained picture of a person
python -m shui_workbook.studies.gan table --dataset mnist             digits (`python -m data_prep mnist` first)
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from shui_lib.core.places import ROOT
from shui_lib.core.store import load_note
from shui_lib.gan.stylegan2 import GANConfig, load_gan, save_gan
from shui_lib.gan.train import GANTraining
from shui_workbook.records.files import check_results
from shui_workbook.studies.gan.inception import Inception
from shui_workbook.studies.gan.measures import fid, undone
from shui_workbook.studies.gan.study import COMMITTED, PRESETS, Study
from shui_workbook.studies.gan.tables import ONE_PHOTO, Measure, photo, rates, table


def main(argv: Sequence[str] | None = None) -> None:
    """Train, or record rows in results/gan_rows.csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("train", "table", "rates", "photo"))
    parser.add_argument("--dataset", default="faces")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--kimg", type=float, help="thousands of pictures; else the default, or the committed GAN's")
    parser.add_argument("--channels", type=int, nargs="+", default=list(GANConfig.channels), help="at 4, 8, ... px")
    parser.add_argument("--items", type=int, nargs="+", default=[64, 16, 256])
    parser.add_argument("--label", type=int, help="the class to be forgotten; else of seed s it is class s")
    parser.add_argument("--part", type=int, nargs=2, help="cascades of the plan from the first number to the second")
    parser.add_argument("--gan-seed", type=int, default=0, help="the GAN that the requests of all seeds are made of")
    parser.add_argument("--commit", action="store_true", help=f"with train: also write results/{COMMITTED.name}")
    parser.add_argument("--words", nargs="+", default=["person", "photo"], help="with photo: how it is taken")
    parser.add_argument(
        "--retrain", nargs="+", default=[], help="requests whose GAN is trained again, without those of all --seeds"
    )
    parser.add_argument("--rival", action="store_true", help="with table: also GANs that go on without unlearning")
    parser.add_argument("--relearn", action="store_true", help="with table: also how soon the cascades are undone")
    parser.add_argument("--inception", type=Path, help="with table: weights (docs/gpu.md); adds the real FID")
    parser.add_argument("--data-root", type=Path, default=ROOT / "data")
    parser.add_argument("--runs-root", type=Path, default=ROOT / "runs")
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "gan_rows.csv")
    args = parser.parse_args(argv)
    check_results(args.results)
    training = GANTraining() if args.what == "train" else PRESETS["cpu"]
    training = replace(training, kimg=args.kimg or training.kimg)
    later: dict[str, Measure] = {"relearn_steps": undone} if args.relearn else {}
    later |= {"fid_l": partial(fid, Inception(args.inception))} if args.inception else {}
    for seed in args.seeds:
        study = Study(args.dataset, seed, args.gan_seed, args.data_root, args.runs_root, training, tuple(args.channels))
        if args.what == "train":
            file = study.trained("").file("gan.safetensors")
            if args.commit:
                save_gan(COMMITTED, load_gan(file), load_note(file))
        elif args.what == "table":
            chosen = slice(*args.part) if args.part else slice(None)
            label = seed if args.label is None else args.label
            how = {"chosen": chosen, "retrain": args.retrain, "together": args.seeds}
            how |= {"rival": args.rival, "later": later}
            table(study, args.results, items=args.items, label=label, **how)
        elif args.what == "rates":
            print(rates(study, f"item-{args.items[0]}").round({"auc_lu": 3, "acc_lost": 3}).to_string(index=False))
        else:
            photo(study, args.results, ONE_PHOTO, args.words)


if __name__ == "__main__":
    main()
