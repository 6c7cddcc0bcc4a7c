"""A selection as a document: ``selection.csv`` and ``selection.json``."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.errors import OutputError
from deal.machine.files import replacing
from deal.pool.remote_path import place
from deal.selection.heading import heading

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["COLUMNS", "Selection", "csv_text", "quote", "unguarded"]

COLUMNS = ("rank", "id", "score", "uri", "region", "polygon", "cost", "why")
"""Columns of ``selection.csv`` and keys of the rows of ``selection.json``.

``rank`` counts from 1; ``score`` is that of the acquisition function; ``region`` is the number of
the region within its image, and ``polygon`` the outline of the region (WKT, in pixels of the
oriented original; its box where no outline is stored); ``cost`` is in the unit of the selection;
``why`` names the classes and regions that contribute most to the score. A value that does not apply
is empty (null).
"""
_BATCH = 512
_SHOWN = 10  # rows in a notebook

# Leading apostrophes count too, so that text that is guarded twice is read back unchanged.
_FORMULA = re.compile(r"^'*[=+\-@\t\r]")


@dataclass(frozen=True)
class Selection:
    """What to label next, best first.

    Attributes
    ----------
    table : pyarrow.Table, k rows
        The columns of `COLUMNS` except ``rank``, in rank order.
    metadata : dict
        Acquisition function and options, budget, rules, seed, tie rule, counts and hashes of the
        inputs. The same inputs give the same metadata, byte for byte.
    notes : tuple of str
        Notes for the user, for example that the budget is larger than the pool.
    """

    table: pa.Table
    metadata: dict[str, Any]
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Ids, best first; if regions are selected, the id of each region's image."""
        return tuple(self.table.column("id").to_pylist())

    @cached_property
    def scores(self) -> NDArray[np.float64]:
        """Scores, float64 [k]; NaN for a pick by distance that has no score."""
        return np.asarray(self.table.column("score").to_numpy(), dtype=np.float64)

    @property
    def heading(self) -> str:
        """One sentence on what was selected by what, and how it was spread."""
        return heading(self.metadata)

    @property
    def drawn(self) -> str:
        """``, drawn by power:1`` where rows were drawn: text for a line that names the function."""
        stochastic = self.metadata["stochastic"]
        return f", drawn by {stochastic}" if stochastic else ""

    @property
    def ranks(self) -> NDArray[np.int64]:
        """1 … k."""
        return np.arange(1, len(self) + 1)

    def __len__(self) -> int:
        return len(self.table)

    def rows(self) -> Iterator[tuple[int, str, float]]:
        """``(rank, id, score)``, best first."""
        for record in self.records():
            score = record["score"]
            yield record["rank"], record["id"], float("nan") if score is None else score

    def records(self, count: int | None = None) -> Iterator[dict[str, Any]]:
        """The first ``count`` rows as dicts of `COLUMNS`, best first; all by default."""
        rank = 0
        for batch in self.table.slice(0, count).to_batches(_BATCH):
            for row in batch.to_pylist():
                rank += 1
                if row["score"] != row["score"]:
                    row["score"] = None
                if row["cost"] is not None and row["cost"].is_integer():
                    row["cost"] = int(row["cost"])
                yield {name: rank if name == "rank" else row[name] for name in COLUMNS}

    def to_pandas(self) -> Any:
        """Return `COLUMNS` as a pandas DataFrame; UsageError if pandas is not installed."""
        from deal.results.frames import to_pandas

        return to_pandas(self._with_ranks())

    def to_polars(self) -> Any:
        """Return `COLUMNS` as a Polars DataFrame; UsageError if Polars is not installed."""
        from deal.results.frames import to_polars

        return to_polars(self._with_ranks())

    def _with_ranks(self) -> pa.Table:
        import pyarrow as pa

        return self.table.add_column(0, "rank", pa.array(self.ranks)).select(list(COLUMNS))

    def _repr_html_(self) -> str:
        from deal.results.frames import html_table

        rows = list(self.records(_SHOWN))
        region = ["region"] if self.metadata.get("table") == "regions" else []
        columns = ["rank", "score", *region, "id", "why"]
        return html_table(rows, columns, self.heading, len(self))

    @property
    def formulas(self) -> int:
        """Count rows that spreadsheets take for a formula: a text begins with =, +, - or @."""
        import pyarrow as pa
        import pyarrow.compute as pc

        found = np.zeros(len(self), dtype=bool)
        for name in self.table.column_names:
            column = self.table.column(name)
            if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
                matches = pc.match_substring_regex(column, _FORMULA.pattern)
                found |= pc.fill_null(matches, False).to_numpy()
        return int(found.sum())

    def to_csv(self, *, csv_safe: bool = False) -> str:
        """Return `COLUMNS` as CSV: quoted where needed (RFC 4180), numbers as Python's ``repr``.

        With ``csv_safe``, an apostrophe precedes text that spreadsheets take for a formula.
        """
        return "".join(self._csv(csv_safe))

    def to_json(self) -> str:
        """Return metadata and notes, then the rows."""
        return "".join(self._json())

    def write(self, output: str | os.PathLike[str], *, csv_safe: bool = False) -> None:
        """Write ``selection.csv`` and ``selection.json`` into a folder, each atomically.

        Parameters
        ----------
        output : path
        csv_safe : bool
            Write an apostrophe before text in ``selection.csv`` that begins with =, +, - or @, so
            that spreadsheets do not run it. It is removed when the file is read as a list of ids.

        Raises
        ------
        OutputError
            The folder cannot be written.
        """
        folder = place(output)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for name, text in (
                ("selection.csv", self._csv(csv_safe)),
                ("selection.json", self._json()),
            ):
                with replacing(folder / name) as file:
                    file.writelines(part.encode() for part in text)
        except OSError as error:
            raise OutputError(
                f"cannot write the selection to {folder}: {error.strerror}; choose another --output"
            ) from error

    def _csv(self, safe: bool) -> Iterator[str]:
        shown = _guarded if safe else str
        yield ",".join(COLUMNS) + "\n"
        for row in self.records():
            cells = (
                ""
                if value is None
                else quote(shown(value))
                if isinstance(value, str)
                else repr(value)
                for value in row.values()
            )
            yield ",".join(cells) + "\n"

    def _json(self) -> Iterator[str]:
        head = json.dumps(
            {**self.metadata, "notes": list(self.notes)}, indent=1, ensure_ascii=False
        )
        yield head.removesuffix("\n}") + ',\n "selection": ['
        for row in self.records():
            yield ("," if row["rank"] > 1 else "") + "\n  " + json.dumps(row, ensure_ascii=False)
        yield "\n ]\n}\n"


def unguarded(text: str) -> str:
    """Return a text of a ``csv_safe`` file without the apostrophe that guards it."""
    return text[1:] if text.startswith("'") and _FORMULA.match(text) else text


def _guarded(text: str) -> str:
    return f"'{text}" if _FORMULA.match(text) else text


def csv_text(columns: Sequence[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table as CSV; None is an empty cell."""
    lines = [
        ",".join("" if cell in (None, "") else quote(str(cell)) for cell in row)
        for row in (columns, *rows)
    ]
    return "\n".join([*lines, ""])


def quote(text: str) -> str:
    """Return a text as a cell of CSV."""
    # csv.writer does not quote a carriage return, which readers take for the end of the row.
    if not text or any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
