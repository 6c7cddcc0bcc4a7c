"""The registry of acquisition functions, with their columns, options, formulas and sources.

This module does not import NumPy, so that ``--help`` can list the names quickly.
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
    "POLICIES",
    "Acquisition",
    "Policy",
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
    "representative": ("core-set", "typiclust"),
}
"""Module of this package → names that it registers, so that names are known without NumPy."""

ALIASES = {"ds": "ds:none"}


@dataclass(frozen=True, slots=True)
class Policy:
    """A way to select under one name: a function with options, each of which the user may replace.

    Attributes
    ----------
    acquisition, stratify, stochastic : str
        As in :meth:`deal.selection.Ranking.of`.
    in_rounds : str
        ``stochastic`` where rounds are counted (`deal loop`).
    """

    acquisition: str
    stratify: str
    stochastic: str
    in_rounds: str


POLICIES = {"clasp": Policy("entropy", "class:66%", "power:1", "power:1..100")}
"""Names that a selection takes in place of a function: clasp is ClaSP PE, arXiv 2601.13677."""
TABLES = ("images", "regions")
RESERVED = ("totals", "classes", "table")
"""Keyword-only parameters of a function that are not options; `Bound` passes them."""

_REGISTRY: dict[str, Acquisition] = {}


@dataclass(frozen=True, slots=True)
class Acquisition:
    """A registered function with its description; see :func:`acquisition`."""

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
        """Option → default; ``inspect.Parameter.empty`` for an option without a default."""
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
        The name that ``acquisition=`` and ``--acquisition`` take.
    requires : sequence of str, or callable
        Columns that the function reads. A callable returns them and gets, by keyword, the options
        that it names.
    tables : sequence of ``images``, ``regions``
        The tables whose rows the function can score.
    formula, source : str
        The score in one line, and the paper it comes from, for the page of functions.
    class_sums : str or callable, optional
        What each class adds to the score, float64 [n, C], up to a factor per row: the name of a
        column, or a callable with the function's parameters.
    totals : callable, optional
        Computes totals of the pool. It has the function's parameters, is called on parts of the
        pool, and returns an integer array of fixed shape; the function gets the sum over all parts
        as ``totals``.
    check : callable, optional
        Checks the options. It takes them and ``classes`` by keyword, and returns the options in
        their normal form (JSON values) or raises UsageError.
    greedy : bool
        The function picks rows one by one and has no scores, as
        :func:`deal.acquisitions.k_center.k_center_greedy` does; its options are those of
        `deal.select`.

    Raises
    ------
    UsageError
        Another function has the name; the same function may be registered again. Or columns or
        tables are one text instead of several.

    Notes
    -----
    The function gets a mapping of the required columns as arrays of n rows and returns float64 [n];
    NaN means that a row cannot be ranked. It gets only rows that are ok and hold no null. It is
    called on parts of a pool: apart from ``totals``, the score of a row must not depend on other
    rows. Its keyword-only parameters are its options, except ``totals``, ``classes`` (tuple of
    names [C], or None if unknown) and ``table`` (``images`` or ``regions``): the function, and
    ``requires``, get these three if they name them. Every caller may give the option ``seed``.
    """
    for what, names in (("requires", requires), ("tables", tables)):
        if isinstance(names, str):
            raise UsageError(f"acquisition {name!r}: {what} is a list of names: give [{names!r}]")
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

    The list holds the functions of this package and those registered so far.

    Parameters
    ----------
    table : ``images`` or ``regions``, optional
        List only functions that score rows of this table. Without it, no module is imported.

    Returns
    -------
    list of str
        The names, sorted.
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
    """Every function of this package, in the order of the page, then those of plugins."""
    for module in BUILT_IN:
        importlib.import_module(f"deal.acquisitions.{module}")
    built_in = [name for names in BUILT_IN.values() for name in names]
    return {name: _REGISTRY[name] for name in dict.fromkeys([*built_in, *_REGISTRY])}


@contextmanager
def all_or_none() -> Iterator[dict[str, Acquisition]]:
    """Yield the registry, and undo what the block registers if it fails."""
    before = registered()
    try:
        yield before
    except BaseException:
        _REGISTRY.clear()
        _REGISTRY.update(before)
        raise


def suggestion(name: str, names: Sequence[str]) -> str:
    """Return the text `` Did you mean 'x'?``, or no text if no name is close."""
    spelled = {known.lower(): known for known in reversed(names)}
    close = difflib.get_close_matches(name.lower(), spelled, n=1)
    return f" Did you mean {spelled[close[0]]!r}?" if close else ""


def _is_built_in(name: str) -> bool:
    return name in ALIASES or name in POLICIES or any(name in names for names in BUILT_IN.values())


def _same(one: Callable[..., Any], other: Callable[..., Any]) -> bool:
    """Whether two objects have one definition, as when a plugin or notebook cell runs again."""
    if one.__qualname__ != other.__qualname__:
        return False
    files = [getattr(getattr(f, "__code__", None), "co_filename", None) for f in (one, other)]
    return one.__module__ == other.__module__ or (files[0] == files[1] is not None)
