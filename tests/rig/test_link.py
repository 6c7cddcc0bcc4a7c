"""Over a link that takes nothing back: what is sent counts, stays, and is sent once."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from deal.errors import UsageError
from deal.rig.command import LinkCommand
from deal.rig.recorder import Recorder
from deal.selection.stream import Decision

SECOND = 10**9


def push(recorder: Recorder, index: int) -> None:
    score = random.Random(index).random()
    recorder.push(f"{index:03}", b"x" * 10, score=score, timestamp_ns=index * SECOND)


def scores_of(recorder: Recorder) -> dict[str, float]:
    return {decision.id: decision.score for decision in recorder.kept()}


def test_the_best_frame_that_is_old_enough_goes_first_and_never_leaves(tmp_path):
    sent: list[str] = []

    def send(decision: Decision, path: Path) -> None:
        assert path.read_bytes() == b"x" * 10
        sent.append(decision.id)

    with Recorder(tmp_path, budget=6, max_bytes=60, min_gap="2s", look_ahead="8s") as recorder:
        for index in range(200):
            push(recorder, index)
            old = {
                decision.id: decision.score
                for decision in recorder.kept()
                if not decision.sent and decision.timestamp_ns <= (index - 8) * SECOND
            }
            if index % 40 == 39:
                told = recorder.drain(send)
                assert told is not None
                assert told.id == max(old, key=old.__getitem__)
            assert set(sent) <= set(scores_of(recorder))
            assert len(recorder.kept()) <= 6
            assert recorder.counters.bytes <= 60
        assert len(sent) == 5
        recorder.end()
        while recorder.drain(send):
            assert len(sent) <= 6
        assert sorted(sent) == sorted(scores_of(recorder))
        assert recorder.sent_ids() == sent
        # All of the budget is sent: better frames find no room.
        recorder.push("best", b"x", score=2.0, timestamp_ns=300 * SECOND)
        recorder.end()
        assert recorder.to_send() is None
        assert "best" not in scores_of(recorder)


def test_after_a_restart_a_frame_that_had_not_arrived_comes_first(tmp_path):
    with Recorder(tmp_path, budget=3) as recorder:
        for index in range(20):
            push(recorder, index)
        first = recorder.drain(lambda decision, path: None)
        with pytest.raises(RuntimeError, match="no link"):
            recorder.drain(lambda decision, path: _fail())
        second = recorder.to_send()
    assert first is not None
    assert second is not None
    with Recorder(tmp_path, budget=3) as recorder:
        assert recorder.sent_ids() == [first.id]
        for index in range(20, 60):
            recorder.push(f"{index:03}", b"y", score=1.0 + index)
        assert {first.id, second.id} < set(scores_of(recorder))
        again = recorder.to_send()
        assert again is not None
        assert again.id == second.id
        recorder.sent(again.id)
        third = recorder.to_send()
        assert third is not None
        assert third.id == "059"
        assert sum(d.sent for d in recorder.kept()) == 3


def test_a_torn_journal_does_not_forget_what_was_sent_before(tmp_path):
    with Recorder(tmp_path, budget=2) as recorder:
        for index in range(9):
            push(recorder, index)
        first = recorder.drain(lambda decision, path: None)
        push(recorder, 9)
    journal = tmp_path / "journal.bin"
    journal.write_bytes(journal.read_bytes()[:-100])
    assert first is not None
    with Recorder(tmp_path, budget=2) as recorder:
        assert recorder.sent_ids() == [first.id]


def test_only_what_is_being_sent_can_have_arrived(tmp_path):
    with Recorder(tmp_path, budget=2) as recorder:
        push(recorder, 1)
        with pytest.raises(UsageError, match="'001' is not being sent"):
            recorder.sent("001")
        recorder.drain(lambda decision, path: None)
        with pytest.raises(UsageError, match="'001' is not being sent"):
            recorder.sent("001")
        assert recorder.to_send() is None


def test_a_command_sends_one_file_at_a_time(tmp_path):
    far = tmp_path / "far"
    far.mkdir()
    with Recorder(tmp_path / "near", budget=3) as recorder:
        link = LinkCommand(recorder, f"cp {{}} '{far}'")
        for index in range(9):
            push(recorder, index)
        link.go_on()
        link.finish()
        assert link.failures == 0
        sent = recorder.sent_ids()
        assert [path.name for path in far.iterdir()] == [recorder.path_of(sent[0]).name]
        assert scores_of(recorder)[sent[0]] == max(scores_of(recorder).values())
        broken = LinkCommand(recorder, "false")
        broken.go_on()
        broken.finish()
        broken.go_on()  # pauses first
        broken.finish()
        assert broken.failures == 1
        assert recorder.sent_ids() == sent
        for command, message in (("", "is empty"), ("cp '", "close the quote")):
            with pytest.raises(UsageError, match=message):
                LinkCommand(recorder, command)
        # Told before the trip, not at the first frame that may go.
        with pytest.raises(UsageError, match="--link cannot start no-such-command-here"):
            LinkCommand(recorder, "no-such-command-here")


def test_a_command_that_cannot_start_for_the_moment_ends_no_trip(tmp_path):
    tool = tmp_path / "tool"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    with Recorder(tmp_path / "near", budget=3) as recorder:
        link = LinkCommand(recorder, str(tool))
        push(recorder, 0)
        tool.unlink()
        link.go_on()
        link.finish()
        assert link.failures == 1
        assert recorder.sent_ids() == []


def _fail() -> None:
    raise RuntimeError("no link")
