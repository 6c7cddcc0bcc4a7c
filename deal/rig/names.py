"""Names of files for ids of frames: readable, one per id, and none inside another.

An id is a path below ``frames``. What can be printed stays, but for signs of ASCII that file
systems or shells take for something else; all else is written as ``%XX`` per byte. An id may be
the folder of another (``a`` and ``a/b.jpg``), so names tell files from folders: a folder's dots are
written as ``%2E``, and a file has a dot or ends with ``%``.

======================  ========================
id                      file below ``frames``
======================  ========================
``drive/000123.jpg``    ``drive/000123.jpg``
``a`` and ``a/b.jpg``   ``a%`` and ``a/b.jpg``
``v1.0/x.jpg``          ``v1%2E0/x.jpg``
``../x.jpg``            ``%2E%2E/x.jpg``
``a//b.jpg``            ``a/%%/b.jpg``
``straße/07:15.jpg``    ``straße/07%3A15.jpg``
======================  ========================
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote, unquote

from deal.errors import UsageError

__all__ = ["NEW", "file_parts", "id_of"]

NEW = ".new"
"""What the name of a file ends with until the journal knows of it."""

_SAFE = frozenset(" !#$&'()+,;=@[]{}~-_.")
_LONGEST = 255 - len(NEW)  # bytes of a name
_LONGEST_PATH = 2000  # of the 4096 that a path may have
_DEEPEST = 100


def file_parts(frame_id: str) -> list[str]:
    """Folders and file of an id; UsageError if a name is longer than files allow."""
    *folders, name = ("".join(map(_shown, part)) for part in frame_id.split("/"))
    if name.startswith("."):
        name = "%2E" + name[1:]
    if name.endswith(NEW):
        name = name.removesuffix(NEW) + NEW.replace(".", "%2E")
    if "." not in name:
        name += "%"
    parts = [folder.replace(".", "%2E") or "%%" for folder in folders] + [name]
    lengths = [len(part.encode()) for part in parts]
    if max(lengths) > _LONGEST or sum(lengths) > _LONGEST_PATH or len(parts) > _DEEPEST:
        raise UsageError(
            f"the id {frame_id[:40]!r}… needs a longer name of its file, or more folders, than "
            f"there may be ({_LONGEST} bytes, {_DEEPEST} folders): give shorter ids"
        )
    return parts


def _shown(character: str) -> str:
    if character.isalnum() or character in _SAFE:
        return character
    if character.isprintable() and not character.isascii():  # signs that belong to letters, too
        return character
    return quote(character.encode("utf-8", "surrogatepass"), safe="")


def id_of(parts: Sequence[str]) -> str:
    """The id of a file by its folders and name, those that earlier versions wrote among them."""
    shown = ["" if part in ("%", "%%") else part for part in parts]
    shown[-1] = shown[-1].removesuffix("%")
    return unquote("/".join(shown), errors="surrogatepass")
