"""What follows from the frames of a trip that were pushed, and from nothing else."""

from __future__ import annotations

from deal.rig.link import Link
from deal.selection.stream import Decision, Frame, Stream
from deal.selection.stream_rules import StreamRules

__all__ = ["Trip"]


class Trip:
    """A stream, the link that sends from it, and where its frames come from.

    Attributes
    ----------
    stream : Stream
    link : Link
    homes : dict of int to (int, int)
        Hashes of sequence and camera by the number of the frame.
    decided : dict of int to Decision
        The last decision about every frame, if ``remember``.
    """

    def __init__(self, rules: StreamRules, *, remember: bool) -> None:
        self.stream = Stream.of(rules)
        self.link = Link(rules)
        self.homes: dict[int, tuple[int, int]] = {}
        self.decided: dict[int, Decision] = {}
        self._remember = remember

    def take(self, frame: Frame, frame_id: str) -> list[tuple[int, Decision]]:
        """Push a frame; what was decided, by the number of the frame."""
        self.homes[frame.number] = (frame.sequence, frame.camera)
        self.link.meet(frame.timestamp_ns)
        return self._noted(self.stream.take(frame, frame_id))

    def end(self) -> list[tuple[int, Decision]]:
        """Decide all that waits, and let the link send any frame."""
        self.link.end()
        return self.finish()

    def finish(self) -> list[tuple[int, Decision]]:
        """Decide all that waits."""
        return self._noted(self.stream.finish())

    def pin(self, number: int) -> None:
        """Begin to send a kept frame, which is never evicted from now on; ValueError if unknown."""
        self.stream.pin(number)
        self.link.pinned.add(number)

    def _noted(self, told: list[tuple[int, Decision]]) -> list[tuple[int, Decision]]:
        if self._remember:
            self.decided.update(told)
        return told
