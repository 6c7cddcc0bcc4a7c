"""Archives that are not read as they are: which these are, and what unpacks them."""

from __future__ import annotations

import shlex

from deal.pool.ids import path_to_id

__all__ = ["PACKED_SUFFIXES", "unpacking"]

# First bytes, suffixes, and the program that unpacks.
_PACKED = (
    (b"\x1f\x8b", (".tar.gz", ".tgz"), "gunzip {}"),
    (b"BZh", (".tar.bz2", ".tbz2", ".tbz"), "bunzip2 {}"),
    (b"\xfd7zXZ\0", (".tar.xz", ".txz"), "unxz {}"),
    (b"\x28\xb5\x2f\xfd", (".tar.zst", ".tzst"), "unzstd {}"),
    (b"\x04\x22\x4d\x18", (".tar.lz4",), "unlz4 {}"),
    (b"PK\x03\x04", (".zip",), "unzip {} -d FOLDER"),
    (b"7z\xbc\xaf\x27\x1c", (".7z",), "7z x {} -oFOLDER"),
    (b"Rar!\x1a\x07", (".rar",), "unrar x {} FOLDER/"),
)
PACKED_SUFFIXES = tuple(suffix for _, suffixes, _ in _PACKED for suffix in suffixes)
"""Ends of their names, in lower case."""


def unpacking(name: str, start: bytes = b"") -> str | None:
    """How to unpack an archive, by its name or first bytes; None for another file."""
    for magic, suffixes, program in _PACKED:
        if name.lower().endswith(suffixes) or start.startswith(magic):
            file = shlex.quote(path_to_id(name.rpartition("/")[2]))
            then = ", and name that folder" if "FOLDER" in program else ""
            return f"unpack it once with {program.format(file)}{then}"
    return None
