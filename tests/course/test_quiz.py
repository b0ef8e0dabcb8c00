"""Every question of every quiz has one right answer and teaches; the page works without a kernel."""

import json
from copy import deepcopy

import pytest
from IPython.core.interactiveshell import InteractiveShell

from shui_workbook.course import quiz
from shui_workbook.course.notebooks import NOTEBOOKS

FILES = sorted(quiz.QUIZZES.glob("*.json"))
GOOD = json.loads((quiz.QUIZZES / "01.json").read_text())[0]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_five_questions_of_one_right_answer_and_feedback(path):
    asked = quiz.questions(path.stem)  # which checks each of them
    assert len(asked) == quiz.QUESTIONS
    assert len({one["question"] for one in asked}) == len(asked)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_chapter_shows_its_own_quiz_once_and_before_its_take_aways(path):
    (chapter,) = NOTEBOOKS.glob(f"{path.stem}_*.ipynb")
    cells = json.loads(chapter.read_text())["cells"]
    at = [k for k, cell in enumerate(cells) if "quiz" in cell["metadata"].get("tags", [])]
    assert len(at) == 1
    assert f'show_quiz("{path.stem}")' in "".join(cells[at[0]]["source"])
    assert "## Take-aways" in "".join(cells[at[0] + 1]["source"])


@pytest.fixture
def kernel():
    """What shows a cell's output; a quiz is made in a cell."""
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def changed(**other) -> dict:
    return deepcopy(GOOD) | other


def with_answers(change) -> dict:
    question = deepcopy(GOOD)
    change(question["answers"])
    return question


BAD = {
    "one right answer": [
        with_answers(lambda answers: answers[1].update(correct=True)),
        with_answers(lambda answers: answers[0].update(correct=False)),
        with_answers(lambda answers: answers[1].update(correct="false")),
    ],
    "all different": [
        with_answers(lambda answers: answers.pop()),
        with_answers(lambda answers: answers[1].update(answer=answers[0]["answer"])),
    ],
    "need words": [with_answers(lambda answers: answers[1].update(feedback=" ")), changed(question="")],
    "formulae": [changed(question=r"What is $\theta$?"), changed(question="<script>alert(1)</script>")],
    "type": [changed(type="numeric")],
}


def test_a_good_question_has_no_fault():
    assert quiz.fault(GOOD) == ""


@pytest.mark.parametrize("question", [one for kind in BAD.values() for one in kind])
def test_a_bad_question_is_refused(question):
    assert quiz.fault(question)


def test_a_bad_file_is_named_with_its_question(monkeypatch, tmp_path):
    monkeypatch.setattr(quiz, "QUIZZES", tmp_path)
    (tmp_path / "07.json").write_text(json.dumps([GOOD, changed(type="numeric")]))
    with pytest.raises(ValueError, match="07.json, question 2: its type"):
        quiz.questions("07")
    with pytest.raises(FileNotFoundError, match=r"chapter 08 has no quiz: write .*08.json"):
        quiz.questions("08")


def test_the_same_page_at_each_run_and_nothing_is_fetched(kernel):
    first, again = quiz.show_quiz("01").data, quiz.show_quiz("01").data
    assert first == again
    assert "//cdn" not in first


@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_answers_without_a_kernel(kernel, browser, width, tmp_path):
    page, wrong = browser.new_page(viewport={"width": width, "height": 900}), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or wrong.append(asked.url))
    at = tmp_path / "quiz.html"
    head = '<!doctype html><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    at.write_text(head + quiz.show_quiz("01").data, encoding="utf-8")
    page.goto(at.as_uri())
    asked = page.locator(".Quiz")
    assert asked.count() == quiz.QUESTIONS
    for number, question in enumerate(quiz.questions("01")):
        for answer in reversed(question["answers"]):  # the right one stands first in the file
            asked.nth(number).locator("label", has_text=answer["answer"]).first.click()
            assert answer["feedback"] in asked.nth(number).locator(".Feedback").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.screenshot(path=tmp_path / "quiz.png", full_page=True)
    page.close()
    assert not wrong, wrong
