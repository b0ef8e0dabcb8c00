"""The chain of one experiment: every stage is a folder, loaded if it is there and computed if not.

original, retrained, fold_k     trained on a part of the data                    (`fit`)
  └─ prepared                   what a method keeps of the data                  (`prepare`, data still here)
       └─ artefacts             the same with the settings that serving reads: all that is needed without data
            └─ unlearned        the model after the request                      (`unlearn`, data gone)
                 ├─ predictions logits and features of every image               (`predict`, once a model)
                 └─ queries     losses of the views that the attack looks at     (`query_losses`)
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
import torch

from shui_lib.benchmark.data import Faces, folder_of, load_faces
from shui_lib.benchmark.models import FaceModel, build_model, weights_checksum
from shui_lib.benchmark.predict import Predictions, predict, query_losses
from shui_lib.benchmark.presets import preset_named
from shui_lib.benchmark.splits import Request, Split, cross_folds, draw_request, split_identities
from shui_lib.benchmark.train import fit
from shui_lib.core.machine import device_name, git_commit, with_peak
from shui_lib.core.names import is_trained
from shui_lib.core.randomness import checked_seed
from shui_lib.core.source import source_of, source_of_method
from shui_lib.core.stages import Stage, load_or_compute, open_stage
from shui_lib.core.store import load_tensors, save_frame, save_tensors
from shui_lib.methods import REGISTRY, Artefacts, Given, Method, make_method, preparing_settings_of, settings_of
from shui_workbook.runs.serve import load_model, unlearn_from
from shui_workbook.runs.settings import (
    Settings,
    checked_settings,
    published_for,
    settings_for,
    simulated_request_size,
    spec_named,
)
from shui_workbook.runs.strangers import load_strangers

FOLDS = 5  # fold models for choosing settings, each trained without a fifth of the training identities
QUERIES = 8  # augmented views of each image that the attack looks at
POPULATION = 1000  # images that the attack compares with, at most
POPULATION_QUERIES = 1  # views of each of these: it reads no others
POPULATION_EVERY = 3  # of so many strangers one joins the population, without which a low FPR cannot be resolved
OTHER_SEED = 10_000  # added to the seed of the second retrained model


class Chain:
    """A data set, a request and a preset, and everything that follows from them.

    Args:
        dataset: folder below data_root, in the prepared format.
        n_ids: identities asking to be forgotten.
        seed: draws the split, the request, the initial weights and the order of training.
        preset: smoke, cpu, face-resnet, vit-s14 or paper.
        reserved: Support Samples held out from training; requests of up to this many identities share one original.
        from_pool: the request is made of tuning-pool identities, to choose settings; its scores are never reported.
        strangers: another prepared data set of the same kind, whose people are more non-members for the attack, but for
            every third of them, who joins the population.
        settings: per method ("pgu", "pgu:one-shui", as `shui_lib.core.names` writes them), settings that replace the
            selected ones, as a mapping or as JSON text ('{"curvature": {"eta": 0.01}}'); rows note those that differ.
        device: "cuda", "cpu", …; by default the GPU if there is one.
    Raises:
        FileNotFoundError: the data set is not prepared. CorruptFile: what is there of it cannot be read.
        ValueError: an unknown preset or method, a data set that is no plain folder name, a seed outside 0 … 2³² − 1,
            more identities asked for than are eligible, or strangers who are none.
    """

    def __init__(
        self,
        *,
        dataset: str = "faces",
        n_ids: int = 10,
        seed: int = 0,
        preset: str = "cpu",
        data_root: str | Path = "../data",
        runs_root: str | Path = "../runs",
        reserved: int = 10,
        from_pool: bool = False,
        strangers: str = "",
        settings: Settings | str | None = None,
        device: str | None = None,
    ):
        self.dataset, self.n_ids, self.seed, self.preset = dataset, n_ids, checked_seed(seed), preset
        self.folder = folder_of(data_root, dataset)
        self.runs = Path(runs_root) / dataset
        self.reserved, self.from_pool = reserved, from_pool
        self.strangers, self.settings = strangers, checked_settings(settings or {})
        preset_named(preset)  # an unknown one is named before anything is opened
        git_commit()  # of the code that is loaded now, whatever is checked out once a long stage ends
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.faces: Faces = load_faces(self.folder)
        self.config = preset_named(preset, dataset=self.faces.name)
        self._strangers = load_strangers(folder_of(data_root, strangers), self.folder) if strangers else None
        generator = torch.Generator().manual_seed(seed)
        self.split: Split = split_identities(self.faces.identity, generator=generator, config=self.config.split)
        asked = {"n_ids": n_ids, "reserved": reserved, "from_pool": from_pool}
        self.request: Request = draw_request(self.faces.identity, self.split, generator=generator, **asked)

    @cached_property
    def rows_of(self) -> dict[str, np.ndarray]:
        """Rows of the data set by split name."""
        where = self.faces.identity
        rows = {part: np.flatnonzero(np.isin(where, getattr(self.split, part))) for part in ("val", "test")}
        return rows | {part: getattr(self.request, part) for part in ("support", "forget", "retain", "train")}

    @cached_property
    def folds(self) -> list[np.ndarray]:
        """Training identities in `FOLDS` groups; model `fold_k` was trained without group k."""
        return cross_folds(self.split.train, count=FOLDS, generator=torch.Generator().manual_seed(self.seed))

    def part(self, name: str) -> Faces:
        """The images of a split: support, forget, retain, train (= retain and forget), val or test."""
        return self.faces[self.rows_of[name]]

    # What is asked of the chain ----------------------------------------

    def method(self, name: str) -> Method:
        """The method with its settings for this experiment; `name` as in `shui_lib.core.names`."""
        form = spec_named(name)
        if form.published:
            asked = {"dataset": self.faces.name, "n_ids": self.n_ids, "multilabel": self.faces.multilabel}
            chosen = dict(self.config.methods.get(form._replace(published=False).name, {}))  # precision, for instance
            chosen |= published_for(form.method, form.variant, **asked)
        else:
            chosen = settings_for(form.name, **self.setting)
        if form.variant:
            chosen["variant"] = form.variant
        chosen |= self.settings.get(form.name, {})
        if hasattr(REGISTRY.get(form.method), "simulated_n_ids"):
            chosen.setdefault("simulated_n_ids", simulated_request_size(self.n_ids))
        return make_method(form.method, chosen)

    @property
    def setting(self) -> dict[str, object]:
        """What selected settings are looked up by (`settings_for`)."""
        asked = {"preset": self.preset, "dataset": self.dataset, "n_ids": self.n_ids, "own": self.runs.parent}
        return asked | {"multilabel": self.faces.multilabel, "name": self.faces.name}

    def with_settings(self, settings: Settings | str) -> Self:
        """The same experiment with other settings of methods."""
        other = copy.copy(self)
        other.settings = checked_settings(settings)
        return other

    def with_n_ids(self, n_ids: int) -> Self:
        """The same experiment with as many people asking; the requests of one seed are nested."""
        same = ("dataset", "seed", "preset", "reserved", "from_pool", "strangers", "settings")
        given = {name: getattr(self, name) for name in same}
        where = {"data_root": self.folder.parent, "runs_root": self.runs.parent, "device": str(self.device)}
        return type(self)(n_ids=n_ids, **given, **where)

    def stage(self, model: str) -> Stage:
        """The stage that holds a model, named as in `shui_lib.core.names`."""
        return self._trained(model) if is_trained(model) else self._unlearned(model)

    def model(self, name: str) -> FaceModel:
        """A trained model, or one that a method has made forget, in eval mode on the device."""
        return load_model(self.stage(name)).to(self.device)

    def history(self, name: str) -> pd.DataFrame:
        """The course of training, or of a method's preparation."""
        stage = self.stage(name) if is_trained(name) else self._prepared(name)
        return pd.read_csv(stage.file("history.csv"))

    def artefacts(self, method: str) -> Artefacts:
        """What a method has prepared while the data existed."""
        return Artefacts(load_tensors(self._prepared(method).file("artefacts.safetensors")))

    def artefacts_folder(self, method: str) -> Path:
        """The folder of a method's settings: all that is needed, with those of its parents (its base model, what it has
        prepared), to serve a request."""
        return self._artefacts(method).folder

    def prepared_folder(self, method: str) -> Path:
        """The folder of what a method has prepared; the same for settings that preparing does not read."""
        return self._prepared(method).folder

    def predictions(self, model: str) -> Predictions:
        """Logits and features of a model for every image of the data set, in the data set's order."""
        return Predictions(**load_tensors(self._predicted(model).file("predictions.safetensors")))

    def logits(self, model: str, part: str) -> torch.Tensor:
        """(N, K) logits of a model for the images of a split, in the order of `part(name)`."""
        return _stored_logits(self._predicted(model).folder)[torch.from_numpy(self.rows_of[part])]

    @cached_property
    def held_out_logits(self) -> torch.Tensor:
        """(N, K) logits for the training images, each of the fold model that has not seen its person."""
        identity = self.part("train").identity
        logits = torch.empty(len(identity), len(self.faces.classes))
        for k, fold in enumerate(self.folds):
            left_out = torch.from_numpy(np.isin(identity, fold))
            logits[left_out] = self.logits(f"fold_{k}", "train")[left_out]
        return logits

    @cached_property
    def attack_parts(self) -> dict[str, Faces]:
        """Images of the attack: members (D_f), non-members (validation), population (test), and `trained`, a sample of
        D_r that the authors' form of the attack has in its population; strangers of either kind, where there are."""
        chosen = torch.Generator().manual_seed(self.seed)
        test, retain = self.part("test"), self.part("retain")
        parts = {"members": self.part("forget"), "non_members": self.part("val")}
        if self.strangers:
            compared = self._strangers.identity % POPULATION_EVERY == 0
            parts |= {"strangers": self._strangers[~compared], "compared": self._strangers[compared]}
        parts["population"] = test[torch.randperm(len(test), generator=chosen)[:POPULATION]]
        parts["trained"] = retain[torch.randperm(len(retain), generator=chosen)[: POPULATION // 2]]
        return parts

    # How the stages are made -------------------------------------------

    def _trained(self, which: str) -> Stage:
        facts = {
            "dataset": self.dataset,
            "fingerprint": self.faces.fingerprint,  # taken when the data was opened
            "code": source_of("shui_lib.benchmark.train", "shui_lib.benchmark.splits"),
            "seed": self.seed,
            "reserved": self.reserved,
            "from_pool": self.from_pool,
            "image_size": self.faces.size,
            "classes": self.faces.classes,
            **{part: asdict(getattr(self.config, part)) for part in ("model", "train", "split")},
        }
        if self.config.model.pretrained:
            facts["weights"] = self._weights
        if which in ("retrained", "retrained_again") or self.n_ids > self.reserved:
            facts["n_ids"] = self.n_ids
        if which.startswith("fold_"):
            facts["folds"] = FOLDS
        seed = self.seed + OTHER_SEED if which == "retrained_again" else self.seed

        def compute(folder: Path) -> None:
            outputs, size = len(self.faces.classes), self.faces.size
            model = build_model(self.config.model, n_outputs=outputs, image_size=size, seed=seed).to(self.device)
            train, val = self._training_data(which), self.part("val")
            checkpoint = folder / "training.checkpoint"
            model, history = fit(model, train, val, self.config.train, seed=seed, checkpoint=checkpoint)
            save_tensors(folder / "model.safetensors", model.state_dict())
            save_frame(folder / "history.csv", history)

        return self._load_or_compute(which, facts, compute)

    def _training_data(self, which: str) -> Faces:
        if which == "original":
            return self.part("train")
        if which.startswith("fold_"):
            everyone = self.part("train")
            return everyone[~np.isin(everyone.identity, self.folds[int(which.removeprefix("fold_"))])]
        return self.part("retain")

    def _artefacts(self, name: str) -> Stage:
        """What serving a request takes: the method's settings, its base model and what it has prepared."""
        form, method = spec_named(name), self.method(name)
        parents = {"original": self._trained(form.base), "prepared": self._prepared(name)}
        facts = {"method": form.method, "settings": settings_of(method), "seed": self.seed}
        return self._load_or_compute(f"{form.method}-artefacts", facts, lambda _: None, parents=parents)

    def _prepared(self, name: str) -> Stage:
        form, method = spec_named(name), self.method(name)

        def compute(folder: Path) -> None:
            data = {part: self._preparing_data(form.base, part) for part in method.prepares_on}
            generator = torch.Generator().manual_seed(self.seed)
            checkpoint = folder / "preparing.checkpoint"
            prepared = method.prepare(self.model(form.base), data, generator=generator, checkpoint=checkpoint)
            save_tensors(folder / "artefacts.safetensors", prepared.tensors)
            save_frame(folder / "history.csv", prepared.history)

        facts = {"method": form.method, "settings": preparing_settings_of(method), "seed": self.seed}
        facts["code"] = source_of_method(type(method))
        parents = {"original": self._trained(form.base)}
        if "held_out" in method.prepares_on:
            parents |= {f"fold_{k}": self._trained(f"fold_{k}") for k in range(FOLDS)}
        return self._load_or_compute(f"{form.method}-prepared", facts, compute, parents=parents)

    def _preparing_data(self, base: str, part: str) -> Faces:
        """Data for `prepare`; of the training images, those that the model `base` was trained on."""
        if part == "val":
            return self.part("val")
        seen = self._training_data(base)
        if part == "train":
            return seen
        if part == "held_out":
            everyone = replace(self.part("train"), targets=self.held_out_logits)
            # A reference model's come from the original's folds, which have seen D_f: its own would cost five models.
            return everyone[np.isin(everyone.rows, seen.rows)]
        raise ValueError(f"no method can prepare on {part!r}: choose train, val or held_out")

    def _unlearned(self, name: str) -> Stage:
        form = spec_named(name)
        parents = {"original": self._trained(form.base), "artefacts": self._artefacts(name)}

        def compute(folder: Path) -> None:
            given = Given({part: self.part(part) for part in self.method(name).needs})
            model = unlearn_from(parents["artefacts"].folder, given, seed=self.seed, device=self.device)
            save_tensors(folder / "model.safetensors", model.state_dict())

        facts = {"n_ids": self.n_ids, "seed": self.seed, "code": source_of_method(REGISTRY[form.method])}
        return self._load_or_compute(form.method, facts, compute, parents=parents)

    def _predicted(self, name: str) -> Stage:
        def compute(folder: Path) -> None:
            predictions = predict(self.model(name), self.faces, bf16=self.config.train.bf16)
            save_tensors(folder / "predictions.safetensors", predictions._asdict())

        facts = {"code": source_of("shui_lib.benchmark.predict")}
        return self._load_or_compute("predictions", facts, compute, parents={"model": self.stage(name)})

    def _queried(self, name: str) -> Stage:
        def compute(folder: Path) -> None:
            save_tensors(folder / "queries.safetensors", self.ask_views(self.model(name)))

        facts = {"n_ids": self.n_ids, "seed": self.seed, "queries": QUERIES, "population": POPULATION}
        facts["population_queries"], facts["code"] = POPULATION_QUERIES, source_of("shui_lib.benchmark.predict")
        if self.strangers:
            facts["strangers"], facts["compared"] = self._strangers.fingerprint, POPULATION_EVERY
        return self._load_or_compute("queries", facts, compute, parents={"model": self.stage(name)})

    def ask_views(self, model: FaceModel) -> dict[str, torch.Tensor]:
        """Losses (Q, N) in nats of any model, by part of `attack_parts`."""
        losses = {}
        for part, faces in self.attack_parts.items():
            generator = torch.Generator().manual_seed(self.seed)
            views = POPULATION_QUERIES if part in ("population", "compared") else QUERIES
            options = {"queries": views, "crop": self.config.train.crop, "bf16": self.config.train.bf16}
            losses[part] = query_losses(model, faces, generator=generator, **options)
        return losses

    @cached_property
    def _weights(self) -> str:
        return weights_checksum(self.config.model)

    def _load_or_compute(
        self,
        kind: str,
        facts: Mapping[str, object],
        compute: Callable[[Path], None],
        *,
        parents: Mapping[str, Stage] | None = None,
    ) -> Stage:
        """Facts as JSON would give them back: tuples are lists."""
        facts = json.loads(json.dumps(facts))

        def measured(folder: Path) -> dict[str, object]:
            _, peak = with_peak(lambda: compute(folder), self.device)
            about = {"device": device_name(self.device), "git": git_commit(), "torch": torch.__version__}
            if peak is not None:
                about["peak_mib"] = round(peak, 1)
            return about

        return load_or_compute(self.runs, kind, facts, measured, parents=parents)


@lru_cache(maxsize=8)
def _stored_logits(folder: Path) -> torch.Tensor:
    """(N, K) logits of a stage of predictions; without features small enough to keep those of a few models."""
    return load_tensors(open_stage(folder).file("predictions.safetensors"))["logits"]
