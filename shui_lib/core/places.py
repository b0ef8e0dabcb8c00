"""Where things lie: below the checkout that this package was installed from, or else below where you are."""

from pathlib import Path

_SOURCE = Path(__file__).resolve().parents[2]
ROOT = _SOURCE if (_SOURCE / "pyproject.toml").is_file() else Path.cwd()  # the latter where a wheel was installed
DATA, RUNS, WEIGHTS, RESULTS = (ROOT / name for name in ("data", "runs", "weights", "results"))
