"""Addresses with a scheme, such as ``s3://bucket/prefix``: told from paths, or refused."""

from __future__ import annotations

import os
import re

from deal.errors import UsageError
from deal.pool.ids import path_to_id

__all__ = ["REMOTE", "STORES", "WEB", "is_remote", "refuse_scheme", "scheme_of"]

STORES = frozenset({"s3", "s3a", "gs", "az", "abfs", "abfss"})
WEB = frozenset({"http", "https"})
REMOTE = STORES | WEB
"""Schemes of addresses that images are read from."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
# pathlib makes one slash of two; a folder of such a name is not what anybody means.
_SQUEEZED = re.compile(r"(abfss?|az|file|ftp|gcs|gs|hdfs|https?|s3a?):/(?!/)", re.IGNORECASE)


def scheme_of(source: str | os.PathLike[str]) -> str | None:
    """The scheme of an address in lower case; None for a path."""
    text = os.fspath(source)
    match = _SCHEME.match(text) or _SQUEEZED.match(text)
    return match[1].lower() if match else None


def is_remote(source: str) -> bool:
    """Whether a source is an address that images are read from."""
    return "://" in source and scheme_of(source) in REMOTE


def refuse_scheme(source: str | os.PathLike[str], what: str, remedy: str) -> None:
    """Raise UsageError for an address with a scheme, which would else become a local folder.

    Parameters
    ----------
    source : path
    what : str
        What it stands for, such as ``--output``.
    remedy : str
        What to give instead.
    """
    if scheme_of(source) is not None:
        shown = path_to_id(os.fspath(source))
        raise UsageError(f"{what} {shown!r} is an address, not a path: {remedy}")
