"""Acquisition functions: stored statistics in, one score an image out; higher is labeled sooner.

Every function is pure and small. A user's own joins the registry the same way::

    from deal.acquisition import acquisition

    @acquisition("boundary", requires=["boundary_pixels", "n_pixels"])
    def boundary(columns):
        return columns["boundary_pixels"] / columns["n_pixels"]

    deal.acquisition_scores(table, "boundary")
"""

from __future__ import annotations

import difflib
import hashlib
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from deal.errors import ResultsError, UsageError
from deal.types import HISTOGRAM_LEVELS

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "Acquisition",
    "acquisition",
    "acquisition_names",
    "acquisition_options",
    "acquisition_scores",
    "canonical_name",
    "required_columns",
]

Columns = Mapping[str, NDArray[Any]]
Scores = NDArray[np.float64]
# Columns of the usable rows, which rows are ok, and which of those hold no null.
_Chunk = tuple[Columns, NDArray[np.bool_], NDArray[np.bool_]]
F = TypeVar("F", bound=Callable[..., Scores])

_EDGES = {"image": "difficulty_hist_image", "fixed": "difficulty_hist"}
_ALIASES = {"ds": "ds:none"}
_REMEDY_DIFFICULTY = (
    "the model has no difficulty: score with a model of `deal train`, or with a head file as "
    "--difficulty-head (`deal fit-head` of a later version fits one)"
)
# Rows converted to NumPy at a time: a histogram column of this many rows takes 126 MB.
_CHUNK_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Acquisition:
    """A registered function, the columns it reads and the options it takes."""

    name: str
    function: Callable[..., Scores]
    requires: Callable[..., Sequence[str]]
    options: frozenset[str]


_REGISTRY: dict[str, Acquisition] = {}


def acquisition(
    name: str, *, requires: Sequence[str] | Callable[..., Sequence[str]]
) -> Callable[[F], F]:
    """Register an acquisition function under ``name``.

    Parameters
    ----------
    name : str
    requires : sequence of str, or callable
        The columns the function reads; a callable gets the function's options by keyword.

    Notes
    -----
    The function gets a mapping of those columns as arrays of n rows and returns float64 [n]; NaN
    means that a row cannot be ranked. It is called on parts of a pool: a row's score must not
    depend on other rows. Keyword-only parameters are its options; ``levels``,
    ``edges`` and ``seed`` are passed on from :func:`acquisition_scores`.
    """

    def register(function: F) -> F:
        if name in _REGISTRY or name in _ALIASES:
            raise UsageError(f"acquisition function {name!r} is already registered")
        parameters = inspect.signature(function).parameters.values()
        options = frozenset(p.name for p in parameters if p.kind is p.KEYWORD_ONLY)
        columns = requires if callable(requires) else lambda **_: requires
        _REGISTRY[name] = Acquisition(name, function, columns, options)
        return function

    return register


@acquisition("ds:none", requires=["difficulty_mean"])
def ds_none(columns: Columns) -> Scores:
    """Mean difficulty, as the released DEAL code computes DS (Xie et al., arXiv 2010.08705)."""
    return columns["difficulty_mean"]


@acquisition("ds:entropy", requires=["difficulty_weighted_entropy_mean"])
def ds_entropy(columns: Columns) -> Scores:
    """Mean of difficulty times entropy: DS (Xie et al., arXiv 2010.08705, section 3.3)."""
    return columns["difficulty_weighted_entropy_mean"]


@acquisition("ds:margin", requires=["difficulty_weighted_margin_mean"])
def ds_margin(columns: Columns) -> Scores:
    """Mean of difficulty times margin: DS (Xie et al., arXiv 2010.08705, section 3.3)."""
    return columns["difficulty_weighted_margin_mean"]


@acquisition("ds:least-confidence", requires=["difficulty_weighted_least_confidence_mean"])
def ds_least_confidence(columns: Columns) -> Scores:
    """Mean of difficulty times least confidence: DS (Xie et al., arXiv 2010.08705, section 3.3)."""
    return columns["difficulty_weighted_least_confidence_mean"]


@acquisition("de", requires=lambda edges: [_EDGES[edges]])
def de(columns: Columns, *, levels: int = 8, edges: str = "image") -> Scores:
    """Entropy (nats) of the difficulty histogram: DE (Xie et al., arXiv 2010.08705, section 3.3).

    Parameters
    ----------
    columns : mapping
        ``difficulty_hist_image`` (``edges="image"``: each image's own min…max, as released) or
        ``difficulty_hist`` (``edges="fixed"``: 0…1), int64 [n, 240].
    levels : int
        L of the paper, a divisor of 240; the paper uses 8 on CamVid, 8 and 10 on Cityscapes.
    """
    fine = np.asarray(columns[_EDGES[edges]])
    counts = fine.reshape(len(fine), levels, HISTOGRAM_LEVELS // levels).sum(axis=2)
    total = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, total, out=np.full(counts.shape, np.nan), where=total > 0)
    # The term of an empty level is 0, not 0 · log 0.
    log_share = np.log(np.where(counts > 0, share, 1.0))
    result: Scores = np.abs((share * log_share).sum(axis=1))
    return result


@acquisition("entropy", requires=["entropy_mean"])
def entropy(columns: Columns) -> Scores:
    """Mean entropy of the class probabilities (Shannon 1948; Settles 2009, section 3.1)."""
    return columns["entropy_mean"]


@acquisition("margin", requires=["margin_mean"])
def margin(columns: Columns) -> Scores:
    """Mean of one minus the gap between the two likeliest classes (Scheffer et al., IDA 2001)."""
    return columns["margin_mean"]


@acquisition("least-confidence", requires=["least_confidence_mean"])
def least_confidence(columns: Columns) -> Scores:
    """Mean of one minus the likeliest class's probability (Lewis & Gale, SIGIR 1994)."""
    return columns["least_confidence_mean"]


@acquisition("random", requires=["id"])
def random(columns: Columns, *, seed: int = 0) -> Scores:
    """Uniform in [0, 1) from a hash of (seed, id): the same in any shard or order.

    The baseline of every active-learning comparison; BLAKE2b (RFC 7693), its first 53 bits.
    """
    prefix = hashlib.blake2b(f"{seed}\0".encode(), digest_size=8)

    def digest(item: str) -> bytes:
        state = prefix.copy()
        state.update(item.encode())
        return state.digest()

    words = b"".join(digest(str(item)) for item in columns["id"])
    return np.ldexp((np.frombuffer(words, dtype="<u8") >> np.uint64(11)).astype(np.float64), -53)


def acquisition_names() -> list[str]:
    """Names that :func:`acquisition_scores` takes, sorted; ``ds`` stands for ``ds:none``."""
    return sorted([*_REGISTRY, *_ALIASES])


def canonical_name(name: str) -> str:
    """``ds`` → ``ds:none``; UsageError, listing the names, if there is no such function."""
    return _lookup(name).name


def acquisition_options(
    name: str, *, levels: int | None = None, edges: str | None = None, seed: int = 0
) -> dict[str, int | str]:
    """Every option of a function with its value, defaults filled in; raises UsageError."""
    return _bind(_lookup(name), levels, edges, seed)


def required_columns(
    name: str, *, levels: int | None = None, edges: str | None = None
) -> tuple[str, ...]:
    """Columns that an acquisition function reads; raises UsageError as `acquisition_scores`."""
    entry = _lookup(name)
    return _required(entry, _bind(entry, levels, edges, seed=0))


def acquisition_scores(
    columns: Mapping[str, Any] | pa.Table,
    name: str,
    *,
    levels: int | None = None,
    edges: str | None = None,
    seed: int = 0,
) -> Scores:
    """Score every row; higher is labeled sooner.

    Parameters
    ----------
    columns : mapping of str to array [n] or [n, K], or pyarrow.Table
        Stored statistics (`read_results`) or `Statistics.images`.
    name : str
        One of :func:`acquisition_names`.
    levels, edges : int, ``image`` or ``fixed``
        Of ``de`` alone; its own defaults are 8 and ``image``.
    seed : int
        Of ``random``; the others ignore it.

    Returns
    -------
    ndarray of float64 [n]
        NaN for rows whose ``status`` is not ``ok`` and rows with nulls.

    Raises
    ------
    UsageError
        Unknown name, or an option the function does not take.
    ResultsError
        A column that the function reads is missing, or null in every row that is ok.
    """
    entry = _lookup(name)
    options = _bind(entry, levels, edges, seed)
    needs = _required(entry, options)
    names = list(columns) if isinstance(columns, Mapping) else columns.column_names
    _require(entry, [column for column in needs if column not in names], "lack")
    reads = list(dict.fromkeys([*needs, *(["status"] if "status" in names else [])]))
    read = _from_mapping if isinstance(columns, Mapping) else _from_table
    parts: list[Scores] = []
    any_ok = any_usable = False
    for chunk, ok, usable in read(columns, reads):
        scores = np.full(len(ok), np.nan)
        any_ok |= bool(ok.any())
        if usable.any():
            any_usable = True
            scores[usable] = _call(entry, options, chunk, int(usable.sum()))
        parts.append(scores)
    if any_ok and not any_usable:
        _require(entry, needs, "hold no values in")
    return np.concatenate(parts) if parts else np.empty(0)


def _lookup(name: str) -> Acquisition:
    entry = _REGISTRY.get(_ALIASES.get(name, name))
    if entry is None:
        names = acquisition_names()
        close = difflib.get_close_matches(name, names, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UsageError(f"no acquisition function {name!r}.{hint} There are: {', '.join(names)}")
    return entry


def _bind(
    entry: Acquisition, levels: int | None, edges: str | None, seed: int
) -> dict[str, int | str]:
    given: dict[str, int | str] = {
        key: value for key, value in (("levels", levels), ("edges", edges)) if value is not None
    }
    for option in given:
        if option not in entry.options:
            takers = [other.name for other in _REGISTRY.values() if option in other.options]
            raise UsageError(
                f"acquisition {entry.name!r} takes no {option}; only {', '.join(takers)} does"
            )
    if levels is not None and (levels < 2 or HISTOGRAM_LEVELS % levels):
        divisors = [n for n in range(2, HISTOGRAM_LEVELS + 1) if HISTOGRAM_LEVELS % n == 0]
        raise UsageError(
            f"levels must divide {HISTOGRAM_LEVELS}: one of {', '.join(map(str, divisors))}; "
            f"not {levels}"
        )
    if edges is not None and edges not in _EDGES:
        raise UsageError(f"edges must be {' or '.join(_EDGES)}, not {edges!r}")
    defaults: dict[str, Any] = {
        p.name: p.default
        for p in inspect.signature(entry.function).parameters.values()
        if p.name in entry.options and p.default is not p.empty
    }
    if "seed" in entry.options:
        given["seed"] = seed
    return {**defaults, **given}


def _required(entry: Acquisition, options: Mapping[str, Any]) -> tuple[str, ...]:
    taken = inspect.signature(entry.requires).parameters
    anything = any(p.kind is p.VAR_KEYWORD for p in taken.values())
    return tuple(entry.requires(**{k: v for k, v in options.items() if anything or k in taken}))


def _require(entry: Acquisition, missing: Sequence[str], verb: str) -> None:
    if missing:
        hint = (
            _REMEDY_DIFFICULTY
            if any("difficulty" in column for column in missing)
            else "score the pool again, or choose another acquisition function"
        )
        raise ResultsError(
            f"acquisition {entry.name!r}: the results {verb} {', '.join(missing)}; {hint}"
        )


def _call(entry: Acquisition, options: Mapping[str, Any], columns: Columns, rows: int) -> Scores:
    scores = np.asarray(entry.function(columns, **options), dtype=np.float64)
    if scores.shape != (rows,):
        raise UsageError(
            f"acquisition {entry.name!r} returned shape {scores.shape} for {rows} rows"
        )
    return scores


def _from_mapping(columns: Mapping[str, Any], names: Sequence[str]) -> Iterator[_Chunk]:
    arrays = {name: np.asarray(columns[name]) for name in names}
    rows = len(next(iter(arrays.values())))
    ok = arrays["status"] == "ok" if "status" in arrays else np.ones(rows, dtype=bool)
    yield {name: array[ok] for name, array in arrays.items()}, ok, ok


def _from_table(table: pa.Table, names: Sequence[str]) -> Iterator[_Chunk]:
    import pyarrow as pa
    import pyarrow.compute as pc

    for batch in table.select(names).to_batches(_CHUNK_ROWS):
        ok = np.ones(batch.num_rows, dtype=bool)
        if "status" in names:
            ok = pc.equal(batch.column("status"), "ok").fill_null(False).to_numpy(False)
        usable = ok.copy()
        for column in batch.columns:
            usable &= column.is_valid().to_numpy(False)
        rows = batch.filter(pa.array(usable))
        arrays = (_to_numpy(column) for column in rows.columns)
        yield dict(zip(names, arrays, strict=True)), ok, usable


def _to_numpy(array: pa.Array) -> NDArray[Any]:
    """Scalars become [n], lists of K become [n, K]; there are no nulls left."""
    import pyarrow.types as pt

    if pt.is_list(array.type) or pt.is_fixed_size_list(array.type):
        flat = array.flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat.reshape(len(array), -1) if len(array) else flat)
    return np.asarray(array.to_numpy(zero_copy_only=False))
