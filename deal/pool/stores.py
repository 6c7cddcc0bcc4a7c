"""Stores of objects: opened once for all threads, and their errors in words."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from typing import Any

from deal._install import pip_install
from deal.errors import PoolError
from deal.text import one_line

__all__ = [
    "CHANGED",
    "RequestError",
    "first_line",
    "get_obstore",
    "obstore_or_remedy",
    "open_store",
    "store_errors",
    "translated",
]

CHANGED = "412: it has changed since it was listed: run the same command again"


class RequestError(Exception):
    """A request that failed.

    Attributes
    ----------
    reason : str
    passing : bool
        It may succeed when it is repeated.
    silent : bool
        Nobody answered.
    """

    def __init__(self, reason: str, *, passing: bool, silent: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.passing, self.silent = reason, passing, silent


def get_obstore() -> Any:
    """The library; ImportError where it is not installed."""
    import obstore

    return obstore


def obstore_or_remedy() -> Any:
    """The library; PoolError that says how to install it."""
    try:
        return get_obstore()
    except ImportError as error:
        raise PoolError(f"reading object storage needs obstore: {pip_install('cloud')}") from error


def store_errors() -> tuple[type[Exception], ...]:
    """What the library raises of its own."""
    import obstore.exceptions

    return (obstore.exceptions.BaseError,)


def open_store(base: str, endpoint: str | None, repeating: bool) -> Any:
    """A store that all threads share; ``repeating``: the library repeats requests that fail."""
    if endpoint is None and base.partition("://")[0].lower() in ("s3", "s3a"):
        names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
        endpoint = next(filter(None, map(os.environ.get, names)), None)
    return _opened_store(base, endpoint, repeating)


@lru_cache(maxsize=64)
def _opened_store(base: str, endpoint: str | None, repeating: bool) -> Any:
    import obstore.store

    from_url: Any = obstore.store.from_url
    name = "base_url" if base.lower().startswith("gs://") else "endpoint"
    config: dict[str, Any] = {} if endpoint is None else {name: endpoint}
    client = {"allow_http": True} if (endpoint or "").startswith("http://") else {}
    # Requests for objects are repeated here, so that users hear of it.
    retry = {} if repeating else {"retry_config": {"max_retries": 0}}
    return from_url(base, client_options=client, **config, **retry)


class translated:  # noqa: N801
    """Errors of obstore as `RequestError`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or not isinstance(error, (*store_errors(), OSError, ValueError)):
            return
        name, text = type(error).__name__, first_line(error)
        if isinstance(error, FileNotFoundError):
            raise RequestError("404: the store has no such object", passing=False) from error
        if name == "PreconditionError":
            raise RequestError(CHANGED, passing=False) from error
        if name in ("PermissionDeniedError", "UnauthenticatedError"):
            reason = "403: the store refuses to give it: check the credentials and its permissions"
            raise RequestError(reason, passing=False) from error
        status = re.search(r"status code: (\d{3})", str(error))
        code = int(status[1]) if status else None
        passing = name == "GenericError" and (code is None or code in (408, 429) or code >= 500)
        reason = f"{code}: {_STATUS.get(code, 'the store refuses')}" if code else text
        raise RequestError(reason, passing=passing, silent=passing and code is None) from error


_STATUS = {
    301: "the bucket lies in another region: set AWS_REGION",
    408: "the store waited too long",
    429: "the store is asked too often",
    500: "the store failed",
    502: "the store failed",
    503: "the store is asked too often",
    504: "the store waited too long",
}


def first_line(error: BaseException) -> str:
    """What an error of the library says, without its insides."""
    text = str(error).partition("Debug source:")[0].partition("<?xml")[0]
    return one_line(text).rstrip(" :")[:300]
