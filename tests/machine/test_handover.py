"""Work handed from thread to thread."""

from __future__ import annotations

import itertools
import threading
import weakref
from queue import Empty

import pytest

from deal.errors import DealError
from deal.machine.handover import Bounded, Crew
from deal.machine.threads import ordered


def test_a_bounded_queue_lets_nobody_put_more_than_its_depth() -> None:
    queue: Bounded[int] = Bounded(2)
    came = threading.Event()

    def put() -> None:
        for number in range(3):
            queue.put(number)
        came.set()

    thread = threading.Thread(target=put)
    thread.start()
    assert not came.wait(0.1)
    assert queue.get() == 0
    thread.join()
    assert came.is_set()
    assert [queue.get(), queue.get(timeout=1)] == [1, 2]
    with pytest.raises(Empty):
        queue.get(timeout=0)


def test_an_entry_that_takes_more_places_waits_for_all_of_them() -> None:
    queue: Bounded[str] = Bounded(4)
    queue.put("small")
    thread = threading.Thread(target=queue.put, args=("large", 4))
    thread.start()
    thread.join(0.1)
    assert thread.is_alive()
    assert queue.get() == "small"
    thread.join()
    assert queue.get(timeout=1) == "large"
    for entry in "abcd":  # there is room for four again
        queue.put(entry)
    assert [queue.get() for _ in range(4)] == list("abcd")


def test_a_crew_makes_calls_on_as_many_threads_as_it_has() -> None:
    both = threading.Barrier(2, timeout=20)

    def meet(number: int) -> tuple[int, str]:
        both.wait()
        return number, threading.current_thread().name

    with Crew(2, "test-crew") as crew:
        found = [call.result() for call in [crew.submit(meet, n) for n in range(6)]]
    assert [number for number, _ in found] == list(range(6))
    assert {name for _, name in found} == {"test-crew_0", "test-crew_1"}
    assert not [t for t in threading.enumerate() if t.name.startswith("test-crew")]


def test_a_crew_gives_results_in_order_and_an_exception_in_its_turn() -> None:
    def fail_on_three(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return -number

    made: list[int] = []
    with Crew(2, "test-crew") as crew:
        results = ordered(crew, lambda n: made.append(n) or fail_on_three(n), range(10**6), 4)
        assert list(itertools.islice(results, 3)) == [(0, 0), (1, -1), (2, -2)]
        with pytest.raises(ValueError, match="three"):
            next(results)
    assert len(made) <= 7


def test_a_cancelled_call_is_not_made() -> None:
    begun, go_on = threading.Event(), threading.Event()
    made: list[int] = []

    def first(_: int) -> None:
        begun.set()
        go_on.wait(20)

    with Crew(1, "test-crew") as crew:
        crew.submit(first, 0)
        later = crew.submit(made.append, 1)
        assert begun.wait(20)
        later.cancel()
        go_on.set()
    assert made == []


class _Large:
    pass


def test_a_crew_keeps_no_result() -> None:
    with Crew(1, "test-crew") as crew:
        call = crew.submit(lambda _: _Large(), 0)
        kept = weakref.ref(call.result())
        crew.submit(int, 0).result()
        del call
        assert kept() is None


def test_a_crew_that_cannot_grow_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with Crew(2, "test-crew") as crew:
        monkeypatch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(DealError, match=r"no thread can be started .*--decode-threads"):
            list(ordered(crew, str, range(3), 2))
