"""Fixtures that several test files use."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder SHUI_DATA, with official layouts or zips of them; skips where there is none."""
    if not (where := os.environ.get("SHUI_DATA")):
        pytest.skip("SHUI_DATA is unset: point it to a folder with celebahq64.zip and celeba_annotations.zip")
    if not Path(where).is_dir():
        pytest.skip(f"SHUI_DATA={where} is no folder")
    return Path(where)
