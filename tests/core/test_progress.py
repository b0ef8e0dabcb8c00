"""Progress: a line now and then in a log, nothing in a test."""

import time

import pytest

from shui_lib.core import progress as module
from shui_lib.core.progress import progress


def lines_of(capsys) -> list[str]:
    return [line.strip() for line in capsys.readouterr().err.splitlines() if line.strip()]


def test_a_log_gets_whole_lines_now_and_then(monkeypatch, capsys):
    monkeypatch.setenv("SHUI_PROGRESS", "plain")
    monkeypatch.setattr(module, "EVERY", 0.05)
    bar = progress(total=40, desc="train", mininterval=0.001)
    for step in range(40):
        time.sleep(0.005)
        bar.set_postfix(loss=step, refresh=False)
        bar.update()
    bar.close()
    lines = lines_of(capsys)
    assert 2 <= len(lines) <= 8 and all(line.startswith("train: ") and "<" in line for line in lines)
    assert lines[-1].startswith("train: 40/40") and lines[-1].endswith("loss=39")


@pytest.mark.parametrize(("step", "told"), [(2.0, ["train: about 26 minutes on this machine"]), (0.07, [])])
def test_a_long_work_says_how_long_it_takes_after_a_timed_step(monkeypatch, capsys, step, told):
    monkeypatch.setenv("SHUI_PROGRESS", "plain")
    bar = progress(total=60_000, initial=10_000, desc="train", mininterval=1)
    clock = [bar.start_t + 6]  # the first step sets things up
    bar._time = lambda: clock[0]
    monkeypatch.setattr(module.time, "time", lambda: clock[0])
    bar.update(64)
    for _ in range(40):
        clock[0] += step
        bar.update(64)
    lines = lines_of(capsys)
    assert lines[: len(told)] == told, "before any other line"
    assert sum("about" in line for line in lines) == len(told)
    bar.disable = True  # it is not at its end


@pytest.mark.parametrize("mode", ["plain", "off"])
def test_what_ends_soon_or_nobody_reads_prints_nothing(monkeypatch, capsys, mode):
    monkeypatch.setenv("SHUI_PROGRESS", mode)
    assert list(progress(range(3), desc="short")) == [0, 1, 2]
    assert lines_of(capsys) == []


def test_another_word_is_named(monkeypatch):
    monkeypatch.setenv("SHUI_PROGRESS", "loud")
    with pytest.raises(ValueError, match="SHUI_PROGRESS='loud' is unknown: set it to live, plain, off"):
        progress(range(3))
