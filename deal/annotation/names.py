"""What a name in an export means: tools drop the folders and endings of names they were given."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Generic, TypeVar

__all__ = ["Names"]

T = TypeVar("T")


class Names(Generic[T]):
    """Things by their paths, which have ``/`` or, from Windows, backslashes."""

    def __init__(self, entries: Iterable[tuple[str, T]]) -> None:
        self._known: dict[str, list[tuple[PurePosixPath, T]]] = {}
        for name, value in entries:
            path = _path(name)
            entry = path, value
            for key in {path.name, path.stem}:
                self._known.setdefault(key, []).append(entry)

    def find(self, name: str) -> list[T]:
        """What a name may mean: the thing of this very path, else all whose path ends alike.

        Two paths end alike if one of them is the end of the other. If there is no such path, the
        name lacks the ending of the file, or has another.
        """
        path = _path(name)
        near = {id(known): known for key in (path.name, path.stem) for known in self._of(key)}
        alike = [known for known in near.values() if _agree(known[0].parent, path.parent)]
        for found in (
            [known for known in alike if known[0] == path],
            [known for known in alike if known[0].name == path.name],
            [known for known in alike if known[0].stem == path.name],
            alike,
        ):
            if found:
                return [value for _, value in found]
        return []

    def _of(self, key: str) -> list[tuple[PurePosixPath, T]]:
        return self._known.get(key, [])


def _path(name: str) -> PurePosixPath:
    return PurePosixPath(name.replace("\\", "/"))


def _agree(one: PurePosixPath, other: PurePosixPath) -> bool:
    shorter, longer = sorted((one.parts, other.parts), key=len)
    return longer[len(longer) - len(shorter) :] == shorter
