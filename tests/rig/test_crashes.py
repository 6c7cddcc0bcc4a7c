"""Power cuts, damaged journals and full disks: the same frames are kept, never above a limit."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from deal.errors import OutputError
from deal.rig.recorder import Recorder
from tests.helpers.disks import PowerCuts, full_disk, synced_never
from tests.helpers.trips import COUNT, RULES, check_limits, files, push, record
from tests.torture.journals import journals, power_cuts


@pytest.mark.slow
def test_fifty_journals_that_are_cut_and_flipped_end_in_the_same_set(tmp_path):
    with journals(tmp_path) as case:
        outcomes = {case(random.Random(number)) for number in range(50)}
    assert outcomes == {"cut, a bit flipped, the same set", "cut, the same set"}


@pytest.mark.slow
def test_power_cuts_that_lose_what_was_not_synced_end_in_the_same_set(tmp_path):
    with power_cuts(tmp_path) as case:
        outcomes = {case(random.Random(number)) for number in range(20)}
    assert outcomes == {"nothing that was not synced", "some of what was not synced"}


def test_after_a_power_cut_what_push_has_told_is_on_disk(tmp_path):
    """Without a second push of the frames: the best so far, before or after the last push."""
    rng = random.Random(0)
    root, hold = tmp_path / "root", tmp_path / "hold"
    root.mkdir()
    hold.mkdir()
    images: list[tuple[int, Path]] = []
    pushed = 0

    def at_sync() -> None:
        if rng.random() < 0.25:
            image = tmp_path / f"image{len(images)}"
            images.append((pushed, cuts.image(image, rng if rng.random() < 0.7 else None)))

    cuts = PowerCuts(root, hold, at_sync)
    best = [best_of(count) for count in range(COUNT + 1)]
    with cuts.watching(), Recorder(root / "trip", budget=7) as recorder:
        for pushed in range(1, 41):
            push(recorder, pushed - 1)
    assert len(images) > 20
    for count, image in images:
        with synced_never():
            if not (image / "trip").exists():
                continue
            check_limits(image / "trip", RULES["budget"])
            with Recorder(image / "trip", budget=7) as recorder:
                kept = {decision.id for decision in recorder.kept()}
        assert kept in (best[max(count - 1, 0)], best[count])
        assert set(files(image / "trip")) == kept


def best_of(count: int) -> set[str]:
    """The seven best of the first frames."""
    scores = {}
    for index in range(count):
        rng = random.Random(index)
        for _ in range(rng.randrange(5, 40)):
            rng.randrange(256)
        scores[f"drive/{index:03}.jpg"] = rng.random()
    return set(sorted(scores, key=scores.__getitem__, reverse=True)[:7])


@pytest.mark.parametrize(
    "name", ["bytes and windows", pytest.param("context", marks=pytest.mark.slow)]
)
def test_a_disk_that_is_full_at_any_call_is_an_error_and_the_trip_goes_on(name, tmp_path):
    rules = RULES[name]
    with synced_never():
        whole = record(tmp_path / "whole", rules, COUNT)
    failures, reasons = set(), set()
    for turn in range(16):
        folder = tmp_path / str(turn)
        calls = range(5 * turn + 12, 5 * turn + 12 + (1, 2, 25)[turn % 3])
        with synced_never(), full_disk(calls.__contains__) as failed:
            recorder = Recorder(folder, **rules)
            for index in range(COUNT):
                try:
                    push(recorder, index)
                except OutputError as error:
                    reasons.add(str(error).partition(": ")[2])
                    failures.add(failed[-1])
                check_limits(folder, rules)
            recorder.end()
            recorder.close()
        assert files(folder) == whole, turn
    assert failures >= {"write", "fsync", "replace"}
    assert reasons == {"No space left on device; what is kept so far is safe"}
