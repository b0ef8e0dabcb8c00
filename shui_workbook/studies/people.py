"""Whom forgetting reaches and whom it costs, person by person (paper, sections 5.4 to 5.6).

Scores and losses of single identities, distances among features of the original model, and how one follows the other.
Everything here is a function of arrays and frames. Distances are in the units of the features; scores in percent,
losses in nats.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike
from scipy.stats import rankdata
from torch import Tensor

from shui_lib.benchmark.metrics import average_precision, score
from shui_lib.benchmark.predict import task_loss
from shui_lib.core.machine import git_commit
from shui_workbook.records.compare import over_seeds
from shui_workbook.records.files import as_before, put

MEASURES = ("score", "pooled", "loss")  # what is known of how well a model knows a person


class Trend(NamedTuple):
    """Spearman's ρ between two properties of identities: its mean over seeds, with a 95 % interval from Student's t.

    People of one seed share a model and a step, so they are no independent draws; seeds are.
    """

    rho: float
    low: float  # nan with one seed, as `high`
    high: float
    seeds: int

    def __str__(self) -> str:
        if np.isnan(self.rho):
            return "–"
        alone = np.isnan(self.low)
        return f"{self.rho:+.2f}" + (" (one seed)" if alone else f" [{self.low:+.2f}, {self.high:+.2f}]")


# Models on single identities ------------------------------------------------------------------------------------------


def by_identity(
    logits: Tensor, targets: Tensor, identity: np.ndarray, *, pool: tuple[Tensor, Tensor] | None = None
) -> pd.DataFrame:
    """How well one model does on each identity's images.

    A person's own mAP is fragile: an attribute that all of their images have scores 1 whatever the model says, and one
    that none has drops out. So there are three measures, the first of them the paper's.

    Args:
        logits, targets: of N images, (N, K) and (N, K) or (N,).
        identity: (N,).
        pool: logits and targets of other images, the same for every identity.
    Returns:
        A line an identity, with `images` and
        score: mAP or accuracy of its images, percent; nan where no attribute has a positive.
        constant: share of the attributes in that mAP that all of its images have, percent; nan for classes.
        pooled: mAP of its images that have an attribute among the pool's that have not, percent; nan without a pool,
            for classes, and where no attribute has a positive.
        loss: mean task loss, nats.
    """
    lines, order = {}, np.argsort(identity, kind="stable")
    people, starts = np.unique(identity[order], return_index=True)
    lacking = _lacking(*pool) if pool and targets.ndim == 2 else None
    for one, rows in zip(people, np.split(order, starts[1:]), strict=True):
        mine = logits[rows], targets[rows]
        lines[one] = {"images": len(rows), **_precision(*mine, lacking), "loss": task_loss(*mine).item()}
    return pd.DataFrame.from_dict(lines, orient="index").rename_axis("identity")


def _precision(logits: Tensor, targets: Tensor, lacking: Sequence[Tensor] | None) -> dict[str, float]:
    """Score, constant and pooled of the images of one identity."""
    if targets.ndim == 1:
        return {"score": 100 * score(logits, targets), "constant": np.nan, "pooled": np.nan}
    by_attribute = {
        "score": average_precision(logits, targets),
        "constant": targets.double().amin(0),
        "pooled": _among(logits, targets, lacking) if lacking else torch.full((targets.shape[1],), torch.nan),
    }
    known = targets.any(0)  # attributes with a positive
    return {name: 100 * values[known].mean().item() for name, values in by_attribute.items()}


def _lacking(logits: Tensor, targets: Tensor) -> list[Tensor]:
    """By attribute, the scores of the images that have it not, in order: sorted once for all people."""
    return [outputs[target < 0.5].sort().values for outputs, target in zip(logits.T, targets.T, strict=True)]


def _among(logits: Tensor, targets: Tensor, lacking: Sequence[Tensor]) -> Tensor:
    """(K,) average precision of the positives of some images among the negatives of a pool (`_lacking`).

    It is the mean over positives of the precision at each one's score, so that a search in the pool answers it.
    """
    found = []
    for outputs, target, others in zip(logits.T, targets.T, lacking, strict=True):
        own = outputs[target > 0.5].sort().values
        above, beside = (len(x) - torch.searchsorted(x, own) for x in (others, own))  # scored as high or higher
        found.append((beside / (beside + above).double()).mean())  # nan without positives
    return torch.stack(found)


def compared(models: Mapping[str, pd.DataFrame], to: str) -> pd.DataFrame:
    """How much better each model knows each person than the model `to` does.

    Args:
        models: `by_identity` of every model, over the same images.
    Returns:
        Columns identity, form, images, constant, and each of `MEASURES` as a difference: points of score, nats of
        loss; above zero where the model does better (a lower loss) than `to`.
    """
    reference, lines = models[to], []
    for form, found in models.items():
        line = found[list(MEASURES)] - reference[list(MEASURES)]
        line["loss"] *= -1
        lines.append(line.assign(form=form, images=found["images"], constant=found["constant"]).reset_index())
    return pd.concat(lines, ignore_index=True)


# Distances ------------------------------------------------------------------------------------------------------------


def support_distance(support: Tensor, asking: np.ndarray, features: Tensor, identity: np.ndarray) -> pd.DataFrame:
    """Distance from each Support Sample to the centroid of the same identity's images.

    Args:
        support: (n, D) features of the Support Samples of the identities `asking` (n,).
        features: (N, D) of images of `identity` (N,).
    Returns:
        A line an identity, columns `euclid` and `cosine` (one minus the cosine).
    Raises:
        ValueError: an identity without an image.
    """
    people, centres = centroids(features, identity)
    if missing := sorted(set(np.asarray(asking).tolist()) - set(people.tolist())):
        raise ValueError(f"identities {missing} have a support but no image: give the images that they ask to forget")
    centres = centres[np.searchsorted(people, asking)]
    return _distances(support, centres).set_index(pd.Index(asking, name="identity"))


def nearest_distance(
    features: Tensor, identity: np.ndarray, forget: Tensor, forget_identity: np.ndarray
) -> pd.DataFrame:
    """Distance from each identity's centroid to the nearest centroid of those who are to be forgotten.

    Args:
        features: (N, D) of images of `identity` (N,). forget: (M, D) of images of `forget_identity` (M,).
    Returns:
        A line an identity, columns `euclid` and `cosine` (each to its own nearest), `nearest`, by Euclid, and
        `crowd`, the mean Euclidean distance to all of them.
    """
    (people, ours), (asking, theirs) = centroids(features, identity), centroids(forget, forget_identity)
    euclid, cosine = torch.cdist(ours, theirs), 1 - _unit(ours) @ _unit(theirs).T  # (people, asking)
    nearest = asking[euclid.argmin(1).numpy()]
    found = {"euclid": euclid.amin(1), "cosine": cosine.amin(1), "nearest": nearest, "crowd": euclid.mean(1)}
    return pd.DataFrame(found, index=pd.Index(people, name="identity"))


def centroids(features: Tensor, identity: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """Identities (n,) in order, and the mean feature (n, D) of each; float64."""
    people, of = np.unique(identity, return_inverse=True)
    sums = torch.zeros(len(people), features.shape[1], dtype=torch.float64)
    sums.index_add_(0, torch.from_numpy(of), features.double())
    return people, sums / torch.from_numpy(np.bincount(of))[:, None]


def _distances(ours: Tensor, theirs: Tensor) -> pd.DataFrame:
    ours, theirs = ours.double(), theirs.double()
    cosine = 1 - (_unit(ours) * _unit(theirs)).sum(1)
    return pd.DataFrame({"euclid": (ours - theirs).norm(dim=1).numpy(), "cosine": cosine.numpy()})


def _unit(x: Tensor) -> Tensor:
    return torch.nn.functional.normalize(x.double(), dim=1)


# Trends ---------------------------------------------------------------------------------------------------------------


def trend(x: ArrayLike, y: ArrayLike, *, seed: ArrayLike, within: ArrayLike | None = None) -> Trend:
    """Does y grow with x? Spearman's ρ of every seed, and its interval over seeds.

    Args:
        x, y: (N,) one entry a line; lines where either is nan are left out. seed: (N,) whose seed it is.
        within: (N,) groups inside of which ranks are taken, photos for instance; the seed if none.
    Returns:
        ρ over the seeds that have one: three lines or more, and neither x nor y the same in all of them.
    """
    lines = {"x": np.asarray(x), "y": np.asarray(y), "seed": np.asarray(seed)}
    frame = pd.DataFrame(lines | {"within": lines["seed"] if within is None else np.asarray(within)}).dropna()
    ranks = frame.groupby("within")[["x", "y"]].transform(_ranks).assign(seed=frame["seed"])
    by_seed = {one: mine[["x", "y"]] for one, mine in ranks.groupby("seed")}
    known = {one: r["x"].corr(r["y"]) for one, r in by_seed.items() if len(r) > 2 and (r.nunique() > 1).all()}
    found = over_seeds(pd.Series(known, dtype=float))
    return Trend(found["mean"], found["low"], found["high"], found["seeds"])


def trends(people: pd.DataFrame, distances: Sequence[str], measures: Sequence[str]) -> pd.DataFrame:
    """`trend` of every form, distance and measure.

    Args:
        people: columns form, identity, seed, and those named by `distances` and `measures`.
    Returns:
        Columns form, distance, measure, rho, low, high, seeds, and `said`, the same in words.
    """
    lines = []
    for measure, distance in product(measures, distances):
        for form, mine in people.groupby("form", sort=False):
            found = trend(mine[distance], mine[measure], seed=mine["seed"])
            about = {"form": form, "distance": distance, "measure": measure, "said": str(found)}
            lines.append(about | found._asdict())
    return pd.DataFrame(lines)


def with_recorded(
    people: pd.DataFrame, results: Path | str, what: str, *, record: bool = False, **setting: object
) -> pd.DataFrame:
    """What was measured now of single people, and what is recorded of other seeds of the same setting.

    Args:
        people: lines with a column `seed`; four significant digits of each number are recorded.
        results: folder of the files `people_WHAT_DATASET_N.csv`.
        record: also write them to the file with their commit, in place of its lines of the same setting and seeds.
        setting: dataset, preset and n_ids.
    Raises:
        ValueError: the repository's own results would hold people measured by code that is not committed.
    """
    path = Path(results) / "people_{what}_{dataset}_{n_ids}.csv".format(what=what, **setting)
    nobody = pd.DataFrame(columns=[*setting, *people.columns])
    others = as_before(path, people.assign(**setting)) if path.is_file() else nobody
    same = (others[[*setting]].astype(str) == pd.Series(setting).astype(str)).all(axis=1)
    further = others[same & ~others["seed"].isin(people["seed"])]
    if record:
        ours = people.assign(**setting)[[*setting, *people.columns]].map(_four_digits)
        put(path, ours.assign(git=git_commit()), [*setting, "seed"], decimals=None)
    return pd.concat([people, further[people.columns]] if len(further) else [people], ignore_index=True)


def mean_of_best(people: pd.DataFrame, forms: Sequence[str], best: int = 3) -> tuple[list[str], pd.DataFrame]:
    """The forms with the highest Tug-of-War, and what they do to every person on average (paper, Figures 4 and 5).

    Args:
        people: columns form, seed, identity, tow.
        forms: those that compete.
    Returns:
        Names of the `best` forms, and a line a seed and identity with the means of all numbers.
    """
    rivals = people[people["form"].isin(forms)]
    seeds = rivals.groupby("form")["seed"].transform("nunique")
    rivals = rivals[seeds == seeds.max()]  # one that few seeds know would change who is averaged from seed to seed
    top = rivals.groupby("form")["tow"].mean().nlargest(best).index
    chosen = rivals[rivals["form"].isin(top)]
    return list(top), chosen.groupby(["seed", "identity"], as_index=False).mean(numeric_only=True)


def _four_digits(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def binned(frame: pd.DataFrame, x: str, y: str, *, bins: int, within: str = "seed") -> pd.DataFrame:
    """Mean of y by increasing x, in bins that hold as many people of each seed, or of each group of `within`.

    Departs from the paper (D26), whose bins seem equally wide: some of ours would hold one or two people.

    Args:
        frame: columns x, y, `seed` and the one that `within` names.
    Returns:
        A line a bin: left, right (of x, means over seeds), mean, low, high (95 % over seeds, nan with one) and lines;
        and by seed, `by_seed`, a dictionary of means.
    """
    frame = frame.dropna(subset=[x, y])
    share = frame.groupby(within)[x].rank(method="first", pct=True)
    mine = frame.assign(bin=np.ceil(share * bins - 1e-9).astype(int))
    found = []
    for _, part in mine.groupby("bin"):
        by_seed = part.groupby("seed")
        edges = {"left": by_seed[x].min().mean(), "right": by_seed[x].max().mean()}
        means = by_seed[y].mean()
        found.append({**edges, **over_seeds(means), "lines": len(part), "by_seed": means.to_dict()})
    return pd.DataFrame(found)


def far_minus_near(frame: pd.DataFrame, x: str, y: str) -> pd.Series:
    """By seed, the mean of y over the fifth with the largest x minus that over the fifth with the smallest."""
    share = frame.groupby("seed")[x].rank(pct=True)
    far, near = (frame[part].groupby("seed")[y].mean() for part in (share > 0.8, share <= 0.2))
    return far - near


def dose_effects(tried: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """What changes with the dose of a factor, person by person: mean change against the factor's first dose.

    Args:
        tried: a line for each form, factor, dose, seed and identity, doses in order; and the columns that may change.
    Returns:
        Columns factor, dose, form, what (the column), mean, low, high (95 % over seeds), seeds.
    """
    person = tried.groupby(["form", "factor", "seed", "identity"], sort=False)[[*columns]]
    change, lines = tried.assign(**(tried[[*columns]] - person.transform("first"))), []
    for (factor, dose, form), mine in change.groupby(["factor", "dose", "form"], sort=False):
        about = {"factor": factor, "dose": dose, "form": form}
        lines += [{**about, "what": what, **over_seeds(mine.groupby("seed")[what].mean())} for what in columns]
    return pd.DataFrame(lines)


def _ranks(values: pd.Series) -> np.ndarray:
    """Ranks in [0, 1], on average ½; ties share theirs."""
    return (rankdata(values) - 0.5) / len(values)


# Streisand ------------------------------------------------------------------------------------------------------------


def verdicts(gap: ArrayLike, before: ArrayLike, chance: ArrayLike) -> np.ndarray:
    """What unlearning did to each identity, in a word.

    Args:
        gap: (N,) how much better the unlearned model knows them than the retrained one does (`compared`).
        before: (N,) the same of the original model.
        chance: gaps of a second retrained model: what chance alone makes of a gap.
    Returns:
        (N,) "streisand": forgotten too hard, worse known than 97.5 % of the gaps of chance, so that they stand out
        (the paper has those below zero); "better": known better than before; "" for all others.
    """
    gap, before = np.asarray(gap), np.asarray(before)
    too_hard = gap < np.quantile(chance, 0.025)
    return np.where(too_hard, "streisand", np.where(gap > before, "better", ""))
