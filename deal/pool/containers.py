"""Files that hold images, by their suffix: what lists each kind.

What reads a kind is imported for the first file of that kind.
"""

# Names may be millions and need not be UTF-8: plain strings, not Path objects.
# ruff: noqa: PTH118

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product

from deal.errors import PoolError
from deal.pool.formats import CONTAINER_SUFFIXES, VIDEO_SUFFIXES
from deal.pool.inside import Every, Reading
from deal.pool.packed import unpacking
from deal.types import FailedItem, PoolItem

__all__ = [
    "PARQUET",
    "check_container",
    "expand_braces",
    "holds_images",
    "list_container",
    "list_inside",
    "refuse_packed",
    "require_readers",
]

PARQUET = ".parquet"
"""Files that hold images, or are manifests."""

_MOST = 10**6  # files that braces may name


def holds_images(path: str, reading: Reading) -> bool:
    """Whether a file that exists holds images, or is an image, a manifest or something else.

    Raises PoolError for a Parquet file that cannot be read, or whose images are ambiguous.
    """
    if path.lower().endswith(PARQUET):
        from deal.pool.parquet import image_column

        return image_column(path, reading.image_column) is not None
    return path.lower().endswith(CONTAINER_SUFFIXES)


def list_container(
    root: str,
    relative: str,
    reading: Reading,
    passed: Counter[str],
    say: Callable[[str], None],
) -> Iterator[PoolItem | FailedItem]:
    """List what a file holds; its name below the root is what the ids begin with."""
    path = os.path.join(root, relative)
    yield from list_inside(path, relative, reading, passed, say)


def list_inside(
    path: str,
    relative: str,
    reading: Reading,
    passed: Counter[str],
    say: Callable[[str], None],
) -> Iterator[PoolItem | FailedItem]:
    """List what a file holds, on this machine or in a store; ids begin with ``relative``."""
    far = reading.endpoint_url
    if path.lower().endswith(PARQUET):
        from deal.pool.parquet import list_parquet

        yield from list_parquet(path, relative, reading.image_column, say, far)
    elif path.lower().endswith(".mcap"):
        from deal.pool.mcap import list_mcap

        yield from list_mcap(path, relative, reading.topic, say, far, Every.parse(reading.every))
    elif path.lower().endswith(VIDEO_SUFFIXES):
        from deal.pool.video import list_video

        yield from list_video(path, relative, Every.parse(reading.every), far)
    else:
        from deal.pool.tar import list_tar

        yield from list_tar(path, relative, passed, say, far)


def check_container(path: str, shown: str) -> None:
    """PoolError, with the remedy, for a file that can never be listed."""
    require_readers(path)
    _refuse_archive(path, shown, _start(path, shown))


def require_readers(path: str) -> None:
    """PoolError if a library is missing that reads files of this name."""
    if path.lower().endswith(VIDEO_SUFFIXES):
        from deal.pool.video import require_av

        require_av()
    if path.lower().endswith(".mcap"):
        from deal.pool.mcap_messages import require_mcap

        require_mcap()


def refuse_packed(path: str, shown: str, *, is_here: bool = False) -> None:
    """PoolError for what a program can turn into a file that is read, by its name.

    A file that ``is_here`` goes by its first bytes, too, but not as a zip archive if it has a
    suffix: many formats are such archives.
    """
    if path.lower().endswith((".bag", ".db3")):
        raise PoolError(
            f"{shown} is a bag of ROS, which is not read: convert it once (pip install rosbags; "
            "rosbags-convert --src BAG --dst FOLDER --dst-storage mcap), and name the MCAP file"
        )
    start = _start(path, shown) if is_here else b""
    if start.startswith(b"PK") and "." in path.rpartition("/")[2]:
        start = b""
    _refuse_archive(path, shown, start)


def _start(path: str, shown: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(8)
    except OSError as error:
        raise PoolError(f"{shown} cannot be read: {error.strerror}") from error


def _refuse_archive(path: str, shown: str, start: bytes) -> None:
    remedy = unpacking(path, start)
    if remedy is not None:
        raise PoolError(f"{shown} is a packed archive, of which only tar is read: {remedy}")


def expand_braces(name: str) -> list[str]:
    """Names that ``{000..999}`` and ``{a,b}`` stand for, in order; PoolError."""
    parts = re.split(r"\{([^{}]*)\}", name)
    choices = [[part] if index % 2 == 0 else _choices(part) for index, part in enumerate(parts)]
    count = 1
    for one in choices:
        count *= len(one)
    if count > _MOST:
        raise PoolError(f"{name!r} names {count} files: name at most {_MOST}")
    return ["".join(chosen) for chosen in product(*choices)]


def _choices(text: str) -> list[str]:
    match = re.fullmatch(r"(\d{1,18})\.\.(\d{1,18})", text, re.ASCII)
    if match is None:
        return text.split(",")
    first, last = int(match[1]), int(match[2])
    if not 0 <= last - first < _MOST:
        raise PoolError(f"braces count upwards, by at most {_MOST}: {{{text}}}")
    return [str(number).zfill(len(match[1])) for number in range(first, last + 1)]
