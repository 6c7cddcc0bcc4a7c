"""Keep the frames that a stream selects as files, through power cuts and full disks.

Every frame that is pushed gets a record in a journal. Where decisions follow from it, the order of
writes is: new frames beside their final names, the journal, the removal of evicted files, the
renaming. Each is on disk before the next begins. So at any moment the journal tells which files
belong to the kept set, and the files with final names are never more than the budget.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Unpack
from urllib.parse import quote, unquote

import numpy as np
from numpy.typing import NDArray

from deal._options import takes
from deal.errors import OutputError, UsageError
from deal.machine.files import lock, sync_folder
from deal.rig.journal import END, FRAME, LOST, RULES, Journal, Record
from deal.selection.stream import Decision, Frame, Stream, StreamCounters, number_of
from deal.selection.stream_rules import StreamOptions, StreamRules

__all__ = ["Recorder"]

_SAFE = "/ !#$&'()+,;=@[]{}~-_."
_NEW = ".new"  # what a frame's file is called until the journal knows of it


@takes(StreamOptions, StreamRules.of)
class Recorder:
    """Pushes frames into a stream, and keeps the files of those that it keeps.

    A recorder that is opened in the same folder goes on where the last one stopped, however it
    stopped.

    Parameters
    ----------
    folder : path
        Gets ``frames/ID``, and ``journal.bin``.
    again : bool
        After a restart all frames are pushed once more from the first on, as from a folder of
        images: what was lost is then written again, and the result is that without the stop.
        Otherwise frames whose data is gone are struck out.
    remember : bool
        Keep the last decision about every frame in ``decided``, by the number of the frame.

    Raises
    ------
    UsageError
        The folder was begun with other rules, or another process records into it.
    OutputError
        The folder cannot be written.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        again: bool = False,
        remember: bool = False,
        **options: Unpack[StreamOptions],
    ) -> None:
        self.folder = Path(folder)
        self._frames = self.folder / "frames"
        self._rules = StreamRules.of(**options)
        self._again = again
        self._remember = remember
        self.decided: dict[int, Decision] = {}
        self._held: dict[int, bytes] = {}  # frames that are undecided, or not written yet
        self._names: dict[int, str] = {}  # of files, and of what is held
        self._written: set[int] = set()  # kept, with a file
        self._unwritten: set[int] = set()  # kept, without a file
        self._evicted: list[Path] = []
        self._before = np.empty(0, np.uint64)  # numbers of an earlier run's frames, sorted
        self._renamed: list[int] = []
        with ExitStack() as opened:
            try:
                self._frames.mkdir(parents=True, exist_ok=True)
                held = opened.enter_context(open(self.folder / "lock", "wb"))
                if not lock(held.fileno(), self.folder, wait=False):
                    raise UsageError(
                        f"{self.folder} is recorded into by another process: end it first"
                    )
                self._journal = Journal(self.folder / "journal.bin")
                opened.callback(self._journal.close)
                self._stream = self._recovered()
            except OSError as error:
                raise self._failed(error) from error
            self._opened = opened.pop_all()

    @property
    def counters(self) -> StreamCounters:
        """What the stream has seen, and holds."""
        return self._stream.counters

    def path_of(self, frame_id: str) -> Path:
        """Where the file of a kept frame lies: the id below ``frames``, odd characters encoded."""
        parts = quote(frame_id.encode("utf-8", "surrogatepass"), safe=_SAFE).split("/")
        shown = ["%2E" + part[1:] if part.startswith(".") else part or "%" for part in parts]
        if shown[-1].endswith(_NEW):
            shown[-1] = shown[-1].removesuffix(_NEW) + "%2Enew"
        return self._frames.joinpath(*shown)

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

        Parameters are those of `Stream.push`. A frame that is known already is not pushed again,
        but its data is taken where it is missing after a restart.

        Raises
        ------
        UsageError
            As `Stream.push`; nothing has changed then.
        OutputError
            The disk is full or fails. The frame is taken nevertheless, and held in memory; the next
            call tries again to write it.
        """
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
        self._journal.append(Record(FRAME, frame))
        return self._carry_out(self._stream.take(frame, frame_id))

    def end(self) -> list[Decision]:
        """Decide all that waits, as at the end of a trip; raises OutputError as :meth:`push`."""
        self._journal.append(Record(END))
        decisions = self._carry_out(self._stream.finish())
        self._flush(sync=True)
        return decisions

    def kept(self) -> list[Decision]:
        """All kept frames, best first."""
        return self._stream.kept()

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

    def _was_pushed(self, number: int) -> bool:
        """Whether an earlier run pushed a frame that is neither kept nor waits."""
        if self._stream.knows(number) or not len(self._before):
            return False
        at = int(np.searchsorted(self._before, np.uint64(number)))
        return at < len(self._before) and int(self._before[at]) == number

    def _carry_out(self, told: list[tuple[int, Decision]]) -> list[Decision]:
        self._note(told)
        for number, decision in told:
            if decision.action == "keep":
                if number not in self._written:
                    self._unwritten.add(number)
                continue
            if decision.action == "evict":
                self._evict(number, hold=decision.waiting)
            if not decision.waiting:
                self._held.pop(number, None)
                self._names.pop(number, None)
        self._flush(sync=bool(told))
        return [decision for _, decision in told]

    def _note(self, told: list[tuple[int, Decision]]) -> None:
        if self._remember:
            self.decided.update(told)

    def _evict(self, number: int, *, hold: bool) -> None:
        self._unwritten.discard(number)
        if number not in self._written:
            return
        self._written.discard(number)
        path = self.path_of(self._names[number])
        if hold:  # it may be kept once more
            self._held[number] = path.read_bytes()
        self._evicted.append(path)

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
            self._journal.sync()
            self._remove()
            self._rename()
        except OSError as error:
            raise self._failed(error) from error

    def _write_new(self) -> None:
        for number in sorted(self._unwritten - set(self._renamed)):
            if number not in self._held or number not in self._names:
                continue  # lost in a stop; it comes again
            path = self.path_of(self._names[number])
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(path.name + _NEW)
            try:
                with open(new, "wb") as file:
                    file.write(self._held[number])
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                new.unlink(missing_ok=True)
                raise
            self._renamed.append(number)

    def _remove(self) -> None:
        for path in self._evicted:
            path.unlink(missing_ok=True)
        folders = {path.parent for path in self._evicted}
        self._evicted.clear()
        for folder in folders:
            if folder.exists():
                sync_folder(folder)

    def _rename(self) -> None:
        folders = set()
        for number in self._renamed:
            if number not in self._unwritten:  # evicted meanwhile
                continue
            path = self.path_of(self._names[number])
            path.with_name(path.name + _NEW).replace(path)
            folders.add(path.parent)
            self._unwritten.discard(number)
            self._written.add(number)
            self._held.pop(number, None)
        self._renamed.clear()
        for folder in folders:
            sync_folder(folder)

    # ---- after a restart -----------------------------------------------------------------------

    def _recovered(self) -> Stream:
        """The stream as the journal tells it, with the folder brought in line."""
        text = json.dumps(asdict(self._rules), default=str, sort_keys=True)
        digest = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")
        records = self._journal.records
        if not records:
            self._journal.append(Record(RULES, Frame(digest, 0, 0, 0.0, 0, 0, None)))
            self._journal.sync()
        elif records[0].kind != RULES or records[0].frame.number != digest:
            raise UsageError(
                f"{self.folder} was recorded with other rules: choose another folder, or the rules "
                "that it began with"
            )
        files = self._files()
        lost = {record.frame.number for record in records if record.kind == LOST}
        while True:
            stream = self._pushed(records, lost, files)
            gone = (stream.kept_numbers() | stream.waiting_numbers()) - set(files)
            if self._again or not gone:
                break
            for number in sorted(gone):
                self._journal.append(Record(LOST, Frame(number, 0, 0, 0.0, 0, 0, None)))
            lost |= gone
        if not self._again and len(records) > 1:
            # Frames that are gone no longer tell the time, so what has a file is decided now.
            self._journal.append(Record(END))
            self._note(stream.finish())
        kept = stream.kept_numbers()
        self._journal.sync()
        numbers = [record.frame.number for record in records if record.kind == FRAME]
        self._before = np.sort(np.array(numbers, np.uint64))
        self._journal.records = []
        for number in set(files) - kept:
            files.pop(number)[0].unlink(missing_ok=True)
        for number, (path, name) in files.items():
            self._names[number] = name
            final = self.path_of(name)
            if path != final:
                path.replace(final)
                sync_folder(final.parent)
        self._written = set(files)
        self._unwritten = kept - set(files)
        return stream

    def _pushed(
        self, records: list[Record], lost: set[int], files: dict[int, tuple[Path, str]]
    ) -> Stream:
        stream = Stream.of(self._rules)
        self.decided.clear()
        for record in records:
            number = record.frame.number
            if record.kind == END:
                self._note(stream.finish())
            elif record.kind == FRAME and number not in lost and not stream.knows(number):
                name = files[number][1] if number in files else f"#{number}"
                self._note(stream.take(record.frame, name))
        return stream

    def _files(self) -> dict[int, tuple[Path, str]]:
        """Files of frames by number, with their ids; a final name wins over a new file."""
        found: dict[int, tuple[Path, str]] = {}
        for new in (True, False):
            for path in sorted(self._frames.rglob("*")):
                if path.is_dir() or path.name.endswith(_NEW) != new:
                    continue
                shown = list(path.relative_to(self._frames).parts)
                shown[-1] = shown[-1].removesuffix(_NEW if new else "")
                parts = ["" if part == "%" else part for part in shown]
                name = unquote("/".join(parts), errors="surrogatepass")
                number = number_of(name)
                if number in found:
                    found[number][0].unlink(missing_ok=True)
                found[number] = path, name
        return found

    def _failed(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot write to {self.folder}: {error.strerror}; what is kept so far is safe"
        )
