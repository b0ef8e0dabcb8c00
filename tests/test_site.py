"""The course as a site: built as `make html` builds it, from the disk, and looked at in Chromium."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
NEEDS = ("sphinx", "myst_nb", "sphinx_book_theme", "latex2mathml")


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """The built site's folder."""
    for name in NEEDS:
        pytest.importorskip(name, reason=f"{name} is not installed: `make html` installs it (pip install -e .[site])")
    out = tmp_path_factory.mktemp("site") / "html"
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-c", "docs", ".", str(out)], cwd=ROOT, capture_output=True, text=True
    )
    assert built.returncode == 0 and not built.stderr, f"Sphinx complains:\n{built.stderr}"
    return out


def test_a_page_for_each_chapter_leads_to_all_others(site):
    for page in [site / "README.html", *(site / "notebooks" / f"{path.stem}.html" for path in CHAPTERS)]:
        text = page.read_text(encoding="utf-8")
        assert not [path.stem for path in CHAPTERS if f"{path.stem}.html" not in text and path.stem != page.stem]


def test_equations_are_written_out(site):
    pages = [(site / "notebooks" / f"{path.stem}.html").read_text(encoding="utf-8") for path in CHAPTERS]
    equations = re.findall("<math .*?</math>", "".join(pages), re.DOTALL)
    assert equations and not [one for one in equations if "\\" in one]


def test_every_picture_of_a_chapter_has_an_alternative(site):
    for path in CHAPTERS:
        pictures = re.findall("<img [^>]*_images/[^>]*>", (site / "notebooks" / f"{path.stem}.html").read_text("utf-8"))
        assert all(re.search('alt="Picture: [^"]+"', one) for one in pictures), path.stem


def test_search_and_navigation(site, browser):
    page, wrong = browser.new_page(viewport={"width": 1300, "height": 900}), []
    page.on("console", lambda said: said.type == "error" and wrong.append(f"console: {said.text}"))
    page.on("pageerror", lambda error: wrong.append(f"page: {error}"))
    page.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or wrong.append(f"asks {asked.url}"))
    page.goto((site / "index.html").as_uri())
    page.wait_for_url("**/README.html")
    page.locator("nav.bd-links").get_by_text("03 · ").click()
    page.wait_for_url("**/03_*.html")
    solution = page.locator("details", has=page.locator("div.highlight")).first
    assert solution.locator("summary").is_visible() and not solution.locator("div.highlight").first.is_visible()
    solution.locator("summary").click()
    assert solution.locator("div.highlight").first.is_visible()
    page.goto(f"{(site / 'search.html').as_uri()}?q=curvature")
    page.locator("ul.search a").first.wait_for()
    assert "curvature" in page.locator("ul.search li p.context").first.inner_text().lower(), "a piece of the page"
    assert any("12_forgetting" in link.get_attribute("href") for link in page.locator("ul.search a").all())
    page.close()
    assert not wrong, "\n".join(wrong)


PAGES = ("README", "docs/results", "docs/glossary", "notebooks/03_meta_loss_training", "notebooks/11_explorer")


@pytest.mark.parametrize("width", [390, 1280])
def test_pages_fit_the_screen_and_numbers_stay_whole(site, browser, width):
    page = browser.new_page(viewport={"width": width, "height": 900})
    for name in PAGES:
        page.goto((site / f"{name}.html").as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, f"{name} is wider than the screen"
        heights = page.evaluate("""[...document.querySelectorAll('td.number > p')].map(
            cell => cell.getBoundingClientRect().height / parseFloat(getComputedStyle(cell).lineHeight))""")
        assert all(height < 1.9 for height in heights), f"{name}: a number goes over two lines"
        assert name not in ("README", "docs/results") or len(heights) > 10
    page.close()


def test_no_marks_of_markdown_are_left_in_tables(site):
    for path in site.rglob("*.html"):
        assert not re.findall(r"<td[^>]*>(?:<p>)?\*\*", path.read_text(encoding="utf-8")), path.name


def test_subscripts_stand_low_without_a_font_for_mathematics(site, browser):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((site / "notebooks" / "03_meta_loss_training.html").as_uri())
    bottoms = """() => [...document.querySelectorAll('.bd-article msub')].map(one => [...one.children].map(
        part => part.getBoundingClientRect().bottom))"""
    found = page.evaluate(bottoms)
    assert len(found) > 10 and all(low > base for base, low in found)
    page.close()


def test_the_quiz_answers_on_the_site(site, browser):
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto((site / "notebooks" / "01_benchmark_construction.html").as_uri())
    first = page.locator(".Quiz").first
    assert page.locator(".Quiz").count() == 5
    first.locator("label", has_text="So that training is faster").click()
    assert first.locator(".Feedback").inner_text().startswith("No.")
    first.locator("label", has_text="So that nobody in the test set").click()
    assert first.locator(".Feedback").inner_text().startswith("Right.")
    assert "show_quiz" not in page.locator("article").inner_text(), "readers see no code for it"
    page.close()
