"""Data and stages that the tests of exercises share."""

from pathlib import Path

import pytest
from chapters import once
from tiny import prepare_tiny


@pytest.fixture(scope="session")
def small_world(together: Path) -> dict[str, object]:
    """Parameters of a chapter on tiny data, with stages that all processes of this session share."""
    once(together / "data" / "tiny", lambda folder: prepare_tiny(folder, identities=40))
    return {"dataset": "tiny", "n_ids": 3, "data_root": str(together / "data"), "runs_root": str(together / "runs")}
