"""KLoM: do *trainings* that were made to forget answer as trainings that never met those who ask?

One request, many trainings. Every training draws its own weights and its own order of images; people, photos and who
asks stay the same. So each image has a distribution of margins over trainings, one of models that a method has made
forget and one of retrained models, and KLoM is their divergence (Georgiev et al., "Attribute-to-Delete", 2024). All
other tables hold one training a seed, and a seed draws the people too.

Its floor is the same number of other retrained models. The published number is of a hundred trainings and histograms of
twenty bins; with a few most bins are empty, and the floor says how much that costs. `normal` takes answers for normally
distributed: with a few trainings it is rough, and large gaps alone say something.

    python -m shui_workbook.studies.klom --trainings 10
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from shui_lib.benchmark.models import build_model, weights_checksum
from shui_lib.benchmark.predict import predict
from shui_lib.benchmark.train import fit
from shui_lib.core.machine import device_name, git_commit
from shui_lib.core.names import is_trained
from shui_lib.core.places import RESULTS
from shui_lib.core.progress import progress
from shui_lib.core.randomness import drawn_again
from shui_lib.core.source import source_of, source_of_method
from shui_lib.core.stages import Stage, load_or_compute
from shui_lib.core.store import load_tensors, save_tensors
from shui_lib.methods import Given, settings_of
from shui_workbook.arguments import Setting, command_line
from shui_workbook.records.files import check_results, put
from shui_workbook.runs.experiment import Experiment
from shui_workbook.runs.serve import load_model
from shui_workbook.studies.peers import klom

FIRST = 20_000  # seeds of the trainings begin here: no seed of the tables, none of their second retrained models
PARTS = ("forget", "retain", "test")
FLOOR = "retrained_again"  # the line of other retrained models
KEY = ["dataset", "preset", "n_ids", "seed", "trainings", "form", "part"]
RESAMPLES = 1000


def margin(logits: Tensor, targets: Tensor) -> Tensor:
    """(N,) log odds of the truth: of the class, or the mean over attributes.

    Args:
        logits: (N, K).
        targets: (N, K) of 0 and 1, or (N,) classes.
    """
    if targets.ndim == 2:
        return torch.where(targets > 0.5, logits, -logits).mean(1)
    truth = logits.gather(1, targets[:, None])
    others = logits.scatter(1, targets[:, None], -torch.inf)
    return truth[:, 0] - others.logsumexp(1)


def trained(experiment: Experiment, which: str, training: int) -> Stage:
    """A model of the experiment's request, `original` or `retrained`, with the weights and order of a training."""
    config, faces, seed = experiment.config, experiment.faces, FIRST + training
    facts = _request(experiment) | {"which": which, "training_seed": seed, "classes": faces.classes}
    facts |= {"image_size": faces.size, "code": source_of("shui_lib.benchmark.train", "shui_lib.benchmark.splits")}
    facts |= {part: asdict(getattr(config, part)) for part in ("model", "train", "split")}
    if config.model.pretrained:
        facts["weights"] = weights_checksum(config.model)

    def compute(folder: Path) -> dict[str, object]:
        network = build_model(config.model, n_outputs=len(faces.classes), image_size=faces.size, seed=seed)
        images = experiment.part("train" if which == "original" else "retain")
        checkpoint = folder / "training.checkpoint"
        network, val = network.to(experiment.device), experiment.part("val")
        model, _ = fit(network, images, val, config.train, seed=seed, checkpoint=checkpoint)
        save_tensors(folder / "model.safetensors", model.state_dict())
        return _about(experiment)

    return load_or_compute(experiment.runs, f"klom_{which}", _plain(facts), compute)


def margins(experiment: Experiment, form: str, training: int) -> np.ndarray:
    """(N,) margins of all images of the data set: of a trained model, or after a method has served the request.

    The method is prepared anew for every training; its settings are those of the tables.
    """
    base = trained(experiment, form if is_trained(form) else "original", training)
    facts = _request(experiment) | {"form": form, "code": source_of("shui_lib.benchmark.predict")}
    method = None if is_trained(form) else experiment.method(form)
    if method:
        facts |= {"settings": settings_of(method), "method_code": source_of_method(type(method))}

    def compute(folder: Path) -> dict[str, object]:
        model = load_model(base).to(experiment.device)
        if method:
            data, chance = {part: experiment.part(part) for part in method.prepares_on}, torch.Generator()
            kept = method.prepare(model, data, generator=chance.manual_seed(training))
            given = Given({part: experiment.part(part) for part in method.needs})
            model = method.unlearn(model, given, kept, generator=chance.manual_seed(training))
        logits = predict(model, experiment.faces, bf16=experiment.config.train.bf16).logits
        save_tensors(folder / "logits.safetensors", {"logits": logits})
        return _about(experiment)

    stage = load_or_compute(experiment.runs, "klom_logits", _plain(facts), compute, parents={"model": base})
    return margin(load_tensors(stage.file("logits.safetensors"))["logits"], experiment.faces.targets).numpy()


def _request(experiment: Experiment) -> dict[str, object]:
    names = ("dataset", "n_ids", "seed", "reserved")
    return {name: getattr(experiment, name) for name in names} | {"fingerprint": experiment.faces.fingerprint}


def _about(experiment: Experiment) -> dict[str, object]:
    return {"device": device_name(experiment.device), "git": git_commit(), "torch": torch.__version__}


def _plain(facts: dict[str, object]) -> dict[str, object]:
    return json.loads(json.dumps(facts))


def table(experiment: Experiment, forms: Sequence[str], trainings: int) -> pd.DataFrame:
    """KLoM of every form and part: a line each, the floor's among them.

    Returns:
        Columns form; part; klom, nats, the mean over images, with low and high (95 %, people drawn anew: they say
        nothing of other trainings); normal, the same with margins taken for normal.
    """
    firsts, others = range(trainings), range(trainings, 2 * trainings)  # others: no weights in common to begin with
    retrained = _of_trainings(experiment, "retrained", others)
    lines = []
    for form in (FLOOR, *forms):
        mine = _of_trainings(experiment, "retrained" if form == FLOOR else form, firsts)
        for part in PARTS:
            rows = experiment.rows_of[part]
            lines.append({"form": form, "part": part} | _measured(experiment, rows, mine[:, rows], retrained[:, rows]))
    return pd.DataFrame(lines)


def _of_trainings(experiment: Experiment, form: str, trainings: range) -> np.ndarray:
    """(M, N) margins of a form, M trainings."""
    bar = progress(trainings, desc=f"klom {form}", unit="training")
    return np.stack([margins(experiment, form, training) for training in bar])


def _measured(experiment: Experiment, rows: np.ndarray, mine: np.ndarray, retrained: np.ndarray) -> dict[str, float]:
    each, who = klom(mine, retrained), experiment.faces.identity[rows]
    people = pd.Series(each).groupby(who).agg(["sum", "size"])
    chance = np.random.default_rng(0)
    drawn = np.stack([drawn_again(len(people), chance) for _ in range(RESAMPLES)])
    low, high = np.quantile(drawn @ people["sum"].to_numpy() / (drawn @ people["size"].to_numpy()), [0.025, 0.975])
    normal = klom(mine, retrained, bins=None).mean()
    return {"klom": each.mean(), "low": low, "high": high, "normal": normal, "images": len(rows)}


@dataclass(frozen=True, kw_only=True)
class Command(Setting):
    """Options of this command."""

    trainings: int = 10  # of each kind; the retrained models of the floor are as many again
    forms: tuple[str, ...] = ("original", "gradient_ascent", "curvature", "scrub")
    seeds: tuple[int, ...] = (0,)  # of the people and the request, not of the trainings
    results: Path = RESULTS


def main(argv: Sequence[str] | None = None) -> None:
    """KLoM of a request of every seed into results/klom.csv."""
    asked = command_line(Command, argv, __doc__)
    check_results(asked.results)
    for seed in asked.seeds:
        experiment = Experiment(**asked.of_seed(seed))
        about = {name: getattr(experiment, name) for name in ("dataset", "preset", "n_ids", "seed")}
        found = table(experiment, asked.forms, asked.trainings)
        found = found.assign(**about, trainings=asked.trainings, git=git_commit())
        print(put(asked.results / "klom.csv", found, KEY, decimals=4).to_string())


if __name__ == "__main__":
    main()
