"""Chapter 30's tables and claims, from rows that are written here."""

import pandas as pd
import pytest

from shui_lib.core.places import RESULTS
from shui_workbook.reports import gan, gan_page
from shui_workbook.studies.gan.rows import read

FEW = {"shot": "few", "mechanism": "average", "fake_label": "0.01 quantile", "budget": 60}


def lines(metric, values, request="item-64", method="cascade", **form):
    """A row a seed; SEED in a request is the seed."""
    about = {"dataset": "faces", "kimg": 100.0, "gan_seed": 0, "method": method, "metric": metric, "perceptual": 0.0}
    about |= dict.fromkeys(("shot", "mechanism", "fake_label"), "") | {"budget": 0} | form
    return [
        {**about, "request": request.replace("SEED", str(seed)), "seed": seed, "value": value}
        for seed, value in enumerate(values)
    ]


@pytest.fixture
def rows():
    found = lines("auc_lu", [0.9, 0.9001, 0.9002], **FEW) + lines(
        "auc_lu", [0.6, 0.6001, 0.6002], **FEW | {"budget": 200}
    )
    found += lines("logan_away", [0.3, 0.29, 0.28], **FEW) + lines("logan_away", [0.01, 0.02, 0.01], method="retrained")
    found += lines("psnr_gap", [0.4, 0.41, 0.42], **FEW) + lines("psnr_gap", [0.5, 0.5, 0.5], method="original")
    found += lines("fd_u", [9.0, 19.01, 29.02], "class-SEED", **FEW)  # another class each: paired
    found += lines("fd_u_ceiling", [10.0, 20.0, 30.0], "class-SEED", "original")
    return pd.DataFrame(found)


def test_claims_are_judged_by_the_rules_of_the_house(rows):
    found = gan.verdicts(gan.Numbers(rows)).set_index("claim")
    said = found["verdict"]
    assert said["items: AUC_lu on fresh pictures passes 0.8 in 60 steps"] == "supported"
    assert said["… in 200 steps"] == "reversed"
    assert said["class: what is drawn of it gets further than the next class"] == "reversed"
    assert said["items: as hard to tell as after retraining (LOGAN's distance from ½, within 0.05)"] == "reversed"
    assert said["items: the perceptual term costs quality (distance)"] == "not tested"
    generator = found.loc["items: the generator loses them (re-inversion, 1 dB more than test pictures)"]
    assert generator["verdict"] == "reversed" and generator["beyond the claim"].startswith("few: -0.91 [")
    assert generator["requests"] == 3


def test_two_requests_say_nothing(rows):
    assert set(gan.verdicts(gan.Numbers(rows[rows["seed"] < 2]))["verdict"]) == {"not tested"}


def test_the_papers_effects_are_the_papers():
    numbers = gan.Numbers(gan.load().iloc[:0])
    assert numbers.paper("IIIa", "AUC_lu", "few") == 0.86 and pd.isna(numbers.paper("IIIa", "AUC_lu", "none"))
    theirs = {text: value(numbers, shots[0]) for text, _, shots, _, value in gan.CLAIMS}
    assert theirs["items: AUC_lu on fresh pictures passes 0.8 in 60 steps"] == pytest.approx(0.06)
    assert theirs["items: LOGAN's AUC falls to 0.5 or below"] == pytest.approx(0.5 - 0.208)
    assert pd.notna(theirs["class: AUC_lu on fresh pictures passes 0.8"])
    few = numbers.reported[(numbers.reported["table"] == "VII") & (numbers.reported["shot"] == "few")]
    after = few[few["metric"] == "AUC_lu"].set_index("fake_label")["after"]
    assert theirs["y = 0.1 is enough: AUC_lu passes 0.8"] == pytest.approx(after[0.1] - 0.8)
    assert theirs["y = −1 forgets more than 0.1 (AUC_lu)"] == pytest.approx(after[-1.0] - after[0.1])


def test_few_pictures_come_before_many_and_the_original_before_what_is_made_of_it():
    found = lines("auc_lu", [0.5], "item-64", "original") + lines("auc_lu", [0.5], "class-SEED", "retrained")
    for count in (256, 16, 64):
        found += lines("auc_lu", [0.5], f"item-{count}", **FEW)
    shown = gan.summary(pd.DataFrame(found), ["auc_lu"]).index.tolist()
    items = ["item-16: cascade few", "item-64: original", "item-64: cascade few", "item-256: cascade few"]
    assert shown == ["class: retrained", *items]


def test_the_summary_holds_means_and_intervals(rows):
    found = gan.summary(rows, ["fd_u", "auc_lu", "acc"])
    assert (
        found.loc["class: cascade few", "fd_u"].startswith("19 [") and found.loc["class: cascade few", "auc_lu"] == ""
    )
    assert found["requests"].eq(3).all() and "acc" not in found
    alone = gan.summary(rows[rows["seed"] == 0], ["auc_lu"])["auc_lu"]
    assert alone.to_dict() == {"item-64: cascade few": "0.9", "item-64: cascade few 200 steps": "0.6"}
    assert gan.summary(rows.iloc[:0], ["auc_lu"]).empty
    assert gan.told(pd.Series([1234.5, 1234.5])) == "1234 [1234, 1234]" and gan.told(pd.Series([0.12345])) == "0.123"


def test_in_short_before_and_after_stand_beside_each_other(rows):
    before = lines("auc_lu", [0.4, 0.5, 0.6], method="original") + lines(
        "fd_u", [5.0, 5.0, 5.0, 99.0], "class-SEED", "original"
    )
    said = gan.in_short(pd.concat([rows, pd.DataFrame(before)])).splitlines()
    assert said[0].startswith("- **64 pictures**. Does D rate it lower?") and said[0].endswith(
        "0.5 [0.252, 0.748] → 0.9 [0.9, 0.9] few-shot (3)."
    )
    assert "**a person**" in said[1] and "5 [5, 5] → 19 [" in said[1] and "the most similar other: 20 [" in said[1]
    assert len(said) == 2 and gan.in_short(rows.iloc[:0]) == "No rows."


def test_in_short_says_how_soon_it_is_undone_and_what_the_rival_does(rows):
    more = lines("relearn_steps", [10, 20, 30], **FEW) + lines("relearn_steps", [40], **FEW | {"shot": "zero"})
    more += lines("auc_lu", [0.45, 0.5, 0.55], method="continued") + lines("acc", [0.9, 0.9, 0.9], method="continued")
    whole = pd.concat([rows, pd.DataFrame(more)])
    undone, rival = gan.in_short(whole).splitlines()
    assert undone.endswith("with them: 20 [-4.84, 44.8] few-shot, 40 zero-shot.")
    assert rival.endswith("AUC_lu 0.5 [0.376, 0.624], accuracy 0.9 [0.9, 0.9].")
    claim = "items: forgets more than going on without unlearning, on a tenth more of the rest (AUC_lu)"
    assert gan.verdicts(gan.Numbers(whole)).set_index("claim").loc[claim, "verdict"] == "supported"
    class_ = claim.replace("items", "class")
    assert gan.verdicts(gan.Numbers(whole)).set_index("claim").loc[class_, "verdict"] == "not tested"


def test_one_photo_is_averaged_over_seeds_before_people(rows):
    found = []
    for person, gains in {0: (0.1, 0.3), 1: (0.4, 0.6)}.items():
        for method, shift in (("original", 0.0), ("cascade", 1.0)):
            values = [0.5 + shift * gain for gain in gains]
            found += lines("auc_person", values, f"person-{person}", method)
    photos = pd.DataFrame(found)
    pairs = gan.photo_pairs(photos)
    assert pairs.loc["auc_person", ["mean", "people", "seeds"]].tolist() == pytest.approx([0.35, 2, 2])
    people = gan.photo_people(photos, "auc_person")
    assert people.index.tolist() == ["person-1", "person-0"] and people["mean"].tolist() == pytest.approx([0.5, 0.2])
    assert gan.photo_pairs(photos, "photo").empty and gan.photo_people(rows, "auc_person").empty


def test_the_page_is_written_from_rows(rows, tmp_path):
    assert "studies.gan table" in gan_page.section(tmp_path)
    whole = pd.concat([rows, pd.DataFrame(lines("auc_person", [0.5], "photo-0", "original"))])
    whole = pd.concat([whole, pd.DataFrame(lines("auc_person", [0.75], "photo-0"))])
    whole.assign(stop="", git="", note="").to_csv(tmp_path / "gan_rows.csv", index=False)
    text = gan_page.section(tmp_path)
    assert "| item-64: cascade few 200 steps | 0.6 [0.6, 0.6] |" in text
    assert "| auc_person | 1 | 1 | +0.25 |" in text
    assert "other GANs" not in text
    other = whole.assign(gan_seed=1, value=0.25, stop="", git="", note="")
    pd.concat([whole.assign(stop="", git="", note=""), other]).to_csv(tmp_path / "gan_rows.csv", index=False)
    again = gan_page.section(tmp_path)
    assert "| faces, GAN 1: item-64: cascade few 200 steps | 0.25 [0.25, 0.25] |" in again
    before, _, after = again.partition("**Other data, other GANs**")
    assert text.startswith(before) and text.endswith(after[after.index("**One photo") :]), "GAN 0 stands alone"
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| items:")}
    assert widths == {6}, "no cell holds a bar"


def test_the_committed_gan_draws_people_and_its_discriminator_knows_them_from_real_ones():
    originals = gan.load().query("method == 'original'")
    told = {metric: values["value"] for metric, values in originals.groupby("metric")}
    assert told["acc"].min() > 0.9 and told["auc_fresh_generated"].min() > 0.95


def test_committed_rows_are_of_one_gan():
    rows = read(RESULTS / "gan_rows.csv")
    rows = rows[rows["dataset"].eq("faces") & rows["gan_seed"].eq(0)]
    assert rows["kimg"].nunique() == 1 and len(rows) == len(gan.load()) and rows["value"].notna().all()
