"""The frames of a stream and their groups, hashes and distances, as plain Python."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Frame", "Group", "difference", "mixed", "name_hash"]


def mixed(value: int) -> int:
    """SplitMix64."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
    return value ^ (value >> 31)


def name_hash(name: bytes) -> int:
    """The hash of an id that draws use."""
    value = mixed(len(name))
    for start in range(0, len(name), 8):
        value = mixed(value ^ int.from_bytes(name[start : start + 8], "little"))
    return value


def difference(a: bytes, b: bytes) -> int:
    deltas = [x - y for x, y in zip(a, b, strict=True)]
    return sum(abs(192 * delta - sum(deltas)) for delta in deltas)


@dataclass(eq=False)
class Frame:
    """A frame as it is pushed, and what became of it."""

    id: int
    t: int
    score: float
    key: float
    bytes: int = 0
    sequence: int = 0
    camera: int = 0
    chance: int = 0
    signature: bytes | None = None
    arrival: int = 0
    undecided: bool = True
    released: bool = False
    gone: bool = False
    why: str = ""
    ranked: bool = False
    random: bool = False
    sent: bool = False
    part: str = ""

    @property
    def place(self) -> tuple[float, float, int]:
        return (-self.key, -self.score, self.arrival)


@dataclass(eq=False)
class Group:
    """Frames of one sequence and camera."""

    name: tuple[int, int]
    frames: list[Frame] = field(default_factory=list)
    now: int | None = None
    taken: list[int] = field(default_factory=list)
    last_push: int = 0

    @property
    def undecided(self) -> list[Frame]:
        return [f for f in self.frames if f.undecided]
