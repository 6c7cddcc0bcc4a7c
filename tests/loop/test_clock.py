"""How long steps wait for their batches, by the clock of whatever makes these."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import pytest

from deal.loop.experiment import run_loop

torch = pytest.importorskip("torch")

from deal.training.clock import BatchClock  # noqa: E402


def test_the_cpu_counts_what_happens_within_alone(monkeypatch):
    readings = iter([1.0, 1.25, 8.0, 8.5])
    clock = SimpleNamespace(perf_counter=lambda: next(readings))
    monkeypatch.setattr("deal.training.clock.time", clock)
    clock = BatchClock(torch.device("cpu"))
    for _ in range(2):
        with clock.running():
            pass
    assert clock.seconds() == 0.75


def test_a_device_counts_between_events_of_its_stream(monkeypatch):
    stream = iter([0.0, 5.0, 100.0, 120.0])  # when its work is done, milliseconds

    class Event:
        def __init__(self, *, enable_timing):
            assert enable_timing

        def record(self):
            self.at = next(stream)

        def elapsed_time(self, end):
            return end.at - self.at

    monkeypatch.setattr(torch.cuda, "Event", Event)
    clock = BatchClock(torch.device("cuda"))
    for _ in range(2):
        with clock.running():
            time.sleep(0.05)  # of the host, which is ahead: nothing waits for it
    assert clock.seconds() == pytest.approx(0.025)


@pytest.mark.slow
def test_a_round_says_what_of_its_steps_went_into_batches_and_where(make_config, monkeypatch):
    from deal.training.batches import batch_maker

    def slow(*arguments):
        make = batch_maker(*arguments)

        def made(indices, seeds):
            time.sleep(0.1)
            return make(indices, seeds)

        return made

    monkeypatch.setattr("deal.training.epochs.batch_maker", slow)
    config = make_config(
        rounds__labeled=[3, 5], training__epochs=None, training__steps=4, training__device="cpu"
    )
    run_loop(config, methods=["random"])
    timing = json.loads((config.folder / "random-seed0/round-2/timing.json").read_text())
    assert timing.keys() == {"steps", "seconds", "batch_seconds", "device"}
    assert (timing["steps"], timing["device"]) == (4, "cpu")
    assert 0.4 <= timing["batch_seconds"] < timing["seconds"]
