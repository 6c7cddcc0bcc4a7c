"""Random streams of frames and random rules, for the library and for the oracle alike.

``python -m tests.helpers.streams COUNT`` compares the two in so many streams.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from deal import _native
from tests.oracle import stream as oracle
from tests.oracle.stream_frames import Frame, mixed, name_hash

__all__ = [
    "Case",
    "difference",
    "hash_of",
    "native",
    "native_events",
    "oracle_events",
    "plain",
    "push",
    "random_case",
]

ACTIONS = {1: "keep", 2: "evict", 3: "drop"}


@dataclass(frozen=True)
class Case:
    """Rules in the words of the oracle, and frames in the order of arrival."""

    rules: dict[str, Any]
    frames: list[Frame]
    power: bool = False
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)


def options_of(case: Case) -> dict[str, Any]:
    """The same rules as `deal_stream_options`."""
    rules = case.rules
    names = {
        "max_frames": "max_frames",
        "max_bytes": "max_bytes",
        "window": "window_ns",
        "window_frames": "max_frames_per_window",
        "window_bytes": "max_bytes_per_window",
        "gap": "min_gap_ns",
        "look_ahead": "look_ahead_ns",
        "before": "context_before_ns",
        "after": "context_after_ns",
        "context_frames": "max_context_frames",
        "near": "near_threshold",
        "random_share": "random_share",
        "pending": "pending",
        "groups": "groups",
    }
    options = {names[name]: value for name, value in rules.items() if name in names}
    if "near" in rules:
        options["near"] = 2 if rules.get("near_everywhere") else 1
    return {**options, "draw": int(case.power), "seed": case.seed, **case.options}


def native(case: Case) -> Any:
    return _native.FrameStream(options_of(case))


def hash_of(frame: Frame) -> int:
    return name_hash(f"frame/{frame.id}.jpg".encode())


def push(stream: Any, frame: Frame) -> list[Any]:
    return stream.push(
        frame.id,
        hash_of(frame),
        frame.t,
        frame.bytes,
        frame.score,
        frame.sequence,
        frame.camera,
        frame.signature,
    )


def plain(decisions: list[Any]) -> list[oracle.Event]:
    return [(ACTIONS[d[5]], d[0], _native.why_name(d[6]), d[7]) for d in decisions]


def native_events(case: Case, stream: Any = None) -> list[list[oracle.Event]]:
    """What the library decides after every frame, and at the end."""
    stream = native(case) if stream is None else stream
    return [*(plain(push(stream, frame)) for frame in case.frames), plain(stream.end())]


def oracle_events(case: Case) -> tuple[list[list[oracle.Event]], oracle.Stream]:
    stream = oracle.Stream(**case.rules)
    events = []
    for given in case.frames:
        frame = replace(given)
        frame.chance = mixed(
            hash_of(frame) ^ mixed(case.seed ^ int.from_bytes(b"elpmas", "little"))
        )
        negative = case.power and -math.inf < frame.score < 0
        if case.power and 0 <= frame.score < math.inf:
            frame.key = power_key(frame.score, hash_of(frame), case.seed)
        events.append(stream.push(frame, negative))
    events.append(stream.end())
    return events, stream


def power_key(score: float, hashed: int, seed: int) -> float:
    """Log-weight plus Gumbel noise."""
    from deal.kernel.logarithm import log

    noise = ((mixed(hashed ^ mixed(seed)) >> 12) + 0.5) / 2**52
    weight = max(float(log(score)), -1e9)
    return weight - float(log(-log(noise)))


def difference(seed: int) -> str | None:
    """How library and oracle differ in a random stream; None if no event does."""
    case = random_case(seed)
    expected, stream = oracle_events(case)
    selector = native(case)
    for index, (found, event) in enumerate(
        zip(native_events(case, selector), expected, strict=True)
    ):
        if found != event:
            return f"seed {seed}, {case.rules}, frame {index}: {found}, but the oracle {event}"
    held = sorted((d[0], _native.why_name(d[6])) for d in selector.kept())
    if held != stream.held():
        return f"seed {seed}, {case.rules}: {held} are kept, but by the oracle {stream.held()}"
    counters = selector.counters()
    counted = {name: counters[name] for name in stream.counters}
    if counted != stream.counters:
        return f"seed {seed}, {case.rules}: {counted}, but the oracle {stream.counters}"
    return None


def random_case(seed: int) -> Case:
    """Rules and frames with ties, NaN, equal and late times, near-duplicates and odd sizes."""
    rng = np.random.default_rng(seed)

    def some(chance: float = 0.5) -> bool:
        return bool(rng.random() < chance)

    rules: dict[str, Any] = {"max_frames": int(rng.integers(1, 12))}
    if some(0.4):
        rules["max_bytes"] = int(rng.integers(1, 120))
    if some(0.4):
        rules["window"] = int(rng.integers(1, 40))
        if some(0.8):
            rules["window_frames"] = int(rng.integers(1, 5))
        if some(0.3):
            rules["window_bytes"] = int(rng.integers(1, 40))
    if some(0.6):
        rules["gap"] = int(rng.integers(1, 9))
        if some(0.3):
            rules["look_ahead"] = int(rng.integers(1, 30))
    if some(0.35):
        rules["before"] = int(rng.integers(0, 8))
        rules["after"] = int(rng.integers(0, 8))
        if some(0.3):
            rules["context_frames"] = int(rng.integers(1, 8))
    if some(0.35):
        rules["near"] = float(rng.choice([0.0, 0.5, 1.25, 255.0]))
        rules["near_everywhere"] = some()
    if some(0.3):
        rules["random_share"] = float(rng.choice([0.1, 0.3, 0.5, 1.0]))
    if some(0.2):
        rules["pending"] = int(rng.integers(1, 12))
    if some(0.2):
        rules["groups"] = int(rng.integers(1, 3))
    count = int(rng.integers(1, 90))
    kinds = rng.choice([0, 1, 2])
    signatures = [rng.integers(0, 2, 192, np.uint8) + 3 * i for i in range(4)]
    clocks: dict[tuple[int, int], int] = {}
    frames = []
    for index in range(count):
        sequence, camera = int(rng.integers(0, 2)), int(rng.integers(0, 2))
        if some(0.6):
            sequence = camera = 0
        clock = clocks.get((sequence, camera), int(rng.integers(-50, 50)))
        clock += int(rng.choice([0, 1, 1, 2, 3, 12]))
        clocks[sequence, camera] = clock
        time = clock
        if some(0.1):
            time -= int(rng.choice([1, 2, 5, 20, 200]))
            if some(0.1):
                clocks[sequence, camera] = time
        score = float(rng.choice([rng.random(), int(rng.integers(0, 4)) / 4, rng.random() / 100]))
        if some(0.03):
            score = float(rng.choice([np.nan, np.inf, -np.inf, -0.5, 0.0]))
        if kinds == 1:
            score += index / count
        signature = None
        if some(0.9):
            base = signatures[int(rng.integers(0, 4))].copy()
            base[int(rng.integers(0, 192))] += int(rng.integers(0, 60))
            signature = base.astype(np.uint8).tobytes()
        name = index - 1 if index and some(0.02) else index  # now and then a frame comes again
        if name != index:
            frames.append(replace(frames[-1]))
            continue
        frames.append(
            Frame(
                id=index,
                t=time,
                score=score,
                key=score,
                bytes=int(rng.integers(0, 15)),
                sequence=sequence,
                camera=camera,
                signature=signature,
            )
        )
    return Case(rules, frames, power=some(0.25), seed=int(rng.integers(0, 5)))


def main() -> None:
    """Compare in as many streams as the argument says."""
    count = int(sys.argv[1])
    differing = [text for text in map(difference, range(count)) if text is not None]
    print(*differing[:3], f"{count} streams, {len(differing)} differ", sep="\n")
    raise SystemExit(bool(differing))


if __name__ == "__main__":
    main()
