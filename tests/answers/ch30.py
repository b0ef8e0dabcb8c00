"""Chapter 30, on three small people and a GAN of blurs."""

from pathlib import Path

from chapters import once

from answers import Answers
from data_prep import faces as rendered

PARAMETERS = {"dataset": "few", "kind": "item-6", "label": 1}


def prepare(data_root: Path) -> None:
    """Three people, 24 pictures of each: the GAN draws 32 pixels, and the data of the other chapters has 16."""
    once(data_root / "few", lambda folder: rendered.prepare(folder, identities=3, size=32, fewest=24, most=24))


ANSWERS = {
    "30-27": Answers(
        right=("away = away.astype('float32').sort_index()",),
        wrong=("away = away + 0.5", "away['zero'] = away['original'] / 2", "away = away.to_dict()", "away = away * 0"),
    ),
    "30-32": Answers(
        right=("constant = (constant[0], constant[1].assign(note=''))",),
        wrong=(
            "constant = study.forgotten(kind, cascades['few'])",
            "constant = study.forgotten(kind, replace(cascades['zero'], constant=0.1))",
            "constant = constant[1]",
            "constant = (original, constant[1])",
        ),
    ),
}
