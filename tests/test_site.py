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


def test_search_and_navigation(site, browser):
    page, wrong = browser.new_page(viewport={"width": 1300, "height": 900}), []
    page.on("console", lambda said: said.type == "error" and wrong.append(f"console: {said.text}"))
    page.on("pageerror", lambda error: wrong.append(f"page: {error}"))
    page.on("request", lambda asked: asked.url.startswith(("file:", "data:")) or wrong.append(f"asks {asked.url}"))
    page.goto((site / "index.html").as_uri())
    page.wait_for_url("**/README.html")
    page.locator("nav.bd-links").get_by_text("03 · ").click()
    page.wait_for_url("**/03_*.html")
    solution = page.locator("details").first
    assert solution.locator("summary").is_visible() and not solution.locator("div.highlight").first.is_visible()
    solution.locator("summary").click()
    assert solution.locator("div.highlight").first.is_visible()
    page.goto(f"{(site / 'search.html').as_uri()}?q=curvature")
    page.locator("ul.search a").first.wait_for()
    assert any("12_forgetting" in link.get_attribute("href") for link in page.locator("ul.search a").all())
    page.close()
    assert not wrong, "\n".join(wrong)
