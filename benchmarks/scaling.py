"""The preset `paper` rehearsed at CelebA's size, without its photos: time, memory and disk of every stage.

python -m benchmarks.scaling                 # all three sizes; writes results/scaling.csv and docs/scaling.png
python -m benchmarks.scaling --shares 16     # a sixteenth of the people alone, in a minute or two

As many pictures of as many people as CelebA has, noise of 16 pixels in the official layout, go through every stage.
The network is a ViT of one block, and whatever has epochs has one: what is rehearsed is how cost grows with the data,
not what ViT-B/16 costs. One size is one process. It fails if something grows faster than n log n.
"""

from __future__ import annotations

import gc
import io
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Annotated

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
import tyro
from PIL import Image

from data_prep import celeba
from shui_lib.benchmark.presets import PRESETS, ModelConfig
from shui_lib.core.machine import RESET, resident, with_peak
from shui_lib.core.store import save_frame
from shui_lib.methods import REGISTRY
from shui_workbook import figures
from shui_workbook.arguments import command_line
from shui_workbook.reports.sections import save_figure
from shui_workbook.runs.experiment import Experiment
from shui_workbook.studies import people as analyses

ROOT = Path(__file__).resolve().parent.parent
TABLE, PICTURE = ROOT / "results" / "scaling.csv", ROOT / "docs" / "scaling.png"
# How many people of CelebA have 1, 2, 3, … photos: 202,599 photos of 10,177 people.
HISTOGRAM = (
    44, 324, 245, 221, 221, 207, 183, 176, 187, 202, 199, 165, 176, 210, 172, 219, 173, 217, 288, 1044, 565, 419, 369,
    290, 361, 106, 125, 216, 493, 2343, 9, 3, 0, 2, 3,
)  # fmt: skip
ATTRIBUTES, SIZE, KINDS = 40, 16, 256  # KINDS: different pictures
SHARES = (16, 4, 1)  # one person of so many
NOISE = 0.1  # what the clock adds to an exponent, for a judgement
JUDGED = {"seconds": 1.0, "peak_mib": 50.0, "disk_mib": 1.0}  # what is smaller at full size is not judged
LABELS = {"seconds": "CPU seconds", "peak_mib": "memory (MiB)", "disk_mib": "disk (MiB)"}


# The data -------------------------------------------------------------------------------------------------------------


def counts(share: int) -> np.ndarray:
    """Photos of each person, for one person of `share`, evenly over the histogram; (people,)."""
    return np.repeat(np.arange(1, len(HISTOGRAM) + 1), HISTOGRAM)[share // 2 :: share]


def write_raw(archive: Path, share: int) -> None:
    """A zip in the official layout of CelebA, with noise for photos and coins for attributes."""
    chance = np.random.default_rng(0)
    identity = chance.permutation(np.repeat(np.arange(1, len(counts(share)) + 1), counts(share)))
    names = [f"{number:06}.jpg" for number in range(1, len(identity) + 1)]
    signs = chance.choice(["-1", "1"], (len(names), ATTRIBUTES))
    head = [str(len(names)), " ".join(f"A{k}" for k in range(ATTRIBUTES))]
    lists = {
        celeba.ATTRIBUTES: [*head, *(f"{name} {' '.join(row)}" for name, row in zip(names, signs, strict=True))],
        celeba.IDENTITIES: [f"{name} {who}" for name, who in zip(names, identity, strict=True)],
        celeba.PARTITION: [f"{name} 0" for name in names],
    }
    photos = [_jpeg(chance.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)) for _ in range(KINDS)]
    with zipfile.ZipFile(archive, "w") as content:
        for name, lines in lists.items():
            content.writestr(f"{celeba.FOLDER}/{name}", "\n".join(lines))
        for row, name in enumerate(names):
            content.writestr(f"{celeba.FOLDER}/{celeba.PHOTOS}/{name}", photos[row % KINDS])


def _jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


# The stages -----------------------------------------------------------------------------------------------------------


class Rehearsal:
    """Every stage of an experiment, in order, below one folder."""

    def __init__(self, where: Path):
        self.where = where

    @cached_property
    def experiment(self) -> Experiment:
        """Seed 0 of `paper` with five people asking, as the paper has it for CelebA; small, and one epoch of all."""
        paper = PRESETS["paper"]
        model = ModelConfig(options={"patch_size": 8, "embed_dim": 32, "depth": 1, "num_heads": 2})
        # bf16 is slow on a CPU; the batch is larger than the paper's 32 because small networks wait for Python.
        train = replace(paper.train, epochs=1, warmup_epochs=0, batch=128, bf16=False)
        PRESETS["rehearsal"] = replace(paper, model=model, train=train, methods={})
        once = {n: {"epochs": 1} for n, m in REGISTRY.items() if "epochs" in {f.name for f in fields(m)}}
        once["meta_unlearn"] |= {"val_sample": 64, **{"inputs": PRESETS["paper"].methods["meta_unlearn"]["inputs"]}}
        once["scrub"] |= {"max_epochs": 1}
        folders = {"data_root": self.where / "data", "runs_root": self.where / "runs"}
        return Experiment(dataset="celeba", n_ids=5, preset="rehearsal", settings=once, device="cpu", **folders)

    def stages(self) -> Iterator[tuple[str, Callable[[], object]]]:
        """Name and work of every stage."""
        e = lambda: self.experiment  # noqa: E731  (made in the stage "split", not before)
        yield "prepare", lambda: celeba.prepare(self.where / "raw.zip", self.where / "data" / "celeba", size=SIZE)
        yield "load and split", lambda: e().rows_of
        yield "train", lambda: e().stage("original")
        yield "train again, without them", lambda: e().stage("retrained")
        for method in REGISTRY:
            yield f"unlearn: {method}", lambda method=method: e().stage(method)
        yield "predict", lambda: e().predictions("original")
        yield "predict, other model", lambda: e().predictions("retrained")
        yield "score", lambda: e().rows("original", "retrained")
        yield "ask for the attack", lambda: (e().queries("original"), e().queries("retrained"))
        yield "attack", lambda: e().attack("original")
        yield "analyses", self.analyse

    def analyse(self) -> None:
        """Chapter 08 on everybody who stays: scores, distances, and how one follows the other."""
        e = self.experiment
        retain, forget, test = (e.part(part) for part in ("retain", "forget", "test"))
        pool, seen = (e.logits("original", "test"), test.targets), e.predictions("original").features
        tables = {
            form: analyses.by_identity(e.logits(form, "retain"), retain.targets, retain.identity, pool=pool)
            for form in ("original", "retrained")
        }
        near = analyses.nearest_distance(seen[retain.rows], retain.identity, seen[forget.rows], forget.identity)
        people = analyses.compared(tables, "original").merge(near.reset_index()).assign(seed=e.seed)
        analyses.trends(people, ("euclid",), analyses.MEASURES)


def rehearse(where: Path, share: int) -> pd.DataFrame:
    """Do every stage for one person of `share`.

    Returns:
        A line a stage: share, images, people, stage, seconds (CPU, of one thread), peak_mib (memory above what the
        process holds when it has started) and disk_mib (what the stage has added to the disk).
    """
    write_raw(where / "raw.zip", share)
    gc.collect()
    about = {"share": share, "images": int(counts(share).sum()), "people": len(counts(share))}
    lines, idle = [], resident("VmRSS")
    for name, work in Rehearsal(where).stages():
        gc.collect()
        held, began, disk = resident("VmRSS") - idle, time.process_time(), used(where)
        _, grown = with_peak(work, torch.device("cpu"))
        cost = {"seconds": time.process_time() - began, "peak_mib": held + grown}
        lines.append({**about, "stage": name, **cost, "disk_mib": used(where) - disk})
        print(f"{about['images']:>8,} {name:28s}", *(f"{v:>9.2f}" for v in list(lines[-1].values())[4:]), flush=True)
    return pd.DataFrame(lines).round(3)


def used(where: Path) -> float:
    """MiB of all files below a folder."""
    return sum(path.stat().st_size for path in where.rglob("*") if path.is_file()) / 2**20


# How they grow --------------------------------------------------------------------------------------------------------


def growth(table: pd.DataFrame) -> pd.DataFrame:
    """How each cost grows: p of cost ~ n^p between the two largest sizes, nan for what is too small to be judged.

    Between these sizes fixed costs count least. A line a stage, in order, and a column a cost.
    """
    small, large = (one.set_index("stage") for _, one in list(table.groupby("images"))[-2:])
    n = large["images"] / small["images"]
    found = {what: np.log(large[what] / small[what]) / np.log(n) for what in JUDGED}
    return pd.DataFrame({what: p.where(large[what] >= JUDGED[what]) for what, p in found.items()})


def most(table: pd.DataFrame) -> float:
    """The exponent that n log n has between the two largest sizes, and what the clock may add."""
    small, large = sorted(table["images"].unique())[-2:]
    return 1 + np.log(np.log(large) / np.log(small)) / np.log(large / small) + NOISE


def plot(table: pd.DataFrame, path: Path) -> None:
    """Time, memory and disk of every stage at every size; linear growth has equal steps of four."""
    figures.use_style()
    found, stages = growth(table), table["stage"].unique()[::-1]
    fig, axes = plt.subplots(1, 3, figsize=(11, 0.27 * len(stages) + 1.6), sharey=True)
    for (what, label), ax in zip(LABELS.items(), axes, strict=True):
        for shade, (images, mine) in zip((0.35, 0.6, 1.0), table.groupby("images"), strict=False):
            x = mine.set_index("stage")[what].reindex(stages).clip(lower=JUDGED[what] / 10)
            ax.scatter(x, range(len(stages)), s=34, color="#0173b2", alpha=shade, label=f"{images:,} images", zorder=3)
        for y, stage in enumerate(stages):
            if np.isfinite(p := found.loc[stage, what]):
                ax.annotate(f"$n^{{{p:.2f}}}$", (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
        ax.set(xscale="log", xlabel=label, yticks=range(len(stages)), yticklabels=stages)
        ax.xaxis.set_minor_formatter("")
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    save_figure(path, fig, dpi=110)


def report(table: pd.DataFrame) -> list[str]:
    """Print what each stage costs at full size and how that grows; returns what grows faster than n log n."""
    found, limit = growth(table), most(table)
    full = table[table["images"] == table["images"].max()].set_index("stage")
    print(f"{full['images'].iloc[0]:,} images of {full['people'].iloc[0]:,} people; beside each cost p of n^p")
    for stage, line in full.iterrows():
        text = (f"{line[w]:>10.1f} {LABELS[w]:13s}{found.loc[stage, w]:>6.2f}" for w in JUDGED)
        print(f"{stage:28s}", *text)
    fast = [f"{stage}, {LABELS[what]}" for what in JUDGED for stage in found.index if found.loc[stage, what] > limit]
    print(f"n log n is {limit - NOISE:.2f} here, {NOISE} is left to the clock; faster:", "; ".join(fast) or "nothing")
    return fast


def one_size(share: int) -> pd.DataFrame:
    """`rehearse` in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "benchmarks.scaling", "--within", folder, "--shares", str(share)]
        # Freed memory goes back to the system at once, so that each stage shows its own.
        quiet = {"OMP_NUM_THREADS": "1", "SHUI_PROGRESS": "off", "MALLOC_TRIM_THRESHOLD_": "0"}
        keep = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
        subprocess.run(command, check=True, cwd=ROOT, env={**keep, **quiet})
        return pd.read_csv(Path(folder) / "table.csv")


@dataclass(frozen=True, kw_only=True)
class Command:
    """Options of this command."""

    shares: tuple[int, ...] = SHARES  # one person of so many
    within: Annotated[Path | None, tyro.conf.Suppress] = None  # how `one_size` calls


def main(argv: list[str] | None = None) -> None:
    """Command line."""
    args = command_line(Command, argv, __doc__)
    if not RESET.exists():
        sys.exit("the highest mark of memory is read from /proc: run this on Linux")
    if args.within:
        save_frame(args.within / "table.csv", rehearse(args.within, *args.shares))
        return
    table = pd.concat([one_size(share) for share in args.shares], ignore_index=True)
    if len(args.shares) > 1:
        fast = report(table)
        if tuple(args.shares) == SHARES:
            save_frame(TABLE, table)
            plot(table, PICTURE)
        sys.exit(1 if fast else 0)


if __name__ == "__main__":
    main()
