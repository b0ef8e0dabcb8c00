"""What is written from results/ alone: the full tables, the picture of gains, and the README's table of claims.

python -m shui_lib.report        # `make tables`
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from shui_lib import claims, figures
from shui_lib.results import benchmark_rows, read_rows
from shui_lib.store import save_figure, save_section
from shui_lib.tables import COSTS, access_of, differences, markdown, ordered, result_table

SETTING = ["dataset", "preset", "n_ids"]
COLUMNS = 4  # panels side by side


def tuned_rows(results: Path | str) -> pd.DataFrame:
    """Committed rows of Tables 1-4, of forms with tuned settings."""
    rows = benchmark_rows(read_rows(results))
    return rows[~rows["variant"].str.contains("published")]


def tables(results: Path) -> str:
    """Every setting of a results folder as Markdown, tuned forms only, with paired differences to the original."""
    reported, parts = pd.read_csv(Path(results) / "reported.csv"), []
    for (dataset, preset, n_ids), group in tuned_rows(results).groupby(SETTING, sort=True):
        found = result_table(group, reported)
        costs = list(COSTS.values())
        found = found._replace(mean=found.mean.drop(columns=costs, errors="ignore").dropna(axis=1, how="all"))
        title = f"**{dataset}, n_ids {n_ids}, preset `{preset}`** ({_seeds(group)}"
        known = "; in brackets the paper's: all identities, photos at 224 px, a pretrained ViT-B/16)"
        gained = differences(group, [form for form in found.mean.index if found.access[form]])
        said = gained.apply(_difference, axis=1, seeds=group["seed"].nunique())
        about = {"ToW − original [95 %]": said}
        title += known if found.paper.notna().any(axis=None) else ")"
        parts += [title, "", markdown(found, **about), ""]
    return "\n".join(parts).strip()


def _difference(found: pd.Series, *, seeds: int) -> str:
    interval = "{mean:+.1f} [{low:+.1f}, {high:+.1f}]" if found["seeds"] > 1 else "{mean:+.1f}"
    left = f" ({found['seeds']:.0f} of {seeds} seeds)" if found["seeds"] < seeds else ""
    return interval.format_map(found) + left


def _seeds(rows: pd.DataFrame) -> str:
    seeds = rows["seed"].nunique()
    return f"{seeds} seeds, mean ± std" if seeds > 1 else f"seed {rows['seed'].iloc[0]} alone"


def gains(results: Path | str) -> dict[str, pd.DataFrame]:
    """By setting ("faces, 10 people"): paired gain of Tug-of-War of each form over doing nothing (`differences`).

    A preset other than `cpu` is named; settings with one seed, which have no interval, are left out.
    """
    found = {}
    for (dataset, preset, n_ids), group in tuned_rows(results).groupby(SETTING, sort=True):
        if group["seed"].nunique() > 1:
            forms = [form for form in result_table(group).mean.index if form not in ("original", "retrained")]
            people = "1 person" if n_ids == 1 else f"{n_ids} people"
            named = "" if preset == "cpu" else f", {preset}"
            found[f"{dataset}, {people}{named}"] = differences(group, forms)
    return found


def draw(found: Mapping[str, pd.DataFrame]) -> Figure:
    """A panel a setting, a line a form, from `gains`; what sees supports only stands above the line."""
    forms = ordered(set().union(*(frame.index for frame in found.values())))
    forms = sorted(forms, key=lambda form: access_of(form) not in ("", "support"))
    figures.use_style()
    rows = -(-len(found) // COLUMNS)
    size = (3.1 * COLUMNS, rows * (0.24 * len(forms) + 0.8))
    fig, axes = plt.subplots(rows, COLUMNS, sharey=True, figsize=size, squeeze=False)
    for ax, (setting, frame) in zip(axes.flat, found.items(), strict=False):
        ax = figures.plot_differences(frame.reindex(forms), "", ax)
        ax.axhline(sum(access_of(form) in ("", "support") for form in forms) - 0.5, color="black", linestyle=":")
        ax.set_title(setting)
    for ax in axes.flat[len(found) :]:
        ax.set_axis_off()
    fig.supxlabel("Tug-of-War gained over doing nothing (points, 95 % interval over seeds)", fontsize=10)
    return fig


def digest(found: Mapping[str, pd.DataFrame]) -> str:
    """Sixteen hexadecimal digits of the numbers that the picture shows, kept in the picture's own metadata."""
    text = "".join(f"{setting}\n{frame.round(3).to_csv()}" for setting, frame in found.items())
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write(root: Path) -> None:
    """Write all three. ValueError: a page lacks a marker."""
    results, docs = root / "results", root / "docs"
    save_section(root / "README.md", "claims", claims.markdown(claims.claims(results)), by="make tables")
    save_section(docs / "results.md", "results", tables(results), by="make tables")
    found = gains(results)
    save_figure(docs / "gains.png", draw(found), dpi=100, metadata={"Rows": digest(found)})


if __name__ == "__main__":
    write(Path(__file__).resolve().parent.parent)
