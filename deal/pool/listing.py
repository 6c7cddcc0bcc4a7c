"""Pool sources → a stream of items.

A source is a folder (searched recursively, in byte order of the paths, never through symlinked
folders), a glob (``*``, ``?``, ``[…]`` within a name, ``**`` for any number of folders; ``*`` also
matches a leading dot), one image, or a manifest (:mod:`deal.pool.manifest`). The contact sheet that
an earlier run left in a folder of results is no image of a folder or glob.

Memory: the names in the folders on the path being listed; and, when uniqueness of ids does not
follow from one folder or glob alone (several sources, or a manifest), a
:class:`~deal.pool.digests.DigestMap` of the ids, 24 to 48 bytes an image.
"""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH100, PTH112, PTH116, PTH118, PTH119

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fnmatch import translate
from heapq import merge
from itertools import chain, pairwise

from deal.errors import PoolError, UsageError
from deal.pool.digests import DigestMap, digest
from deal.pool.ids import Shard, path_to_id, sequence_pattern
from deal.pool.manifest import MANIFEST_SUFFIXES, read_manifest
from deal.types import FailedItem, PoolItem

__all__ = ["IMAGE_SUFFIXES", "Pool"]

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

Source = str | os.PathLike[str]
_Listing = Iterator[PoolItem | FailedItem]

_RUN = 4096  # names that are objects at once
_OUTPUT = {b"runs/", b"selection.json", b"previews.jpg"}  # in an output of ours


class Pool:
    """The images of some sources: to be counted, and listed in the order of the sources.

    Each iteration lists the sources anew and gives a :class:`PoolItem` per image. Its id is the
    path relative to the pool root: the folder itself, the part of a glob before the first ``*``,
    ``?`` or ``[``, the folder of a single image, or the manifest's folder. A folder that cannot be
    listed is a :class:`FailedItem` (``io``) whose id ends with ``/``; an image that is missing or
    not a regular file is one too.

    Parameters
    ----------
    sources : path or sequence of paths
        An existing path is taken as it is; otherwise one with ``*``, ``?`` or ``[`` is a glob.
    sequence_from : str, optional
        Regular expression searched in each id; its first group is the sequence of images whose
        manifest names none.
    shard : Shard, optional
        Keep only this part of the pool.

    Raises
    ------
    UsageError
        ``sequence_from`` is not a regular expression with a group. Raised by ``iter``.
    PoolError
        A source is missing or of unknown kind, folders overlap, a manifest is malformed, or
        nothing is found (raised by ``iter``); two images have the same id, or a later line of a
        manifest is malformed (raised when reached; :meth:`count` finds both beforehand).
    """

    def __init__(
        self,
        sources: Source | Sequence[Source],
        *,
        sequence_from: str | None = None,
        shard: Shard | None = None,
    ) -> None:
        self.sources = _as_list(sources)
        self.sequence_from = sequence_from
        self.shard = shard or Shard()

    def __iter__(self) -> Iterator[PoolItem | FailedItem]:
        return map(_stat, self._entries())

    def count(self) -> int:
        """Count the items without touching the images; raises all that listing can raise."""
        return sum(1 for _ in self._entries())

    def _entries(self) -> _Listing:
        listing = _listing(self.sources, self.sequence_from)
        return (entry for entry in listing if self.shard.contains(_item(entry).id))


def _item(entry: PoolItem | FailedItem) -> PoolItem:
    return entry if isinstance(entry, PoolItem) else entry.item


def _as_list(sources: Source | Sequence[Source]) -> list[str]:
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    return [os.fspath(source) for source in sources]


def _names(sources: Source | Sequence[Source]) -> str:
    return ", ".join(repr(path_to_id(source)) for source in _as_list(sources))


def _listing(names: list[str], sequence_from: str | None) -> _Listing:
    """Check every source, then list them one after the other; nothing is stat'ed yet."""
    if not names:
        raise UsageError("no pool: name a folder, glob, image or manifest")
    pattern = None if sequence_from is None else sequence_pattern(sequence_from)
    opened = [_open_source(name) for name in names]
    _refuse_overlap(names)
    structural = len(names) == 1 and not _is_manifest(names[0])
    items = opened[0]() if structural else _unique(names, opened)
    first = next(items, None)
    if first is None:
        raise PoolError(
            f"no image found in {_names(names)}; of folders and globs, files that end in "
            f"{', '.join(IMAGE_SUFFIXES)} (any case) are taken"
        )
    items = chain([first], items)
    return items if pattern is None else _with_sequence(items, pattern)


def _with_sequence(items: _Listing, pattern: re.Pattern[str]) -> _Listing:
    for entry in items:
        match = None if isinstance(entry, FailedItem) else pattern.search(entry.id)
        if match is None or isinstance(entry, FailedItem) or entry.sequence is not None:
            yield entry
        else:
            yield replace(entry, sequence=match[1])


def _refuse_overlap(names: list[str]) -> None:
    folders = sorted((os.path.realpath(name) + "/", name) for name in filter(os.path.isdir, names))
    for (outer, first), (inner, second) in pairwise(folders):
        if inner.startswith(outer):
            raise PoolError(
                f"{_names(first)} and {_names(second)} overlap, so images would be ranked twice: "
                f"name {_names(first)} alone"
            )


def _unique(names: list[str], opened: list[Callable[[], _Listing]]) -> _Listing:
    seen = DigestMap()
    for index, listing in enumerate(opened):
        for entry in listing():
            item_id = _item(entry).id
            key = digest(item_id)
            other = seen.get(key)
            if other == index:
                raise PoolError(
                    f"{_names(names[index])} gives the id {item_id!r} twice; name each once"
                )
            if other is not None:
                raise PoolError(
                    f"{_names(names[other])} and {_names(names[index])} both give the id "
                    f"{item_id!r}; name each image once, or pass a common parent folder or a "
                    "manifest with ids of its own"
                )
            seen[key] = index
            yield entry


def _is_manifest(name: str) -> bool:
    return name.lower().endswith(MANIFEST_SUFFIXES) and not os.path.isdir(name)


def _open_source(name: str) -> Callable[[], _Listing]:
    """Check a source; the result lists it from the start whenever called."""
    if not name:  # an unset variable of a script, not the current folder
        raise PoolError("a pool source is empty: name a folder, glob, image or manifest")
    path = os.path.abspath(name)
    if os.path.isdir(path):
        return lambda: _walk(path, ("**", "*"))
    if os.path.lexists(path):
        if _is_manifest(path):
            next(read_manifest(path), None)
            return lambda: _manifest(path)
        if path.lower().endswith(IMAGE_SUFFIXES):
            folder, file = os.path.split(path)
            return lambda: iter([_image(folder, file)])
        raise PoolError(
            f"{_names(name)} is neither a folder, an image ({', '.join(IMAGE_SUFFIXES)}) "
            f"nor a manifest ({', '.join(MANIFEST_SUFFIXES)})"
        )
    parts = name.split("/")
    fixed = next((i for i, part in enumerate(parts) if re.search(r"[*?[]", part)), None)
    if fixed is None:
        raise PoolError(f"{_names(name)} does not exist, or its folder cannot be searched")
    root = os.path.abspath("/".join([*parts[:fixed], ""]) or ".")
    if not os.path.isdir(root):
        raise PoolError(f"{_names(name)} matches nothing: {_names(root)} is not a folder")
    pattern = [part for part in parts[fixed:] if part not in ("", ".")]
    if ".." in pattern:
        raise PoolError(f"{_names(name)}: '..' cannot follow a wildcard; write the path without it")
    if pattern[-1] == "**":
        pattern.append("*")
    return lambda: _walk(root, pattern)


def _manifest(name: str) -> _Listing:
    for row in read_manifest(name):
        yield PoolItem(
            id=row.id or path_to_id(row.relative),
            uri=path_to_id(row.path),
            path=row.path,
            source_version="",
            sequence=row.sequence,
            camera=row.camera,
            timestamp_ns=row.timestamp_ns,
            attributes=row.attributes,
        )


def _image(root: str, relative: str) -> PoolItem:
    path = os.path.join(root, relative)
    return PoolItem(id=path_to_id(relative), uri=path_to_id(path), path=path, source_version="")


class _Pattern:
    """A glob over the components of a path, matched one component at a time.

    A set of positions in the pattern stands for a folder, so that every file is seen once, however
    many ``**`` there are, and no folder is entered in which nothing can match.
    """

    def __init__(self, parts: Sequence[str]) -> None:
        self._parts = [None if part == "**" else re.compile(translate(part)) for part in parts]
        self.start = self._closure({0})
        self.end = len(parts)

    def step(self, positions: frozenset[int], name: str) -> frozenset[int]:
        """Positions behind ``name``; ``end`` is among them when the whole pattern matches."""
        following = set()
        for position in positions - {self.end}:
            part = self._parts[position]
            if part is None:
                following.add(position)
            elif part.match(name):
                following.add(position + 1)
        return self._closure(following)

    def _closure(self, positions: set[int]) -> frozenset[int]:
        for position, part in enumerate(self._parts):
            if part is None and position in positions:  # ** may stand for no folder at all
                positions.add(position + 1)
        return frozenset(positions)


def _walk(root: str, parts: Sequence[str]) -> _Listing:
    """Images below ``root`` whose relative path matches the pattern, in byte order."""
    pattern = _Pattern(parts)
    levels: list[tuple[str, frozenset[int], Iterator[bytes]]] = []
    enter: tuple[str, frozenset[int]] | None = ("", pattern.start)
    while enter:
        folder, positions = enter
        enter = None
        try:
            levels.append((folder, positions, _names_in(os.path.join(root, folder))))
        except OSError as error:
            yield _unlisted(root, folder, error)
        while levels and not enter:
            folder, positions, names = levels[-1]
            entry = next(names, None)
            if entry is None:
                levels.pop()
                continue
            name = os.fsdecode(entry)
            following = pattern.step(positions, name.removesuffix("/"))
            if name.endswith("/"):
                if following - {pattern.end}:
                    enter = folder + name, following
            elif pattern.end in following and name.lower().endswith(IMAGE_SUFFIXES):
                yield _image(root, folder + name)


def _unlisted(root: str, folder: str, error: OSError) -> FailedItem:
    item = _image(root, folder)
    if not folder:
        item = replace(item, id=path_to_id(os.path.basename(root) + "/"))
    return FailedItem(item, "io", f"cannot list the folder: {error.strerror}")


def _names_in(folder: str) -> Iterator[bytes]:
    """Names in a folder in byte order; folders end with ``/``, symlinked folders are left out."""
    runs: list[bytes] = []
    names: list[bytes] = []
    own: set[bytes] = set()
    with os.scandir(os.fsencode(folder)) as entries:  # bytes take a third of the memory
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                name = entry.name + b"/"
            elif not _leads_to_folder(entry):
                name = entry.name
            else:
                continue
            names.append(name)
            if name in _OUTPUT:
                own.add(name)
            if len(names) == _RUN:
                runs.append(_sorted_run(names))
                names = []
    runs.append(_sorted_run(names))
    merged = merge(*map(_split, runs))
    if own == _OUTPUT:
        return (name for name in merged if name != b"previews.jpg")
    return merged


def _sorted_run(names: list[bytes]) -> bytes:
    """Names in byte order between zero bytes: a quarter of the memory of as many objects."""
    return b"\0".join(sorted(names))


def _split(run: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(run):
        end = run.find(b"\0", start)
        end = len(run) if end < 0 else end
        yield run[start:end]
        start = end + 1


def _leads_to_folder(entry: os.DirEntry[bytes]) -> bool:
    try:
        return entry.is_symlink() and entry.is_dir()
    except OSError:  # where it leads is hidden; if it is called like an image, its row will say so
        return False


def _stat(entry: PoolItem | FailedItem) -> PoolItem | FailedItem:
    if isinstance(entry, FailedItem):
        return entry
    try:
        status = os.stat(entry.path)
    except OSError as error:
        return FailedItem(entry, "io", f"cannot read the file: {error.strerror}")
    item = replace(entry, source_version=f"{status.st_size}-{status.st_mtime_ns}")
    if not stat.S_ISREG(status.st_mode):
        return FailedItem(item, "io", "not a regular file")
    return item
