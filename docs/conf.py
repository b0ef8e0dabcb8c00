"""The course as a site: `make html`. Sphinx reads the README, the chapters with their saved outputs, and this file.

Sphinx with MyST-NB is what Jupyter Book 1 puts together; taken directly it is fewer packages, and current ones.
"""

import json
import re
from pathlib import Path

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx

project = "Forgetting a person from one picture"
html_title = project
copyright = author = "the workbook's authors"
html_copy_source = html_show_sphinx = False
extensions = ["myst_nb"]
html_theme = "sphinx_book_theme"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_theme_options = {"use_download_button": False, "show_toc_level": 2, "navbar_persistent": []}
html_context = {"default_mode": "auto"}
html_show_search_summary = False  # a page from a disk may not read other pages: `snippets` brings their text
root_doc = "README"
include_patterns = [
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "LICENSE-text.md",
    "docs/*.md",
    "notebooks/*.ipynb",
]
exclude_patterns = [".*", "data", "exercises", "runs", "site"]  # not even looked into
templates_path = ["."]
html_additional_pages = {"index": "home.html"}  # a site begins at index.html
html_math_renderer = "mathml"
nb_execution_mode = "off"  # the outputs are committed
nb_merge_streams = True
nb_code_prompt_show = nb_code_prompt_hide = "Solution"
myst_enable_extensions = ["dollarmath", "amsmath", "html_image"]
myst_heading_anchors = 3
PAGES = """

```{toctree}
:hidden:
:glob:

notebooks/*
docs/*
CONTRIBUTING
CHANGELOG
LICENSE-text
```
"""


def read(app: Sphinx, name: str, source: list[str]) -> None:
    """Change a page before it is parsed: the README learns of the others, and chapters fold their solutions."""
    if name == root_doc:
        source[0] += PAGES
    if name.startswith("notebooks/"):
        source[0] = json.dumps(folded(json.loads(source[0])))


def folded(notebook: dict) -> dict:
    """A chapter whose solutions open on a click, and whose pictures have their section's title as alternative."""
    section = ""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "markdown":
            section = [section, *re.findall(r"^#+ (.*)$", "".join(cell["source"]), re.MULTILINE)][-1]
        elif any("image/png" in output.get("data", {}) for output in cell["outputs"]):
            cell["metadata"]["mystnb"] = {"image": {"alt": f"Picture: {section}"}}
        for output in cell.get("outputs", []):
            if "text/html" in (data := output.get("data", {})):  # a frame of texts writes bold as Markdown does
                shown = "".join(data["text/html"])
                data["text/html"] = re.sub(r"<td>\*\*([^*<]+)\*\*</td>", r"<td><b>\1</b></td>", shown)
        if "quiz" in cell["metadata"].get("tags", []):
            cell["metadata"]["tags"].append("remove-input")
        if "solution" not in cell["metadata"].get("tags", []):
            continue
        if cell["cell_type"] == "code":
            cell["metadata"]["tags"].append("hide-cell")
        else:
            text = "".join(cell["source"])
            cell["source"] = f"<details>\n<summary>Answer</summary>\n\n{text}\n\n</details>"
    return notebook


def mathml(node: nodes.Element, **how: str) -> str:
    """MathML, which browsers show by themselves: no script, and nothing fetched from elsewhere."""
    plain = node.astext().replace(r"\langle", "⟨").replace(r"\rangle", "⟩")  # the converter knows no \big\langle
    return convert(plain, **how)


def inline_math(writer, node: nodes.math) -> None:
    """Math in a line."""
    writer.body.append(mathml(node))
    raise nodes.SkipNode


def display_math(writer, node: nodes.math_block) -> None:
    """An equation on a line of its own."""
    writer.body.append(f"<div class='equation'>{mathml(node, display='block')}</div>")
    raise nodes.SkipNode


NUMBER = re.compile(r"[+−–-]?\d[\d.,]*( ?%|e[+-]\d+)?( ± .*| \[.*|\s*→.*)?$|[+−-]?\d[\d.]* to [+−-]?\d[\d.]*$")


def keep_numbers_whole(app: Sphinx, doctree: nodes.document) -> None:
    """Mark the cells of tables that hold a number and its interval; the style sheet breaks no line in them."""
    for entry in doctree.findall(nodes.entry):
        if NUMBER.match(entry.astext().strip()):
            entry["classes"].append("number")


def snippets(app: Sphinx, error: Exception | None) -> None:
    """Write the text of every page into a script, from which the search page quotes (`docs/site/site.js`)."""
    if error is None and app.builder.format == "html":
        texts = {}
        for name in sorted(app.env.found_docs):
            found = app.env.get_doctree(name).findall(lambda node: isinstance(node, nodes.paragraph | nodes.title))
            texts[name] = " ".join(" ".join(node.astext().split()) for node in found)
        script = f"const PAGES = {json.dumps(texts, ensure_ascii=False)};\n"
        (Path(app.outdir) / "_static" / "pages.js").write_text(script, encoding="utf-8")


def quoting(app: Sphinx, pagename: str, templatename: str, context: dict, doctree: nodes.document | None) -> None:
    """Only the search page needs the text of all others."""
    if pagename == "search":
        app.add_js_file("pages.js")


def setup(app: Sphinx) -> None:
    """What Sphinx calls."""
    app.connect("source-read", read)
    app.connect("doctree-read", keep_numbers_whole)
    app.connect("html-page-context", quoting)
    app.connect("build-finished", snippets)
    app.add_html_math_renderer("mathml", (inline_math, None), (display_math, None))
