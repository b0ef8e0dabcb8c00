"""Cascaded unlearning (Sun et al., 2023): unlearning steps on D_u and learning steps on the rest take turns.

    unlearning:  D ← ½ (D(x_u) − y_f)² + s(D(G(z)))        G ← s(−D(G(w_u))) + MSE(G(w_u), S(x_u))
    learning:    few-shot, the GAN's own step on pictures of D_l; zero-shot, the same on pictures of the frozen G°,
                 with D held to what D° said

Few-shot is given as many learning pictures as there are to forget, zero-shot none at all.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor, nn

from shui_lib.benchmark.train import pack, unpack
from shui_lib.core.randomness import epoch_generator
from shui_lib.core.store import load_note, load_tensors, save_tensors
from shui_lib.gan.latents import Inversion, Substitutes, all_labels, invert, render
from shui_lib.gan.metrics import auc, judge, sample
from shui_lib.gan.steps import Game, Maps, Pictures, due, fake_label_of, gan_step, learn_zero, redraw, silence
from shui_lib.gan.stylegan2 import GAN
from shui_lib.gan.train import check_data, pictures_of
from shui_lib.methods import Given


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """Settings of one cascade.

    It stops where the measure named by `stop` is at `goal` or above in two looks in a row. Departs from the paper by
    default: zero-shot has no learning pictures, so the measure compares generated ones of G° with the forgotten (D31).
    """

    shot: str = "few"  # few | zero
    mechanism: str = "average"  # of the substitute
    asked: str = "forget"  # the part that shall be forgotten; "support" for one picture that was never trained on
    constant: float | None = None  # y_f as in the paper (−1, 0.1, 0.5); None takes the quantile
    quantile: float = 0.01  # of D° on generated pictures
    perceptual: float = 0.0  # λ2
    lr: float = 2e-4  # the largest of `studies.gan rates --seeds 100` that takes others less than .05 of accuracy
    batch: int = 32  # pictures of each half
    gamma: float = 0.1  # of R1, on learning pictures only; as the GAN was trained
    r1_every: int = 8
    steps: int = 60  # at most
    check: int = 10  # steps from one look to the next
    stop: str = "auc_generated"  # auc_generated | auc_used (few-shot) | what `watch` measures | never
    goal: float = 0.8
    inversion: Inversion = field(default_factory=Inversion)

    def __post_init__(self) -> None:
        if self.shot not in ("few", "zero"):
            raise ValueError(f"shot {self.shot!r} is unknown: choose few or zero")
        if self.stop == "auc_used" and self.shot == "zero":
            raise ValueError("stop='auc_used' reads learning pictures, zero-shot has none: choose auc_generated")
        if min(self.lr, self.batch, self.steps, self.check, self.r1_every) <= 0 or not 0 <= self.quantile <= 1:
            raise ValueError(f"{self}: lr, batch, steps, check and r1_every must be positive, quantile in [0, 1]")

    @property
    def needs(self) -> tuple[str, ...]:
        """Parts that `unlearn` may see."""
        return (self.asked, "learn") if self.shot == "few" else (self.asked,)

    def unlearn(
        self,
        gan: GAN,
        given: Given,
        *,
        label: int | None = None,
        seed: int = 0,
        w: Tensor | None = None,
        maps: Maps | None = None,
        watch: Callable[[GAN], dict[str, float]] | None = None,
        checkpoint: Path | None = None,
    ) -> tuple[GAN, pd.DataFrame]:
        """A new GAN that has forgotten; the one given is not changed.

        Args:
            label: the class to be forgotten, None for items.
            w: latents (N, Z) of D_u, where they are known; found by inversion otherwise.
            maps: of a classifier; needed where λ2 is above 0.
            watch: measures that the method itself has no data for, at every look.
            checkpoint: a file rewritten at every look; a run that finds one goes on from it, to the same weights.
        Returns:
            The GAN; one row a look: step, seconds (of the cascade), invert_seconds, what stopping reads, and losses.
        Raises:
            ValueError: data and GAN do not fit. NotGiven: a part is missing. Diverged: a loss is not finite.
        """
        run = _Run(self, gan, given.only(self.needs), label, seed, maps, watch)
        run.begin(checkpoint, w)
        while not run.done():
            run.block()
            if checkpoint:
                run.save(checkpoint)
        return GAN(*(network.eval() for network in run.now)), pd.DataFrame(run.history)


class _Run:
    """One cascade under way; `w` (N, Z) are latents of the pictures to be forgotten."""

    def __init__(self, settings: Cascade, gan: GAN, given: Given, label, seed: int, maps, watch):
        self.settings, self.gan, self.label, self.seed = settings, gan, label, seed
        self.maps, self.watch = maps, watch
        self.labels = all_labels(gan.generator)
        self.staying = self.labels if label is None else self.labels[self.labels != label]
        self._check(given)
        parts = {name: pictures_of(given.parts[name], self.labels.device) for name in settings.needs}
        self.forget: Pictures = parts[settings.asked]
        self.learn: Pictures | None = parts.get("learn")
        self.now = copy.deepcopy(gan)
        for network in self.now:
            network.train().requires_grad_().to(memory_format=torch.channels_last)
        self.game = Game(self.now, settings.lr)
        self.history: list[dict[str, float]] = []

    def _check(self, given: Given) -> None:
        for faces in given.parts.values():
            check_data(faces, self.gan.generator.config)
        if self.label is not None and not 0 <= self.label < len(self.labels):
            raise ValueError(f"class {self.label} does not exist: the GAN knows 0 to {len(self.labels) - 1}")
        if self.settings.perceptual and self.maps is None:
            raise ValueError("the perceptual term compares a classifier's maps: give them, or set perceptual=0")

    def done(self) -> bool:
        """Did two looks in a row say so, or is the budget spent?"""
        said = [line["stop"] for line in self.history[-2:]]
        return said == [True, True] or self.history[-1]["step"] >= self.settings.steps

    def begin(self, checkpoint: Path | None, w: Tensor | None = None) -> None:
        """Go on from a file; or invert, and look at the GAN as it was."""
        begun, found = time.perf_counter(), checkpoint is not None and checkpoint.exists()
        if found:
            tensors, self.history = load_tensors(checkpoint), load_note(checkpoint)["history"]
            self.w = tensors["w"]
            unpack(nn.ModuleDict(self.now._asdict()), self.game.optimizer, tensors)
        else:
            self.w = invert(self.gan.generator, self.forget[0], self.settings.inversion)[0] if w is None else w
        spent = time.perf_counter() - begun
        self.substitutes = Substitutes(self.gan.generator, self.w, self.settings.mechanism, label=self.label)
        self.drawn = sample(self.gan.generator, self.staying.repeat(-(-1000 // len(self.staying))), seed=self.seed)
        logits = judge(self.gan.discriminator, {"generated": self.drawn})["generated"]
        self.fake_label = fake_label_of(logits, constant=self.settings.constant, quantile=self.settings.quantile)
        if not found:
            self.look({"step": 0, "seconds": 0.0, "invert_seconds": spent, "fake_label": self.fake_label})

    def save(self, checkpoint: Path) -> None:
        """Everything that the rest of the cascade depends on."""
        tensors = pack(nn.ModuleDict(self.now._asdict()), self.game.optimizer)
        save_tensors(checkpoint, tensors | {"w": self.w}, {"history": self.history})

    def block(self) -> None:
        """The steps up to the next look; looking is not counted as time of the cascade."""
        begun, before = time.perf_counter(), self.history[-1]
        first = before["step"]
        last, chance = min(first + self.settings.check, self.settings.steps), epoch_generator(self.seed, first)
        lines = [self.forget_some(step, chance) | self.learn_some(step, chance) for step in range(first, last)]
        spent = before["seconds"] + time.perf_counter() - begun
        self.look(before | {"step": last, "seconds": spent} | pd.DataFrame(lines).mean().to_dict())

    @torch.no_grad()
    def look(self, line: dict[str, float]) -> None:
        """Add a line to the history: what was spent and lost, what D tells apart, and whether that is enough."""
        parts = {"forget": self.forget, "generated": tuple(part[:250] for part in self.drawn)}
        if self.learn:
            parts["used"] = self.learn
        logits = judge(self.now.discriminator, parts)
        line |= {f"auc_{part}": auc(logits[part], logits["forget"]) for part in parts if part != "forget"}
        line |= self.watch(self.now) if self.watch else {}
        name = self.settings.stop
        if name != "never" and name not in line:
            raise ValueError(f"stop={name!r} needs `watch` to measure it: give it, or another rule")
        self.history.append(line | {"stop": name != "never" and line[name] >= self.settings.goal})

    def forget_some(self, step: int, chance: torch.Generator) -> dict[str, float]:
        """The unlearning half on a batch of D_u."""
        index, forget = self.some(self.forget, chance)
        told = silence(self.game, forget, self.fake_label, self.labels, chance)
        instead = render(self.gan.generator, self.substitutes.at(step / self.settings.steps)[index])
        weighed = {"perceptual": self.settings.perceptual, "maps": self.maps}
        return told | redraw(self.game, self.w[index], forget[1], instead, **weighed)

    def learn_some(self, step: int, chance: torch.Generator) -> dict[str, float]:
        """The learning half: few-shot, the GAN's own step; zero-shot, without data."""
        if not self.learn:
            return learn_zero(self.game, self.gan, self.staying, self.settings.batch, chance)
        _, real = self.some(self.learn, chance)
        r1 = due(step, self.settings.gamma, self.settings.r1_every)
        return gan_step(self.game, real, self.learn[1], chance, r1=r1)

    def some(self, pictures: Pictures, chance: torch.Generator) -> tuple[Tensor, Pictures]:
        """A batch, with repeats: positions (B,), and the pictures there."""
        index = torch.randint(len(pictures[0]), (self.settings.batch,), generator=chance)
        return index, tuple(part[index] for part in pictures)
