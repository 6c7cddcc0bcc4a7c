"""Pool sources → a stream of items.

A source is a folder (searched recursively, in byte order of the paths, never through symlinked
folders), a glob (``*``, ``?``, ``[…]`` within a name, ``**`` for any number of folders), one image,
a manifest (:mod:`deal.pool.manifest`), or a file that holds images (:mod:`deal.pool.containers`):
named, counted in braces (``{000..999}``), or matched by a glob that ends as its name does.

Names below a folder that begin with a dot are left out, as shells do: a glob takes them by a dot of
its own. The contact sheet that an earlier run left in a folder of results is no image of a folder
or glob.

Memory: the names in the folders on the path being listed; and, when uniqueness of ids does not
follow from one folder or glob alone (several sources, or a manifest), a
:class:`~deal.pool.digests.DigestMap` of the ids, 24 to 48 bytes an image.
"""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH100, PTH112, PTH113, PTH118, PTH119

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, pairwise
from typing import NamedTuple

from deal.errors import ItemError, PoolError, UsageError
from deal.machine.threads import overlapped
from deal.pool.containers import (
    PARQUET,
    check_container,
    expand_braces,
    holds_images,
    list_container,
    refuse_packed,
)
from deal.pool.digests import DigestMap, digest
from deal.pool.far import check_far, list_far
from deal.pool.formats import CONTAINER_SUFFIXES, IMAGE_SUFFIXES
from deal.pool.ids import Shard, path_to_id, sequence_pattern
from deal.pool.inside import Reading
from deal.pool.locator import LocalFile, Stored
from deal.pool.manifest import MANIFEST_SUFFIXES, read_manifest
from deal.pool.manifest_batches import TableManifest
from deal.pool.manifest_items import is_table_manifest, list_manifest
from deal.pool.reach import Reach
from deal.pool.remote import DOWNLOADS, RemoteObject, list_store
from deal.pool.schemes import STORES, is_remote, refuse_scheme, scheme_of
from deal.pool.walk import SKIPPED, Pattern, passed_over, walk
from deal.types import FailedItem, PoolItem

__all__ = ["IMAGE_SUFFIXES", "Pool"]

Source = str | os.PathLike[str]
_Listing = Iterator[PoolItem | FailedItem]

_NAMED = (*CONTAINER_SUFFIXES, PARQUET)


class Pool:
    """The images of some sources: to be counted, and listed in the order of the sources.

    Each iteration lists the sources anew and gives a :class:`PoolItem` per image. Its id is the
    path relative to the pool root: the folder itself, the folders of a glob before the first
    wildcard, the folder of a single image, or the manifest's folder. A folder that cannot be listed
    is a :class:`FailedItem` (``io``) whose id ends with ``/``; an image that is missing or not a
    regular file is one too.

    Parameters
    ----------
    sources : path or sequence of paths
        An existing path, or the folders with which it begins, are taken as they are; otherwise one
        with ``*``, ``?`` or ``[`` is a glob.
    sequence_from : str, optional
        Regular expression searched in each id; its first group is the sequence of images whose
        manifest names none.
    shard : Shard, optional
        Keep only this part of the pool.
    skip : sequence of str
        Globs; images whose id, or a folder of it, matches one are left out. One without ``/``
        matches names in any folder.
    reading : Reading, optional
        What is read of files that hold images.

    Attributes
    ----------
    passed : Counter
        What the latest listing has passed over; complete at its end (:meth:`notes`).

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
        skip: Sequence[str] = (),
        reading: Reading | None = None,
    ) -> None:
        self.sources = _as_list(sources)
        self.sequence_from = sequence_from
        self.shard = shard or Shard()
        self.reading = reading or Reading()
        self.passed: Counter[str] = Counter()
        self._said: dict[str, None] = {}
        self._skip = [Pattern.anywhere(text) for text in skip]

    def __iter__(self) -> Iterator[PoolItem | FailedItem]:
        return self._versioned(self._entries())

    def only(self, wanted: Callable[[str], bool]) -> Iterator[PoolItem | FailedItem]:
        """List those items whose ids are wanted; nothing is looked up of the others."""
        return self._versioned(entry for entry in self._entries() if wanted(_item(entry).id))

    @property
    def takes_rows(self) -> bool:
        """Whether a shard is a range of rows, as of one manifest in Parquet, and no hash of ids."""
        return self.shard.count > 1 and is_table_manifest(self.sources, self.reading)

    def count(self) -> int:
        """Count the items without touching the images; raises all that listing can raise."""
        if not self._skip and is_table_manifest(self.sources, self.reading):
            table = TableManifest(os.path.abspath(self.sources[0]), self.shard, lambda note: None)
            table.check()
            if len(table):
                return len(table)
        return sum(1 for _ in self._entries())

    def listed(self) -> _Listing:
        """List the items without looking up their versions."""
        return self._entries()

    def ids(self) -> Iterator[str]:
        """List the ids of the items."""
        return (_item(entry).id for entry in self._entries())

    def _versioned(self, entries: _Listing) -> _Listing:
        versioned = partial(_versioned, reach=Reach())
        ready = overlapped(entries, versioned, _unknown, threads=DOWNLOADS, room=DOWNLOADS)
        return map(versioned, ready)

    def _entries(self) -> _Listing:
        passed: Counter[str] = Counter()
        said: dict[str, None] = {}  # in the order in which it was said first
        self.passed, self._said = passed, said
        rows = self.shard if self.takes_rows else Shard()
        found = _Found(self.reading, passed, lambda note: said.setdefault(note), rows)
        listing = _listing(self.sources, self.sequence_from, found, self._skip)
        if self.shard.count == 1 or self.takes_rows:
            return listing
        return (entry for entry in listing if self.shard.contains(_item(entry).id))

    def notes(self) -> list[str]:
        """What the user should hear of the latest listing, once it has ended."""
        text = passed_over(self.passed)
        return [*([f"passed over: {text}"] if text else []), *self._said]


class _Found(NamedTuple):
    """Where a listing leaves what the user should hear."""

    reading: Reading
    passed: Counter[str]
    say: Callable[[str], None]
    rows: Shard  # of a manifest in Parquet


def _item(entry: PoolItem | FailedItem) -> PoolItem:
    return entry if isinstance(entry, PoolItem) else entry.item


def _as_list(sources: Source | Sequence[Source]) -> list[str]:
    if isinstance(sources, (str, os.PathLike)):
        sources = [sources]
    return [os.fspath(source) for source in sources]


def _names(sources: Source | Sequence[Source]) -> str:
    return ", ".join(repr(path_to_id(source)) for source in _as_list(sources))


def _listing(
    names: list[str], sequence_from: str | None, found: _Found, skip: list[Pattern]
) -> _Listing:
    """Check every source, then list them one after the other; nothing is stat'ed yet."""
    if not names:
        raise UsageError("no pool: name a folder, glob, image or manifest")
    pattern = None if sequence_from is None else sequence_pattern(sequence_from)
    opened = [_open_source(name, found) for name in names]
    _refuse_overlap(names)
    structural = len(names) == 1 and (
        not _is_manifest(names[0]) or is_table_manifest(names, found.reading)
    )
    items = opened[0]() if structural else _unique(names, opened)
    if skip:
        items = _without(items, skip, found.passed)
    first = next(items, None)
    if first is None and found.rows.count > 1:
        return items
    if first is None:
        others = passed_over(found.passed)
        raise PoolError(
            f"no image found in {_names(names)}; of folders and globs, files that end in "
            f"{', '.join(IMAGE_SUFFIXES)} (any case) are taken"
            + (f"; passed over: {others}" if others else "")
        )
    items = chain([first], items)
    return items if pattern is None else _with_sequence(items, pattern)


def _without(items: _Listing, skip: list[Pattern], passed: Counter[str]) -> _Listing:
    for entry in items:
        if any(pattern.matches(_item(entry).id) for pattern in skip):
            passed[SKIPPED] += 1
        else:
            yield entry


def _with_sequence(items: _Listing, pattern: re.Pattern[str]) -> _Listing:
    for entry in items:
        match = None if isinstance(entry, FailedItem) else pattern.search(entry.id)
        if match is None or isinstance(entry, FailedItem) or entry.sequence is not None:
            yield entry
        else:
            yield replace(entry, sequence=match[1])


def _refuse_overlap(names: list[str]) -> None:
    folders = [(os.path.realpath(name) + "/", name) for name in filter(os.path.isdir, names)]
    folders += [(name.rstrip("/") + "/", name) for name in filter(is_remote, names)]
    folders.sort()
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
                remedy = "pass a common parent folder or a manifest with ids of its own"
                if names[index].lower().endswith(_NAMED):  # folders are not searched for them
                    remedy = "name them by one glob or in braces, as '{day1,day2}/trip.tar'"
                raise PoolError(
                    f"{_names(names[other])} and {_names(names[index])} both give the id "
                    f"{item_id!r}; name each image once, or {remedy}"
                )
            seen[key] = index
            yield entry


def _is_manifest(name: str) -> bool:
    return name.lower().endswith(MANIFEST_SUFFIXES) and not os.path.isdir(name)


def _open_source(name: str, found: _Found) -> Callable[[], _Listing]:
    """Check a source; the result lists it from the start whenever called."""
    if not name:  # an unset variable of a script, not the current folder
        raise PoolError("a pool source is empty: name a folder, glob, image or manifest")
    if is_remote(name):
        if name.lower().endswith(_NAMED) and scheme_of(name) in STORES:
            files = check_far(name, found.reading)
            return lambda: list_far(name, files, found.reading, found.passed, found.say)
        refuse_packed(name, _names(name))
        return lambda: list_store(name, found.reading.endpoint_url, found.passed)
    plain = "write it as a path, without file://"
    copy = "copy the images here, or mount the store, and give the folder"
    refuse_scheme(name, "the pool", plain if scheme_of(name) == "file" else copy)
    path = os.path.abspath(name)
    if os.path.isdir(path):
        return lambda: _walk(path, ("**", "*"), found.passed)
    if os.path.lexists(path):
        folder, file = os.path.split(path)
        if holds_images(path, found.reading):
            check_container(path, _names(name))
            return lambda: list_container(folder, file, found.reading, found.passed, found.say)
        if _is_manifest(path):
            next(read_manifest(path), None)
            shown = _names(name)
            return lambda: list_manifest(
                path, found.reading, lambda note: found.say(f"manifest {shown}: {note}"), found.rows
            )
        if path.lower().endswith(IMAGE_SUFFIXES):
            return lambda: iter([_image(folder, file)])
        refuse_packed(path, _names(name), is_here=os.path.isfile(path))
        raise PoolError(
            f"{_names(name)} is neither a folder, an image ({', '.join(IMAGE_SUFFIXES)}), "
            f"a manifest ({', '.join(MANIFEST_SUFFIXES)}) nor a file that holds images "
            f"({', '.join(CONTAINER_SUFFIXES)})"
        )
    parts = name.split("/")
    fixed = _first_wild(parts)
    if fixed is None and "{" in name:
        return _braces(name, found)
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
    refuse_packed(name, _names(name))
    if pattern[-1].lower().endswith(_NAMED):
        return lambda: _containers(root, pattern, found)
    return lambda: _walk(root, pattern, found.passed)


def _first_wild(parts: list[str]) -> int | None:
    """Which part of a path is the first with a wildcard; folders that exist are what they say."""
    for place, part in enumerate(parts):
        if re.search(r"[*?[]", part) and not os.path.isdir("/".join(parts[: place + 1])):
            return place
    return None


def _braces(name: str, found: _Found) -> Callable[[], _Listing]:
    """Files that are counted or named in braces; all must be there before any is read."""
    root = os.path.abspath(name[: name.index("{")].rpartition("/")[0] or ".")
    if not name.lower().endswith(_NAMED):
        raise PoolError(
            f"{_names(name)}: braces name files that hold images ({', '.join(CONTAINER_SUFFIXES)});"
            " for images write a glob"
        )
    files = [os.path.relpath(one, root) for one in expand_braces(name)]
    gone = [file for file in files if not os.path.isfile(os.path.join(root, file))]
    if gone:
        raise PoolError(
            f"{_names(name)} names {len(files)} files, of which {len(gone)} do not exist, the "
            f"first of them {_names(gone[0])}"
        )
    for file in files:
        check_container(os.path.join(root, file), _names(file))
    return lambda: chain.from_iterable(
        list_container(root, file, found.reading, found.passed, found.say) for file in files
    )


def _suffix_of(name: str) -> tuple[str, ...]:
    return tuple(suffix for suffix in _NAMED if name.lower().endswith(suffix))


def _containers(root: str, pattern: list[str], found: _Found) -> _Listing:
    """What lies in the files that a glob matches."""
    for file in walk(root, pattern, Counter(), _suffix_of(pattern[-1])):
        if isinstance(file, str):
            yield from list_container(root, file, found.reading, found.passed, found.say)
        else:
            yield _unlisted(root, *file)


def _image(root: str, relative: str) -> PoolItem:
    path = os.path.join(root, relative)
    return PoolItem(path_to_id(relative), path_to_id(path), LocalFile(path), source_version="")


def _walk(root: str, parts: Sequence[str], passed: Counter[str]) -> _Listing:
    for found in walk(root, parts, passed):
        yield _image(root, found) if isinstance(found, str) else _unlisted(root, *found)


def _unlisted(root: str, folder: str, error: OSError) -> FailedItem:
    item = _image(root, folder)
    if not folder:
        item = replace(item, id=path_to_id(os.path.basename(root) + "/"))
    return FailedItem(item, "io", f"cannot list the folder: {error.strerror}")


def _unknown(entry: PoolItem | FailedItem) -> int:
    """1 for an item whose version a server has to be asked for."""
    if isinstance(entry, FailedItem) or entry.source_version:
        return 0
    return int(isinstance(entry.locator, (RemoteObject, Stored)) and is_remote(entry.uri))


def _versioned(entry: PoolItem | FailedItem, reach: Reach) -> PoolItem | FailedItem:
    if isinstance(entry, FailedItem) or entry.source_version:
        return entry
    locator = entry.locator
    try:
        if isinstance(locator, (Stored, RemoteObject)):
            locator = locator.found()
        known = replace(entry, locator=locator, source_version=locator.version())
        if is_remote(entry.uri):
            reach.heard()
        return known
    except ItemError as error:
        if is_remote(entry.uri):
            reach.heard(error)
        return FailedItem(entry, error.code, error.message)
