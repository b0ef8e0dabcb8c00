"""How much one photo says of a person, as Markdown for docs/results.md: handles, cosines of proxies, upper ends."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from shui_workbook.records.compare import interval, over_seeds
from shui_workbook.reports.tables import as_markdown
from shui_workbook.studies import climbs, handle, proxies, upper_ends


def handle_table(results: Path) -> str:
    """results/handle.csv: a line a data set and preset, then pretrained ones against `cpu`; or what measures it."""
    if (found := handle.read(results)).empty:
        return "Not measured: `python -m shui_workbook.studies.handle` does it."
    lines = handle.handles(found)
    told = lines[["seeds", "people"]].astype(str)
    told["the one that never met them, nats"] = lines["unmet"].map("{:.3f}".format)
    told["gap, trained photos"] = _intervals(lines, "trained", ".3f")
    told["gap, other photos"] = _intervals(lines, "held", ".3f")
    told["handle, %"] = _intervals(lines, "handle", ".0f", scale=100)
    told.index = lines["dataset"] + ", `" + lines["preset"] + "`"
    beyond = handle.against(found)
    if beyond.empty:
        return as_markdown(told)
    more = pd.DataFrame(index=beyond["dataset"] + ", `" + beyond["preset"] + "` − `cpu`")
    more["gap, other photos"] = _intervals(beyond, "held", "+.3f")
    more["handle, points"] = _intervals(beyond, "handle", "+.0f", scale=100)
    between = "The same people, of the same seeds, under one network and the other:"
    return f"{as_markdown(told)}\n\n{between}\n\n{as_markdown(more)}"


def _intervals(lines: pd.DataFrame, name: str, form: str, *, scale: float = 1) -> list[str]:
    """A column of `handle` with its _low and _high, in words."""
    numbers = scale * lines[[name, f"{name}_low", f"{name}_high"]].set_axis(["mean", "low", "high"], axis=1)
    return [interval(one, form) for one in numbers.to_dict("records")]


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


def climbs_table(results: Path) -> str:
    """results/climbs.csv: a line a way to climb, a column a setting: mean cosine of steps over people."""
    if (found := climbs.read(results)).empty:
        return "Not measured: `python -m shui_workbook.studies.climbs` does it."
    cells = {}
    for (dataset, preset), one in found.groupby(climbs.KEY[:2]):
        people = one.drop_duplicates(["seed", "identity"])
        pools = "1 pool" if one["seed"].nunique() == 1 else f"{one['seed'].nunique()} pools"
        cells[f"{dataset}, {preset} ({len(people)} people, {pools})"] = one.groupby("climb")["step"].mean()
    table = pd.DataFrame(cells).sort_values([*cells], ascending=False)
    return as_markdown(table.map(lambda cosine: "–" if pd.isna(cosine) else f"{cosine:.2f}"))


def ends_table(results: Path) -> str:
    """results/upper_ends.csv: a table a setting, a line an arm: the best Tug-of-War along its way, over seeds."""
    if (found := upper_ends.read(results)).empty:
        return "Not measured: `python -m shui_workbook.studies.upper_ends` does it."
    parts, lost = [], {part: f"{part}, points lost" for part in ("forget", "retain", "test")}
    for (dataset, preset, n_ids), one in found.groupby(upper_ends.KEY[:3]):
        ends = upper_ends.upper_ends(one).reset_index()
        gain = ends.pivot(index="seed", columns="arm", values="gain")
        lines, tried = {}, sorted(one.loc[one["damping"] > 0, "damping"].unique())
        for arm in (arm for arm in upper_ends.ARMS if arm in gain):
            told = {"ToW − doing nothing": interval(over_seeds(gain[arm]))}
            if arm != upper_ends.COPIES and upper_ends.COPIES in gain:
                told[f"− that of {upper_ends.COPIES}"] = interval(over_seeds(gain[arm] - gain[upper_ends.COPIES]))
            mine = ends[ends["arm"] == arm]
            told |= {heading: interval(over_seeds(mine[part])) for part, heading in lost.items()}
            own = set(one.loc[(one["arm"] == arm) & (one["damping"] > 0), "damping"])
            fewer = f" (δ {', '.join(f'{damping:g}' for damping in sorted(own))})" if 0 < len(own) < len(tried) else ""
            lines[arm] = told | {"seeds": f"{len(mine)}{fewer}"}
        nothing, fell = ends.groupby("seed")[["untouched", "gap"]].first().mean()
        title = f"**{dataset}, {n_ids} people, preset `{preset}`.** Doing nothing reaches {nothing:.1f}; "
        title += f"the retrained model scores {fell:.1f} points less on the images to forget."
        title += f" Dampings: {', '.join(f'{damping:g}' for damping in tried)}." if tried else ""
        absent = [arm for arm in upper_ends.ARMS if arm not in gain]
        title += f" Not run: {'; '.join(absent)}." if absent else ""
        parts += [title, "", as_markdown(pd.DataFrame(lines).T.fillna("")), ""]
    return "\n".join(parts).strip()
