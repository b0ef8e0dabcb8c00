"""How much one photo says of a person, as Markdown for docs/results.md: handles, cosines of proxies, upper ends."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from shui_workbook.records.compare import interval, over_seeds
from shui_workbook.reports.tables import as_markdown
from shui_workbook.studies import handle, proxies, upper_ends


def handle_table(results: Path) -> str:
    """results/handle.csv: a line a data set and preset; a sentence where it is not measured."""
    if (found := handle.read(results)).empty:
        return "Not measured: `python -m shui_workbook.studies.handle` does it."
    lines = handle.handles(found)
    told = lines[["seeds", "people"]].astype(str)
    told["the one that never met them, nats"] = lines["unmet"].map("{:.3f}".format)
    for name, heading, scale, form in (
        ("trained", "gap, trained photos", 1, ".3f"),
        ("held", "gap, other photos", 1, ".3f"),
        ("handle", "handle, %", 100, ".0f"),
    ):
        numbers = scale * lines[[name, f"{name}_low", f"{name}_high"]].set_axis(["mean", "low", "high"], axis=1)
        told[heading] = [interval(one, form) for one in numbers.to_dict("records")]
    told.index = lines["dataset"] + ", `" + lines["preset"] + "`"
    return as_markdown(told)


def proxy_table(results: Path) -> str:
    """results/proxies.csv: a line a proxy, a column a setting: the cosine of steps, mean of people, over seeds."""
    if (found := proxies.read(results)).empty:
        return "Not measured: `python -m shui_workbook.studies.proxies` does it."
    cells = {}
    for (dataset, preset, n_ids), one in found.groupby(proxies.KEY[:3]):
        by_seed = one.groupby(["proxy", "seed"])["step"].mean()
        told = {proxy: interval(over_seeds(values), ".2f") for proxy, values in by_seed.groupby("proxy")}
        seeds = "1 seed" if one["seed"].nunique() == 1 else f"{one['seed'].nunique()} seeds"
        cells[f"{dataset}, {n_ids} people, {preset} ({seeds})"] = pd.Series(told).reindex(list(proxies.PROXIES))
    return as_markdown(pd.DataFrame(cells).fillna("–"))


def ends_table(results: Path) -> str:
    """results/upper_ends.csv: a table a setting, a line an arm: the best Tug-of-War along its way, over seeds."""
    if (found := upper_ends.read(results)).empty:
        return "Not measured: `python -m shui_workbook.studies.upper_ends` does it."
    lost = {part: f"{part}, points lost" for part in ("forget", "retain", "test")}
    parts, headings = [], {"gain": "ToW − doing nothing", **lost}
    for (dataset, preset, n_ids), one in found.groupby(upper_ends.KEY[:3]):
        ends, seeds = upper_ends.upper_ends(one).reset_index(), one["seed"].nunique()
        arms = [arm for arm in upper_ends.ARMS if (ends["arm"] == arm).any()]
        told = {}
        for arm, mine in ends.groupby("arm"):
            numbers = {heading: interval(over_seeds(mine[name]), "+.1f") for name, heading in headings.items()}
            told[arm] = {"seeds": str(len(mine)), **numbers}
        nothing, fell = ends.groupby("seed")[["untouched", "gap"]].first().mean()
        title = f"**{dataset}, {n_ids} people, preset `{preset}`** ({seeds} {'seed' if seeds == 1 else 'seeds'})."
        title += f" Doing nothing reaches {nothing:.1f}; the retrained model scores {fell:.1f} points less on forget."
        parts += [title, "", as_markdown(pd.DataFrame(told).T.loc[arms]), ""]
    return "\n".join(parts).strip()
