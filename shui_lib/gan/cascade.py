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
from torch import Tensor

from shui_lib.benchmark.data import Faces
from shui_lib.benchmark.train import pack, unpack
from shui_lib.core.randomness import epoch_generator
from shui_lib.core.store import load_note, load_tensors, save_tensors
from shui_lib.gan.inversion import Inversion, all_labels, invert
from shui_lib.gan.losses import adversarial, fake_label_of, learn_discriminator, substitution, unlearn_discriminator
from shui_lib.gan.metrics import Classifier, auc, judge, pictures_of, sample
from shui_lib.gan.stylegan2 import GAN
from shui_lib.gan.substitutes import Substitutes, check_mechanism, render
from shui_lib.gan.train import Player, check_data, draw_fakes, draw_labels, gan_step, labels_of, take
from shui_lib.methods import Given

GOAL = 0.8  # AUC at which items count as forgotten
RULES = ("generated", "used", "as_paper", "never")


@dataclass(frozen=True, kw_only=True)
class Cascade:
    """Settings of one cascade."""

    shot: str = "few"  # few | zero
    mechanism: str = "average"  # of the substitute
    asked: str = "forget"  # the part that shall be forgotten; "support" for one picture that was never trained on
    constant: float | None = None  # y_f as in the paper (−1, 0.1, 0.5); None takes the quantile
    quantile: float = 0.01  # of D° on generated pictures
    perceptual: float = 0.0  # λ2
    cover: bool = False  # of a class: also break mapping(z, c), not the inverted latents alone
    lr: float = 5e-4  # a quarter of the GAN's own
    batch: int = 32  # pictures of each half
    gamma: float = 0.1  # of R1, on learning pictures only
    r1_every: int = 8
    steps: int = 120  # at most
    check: int = 10  # steps from one look to the next
    stop: str = "generated"  # generated | used | as_paper | never
    inversion: Inversion = field(default_factory=Inversion)

    def __post_init__(self) -> None:
        if self.shot not in ("few", "zero") or self.stop not in RULES:
            raise ValueError(f"shot {self.shot!r}, stop {self.stop!r}: choose few or zero, and {', '.join(RULES)}")
        if self.stop == "used" and self.shot == "zero":
            raise ValueError("stop='used' reads learning pictures, zero-shot has none: choose generated")
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
        classifier: Classifier | None = None,
        watch: Callable[[GAN], dict[str, float]] | None = None,
        checkpoint: Path | None = None,
    ) -> tuple[GAN, pd.DataFrame]:
        """A new GAN that has forgotten; the one given is not changed.

        Args:
            given: the parts named in `needs`.
            label: the class to be forgotten, None for items.
            classifier: whose maps the perceptual term compares; needed where λ2 is above 0.
            watch: measures that the method itself has no data for, at every look. `as_paper` stops on its `auc_lu`, or
                for a class on `fd_u` reaching `fd_ceiling`.
            checkpoint: a file rewritten at every look; a run that finds one goes on from it, to the same weights.
        Returns:
            The GAN; one row a look: step, seconds (of the cascade), invert_seconds, what stopping reads, and losses.
        Raises:
            ValueError: data and GAN do not fit. NotGiven: a part is missing. Diverged: a loss is not finite.
        """
        run = _Run(self, gan, given, label, seed, classifier, watch)
        run.resume(checkpoint)
        while run.step < self.steps and not run.done():
            run.block()
            if checkpoint:
                save_tensors(checkpoint, run.tensors(), {"history": run.history})
        return GAN(*(player.network.eval() for player in run.players)), pd.DataFrame(run.history)


class _Run:
    """One cascade under way."""

    def __init__(self, settings: Cascade, gan: GAN, given: Given, label, seed: int, classifier, watch):
        self.settings, self.gan, self.label, self.seed = settings, gan, label, seed
        self.classifier, self.watch, self.history = classifier, watch, []
        given = given.only(settings.needs)
        self.forget: Faces = getattr(given, settings.asked)
        self.learn: Faces | None = given.learn if settings.shot == "few" else None
        self._check(gan)
        networks = (copy.deepcopy(network).train().requires_grad_() for network in gan)
        self.players = tuple(Player(network, settings.lr) for network in networks)
        labels = all_labels(gan.generator)
        self.among = labels if label is None else labels[labels != label]  # what learning generates
        self.w: Tensor | None = None

    def _check(self, gan: GAN) -> None:
        check_mechanism(self.settings.mechanism, label=self.label)
        for faces in filter(None, (self.forget, self.learn)):
            check_data(faces, gan.generator.config)
        if self.label is not None and not 0 <= self.label < gan.generator.config.classes:
            raise ValueError(
                f"class {self.label} does not exist: the GAN knows 0 to {gan.generator.config.classes - 1}"
            )
        if self.settings.cover and self.label is None:
            raise ValueError("cover=True breaks a whole class: give its label")
        if self.settings.perceptual and self.classifier is None:
            raise ValueError("the perceptual term compares a classifier's maps: give one, or set perceptual=0")

    @property
    def step(self) -> int:
        return self.history[-1]["step"] if self.history else 0

    def done(self) -> bool:
        """Did two looks in a row say so?"""
        return len(self.history) >= 2 and all(line["stop"] for line in self.history[-2:])

    def resume(self, checkpoint: Path | None) -> None:
        """Go on from a file, or begin: invert, and look at the GAN as it was."""
        begun, found = time.perf_counter(), checkpoint is not None and checkpoint.exists()
        if found:
            tensors, self.history = load_tensors(checkpoint), load_note(checkpoint)["history"]
            self.w = tensors.pop("w")
            for player, role in zip(self.players, GAN._fields, strict=True):
                own = {name.removeprefix(f"{role}/"): t for name, t in tensors.items() if name.startswith(f"{role}/")}
                unpack(player.network, player.optimizer, own)
        else:
            self.w = invert(self.gan.generator, self.forget, self.settings.inversion).w
        self.seconds = time.perf_counter() - begun
        self.substitutes = Substitutes(self.gan.generator, self.w, self.settings.mechanism, label=self.label)
        drawn = sample(self.gan.generator, self.among.repeat(-(-1000 // len(self.among))), seed=self.seed)
        logits = judge(self.gan.discriminator, {"generated": drawn})["generated"]
        self.fake_label = fake_label_of(logits, constant=self.settings.constant, quantile=self.settings.quantile)
        self.drawn = tuple(part[:250] for part in drawn)
        if not found:
            self.look({}, 0, 0.0)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that the rest of the cascade depends on."""
        whole = {"w": self.w}
        for player, role in zip(self.players, GAN._fields, strict=True):
            whole |= {f"{role}/{name}": value for name, value in pack(player.network, player.optimizer).items()}
        return whole

    def block(self) -> None:
        """The steps up to the next look."""
        begun, first = time.perf_counter(), self.step
        chance, lines = epoch_generator(self.seed, first), []
        last = min(first + self.settings.check, self.settings.steps)
        for step in range(first, last):
            lines.append(self.unlearn_step(step, chance) | self.learn_step(step, chance))
        self.look(pd.DataFrame(lines).mean().to_dict(), last, time.perf_counter() - begun)

    @torch.no_grad()
    def look(self, losses: dict[str, float], step: int, seconds: float) -> None:
        """Add a line to the history; measuring is not counted as time of the cascade."""
        now = GAN(*(player.network for player in self.players))
        parts = {"forget": pictures_of(self.forget), "generated": self.drawn}
        if self.learn is not None:
            parts["used"] = pictures_of(self.learn)
        logits = judge(now.discriminator, parts)
        line = {f"auc_{part}": auc(logits[part], logits["forget"]) for part in parts if part != "forget"}
        line |= self.watch(now) if self.watch else {}
        spent = seconds + (self.history[-1]["seconds"] if self.history else 0.0)
        told = {"step": step, "seconds": spent, "invert_seconds": self.seconds, "fake_label": self.fake_label}
        if self.history:
            told["invert_seconds"] = self.history[0]["invert_seconds"]
        self.history.append(told | line | losses | {"stop": self.stops(line)})

    def stops(self, line: dict[str, float]) -> bool:
        """Has it forgotten, as far as the rule can see?

        Departs from the paper by default: zero-shot has no learning pictures, so generated ones of G° stand for them.
        """
        rule = self.settings.stop
        if rule == "never":
            return False
        if rule != "as_paper":
            return line[f"auc_{rule}"] >= GOAL
        try:
            return line["auc_lu"] >= GOAL if self.label is None else line["fd_u"] >= line["fd_ceiling"]
        except KeyError as error:
            raise ValueError(f"stop='as_paper' needs `watch` to measure {error}: give it, or another rule") from error

    def unlearn_step(self, step: int, chance: torch.Generator) -> dict[str, float]:
        """Discriminator (6), then generator (9), on a batch of D_u; a latent gets no gradient."""
        (g, d), settings, device = self.players, self.settings, self.w.device
        index = torch.randint(len(self.forget), (settings.batch,), generator=chance)
        x, y = take(self.forget, index, chance, flip=False, device=device)
        asked = draw_labels(all_labels(g.network), len(x), chance)
        with torch.no_grad():
            fake = draw_fakes(g.network, asked, chance)
        mixed = torch.randperm(2 * len(x), generator=chance)  # else the spread of a batch would tell D_u apart
        logits = torch.empty(2 * len(x), device=device)
        logits = logits.index_put((mixed,), d.network(torch.cat([x, fake])[mixed], torch.cat([y, asked])[mixed]))
        loss = unlearn_discriminator(logits[: len(x)], logits[len(x) :], self.fake_label)
        told = {"unlearn_d": d.step(loss, "discriminator's unlearning loss")}
        w, instead = self.pairs(index, step, chance)
        shown = g.network.synthesis(w)
        loss = substitution(shown, instead, perceptual=settings.perceptual, classifier=self.classifier) + adversarial(
            d.network(shown, y)
        )
        return told | {"unlearn_g": g.step(loss, "generator's unlearning loss")}

    def pairs(self, index: Tensor, step: int, chance: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents of D_u and the pictures that they shall show; with `cover`, half of them from the mapping."""
        w, latents = self.w[index], self.substitutes.at(step / self.settings.steps)[index]
        if self.settings.cover:
            half = len(w) // 2
            z = torch.randn(half, w.shape[1], generator=chance).to(w.device)
            with torch.no_grad():
                mapped = self.gan.generator.latent(z, torch.full((half,), self.label, device=w.device))
            w = torch.cat([mapped, w[half:]])
        return w, render(self.gan.generator, latents)

    def learn_step(self, step: int, chance: torch.Generator) -> dict[str, float]:
        """Few-shot: the GAN's own step. Zero-shot: the frozen generator's pictures stand for D_l (10-14)."""
        settings = self.settings
        if self.learn is None:
            return self.learn_zero(chance)
        index = torch.randint(len(self.learn), (settings.batch,), generator=chance)
        real = take(self.learn, index, chance, flip=False, device=self.w.device)
        due = settings.r1_every if step % settings.r1_every == 0 else 0
        among = labels_of(self.learn).to(self.w.device)
        return gan_step(self.players, real, among, chance, gamma=settings.gamma, r1_every=due)

    def learn_zero(self, chance: torch.Generator) -> dict[str, float]:
        """Discriminator (13), then generator (14)."""
        (g, d), count = self.players, self.settings.batch
        asked, shown = (draw_labels(self.among, count, chance) for _ in range(2))
        with torch.no_grad():
            real, fake = draw_fakes(self.gan.generator, shown, chance), draw_fakes(g.network, asked, chance)
            before = self.gan.discriminator(real, shown)
        loss = learn_discriminator(d.network(real, shown), before, d.network(fake, asked))
        told = {"loss_d": d.step(loss, "discriminator's learning loss")}
        loss = adversarial(d.network(draw_fakes(g.network, asked, chance), asked))
        return told | {"loss_g": g.step(loss, "generator's learning loss")}
