"""Right and wrong answers to every exercise, a file a chapter (`ch05.py`).

Each file holds

    ANSWERS    by the id of the check's cell: `Answers`
    PARAMETERS what the chapter runs with, beside the tiny data set; {} by default
    SKIP       ids of cells that are not run, because no exercise needs them; () by default
    BEFORE     by the id of a cell: source that is run before it, in place of skipped cells; {} by default
    prepare    a function of the data's root that prepares a data set of its own, which PARAMETERS names; optional

The chapter's own solution and the stub need no entry: every check has to pass the first and to refuse the second.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Source code that fills an exercise's names, run after the chapter's own solution.

    `right` has to pass and `wrong` has to fail with an AssertionError that says what to do. `helpers` is run once
    before them.
    """

    right: tuple[str, ...]
    wrong: tuple[str, ...]
    helpers: str = ""
