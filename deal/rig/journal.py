"""The journal of a recorder: one record per frame, each with its own checksum.

The selector is deterministic, so the frames that were pushed are all there is to store: pushing
them again gives the same state. A record has 264 bytes, little-endian: the magic ``DEAL``, the
CRC-32 of what follows, the number of the record, its kind, camera, id (hash), timestamp, bytes,
score, sequence (hash), whether a signature follows, and the signature.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from deal.machine.files import sync_folder
from deal.selection.stream import Frame

__all__ = ["END", "FRAME", "LOST", "PINNED", "RECORD_BYTES", "RULES", "SENT", "Journal", "Record"]

RULES, FRAME, LOST, END, PINNED, SENT = range(6)
"""Kinds of records: the rules of the stream; a frame; a frame whose data is gone; a trip's end; a
frame that a link begins to send; one that is sent."""

_MAGIC = b"DEAL"
_RECORD = struct.Struct("<4sIQIiQqqdQQ192s")
RECORD_BYTES = _RECORD.size
_CHECKED = 8  # bytes before what the checksum covers
_NO_FRAME = Frame(0, 0, 0, 0.0, 0, 0, None)


@dataclass(frozen=True, slots=True)
class Record:
    """A record: its kind, and a frame, of which only the id counts for the other kinds."""

    kind: int
    frame: Frame = _NO_FRAME

    def encoded(self, number: int) -> bytes:
        """The record as bytes."""
        f = self.frame
        rest = _RECORD.pack(
            _MAGIC,
            0,
            number,
            self.kind,
            f.camera,
            f.number,
            f.timestamp_ns,
            f.size,
            f.score,
            f.sequence,
            f.signature is not None,
            f.signature or b"",
        )[_CHECKED:]
        return _MAGIC + zlib.crc32(rest).to_bytes(4, "little") + rest

    @classmethod
    def decoded(cls, data: bytes, number: int) -> Record | None:
        """Read a record; None if it is torn, damaged or another than this number."""
        if len(data) != RECORD_BYTES:
            return None
        magic, crc, found, kind, camera, frame, time, size, score, sequence, signed, signature = (
            _RECORD.unpack(data)
        )
        if magic != _MAGIC or crc != zlib.crc32(data[_CHECKED:]) or found != number:
            return None
        given = signature if signed else None
        return cls(kind, Frame(frame, time, size, score, sequence, camera, given))


class Journal:
    """An append-only file of records; what is read ends at the first record that is not whole.

    Parameters
    ----------
    path : Path
        Made if it does not exist.
    passing : bool
        Pass over damaged records behind the first, as long as whole ones follow: for frames that do
        not come again.
    """

    def __init__(self, path: Path, *, passing: bool = False) -> None:
        new = not path.exists()
        self._file = open(path, "r+b" if not new else "w+b", buffering=0)  # noqa: SIM115
        if new:
            sync_folder(path.parent)
        self._count = 0
        self._waiting: list[bytes] = []  # records that could not be written yet
        self.records: list[Record] = list(self._read(passing))

    @property
    def is_damaged(self) -> bool:
        """Whether there are records, of which not even the first, synced before them, is whole."""
        return not self._count and os.fstat(self._file.fileno()).st_size > RECORD_BYTES

    def cut(self) -> None:
        """Cut off what follows the last record that was read: before any is added."""
        self._file.truncate(self._count * RECORD_BYTES)

    def begin_anew(self) -> None:
        """Forget all records, on disk too; raises OSError."""
        self._file.truncate(0)
        self._count, self.records = 0, []

    def read_again(self) -> None:
        """Write what was added, and read all records from the first on; raises OSError."""
        self.sync()
        self._file.seek(0)
        self.records = list(self._read(passing=True))

    def _read(self, passing: bool) -> Iterator[Record]:
        with open(self._file.fileno(), "rb", closefd=False) as file:
            for number in count():
                data = file.read(RECORD_BYTES)
                record = Record.decoded(data, number)
                if record is not None:
                    self._count = number + 1
                    yield record
                elif not (passing and number and data):
                    return

    def append(self, record: Record) -> None:
        """Add a record; :meth:`sync` writes it."""
        self._waiting.append(record.encoded(self._count + len(self._waiting)))

    def write(self) -> None:
        """Write what was added, without waiting for the disk; after an OSError call it again."""
        while self._waiting:
            self._file.seek(self._count * RECORD_BYTES)
            data = self._waiting[0]
            if self._file.write(data) != len(data):  # a full disk takes a part
                raise OSError(28, os.strerror(28))
            self._count += 1
            del self._waiting[0]

    def sync(self) -> None:
        """Write what was added, and wait until it is on disk; raises OSError."""
        self.write()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self._file.close()
