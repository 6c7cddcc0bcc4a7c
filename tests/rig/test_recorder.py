"""The recorder: files, journal and budget agree at any moment, however the process ends."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from deal.errors import OutputError, UsageError
from deal.rig.journal import FRAME, RECORD_BYTES, Journal, Record
from deal.rig.recorder import Recorder
from deal.selection.stream import Frame
from tests.helpers.trips import COUNT, RULES, files, push, record


@pytest.mark.parametrize("name", RULES)
def test_a_second_run_changes_nothing(name, tmp_path):
    whole = record(tmp_path, RULES[name])
    assert whole
    assert record(tmp_path, RULES[name]) == whole


@pytest.mark.slow
@pytest.mark.parametrize("name", RULES)
def test_a_journal_that_is_cut_anywhere_ends_in_the_same_set(name, tmp_path):
    whole = record(tmp_path / "whole", RULES[name])
    record(tmp_path / "part", RULES[name], count=70)
    rng = random.Random(name)
    for turn in range(6):
        folder = tmp_path / f"torn{turn}"
        shutil.copytree(tmp_path / "part", folder)
        journal = folder / "journal.bin"
        data = bytearray(journal.read_bytes())
        del data[rng.randrange(RECORD_BYTES, len(data)) :]
        if turn % 2:
            data[rng.randrange(RECORD_BYTES, len(data))] ^= 1 << rng.randrange(8)
        journal.write_bytes(data)
        if turn % 3 == 0:  # files that a stop left behind, and one that is gone
            (folder / "frames/drive/zzz.jpg").write_bytes(b"stray")
            next(iter((folder / "frames/drive").glob("0*"))).unlink()
        assert record(folder, RULES[name]) == whole


def test_a_kept_file_that_is_gone_costs_itself_alone(tmp_path):
    rules = {"budget": 1, "context_before": "5ns", "context_after": "2ns", "look_ahead": "5ns"}
    with Recorder(tmp_path, **rules) as recorder:
        recorder.push("pick.jpg", b"pick", score=1.0, timestamp_ns=10)
        recorder.push("after.jpg", b"after", score=0.1, timestamp_ns=12)
        recorder.path_of("after.jpg").unlink()
        # The file is evicted, and wanted once more.
        recorder.push("late.jpg", b"late", score=2.0, timestamp_ns=9)
        assert recorder.path_of("late.jpg").read_bytes() == b"late"
        recorder.push("best.jpg", b"best", score=3.0, timestamp_ns=16)
        recorder.end()
        assert [decision.id for decision in recorder.kept()] == ["best.jpg"]
    assert [path.name for path in (tmp_path / "frames").iterdir()] == ["best.jpg"]


PROGRAM = """
import sys
from tests.helpers.trips import RULES, record
print("begun", flush=True)
record(Path(sys.argv[1]), RULES[sys.argv[2]])
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["gap", "bytes and windows"])
def test_a_process_that_is_killed_ends_in_the_same_set_after_a_rerun(name, tmp_path):
    whole = record(tmp_path / "whole", RULES[name])
    folder = tmp_path / "killed"
    rng = random.Random(name)
    killed = 0
    for _ in range(3):
        command = [sys.executable, "-c", PROGRAM, str(folder), name]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(rng.random() * 0.15)
            process.send_signal(signal.SIGKILL)
            killed += process.wait() == -signal.SIGKILL
        assert (
            len(files(folder)) <= 2 * RULES[name]["budget"]
        )  # .new files of frames to come besides
        finals = [path for path in files(folder) if not path.endswith(".new")]
        assert len(finals) <= RULES[name]["budget"]
    assert record(folder, RULES[name]) == whole


def test_without_a_second_push_what_waited_is_struck_out(tmp_path):
    rules = RULES["gap"]
    with Recorder(tmp_path, **rules) as recorder:
        for index in range(70):
            push(recorder, index)
        before = files(tmp_path)
        assert recorder.counters.waiting > 0
    with Recorder(tmp_path, **rules) as recorder:
        assert recorder.counters.waiting == 0
        assert {d.id for d in recorder.kept()} == set(before) == set(files(tmp_path))
        for index in range(70, COUNT):
            push(recorder, index)
        recorder.end()
        assert {d.id for d in recorder.kept()} == set(files(tmp_path))
        assert len(files(tmp_path)) == rules["budget"]


def test_a_full_disk_is_an_error_and_the_program_goes_on(tmp_path, monkeypatch):
    rules = RULES["budget"]
    whole = record(tmp_path / "whole", rules)
    full = False
    sync = os.fsync

    def fsync(file: int) -> None:
        if full:
            raise OSError(28, "No space left on device")
        sync(file)

    monkeypatch.setattr(os, "fsync", fsync)
    errors = []
    with Recorder(tmp_path / "full", **rules) as recorder:
        for index in range(COUNT):
            full = 20 <= index < 40
            try:
                push(recorder, index)
            except OutputError as error:
                errors.append(str(error))
        full = False
        recorder.end()
        assert {d.id for d in recorder.kept()} == set(whole)
    assert errors
    assert all("No space left" in error for error in errors)
    assert files(tmp_path / "full") == whole


def test_other_rules_and_other_processes_are_refused(tmp_path):
    with Recorder(tmp_path, **RULES["gap"]) as recorder:
        push(recorder, 0)
        with pytest.raises(UsageError, match="another process"):
            Recorder(tmp_path, **RULES["gap"])
    with pytest.raises(UsageError, match="recorded with other rules"):
        Recorder(tmp_path, **RULES["budget"])


@pytest.mark.parametrize(
    "frame_id", ["a/b.jpg", "../up", "/etc/x", "a//b", ".hidden", "x.new", "é%2F\n", "\udcff", "#1"]
)
def test_any_id_names_a_file_below_the_folder(frame_id, tmp_path):
    rules = RULES["budget"]
    with Recorder(tmp_path, **rules) as recorder:
        recorder.push(frame_id, b"data", score=1.0)
        path = recorder.path_of(frame_id)
        assert path.resolve().is_relative_to((tmp_path / "frames").resolve())
        assert path.read_bytes() == b"data"
    with Recorder(tmp_path, **rules) as recorder:
        assert [d.id for d in recorder.kept()] == [frame_id]


def test_a_damaged_record_costs_one_frame_where_none_come_again(tmp_path):
    names = [f"{index:02}" for index in range(40)]
    with Recorder(tmp_path, budget=40) as recorder:
        for index, name in enumerate(names):
            recorder.push(name, name.encode(), score=1.0 + index)
        recorder.end()
    journal = tmp_path / "journal.bin"
    data = bytearray(journal.read_bytes())
    data[RECORD_BYTES * 11 + 100] ^= 1
    journal.write_bytes(bytes(data) + b"torn")
    for _ in range(2):
        with Recorder(tmp_path, budget=40) as recorder:
            kept = {decision.id for decision in recorder.kept()}
            assert kept == {*names} - {"10"}
            assert all(recorder.path_of(name).read_bytes() == name.encode() for name in kept)
    with Recorder(tmp_path, budget=40) as recorder:
        recorder.push("10", b"10", score=5.0)
        recorder.end()
    with Recorder(tmp_path, budget=40) as recorder:
        assert {decision.id for decision in recorder.kept()} == {*names}


def test_files_of_someone_else_are_never_removed(tmp_path):
    own = tmp_path / "frames/holiday/1.jpg"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    for _ in range(2):
        with pytest.raises(UsageError, match="files that no trip kept, such as 1"):
            Recorder(tmp_path, budget=2)
    assert own.read_bytes() == b"mine"
    with Recorder(tmp_path / "new", budget=2) as recorder:
        recorder.push("a", b"data", score=1.0)
    (tmp_path / "new/journal.bin").write_bytes(b"damaged" * 99)
    with pytest.raises(UsageError, match="choose another folder"):
        Recorder(tmp_path / "new", budget=2)
    assert recorder.path_of("a").read_bytes() == b"data"


def test_what_a_caller_does_with_its_buffer_later_changes_no_frame(tmp_path):
    buffer = bytearray(b"first")
    with Recorder(tmp_path, budget=2, min_gap="2s") as recorder:
        recorder.push("a", memoryview(buffer), score=1.0, timestamp_ns=0)
        buffer[:] = b"other"
        recorder.push("b", np.frombuffer(b"pixels", np.uint8), score=0.5, timestamp_ns=5 * 10**9)
        for wrong in ("text", 5, None):
            with pytest.raises(UsageError, match="as bytes, not"):
                recorder.push("c", wrong, score=1.0)
        recorder.end()
        assert recorder.path_of("a").read_bytes() == b"first"
        assert recorder.path_of("b").read_bytes() == b"pixels"
        assert recorder.counters.bytes == 11


def test_a_record_is_read_back_and_a_damaged_one_is_not(tmp_path):
    frame = Frame(2**64 - 1, -5, 7, float("nan"), 2**63, 2**31 - 1, bytes(range(192)))
    data = Record(FRAME, frame).encoded(3)
    assert len(data) == RECORD_BYTES == 264
    again = Record.decoded(data, 3)
    assert again is not None
    assert str(again.frame) == str(frame)
    assert Record.decoded(data, 4) is None
    for at in range(RECORD_BYTES):
        assert Record.decoded(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :], 3) is None
    path = tmp_path / "journal.bin"
    journal = Journal(path)
    for _ in range(3):
        journal.append(Record(FRAME, frame))
    journal.sync()
    journal.close()
    path.write_bytes(path.read_bytes()[:-1])
    journal = Journal(path)
    assert len(journal.records) == 2
    journal.cut()
    journal.close()
    assert path.stat().st_size == 2 * RECORD_BYTES
