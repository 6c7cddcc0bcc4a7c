"""What a web server answers; imported on first use, since HTTP and TLS take long to import."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import quote

from deal.pool.stores import RequestError
from deal.text import one_line

__all__ = ["Reply"]

_TIMEOUT = 60.0


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


def _failure(error: Exception) -> RequestError:
    if isinstance(error, urllib.error.HTTPError):
        passing = error.code in (408, 429) or error.code >= 500
        return RequestError(f"{error.code}: {one_line(error.reason)}", passing=passing)
    reason = one_line(getattr(error, "reason", None) or error) or type(error).__name__
    passing = isinstance(error, (OSError, HTTPException))
    return RequestError(reason, passing=passing, silent=isinstance(error, OSError))
