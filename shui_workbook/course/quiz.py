"""The quiz that ends a chapter: five questions that answer by themselves, in JupyterLab and on the site.

The questions of chapter 03 stand in `quizzes/03.json`, in the format of jupyterquiz (John M. Shea, MIT). The library
makes a page of them that needs no kernel once the cell has run, so that the committed output works on the site.
"""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

from IPython.display import HTML
from IPython.utils.capture import capture_output
from jupyterquiz import display_quiz

QUIZZES = Path(__file__).parent / "quizzes"
QUESTIONS = 5  # a chapter
FEWEST_ANSWERS = 3
COLOURS = {
    "--jq-multiple-choice-bg": "#f0f4f8",
    "--jq-text-color": "#1a1a1a",
    "--jq-mc-button-bg": "#ffffff",
    "--jq-mc-button-border": "#7a8793",
    "--jq-correct-color": "#c6ecd0",
    "--jq-incorrect-color": "#f6cdcb",
    "--jq-link-color": "#0a4f8f",
}
# One column, so that long answers and a phone have room; colours alone say nothing, the sentence below does.
STYLE = """<style>
.Quiz {font-size: 1rem; line-height: 1.4; margin-left: 0; color: #1a1a1a}
.Quiz .Answer {grid-template-columns: 1fr; grid-gap: 6px}
.Quiz .MCButton {font-size: 1rem; padding: 8px 12px; text-align: left; justify-content: flex-start}
.Quiz .MCButton:focus-within {outline: 2px solid #0a4f8f}
.Quiz .MCButton input {position: absolute; opacity: 0}
.Quiz .Feedback {font-size: 1rem; text-align: left; min-height: 1.4em}
.Quiz .Feedback.correct, .Quiz .Feedback.incorrect {color: inherit}
</style>"""


def questions(chapter: str) -> list[dict[str, object]]:
    """The questions of a chapter.

    Args:
        chapter: its number, "03" for instance.
    Raises:
        FileNotFoundError: the chapter has no quiz.
        ValueError: as `fault` says, of the first question that is not as it should be.
    """
    path = QUIZZES / f"{chapter}.json"
    if not path.is_file():
        raise FileNotFoundError(f"chapter {chapter} has no quiz: write {QUIZZES.name}/{chapter}.json")
    found = json.loads(path.read_text(encoding="utf-8"))
    for number, question in enumerate(found, 1):
        if wrong := fault(question):
            raise ValueError(f"{path.name}, question {number}: {wrong}")
    return found


def fault(question: dict[str, object]) -> str:
    """What is wrong with a question, empty if nothing: one right answer, others that teach, no formulae."""
    answers = question.get("answers", [])
    texts = [str(question.get("question", ""))]
    texts += [str(one.get(name, "")) for one in answers for name in ("answer", "feedback")]
    if question.get("type") != "multiple_choice":
        return 'its type is to be "multiple_choice"'
    if len(answers) < FEWEST_ANSWERS or len({one.get("answer") for one in answers}) != len(answers):
        return f"it needs {FEWEST_ANSWERS} answers or more, all different"
    if sorted(map(repr, [one.get("correct") for one in answers])) != ["False"] * (len(answers) - 1) + ["True"]:
        return 'exactly one answer has "correct": true, every other one false'
    if not all(text.strip() for text in texts):
        return "the question, every answer and every feedback need words"
    if any("$" in text or re.search(r"<(?!/?(sub|sup|em|code)>)", text) for text in texts):
        return "formulae are not shown everywhere: write θ<sub>r</sub>, with <sub>, <sup>, <em>, <code> alone"
    return ""


def show_quiz(chapter: str) -> HTML:
    """The quiz of a chapter, to be the last line of a cell.

    Raises:
        FileNotFoundError, ValueError: as `questions`.
    """
    asked = questions(chapter)
    drawing = random.getstate()
    random.seed(f"{Path.cwd().name} {chapter}")  # the library draws an id: the same at each run, other ones in a copy
    with capture_output() as shown:
        display_quiz(asked, colors=COLOURS, max_width=720)
    random.setstate(drawing)
    page, script = shown.outputs[0].data["text/html"], shown.outputs[1].data["application/javascript"]
    # Without formulae no script has to be fetched from elsewhere to set them.
    script = re.sub(r"https://cdn[^']*", "data:text/javascript,", script)
    return HTML(f"<h3>Quiz: {len(asked)} questions</h3>\n{page}</div>\n{STYLE}\n<script>{script}</script>")
