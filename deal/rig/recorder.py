"""Keep the frames that a stream selects as files, through power cuts and full disks.

Every frame that is pushed gets a record in a journal. Where decisions follow from it, the order of
writes is: new frames beside their final names, the journal, the removal of evicted files, the
renaming. Each is on disk before the next begins. So at any moment the journal tells which files
belong to the kept set, and the files with final names are never more than the budget.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from deal._options import takes
from deal.errors import OutputError, UsageError
from deal.machine.files import lock
from deal.rig.files import FrameFiles, make_folder
from deal.rig.journal import END, FRAME, PINNED, SENT, Journal, Record
from deal.rig.places import Place, Places
from deal.rig.recovery import recover
from deal.selection.stream import Decision, Frame, StreamCounters, number_of
from deal.selection.stream_rules import StreamOptions, StreamRules

__all__ = ["Recorder"]


@takes(StreamOptions, StreamRules.of)
class Recorder:
    """Pushes frames into a stream, and keeps the files of those that it keeps.

    A recorder that is opened in the same folder goes on where the last one stopped, however it
    stopped.

    Parameters
    ----------
    folder : path
        Gets ``frames/ID``, ``journal.bin``, and ``places.jsonl`` with the names of sequences and
        cameras.
    again : bool or iterable of str
        After a restart all frames are pushed once more from the first on, as from a folder of
        images: what was lost is then written again, and the result is that without the stop.
        Ids say which frames come once more. Others whose data is gone are struck out.
    scored_by : str, optional
        What the scores come from, such as a model and a function, in any words. A recorder that
        goes on refuses any other than the first, since scores of two do not compare; without one it
        does not ask.
    remember : bool
        Keep the last decision about every frame in ``decided``, by the number of the frame.

    Raises
    ------
    UsageError
        The folder has frames of other rules or scores, its journal is damaged, its ``frames``
        holds files of someone else, or another process records into it.
    OutputError
        The folder cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        again: bool | Iterable[str] = False,
        scored_by: str | None = None,
        remember: bool = False,
        **options: Unpack[StreamOptions],
    ) -> None:
        self.folder = Path(folder)
        self._files = FrameFiles(self.folder / "frames")
        self._rules = StreamRules.of(**options)
        self._scored_by, self._remember = scored_by, remember
        coming = again if isinstance(again, bool) else set(map(number_of, again))
        self._held: dict[int, bytes] = {}  # frames that are undecided, or not written yet
        self._evicted: dict[int, list[Path]] = {}  # files to remove, by frame
        self._renamed: list[int] = []
        with ExitStack() as opened:
            try:
                make_folder(self.folder / "frames")
                held = opened.enter_context(open(self.folder / "lock", "wb"))
                if not lock(held.fileno(), self.folder, wait=False):
                    raise UsageError(
                        f"{self.folder} is recorded into by another process: end it first"
                    )
                self._journal = Journal(self.folder / "journal.bin", passing=coming is False)
                opened.callback(self._journal.close)
                self._places = Places(self.folder / "places.jsonl")
                self._go_on(coming)
            except OSError as error:
                raise self._failed(error) from error
            self._opened = opened.pop_all()

    def _go_on(self, again: bool | set[int]) -> None:
        """Take the state that the journal and the files tell."""
        found = recover(
            self.folder,
            self._rules,
            self._journal,
            self._files,
            scored_by=self._scored_by,
            again=again,
            remember=self._remember,
        )
        self._trip = found.trip
        self.decided = found.trip.decided
        self._stream, self._link = found.trip.stream, found.trip.link
        self._names = found.names  # of files, and of what is held
        self._written = found.written  # kept, with a file
        self._unwritten = found.unwritten  # kept, without a file
        self._before = found.before

    @property
    def counters(self) -> StreamCounters:
        """What the stream has seen, and holds."""
        return self._stream.counters

    def path_of(self, frame_id: str) -> Path:
        """Where the file of a kept frame lies: its id below ``frames`` (:mod:`deal.rig.names`)."""
        return self._files.path_of(frame_id)

    def push(
        self,
        frame_id: str,
        data: bytes,
        *,
        score: float,
        timestamp_ns: int = 0,
        sequence: str | None = None,
        camera: str | None = None,
        image: NDArray[np.uint8] | None = None,
        signature: NDArray[np.uint8] | bytes | None = None,
    ) -> list[Decision]:
        """Take a frame with the content of its file; return what was decided, and is on disk.

        Parameters are those of `Stream.push`; ``data`` is copied unless it is bytes. A frame that
        is known already is not pushed again, but its data is taken where it is missing after a
        restart.

        Raises
        ------
        UsageError
            As `Stream.push`; nothing has changed then.
        OutputError
            The disk is full or fails. The frame is taken nevertheless, and held in memory; the next
            call tries again to write it.
        """
        self.path_of(frame_id)  # refuses a name that is too long
        data = _content(data)
        frame = self._stream.frame(
            frame_id,
            score=score,
            timestamp_ns=timestamp_ns,
            size=len(data),
            sequence=sequence,
            camera=camera,
            image=image,
            signature=signature,
        )
        number = frame.number
        if self._was_pushed(number):
            return []
        if self._stream.knows(number):
            if number not in self._names or number in self._unwritten:  # lost in a stop
                self._stream.rename(number, frame_id)
                self._names[number] = frame_id
                self._held.setdefault(number, data)
                self._flush(sync=number in self._unwritten)
            return []
        self._names[number] = frame_id
        self._held[number] = data
        if sequence is not None or camera is not None:
            self._places.add((frame.sequence, frame.camera), (sequence, camera))
        self._journal.append(Record(FRAME, frame))
        return self._carry_out(self._trip.take(frame, frame_id))

    def end(self) -> list[Decision]:
        """Decide all that waits, as at the end of a trip; raises OutputError as :meth:`push`.

        Frames that were to come again after a restart, and did not, are struck out.
        """
        self._journal.append(Record(END))
        decisions = self._carry_out(self._trip.end())
        self._flush(sync=True)
        lost = self._unwritten - set(self._held)
        if not lost:
            return decisions
        try:
            self._journal.read_again()
            self._go_on(again=False)
        except OSError as error:
            raise self._failed(error) from error
        return [decision for decision in decisions if number_of(decision.id) not in lost]

    def kept(self) -> list[Decision]:
        """All kept frames, best first."""
        return self._stream.kept()

    def place_of(self, frame_id: str) -> Place:
        """The sequence and the camera of a kept frame; None where it had none."""
        return self._places.of(self._trip.homes.get(number_of(frame_id), (0, 0)))

    # ---- over a link that takes nothing back ----------------------------------------------------

    def to_send(self) -> Decision | None:
        """The frame that a link is to send now, which is never evicted from now on.

        It is the best kept frame that is not sent and is older than the look-ahead (or any, after
        :meth:`end`). It counts in every limit. None if there is none. A frame of which
        :meth:`sent` was not called comes again, also after a restart.

        Raises
        ------
        OutputError
            The disk is full or fails; nothing is pinned then that is not on disk.
        """
        found = self._link.next(self._stream.kept(), self._written)
        if found is None:
            return None
        number = number_of(found.id)
        if number not in self._link.pinned:
            self._trip.pin(number)
            self._journal.append(Record(PINNED, Frame(number, 0, 0, 0.0, 0, 0, None)))
            self._flush(sync=True)
        return found

    def sent(self, frame_id: str) -> None:
        """Note that the frame of :meth:`to_send` has arrived.

        Raises
        ------
        UsageError
            No frame with this id is being sent.
        OutputError
            The disk is full or fails; the frame may be sent once more after a restart.
        """
        number = number_of(frame_id)
        if number not in self._link.pinned or number in self._link.sent:
            raise UsageError(f"{frame_id!r} is not being sent: ask to_send() for the next frame")
        self._link.sent[number] = None
        self._journal.append(Record(SENT, Frame(number, 0, 0, 0.0, 0, 0, None)))
        self._flush(sync=True)

    def drain(self, send: Callable[[Decision, Path], object]) -> Decision | None:
        """Send a frame by a function of its decision and file, if there is one to send.

        The function raises what it likes if the frame has not arrived: it comes again then. See
        :meth:`to_send`; returns the decision about the frame that was sent.
        """
        found = self.to_send()
        if found is not None:
            send(found, self.path_of(found.id))
            self.sent(found.id)
        return found

    def sent_ids(self) -> list[str]:
        """Ids of the frames that were sent, in this order."""
        return [self._names[number] for number in self._link.sent if number in self._names]

    def close(self) -> None:
        """Write what is left; frames that wait are lost unless :meth:`end` was called."""
        with self._opened:
            self._flush(sync=True)

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def is_done(self, frame_id: str) -> bool:
        """Whether an earlier run pushed the frame, and its data is not needed any more."""
        number = number_of(frame_id)
        if self._was_pushed(number):
            return True
        known = self._stream.knows(number)
        return known and number in self._names and number not in self._unwritten

    def is_known(self, frame_id: str) -> bool:
        """Whether a frame is kept, or waits for its decision."""
        return self._stream.knows(number_of(frame_id))

    def _was_pushed(self, number: int) -> bool:
        """Whether an earlier run pushed a frame that is neither kept nor waits."""
        if self._stream.knows(number) or not len(self._before):
            return False
        at = int(np.searchsorted(self._before, np.uint64(number)))
        return at < len(self._before) and int(self._before[at]) == number

    def _carry_out(self, told: list[tuple[int, Decision]]) -> list[Decision]:
        for number, decision in told:
            if decision.action == "keep":
                self._evicted.pop(number, None)  # it was to be removed from a disk that failed
                if number not in self._written:
                    self._unwritten.add(number)
                continue
            if decision.action == "evict":
                self._evict(number, hold=decision.waiting)
            if not decision.waiting:
                self._held.pop(number, None)
                self._names.pop(number, None)
                self._trip.homes.pop(number, None)
        self._flush(sync=bool(told))
        return [decision for _, decision in told]

    def _evict(self, number: int, *, hold: bool) -> None:
        self._unwritten.discard(number)
        path = self.path_of(self._names[number])
        if number in self._renamed:  # the disk failed before it had its name, or just after
            self._renamed.remove(number)
            self._evicted[number] = [self._files.new_path_of(self._names[number]), path]
        if number not in self._written:
            return
        self._written.discard(number)
        if hold:  # it may be kept once more
            with suppress(OSError):  # it is lost; the frame may come again after a restart
                self._held[number] = path.read_bytes()
        self._evicted[number] = [path]

    def _flush(self, *, sync: bool) -> None:
        """Bring the disk to what the stream has decided, in the order that a power cut allows."""
        try:
            if not sync:
                self._journal.write()
                return
            try:
                self._write_new()
            except OSError:
                # What is evicted may make room.
                self._journal.sync()
                self._remove()
                self._write_new()
            self._places.sync()
            self._journal.sync()
            self._remove()
            self._rename()
        except OSError as error:
            raise self._failed(error) from error

    def _write_new(self) -> None:
        for number in sorted(self._unwritten - set(self._renamed)):
            if number not in self._held or number not in self._names:
                continue  # lost in a stop; it comes again
            self._files.write_new(self._names[number], self._held[number])
            self._renamed.append(number)
        self._files.sync_new(self._names[number] for number in self._renamed)

    def _remove(self) -> None:
        self._files.remove(chain.from_iterable(self._evicted.values()))
        self._evicted.clear()

    def _rename(self) -> None:
        self._files.publish(self._names[number] for number in self._renamed)
        for number in self._renamed:
            self._unwritten.discard(number)
            self._written.add(number)
            self._held.pop(number, None)
        self._renamed.clear()

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot write to {self.folder}: {error.strerror}; what is kept so far is safe"
        )


def _content(data: object) -> bytes:
    """The content of a file as bytes that nobody else changes; UsageError for what is none."""
    if isinstance(data, bytes):
        return data
    try:
        return memoryview(data).tobytes()  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(
            f"data is the content of an image file, as bytes, not {type(data).__name__}"
        ) from None
