"""What pairs of copies say about people: who stands under two names, and what a split by identity would leak."""

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SAME, ALTERED, SIMILAR = "byte-identical", "re-encoded", "similar only"
KINDS = (SAME, ALTERED, SIMILAR)  # re-encoded stands for every altered copy; similar ones are no copies
PLACES = ("within an identity", "across identities")
SHARES = 0.6, 0.8  # images in training, and in training and validation: the workbook's split
ASKING = 5  # people who ask to be forgotten
DRAWS = 200  # splits that a leak is averaged over


def groups(pairs: pd.DataFrame, count: int) -> np.ndarray:
    """(N,) number of the group that each of `count` pictures is in: copies, and copies of copies, are one group."""
    links = coo_array((np.ones(len(pairs)), (pairs["first"], pairs["second"])), shape=(count, count))
    return connected_components(links, directed=False)[1]


def joined(pairs: pd.DataFrame, identity: np.ndarray, *, shared: int | None = None) -> np.ndarray:
    """(N,) who is shown, once identities that share photos are one person, called by the lowest of their numbers.

    One byte-identical photo joins two identities. That is right for MUFAC, where persons share all their photos or
    none; where two people share one photo of many, it may only be misfiled, and dropping it is safer than joining.
    Altered copies may also be look-alikes; they join only if there are enough of them.

    Args:
        pairs: copies, see `audit`; columns `first`, `second`, `kind`.
        shared: this many different photos in common join two identities, of whatever kind the copies are.
    """
    ids, who = np.unique(identity, return_inverse=True)
    table = pd.DataFrame({"one": who[pairs["first"]], "other": who[pairs["second"]], "kind": pairs["kind"].to_numpy()})
    table["photo"] = groups(pairs, len(identity))[pairs["first"]]
    low, high = np.sort(table[["one", "other"]].to_numpy(), axis=1).T
    common = table.assign(one=low, other=high, same=table["kind"] == SAME)[low != high].groupby(["one", "other"])
    counts = common.agg(same=("same", "any"), photos=("photo", "nunique")).reset_index()
    enough = counts["same"].astype(bool) | (counts["photos"] >= (np.inf if shared is None else shared))
    one, other = counts.loc[enough, ["one", "other"]].to_numpy().T
    links = coo_array((np.ones(len(one)), (one, other)), shape=(len(ids), len(ids)))
    person = connected_components(links, directed=False)[1]
    lowest = pd.Series(ids).groupby(person).min().to_numpy()
    return lowest[person][who]


def by_kind(pairs: pd.DataFrame) -> pd.DataFrame:
    """Pairs of each kind, within an identity and across identities."""
    where = np.where(pairs["same_identity"].astype(bool), *PLACES)
    counts = pd.DataFrame({"kind": pairs["kind"].to_numpy(), "where": where}).value_counts()
    return pd.DataFrame({name: [counts.get((kind, name), 0) for kind in KINDS] for name in PLACES}, index=KINDS)


def disagreeing(pairs: pd.DataFrame, targets: np.ndarray) -> tuple[int, int]:
    """How many groups of copies have different targets noted, and how many groups there are.

    Args:
        targets: (N, K) classes, or attributes.
    """
    table = pd.DataFrame(targets).groupby(groups(pairs, len(targets)))
    several = table.size() > 1
    return int((table.nunique() > 1).any(axis=1)[several].sum()), int(several.sum())


def leak(pairs: pd.DataFrame, identity: np.ndarray, *, asking: int = ASKING, seed: int = 0) -> tuple[float, float]:
    """What a split by identity leaks through copies, in percent, over DRAWS of them.

    Returns:
        forget images with a copy in retain, when `asking` of the training identities ask to be forgotten; and test
        images with a copy among the training images.
    """
    ids, who = np.unique(identity, return_inverse=True)
    ends = np.concatenate([pairs[["first", "second"]].to_numpy(), pairs[["second", "first"]].to_numpy()]).T
    generator, hit, of = np.random.default_rng(seed), np.zeros(2), np.zeros(2)
    for _ in range(DRAWS):
        place = generator.permutation(len(ids))  # of each identity in the order
        filled = np.cumsum(np.bincount(who)[np.argsort(place)]) / len(identity)
        train, val = np.maximum(np.searchsorted(filled, SHARES) + 1, [2, 2])
        forget, test = place[who] < min(asking, train - 1), place[who] >= val
        retain = (place[who] < train) & ~forget
        for number, (part, source) in enumerate([(forget, retain), (test, retain | forget)]):
            copied = np.zeros(len(identity), bool)
            copied[ends[0][source[ends[1]]]] = True
            hit[number] += (part & copied).sum()
            of[number] += part.sum()
    forgotten, tested = 100 * hit / of.clip(1)
    return float(forgotten), float(tested)
