"""The paper's claims get their verdicts from rows, and the pages have those of the committed ones."""

from pathlib import Path

import pandas as pd
import pytest

from shui_lib.core.rows import make_rows
from shui_workbook.records import record
from shui_workbook.records.files import read_rows
from shui_workbook.reports.claims import Claim, claims, evidence, judged, markdown
from shui_workbook.reports.verdicts import Effect
from shui_workbook.studies import people

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"


def folder(where: Path, gains: dict[str, float], *, slope: float = 0.0, n_ids: int = 10) -> Path:
    """A results folder: Tug-of-War of forms as gains over the original, four seeds; people with a given slope."""
    about = {"dataset": "faces", "preset": "cpu", "model": "vit", "n_ids": n_ids}
    for seed in range(4):
        for place, (form, gain) in enumerate({"original": 0.0, **gains}.items()):
            method, _, variant = form.partition(" ")
            key = {**about, "seed": seed, "method": method, "variant": variant}
            noise = 0.01 * (seed * (place + 1) % 5)  # of each form its own
            record(where / "rows_faces.csv", make_rows({("all", "tow"): 80 + seed + gain + noise}, key))
    people = [
        {"dataset": "faces", "preset": "cpu", "n_ids": n_ids, "form": form, "seed": seed, "identity": one}
        | {"euclid": one + seed, "score": slope * one + (one * 7 % 5), "tow": 80.0}
        for form in ("a", "b", "c", "original") for seed in range(4) for one in range(30)
    ]  # fmt: skip
    for who in ("asking", "staying"):
        pd.DataFrame(people).to_csv(where / f"people_{who}_faces_{n_ids}.csv", index=False)
    return where


def verdict(where: Path, words: str) -> str:
    (found,) = ((claim, verdicts) for claim, verdicts in judged(claims(where)) if words in claim.claim)
    return found[0].verdict(found[1])


def test_a_claim_has_the_verdict_of_its_interval_and_not_of_its_mean(tmp_path):
    where = folder(tmp_path, {"meta_unlearn": 2.0, "ssd one-shui": 1.0, "pgu one-shui": 2.0, "jit one-shui": 3.0})
    assert verdict(where, "ahead of SSD") == "supported" and verdict(where, "ahead of doing nothing") == "supported"
    assert verdict(where, "ahead of PGU") == "inconclusive"  # equal, but the paper's effect is not known here
    assert verdict(where, "ahead of JiT") == "reversed"


def test_a_claim_that_no_row_speaks_of_is_not_tested(tmp_path):
    where = folder(tmp_path, {"meta_unlearn": 2.0})
    assert verdict(where, "ahead of SSD") == verdict(where, "accuracy factor") == "not tested"


def test_equivalent_takes_the_papers_own_effect_as_margin(tmp_path):
    where = folder(tmp_path, {"meta_unlearn": 2.0, "jit one-shui": 2.0})
    pd.read_csv(RESULTS / "reported.csv").to_csv(where / "reported.csv", index=False)
    assert verdict(where, "ahead of JiT") == "equivalent"  # in the paper it is ahead by points


def test_the_papers_effect_is_that_of_the_setting_beside_ours(tmp_path):
    where = folder(tmp_path, {"meta_unlearn": 2.0, "jit one-shui": 1.0})
    reported = pd.read_csv(RESULTS / "reported.csv")
    reported.to_csv(where / "reported.csv", index=False)
    of = reported.query("dataset == 'celeba' and n_ids == 10 and metric == 'tow' and table == 2").set_index("method")
    (claim,) = (claim for claim in claims(where) if "ahead of JiT" in claim.claim)
    means = pd.to_numeric(of["mean"])
    assert claim.effects[0].paper == pytest.approx(means["meta_unlearn"] - means["jit"])


def test_two_lines_that_are_one_model_say_nothing_of_a_claim(tmp_path):
    where = folder(tmp_path, {"meta_unlearn": 2.0, "ssd one-shui": 1.0})
    rows = read_rows(where / "rows_faces.csv")
    untouched = rows[rows["method"] == "original"]
    record(where / "rows_faces.csv", untouched.assign(method="meta_unlearn"))
    assert verdict(where, "ahead of doing nothing") == "not tested" and verdict(where, "ahead of SSD") != "not tested"


def test_one_setting_in_two_is_not_enough(tmp_path):
    folder(tmp_path, {"meta_unlearn": 2.0, "ssd one-shui": 1.0})
    where = folder(tmp_path, {"meta_unlearn": 1.0, "ssd one-shui": 2.0}, n_ids=5)
    assert verdict(where, "ahead of SSD") == "inconclusive"


@pytest.mark.parametrize(
    ("settings", "whole"),
    [
        (["supported", "supported", "inconclusive"], "supported"),
        (["supported", "supported", "reversed"], "inconclusive"),
        (["supported", "inconclusive"], "inconclusive"),
        (["equivalent", "equivalent", "supported"], "equivalent"),
        ([], "not tested"),
    ],
)
def test_a_claim_needs_more_than_half_of_its_settings_and_no_contradiction(settings, whole):
    assert Claim("a", "06", "tables", ()).verdict(settings) == whole


def test_the_paper_may_claim_that_nothing_changes():
    assert Claim("a", "09", "ablations", (), same=True).verdict(["equivalent"]) == "supported"


def test_presets_are_settings_of_their_own(tmp_path):
    where = folder(tmp_path, {"meta_unlearn": 2.0, "ssd one-shui": 1.0})
    paper = read_rows(where / "rows_faces.csv").assign(preset="paper")
    paper.loc[paper["method"] == "ssd", "value"] += 2
    record(where / "rows_faces_paper.csv", paper)
    people = pd.read_csv(where / "people_asking_faces_10.csv")
    pd.concat([people, people.assign(preset="paper")]).to_csv(where / "people_asking_faces_10.csv", index=False)
    assert verdict(where, "ahead of SSD") == "inconclusive"
    (gap,) = (claim.effects for claim in claims(where) if "Fig. 4" in claim.claim)
    assert [effect.setting for effect in gap] == ["faces/10", "paper/faces/10"]


@pytest.mark.parametrize(("slope", "said"), [(1, "supported"), (-1, "reversed")])
def test_contrasts_have_the_sign_of_the_papers_figures(tmp_path, slope, said):
    """Files hold what a model does better: the gap of those who ask, and of those who stay the drop's negative."""
    where = folder(tmp_path, {"meta_unlearn": 0.0}, slope=slope)
    assert (verdict(where, "Fig. 4"), verdict(where, "Fig. 5")) == (said, said)


def test_a_drop_that_shrinks_with_distance_is_the_papers_figure_5(tmp_path):
    who = ["near", "near", "middle", "middle", "middle", "middle", "middle", "middle", "far", "far"]
    before = pd.DataFrame({"score": 80.0, "images": 9, "constant": 0.0}, index=range(10))
    after = before.assign(score=[70.0 if one == "near" else 79.0 for one in who])  # who is near pays ten, others one
    models = {"original": before, "a": after, "b": after, "c": after}
    models = {name: one.assign(pooled=0.0, loss=0.0).rename_axis("identity") for name, one in models.items()}
    found = people.compared(models, "original").assign(preset="cpu", dataset="faces", n_ids=10, tow=80.0)
    found = found.assign(euclid=found["identity"].astype(float))
    every = pd.concat([found.assign(seed=seed, score=found["score"] + 0.1 * seed) for seed in range(4)])
    where = folder(tmp_path, {"meta_unlearn": 0.0})
    every.to_csv(where / "people_staying_faces_10.csv", index=False)
    (claim,) = (claim for claim in claims(where) if "Fig. 5" in claim.claim)
    assert claim.effects[0].mean == pytest.approx(9), "near fifth − far fifth of the drop"


def test_an_attack_that_finds_the_opposite_is_as_telling(tmp_path):
    where = folder(tmp_path, {"meta_unlearn": 2.0})
    rows = read_rows(where / "rows_faces.csv").assign(metric="rmia_auc")
    rows["value"] = rows["method"].map({"original": 74.4, "meta_unlearn": 25.6}) + 0.01 * rows["seed"]
    record(where / "rows_faces_auc.csv", rows)
    (claim,) = (claim for claim in claims(where) if "an attacker less" in claim.claim)
    assert claim.effects[0].mean == pytest.approx(0, abs=0.05)


def test_rehearsals_of_another_size_may_differ_by_chance_only(tmp_path):
    sizes = {"meta_unlearn simulated_n_ids=10": 1.0, "meta_unlearn simulated_n_ids=5": 1.0}
    assert verdict(folder(tmp_path, sizes), "another size") == "supported"
    sizes["meta_unlearn simulated_n_ids=5"] = 0.0
    assert verdict(folder(tmp_path, sizes), "another size") == "reversed"


def test_the_full_tables_have_the_claims_of_the_committed_rows():
    page = (ROOT / "docs" / "results.md").read_text().replace("](../notebooks/", "](notebooks/")
    assert markdown(claims(RESULTS)) in page, "run `make tables`"
    assert evidence(claims(RESULTS)) in page, "run `make tables`"
    one = Claim("a", "06", "tables", (Effect("faces/10", 2.0, 1.0, 3.0, 10, 4.0),))
    assert "| a | supported | 1 supported | +2.0 | +4.0 | 1.4 |" in markdown([one])


def test_what_is_said_of_the_papers_own_gains():
    paper = pd.read_csv(RESULTS / "reported.csv").query("metric == 'tow' and table < 5")
    wide = paper.assign(mean=pd.to_numeric(paper["mean"])).pivot(
        index=["dataset", "n_ids"], columns="method", values="mean"
    )
    gain = wide["meta_unlearn"] - wide["original"]
    small = gain[[setting for setting in gain.index if setting[0] == "celeba" or setting == ("celebahq", 20)]]
    others = gain.drop(small.index)
    said = (
        f"{small.min():.1f} to {small.max():.1f} points above the untouched model on CelebA and CelebA-HQ/20, "
        f"and {others.min():.1f} to {others.max():.1f} points above it in the other settings"
    )
    assert said in (ROOT / "docs" / "results.md").read_text()
