"""Chapter 30 on three small people: it runs, and its checks let right answers pass and wrong ones not."""

import pytest
from chapters import chapter, code_cells, execute, run

from data_prep import faces as rendered

SOLUTION = ""  # the chapter's own
ANSWERS = {
    "30-27": (
        [SOLUTION, "away = away.astype('float32').sort_index()"],
        ["away = away + 0.5", "away['zero'] = away['original'] / 2", "away = away.to_dict()"],
    ),
    "30-32": (
        [SOLUTION, "constant = (constant[0], constant[1].assign(note=''))"],
        [
            "constant = study.forgotten(kind, cascades['few'])",
            "constant = study.forgotten(kind, replace(cascades['zero'], constant=0.1))",
            "constant = constant[1]",
        ],
    ),
}


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Everything of the chapter, run to its end."""
    root = tmp_path_factory.mktemp("chapter")
    rendered.prepare(root / "data" / "few", identities=3, size=32, fewest=24, most=24)
    roots = {"data_root": str(root / "data"), "runs_root": str(root / "runs")}
    about = {"dataset": "few", "preset": "smoke", "kind": "item-6", "label": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(chapter("30").parent)
        yield execute(chapter("30"), {**roots, **about})


@pytest.mark.parametrize("check", ANSWERS)
def test_checks_pass_right_answers_and_no_wrong_one(shell, check):
    (source,) = (cell["source"] for cell in code_cells(chapter("30")) if cell["id"] == check)
    (right, wrong), kept = ANSWERS[check], {name: shell.user_ns[name] for name in ("away", "constant")}
    for answer in (*right, *wrong):
        shell.user_ns.update(kept | {"away": kept["away"].copy()})
        run(shell, answer)
        if answer in right:
            run(shell, source)
            continue
        with pytest.raises(AssertionError) as refused:
            run(shell, source)
        assert len(str(refused.value)) > 20, f"no helpful message for {answer!r}"
