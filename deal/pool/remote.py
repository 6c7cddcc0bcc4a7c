"""Object storage (S3, Google Cloud Storage, Azure) and web addresses: listed and read.

Names of objects are taken as they are, as the stores' own tools do; web addresses are sent as they
are given, with their query. Credentials are found as the library for object storage finds them, in
the environment or from the machine's role.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from deal.errors import ItemError, PoolError
from deal.pool.formats import CONTAINER_SUFFIXES, IMAGE_SUFFIXES, OTHER_SUFFIXES
from deal.pool.ids import path_to_id
from deal.pool.inside import check_size
from deal.pool.reach import SilentError
from deal.pool.schemes import STORES, WEB, scheme_of
from deal.pool.stores import (
    CHANGED,
    RequestError,
    first_line,
    get_obstore,
    obstore_or_remedy,
    open_store,
    store_errors,
    translated,
)
from deal.pool.walk import HIDDEN, Pattern
from deal.types import MAX_PIXELS, PoolItem

__all__ = ["DOWNLOADS", "RemoteObject", "check_readable", "list_store"]

DOWNLOADS = 64
"""Requests at once: 1,000 images a second at 60 ms each."""

ATTEMPTS = 8
FIRST_WAIT, LONGEST_WAIT = 0.2, 10.0  # seconds
_PAGE = 1000
_USUAL = 2**20  # bytes of an object whose size nobody tells
_NOT_YET = (*CONTAINER_SUFFIXES, ".csv", ".jsonl", ".parquet", ".tsv", ".txt")


@dataclass(frozen=True, slots=True)
class RemoteObject:
    """An image in object storage or on a web server.

    Attributes
    ----------
    uri : str
    endpoint : str or None
        ``--endpoint-url``.
    etag : str or None
        Its entity tag without quotes, where it is known: what is read must have it.
    size : int or None
        Bytes, where they are known.
    """

    uri: str
    endpoint: str | None = None
    etag: str | None = None
    size: int | None = None

    @classmethod
    def of_version(cls, uri: str, endpoint: str | None, version: str) -> RemoteObject:
        """With the tag and size that a stored ``source_version`` tells."""
        match = re.fullmatch(r"(\d{1,18})-(.+)", version)
        if match is None:
            return cls(uri, endpoint)
        return cls(uri, endpoint, match[2], int(match[1]))

    def found(self) -> RemoteObject:
        """With tag and size, which are asked for if they are not known; ItemError (``io``)."""
        if self.etag is not None:
            return self
        size, etag = self._tried(self._head)
        return replace(self, size=size, etag=etag)

    def version(self) -> str:
        """``<size>-<etag>``; empty where a web server tells neither."""
        known = self.found()
        return "" if known.size is None and not known.etag else f"{known.size}-{known.etag or ''}"

    def read(
        self, max_pixels: int = MAX_PIXELS, again: Callable[[str], object] | None = None
    ) -> bytes:
        """See `Locator`; ``again`` is called with the reason whenever a request is repeated."""
        if self.size is not None:
            check_size(self.size, max_pixels)
        data: bytes = self._tried(lambda: self._get(max_pixels), again)
        return data

    @property
    def far(self) -> int:
        """Bytes that are to come, as far as they are known."""
        return self.size or _USUAL

    def read_range(
        self, start: int, length: int, again: Callable[[str], object] | None = None
    ) -> bytes:
        """Bytes of an object in a store, which must have its tag; ItemError (``io``)."""
        if not length:  # which no store can be asked for
            return b""

        def request() -> bytes:
            store, key = _store_of(self.uri, self.endpoint)
            options = {"if_match": f'"{self.etag}"', "range": (start, start + length)}
            with translated():
                return bytes(get_obstore().get(store, key, options=options).bytes())

        data: bytes = self._tried(request, again)
        return data

    def _tried(
        self, request: Callable[[], Any], again: Callable[[str], object] | None = None
    ) -> Any:
        """The result of a request that is repeated, after growing waits, while it may succeed."""
        for attempt in range(ATTEMPTS):
            try:
                return request()
            except RequestError as error:
                if not error.passing or attempt == ATTEMPTS - 1:
                    kind = SilentError if error.silent else ItemError
                    raise kind("io", error.reason) from error
                if again is not None:
                    again(error.reason)
                wait = min(FIRST_WAIT * 2**attempt, LONGEST_WAIT)
                time.sleep(wait * (0.5 + random.random() / 2))
        raise AssertionError

    def _head(self) -> tuple[int | None, str]:
        if scheme_of(self.uri) in WEB:
            from deal.pool.web import headers

            return _told(headers(self.uri))
        store, key = _store_of(self.uri, self.endpoint)
        with translated():
            meta = get_obstore().head(store, key)
        return meta["size"], _bare(meta["e_tag"])

    def _get(self, max_pixels: int) -> bytes:
        if scheme_of(self.uri) in WEB:
            from deal.pool.web import Reply

            with Reply(self.uri, "GET") as reply:
                size, etag = _told(reply.headers)
                check_size(size or 0, max_pixels)
                if self.etag and etag and etag != self.etag:
                    raise RequestError(CHANGED, passing=False)
                data = reply.read(16 * max_pixels + 2**20 + 1)
                check_size(len(data), max_pixels)
                if size is not None and len(data) < size:
                    raise RequestError(f"{len(data)} of its {size} bytes came", passing=True)
                return bytes(data)
        store, key = _store_of(self.uri, self.endpoint)
        options = {"if_match": f'"{self.etag}"'} if self.etag else {}
        with translated():
            reply = get_obstore().get(store, key, options=options)
            check_size(reply.meta["size"], max_pixels)
            return bytes(reply.bytes())


@lru_cache(maxsize=64)
def _check_scheme(scheme: str) -> None:
    if scheme in STORES:
        obstore_or_remedy()


def check_readable(uri: str) -> None:
    """Raise PoolError, with the remedy, for an address that this installation cannot read."""
    _check_scheme(uri.partition("://")[0].lower())


def list_store(
    source: str,
    endpoint: str | None,
    passed: Counter[str],
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES,
) -> Iterator[PoolItem]:
    """List the images below a prefix, or those that a glob matches, or one object.

    Of images, or of other objects whose names end with one of ``suffixes``.

    Parameters
    ----------
    source : str
        Such as ``s3://bucket/drives/`` or ``s3://bucket/drives/*/front/*.jpg``.
    endpoint : str or None
    passed : Counter
        As in :func:`deal.pool.walk.walk`.

    Raises
    ------
    PoolError
        Nothing can be listed there, or the library is missing.
    """
    scheme, _, rest = source.partition("://")
    bucket, _, path = rest.partition("/")
    base = f"{scheme}://{bucket}/"
    if path.lower().partition("?")[0].endswith(suffixes) and not _wild(path, scheme):
        name = path.partition("?")[0].rpartition("/")[2]
        yield PoolItem(path_to_id(name), source, RemoteObject(source, endpoint), "")
        return
    others = [end for end in _NOT_YET if end not in suffixes]
    kind = next((end for end in others if path.lower().endswith(end)), None)
    if kind is not None:
        raise PoolError(
            f"{source!r}: files {kind} are read only on this machine: copy it here, and name the "
            "copy"
        )
    if scheme.lower() in WEB:
        raise PoolError(
            f"{source!r} is no address of an image, and web servers list nothing: give a manifest "
            "with the addresses"
        )
    parts = [part for part in path.split("/") if part]
    fixed = next((i for i, part in enumerate(parts) if re.search(r"[*?[]", part)), len(parts))
    pattern = Pattern(parts[fixed:] or ["**", "*"])
    prefix = "".join(f"{part}/" for part in parts[:fixed])
    for meta in _listed(base, prefix, endpoint):
        name = meta["path"].removeprefix(prefix)
        suffix = "." + name.rpartition(".")[2].lower()
        if suffix not in suffixes:
            passed[suffix] += suffix in OTHER_SUFFIXES or suffix in CONTAINER_SUFFIXES
        elif _matched(pattern, name):
            found = RemoteObject(base + meta["path"], endpoint, _bare(meta["e_tag"]), meta["size"])
            yield PoolItem(path_to_id(name), found.uri, found, found.version())
        elif any(part.startswith(".") for part in name.split("/")):
            passed[HIDDEN] += 1


def _wild(path: str, scheme: str) -> bool:
    return scheme.lower() in STORES and re.search(r"[*?[]", path) is not None


def _matched(pattern: Pattern, name: str) -> bool:
    positions = pattern.start
    for part in name.split("/"):
        positions = pattern.step(positions, part)
    return pattern.end in positions


def _listed(base: str, prefix: str, endpoint: str | None) -> Iterator[dict[str, Any]]:
    obstore = obstore_or_remedy()
    errors: tuple[type[Exception], ...] = (*store_errors(), ValueError, OSError)
    shown = base + prefix
    try:
        store = open_store(base, endpoint, True)
        for page in obstore.list(store, prefix=prefix or None, chunk_size=_PAGE):
            yield from page
    except errors as error:
        text = first_line(error)
        remedy = "check the address, --endpoint-url, the region and the credentials (AWS_…, …)"
        if "empty path segment" in text:
            remedy = "rename that object, which no folder can hold, or choose another prefix"
        raise PoolError(f"{shown!r} cannot be listed: {text}; {remedy}") from error


def _store_of(uri: str, endpoint: str | None) -> tuple[Any, str]:
    try:
        obstore_or_remedy()
    except PoolError as error:
        raise ItemError("io", str(error)) from error
    scheme, _, rest = uri.partition("://")
    bucket, _, key = rest.partition("/")
    with translated():
        return open_store(f"{scheme}://{bucket}/", endpoint, False), key


def _bare(etag: str | None) -> str:
    return (etag or "").strip('"')


def _told(headers: Any) -> tuple[int | None, str]:
    length, etag = headers.get("Content-Length"), headers.get("ETag")
    packed = headers.get("Content-Encoding") not in (None, "", "identity")
    size = int(length) if length and length.isdecimal() and not packed else None
    return size, _bare(etag)
