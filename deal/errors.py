"""Exceptions of deal. Every message says what is wrong and what to do about it.

::

    DealError                     exit code 1
    ├── UsageError                exit code 2: options that do not go together, unknown names
    ├── ModelError                the model does not keep the contract (docs/reference/model.md)
    ├── EngineUnavailableError    an engine, device or precision that is not there
    ├── PoolError                 a pool that cannot be read at all
    ├── OutputError               an output folder that is locked, foreign or not writable
    ├── ResultsError              stored tables that lack columns or do not belong together
    └── TooManyErrorsError        more rows were quarantined than --max-errors allows
    ItemError                     one image failed: a row with its error_code, never the end
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "DealError",
    "EngineUnavailableError",
    "ItemError",
    "ModelError",
    "OutputError",
    "PoolError",
    "ResultsError",
    "TooManyErrorsError",
    "UsageError",
]


class DealError(Exception):
    """Base of all errors that end a run; the message names the remedy."""

    exit_code: ClassVar[int] = 1


class UsageError(DealError, ValueError):
    """Arguments or options that are unknown or do not go together."""

    exit_code: ClassVar[int] = 2


class ModelError(DealError):
    """The model file is missing, unreadable or does not keep the model contract."""


class EngineUnavailableError(DealError):
    """The engine, device or precision asked for is not available here."""


class PoolError(DealError):
    """A pool source does not exist or a manifest cannot be read."""


class OutputError(DealError):
    """The output folder is locked, belongs to other settings or cannot be written."""


class ResultsError(DealError):
    """Stored tables are missing, lack columns or were scored with different settings."""


class TooManyErrorsError(DealError):
    """More images were quarantined than ``--max-errors`` allows."""


class ItemError(Exception):
    """One image failed: it becomes a row with ``status = error``; the run goes on.

    Parameters
    ----------
    code : str
        The ``error_code`` column: ``io``, ``decode``, ``too_large``, ``size``, ``memory``,
        ``segments``, ``network``, ``nonfinite``, ``mask``, ``crash`` or ``internal``.
    message : str
        The ``error`` column, one line.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type[ItemError], tuple[str, str]]:
        return type(self), (self.code, self.message)


# A traceback names the class as users import it: deal.UsageError.
for _name in __all__:
    globals()[_name].__module__ = "deal"
