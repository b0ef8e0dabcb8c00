"""One experiment, from the data set to result rows: what is measured of the models of a chain."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from shui_lib.attack.estimates import attack
from shui_lib.benchmark.metrics import Scores, UndefinedScore, finite, score, score_name, tug_of_war
from shui_lib.benchmark.models import FaceModel
from shui_lib.benchmark.predict import task_loss
from shui_lib.core.machine import device_name, git_commit
from shui_lib.core.names import MethodSpec, is_trained, reference_of
from shui_lib.core.rows import CHANGED, Measured, make_rows
from shui_lib.core.store import load_tensors
from shui_lib.methods import settings_of
from shui_workbook.runs.chain import Chain
from shui_workbook.runs.settings import PAPERS, STANDS_FOR, published_as, selected_key, spec_named

JOINS = {"strangers": "non_members", "compared": "population"}


class Experiment(Chain):
    """A data set, a request and a preset, and everything that is measured of their models; arguments as `Chain`."""

    def loss(self, model: str, part: str) -> float:
        """Task loss of a model on a split, in nats."""
        return task_loss(finite(self.logits(model, part)), self.part(part).targets).item()

    def score(self, model: str, part: str) -> float:
        """mAP or accuracy of a model on a split, a fraction; computed once."""
        answered = self._predicted(model).folder
        if (answered, part) not in self._scores:
            self._scores[answered, part] = score(self.logits(model, part), self.part(part).targets)
        return self._scores[answered, part]

    @cached_property
    def _scores(self) -> dict[tuple[Path, str], float]:
        return {}

    def scores(self, model: str) -> Scores:
        """The three scores that Tug-of-War looks at, as fractions."""
        return Scores(*(self.score(model, part) for part in Scores._fields))

    def tug_of_war(self, model: str) -> float:
        """Closeness to the retrained model, in percent."""
        return tug_of_war(self.scores(model), self.scores("retrained"))

    def queries(self, model: str) -> dict[str, np.ndarray]:
        """What the attack asks: losses (Q, N) of a model for `attack_parts`, in nats; strangers at the end of whom they
        join. Q is `QUERIES`, but 1 for the population, of which the attack reads the first view alone."""
        losses = load_tensors(self._queried(model).file("queries.safetensors"))
        return _extra_people_last({part: loss.numpy() for part, loss in losses.items()})

    def ask(self, model: FaceModel) -> dict[str, np.ndarray]:
        """As `queries`, of any model; nothing is kept on disk."""
        return _extra_people_last({part: loss.numpy() for part, loss in self.ask_views(model).items()})

    @cached_property
    def attack_identity(self) -> dict[str, np.ndarray]:
        """Whose image each column of `queries` is: (N,) by part."""
        after = self.faces.identity.max() + 1  # another data set counts its people anew
        parts = self.attack_parts.items()
        return _extra_people_last({part: faces.identity + after * (part in JOINS) for part, faces in parts})

    def attack(self, model: str) -> dict[str, Measured]:
        """Can the attacker tell that D_f was trained on? RMIA in both forms and the loss threshold, in percent."""
        return self.attack_on(self.queries(model), self.queries(reference_of(model)))

    def attack_on(self, target: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> dict[str, Measured]:
        """`attack` on what any two models have answered (`queries`, `ask`)."""
        found = attack(target, reference, self.attack_identity, seed=self.seed)
        return {name: Measured(100 * e.value, 100 * e.low, 100 * e.high, e.note) for name, e in found.items()}

    def rows(self, *models: str, attacked: bool = False) -> pd.DataFrame:
        """Result rows (`shui_lib.core.rows`) of the given models; with `attacked`, those of the attack too."""
        return pd.concat([self._rows(model, attacked) for model in models], ignore_index=True)

    def _rows(self, model: str, attacked: bool) -> pd.DataFrame:
        values: dict[tuple[str, str], float | Measured] = {}
        for part in ("retain", "forget", "test", "val", "support"):
            values[part, "loss"] = or_reason(self.loss, model, part)
            values[part, score_name(self.faces.targets)] = or_reason(self.score, model, part, unit=100)
        values["all", "tow"] = or_reason(self.tug_of_war, model)
        if attacked and model != reference_of(model):  # the retrained model is its own reference
            values |= {("all", metric): measured for metric, measured in self.attack(model).items()}
        stage, form = self.stage(model), spec_named(model)
        measured = stage.lineage["measured"]
        about = {name: measured.get(name) for name in ("seconds", "peak_mib", "device", "git")}
        about["note"] = "" if is_trained(model) else self._changed(form) or self._borrowed(form)
        return make_rows(values, self.about(form) | about | {"config": stage.key})

    def about(self, form: MethodSpec) -> dict[str, object]:
        """What every row of this experiment says of itself; device and git of the machine that asks now."""
        return {
            "dataset": f"{self.dataset}+{self.strangers}".removesuffix("+"),
            "preset": self.preset,
            "model": self.config.model.architecture,
            "n_ids": self.n_ids,
            "seed": self.seed,
            "method": form.method,
            "variant": form.label,
            "device": device_name(self.device),
            "git": git_commit(),
        }

    def _changed(self, form: MethodSpec) -> str:
        """A note on settings that this experiment was given and that differ from the form's own, or ""."""
        ours = settings_of(self.method(form.name))
        own = settings_of(self.with_settings({}).method(form.name))
        changed = ", ".join(f"{name}={value}" for name, value in ours.items() if value != own[name])
        return f"{CHANGED}: {changed}" if changed else ""

    def whose_settings(self, *forms: str) -> pd.Series:
        """Where the settings of forms come from, in words for a reader: by form."""
        told = {}
        for name in forms:
            form = spec_named(name)
            own = "the published constants" if form.published else "chosen on its own tuning pool"
            told[name] = self._borrowed(form) or own
            if by_hand := self.settings.get(form.name):
                told[name] += f"; by hand: {', '.join(by_hand)}"
        return pd.Series(told, dtype=str)

    def _borrowed(self, form: MethodSpec) -> str:
        """A note on settings that were not selected, or not published, for this very setting; or ""."""
        if form.published:
            name = self.faces.name
            source = published_as(name, multilabel=self.faces.multilabel)
            kin = name in (*PAPERS, *STANDS_FOR)  # an embedded data set borrows by design
            return "" if kin else f"constants published for {source}; none are known for {name or self.dataset}"
        source = selected_key(form.name, **self.setting)
        if source == f"{self.preset}/{self.dataset}/{self.n_ids}":
            return ""
        stated = f", but for those of preset {self.preset}" if form.name in self.config.methods else ""
        return (f"settings selected for {source}" if source else "settings not selected") + stated


def or_reason(measure: Callable[..., float], *of: object, unit: float = 1) -> float | Measured:
    """What is measured, or why it is not defined: for a split without a positive, for instance."""
    try:
        return unit * measure(*of)
    except UndefinedScore as error:
        return Measured(np.nan, note=str(error))


def _extra_people_last(parts: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Strangers (..., M), where there are some, joined to the part (..., N) that `JOINS` says."""
    joined = dict(parts)
    for part, to in JOINS.items():
        if part in parts:
            joined[to] = np.concatenate([parts[to], joined.pop(part)], axis=-1)
    return joined
