from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from deal.errors import DealError
from deal.machine.meter import Meter
from deal.machine.threads import Stages, ordered


def within_seconds(function: Callable[[], Any], seconds: float = 20) -> Any:
    """Result of the function, run in a thread; fails instead of hanging."""
    outcome: list[Any] = []

    def run() -> None:
        try:
            outcome.append((function(), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert outcome, "the stages hang"
    value, error = outcome[0]
    if error is not None:
        raise error
    return value


def stage_threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith(("deal-", "test-decode"))]


def wait_for_no_stage_threads() -> None:
    while stage_threads():
        time.sleep(0.01)


def count(stages: Stages[int, int], limit: int = 1000) -> Iterator[int]:
    for number in range(limit):
        if stages.stopped:
            return
        yield number


def square(work: Iterator[int]) -> Iterator[int]:
    for number in work:
        yield number * number


def collect(stages: Stages[int, int]) -> list[int]:
    with stages:
        return list(stages)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("depth", [1, 8])
def test_every_item_comes_out_once(workers: int, depth: int) -> None:
    stages = Stages(count, [square] * workers, depth)
    assert sorted(within_seconds(lambda: collect(stages))) == [n * n for n in range(1000)]
    assert stage_threads() == []


def test_the_source_can_pass_results_by_the_workers() -> None:
    def source(stages: Stages[int, int]) -> Iterator[int]:
        for number in range(100):
            if number % 2:
                stages.emit(-number)
            else:
                yield number

    results = within_seconds(lambda: collect(Stages(source, [square], 1)))
    assert sorted(results) == sorted(-n if n % 2 else n * n for n in range(100))


def test_an_exception_of_the_source_surfaces() -> None:
    def source(stages: Stages[int, int]) -> Iterator[int]:
        yield from range(5)
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        within_seconds(lambda: collect(Stages(source, [square] * 2, 1)))
    assert stage_threads() == []


def test_an_exception_of_a_worker_surfaces_and_stops_the_source() -> None:
    asked: list[int] = []

    def source(stages: Stages[int, int]) -> Iterator[int]:
        for number in count(stages, 10**9):
            asked.append(number)
            yield number

    def worker(work: Iterator[int]) -> Iterator[int]:
        for number in work:
            if number == 50:
                raise ValueError("bad weights")
            yield number

    with pytest.raises(ValueError, match="bad weights"):
        within_seconds(lambda: collect(Stages(source, [worker] * 2, 1)))
    assert len(asked) < 10**6
    assert stage_threads() == []


def test_a_worker_that_fails_before_it_takes_work_does_not_hang() -> None:
    def worker(work: Iterator[int]) -> Iterable[int]:
        raise ValueError("no session")

    with pytest.raises(ValueError, match="no session"):
        within_seconds(lambda: collect(Stages(count, [worker, worker], 1)))


def test_an_exception_of_the_caller_ends_all_threads() -> None:
    def consume() -> None:
        with Stages(lambda stages: count(stages, 10**9), [square] * 2, 1) as stages:
            for result in stages:
                if result > 100:
                    raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        within_seconds(consume)
    assert stage_threads() == []


def test_stop_ends_early_but_keeps_what_was_begun() -> None:
    begun: list[int] = []

    def worker(work: Iterator[int]) -> Iterator[int]:
        for number in work:
            begun.append(number)
            yield number

    def consume() -> list[int]:
        seen = []
        with Stages(lambda stages: count(stages, 10**9), [worker] * 2, 2) as stages:
            for result in stages:
                seen.append(result)
                if len(seen) == 10:
                    stages.stop()
        return seen

    assert sorted(within_seconds(consume)) == sorted(begun)


def test_a_keyboard_interrupt_waits_for_nobody() -> None:
    release = threading.Event()

    def worker(work: Iterator[int]) -> Iterator[int]:
        for number in work:
            yield number
            release.wait()

    def consume() -> None:
        with Stages(lambda stages: count(stages, 10**9), [worker], 1) as stages:
            for _ in stages:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        within_seconds(consume)
    assert "deal-session-0" in stage_threads()
    release.set()
    within_seconds(wait_for_no_stage_threads)


@pytest.mark.parametrize(("depth", "places", "waiting"), [(2, 1, 2 + 2), (8, 4, 2 + 8)])
def test_queues_hold_no_more_than_they_have_places_for(
    depth: int, places: int, waiting: int
) -> None:
    asked: list[int] = []

    def source(stages: Stages[int, int]) -> Iterator[int]:
        for number in count(stages):
            asked.append(number)
            yield number

    def consume() -> None:
        with Stages(source, [square], depth, places=lambda number: places) as stages:
            results = iter(stages)
            for taken in range(1, 6):
                next(results)
                time.sleep(0.02)
                # Besides those in the queues, one with the source and one with the worker.
                assert len(asked) <= taken + waiting + 2

    within_seconds(consume)


def test_ordered_keeps_the_order_and_the_window() -> None:
    started: list[int] = []

    def slow_if_even(number: int) -> int:
        time.sleep(0.004 if number % 2 == 0 else 0)
        return -number

    def items() -> Iterator[int]:
        for number in range(40):
            started.append(number)
            yield number

    with ThreadPoolExecutor(4, "test-decode") as executor:
        for index, (item, result) in enumerate(ordered(executor, slow_if_even, items(), 8)):
            assert (item, result) == (index, -index)
            assert len(started) <= index + 8
    assert len(started) == 40


def test_ordered_raises_what_the_function_raised_in_its_turn() -> None:
    def fail_on_three(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    with ThreadPoolExecutor(2, "test-decode") as executor:
        results = ordered(executor, fail_on_three, range(10), 4)
        assert [item for item, _ in itertools.islice(results, 3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="three"):
            next(results)


def test_meter_adds_over_threads() -> None:
    meter = Meter()

    def work() -> None:
        with meter("network"):
            time.sleep(0.01)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert meter.seconds["network"] >= 0.03


def test_busiest_is_by_thread() -> None:
    meter = Meter()
    meter.seconds = {"decode": 10.0, "network": 6.0, "write": 2.0}
    assert meter.busiest({"decode": 4, "network": 2, "write": 1}) == "network"
    assert meter.busiest({"decode": 3, "network": 2, "write": 1}) == "decode"
    assert meter.busiest({"write": 1, "list": 1}) == "write"


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_where_no_thread_can_be_started_those_that_were_end(
    monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    start = threading.Thread.start
    begun = itertools.count()

    def limited(thread: threading.Thread) -> None:
        if thread.name.startswith("deal-") and next(begun) >= allowed:
            raise RuntimeError("can't start new thread")
        start(thread)

    def work(stages: Stages[int, int]) -> Iterator[int]:
        yield from itertools.takewhile(lambda number: not stages.stopped, itertools.count())

    def run() -> None:
        with Stages(work, [lambda numbers: numbers] * 3, depth=6):
            raise AssertionError

    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(
        DealError, match=r"no thread can be started \(can't start new thread\): raise"
    ):
        within_seconds(run)
    wait_for_no_stage_threads()


def test_a_pool_of_threads_that_cannot_grow_is_a_clear_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with ThreadPoolExecutor(2) as executor:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(DealError, match=r"no thread can be started .*--decode-threads"):
            list(ordered(executor, str, range(3), 2))
