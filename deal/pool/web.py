"""What a web server answers; imported on first use, since HTTP and TLS take long to import."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import quote

from deal.pool.stores import RequestError
from deal.text import one_line

__all__ = ["Reply", "headers"]

_TIMEOUT = 60.0
_NO_HEAD = (403, 405, 501)  # an address may be signed for GET alone


class Reply:
    """The reply of a web server; errors as `RequestError`."""

    def __init__(self, uri: str, method: str) -> None:
        address = quote(uri, safe="%/:?#[]@!$&'()*+,;=-._~")
        self._request = urllib.request.Request(address, method=method)
        self._reply: Any = None

    def __enter__(self) -> Any:
        try:
            self._reply = urllib.request.urlopen(self._request, timeout=_TIMEOUT)
        except (OSError, HTTPException, ValueError) as error:
            raise _failure(error) from error
        return self._reply

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._reply.close()
        if isinstance(error, (OSError, HTTPException)):
            raise _failure(error) from error


def headers(uri: str) -> Any:
    """What a web server says of a file: by HEAD, or by GET where it refuses that."""
    try:
        with Reply(uri, "HEAD") as reply:
            return reply.headers
    except RequestError as error:
        cause = error.__cause__
        if not isinstance(cause, urllib.error.HTTPError) or cause.code not in _NO_HEAD:
            raise
    with Reply(uri, "GET") as reply:
        return reply.headers


def _failure(error: Exception) -> RequestError:
    if isinstance(error, urllib.error.HTTPError):
        error.close()  # it is a reply, too
        passing = error.code in (408, 429) or error.code >= 500
        return RequestError(f"{error.code}: {one_line(error.reason)}", passing=passing)
    reason = one_line(getattr(error, "reason", None) or error) or type(error).__name__
    passing = isinstance(error, (OSError, HTTPException))
    return RequestError(reason, passing=passing, silent=isinstance(error, OSError))
