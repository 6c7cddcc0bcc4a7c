"""Folders and globs → the images in them, in byte order, and what was passed over."""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH118

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from fnmatch import translate
from heapq import merge

from deal._install import pip_install
from deal.errors import UsageError
from deal.pool.formats import CONTAINER_SUFFIXES, IMAGE_SUFFIXES, OTHER_SUFFIXES, extra_for
from deal.pool.packed import PACKED_SUFFIXES

__all__ = ["Pattern", "passed_over", "walk"]

_RUN = 4096  # names that are objects at once
# What tells that a folder is an output of ours, and what is then no image of the pool.
_TRACES = {b"runs/", b"selection.json", b"selection.csv"}
_OURS = {b"previews.jpg", b"maps/"}
HIDDEN, LINKED, SKIPPED = "hidden name", "symlinked folder", "skipped name"


class Pattern:
    """A glob over the components of a path, matched one component at a time.

    A set of positions in the pattern stands for a folder, so that every file is seen once, however
    many ``**`` there are, and no folder is entered in which nothing can match. As in a shell, names
    that begin with a dot are matched only by components that do, unless ``hidden``.
    """

    def __init__(self, parts: Sequence[str], *, hidden: bool = False) -> None:
        self._parts = [None if part == "**" else re.compile(translate(part)) for part in parts]
        self._dotted = [hidden or part.startswith(".") for part in parts]
        self.start = self._closure({0})
        self.end = len(parts)

    @classmethod
    def anywhere(cls, text: str) -> Pattern:
        """A pattern of ``--skip``: without ``/`` it matches a name in any folder."""
        parts = [part for part in text.split("/") if part not in ("", ".")]
        if not parts:
            raise UsageError(f"--skip {text!r} names nothing: give a name or a glob")
        return cls(parts if "/" in text.rstrip("/") else ["**", *parts], hidden=True)

    def step(self, positions: frozenset[int], name: str, *, dots: bool = False) -> frozenset[int]:
        """Positions behind ``name``; ``end`` is among them when the whole pattern matches.

        With ``dots``, as if the name began with no dot.
        """
        following = set()
        shown = dots or not name.startswith(".")
        for position in positions - {self.end}:
            part = self._parts[position]
            if not (shown or self._dotted[position]):
                continue
            if part is None:
                following.add(position)
            elif part.match(name):
                following.add(position + 1)
        return self._closure(following)

    def matches(self, path: str) -> bool:
        """Whether the path, or a folder of it, matches."""
        positions = self.start
        for name in path.split("/"):
            positions = self.step(positions, name)
            if self.end in positions:
                return True
        return False

    def _closure(self, positions: set[int]) -> frozenset[int]:
        for position, part in enumerate(self._parts):
            if part is None and position in positions:  # ** may stand for no folder at all
                positions.add(position + 1)
        return frozenset(positions)


def walk(
    root: str,
    parts: Sequence[str],
    passed: Counter[str],
    suffixes: tuple[str, ...] | None = None,
) -> Iterator[str | tuple[str, OSError]]:
    """Paths below ``root`` of images that match the pattern, in byte order.

    Of images, or of other files whose names end with one of ``suffixes``.

    Yields a folder (``""`` is the root, else it ends with ``/``) with the error where it cannot be
    listed. ``passed`` counts what would match otherwise: names that begin with a dot, symlinked
    folders, and suffixes of images and archives that are not read.
    """
    pattern = Pattern(parts)
    wanted_suffixes = IMAGE_SUFFIXES if suffixes is None else suffixes
    levels: list[tuple[str, frozenset[int], Iterator[bytes]]] = []
    enter: tuple[str, frozenset[int]] | None = ("", pattern.start)
    while enter:
        folder, positions = enter
        enter = None
        try:
            levels.append((folder, positions, _names_in(os.path.join(root, folder), passed)))
        except OSError as error:
            yield folder, error
        while levels and not enter:
            folder, positions, names = levels[-1]
            entry = next(names, None)
            if entry is None:
                levels.pop()
                continue
            name = os.fsdecode(entry)
            following = pattern.step(positions, name.removesuffix("/"))
            suffix = "." + name.rpartition(".")[2].lower()
            if not following and name.startswith("."):
                unhidden = pattern.step(positions, name.removesuffix("/"), dots=True)
                wanted = unhidden if name.endswith("/") else suffix in wanted_suffixes and unhidden
                passed[HIDDEN] += bool(wanted)
            elif name.endswith("/"):
                if following - {pattern.end}:
                    enter = folder + name, following
            elif pattern.end in following:
                if name.lower().endswith(wanted_suffixes):
                    yield folder + name
                elif suffix in OTHER_SUFFIXES or suffix in CONTAINER_SUFFIXES:
                    passed[suffix] += 1
                else:
                    packed = (end for end in PACKED_SUFFIXES if name.lower().endswith(end))
                    passed.update(packed)


def passed_over(passed: Counter[str]) -> str:
    """What was passed over, in words; empty when it was nothing."""
    counts = Counter({what: count for what, count in passed.items() if count})
    named = [what for what in (HIDDEN, LINKED, SKIPPED) if what in counts]
    texts = []
    for what, count in sorted(counts.items()):
        if what not in named:
            extra = extra_for(what)
            hint = f" ({pip_install(extra)})" if extra else ""
            if what in CONTAINER_SUFFIXES:
                hint = f" (read if you name them, such as 'FOLDER/*{what}')"
            if what in PACKED_SUFFIXES:
                hint = " (unpack them once)"
            texts.append(f"{count} {what}{hint}")
    texts += [f"{counts[what]} {what}" + ("s" if counts[what] > 1 else "") for what in named]
    return ", ".join(texts)


def _names_in(folder: str, passed: Counter[str]) -> Iterator[bytes]:
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
                passed[LINKED] += 1
                continue
            names.append(name)
            if name in _TRACES:
                own.add(name)
            if len(names) == _RUN:
                runs.append(_sorted_run(names))
                names = []
    runs.append(_sorted_run(names))
    merged = merge(*map(_split, runs))
    if b"selection.json" in own and len(own) > 1:
        return (name for name in merged if name not in _OURS)
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
