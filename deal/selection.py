"""Selection: rank stored rows by an acquisition function and take the budget's worth."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from deal.acquisition import (
    acquisition_options,
    acquisition_scores,
    canonical_name,
    required_columns,
)
from deal.errors import OutputError, ResultsError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Budget", "Selection", "parse_budget", "rank", "score_sources", "select"]

Source: TypeAlias = "str | os.PathLike[str] | pa.Table"
_DIGEST_ROWS = 4096
TIES = "score descending, then id ascending (UTF-8 bytes)"


@dataclass(frozen=True, slots=True)
class Budget:
    """How many images to select: a count, or a percentage of the rows that are ok."""

    count: int | None = None
    percent: Fraction | None = None

    def resolve(self, rows: int) -> int:
        """Return the number of images of ``rows``; a percentage is rounded up, exactly."""
        if self.percent is not None:
            return -(-self.percent.numerator * rows // (self.percent.denominator * 100))
        return rows if self.count is None else self.count


def parse_budget(budget: str | int | None) -> Budget:
    """``50``, ``"50"`` or ``"5%"``; None ranks everything.

    Raises
    ------
    UsageError
        Neither a positive count nor a percentage above 0 and up to 100.
    """
    if budget is None:
        return Budget()
    text = str(budget).strip()
    try:
        if text.endswith("%"):
            percent = Fraction(text[:-1])
            if 0 < percent <= 100:
                return Budget(percent=percent)
        elif int(text) > 0:
            return Budget(count=int(text))
    except (ValueError, ZeroDivisionError):
        pass
    raise UsageError(
        f"budget must be a positive number of images or a percentage above 0% and up to 100%, "
        f"such as 50 or 5%; not {text!r}"
    )


@dataclass(frozen=True)
class Selection:
    """What to label next, best first.

    Attributes
    ----------
    ids : tuple of str, length k
    scores : ndarray of float64 [k]
    metadata : dict
        Acquisition, its options, budget, seed, tie rule, counts and hashes of the inputs: the
        same inputs give the same metadata, byte for byte.
    notes : tuple of str
        What the user should hear, such as a budget larger than the pool.
    """

    ids: tuple[str, ...]
    scores: NDArray[np.float64]
    metadata: dict[str, Any]
    notes: tuple[str, ...] = field(default=())

    @property
    def ranks(self) -> NDArray[np.int64]:
        """1 … k."""
        return np.arange(1, len(self.ids) + 1)

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self) -> Iterator[tuple[int, str, float]]:
        """``(rank, id, score)``, best first."""
        for index, item_id in enumerate(self.ids):
            yield index + 1, item_id, float(self.scores[index])

    def to_csv(self) -> str:
        """``rank,id,score``; ids quoted where needed (RFC 4180), scores as Python's ``repr``."""
        return "".join(self._csv())

    def to_json(self) -> str:
        """Return metadata and notes, then the rows."""
        return "".join(self._json())

    def write(self, output: str | os.PathLike[str]) -> None:
        """Write ``selection.csv`` and ``selection.json`` into a folder, each atomically.

        Raises
        ------
        OutputError
            The folder cannot be written.
        """
        folder = Path(output)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            _write_atomically(folder / "selection.csv", self._csv())
            _write_atomically(folder / "selection.json", self._json())
        except OSError as error:
            raise OutputError(
                f"cannot write the selection to {folder}: {error.strerror}; choose another --output"
            ) from error

    def _csv(self) -> Iterator[str]:
        yield "rank,id,score\n"
        for rank, item_id, score in self.rows():
            yield f"{rank},{_quote(item_id)},{score!r}\n"

    def _json(self) -> Iterator[str]:
        head = json.dumps(
            {**self.metadata, "notes": list(self.notes)}, indent=1, ensure_ascii=False
        )
        yield head.removesuffix("\n}") + ',\n "selection": ['
        for rank, item_id, score in self.rows():
            row = {"rank": rank, "id": item_id, "score": score}
            yield ("," if rank > 1 else "") + "\n  " + json.dumps(row, ensure_ascii=False)
        yield "\n ]\n}\n"


def rank(
    ids: Sequence[str] | pa.ChunkedArray, scores: NDArray[np.float64], budget: int | None = None
) -> NDArray[np.int64]:
    """Rows by score descending, equal scores by id ascending (UTF-8 bytes); NaN rows are left out.

    Parameters
    ----------
    ids : sequence of str, or pyarrow array of strings, length n
    scores : ndarray of float64 [n]
    budget : int or None
        Keep the first so many.

    Returns
    -------
    ndarray of int64 [min(k, budget)]
        Indices into ``ids``.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = np.flatnonzero(~np.isnan(scores))
    column = (
        ids if isinstance(ids, (pa.Array, pa.ChunkedArray)) else pa.array(ids, pa.large_string())
    )
    table = pa.table({"id": column.take(pa.array(rows)), "score": scores[rows]})
    order = pc.sort_indices(table, sort_keys=[("score", "descending"), ("id", "ascending")])
    return np.asarray(rows[order.to_numpy()][:budget])


def select(
    sources: Source | Iterable[Source],
    *,
    acquisition: str = "ds",
    budget: str | int | None = None,
    seed: int = 0,
    levels: int | None = None,
    edges: str | None = None,
) -> Selection:
    """Rank scored images and take the budget's worth; no network runs.

    Parameters
    ----------
    sources : path, pyarrow.Table, or several of them
        Output folders of `deal-score`, or tables with ``id``, ``status`` and the columns that the
        acquisition function reads.
    acquisition : str
        One of `acquisition_names`.
    budget : int or str, optional
        A count, or a percentage of the rows that are ok, rounded up; None ranks everything.
    seed, levels, edges
        Of `acquisition_scores`.

    Raises
    ------
    UsageError
        Unknown acquisition function, or an option or budget that does not fit.
    ResultsError
        Sources without results, of different settings, without a column that is needed, or with
        one id twice.
    """
    import pyarrow as pa

    wanted = parse_budget(budget)
    options = acquisition_options(acquisition, levels=levels, edges=edges, seed=seed)
    ids, scores, fingerprint = _collected(
        score_sources(sources, acquisition=acquisition, levels=levels, edges=edges, seed=seed)
    )
    _refuse_duplicates(ids)
    order = rank(ids, scores)
    count = wanted.resolve(len(order))
    ranked, values = ids.take(pa.array(order)), scores[order]
    notes = _notes(rows=len(ids), scored=len(order), count=count)
    selected = tuple(ranked[:count].to_pylist())
    metadata = {
        "format": 1,
        "acquisition": canonical_name(acquisition),
        **options,
        "seed": seed,
        "budget": None if budget is None else str(budget),
        "ties": TIES,
        "rows": len(ids),
        "scored": len(order),
        "selected": len(selected),
        "fingerprint": fingerprint,
        "scores_sha256": _digest(ranked, values),
    }
    return Selection(selected, values[:count], metadata, notes)


def score_sources(
    sources: Source | Iterable[Source],
    *,
    acquisition: str = "ds",
    seed: int = 0,
    levels: int | None = None,
    edges: str | None = None,
) -> Iterator[tuple[pa.ChunkedArray, NDArray[np.float64], str | None]]:
    """Score the rows of the sources piece by piece; parameters and errors are those of `select`.

    Yields
    ------
    ids : pyarrow.ChunkedArray of strings [n]
    scores : ndarray of float64 [n]
        NaN for rows that cannot be ranked.
    fingerprint : str or None
        Of the settings the rows were scored with; None for tables that do not say.
    """
    needs = required_columns(acquisition, levels=levels, edges=edges)
    for table, fingerprint in _tables(sources, list(dict.fromkeys(["id", "status", *needs]))):
        scores = acquisition_scores(table, acquisition, levels=levels, edges=edges, seed=seed)
        yield table.column("id"), scores, fingerprint


def _collected(
    pieces: Iterable[tuple[pa.ChunkedArray, NDArray[np.float64], str | None]],
) -> tuple[pa.ChunkedArray, NDArray[np.float64], str | None]:
    """All rows as one; ResultsError if their settings differ or an id stands in two rows."""
    import pyarrow as pa

    ids: list[pa.Array] = []
    scores: list[NDArray[np.float64]] = []
    fingerprints: set[str | None] = set()
    for piece, values, fingerprint in pieces:
        ids += piece.cast(pa.large_string()).chunks
        scores.append(values)
        fingerprints.add(fingerprint)
    if len(fingerprints) > 1:
        raise ResultsError(
            "the sources were scored with different settings (model, head, raster, mask, …), so "
            "their scores do not compare: score them alike, or select from each alone"
        )
    return (
        pa.chunked_array(ids, pa.large_string()),
        np.concatenate(scores) if scores else np.empty(0),
        next(iter(fingerprints), None),
    )


def _notes(*, rows: int, scored: int, count: int) -> tuple[str, ...]:
    if scored == 0:
        return (f"none of the {rows} rows has a score: nothing to rank",)
    if count > scored:
        return (f"the budget of {count} is larger than the pool: all {scored} images are selected",)
    return ()


def _refuse_duplicates(ids: pa.ChunkedArray) -> None:
    import pyarrow.compute as pc

    if pc.count_distinct(ids).as_py() < len(ids):
        counts = pc.value_counts(ids)
        twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values")[0].as_py()
        raise ResultsError(
            f"the id {twice!r} is in the sources more than once: name each output folder once, "
            "and score pools with equal ids from a common root"
        )


def _digest(ids: pa.ChunkedArray, scores: NDArray[np.float64]) -> str:
    """SHA-256 over every scored row in rank order: the same in whatever order it was stored."""
    state = hashlib.sha256()
    for start in range(0, len(ids), _DIGEST_ROWS):
        part = slice(start, start + _DIGEST_ROWS)
        pairs = [ids[part].to_pylist(), scores[part].tolist()]
        state.update(json.dumps(pairs, ensure_ascii=False).encode())
    return state.hexdigest()


def _write_atomically(path: Path, text: Iterator[str]) -> None:
    temporary = path.with_name(f"_{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            file.writelines(text)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _quote(text: str) -> str:
    # csv.writer leaves a carriage return unquoted, which readers take for the end of the row.
    if not text or any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _tables(
    sources: Source | Iterable[Source], columns: Sequence[str]
) -> Iterator[tuple[pa.Table, str | None]]:
    """Yield the sources piece by piece, with the fingerprint of the settings they came from."""
    import pyarrow as pa

    if isinstance(sources, (str, os.PathLike, pa.Table)):
        sources = [sources]
    folders = []
    for source in sources:
        if isinstance(source, pa.Table):
            present = [name for name in columns if name in source.column_names]
            if "id" not in present:
                raise ResultsError("the table has no column id, which names its images")
            yield source.select(present), _fingerprint(source)
        else:
            folders.append(source)
    if folders:
        from deal.results import iter_results

        for batch in iter_results(folders, columns):
            table = pa.Table.from_batches([batch])
            yield table, _fingerprint(table)


def _fingerprint(table: pa.Table) -> str | None:
    stored = (table.schema.metadata or {}).get(b"deal.fingerprint")
    return None if stored is None else stored.decode()
