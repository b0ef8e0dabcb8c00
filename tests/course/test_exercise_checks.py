"""What an exercise's check lets pass: two right answers and more, and no wrong one of those that were tried.

A chapter is run on tiny data with its own solutions, up to the check; then each answer is filled in, and the check run.
"""

import numpy as np
import pytest
from chapters import chapter, code_cells, execute, run
from tiny import prepare_tiny

from shui_lib.attack import rmia

SOLUTION = ""  # the chapter's own

# By check (its cell's id): answers that are right, and answers that are wrong.
ANSWERS = {
    "00-x03": (
        [SOLUTION, "on_support = {name: round(value.item(), 1) for name, value in on_support.items()}"],
        ["on_support = {name: value / 100 for name, value in on_support.items()}", "on_support = [50, 50]"],
    ),
    "00-x08": (
        [SOLUTION, "known = known.astype('float32').sort_index(ascending=False)"],
        ["known = known * 0 + known.loc[person]", "known = known / 100"],  # the first person's, repeated
    ),
    "01-x03": (
        [SOLUTION, "leaked = lambda identity: np.float32(share_that_leaks(identity))"],
        ["leaked = 1.0", "leaked = lambda identity: 1.0", "leaked = lambda identity: 0.0"],
    ),
    "01-x08": (
        [SOLUTION, "alone = draw_again(few, reserved)"],
        ["alone = draw_again(few, 0)", "alone = draw_again(few + 1, reserved)", "alone = draw_again(few, reserved, 1)"],
    ),
    "03-x03": (
        [SOLUTION, "scored = scored.astype('float32')"],
        ["scored.loc[[0.5, 2.0]] = 0", "scored = scored / 100", "scored = scored.drop(2.0)"],
    ),
    "03-x08": (
        [SOLUTION, "ratio = {eta: torch.tensor(numbers) for eta, numbers in ratio.items()}"],
        [
            "ratio = {eta: [first, 0.0] for eta, (first, _) in ratio.items()}",
            "ratio = {eta: [eta * number for number in numbers] for eta, numbers in ratio.items()}",
            "ratio = dict.fromkeys(ratio, ratio[0.1])",
        ],
    ),
    "05-x03": (
        [SOLUTION, "people = people_by(evidence)", "people = people_by(np.median)"],
        ["people = people_by(lambda one: one.iloc[0])", "of_person = np.median", "people = people.iloc[1:]"],
    ),
    "06-x1": ([SOLUTION, "wins = np.int64(wins)"], ["wins += 1", "best = 'scrub one-shui'", "best = rivals[-1]"]),
    "06-x2": (
        [SOLUTION, "unpaired = np.float32(unpaired)"],
        ["unpaired = paired", "unpaired /= 2", "unpaired = ...", "best = unpaired = ..."],
    ),
}
HELPERS = {
    "01-x08": """
def draw_again(n_ids, reserved, seed=seed):
    again = torch.Generator().manual_seed(seed)
    same = split_identities(faces.identity, generator=again, config=experiment.config.split)
    return draw_request(faces.identity, same, n_ids=n_ids, generator=again, reserved=reserved)
""",
    "05-x03": """
def evidence(scores):
    return np.log((scores + 1e-3) / (1.001 - scores)).sum()


def people_by(statistic):
    global of_person
    of_person = statistic
    return images.groupby(["form", "group", "identity"])["score"].agg(statistic).reset_index()
""",
}
CELL_OF = {"06-x1": "06-22", "06-x2": "06-27"}
LIVE = ("06-16", "06-17", "06-18")  # chapter 06's run of the reader's own, which its exercises do not need
OF_05 = ("05-x02",)  # of chapter 05 its first solution alone, on likelihoods that are made here


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    top = tmp_path_factory.mktemp("chapters")
    prepare_tiny(top / "data" / "tiny", identities=40)
    return {"dataset": "tiny", "n_ids": 3, "data_root": str(top / "data"), "runs_root": str(top / "runs")}


def likelihoods_of_05():
    """What chapter 05 has before its first exercise: eight queries of two models, members a little likelier."""
    draw, identity = np.random.default_rng(0), {"members": np.repeat([1, 2], 6), "non_members": np.repeat([3, 4, 5], 6)}
    sizes = {"members": 12, "non_members": 18, "population": 50}
    cached = {
        form: {part: rmia.Signals(*draw.uniform(0.3, 0.9, (2, 8, size))) for part, size in sizes.items()}
        for form in ("original", "retrained_again")
    }
    return identity, cached


def before(check: str, roots: dict[str, object]):
    """A shell in which everything of the chapter is known, up to this check."""
    number, cell = check[:2], CELL_OF.get(check, check)
    if number != "05":
        return execute(chapter(number), {**roots, "preset": "smoke"}, until=cell, skip=LIVE)
    skipped = [one["id"] for one in code_cells(chapter("05")) if one["id"] not in (*OF_05, "05-02")]
    shell = execute(chapter("05"), {}, until="05-x02", skip=skipped)
    shell.user_ns["identity"], shell.user_ns["cached"] = likelihoods_of_05()
    form = "form: {'rmia_auc': 50.0} for form in cached"
    run(shell, f"value = pd.DataFrame({{{form}}}).T")
    run(shell, next(one["source"] for one in code_cells(chapter("05")) if one["id"] == "05-x02"))
    return shell


@pytest.mark.parametrize("check", ANSWERS)
def test_a_check_passes_right_answers_and_no_wrong_one(check, roots, monkeypatch):
    monkeypatch.chdir(chapter(check[:2]).parent)
    shell = before(check, roots)
    source = next(one["source"] for one in code_cells(chapter(check[:2])) if one["id"] == CELL_OF.get(check, check))
    run(shell, HELPERS.get(check, ""))
    known, (right, wrong) = dict(shell.user_ns), ANSWERS[check]
    for answer in (*right, *wrong):
        shell.user_ns.update({name: getattr(value, "copy", lambda v=value: v)() for name, value in known.items()
                              if name in FILLED})  # fmt: skip
        run(shell, answer)
        if answer in right:
            run(shell, source)
            continue
        with pytest.raises(AssertionError) as refused:
            run(shell, source)
        assert len(str(refused.value)) > 20, f"no helpful message for {answer!r}"


FILLED = (
    "on_support",
    "known",
    "leaked",
    "alone",
    "scored",
    "ratio",
    "of_person",
    "people",
    "best",
    "wins",
    "unpaired",
)
