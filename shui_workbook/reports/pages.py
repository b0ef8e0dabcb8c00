"""What is written from results/ alone: full tables (Markdown and HTML), the picture of gains, the README's claims.

python -m shui_workbook.reports.pages        # `make tables`
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from shui_lib.core.names import TRAINED, parse
from shui_lib.core.store import save_text
from shui_workbook import figures
from shui_workbook.forms import BY_NAME_ONLY
from shui_workbook.records import benchmark_rows, form_of, interval, over_seeds, read_rows
from shui_workbook.reports import claims, gan_page
from shui_workbook.reports.ltu_page import section as learning_to_unlearn
from shui_workbook.reports.photo import climbs_table, ends_table, handle_table, proxy_table
from shui_workbook.reports.searched import searches_table
from shui_workbook.reports.sections import save_figure, save_section
from shui_workbook.reports.tables import (
    COSTS,
    Table,
    access_of,
    as_markdown,
    differences,
    markdown,
    ordered,
    result_table,
    setting_in_words,
    styled,
)
from shui_workbook.reports.verdicts import VERDICTS
from shui_workbook.studies.gain import ARMS, PARTS, split

SETTING = ["dataset", "preset", "n_ids"]
COST_HEADINGS = {
    "prepare_seconds": "prepare, s",
    "prepare_mib": "prepare, MiB",
    "artefacts_mib": "kept, MiB",
    "unlearn_seconds": "unlearn, s",
    "unlearn_mib": "unlearn, MiB",
}


def tuned_rows(results: Path | str) -> pd.DataFrame:
    """Committed rows of Tables 1-4, of forms with tuned settings."""
    rows = benchmark_rows(read_rows(results))
    return rows[~rows["variant"].str.contains("published")]


def tables(results: Path) -> str:
    """Every setting of a results folder as Markdown, with paired differences to the original."""
    parts = []
    for (dataset, preset, n_ids), group, whole in _every_table(results):
        found, below = _told_once(whole)
        title = f"**{dataset}, n_ids {n_ids}, preset `{preset}`** ({_seeds(group)}"
        known = "; in brackets the paper's: all identities, photos at 224 px, a pretrained ViT-B/16)"
        title += known if found.paper.notna().any(axis=None) else ")"
        gained = differences(group, [form for form in found.mean.index if found.access[form]])
        about = {"ToW − original [95 %]": gained.apply(_difference, axis=1, seeds=group["seed"].nunique())}
        parts += [title, "", markdown(found, **about), "", *below]
    return "\n".join(parts).strip()


def page(results: Path) -> str:
    """The same tables with costs, styled, as an HTML page of its own."""
    parts = []
    for (dataset, preset, n_ids), group, found in _every_table(results):
        parts += [f"<h2>{dataset}, n_ids {n_ids}, preset {preset} ({_seeds(group)})</h2>", styled(found).to_html()]
    style = "body {font-family: sans-serif} td, th {padding: 2px 8px; text-align: right; white-space: nowrap}"
    return f'<!doctype html><meta charset="utf-8"><title>Result tables</title><style>{style}</style>' + "\n".join(parts)


def _every_table(results: Path) -> Iterator[tuple[tuple[str, str, int], pd.DataFrame, Table]]:
    """Each setting with its rows and their table."""
    reported = pd.read_csv(Path(results) / "reported.csv")
    for setting, group in benchmark_rows(read_rows(results)).groupby(SETTING, sort=True):
        yield setting, group, result_table(group, reported)


def _told_once(found: Table) -> tuple[Table, list[str]]:
    """The table without costs and without columns that nobody fills, and, as paragraphs, what it leaves to be said."""
    empty = found.mean.isna().all() & found.paper.isna().all()
    below = [f"{heading}: {max(found.reason[heading], key=len)}." for heading in found.mean.columns[empty]]
    for setting, forms in found.borrowed[found.borrowed != ""].groupby(found.borrowed):
        below.append(f"With settings selected for {setting}: {', '.join(forms.index)}.")
    shown = found.mean.loc[:, ~empty].drop(columns=[*COSTS.values()], errors="ignore")
    return found._replace(mean=shown), [f"{line}\n" for line in below]


# What forms are compared in, by heading: Tug-of-War, and how much an attack's AUC tells, on either side of 50.
COMPARED = {"ToW": {"metric": "tow"}, "|RMIA AUC − 50|": {"metric": "rmia_auc", "away_from": 50.0}}


def rivalry(results: Path | str, form: str, heading: str = "ToW") -> pd.DataFrame:
    """Paired differences of a form to every other in one of `COMPARED`: a line a form, a column a setting.

    Cells are text, points with a 95 % interval, in bold where zero lies outside; "" where both were not run.
    """
    cells: dict[str, dict[str, str]] = {}
    what = COMPARED[heading]
    for setting, group in _settings(results).items():
        others = {*form_of(group[group["metric"] == what["metric"]])} - {"retrained", "retrained_again"}
        if form in others:
            found = {other: differences(group, [form], other, **what).loc[form] for other in others - {form}}
            cells[setting] = {other: _clear(difference) for other, difference in found.items()}
    found = pd.DataFrame(cells).fillna("")
    return found.loc[ordered(found.index)]


def rivalries(results: Path) -> str:
    """`rivalry` of Curvature and of MetaUnlearn, in Tug-of-War and in what the attack's AUC tells, as Markdown."""
    parts = []
    for form, heading in product(("curvature", "meta_unlearn"), COMPARED):
        found = rivalry(results, form, heading)
        found.insert(0, "access", [access_of(other) for other in found.index])
        parts += [f"**{form}: {heading} − that of ...**", "", as_markdown(found), ""]
    return "\n".join(parts).strip()


def rises(results: Path | str) -> pd.DataFrame:
    """Forms that are told by how much their loss shall rise, beside those that are told η.

    A line a setting and method: gains over doing nothing, their worst seed, the difference; over the seeds of both.
    Cells are text, as in `rivalry`.
    """
    pairs = {parse(form).line: parse(plain).line for form, plain in BY_NAME_ONLY.items() if form.endswith(":rise")}
    lines = {}
    for setting, group in _settings(results).items():
        tow = group[group["metric"] == "tow"]
        by_seed = tow.assign(form=form_of(tow)).pivot(index="seed", columns="form", values="value")
        for form, plain in pairs.items():
            both = by_seed.reindex(columns=["original", plain, form]).dropna()
            if both.empty:
                continue
            gained = both[[plain, form]].sub(both["original"], axis=0)
            told = {"seeds": len(both)}
            for by, one in (("by η", plain), ("by its rise", form)):
                told |= {by: _clear(over_seeds(gained[one])), f"{by}, the worst": f"{gained[one].min():+.1f}"}
            lines[f"{setting}: {plain}"] = told | {"difference": _clear(over_seeds(both[form] - both[plain]))}
    return pd.DataFrame(lines).T


def costs(results: Path) -> str:
    """results/costs.csv (`benchmarks/costs.py`) as Markdown, a table a setting and machine; the mean over seeds."""
    parts = []
    for (dataset, preset, n_ids, machine), group in pd.read_csv(results / "costs.csv").groupby([*SETTING, "machine"]):
        means = group.groupby("form").mean(numeric_only=True)
        shown = means.loc[ordered(means.index), [*COST_HEADINGS]].rename(columns=COST_HEADINGS)
        shown = shown.map(lambda cost: "–" if pd.isna(cost) else f"{cost:.0f}" if cost >= 100 else f"{cost:.3g}")
        shown.insert(0, "access", [access_of(form) for form in shown.index])
        parts += [f"**{dataset}, n_ids {n_ids}, preset `{preset}`** ({machine})", "", as_markdown(shown), ""]
    if len(trained := trained_in(read_rows(results))):
        parts += ["**Training a model**", "", as_markdown(trained)]
    return "\n".join(parts).strip()


def trained_in(rows: pd.DataFrame) -> pd.DataFrame:
    """A line a data set and preset: how many seconds the training of one model took, and of how many models.

    Machines did other things as well, so the least is nearest to what a model needs. Of a training that was
    interrupted nothing is known.
    """
    models = rows[rows["method"].isin(TRAINED) & rows["device"].str.startswith("cpu")].dropna(subset=["seconds"])
    models = models.assign(dataset=models["dataset"].str.split("+").str[0])  # strangers are not trained on
    models = models.drop_duplicates(["dataset", "preset", "config"])
    seconds = models.groupby(["dataset", "preset"])["seconds"].agg(["min", "median", "size"]).round().astype(int)
    seconds.columns = ["the least, s", "half of them within, s", "models"]
    return seconds.set_axis([f"{dataset}, `{preset}`" for dataset, preset in seconds.index], axis=0)


def gain(results: Path) -> str:
    """The gain of Curvature split into its parts (`studies/gain.py`) as Markdown, a column a setting."""
    rows = read_rows(results)
    cells: dict[str, pd.Series] = {}
    searched = []
    for setting, group in rows[rows["step"] == 0].groupby(SETTING, sort=True):
        arms = group[group["variant"].isin(ARMS)]
        if len(arms) and not (parts := split(group)).empty:
            dataset, preset, n_ids = setting
            named = f"{dataset}, {n_ids} people, {preset}"
            cells[f"{named} ({arms['seed'].nunique()} seeds)"] = parts.apply(_clear, axis=1)
            searched.append(f"{named}: {_trials_of_arms(results, dict(zip(SETTING, setting, strict=True)))}")
    table = pd.DataFrame(cells, index=[part for part in PARTS if any(part in column for column in cells.values())])
    said = "Each arm is the best of its trials on the tuning pool. Where the numbers differ, more trials favour an arm:"
    return "\n".join([as_markdown(table.fillna("–")), "", said, "", *(f"- {line}." for line in searched)])


def trainings(results: Path) -> str:
    """results/klom.csv (`studies/klom.py`) as Markdown, a table a request, of the most trainings that were measured."""
    lines = pd.read_csv(results / "klom.csv")
    parts = []
    for (dataset, preset, n_ids, seed), group in lines.groupby([*SETTING, "seed"]):
        many = group["trainings"].max()
        group = group[group["trainings"] == many]
        told = group.apply("{klom:.1f} [{low:.1f}, {high:.1f}] ({normal:.2f})".format_map, axis=1)
        shown = group.assign(told=told).pivot(index="form", columns="part", values="told")
        shown.index = [figures.look(form)[0] for form in shown.index]
        title = f"**{dataset}, n_ids {n_ids}, preset `{preset}`, the request of seed {seed}**"
        parts += [f"{title} ({many} trainings of each kind)", "", as_markdown(shown)]
    return "\n".join(parts)


def _trials_of_arms(results: Path, key: Mapping[str, object]) -> str:
    """Out of how many trials each arm was chosen."""
    counts = {name.removeprefix("arm="): len(arm.trials(results, key)) for name, arm in ARMS.items()}
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _difference(found: Mapping[str, float], *, seeds: int = 0) -> str:
    left = f" ({found['seeds']:.0f} of {seeds} seeds)" if found["seeds"] < seeds else ""
    return interval(found) + left


def _clear(found: Mapping[str, float]) -> str:
    return f"**{_difference(found)}**" if found["low"] > 0 or found["high"] < 0 else _difference(found)


def _seeds(rows: pd.DataFrame) -> str:
    seeds = rows["seed"].nunique()
    return f"{seeds} seeds, mean ± std" if seeds > 1 else f"seed {rows['seed'].iloc[0]} alone"


def gains(results: Path | str) -> dict[str, pd.DataFrame]:
    """By setting ("faces, 10 people"): paired gain of Tug-of-War of each form over doing nothing (`differences`).

    A preset other than `cpu` is named; settings with one seed, which have no interval, are left out. So are forms that
    run by name only: they have seeds of their own, and stand beside what they are compared with elsewhere.
    """
    apart = {"original", "retrained", *(parse(form).line for form in BY_NAME_ONLY)}
    found = {}
    for setting, group in _settings(results).items():
        forms = [form for form in result_table(group).mean.index if form not in apart]
        found[setting] = differences(group, forms)
    return found


def _settings(results: Path | str) -> dict[str, pd.DataFrame]:
    """Tuned rows by setting, "faces, 10 people", of several seeds; without strangers, who change the attack alone."""
    found = {}
    for (dataset, preset, n_ids), group in tuned_rows(results).groupby(SETTING, sort=True):
        if group["seed"].nunique() > 1 and "+" not in dataset:
            found[setting_in_words(dataset, preset, n_ids)] = group
    return found


# In the README, with the names that it uses: attributes, classes, photos.
SHOWN = {
    "faces, 10 people": "faces, 10 people",
    "faces, 10 people, face-resnet": "faces, 10 people, pretrained",
    "ages, 10 people": "ages, 10 people",
    "celebahq, 50 people": "photos, 50 people",
    "celebahq, 20 people, face-resnet": "photos, 20 people, pretrained",
}


def shown(found: Mapping[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    """The settings of `gains` that the README shows, by the names that it uses."""
    return {name: found[setting] for setting, name in SHOWN.items() if setting in found}


def overview(found: Mapping[str, pd.DataFrame]) -> str:
    """The README's table, from `shown`: points gained over doing nothing by the forms that see supports only."""
    forms = ordered(set().union(*(frame.index for frame in found.values())))
    forms = [form for form in forms if access_of(form) in ("", "support")]
    cells = {
        setting: {form: _clear(frame.loc[form]) if form in frame.index else "–" for form in forms}
        for setting, frame in found.items()
    }
    table = pd.DataFrame(cells, index=forms)
    table.columns = [f"{setting} ({_span(frame['seeds'])} seeds)" for setting, frame in found.items()]
    table.index = [figures.look(form)[0] for form in forms]
    return as_markdown(table)


def _span(seeds: pd.Series) -> str:
    """How many seeds lines have: "5", or "5 to 8" where they differ."""
    few, many = int(seeds.min()), int(seeds.max())
    return f"{few}" if few == many else f"{few} to {many}"


def _listed(names: Sequence[str]) -> str:
    """["A", "B", "C"] as "A, B and C"."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def claims_in_short(found: Sequence[claims.Claim]) -> str:
    """How many of the paper's claims have which verdict, as a sentence."""
    count = Counter(claim.verdict(verdicts) for claim, verdicts in claims.judged(found))
    parts = [f"{count[word]} {word}" for word in VERDICTS if count[word]] or ["none can be judged"]
    below = "[docs/results.md](docs/results.md#the-papers-claims-here)"
    return (
        f"**The paper's claims, on these models:** of {sum(count.values())}, {_listed(parts)}. *Inconclusive*: our "
        f"seeds cannot tell, and the claim may be right. One by one: {below}."
    )


def draw(found: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel a setting on one scale, a line a form; what sees supports only stands above the dotted line."""
    forms = ordered(set().union(*(frame.index for frame in found.values())))
    forms = sorted(forms, key=lambda form: access_of(form) not in ("", "support"))
    apart = sum(access_of(form) in ("", "support") for form in forms)
    figures.use_style()
    size = (2.6 * len(found) + 1.2, 0.26 * len(forms) + 1)
    fig, axes = plt.subplots(1, len(found), sharex=True, sharey=True, figsize=size, squeeze=False)
    for ax, (setting, frame) in zip(axes.flat, found.items(), strict=True):
        ax = figures.plot_differences(frame.reindex(forms), "", ax)
        ax.axhline(apart - 0.5, color="black", linestyle=":")
        ax.set_title(setting)
    fig.supxlabel("points of Tug-of-War gained over doing nothing (mean and 95 % interval over seeds)", fontsize=10)
    return fig


def digest(found: Mapping[str, pd.DataFrame]) -> str:
    """Sixteen hexadecimal digits of the numbers that the picture shows, kept in the picture's own metadata."""
    text = "".join(f"{setting}\n{frame.round(3).to_csv()}" for setting, frame in found.items())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(root: Path) -> None:
    """Write all of them. ValueError: a page lacks a marker."""
    results, docs = root / "results", root / "docs"
    paper = claims.claims(results)
    save_section(root / "README.md", "claims", claims_in_short(paper), by="make tables")
    verdicts = claims.markdown(paper).replace("](notebooks/", "](../notebooks/")
    save_section(docs / "results.md", "verdicts", verdicts, by="make tables")
    save_section(docs / "results.md", "evidence", claims.evidence(paper), by="make tables")
    save_section(docs / "results.md", "searches", searches_table(results), by="make tables")
    save_section(docs / "results.md", "results", tables(results), by="make tables")
    save_section(docs / "results.md", "rivals", rivalries(results), by="make tables")
    save_section(docs / "results.md", "gain", gain(results), by="make tables")
    save_section(docs / "results.md", "rises", as_markdown(rises(results)), by="make tables")
    save_section(docs / "results.md", "ltu", learning_to_unlearn(results), by="make tables")
    save_section(docs / "results.md", "costs", costs(results), by="make tables")
    save_section(docs / "results.md", "gan", gan_page.section(results), by="make tables")
    save_section(docs / "results.md", "trainings", trainings(results), by="make tables")
    save_section(docs / "results.md", "handle", handle_table(results), by="make tables")
    save_section(docs / "results.md", "proxies", proxy_table(results), by="make tables")
    save_section(docs / "results.md", "climbs", climbs_table(results), by="make tables")
    save_section(docs / "results.md", "upper-ends", ends_table(results), by="make tables")
    save_text(root / "site" / "tables.html", page(results))
    found = shown(gains(results))
    save_section(root / "README.md", "overview", overview(found), by="make tables")
    save_figure(docs / "gains.png", draw(found), dpi=100, metadata={"Rows": digest(found)})


if __name__ == "__main__":
    write(Path(__file__).resolve().parent.parent.parent)
