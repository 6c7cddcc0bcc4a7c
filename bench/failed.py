"""The error of a benchmark whose results are wrong, so that it has no figures."""

from __future__ import annotations

from deal.errors import DealError

__all__ = ["FailedCheckError"]


class FailedCheckError(DealError):
    """What is timed gives a wrong result; nothing is measured."""

    def __init__(self, message: str) -> None:
        super().__init__(f"the check before the measurement failed: {message}")
