"""Chapter 07, on faces that are rendered here: exercise 1 renders them once more."""

import tempfile
from pathlib import Path

from answers import Answers
from data_prep import faces

ROOT = Path(tempfile.mkdtemp(prefix="chapter07-"))
faces.prepare(ROOT / "drawn", identities=40, size=16)
PARAMETERS = {"dataset": "drawn", "data_root": str(ROOT), "n_ids": 3}

ANSWERS = {
    "s33": Answers(
        right=(
            "gaps = dict(reversed(gaps.items()))",
            "gaps = {changed: np.float32(gap) for changed, gap in gaps.items()}",
        ),
        wrong=(
            "gaps = gaps | {'picture': gaps['noted'], 'noted': gaps['picture']}",  # the two taken for each other
            "gaps = gaps | {'both': gaps['nothing']}",
            "gaps = {'both': gaps['both']}",
        ),
    ),
    "s38": Answers(
        right=("alone = alone.sample(frac=1, random_state=0)", "alone = alone.astype({'gap': 'float32'})"),
        wrong=("alone = alone.iloc[1:]", "alone = alone.assign(gap=0.0)", "alone = pd.concat([alone, alone])"),
    ),
}
