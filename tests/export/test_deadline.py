"""Stages of work that end by a time."""

import pytest

from deal.export import deadline
from deal.export.deadline import Deadline, OutOfTimeError


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass by hand: ``clock[0] += 1``."""
    now = [100.0]
    monkeypatch.setattr(deadline.time, "monotonic", lambda: now[0])
    return now


def test_progress_is_passed_on_until_the_time_has_run_out(clock):
    told = []
    report = Deadline(60, lambda *stage: told.append(stage))
    report("calibrating", 1, 3)
    clock[0] += 59
    report("calibrating", 2, 3)
    assert report.left == 1
    clock[0] += 2
    with pytest.raises(OutOfTimeError, match="--search-minutes 1 is too short: calibrating is at"):
        report("calibrating", 3, 3)
    assert told == [("calibrating", done, 3) for done in (1, 2, 3)]


def test_a_stage_that_cannot_end_in_time_is_not_waited_for(clock):
    report = Deadline(60, lambda *stage: None)
    report("comparing", 0, 320)
    clock[0] += 16
    report("comparing", 15, 320)
    with pytest.raises(OutOfTimeError, match=r"at 16 of 320, and the rest would take 5\.1 minutes"):
        report("comparing", 16, 320)


def test_a_stage_is_measured_from_its_own_begin(clock):
    report = Deadline(60, lambda *stage: None)
    report("first", 0, 1)
    clock[0] += 30
    report("second", 0, 100)
    clock[0] += 3
    report("second", 20, 100)
