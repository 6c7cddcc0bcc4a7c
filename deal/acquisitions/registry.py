"""The registry: every acquisition function once, with its columns, options, formula and source.

Imports no NumPy, so that ``--help`` can list the names.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from deal.errors import UsageError

__all__ = [
    "ALIASES",
    "BUILT_IN",
    "Acquisition",
    "acquisition",
    "acquisition_names",
    "all_or_none",
    "registered",
    "suggestion",
]

F = TypeVar("F", bound=Callable[..., Any])

BUILT_IN: dict[str, tuple[str, ...]] = {
    "difficulty": ("ds:none", "ds:entropy", "ds:margin", "ds:least-confidence", "de"),
    "uncertainty": ("entropy", "margin", "least-confidence", "ripu", "random"),
    "tails": ("tail:difficulty", "tail:entropy"),
    "classes": (
        "balanced:difficulty",
        "balanced:entropy",
        "balanced:ds-entropy",
        "focus:difficulty",
        "focus:entropy",
        "focus:ds-entropy",
        "focus:pixels",
    ),
    "committee": ("vote-entropy", "bald", "kl-to-mean", "consensus-entropy"),
    "representative": ("core-set",),
}
"""Module of this package → the names it registers: a name is known before NumPy is imported."""

ALIASES = {"ds": "ds:none"}
TABLES = ("images", "regions")
RESERVED = ("totals", "classes", "table")
"""Keyword-only parameters of a function that are not options: it gets them from the caller."""

_REGISTRY: dict[str, Acquisition] = {}


@dataclass(frozen=True, slots=True)
class Acquisition:
    """A registered function and what is known about it; see :func:`acquisition`."""

    name: str
    function: Callable[..., Any]
    requires: Callable[..., Sequence[str]]
    tables: tuple[str, ...]
    formula: str
    source: str
    class_sums: str | Callable[..., Any] | None
    totals: Callable[..., Any] | None
    check: Callable[..., Mapping[str, Any]] | None
    greedy: bool

    @property
    def options(self) -> dict[str, Any]:
        """Option → default; ``inspect.Parameter.empty`` where it has to be given."""
        if self.greedy:
            return {}
        parameters = inspect.signature(self.function).parameters.values()
        return {
            p.name: p.default
            for p in parameters
            if p.kind is p.KEYWORD_ONLY and p.name not in RESERVED
        }


def acquisition(
    name: str,
    *,
    requires: Sequence[str] | Callable[..., Sequence[str]],
    tables: Sequence[str] = ("images",),
    formula: str = "",
    source: str = "",
    class_sums: str | Callable[..., Any] | None = None,
    totals: Callable[..., Any] | None = None,
    check: Callable[..., Mapping[str, Any]] | None = None,
    greedy: bool = False,
) -> Callable[[F], F]:
    """Register an acquisition function under ``name``.

    Parameters
    ----------
    name : str
        What ``acquisition=`` and ``--acquisition`` call it.
    requires : sequence of str, or callable
        Columns that the function reads; a callable gets the options it names by keyword.
    tables : sequence of ``images``, ``regions``
        The tables whose rows it can score.
    formula, source : str
        For the page of functions: the score in one line, and the paper it comes from.
    class_sums : str or callable, optional
        What each class adds to the score, float64 [n, C], up to a factor of the row: a column, or
        a callable that is called as the function is.
    totals : callable, optional
        Of the pool: called as the function is, on parts of the pool, it returns an integer array
        of fixed shape; the function gets the sum over all parts as ``totals``.
    check : callable, optional
        Takes the options by keyword, and ``classes``; returns them in their normal form (JSON
        values) or raises UsageError.
    greedy : bool
        The function picks rows one by one and scores none, as
        :func:`deal.acquisitions.k_center.k_center_greedy` does; its options are those of
        `deal.select`.

    Raises
    ------
    UsageError
        Another function has the name; the same function may be registered again.

    Notes
    -----
    The function gets a mapping of those columns as arrays of n rows and returns float64 [n]; NaN
    means that a row cannot be ranked. Rows are only those that are ok and hold no null. It is
    called on parts of a pool: apart from ``totals``, a row's score must not depend on other rows.
    Its keyword-only parameters are its options, but for ``totals``, ``classes`` (tuple of names
    [C], or None if nobody said) and ``table`` (``images`` or ``regions``), which it gets if it
    names them, as does ``requires``. ``seed`` is an option that every caller may give.
    """
    unknown = [table for table in tables if table not in TABLES]
    if unknown:
        raise UsageError(f"acquisition {name!r}: tables are images and regions, not {unknown[0]!r}")

    def register(function: F) -> F:
        known = _REGISTRY.get(name)
        foreign = _is_built_in(name) and not function.__module__.startswith("deal.")
        if foreign or (known is not None and not _same(known.function, function)):
            raise UsageError(
                f"acquisition function {name!r} is already registered: choose another name"
            )
        _REGISTRY[name] = Acquisition(
            name=name,
            function=function,
            requires=requires if callable(requires) else lambda: requires,
            tables=tuple(tables),
            formula=formula,
            source=source,
            class_sums=class_sums,
            totals=totals,
            check=check,
            greedy=greedy,
        )
        return function

    return register


def acquisition_names(table: str | None = None) -> list[str]:
    """Names that :func:`deal.acquisition_scores` takes; ``ds`` stands for ``ds:none``.

    They are those of this package, and those registered so far.

    Parameters
    ----------
    table : ``images`` or ``regions``, optional
        Only functions that score its rows. Without it nothing is imported for the answer.

    Returns
    -------
    list of str
        Sorted.
    """
    if table is not None:
        registry = registered()
        return sorted(
            name
            for name in [*registry, *ALIASES]
            if table in registry[ALIASES.get(name, name)].tables
        )
    built_in = (name for names in BUILT_IN.values() for name in names)
    return sorted({*built_in, *ALIASES, *_REGISTRY})


def registered() -> dict[str, Acquisition]:
    """Every function of this package, in the order of its page, then those of plugins."""
    for module in BUILT_IN:
        importlib.import_module(f"deal.acquisitions.{module}")
    built_in = [name for names in BUILT_IN.values() for name in names]
    return {name: _REGISTRY[name] for name in dict.fromkeys([*built_in, *_REGISTRY])}


@contextmanager
def all_or_none() -> Iterator[dict[str, Acquisition]]:
    """Give what is registered, and undo what the block registers if it fails."""
    before = registered()
    try:
        yield before
    except BaseException:
        _REGISTRY.clear()
        _REGISTRY.update(before)
        raise


def suggestion(name: str, names: Sequence[str]) -> str:
    """`` Did you mean 'x'?``, or nothing when no name is close."""
    spelled = {known.lower(): known for known in reversed(names)}
    close = difflib.get_close_matches(name.lower(), spelled, n=1)
    return f" Did you mean {spelled[close[0]]!r}?" if close else ""


def _is_built_in(name: str) -> bool:
    return name in ALIASES or any(name in names for names in BUILT_IN.values())


def _same(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether two objects are one definition: a plugin loaded twice, a notebook cell run again."""
    if one.__qualname__ != other.__qualname__:
        return False
    files = [getattr(getattr(f, "__code__", None), "co_filename", None) for f in (one, other)]
    return one.__module__ == other.__module__ or (files[0] == files[1] is not None)
