"""Binder and Colab for a copy of this repository: badges in the README, and chapters that set Colab up.

python -m shui_workbook.course.launch OWNER/NAME          # the repository's name on GitHub

Binder reads `.binder/` and needs an address only. Colab opens a single notebook and knows nothing around it, so the
copies in `colab/` begin with a cell that brings the rest. Commit that folder: Colab reads it from GitHub.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from shui_lib.core.store import save_text
from shui_workbook.course.notebooks import NOTEBOOKS, ROOT
from shui_workbook.reports.sections import save_section

BY = "python -m shui_workbook.course.launch"
BRANCH = "main"
FIRST = """# Run this first: it brings the course to Colab. Chapters that you open later use the same folders.
import os, subprocess, sys
from pathlib import Path

REPOSITORY = "{url}"
KEEP = False  # True keeps trained models in your Drive, for other days
COURSE = Path("course").resolve() if Path.cwd().name != "notebooks" else Path.cwd().parent
if not COURSE.exists():
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", REPOSITORY, str(COURSE)], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "-e", str(COURSE)], check=True)
if KEEP and not (COURSE / "runs").exists():
    from google.colab import drive

    drive.mount("/content/drive")
    (kept := Path("/content/drive/MyDrive/shui_runs")).mkdir(exist_ok=True)
    (COURSE / "runs").symlink_to(kept)
os.chdir(COURSE / "notebooks")
sys.path.insert(0, str(COURSE))
if not Path("../data/faces/dataset.json").exists():
    subprocess.run([sys.executable, "-m", "data_prep", "faces", "--out", "data/faces"], cwd=COURSE, check=True)
"""


def for_colab(chapter: NotebookNode, url: str) -> NotebookNode:
    """A chapter with Colab's first cell before all others, and without outputs."""
    copy = nbformat.from_dict(chapter)
    for cell in copy.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    first = nbformat.v4.new_code_cell(FIRST.format(url=url), id="colab-first", metadata={"tags": ["colab"]})
    copy.cells.insert(0, first)
    return copy


def badges(repository: str) -> str:
    """The README's two badges, for a repository on GitHub."""
    binder = f"https://mybinder.org/v2/gh/{repository}/{BRANCH}?urlpath=lab/tree/notebooks/00_start_here.ipynb"
    colab = f"https://colab.research.google.com/github/{repository}/blob/{BRANCH}/colab/00_start_here.ipynb"
    return f"[![Binder](docs/binder.svg)]({binder}) [![Colab](docs/colab.svg)]({colab})"


def write(root: Path, repository: str, chapters: Sequence[Path]) -> None:
    """Write the badges into the README, and the copies for Colab.

    Raises:
        ValueError: a repository that is not OWNER/NAME, or a README without the place for badges.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise ValueError(f"{repository!r} is no repository: write OWNER/NAME, as in its address on GitHub")
    save_section(root / "README.md", "badges", badges(repository), by=BY)
    for path in chapters:
        copy = for_colab(nbformat.read(path, as_version=4), f"https://github.com/{repository}.git")
        save_text(root / "colab" / path.name, nbformat.writes(copy))


def main(argv: list[str] | None = None) -> int:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", help="OWNER/NAME of your copy on GitHub")
    repository = parser.parse_args(argv).repository
    chapters = sorted(NOTEBOOKS.glob("*.ipynb"))
    try:
        write(ROOT, repository, chapters)
    except ValueError as error:
        sys.exit(f"{error}")
    print(f"README.md has the badges of {repository}; {len(chapters)} chapters for Colab are in colab/: commit both")
    return 0


if __name__ == "__main__":
    sys.exit(main())
