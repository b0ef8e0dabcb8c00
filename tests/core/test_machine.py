"""What a stage says of the machine: the memory it grew by."""

import mmap

import pytest
import torch

from shui_lib.core import machine
from shui_lib.core.machine import with_peak

CPU = torch.device("cpu")


@pytest.fixture
def linux():
    if not machine.RESET.exists():
        pytest.skip("peak memory is read from Linux's /proc")


def touched(mib: int) -> int:
    """Fresh pages from the system, each written to and all given back: no allocator keeps them for the next call."""
    pages = mmap.mmap(-1, mib * 2**20)
    for start in range(0, len(pages), mmap.PAGESIZE):
        pages[start] = 1
    pages.close()
    return 1


def test_a_smaller_peak_is_not_shadowed_by_a_larger_one_before(linux):
    (said, large), (_, small) = (with_peak(lambda mib=mib: touched(mib), CPU) for mib in (64, 40))
    assert said == 1 and 60 < large < 80 and 36 < small < 56


def test_a_peak_within_a_peak_hides_nothing(linux):
    def outer() -> float | None:
        touched(64)
        return with_peak(lambda: touched(40), CPU)[1]

    inner, whole = with_peak(outer, CPU)
    assert 36 < inner < 56 and 60 < whole < 80


def test_an_error_within_leaves_later_peaks_right(linux):
    with pytest.raises(ZeroDivisionError):
        with_peak(lambda: 1 / 0, CPU)
    assert 60 < with_peak(lambda: touched(64), CPU)[1] < 80 and machine._peaks["cpu"] == []


@pytest.mark.parametrize("missing", ["STATUS", "RESET"])
def test_where_the_system_does_not_tell_there_is_no_number(monkeypatch, tmp_path, missing):
    monkeypatch.setattr(machine, missing, tmp_path / "nowhere" / "file")
    assert with_peak(lambda: 7, CPU) == (7, None)
