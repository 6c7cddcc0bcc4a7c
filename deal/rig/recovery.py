"""What a recorder goes on from after a restart, as its journal and its files tell it."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deal.errors import UsageError
from deal.rig.files import FrameFiles
from deal.rig.journal import END, FRAME, LOST, PINNED, RULES, SENT, Journal, Record
from deal.rig.names import NEW
from deal.rig.trip import Trip
from deal.selection.stream import Frame
from deal.selection.stream_rules import StreamRules

__all__ = ["Recovered", "recover"]


@dataclass(frozen=True, slots=True)
class Recovered:
    """The state of a recorder; frames by their numbers.

    Attributes
    ----------
    trip : Trip
    names : dict of int to str
        Ids of the frames that have a file.
    written, unwritten : set of int
        Kept frames, with a file and without.
    before : ndarray of uint64
        All frames that were pushed, sorted.
    """

    trip: Trip
    names: dict[int, str]
    written: set[int]
    unwritten: set[int]
    before: NDArray[np.uint64]


def recover(
    folder: Path,
    rules: StreamRules,
    journal: Journal,
    files: FrameFiles,
    *,
    scored_by: str | None,
    again: bool | set[int],
    remember: bool,
) -> Recovered:
    """Push the frames of the journal again, and bring journal and files in line.

    ``again`` says which frames the caller pushes once more: all, none, or those with these numbers.
    Frames that are neither on disk nor come once more are struck out.

    Raises
    ------
    UsageError
        The journal has frames of other rules or scores, or is damaged, or files lie in ``frames``
        that no journal knows.
    OSError
        The folder cannot be written.
    """
    digest = _digest(json.dumps(asdict(rules), default=str, sort_keys=True))
    scores = 0 if scored_by is None else _digest(scored_by)
    records = journal.records
    found = files.found()
    if journal.is_damaged:
        raise UsageError(
            f"{folder / 'journal.bin'} is damaged at its beginning, so what was recorded cannot be "
            f"told: choose another folder; what {folder / 'frames'} holds stays there"
        )
    if not records and found:
        path, _ = min(found.values())
        raise UsageError(
            f"{folder / 'frames'} holds files that no trip kept, such as {path.name}, and a trip "
            "removes what it does not keep: choose another folder"
        )
    named = any(path.suffix != NEW for path, _ in found.values())
    if not named and all(record.kind != FRAME for record in records):  # rules alone bind to nothing
        journal.begin_anew()
        records = journal.records
        journal.append(Record(RULES, Frame(digest, 0, 0, 0.0, scores, 0, None)))
        journal.sync()
    elif records[0].kind != RULES or records[0].frame.number != digest:
        raise UsageError(
            f"{folder} was recorded with other rules: choose another folder, or the rules "
            "that it began with"
        )
    elif scores and records[0].frame.sequence not in (0, scores):
        raise UsageError(
            f"{folder} was recorded with scores of another model or function, which do not compare "
            "with these: choose another folder, or what it began with"
        )
    journal.cut()
    names = {number: name for number, (_, name) in found.items()}
    # A frame that was struck out counts as new if it comes again, so each has its last such record.
    lost = {r.frame.number: place for place, r in enumerate(records) if r.kind == LOST}
    while True:
        trip = _pushed(rules, records, lost, names, remember=remember)
        gone = (trip.stream.kept_numbers() | trip.stream.waiting_numbers()) - set(found)
        if again is True:
            gone.clear()
        elif again is not False:
            gone -= again
        if not gone:
            break
        for number in sorted(gone):
            journal.append(Record(LOST, Frame(number, 0, 0, 0.0, 0, 0, None)))
        lost |= dict.fromkeys(gone, len(records))
    if again is False and len(records) > 1:
        # Frames that are gone no longer tell the time, so what has a file is decided now.
        journal.append(Record(END))
        trip.finish()
    kept = trip.stream.kept_numbers()
    journal.sync()
    pushed = {
        record.frame.number
        for place, record in enumerate(records)
        if record.kind == FRAME and place > lost.get(record.frame.number, -1)
    }
    journal.records = []
    for number in set(found) - kept:
        del names[number]
        found.pop(number)[0].unlink(missing_ok=True)
    for path, name in found.values():
        files.rename(path, name)
    return Recovered(
        trip=trip,
        names=names,
        written=set(found),
        unwritten=kept - set(found),
        before=np.sort(np.fromiter(pushed, np.uint64, len(pushed))),
    )


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def _pushed(
    rules: StreamRules,
    records: list[Record],
    lost: dict[int, int],
    names: dict[int, str],
    *,
    remember: bool,
) -> Trip:
    trip = Trip(rules, remember=remember)
    for place, record in enumerate(records):
        number = record.frame.number
        is_lost = place < lost.get(number, -1)
        if record.kind == END:
            trip.end()
        elif record.kind == FRAME and not is_lost and not trip.stream.knows(number):
            trip.take(record.frame, names.get(number, f"#{number}"))
        elif record.kind == PINNED:
            with suppress(ValueError):  # its data is lost
                trip.pin(number)
        elif record.kind == SENT and number in trip.link.pinned:
            trip.link.sent[number] = None
    trip.homes = {n: home for n, home in trip.homes.items() if trip.stream.knows(n)}
    return trip
