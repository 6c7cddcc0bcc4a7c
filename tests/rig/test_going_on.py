"""A recorder that goes on: with the same scores, and frames that come late or never."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

import deal
from deal import cli
from deal.errors import PoolError, UsageError
from deal.rig.journal import RECORD_BYTES
from deal.rig.recorder import Recorder
from deal.rig.sources import read_lines
from tests.helpers.trips import files

DEMO = Path(deal.__file__).parent / "demo"
SECOND = 10**9
SCORES = (0.5, 0.1, 0.9, 0.2, 0.8, 0.3)


def push(recorder: Recorder, indices: Iterable[int]) -> None:
    for index in indices:
        if not recorder.is_done(f"{index}.jpg"):
            recorder.push(
                f"{index}.jpg", b"%d" % index, score=SCORES[index], timestamp_ns=index * SECOND
            )


def killed(folder: Path, count: int, **options: Any) -> None:
    """Push frames, and stop without a word, as a power cut does."""
    with Recorder(folder, again=True, **options) as recorder:
        push(recorder, range(count))
        recorder._journal.sync()
        recorder._held.clear()


def test_scores_of_another_model_or_function_are_refused(tmp_path):
    with Recorder(tmp_path, budget=2, scored_by="a") as recorder:
        push(recorder, [0])
        recorder.end()
    with pytest.raises(UsageError, match="scores of another model or function"):
        Recorder(tmp_path, budget=2, scored_by="b")
    for same in ("a", None):
        with Recorder(tmp_path, budget=2, scored_by=same) as recorder:
            assert [decision.id for decision in recorder.kept()] == ["0.jpg"]


def test_the_command_refuses_another_function_in_the_same_folder(tmp_path, capsys):
    def stream(function: str) -> int:
        call = ["stream", DEMO / "pool", "--model", DEMO / "model.onnx", "-o", tmp_path, "--budget"]
        call += [3, "--acquisition", function, "--threads", 1]
        return cli.run(cli.deal, list(map(str, call)), "deal")

    assert stream("ds") == 0
    before = (tmp_path / "selection.csv").read_bytes()
    assert stream("entropy") == 2
    assert "scores of another model or function" in capsys.readouterr().err
    assert (tmp_path / "selection.csv").read_bytes() == before
    assert stream("ds") == 0
    assert "3 of 24 frames kept" in capsys.readouterr().out


def test_the_command_refuses_a_changed_side_car_in_the_same_folder(tmp_path, capsys):
    model, folder = shutil.copy(DEMO / "model.onnx", tmp_path), tmp_path / "kept"
    call = ["stream", DEMO / "pool", "--model", model, "-o", folder, "--budget", 3, "--threads", 1]

    def stream() -> int:
        return cli.run(cli.deal, list(map(str, call)), "deal")

    assert stream() == 0
    side_car = tmp_path / "model.json"
    side_car.write_text('{"interpolation": "nearest"}', encoding="utf-8")
    assert stream() == 2
    assert "scores of another model or function" in capsys.readouterr().err
    side_car.unlink()
    assert stream() == 0


def test_a_frame_that_was_struck_out_counts_as_new_when_it_comes_again(tmp_path):
    """After a cut a spool that is mounted late is empty first."""
    rules: dict[str, Any] = {"budget": 5, "min_gap": "2s"}
    with Recorder(tmp_path / "whole", **rules) as recorder:
        push(recorder, range(6))
        recorder.end()
    killed(tmp_path / "cut", 6, **rules)
    with Recorder(tmp_path / "cut", again=[], **rules) as recorder:
        recorder.end()
    with Recorder(tmp_path / "cut", again=[f"{i}.jpg" for i in range(6)], **rules) as recorder:
        push(recorder, range(6))
        recorder.end()
    assert files(tmp_path / "cut") == files(tmp_path / "whole")
    with Recorder(tmp_path / "cut", **rules) as recorder:  # and from the journal alone
        assert {decision.id for decision in recorder.kept()} == set(files(tmp_path / "whole"))


@pytest.mark.parametrize("again", [True, [f"{i}.jpg" for i in range(6)]])
def test_a_frame_that_was_to_come_again_and_did_not_is_not_kept(tmp_path, again):
    rules: dict[str, Any] = {"budget": 2, "min_gap": "2s"}
    killed(tmp_path, 6, **rules)
    with Recorder(tmp_path, again=again, **rules) as recorder:
        push(recorder, [0, 1, 2, 3, 5])  # the file of 4 is damaged meanwhile
        told = recorder.end()
        kept = {decision.id for decision in recorder.kept()}
        assert "4.jpg" not in kept
        assert "4.jpg" not in {decision.id for decision in told}
        assert kept == set(files(tmp_path))
        assert "2.jpg" in kept
        assert recorder.counters.bytes == len(kept)


def test_a_journal_that_is_damaged_at_its_beginning_is_refused_and_left_alone(tmp_path):
    with Recorder(tmp_path, budget=2) as recorder:
        push(recorder, range(6))
        recorder.end()
    journal = tmp_path / "journal.bin"
    data = bytearray(journal.read_bytes())
    data[100] ^= 1
    journal.write_bytes(data)
    kept = files(tmp_path)
    with pytest.raises(UsageError, match="damaged at its beginning"):
        Recorder(tmp_path, budget=2)
    assert (journal.read_bytes(), files(tmp_path)) == (data, kept)


def test_a_journal_whose_first_record_was_torn_begins_anew(tmp_path):
    with Recorder(tmp_path, budget=2):
        pass
    (tmp_path / "journal.bin").write_bytes(bytes(RECORD_BYTES))
    with Recorder(tmp_path, budget=2) as recorder:
        push(recorder, [0])
    assert files(tmp_path) == {"0.jpg": b"0"}


@pytest.mark.parametrize("leftover", [None, "0.jpg.new"])
def test_a_folder_without_a_frame_takes_other_rules_and_scores(tmp_path, leftover):
    with Recorder(tmp_path, budget=2, min_gap="2s", scored_by="ds") as recorder:
        recorder.end()
    if leftover is not None:  # of a stop between the file and the journal
        (tmp_path / "frames" / leftover).write_bytes(b"0")
    with Recorder(tmp_path, budget=3, scored_by="entropy") as recorder:
        push(recorder, range(1, 6))
        recorder.end()
    kept = files(tmp_path)
    assert len(kept) == 3
    with Recorder(tmp_path, budget=3, scored_by="entropy") as recorder:
        assert {decision.id for decision in recorder.kept()} == set(kept)
    with pytest.raises(UsageError, match="recorded with other rules"):
        Recorder(tmp_path, budget=2, min_gap="2s", scored_by="ds")


def test_other_rules_leave_the_journal_alone(tmp_path):
    with Recorder(tmp_path, budget=2) as recorder:
        push(recorder, range(6))
    data = (tmp_path / "journal.bin").read_bytes() + b"torn"
    (tmp_path / "journal.bin").write_bytes(data)
    with pytest.raises(UsageError, match="recorded with other rules"):
        Recorder(tmp_path, budget=3)
    assert (tmp_path / "journal.bin").read_bytes() == data


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("[" * 100_000, "line 1 is not JSON"),
        ('{"uri": "a.jpg", "timestamp_ns": 1180591620717411303424}', "line 1: 'timestamp_ns'"),
    ],
)
def test_lines_that_are_no_frames_are_refused_by_their_number(line, words):
    with pytest.raises(PoolError, match=words):
        list(read_lines(io.StringIO(line)))
