"""A store that nobody answers for ends a run; one that fails now and then gives rows."""

from __future__ import annotations

from threading import Lock

from deal.errors import ItemError, PoolError

__all__ = ["Reach", "SilentError"]

_AT_FIRST = 8  # images that nobody answers for, and none before
_LATER = 512  # one after the other


class SilentError(ItemError):
    """A server that does not answer, however often it is asked."""


class Reach:
    """Counts answers of stores and web servers, from any thread."""

    def __init__(self) -> None:
        self._answered = False
        self._silent = 0
        self._lock = Lock()

    def heard(self, error: ItemError | None = None) -> None:
        """Note how a request for an image ended; an error that says no is an answer, too.

        Raises
        ------
        PoolError
            Nobody answers any more.
        """
        with self._lock:
            if not isinstance(error, SilentError):
                self._answered, self._silent = True, 0
                return
            self._silent += 1
            if self._silent < (_LATER if self._answered else _AT_FIRST):
                return
            since = "any more" if self._answered else "for any of the first images"
        raise PoolError(
            f"nobody answers {since}: {error.message}; what is scored is stored. Check the network "
            "and --endpoint-url, and run the same command again"
        ) from error
