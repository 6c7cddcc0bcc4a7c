"""Tables for notebooks: to pandas and Polars, and as HTML with small pictures of the images."""

from __future__ import annotations

import base64
import html
import importlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any

from PIL import Image

from deal.errors import ItemError, UsageError
from deal.text import printable
from deal.types import PoolItem

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Results", "html_table", "to_pandas", "to_polars"]

_ROWS = 10
_THUMB = (128, 96)  # width, height
_MOST_PIXELS = 50_000_000  # an image above that takes seconds, and a notebook waits
_SHOWN = (
    "id",
    "region",
    "status",
    "error",
    "sequence",
    "camera",
    "difficulty_mean",
    "entropy_mean",
    "n_pixels",
)


class Results:
    """Rows of stored results.

    Whatever a :class:`pyarrow.Table` can do, these can do too: attributes that are not listed here
    are those of ``table``, and every library that reads Arrow tables reads them. A notebook shows
    the first rows with their images.

    Attributes
    ----------
    table : pyarrow.Table
        Its metadata holds ``deal.schema``, ``deal.fingerprint``, ``deal.settings`` and
        ``deal.classes``.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame; UsageError if pandas is not installed."""
        return to_pandas(self.table)

    def to_polars(self) -> Any:
        """Return a Polars DataFrame; UsageError if Polars is not installed."""
        return to_polars(self.table)

    def equals(self, other: Any, check_metadata: bool = False) -> bool:
        """Whether another table holds the same, as :meth:`pyarrow.Table.equals` tells."""
        table = other.table if isinstance(other, Results) else other
        return bool(self.table.equals(table, check_metadata=check_metadata))

    def __getattr__(self, name: str) -> Any:
        if name == "table":  # not set yet, as while an object is copied
            raise AttributeError(name)
        return getattr(self.table, name)

    def __getitem__(self, key: int | str | slice) -> Any:
        return self.table[key]

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __eq__(self, other: object) -> bool:
        return self.equals(other) if isinstance(other, Results) else bool(self.table == other)

    __hash__ = None  # type: ignore[assignment]

    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)

    def __repr__(self) -> str:
        return f"deal.Results of {len(self)} rows, {self.table.num_columns} columns"

    def _repr_html_(self) -> str:
        columns = [name for name in _SHOWN if name in self.table.column_names]
        columns = columns or self.table.column_names[:8]
        extra = ["uri"] if "uri" in self.table.column_names else []
        rows = self.table.slice(0, _ROWS).select([*columns, *extra]).to_pylist()
        columns = [name for name in columns if any(row[name] is not None for row in rows)]
        more = f"{len(self):,} rows, {self.table.num_columns} columns"
        return html_table(rows, columns, more, len(self))


def to_pandas(table: pa.Table) -> Any:
    """Make a pandas DataFrame; UsageError if pandas is not installed."""
    _module("pandas", "to_pandas")
    return table.to_pandas()


def to_polars(table: pa.Table) -> Any:
    """Make a Polars DataFrame; UsageError if Polars is not installed."""
    return _module("polars", "to_polars").from_arrow(table)


def html_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[str],
    caption: str,
    total: int,
) -> str:
    """Make a table for a notebook, all text escaped; rows with a ``uri`` get a small picture.

    Parameters
    ----------
    rows : sequence of mapping of column to value
        At most ten are shown.
    columns : sequence of str
        The columns to show, in order.
    caption : str
    total : int
        Number of all rows.
    """
    shown = rows[:_ROWS]
    pictures = [_picture(row["uri"]) if row.get("uri") is not None else "" for row in shown]
    with_pictures = any(pictures)
    head = "".join(f"<th>{html.escape(name)}</th>" for name in columns)
    lines = []
    for row, picture in zip(shown, pictures, strict=True):
        cells = "".join(f"<td>{_cell(row[name])}</td>" for name in columns)
        lines.append(f"<tr>{f'<td>{picture}</td>' if with_pictures else ''}{cells}</tr>")
    more = f"; the first {len(shown)} are shown" if total > len(shown) else ""
    return (
        f"<table><thead><tr>{'<th></th>' if with_pictures else ''}{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table><p>{html.escape(caption + more)}</p>"
    )


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4f}"
    return html.escape(printable(str(value)))


def _picture(uri: str) -> str:
    """An image as a data URI of a few kilobytes; empty if it cannot be read here."""
    # Whoever reads results need not have what decodes images.
    from deal.pool.decode import decode
    from deal.pool.locator import locate

    item = PoolItem(uri, uri, locate(uri), "")
    try:
        decoded = decode(item, max_pixels=_MOST_PIXELS, at_least=_THUMB[::-1])
    except (ItemError, MemoryError, OSError, ValueError):
        return ""
    image = Image.fromarray(decoded.image)
    image.thumbnail(_THUMB, Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, "JPEG", quality=75)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="" src="data:image/jpeg;base64,{data}">'


def _module(name: str, method: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        reason = f"{method} needs {name}, which is not installed"
        raise UsageError(f"{reason}: pip install {name}") from error
