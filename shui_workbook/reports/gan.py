"""Tables and claims of chapter 30, from results/gan_rows.csv and the paper's numbers.

A seed draws a request; of classes, every seed asks for another one. All requests are made of one GAN, so an interval
over them says how much depends on what is to be forgotten, and nothing of how other GANs behave.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from shui_lib.core.places import RESULTS
from shui_workbook.records.compare import interval, over_seeds
from shui_workbook.reports.claims import Claim, judged
from shui_workbook.reports.verdicts import Effect, effect_of
from shui_workbook.studies.gan.rows import read

FORM = ["request", "method", "shot", "mechanism", "fake_label", "perceptual", "budget"]
DEFAULTS = {"method": "cascade", "mechanism": "average", "fake_label": "0.01 quantile", "perceptual": 0.0, "budget": 60}
ITEM, GOAL = "item-64", 0.8  # the paper's smallest request, and its goal for AUC_lu
BOTH, FEW = ("few", "zero"), ("few",)  # shots
OF_CLASSES = ("V", "VI", "X")  # the paper's tables of them
HOW_GOOD = "auc_fresh_generated"  # does D still tell pictures of the GAN from real ones?
SCORES = ["auc_lu", "auc_lu_used", "logan", "logan_away", "fd_l", "fd_u", "acc"]
AUDITS = ["psnr_forget", "psnr_test", "psnr_nearest", "psnr_nearest_test", "path_forget", "path_random"]
AUDITS += ["relearn_steps"]
PHOTO = {"person": "it stands for the person", "photo": "it is an item"}  # what one photo is taken for


def load(folder: Path = RESULTS, *, dataset: str = "faces", gan_seed: int = 0) -> pd.DataFrame:
    """The rows of one data set and one GAN, the one that was trained longest."""
    rows = read(Path(folder) / "gan_rows.csv")
    rows = rows[(rows["dataset"] == dataset) & (rows["gan_seed"] == gan_seed)]
    return rows[rows["kimg"] == rows["kimg"].max()]


def told(values: pd.Series) -> str:
    """Mean, and its 95 % interval where there are two values or more."""
    return interval(over_seeds(values), ".3g")


def summary(rows: pd.DataFrame, metrics: Sequence[str]) -> pd.DataFrame:
    """A line a model and form, a column a metric: mean and interval over requests; all classes share a line.

    Few pictures come before many, and of each request the original first. Columns that nobody fills are left out.
    """
    chosen = rows[rows["metric"].isin(metrics) & rows["request"].str.startswith(("item", "class"))]
    chosen = chosen.assign(request=chosen["request"].str.replace(r"^class-\d+$", "class", regex=True))
    cells = chosen.groupby([*FORM, "metric"])["value"].agg(told).unstack(fill_value="")
    requests = chosen.groupby(FORM)["seed"].nunique().rename("requests")
    found = cells.reindex(columns=list(metrics), fill_value="").join(requests)
    found = found.loc[sorted(found.index, key=_place)]
    found.index = [_named(dict(zip(FORM, form, strict=True))) for form in found.index]
    return found.loc[:, (found != "").any()] if len(found) else found


def _place(form: tuple) -> tuple:
    """Of a line of `summary`: by request, whose number counts as one, and the original before what is made of it."""
    kind, _, number = form[FORM.index("request")].partition("-")
    return kind, int(number or 0), form[FORM.index("method")] != "original", *map(str, form)


def elsewhere(folder: Path = RESULTS, metrics: Sequence[str] = (*SCORES, HOW_GOOD)) -> pd.DataFrame:
    """`summary` of the rows of other data and of other GANs, a line a world and form; empty where there are none."""
    worlds = read(Path(folder) / "gan_rows.csv")[["dataset", "gan_seed"]].drop_duplicates().itertuples(index=False)
    others = {world: load(folder, **world._asdict()) for world in worlds if world != ("faces", 0)}
    tables = [
        summary(rows, metrics).rename(index=f"{name}, GAN {seed}: {{}}".format)
        for (name, seed), rows in sorted(others.items())
    ]
    return pd.concat(tables).fillna("") if tables else pd.DataFrame(columns=list(metrics))


QUESTIONS = {  # metric: what it answers, of what is to be forgotten
    "auc_lu": "Does D rate it lower? AUC_lu on fresh pictures",
    "logan": "Can an attacker find it? LOGAN's AUC, ½ is not at all",
    "fd_u": "Is it still drawn? Fréchet distance of what is drawn of it",
    "psnr_forget": "Can it still be drawn? PSNR of the inversion, dB",
    "acc": "What do the others pay? Accuracy of what is drawn of them",
}


def in_short(rows: pd.DataFrame) -> str:
    """What the default cascades change, as a list in Markdown: before, few-shot, zero-shot; and how lastingly."""
    numbers, lines = Numbers(rows), []
    for request, name in ((ITEM, "64 pictures"), ("class", "a person")):
        for metric, question in QUESTIONS.items():
            before = numbers.before(metric, request)
            after = {f"{shot}-shot": numbers.after(metric, shot, request) for shot in BOTH}
            asked = set().union(*(values.index for values in after.values()))
            before = before[before.index.isin(asked)]  # of those alone that have been forgotten
            ends = ", ".join(f"{told(values)} {shot} ({len(values)})" for shot, values in after.items() if len(values))
            if len(before) and ends:
                bound = numbers.before("fd_u_ceiling", request) if metric == "fd_u" else []
                beside = f"; the most similar other: {told(bound[bound.index.isin(asked)])}" if len(bound) else ""
                lines.append(f"- **{name}**. {question}: {told(before)} → {ends}{beside}.")
        again = {f"{shot}-shot": numbers.after("relearn_steps", shot, request) for shot in BOTH}
        if all(map(len, again.values())):
            steps = ", ".join(f"{told(values)} {shot}" for shot, values in again.items())
            lines.append(f"- **{name}**. How soon is it undone? Steps of the GAN's own training with them: {steps}.")
        if len(gone_on := numbers.before("auc_lu", request, "continued")):
            accuracy = numbers.before("acc", request, "continued")
            lines.append(
                f"- **{name}**. And without unlearning, a tenth of its training more on all the rest: "
                f"AUC_lu {told(gone_on)}, accuracy {told(accuracy)}."
            )
    return "\n".join(lines) or "No rows."


# Claims -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Numbers:
    """Our rows and the paper's, by name."""

    rows: pd.DataFrame
    reported: pd.DataFrame = field(default_factory=lambda: pd.read_csv(RESULTS / "gan_reported.csv"))

    def of(self, metric: str, request: str, **form: object) -> pd.Series:
        """A metric of one form, by request and seed; "class" are the requests of all classes."""
        mine = self.rows["request"].eq(request) | self.rows["request"].str.startswith(f"{request}-")
        mine &= self.rows["metric"].eq(metric)
        for name, value in form.items():
            mine &= self.rows[name].eq(value)
        return self.rows[mine].set_index(["request", "seed"])["value"]

    def before(self, metric: str, request: str = ITEM, method: str = "original") -> pd.Series:
        """Of the GAN that was to forget; or of another, that never saw it."""
        return self.of(metric, request, method=method)

    def after(self, metric: str, shot: str, request: str = ITEM, **changed: object) -> pd.Series:
        """Of cascades, the default but for what is changed."""
        return self.of(metric, request, shot=shot, **{**DEFAULTS, **changed})

    def change(self, metric: str, shot: str, request: str = ITEM) -> pd.Series:
        """After − before, of the default cascade."""
        return self.after(metric, shot, request) - self.before(metric, request)

    def paper(
        self, table: str, metric: str, shot: str, substitute: str = "average", when: str = "after", **more: object
    ) -> float:
        """The paper's number for 64 items, or for a class; nan where it has none."""
        known = {"table": table, "metric": metric, "shot": shot, "substitute": substitute, **more}
        mine = (self.reported[list(known)] == pd.Series(known)).all(axis=1)
        mine &= self.reported["unlearn"].str.startswith("class" if table in OF_CLASSES else ITEM)
        return self.reported.loc[mine, when].mean()

    def constant(self, shot: str, label: float) -> float:
        """AUC_lu after a cascade with a constant fake label, in the paper's Table VII."""
        return self.paper("VII", "AUC_lu", shot, "mean of 3", fake_label=label)


Value = Callable[[Numbers, str], "pd.Series | float"]
# Claim, the paper's table, shots, our difference by request, which is above zero where the claim holds, the paper's.
CLAIMS: list[tuple[str, str, Sequence[str], Value, Value]] = [
    (
        "items: AUC_lu on fresh pictures passes 0.8 in 60 steps", "III", BOTH,
        lambda n, shot: n.after("auc_lu", shot) - GOAL,
        lambda n, shot: n.paper("IIIa", "AUC_lu", shot) - GOAL,
    ),
    (
        "… in 200 steps", "III", BOTH,
        lambda n, shot: n.after("auc_lu", shot, budget=200) - GOAL,
        lambda n, shot: n.paper("IIIa", "AUC_lu", shot) - GOAL,
    ),
    (
        "items: accuracy falls by less than 0.05", "III", BOTH,
        lambda n, shot: n.change("acc", shot) + 0.05,
        lambda n, shot: n.paper("IIIa", "ACC", shot) - n.paper("IIIa", "ACC", shot, when="before") + 0.05,
    ),
    *(
        (
            f"items: {name} forgets more than the average (AUC_lu)", "III", BOTH,
            lambda n, shot, name=name: n.after("auc_lu", shot, mechanism=name) - n.after("auc_lu", shot),
            lambda n, shot, name=name: n.paper("IIIa", "AUC_lu", shot, name) - n.paper("IIIa", "AUC_lu", shot),
        )
        for name in ("truncation", "projection")
    ),
    (
        "class: what is drawn of it gets further than the next class", "V", BOTH,
        lambda n, shot: n.after("fd_u", shot, "class") - n.before("fd_u_ceiling", "class"),
        lambda n, shot: np.nan,
    ),
    (
        "class: AUC_lu on fresh pictures passes 0.8", "V", BOTH,
        lambda n, shot: n.after("auc_lu", shot, "class") - GOAL,
        lambda n, shot: n.paper("V", "AUC_lu", shot) - GOAL,
    ),
    (
        "class: accuracy of the others falls by less than 0.05", "V", BOTH,
        lambda n, shot: n.change("acc", shot, "class") + 0.05,
        lambda n, shot: n.paper("V", "ACC", shot) - n.paper("V", "ACC", shot, when="before") + 0.05,
    ),
    (
        "class: the nearest other class takes it further than the average", "V", BOTH,
        lambda n, shot: n.after("fd_u", shot, "class", mechanism="other-class") - n.after("fd_u", shot, "class"),
        lambda n, shot: np.nan,
    ),
    (
        "y = 0.1 is enough: AUC_lu passes 0.8", "VII", FEW,
        lambda n, shot: n.after("auc_lu", shot, fake_label="0.1") - GOAL,
        lambda n, shot: n.constant(shot, 0.1) - GOAL,
    ),
    (
        "y = −1 forgets more than 0.1 (AUC_lu)", "VII", FEW,
        lambda n, shot: n.after("auc_lu", shot, fake_label="-1") - n.after("auc_lu", shot, fake_label="0.1"),
        lambda n, shot: n.constant(shot, -1) - n.constant(shot, 0.1),
    ),
    (
        "items: the perceptual term costs quality (distance)", "IX", FEW,
        lambda n, shot: n.after("fd_l", shot, perceptual=0.5) - n.after("fd_l", shot),
        lambda n, shot: np.nan,
    ),
    (
        "items: LOGAN's AUC falls to 0.5 or below", "XI", BOTH,
        lambda n, shot: 0.5 - n.after("logan", shot),
        lambda n, shot: 0.5 - n.paper("XI", "LOGAN_AUC", shot),
    ),
    (
        "items: as hard to tell as after retraining (LOGAN's distance from ½, within 0.05)", "XI", BOTH,
        lambda n, shot: n.before("logan_away", method="retrained") + 0.05 - n.after("logan_away", shot),
        lambda n, shot: np.nan,
    ),
    *(
        (
            f"{name}: {says}", "XIV", BOTH,
            lambda n, shot, request=request, metric=metric, within=within: (
                n.after(metric, shot, request) + within - n.before(metric, request, "continued")
            ),
            lambda n, shot: np.nan,
        )
        for metric, within, says in (
            ("auc_lu", 0.0, "forgets more than going on without unlearning, on a tenth more of the rest (AUC_lu)"),
            ("acc", 0.05, "costs no more accuracy than going on without unlearning (within 0.05)"),
        )
        for name, request in (("items", ITEM), ("class", "class"))
    ),
    (
        "items: the generator loses them (re-inversion, 1 dB more than test pictures)", "none", BOTH,
        lambda n, shot: -n.change("psnr_gap", shot) - 1,
        lambda n, shot: np.nan,
    ),
    (
        "items: drawn pictures move away from them (1 dB more than from test pictures)", "none", BOTH,
        lambda n, shot: n.change("psnr_nearest_test", shot) - n.change("psnr_nearest", shot) - 1,
        lambda n, shot: np.nan,
    ),
    (
        "class: the generator can no longer draw it (re-inversion, 1 dB worse)", "none", BOTH,
        lambda n, shot: -n.change("psnr_forget", shot, "class") - 1,
        lambda n, shot: np.nan,
    ),
]  # fmt: skip


def claims(numbers: Numbers) -> list[Claim]:
    """What the paper claims and what it leaves open, by table: claims of one table are corrected together."""
    found = []
    for text, table, shots, ours, theirs in CLAIMS:
        effects: list[Effect] = []
        for shot in shots:
            effects += effect_of(shot, ours(numbers, shot), theirs(numbers, shot))
        found.append(Claim(text, "30", f"gan {table}", tuple(effects)))
    return found


def verdicts(numbers: Numbers) -> pd.DataFrame:
    """Every claim with its verdict (`shui_workbook.reports.verdicts`) and how far beyond it the cascades come."""
    lines = []
    for claim, found in judged(claims(numbers)):
        said = [f"{e.setting}: {interval(e._asdict(), '+.2g')}" for e in claim.effects]
        line = {"claim": claim.claim, "table": claim.family.removeprefix("gan "), "verdict": claim.verdict(found)}
        requests = max((e.seeds for e in claim.effects), default=0)
        lines.append(line | {"beyond the claim": "; ".join(said) or "–", "requests": requests})
    return pd.DataFrame(lines)


# One photo --------------------------------------------------------------------------------------------------------


def photo_changes(rows: pd.DataFrame, word: str) -> pd.DataFrame:
    """What one photo changes, after − before: a line a measure and person, a column a seed.

    Args:
        word: "person" or "photo" (`Study.forgotten`).
    """
    asked = rows[rows["request"].str.startswith(f"{word}-")]
    wide = asked.pivot_table(index=["metric", "request", "seed"], columns="method", values="value")
    if not {"original", "cascade"} <= set(wide):
        return pd.DataFrame()
    return (wide["cascade"] - wide["original"]).dropna().unstack("seed")


def photo_pairs(rows: pd.DataFrame, word: str = "person") -> pd.DataFrame:
    """What one photo changes, a line a measure: mean over people, each the mean of its seeds, with a 95 % interval."""
    change = photo_changes(rows, word)
    if change.empty:
        return pd.DataFrame(columns=["mean", "low", "high", "people", "seeds"])
    found = {metric: over_seeds(one.mean(axis=1)) for metric, one in change.groupby("metric")}
    people = pd.DataFrame(found).T.rename(columns={"seeds": "people"}).astype({"people": int})
    return people.assign(seeds=change.shape[1])


def photo_people(rows: pd.DataFrame, metric: str, word: str = "person") -> pd.DataFrame:
    """For whom one photo changes a measure, a line a person: mean over seeds, with a 95 % interval over them."""
    change = photo_changes(rows, word)
    if change.empty:
        return pd.DataFrame(columns=["mean", "low", "high", "seeds"])
    found = {person: over_seeds(values) for person, values in change.loc[metric].iterrows()}
    return pd.DataFrame(found).T.sort_values("mean", ascending=False)


def _named(form: dict[str, object]) -> str:
    """A form in words: what differs from the default."""
    words = [f"{form['request']}: {form['method']}", form["shot"]]
    words += [form["mechanism"]] if form["mechanism"] not in ("", DEFAULTS["mechanism"]) else []
    words += [f"y = {form['fake_label']}"] if form["fake_label"] not in ("", DEFAULTS["fake_label"]) else []
    words += [f"λ2 = {form['perceptual']:g}"] if form["perceptual"] else []
    words += [f"{form['budget']} steps"] if form["budget"] not in (0, DEFAULTS["budget"]) else []
    return " ".join(filter(None, words))
