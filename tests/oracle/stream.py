"""The selector of a stream, slowly and plainly: every rule is looked up anew for every frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from tests.oracle.stream_frames import Frame, Group, difference

__all__ = ["Event", "Stream"]

Event = tuple[str, int, str, bool]
"""Action, id, reason, whether the frame is still undecided."""


@dataclass
class Stream:
    """Takes frames one by one; limits of None do not hold."""

    max_frames: int
    max_bytes: int | None = None
    window: int | None = None
    window_frames: int | None = None
    window_bytes: int | None = None
    gap: int = 0
    look_ahead: int = 0
    before: int = 0
    after: int = 0
    context_frames: int | None = None
    near: float | None = None
    near_everywhere: bool = False
    random_share: float = 0.0
    pending: int = 1024
    groups: int = 64

    def __post_init__(self) -> None:
        self.context = self.before > 0 or self.after > 0
        self.timed = self.gap > 0 or self.context
        self.mature = max(self.gap, self.after)
        self.ahead = max(self.mature, self.look_ahead or 4 * self.gap)
        self.random_frames = math.floor(self.max_frames * self.random_share + 0.5)
        self.ranked_frames = self.max_frames - self.random_frames
        whole = math.inf if self.max_bytes is None else self.max_bytes
        part = whole if self.max_bytes is None else math.floor(whole * self.random_share + 0.5)
        self.random_bytes, self.ranked_bytes = part, whole
        if self.max_bytes is not None:
            self.ranked_bytes = whole - part
        if self.context_frames is None:
            self.context_frames = 8 * self.max_frames
        self.table: list[Group] = []
        self.closed: list[list[Frame]] = []  # of groups whose time is over
        self.alive: list[Frame] = []
        self.bar: Frame | None = None
        self.bar_why = ""
        self.chance_bar: Frame | None = None
        self.window_bars: dict[int, Frame] = {}
        self.arrivals = 0
        self.counters: dict[str, int] = dict.fromkeys(
            ("forced", "overflow", "clock_steps", "repeated"), 0
        )

    # ---- frames in, events out -----------------------------------------------------------------

    def push(self, frame: Frame, negative: bool = False) -> list[Event]:
        if not math.isfinite(frame.score) or negative:
            self.arrivals += 1
            return [("drop", frame.id, "negative" if negative else "not-finite", False)]
        if not self.timed:
            self._arrive(frame)
            frame.undecided = False
            frame.released = True
            self._offer(frame)
            return self._events()
        group = self._group(frame)
        if group.now is not None and frame.t < group.now - self.ahead:
            self.counters["clock_steps"] += 1
            self._close(group)
        if any(f.id == frame.id and f.t == frame.t for f in group.frames):
            self.counters["repeated"] += 1
            return self._events()
        group.now = frame.t if group.now is None else max(group.now, frame.t)
        self._arrive(frame)
        group.frames.append(frame)
        group.frames.sort(key=lambda f: (f.t, f.arrival))
        self._limit()
        decided: list[Frame] = []
        if any(abs(t - frame.t) < self.gap for t in group.taken):
            self._suppress(frame, "gap", decided)
        self._decide(group, decided)
        self._settle(group, decided)
        while len(self._waiting()) > self.pending:
            self._decide_oldest()
        return self._events()

    def end(self) -> list[Event]:
        for group in self.table:
            self._close(group)
        return self._events()

    def _arrive(self, frame: Frame) -> None:
        frame.arrival = self.arrivals
        self.arrivals += 1
        self.alive.append(frame)

    def _events(self) -> list[Event]:
        gone, kept = [], []
        for f in sorted(self.alive, key=lambda f: (f.t, f.arrival)):
            part = self._part(f)
            if part and part != f.part:
                kept.append(("keep", f.id, part, f.undecided))
            if not part and f.part:
                why = "context" if f.part == "context" else f.why
                gone.append(("evict", f.id, why, f.undecided))
                f.gone = not f.undecided
            elif not part and not f.undecided and f.released:
                gone.append(("drop", f.id, f.why, False))
                f.gone = True
            f.part = part
        self.alive = [f for f in self.alive if not f.gone]
        for group in self.table:
            group.frames = [f for f in group.frames if not f.gone]
        self.closed = [[f for f in frames if not f.gone] for frames in self.closed]
        return gone + kept

    def _part(self, f: Frame) -> str:
        if f.ranked:
            return "ranked"
        if f.random:
            return "random"
        return "context" if self._around(f) else ""

    # ---- the gap -------------------------------------------------------------------------------

    def _group(self, frame: Frame) -> Group:
        name = (frame.sequence, frame.camera)
        for group in self.table:
            if group.name == name:
                break
        else:
            group = Group(name)
            if len(self.table) == self.groups:
                quiet = min(self.table, key=lambda g: g.last_push)
                self.counters["overflow"] += bool(quiet.undecided)
                self._close(quiet)
                self.table[self.table.index(quiet)] = group
            else:
                self.table.append(group)
        group.last_push = self.arrivals
        return group

    def _close(self, group: Group) -> None:
        decided: list[Frame] = []
        self._decide(group, decided, everything=True)
        self._settle(group, decided, everything=True)
        self.closed.append(group.frames)
        group.frames = []
        group.now = None

    def _near(self, a: Frame, b: Frame) -> bool:
        return a is not b and abs(a.t - b.t) < self.gap

    def _blockers(self, group: Group, f: Frame) -> list[Frame]:
        return [u for u in group.undecided if self._near(u, f) and u.place < f.place]

    def _decide(self, group: Group, decided: list[Frame], everything: bool = False) -> None:
        while True:
            for f in group.undecided:
                old = everything or f.t + self.mature <= group.now
                if old and not self._blockers(group, f):
                    self._take(group, f, decided)
                    break
            else:
                first = group.undecided[0] if group.undecided else None
                if everything or first is None or first.t + self.ahead > group.now:
                    return
                self.counters["forced"] += 1
                self._suppress(first, "look-ahead", decided)

    def _take(self, group: Group, f: Frame, decided: list[Frame]) -> None:
        f.undecided = False
        decided.append(f)
        for u in group.undecided:
            if self._near(u, f):
                self._suppress(u, "gap", decided)

    def _suppress(self, f: Frame, why: str, decided: list[Frame]) -> None:
        f.undecided = False
        f.why = why
        decided.append(f)

    def _waiting(self) -> list[Frame]:
        return [f for f in self.alive if not f.released]

    def _decide_oldest(self) -> None:
        f = min(self._waiting(), key=lambda f: f.arrival)
        group = next(g for g in self.table if f in g.frames)
        if f.undecided:
            self.counters["overflow"] += 1
            decided: list[Frame] = []
            if self._blockers(group, f):
                self._suppress(f, "look-ahead", decided)
            else:
                self._take(group, f, decided)
            # What this frees is taken, but nobody is forced before the next frame.
            self._free(group, decided)
            self._settle(group, decided)
        f.released = True

    def _free(self, group: Group, decided: list[Frame]) -> None:
        found = True
        while found:
            found = False
            for f in group.undecided:
                if f.t + self.mature <= group.now and not self._blockers(group, f):
                    self._take(group, f, decided)
                    found = True
                    break

    def _settle(self, group: Group, decided: list[Frame], everything: bool = False) -> None:
        for f in sorted(decided, key=lambda f: (f.t, f.arrival)):
            if self.gap and not f.why:  # the last few are remembered, for late frames
                group.taken.append(f.t)
                group.taken = group.taken[-(min(self.ahead // self.gap, 64) + 2) :]
            self._offer(f)
            f.released |= not self.context
        if not self.context:
            return
        for f in group.frames:
            if f.undecided:
                return
            may_come = f.t + self.before >= group.now or any(
                u.t <= f.t + self.before for u in group.undecided
            )
            if not everything and may_come:
                return
            f.released = True

    # ---- budgets -------------------------------------------------------------------------------

    def _ranked(self) -> list[Frame]:
        return [f for f in self.alive if f.ranked]

    def _around(self, f: Frame) -> bool:
        """Whether a ranked pick has the frame in its context."""
        if not self.context:
            return False
        home = self._home(f)
        return any(
            u is not f and u.ranked and u.t - self.before <= f.t <= u.t + self.after for u in home
        )

    def _home(self, f: Frame) -> list[Frame]:
        for group in self.table:
            if f in group.frames:
                return group.frames
        return next((frames for frames in self.closed if f in frames), [])

    def _offer(self, f: Frame) -> None:
        self._sample(f)
        if not f.why:
            self._rank(f)

    def _sample(self, f: Frame) -> None:
        if not self.random_frames:
            return

        def lot(f: Frame) -> tuple[int, int]:
            return (-f.chance, f.arrival)

        sample = [u for u in self.alive if u.random]
        if self.chance_bar is not None and lot(f) > lot(self.chance_bar):
            return
        if len(sample) == self.random_frames and lot(f) > max(map(lot, sample)):
            return
        f.random = True
        sample.append(f)
        while len(sample) > self.random_frames or sum(u.bytes for u in sample) > self.random_bytes:
            why = "frames" if len(sample) > self.random_frames else "bytes"
            worst = max(sample, key=lot)
            worst.random = False
            sample.remove(worst)
            if why == "bytes":
                self.chance_bar = worst
            if worst is not f and not worst.ranked:
                worst.why = why

    def _rank(self, f: Frame) -> None:
        ranked = self._ranked()
        free = [u for u in ranked if not u.sent]
        window = None if self.window is None else f.t // self.window
        same = [u for u in ranked if self.window is not None and u.t // self.window == window]
        if self.bar is not None and f.place > self.bar.place:
            f.why = self.bar_why
        elif len(ranked) >= self.ranked_frames and (
            not free or f.place > max(u.place for u in free)
        ):
            f.why = "frames"
        elif same and window in self.window_bars and f.place > self.window_bars[window].place:
            f.why = "window-bytes"
        if f.why or not self._no_better_duplicate(f, ranked):
            return
        f.ranked = True
        if window is not None:
            self._limit_window(window)
        self._limit()

    def _no_better_duplicate(self, f: Frame, ranked: list[Frame]) -> bool:
        if self.near is None or f.signature is None:
            return True
        alike = [
            u
            for u in ranked
            if u.signature is not None
            and (self.near_everywhere or (u.sequence, u.camera) == (f.sequence, f.camera))
            and difference(u.signature, f.signature) <= Fraction(self.near) * 192**2
        ]
        if any(u.sent or u.place < f.place for u in alike):
            f.why = "near"
            return False
        for u in alike:
            self._unrank(u, "near")
        return True

    def _unrank(self, f: Frame, why: str) -> None:
        f.ranked = False
        f.why = why
        windows = {u.t // self.window for u in self._ranked()} if self.window else set()
        self.window_bars = {w: u for w, u in self.window_bars.items() if w in windows}

    def _limit_window(self, window: int) -> None:
        while True:
            same = [u for u in self._ranked() if u.t // self.window == window]
            free = [u for u in same if not u.sent]
            if not free:
                return
            worst = max(free, key=lambda u: u.place)
            if self.window_frames is not None and len(same) > self.window_frames:
                why = "window-frames"
            elif self.window_bytes is not None and sum(u.bytes for u in same) > self.window_bytes:
                why = "window-bytes"
                bar = self.window_bars.get(window)
                if bar is None or worst.place < bar.place:
                    self.window_bars[window] = worst
            else:
                return
            self._unrank(worst, why)

    def _limit(self) -> None:
        while True:
            ranked = self._ranked()
            free = [u for u in ranked if not u.sent]
            around = [u for u in self.alive if self._around(u)]
            held = {id(u): u.bytes for u in ranked + around}
            if not free:
                return
            worst = max(free, key=lambda u: u.place)
            if len(ranked) > self.ranked_frames:
                why = "frames"
            elif sum(held.values()) > self.ranked_bytes:
                why = "bytes"
            elif len(around) > self.context_frames:
                why = "context-frames"
            else:
                return
            if why != "frames" and (self.bar is None or worst.place < self.bar.place):
                self.bar, self.bar_why = worst, why
            self._unrank(worst, why)

    # ---- for tests -----------------------------------------------------------------------------

    def send(self) -> int | None:
        """Send the best pick that is not sent yet; its id."""
        free = [u for u in self._ranked() if not u.sent]
        if not free:
            return None
        best = min(free, key=lambda u: u.place)
        best.sent = True
        return best.id

    def held(self) -> list[tuple[int, str]]:
        """Id and part of what is kept; without times a frame that comes twice is kept twice."""
        return sorted((f.id, f.part) for f in self.alive if f.part)
