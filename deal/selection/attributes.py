"""What rows say of themselves in texts: attributes, sequences, numbers of frames."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deal.errors import ResultsError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["VIDEO_TIME", "column_of", "frame_numbers", "optional", "plain", "texts"]

VIDEO_TIME = r"#t=-?\d+\.\d{3}$"
"""End of the id of a frame of a video: its time, of which no part is the number of a frame."""

_COLUMNS = ("camera", "sequence")
# The last number, of up to 18 digits, in a stem such as frame_000123 or clip.mp4#frame=123.
_LOG_TIME = r"(?i)\.mcap#.*@\d+$"
_EXTENSION, _FRAME = r"\.[A-Za-z][A-Za-z0-9]*$", r"(?P<frame>\d{1,18})[^\d/]*$"


def column_of(attribute: str) -> str | None:
    """The column that holds an attribute; None for the folder, which is part of the id."""
    if attribute == "folder":
        return None
    return attribute if attribute in _COLUMNS else "attributes"


def optional(piece: pa.Table, name: str, pattern: re.Pattern[str] | None) -> pa.ChunkedArray | None:
    """A column that may be missing; the sequence may also come from the id."""
    if name == "sequence" and pattern is not None:
        return texts(piece, name, pattern)
    return piece.column(name) if name in piece.column_names else None


def texts(piece: pa.Table, attribute: str, sequences: re.Pattern[str] | None) -> pa.ChunkedArray:
    """Texts of an attribute; ``sequences`` gives that of every id that it matches."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if attribute == "folder":
        return pc.replace_substring_regex(piece.column("id"), r"/?[^/]*$", "", max_replacements=1)
    if attribute in ("camera", "sequence") and attribute not in piece.column_names:
        found = pa.chunked_array([pa.nulls(len(piece), pa.string())])
    else:
        found = piece.column(column_of(attribute))
    if attribute == "sequence" and sequences is not None:
        # Python's expressions, as at scoring: those of Arrow are of another dialect.
        matches = map(sequences.search, piece.column("id").to_pylist())
        derived = pa.array([match and match[1] for match in matches], pa.string())
        return pc.coalesce(derived, found.cast(pa.string()))
    if attribute in _COLUMNS:
        return found
    if pa.types.is_null(found.type):
        return found.cast(pa.string())
    if not pa.types.is_map(found.type):
        raise ResultsError(f"the column attributes holds {found.type}, not maps of texts")
    return pc.map_lookup(found, attribute, "first")


def frame_numbers(piece: pa.Table) -> pa.ChunkedArray:
    """The last number in the stem of each id, int64 [n]; null without one.

    Ids of frames of videos and logs end in a time, which is no such number.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = piece.column("id")
    stems = pc.replace_substring_regex(ids, _EXTENSION, "", max_replacements=1)
    numbers = pc.struct_field(pc.extract_regex(stems, _FRAME), "frame").cast(pa.int64())
    timed = pc.or_(*(pc.match_substring_regex(ids, end) for end in (VIDEO_TIME, _LOG_TIME)))
    return pc.if_else(timed, None, numbers)


def plain(table: pa.Table) -> pa.Table:
    """A table whose texts, times and lists are those of deal, whatever library made it.

    Raises
    ------
    ResultsError
        Ids are no texts, or some are null.
    """
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        kind = _plain(field.type)
        if field.name in _COLUMNS and (pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
            kind = pa.string()  # names that another library has read as numbers
        if field.name == "timestamp_ns" and pa.types.is_timestamp(kind):
            column = table.column(index).cast(pa.timestamp("ns", kind.tz))
            table = table.set_column(index, field.name, column)
            kind = pa.int64()
        if kind != field.type:
            table = table.set_column(index, field.with_type(kind), table.column(index).cast(kind))
        if field.name != "id":
            continue
        if nulls := table.column(index).null_count:
            raise ResultsError(f"{nulls} of {len(table)} rows have no id: leave them out")
        if len(table) and not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            raise ResultsError(f"the column id holds {kind}, not texts: give the ids of deal-score")
    return table


def _plain(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_large_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(kind.value_type)
    attributes = pa.map_(pa.string(), pa.string())
    return attributes if pa.types.is_map(kind) and kind != attributes else kind
