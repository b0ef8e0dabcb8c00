"""Verdicts on the paper's claims: they follow from intervals, and the README has those of the committed rows."""

from pathlib import Path

import pandas as pd
import pytest

from shui_lib.core.rows import make_rows, read_rows, record
from shui_workbook.reports.claims import Claim, claims, markdown

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"


def folder(where: Path, gains: dict[str, float], *, slope: float = 0.0, n_ids: int = 10) -> Path:
    """A results folder: Tug-of-War of forms as gains over the original, four seeds; people with a given slope."""
    about = {"dataset": "faces", "preset": "cpu", "model": "vit", "n_ids": n_ids}
    for seed in range(4):
        for form, gain in {"original": 0.0, **gains}.items():
            method, _, variant = form.partition(" ")
            key = {**about, "seed": seed, "method": method, "variant": variant}
            noise = 0.01 * (seed * len(form) % 5)
            record(where / "rows_faces.csv", make_rows({("all", "tow"): 80 + seed + gain + noise}, key))
    people = [
        {"dataset": "faces", "preset": "cpu", "n_ids": n_ids, "form": form, "seed": seed, "identity": one}
        | {"euclid": one + seed, "score": slope * one + (one * 7 % 5), "tow": 80.0}
        for form in ("a", "b", "c", "original") for seed in range(2) for one in range(30)
    ]  # fmt: skip
    for who in ("asking", "staying"):
        pd.DataFrame(people).to_csv(where / f"people_{who}_faces_{n_ids}.csv", index=False)
    return where


def verdicts(where: Path) -> dict[str, str]:
    return {claim.claim: claim.verdict for claim in claims(where)}


def verdict(where: Path, words: str) -> str:
    (found,) = (said for claim, said in verdicts(where).items() if words in claim)
    return found


def test_a_claim_holds_if_its_interval_does_and_not_by_the_mean(tmp_path):
    where = folder(tmp_path, {"meta_unlearn": 2.0, "ssd one-shui": 1.0, "pgu one-shui": 2.0, "jit one-shui": 3.0})
    assert verdict(where, "ahead of SSD") == "holds" and verdict(where, "ahead of doing nothing") == "holds"
    assert verdict(where, "ahead of PGU") == verdict(where, "ahead of JiT") == "does not hold"


def test_a_claim_that_no_row_speaks_of_is_not_tested(tmp_path):
    where = folder(tmp_path, {"meta_unlearn": 2.0})
    assert verdict(where, "ahead of SSD") == verdict(where, "accuracy factor") == "not tested"


def test_settings_that_differ_hold_in_part(tmp_path):
    folder(tmp_path, {"meta_unlearn": 2.0, "ssd one-shui": 1.0})
    where = folder(tmp_path, {"meta_unlearn": 1.0, "ssd one-shui": 2.0}, n_ids=5)
    assert verdict(where, "ahead of SSD") == "holds in part"


def test_presets_are_settings_of_their_own(tmp_path):
    where = folder(tmp_path, {"meta_unlearn": 2.0, "ssd one-shui": 1.0})
    paper = read_rows(where / "rows_faces.csv").assign(preset="paper")
    paper.loc[paper["method"] == "ssd", "value"] += 2
    record(where / "rows_faces_paper.csv", paper)
    people = pd.read_csv(where / "people_asking_faces_10.csv")
    pd.concat([people, people.assign(preset="paper")]).to_csv(where / "people_asking_faces_10.csv", index=False)
    assert verdict(where, "ahead of SSD") == "holds in part"
    (gap,) = (claim.evidence for claim in claims(where) if "Fig. 4" in claim.claim)
    assert "faces/10: ρ" in gap and "paper/faces/10: ρ" in gap


@pytest.mark.parametrize(("slope", "gap", "drop"), [(1, "holds", "does not hold"), (-1, "does not hold", "holds")])
def test_trends_have_the_sign_of_the_papers_figures(tmp_path, slope, gap, drop):
    where = folder(tmp_path, {"meta_unlearn": 0.0}, slope=slope)
    assert (verdict(where, "Fig. 4"), verdict(where, "Fig. 5")) == (gap, drop)


def test_rehearsals_of_another_size_may_differ_by_chance_only(tmp_path):
    sizes = {"meta_unlearn simulated_n_ids=10": 1.0, "meta_unlearn simulated_n_ids=5": 1.0}
    assert verdict(folder(tmp_path, sizes), "another size") == "holds"
    sizes["meta_unlearn simulated_n_ids=5"] = 0.0
    assert verdict(folder(tmp_path, sizes), "another size") == "does not hold"


def test_the_readme_has_the_claims_of_the_committed_rows():
    assert markdown(claims(RESULTS)) in (ROOT / "README.md").read_text(), "run `make tables`"
    assert "| a | b | c | d |" in markdown([Claim("a", "b", "c", "d")])


def test_what_the_readme_says_of_the_papers_own_gains():
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
    assert said in (ROOT / "README.md").read_text()
