"""Ids of items: paths as valid UTF-8 and back, sequences from ids, shards by their hash."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from hashlib import blake2b

from deal.errors import UsageError

__all__ = ["Shard", "id_to_path", "parse_shard", "path_to_id", "sequence_pattern", "stored_path"]

# What id_to_path decodes: a byte that is not UTF-8 (always 80…FF), or a percent sign.
_ESCAPE = re.compile(rb"%(25|[89A-F][0-9A-F])")


def path_to_id(path: str) -> str:
    """Valid UTF-8 that stands for a path, one to one.

    Bytes that are not UTF-8 become ``%XX`` (upper-case hex, 80 to FF). A percent sign of the
    name itself becomes ``%25`` only where :func:`id_to_path` would take it for an escape: before
    ``25`` or such an ``XX``. So ``50%.jpg`` and ``a%20b.jpg`` stay as they are.

    Parameters
    ----------
    path : str
        In ``os.fsdecode`` form.
    """
    if "%" not in path and path.isascii():
        return path
    raw = _ESCAPE.sub(rb"%25\1", os.fsencode(path))
    text = raw.decode("utf-8", "surrogateescape")
    return re.sub("[\udc80-\udcff]", lambda match: f"%{ord(match[0]) - 0xDC00:02X}", text)


def id_to_path(item_id: str) -> str:
    """Invert :func:`path_to_id`: the path in ``os.fsdecode`` form."""
    return stored_path(item_id)


def stored_path(text: str) -> str:
    """As :func:`id_to_path`, of a text in ``os.fsdecode`` form."""
    if "%" not in text:
        return text
    return os.fsdecode(_ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), os.fsencode(text)))


def sequence_pattern(text: str, name: str = "--sequence-from") -> re.Pattern[str]:
    """Compile ``--sequence-from``, searched in an id: its first group is the sequence.

    UsageError, which calls it by ``name``, for what is no regular expression or has no group.
    """
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(f"{name} {text!r} is not a regular expression: {error}") from error
    if not pattern.groups:
        raise UsageError(f"{name} {text!r} has no group: put ( ) round the sequence")
    return pattern


@dataclass(frozen=True, slots=True)
class Shard:
    """One of ``count`` disjoint parts of a pool, ``0 ≤ index < count``; ``str`` gives ``i/n``."""

    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise UsageError(
                f"shard {self}: the index counts from 0, so 0/{max(self.count, 1)} to "
                f"{max(self.count, 1) - 1}/{max(self.count, 1)} are possible"
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def contains(self, item_id: str) -> bool:
        """Whether the item is in this shard, the same on every machine.

        It is when the 8-byte BLAKE2b of the UTF-8 id (person ``deal.shard``), little-endian, modulo
        ``count`` equals ``index``.
        """
        if self.count == 1:
            return True
        hashed = blake2b(item_id.encode(), digest_size=8, person=b"deal.shard").digest()
        return int.from_bytes(hashed, "little") % self.count == self.index


def parse_shard(text: str) -> Shard:
    """Read ``i/n``, 0 ≤ i < n; UsageError otherwise."""
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text, re.ASCII)
    if match is None:
        raise UsageError(f"shard {text!r}: write it as i/n with 0 ≤ i < n, such as 0/4")
    return Shard(int(match[1]), int(match[2]))
