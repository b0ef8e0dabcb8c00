"""What the paper claims and what the committed rows say of it; the rules are `shui_workbook.reports.verdicts`.

A claim has the verdict that more than half of its settings share, if none of them says the opposite; otherwise it is
inconclusive. Beside it stands the smallest effect that its seeds would have shown in four tries of five, at the level
that Holm's correction asks of the clearest effect in a family of its size. A setting in which both lines are the same
model, since the search chose to do nothing, says nothing of a claim and is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from shui_workbook.records import benchmark_rows, form_of, interval, read_rows
from shui_workbook.reports.tables import BESIDE
from shui_workbook.reports.verdicts import LEVEL, SEEDS, VERDICTS, Effect, effect_of, effect_verdict, holm
from shui_workbook.studies.people import far_minus_near, mean_of_best

OURS = "meta_unlearn"
DEFAULT = f"{OURS} aux_loss=first+second+accuracy"
SETTING = ["preset", "dataset", "n_ids"]
SAME = {"equivalent": "supported", "supported": "reversed"}  # where the paper claims that there is no difference
FIGURES = {"asking": 3.5, "staying": 0.9}  # points between the nearest and the farthest people of Fig. 4 and Fig. 5
CHAPTERS = {
    "05": "[05](notebooks/05_membership_inference.ipynb)",
    "06": "[06](notebooks/06_result_tables.ipynb)",
    "07": "[07](notebooks/07_support_distance.ipynb)",
    "08": "[08](notebooks/08_retain_proximity.ipynb)",
    "09": "[09](notebooks/09_ablations.ipynb)",
    "20": "[20](notebooks/20_learning_to_unlearn.ipynb)",
}


class Claim(NamedTuple):
    """A claim of the paper, its effects by setting, and its family: the claims that are corrected together."""

    claim: str
    chapter: str
    family: str
    effects: tuple[Effect, ...]
    same: bool = False  # the paper claims that there is no difference

    def verdict(self, found: Sequence[str]) -> str:
        """Of the whole claim, from the verdicts of its settings."""
        if not found:
            return "not tested"
        (word, count), *_ = Counter(found).most_common()
        opposite = {"supported": "reversed", "reversed": "supported"}.get(word)
        if 2 * count <= len(found) or opposite in found:
            return "inconclusive"
        return SAME.get(word, word) if self.same else word


def claims(folder: Path) -> list[Claim]:
    """Every claim of the paper with the effects that a results folder has of it."""
    rows, reported = read_rows(folder), _reported(folder)
    main, ablated = _settings(benchmark_rows(rows)), _settings(rows[_is_ablation(rows)])
    several = {setting: group for setting, group in main.items() if not setting.endswith("/1")}
    alone = {setting: group for setting, group in main.items() if setting.endswith("/1")}

    def ahead(settings: dict[str, pd.DataFrame], rival: str, claim: str) -> Claim:
        return Claim(claim, "06", "tables", _differences(settings, OURS, rival, reported))

    rivals = {"ssd one-shui": "SSD", "jit one-shui": "JiT", "pgu one-shui": "PGU"}
    found = [ahead(main, rival, f"MetaUnlearn is ahead of {name} (Tables 1–4)") for rival, name in rivals.items()]
    found += [
        ahead(several, "original", "MetaUnlearn is ahead of doing nothing (Tables 1–3)"),
        ahead(alone, "original", "… and for a single identity (Table 4)"),
    ]
    harder = _differences(main, OURS, "original", reported, metric="rmia_auc", measure=lambda auc: -abs(auc - 50))
    less = "MetaUnlearn leaves an attacker less (the paper: TPR at 0.01 % FPR; here: how far RMIA's AUC is from 50)"
    found.append(Claim(less, "05", "attack", harder))
    farther = "The gap grows with the support distance, far fifth − near fifth (Fig. 4)"
    nearer = "The drop shrinks with the distance to forgotten identities, near fifth − far fifth (Fig. 5)"
    found.append(Claim(farther, "07", "figures", _contrasts(folder, "asking")))
    found.append(Claim(nearer, "08", "figures", _contrasts(folder, "staying")))
    return [*found, *_ablations(ablated, reported)]


def judged(found: Sequence[Claim]) -> list[tuple[Claim, list[str]]]:
    """Each claim with the verdicts of its settings, corrected within its family."""
    effects = [(claim.family, effect) for claim in found for effect in claim.effects]
    adjusted = {}
    for family in {name for name, _ in effects}:
        members = [k for k, (name, _) in enumerate(effects) if name == family]
        adjusted |= dict(zip(members, holm([effects[k][1].p for k in members]), strict=True))
    clear = iter([adjusted[k] < LEVEL for k in range(len(effects))])
    return [(claim, [effect_verdict(effect, next(clear)) for effect in claim.effects]) for claim in found]


def _visible(found: Sequence[Claim]) -> list[list[float]]:
    """For each claim, the effect that its settings would have shown, corrected for the size of its family."""
    sizes = Counter(claim.family for claim in found for _ in claim.effects)
    return [[effect.visible(LEVEL / sizes[one.family]) for effect in one.effects] for one in found]


def markdown(found: Sequence[Claim]) -> str:
    """The short table: verdict, how its settings are divided, the paper's effect and ours."""
    lines = [
        "| the paper's claim | verdict here | settings | effect here | the paper's | visible | chapter |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (claim, verdicts), visible in zip(judged(found), _visible(found), strict=True):
        count = Counter(verdicts)
        divided = ", ".join(f"{count[word]} {word}" for word in VERDICTS if count[word]) or "–"
        here, paper = (_range([getattr(e, name) for e in claim.effects], "+") for name in ("mean", "paper"))
        end = [_range(visible, ""), CHAPTERS[claim.chapter]]
        cells = [claim.claim, claim.verdict(verdicts), divided, here, paper, *end]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def evidence(found: Sequence[Claim]) -> str:
    """The long table: every effect by setting."""
    lines = [
        "| claim | setting | verdict | effect [95 %] | the paper's | visible | seeds |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (claim, verdicts), visible in zip(judged(found), _visible(found), strict=True):
        for e, word, seen in zip(claim.effects, verdicts, visible, strict=True):
            here = interval(e._asdict())
            paper = "–" if np.isnan(e.paper) else f"{e.paper:+.1f}"
            lines.append(f"| {claim.claim} | {e.setting} | {word} | {here} | {paper} | {seen:.1f} | {e.seeds} |")
    return "\n".join(lines)


def _range(values: Sequence[float], sign: str) -> str:
    known = [value for value in values if not np.isnan(value)]
    if not known:
        return "–"
    ends = dict.fromkeys(f"{value:{sign}.1f}" for value in (min(known), max(known)))
    return " to ".join(ends)


# Effects --------------------------------------------------------------------------------------------------------------


def _differences(
    settings: dict[str, pd.DataFrame],
    ours: str,
    rival: str,
    reported: pd.DataFrame,
    *,
    metric: str = "tow",
    measure: Callable[[pd.Series], pd.Series] = lambda values: values,
) -> tuple[Effect, ...]:
    """Differences ours − rival, in every setting that has both in enough seeds; the paper's of Tug-of-War beside.

    Left out where both are one model in every seed.
    """
    found = []
    for setting, rows in settings.items():
        chosen = rows[(rows["metric"] == metric) & (rows["split"] == "all")]
        wide = chosen.assign(form=form_of(chosen)).pivot(index="seed", columns="form", values="value")
        both = wide.reindex(columns=[ours, rival]).dropna()
        if (both[ours] != both[rival]).any():
            paper = _paper_effect(reported, setting, ours, rival) if metric == "tow" else np.nan
            found += effect_of(setting, measure(both[ours]) - measure(both[rival]), paper)
    return tuple(found)


def _contrasts(folder: Path, who: str) -> tuple[Effect, ...]:
    """The paper's figures by seed: mean mAP of the farthest fifth of the people − that of the nearest fifth.

    Files hold what a model does better (`compared`). For those who ask that is the gap, which the paper sees grow with
    distance. For those who stay it is the drop's negative: where the drop shrinks with distance, it grows, too.

    Scores are averaged over the three methods with the highest Tug-of-War, as in the paper.
    """
    found = []
    for path in sorted(folder.glob(f"people_{who}_*.csv")):
        for setting, people in pd.read_csv(path).groupby(SETTING):
            _, mean = mean_of_best(people, [*set(people["form"]) - {"original", "retrained", "retrained_again"}])
            found += effect_of(_named(setting), far_minus_near(mean, "euclid", "score"), FIGURES[who])
    return tuple(found)


def _ablations(ablated: dict[str, pd.DataFrame], reported: pd.DataFrame) -> list[Claim]:
    """Tables 5-7: each part against MetaUnlearn without it, and sizes that need not match."""

    def better(other: str, claim: str) -> Claim:
        return Claim(claim, "09", "ablations", _differences(ablated, DEFAULT, f"{OURS} {other}", reported))

    found = [
        better("aux_loss=first", "The first term of the auxiliary loss alone is not enough (Table 5)"),
        better("aux_loss=first+second", "The accuracy factor helps (Table 5)"),
        better("aux_loss=scrub_loss", "The auxiliary loss is better than SCRUB's (Table 5)"),
        better("inputs=logits", "More inputs than logits help (Table 6)"),
    ]
    sizes: list[Effect] = []
    for setting, rows in ablated.items():
        right = f"{OURS} simulated_n_ids={setting.rpartition('/')[2]}"
        for other in sorted({form for form in form_of(rows) if "simulated_n_ids" in form} - {right}):
            sizes += _differences({setting: rows}, right, other, reported)
    # Table 7 shows no more than 0.3 points either way.
    sizes = [effect._replace(paper=0.3) for effect in sizes]
    return [
        *found,
        Claim("Simulated requests may be of another size (Table 7)", "09", "ablations", tuple(sizes), same=True),
    ]


def _paper_effect(reported: pd.DataFrame, setting: str, ours: str, rival: str) -> float:
    """The paper's difference of Tug-of-War in the setting beside ours (`BESIDE`); of its own data sets, the nearest."""
    *_, name, size = setting.split("/")
    here = name, int(size)
    dataset, n_ids = next((theirs for theirs, mine in BESIDE.items() if mine == here), here)
    known = reported[reported["dataset"] == dataset]
    wide = known.pivot_table(index="n_ids", columns="form", values="mean")
    if not {ours, rival} <= set(wide):
        return np.nan
    gain = (wide[ours] - wide[rival]).dropna()
    same = gain[(gain.index == 1) == (n_ids == 1)]  # one person is a table of its own
    return float(same.iloc[np.abs(same.index - n_ids).argmin()]) if len(same) else np.nan


def _reported(folder: Path) -> pd.DataFrame:
    """The paper's Tug-of-War by form, under the names of our rows; empty where the folder lacks reported.csv."""
    path = Path(folder) / "reported.csv"
    columns = ["dataset", "n_ids", "form", "mean"]
    if not path.is_file():
        return pd.DataFrame(columns=columns)
    rows = pd.read_csv(path).query("metric == 'tow'").fillna({"variant": ""})
    one_shui = rows["method"].isin(["ssd", "jit", "pgu", "scrub", "bad_teacher"]) & (rows["variant"] == "")
    rows["variant"] = rows["variant"].mask(one_shui, "one-shui")
    return rows.assign(form=form_of(rows), mean=pd.to_numeric(rows["mean"], errors="coerce"))[columns]


def _settings(rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Rows by setting, of those with enough seeds; strangers change nothing but the attack."""
    rows = rows[~rows["dataset"].str.contains("+", regex=False)]
    groups = {_named(setting): group for setting, group in rows.groupby(SETTING)}
    return {setting: group for setting, group in groups.items() if group["seed"].nunique() >= SEEDS}


def _named(setting: tuple[str, str, int]) -> str:
    """ "celebahq/20"; a preset other than `cpu` stands before: "paper/celebahq/20"."""
    return "/".join(map(str, setting)).removeprefix("cpu/")


def _is_ablation(rows: pd.DataFrame) -> pd.Series:
    return (rows["step"] == 0) & rows["variant"].str.contains("=")
