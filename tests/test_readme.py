"""The README is short, and its generated parts say what the committed rows say."""

import re
from pathlib import Path

from shui_workbook.reports.claims import claims
from shui_workbook.reports.pages import claims_in_short, gains, overview, shown

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
MOST_WORDS = 950  # a screen and a half, tables included


def test_the_table_and_the_sentences_are_of_the_committed_rows():
    assert overview(shown(gains(ROOT / "results"))) in README, "run `make tables`"
    assert claims_in_short(claims(ROOT / "results")) in README, "run `make tables`"


def test_numbers_of_results_stand_in_generated_parts_alone():
    written = re.sub(r"<!-- (\w+): written.*?<!-- end of \1 -->", "", README, flags=re.DOTALL)
    assert not re.findall(r"[+-]\d+\.\d", written)


def test_it_is_a_screen_and_a_half():
    assert len(README.split()) <= MOST_WORDS


def test_every_link_leads_somewhere():
    pages = [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        ROOT / "LICENSE-text.md",
        *sorted((ROOT / "docs").glob("*.md")),
    ]
    gone = []
    for page in pages:
        for target in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#[^)]*)?\)", page.read_text()):
            if target and not (page.parent / target).exists():
                gone.append(f"{page.name}: {target}")
    assert not gone


def test_every_test_and_module_that_a_page_names_is_there():
    gone = []
    for page in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = page.read_text()
        gone += [
            path for path in re.findall(r"\btests/[\w/]+\.py", text) if "NN" not in path and not (ROOT / path).is_file()
        ]
        for module in re.findall(r"python -m ((?:shui_\w+|data_prep|benchmarks)[\w.]*)", text):
            where = ROOT.joinpath(*module.rstrip(".").split("."))
            if not (where.with_suffix(".py").is_file() or (where / "__main__.py").is_file()):
                gone.append(f"{page.name}: {module}")
    assert not gone


def headings(page: Path) -> set[str]:
    """The anchors of a page, as GitHub and MyST make them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title).strip().lower().replace(" ", "-") for title in found}


def test_every_anchor_is_there():
    gone = []
    texts = {page: page.read_text() for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
    texts |= {page: page.read_text() for page in sorted((ROOT / "notebooks").glob("*.ipynb"))}
    for page, text in texts.items():
        for target, anchor in re.findall(r"\]\(([\w./-]*\.md)?#([\w-]+)\)", text):
            where = page.parent / target if target else page
            if where.suffix == ".md" and where.is_file() and anchor not in headings(where):
                gone.append(f"{page.name}: {target}#{anchor}")
    assert not gone


def test_the_glossary_is_in_order_and_short():
    text = (ROOT / "docs" / "glossary.md").read_text()
    terms = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert terms == sorted(terms, key=lambda term: re.sub(r"[^a-z0-9]", "", term.lower())), "in alphabetical order"
    for said in re.split(r"^## .*$", text, flags=re.MULTILINE)[1:]:
        assert 0 < len(said.split()) <= 60
