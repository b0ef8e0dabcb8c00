"""What several tests of studies begin with."""

import pytest
from tiny import prepare_tiny


@pytest.fixture
def where(tmp_path):
    """Where an `Experiment` on the data set "tiny" finds it, and keeps its stages."""
    prepare_tiny(tmp_path / "data" / "tiny")
    return {"data_root": tmp_path / "data", "runs_root": tmp_path / "runs"}


@pytest.fixture(scope="module")
def pooled(tmp_path_factory):
    """Arguments of an `Experiment` on enough people that some of the tuning pool can ask; a file's tests share it."""
    folder = tmp_path_factory.mktemp("pooled")
    prepare_tiny(folder / "data" / "tiny", identities=40)
    roots = {"data_root": folder / "data", "runs_root": folder / "runs"}
    return {"dataset": "tiny", "preset": "smoke", "device": "cpu", **roots}
