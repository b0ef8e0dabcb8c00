"""The README's paragraphs say what the committed rows say."""

from pathlib import Path

import pandas as pd

from shui_lib.core.rows import form_of, paired_difference, read_rows
from shui_workbook.reports.tables import access_of, differences, result_table

ROOT = Path(__file__).parent.parent


def paragraph(begins: str) -> str:
    readme = (ROOT / "README.md").read_text()
    (text,) = (line for line in readme.splitlines() if line.startswith(f"**{begins}"))
    return text


def committed(n_ids: int = 10) -> pd.DataFrame:
    rows = read_rows(ROOT / "results" / f"rows_faces_{n_ids}.csv")
    return rows[rows["dataset"] == "faces"]


def test_the_paragraph_on_metaunlearn_says_what_the_rows_say():
    text, rows = paragraph("Where MetaUnlearn stands"), committed()
    rivals = differences(rows, ["gradient_ascent", "pgu one-shui", "scrub one-shui"], "meta_unlearn")
    for rival, name in {"ssd": "SSD", "jit": "JiT", "bad_teacher": "Bad Teacher"}.items():
        alike = differences(rows, ["meta_unlearn"], f"{rival} one-shui").iloc[0]
        assert alike["low"] < 0 < alike["high"]
        assert f"{name} ({{mean:+.1f}} [{{low:+.1f}}, {{high:+.1f}}])".format_map(alike) in text
    assert "sees all data, by {mean:.1f} [{low:+.1f}, {high:+.1f}]".format_map(rivals.loc["scrub one-shui"]) in text
    tried = pd.read_csv(ROOT / "results" / "selection.csv").query("form == 'meta_unlearn' and dataset == 'faces'")
    tried = tried[tried["n_ids"] == 10]
    assert (tried["retain_drop"] > tried["forget_drop"]).all() and "in every trial on the tuning pool" in text
    ahead = "ahead of it by {mean:.1f} points [{low:+.1f}, {high:+.1f}]".format_map(rivals.loc["gradient_ascent"])
    assert (
        ahead in text and "PGU by {mean:.1f} [{low:+.1f}, {high:+.1f}]".format_map(rivals.loc["pgu one-shui"]) in text
    )
    gains = differences(rows, ["meta_unlearn", "scrub one-shui", "scrub original", "pgu original"])
    assert "{mean:+.1f} points [{low:+.1f}, {high:+.1f}]".format_map(gains.loc["meta_unlearn"]) in text
    assert round(gains.loc[["scrub one-shui", "scrub original"], "mean"].mean()) == 4 and "about 4 points" in text
    left = differences(rows, ["retrained_again"]).loc["retrained_again", "mean"]
    assert f"{gains.loc['pgu original', 'mean']:.0f} of the {left:.0f}" in text
    assert rows["seed"].nunique() == 10 and "ten seeds" in text
    found = (pd.read_csv(ROOT / "results" / f"selection{name}.csv") for name in ("_also", ""))
    scrub = [f.query("form == 'scrub:one-shui' and dataset == 'faces' and n_ids == 10")["tow"].max() for f in found]
    assert "no better on the pool: {:.1f} against {:.1f})".format(*scrub) in text
    every = read_rows(ROOT / "results" / "rows_faces_10.csv")
    strangers = every[every["dataset"] == "faces+strangers"]
    low = result_table(strangers).mean["TPR at 0.01 %"]
    said = (low[form] for form in ("original", "meta_unlearn", "pgu one-shui", "ssd one-shui"))
    counted = (
        "{:.0f} % of the original model's members, {:.0f} % under MetaUnlearn, {:.0f} % under PGU, {:.0f} % under SSD"
    )
    assert counted.format(*said) in text and low[["gradient_ascent", "curvature"]].max() < 1
    assert strangers["seed"].nunique() == 2 and "two seeds" in text


def test_the_paragraph_on_curvature_says_what_the_rows_say():
    text, rows = paragraph("A better step"), committed()
    gain = differences(rows, ["curvature"]).loc["curvature"]
    assert "{mean:+.1f} points of Tug-of-War over doing nothing [{low:+.1f}, {high:+.1f}]".format_map(gain) in text
    for rival, words in {
        "gradient_ascent": "points more than gradient ascent",
        "meta_unlearn": "more than MetaUnlearn",
    }.items():
        ahead = differences(rows, ["curvature"], rival).loc["curvature"]
        assert "{mean:.1f} {words} [{low:+.1f}, {high:+.1f}]".format_map({**ahead, "words": words}) in text
    mean = result_table(rows).mean
    assert f"from {mean.loc['original', 'RMIA AUC']:.0f} to {mean.loc['curvature', 'RMIA AUC']:.0f}" in text
    at = mean.loc[["original", "curvature"], "TPR at 1 %"]
    assert "TPR at 1 % false alarms from {:.0f} to {:.0f};".format(*at) in text
    assert f"costs {mean.loc['original', 'retain'] - mean.loc['curvature', 'retain']:.1f} points of retain" in text
    built = read_rows(ROOT / "results" / "rows_ablations.csv")
    learned = {
        name: paired_difference(built, f"meta_unlearn step=kfac+{name}", "meta_unlearn step=kfac+ascent")
        for name in ("held_out", "eq6")
    }
    assert "({mean:+.1f} points [{low:+.1f}, {high:+.1f}])".format_map(learned["held_out"]) in text
    assert "({mean:+.1f} [{low:+.1f}, {high:+.1f}])".format_map(learned["eq6"]) in text
    assert learned["held_out"]["seeds"] == 3 and "three seeds" in text
    five, one = committed(5), committed(1)
    interval = "{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
    assert (
        f"it is the same as with ten: {interval}".format_map(differences(five, ["curvature"]).loc["curvature"]) in text
    )
    alone = differences(one, ["curvature", "retrained_again"])
    assert alone.loc["curvature", "low"] < 0 < alone.loc["curvature", "high"]
    assert f"cannot be told from doing nothing, {interval}".format_map(alone.loc["curvature"]) in text
    assert f"the untouched one ({interval})".format_map(alone.loc["retrained_again"]) in text
    mean = result_table(one).mean
    lost = mean.loc["original", ["retain", "RMIA AUC"]] - mean.loc["curvature", ["retain", "RMIA AUC"]]
    assert f"from {mean.loc['original', 'RMIA AUC']:.0f} to {mean.loc['curvature', 'RMIA AUC']:.0f}, for" in text
    assert f"for {lost['retain']:.1f} points of retain" in text
    rivals = {
        f: differences(one, ["curvature"], f, metric="rmia_auc").iloc[0] for f in ("gradient_ascent", "ssd one-shui")
    }
    said = [f"{d['mean']:.1f} {{}}[{d['low']:.1f}, {d['high']:.1f}]" for d in rivals.values()]
    assert f"an attacker {said[0].format('points less ')} there, and SSD {said[1].format('')}" in text
    assert f"the price of {-differences(one, ['ssd one-shui']).iloc[0]['mean']:.0f} points of Tug-of-War" in text


def test_the_paragraph_on_classes_says_what_the_rows_say():
    text, results = paragraph("One class for each image"), ROOT / "results"
    ten, five = (read_rows(results / f"rows_ages_{n_ids}.csv") for n_ids in (10, 5))
    assert ten["seed"].nunique() == five["seed"].nunique() == 10 and "ten seeds" in text
    rivals = ["curvature", "pgu one-shui", "gradient_ascent", "meta_unlearn"]
    gains, interval = differences(ten, rivals), "{mean:+.1f} [{low:+.1f}, {high:+.1f}]"
    said = {form: interval.format_map(gains.loc[form]) for form in rivals}
    assert f"Curvature gains {said['curvature']} points" in text and f", PGU {said['pgu one-shui']}," in text
    assert f"gradient ascent {said['gradient_ascent']} and MetaUnlearn {said['meta_unlearn']};" in text
    assert (gains["low"] > 0).all()
    smaller = differences(five, rivals)
    said = {form: interval.format_map(smaller.loc[form]) for form in rivals}
    assert f"with five Curvature {said['curvature']} and PGU {said['pgu one-shui']}, while" in text
    assert (smaller.loc[rivals[2:], "low"] < 0).all() and (smaller.loc[rivals[:2], "low"] > 0).all()
    for rows in (five, ten):
        apart = differences(rows, ["curvature"], "pgu one-shui").loc["curvature"]
        assert apart["low"] < 0 < apart["high"]
    assert f"at either size ({interval} with ten)".format_map(apart) in text
    one = read_rows(results / "rows_ages_1.csv")
    assert one["seed"].nunique() == 10
    alone = differences(one, [form for form in {*form_of(one)} if access_of(form) == "support"])
    assert (alone["low"] < 0).all() and alone.index[alone["high"] < 0].tolist() == ["ssd one-shui"]
    assert (
        f"tell no form from doing nothing, but for SSD, which harms (Curvature {interval})".format_map(
            alone.loc["curvature"]
        )
        in text
    )
    assert f"a second retrained model {interval}".format_map(differences(one, ["retrained_again"]).iloc[0]) in text
    mean = result_table(ten).mean
    assert "(forget {:.0f} %)".format(mean.loc["original", "forget"]) in text
    assert "guess ({:.0f} %)".format(mean.loc["retrained", "forget"]) in text
    assert "from {:.0f} to {:.0f}".format(*mean.loc[["original", "curvature"], "RMIA AUC"]) in text
    lost = mean.loc["original", "retain"] - mean.loc["curvature", "retain"]
    assert f"at {lost:.1f} points of retain" in text
    seeing = differences(ten, ["scrub one-shui", "bad_teacher original", "pgu original"])
    seeing = {form: interval.format_map(seeing.loc[form]) for form in seeing.index}
    assert f"SCRUB gains {seeing['scrub one-shui']} and" in text and f"at hand, gains {seeing['pgu original']}" in text
    assert f"original form {seeing['bad_teacher original']}, for" in text
    assert f"leaves {mean.loc['scrub one-shui', 'retain']:.0f} % of retain" in text
    tried = pd.read_csv(results / "selection.csv").query("dataset == 'ages' and n_ids == 10 and form == 'curvature'")
    loss = tried["settings"].str.extract('"loss": "([^"]*)"')[0]
    best = tried.groupby(loss)["tow"].max()
    assert f"of {best['unlikelihood']:.1f} against {best['task']:.1f}" in text


def test_the_paragraph_on_photos_says_what_the_rows_say():
    text, results = paragraph("Photos."), ROOT / "results"
    rows = read_rows(results / "rows_celebahq_20.csv")
    gains = differences(rows, ["curvature", "gradient_ascent", "meta_unlearn"])
    assert rows["seed"].nunique() == 3 and (gains["low"] < 0).all() and (gains["high"] > 0).all()
    said = {
        "twenty ask it gains {}": "curvature",
        "gradient ascent {}": "gradient_ascent",
        "MetaUnlearn {}": "meta_unlearn",
    }
    for words, form in said.items():
        assert words.format("{mean:+.1f}".format_map(gains.loc[form])) in text
        assert "[{low:+.1f}, {high:+.1f}]".format_map(gains.loc[form]) in text
    idle = differences(rows, ["ssd one-shui", "jit one-shui", "pgu one-shui"])
    assert (idle["mean"].abs() < 0.1).all() and "SSD, JiT and PGU do nothing" in text
    fifty = read_rows(results / "rows_celebahq_50.csv")
    gain = differences(fifty, ["curvature"]).loc["curvature"]
    interval = "[{low:+.1f}, {high:+.1f}]"
    assert f"gains {{mean:+.1f}} points of Tug-of-War over doing nothing {interval}".format_map(gain) in text
    rivals = sorted(form for form in {*form_of(fifty)} - {"curvature"} if access_of(form) == "support")
    ahead = pd.concat([differences(fifty, ["curvature"], rival) for rival in rivals], keys=rivals).droplevel(1)
    assert (ahead["low"] > 0).all() and fifty["seed"].nunique() == 3 and ahead["mean"].idxmin() == "pgu one-shui"
    assert f"{{mean:.1f}} points behind {interval}".format_map(ahead.loc["pgu one-shui"]) in text
    auc = result_table(fifty).mean["RMIA AUC"].round()
    assert auc["curvature"] == auc["original"] and f"stays where it is ({auc['original']:.0f})" in text
    seeing = ["bad_teacher one-shui", "bad_teacher original", "pgu original", "scrub one-shui"]
    teacher, published, pgu, scrub = (f"{{mean:+.1f}} {interval}".format_map(g) for g in by_row(fifty, seeing))
    assert f"Bad Teacher gains {teacher} (in its original form {published}), PGU in its" in text
    assert f"PGU in its original form {pgu} and SCRUB {scrub};" in text
    teacher, _, pgu, scrub = (f"{{mean:+.1f}} {interval}".format_map(g) for g in by_row(rows, seeing))
    assert f"Bad Teacher gains {teacher} and SCRUB {scrub}, and PGU" in text and f"some seeds ({pgu})" in text
    photos, drawn = known_beyond(rows), known_beyond(committed())
    assert f"is {photos['forget']:.3f} nats below the retrained one's" in text
    assert f"only {photos['support']:.3f} ({photos['val']:.3f} on strangers'); on" in text
    assert f"it is {drawn['forget']:.3f} and {drawn['support']:.3f}" in text


def by_row(rows: pd.DataFrame, forms: list[str]) -> list[pd.Series]:
    found = differences(rows, forms)
    return [found.loc[form] for form in forms]


def known_beyond(rows: pd.DataFrame) -> pd.Series:
    """Loss of the retrained model minus that of the original one, by split; nats."""
    losses = rows[rows["metric"] == "loss"].pivot_table(index=["split", "seed"], columns="method", values="value")
    return (losses["retrained"] - losses["original"]).groupby("split").mean()


def test_the_paragraph_on_sequences_says_what_the_rows_say():
    text = paragraph("One request after another")
    rows = read_rows(ROOT / "results" / "rows_sequential.csv")
    end = rows[(rows["step"] == 20) & (rows["metric"] == "tow")]
    faces, photos = (end[end["dataset"] == dataset] for dataset in ("faces", "celebahq"))
    assert faces["seed"].nunique() == 3 and "three seeds" in text
    assert photos["seed"].nunique() == 1 and "one seed" in text
    mean, there = (part.groupby(["method", "variant"])["value"].mean() for part in (faces, photos))
    union, untouched = there["curvature", "union"], there["original", ""]
    assert f"ends at {union:.1f}, where the untouched model has {untouched:.1f}" in text
    assert there.loc["curvature"][["latest", "share 5"]].max() < 30 and "fall below 30" in text
    for words, form in {
        "Curvature ends at a Tug-of-War of {:.1f}": ("curvature", "union"),
        "the untouched model has {:.1f}": ("original", ""),
        "from the latest model it ends at {:.1f}": ("curvature", "latest"),
        "at {:.1f} with a fifth of the step for five": ("curvature", "share 5"),
    }.items():
        assert words.format(mean[form]) in text
