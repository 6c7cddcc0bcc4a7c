"""Columns on their way to the page: typed arrays, one after another, deflated, as base64."""

from __future__ import annotations

import zlib
from base64 import b64encode
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Pack", "as_large", "valid"]

_TYPES = {"u1": 1, "u2": 2, "u4": 4, "i4": 4, "f4": 4, "f8": 8}
_SEPARATORS = ("\n", "\t", "\x1f", "\x1e", "\x00")
_ALIGNED = 8  # typed arrays of the page begin at multiples of the size of their elements


class Pack:
    """Columns of the page, in the order in which they are added.

    ``header`` describes them as JSON values: for each column its type (``u1``, ``u2``, ``u4``,
    ``i4``, ``f4``, ``f8``; little-endian), the offset of its first byte, and its count of elements;
    a column of texts is ``text``, UTF-8 with ``separator`` between two texts.
    """

    def __init__(self) -> None:
        self.header: dict[str, dict[str, Any]] = {}
        self._parts: list[bytes] = []
        self._size = 0

    def numbers(self, name: str, values: ArrayLike, kind: str) -> None:
        """Add numbers, of any shape, in C order; NaN stays NaN in ``f4`` and ``f8``."""
        array = np.ascontiguousarray(values).astype(f"<{kind}")
        assert kind in _TYPES
        self._add(name, array.tobytes(), {"type": kind, "count": int(array.size)})

    def texts(self, name: str, values: pa.Array | pa.ChunkedArray) -> None:
        """Add texts; null is the empty text."""
        import pyarrow.compute as pc

        texts = as_large(values)
        if texts.null_count:
            texts = pc.fill_null(texts, "")
        data = _bytes(texts)
        separator = next(s for s in _separators() if s.encode() not in data)
        data = _joined(texts, separator)
        self._add(name, data, {"type": "text", "count": len(texts), "separator": separator})

    def codes(self, name: str, codes: NDArray[np.integer[Any]], values: int) -> None:
        """Add codes 0 … ``values`` − 1 in the smallest type that holds them."""
        kind = "u1" if values <= 1 << 8 else "u2" if values <= 1 << 16 else "u4"
        self.numbers(name, codes, kind)

    def base64(self) -> str:
        """Return all columns, deflated (RFC 1951, without a header), as base64."""
        squeeze = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        data = b"".join([*map(squeeze.compress, self._parts), squeeze.flush()])
        return b64encode(data).decode()

    def _add(self, name: str, data: bytes, described: dict[str, Any]) -> None:
        assert name not in self.header
        self.header[name] = {**described, "offset": self._size, "bytes": len(data)}
        padding = -len(data) % _ALIGNED
        self._parts += [data, bytes(padding)]
        self._size += len(data) + padding


def as_large(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Return texts as one large_string array."""
    import pyarrow as pa

    texts = values.cast(pa.large_string())
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def valid(values: pa.Array | pa.ChunkedArray) -> NDArray[np.bool_]:
    """Where values are not null, bool [n]."""
    return np.asarray(values.is_valid().to_numpy(zero_copy_only=False))


def _bytes(texts: pa.Array) -> bytes:
    data = texts.buffers()[2]
    return b"" if data is None else data.to_pybytes()


def _joined(texts: pa.Array, separator: str) -> bytes:
    """All texts as UTF-8 with the separator between two of them; no Python string is made."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if not len(texts):
        return b""
    whole = pa.LargeListArray.from_arrays(pa.array([0, len(texts)], pa.int64()), texts)
    joined = pc.binary_join(whole, pa.scalar(separator, pa.large_string()))
    return bytes(joined[0].as_buffer())


def _separators() -> Any:
    yield from _SEPARATORS
    yield from map(chr, range(0xE000, 0xF8FF))
