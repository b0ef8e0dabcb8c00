"""What several tests of studies begin with."""

import pytest
from tiny import prepare_tiny


@pytest.fixture
def where(tmp_path):
    """Where an `Experiment` on the data set "tiny" finds it, and keeps its stages."""
    prepare_tiny(tmp_path / "data" / "tiny")
    return {"data_root": tmp_path / "data", "runs_root": tmp_path / "runs"}
