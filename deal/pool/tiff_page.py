"""The first page of a TIFF: its tags, and its samples where neither codec nor layout is special.

Pillow knows the pictures that programs exchange, and not what instruments write: floats of 16 or
64 bits, signed or inverted grey, grey with alpha, big-endian BigTIFF. Those are read here, from
strips or tiles, plain or compressed with deflate. Format: Adobe, TIFF Revision 6.0 (1992), and its
BigTIFF extension of libtiff.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from deal.errors import ItemError

__all__ = ["DEFLATE", "JPEG", "LZW", "NONE", "PLANAR", "Page", "check_inflates", "damaged"]

NONE, LZW, JPEG, DEFLATE = 1, 5, 7, (8, 32946)
_COMPRESSIONS = {
    2: "CCITT RLE", 3: "CCITT G3", 4: "CCITT G4", 5: "LZW", 6: "old JPEG", 7: "JPEG",
    8: "deflate", 32773: "PackBits", 32946: "deflate", 34925: "LZMA", 50000: "Zstandard",
    50001: "WebP", 50002: "JPEG XL",
}  # fmt: skip
_PHOTOMETRIC = {
    0: "inverted grey", 1: "grey", 2: "RGB", 3: "palette", 4: "mask", 5: "CMYK", 6: "YCbCr",
    8: "CIELab", 9: "ICCLab", 10: "ITULab", 32803: "Bayer", 32844: "LogL", 32845: "LogLuv",
    34892: "linear raw",
}  # fmt: skip
_TYPES = {1: "B", 2: "B", 3: "H", 4: "I", 6: "b", 7: "B", 8: "h", 9: "i", 13: "I", 16: "Q"}
_KINDS = {1: "u", 2: "i", 3: "f"}
_NAMES = {"u": "uint", "i": "int", "f": "float"}

WIDTH, HEIGHT, BITS, COMPRESSION, INTERPRETATION = 256, 257, 258, 259, 262
FILL_ORDER, OFFSETS, ORIENTATION, SAMPLES, ROWS, COUNTS = 266, 273, 274, 277, 278, 279
PLANAR, PREDICTOR, TILE_WIDTH, TILE_HEIGHT, TILE_OFFSETS, TILE_COUNTS = 284, 317, 322, 323, 324, 325
EXTRA, FORMAT, JPEG_TABLES = 338, 339, 347
_PREMULTIPLIED = 1  # alpha
_SHORT, _LONG = 3, 4


def damaged(reason: str) -> ItemError:
    """ItemError ``decode`` for a file that is not as it was written."""
    return ItemError("decode", f"damaged or truncated TIFF: {reason}")


@dataclass(frozen=True, slots=True)
class Page:
    """Tags of the first page, as far as they are whole numbers.

    Attributes
    ----------
    data : bytes
        The whole file.
    order : str
        ``<`` or ``>``.
    tags : dict of tag to (type, values)
    has_more : bool
        Whether other pages follow.
    """

    data: bytes
    order: Literal["<", ">"]
    tags: dict[int, tuple[int, tuple[int, ...]]]
    has_more: bool = False

    @classmethod
    def of(cls, data: bytes) -> Page | None:
        """Read the tags; None where they cannot be followed."""
        order: Literal["<", ">"] = ">" if data.startswith(b"MM") else "<"
        big = struct.unpack_from(order + "H", data, 2)[0] == 43
        offset, count, entry, room = ("Q", "Q", 20, 8) if big else ("I", "H", 12, 4)
        tags: dict[int, tuple[int, tuple[int, ...]]] = {}
        try:
            (start,) = struct.unpack_from(order + offset, data, 8 if big else 4)
            (entries,) = struct.unpack_from(order + count, data, start)
            start += struct.calcsize(count)
            following = data[start + entries * entry :][: struct.calcsize(offset)]
            for place in range(start, min(start + entries * entry, len(data)), entry):
                tag, kind, number = struct.unpack_from(order + "HH" + offset, data, place)
                code = _TYPES.get(kind)
                if code is None or number > len(data):
                    continue
                values, size = place + entry - room, number * struct.calcsize("=" + code)
                if size > room:
                    (values,) = struct.unpack_from(order + offset, data, values)
                found = struct.unpack_from(f"{order}{number}{code}", data, values)
                tags.setdefault(tag, (kind, found))
        except struct.error:
            return None
        return cls(data, order, tags, any(following))

    def get(self, tag: int, default: int) -> int:
        """First value of a tag."""
        values = self.tags.get(tag, (0, ()))[1]
        return values[0] if values else default

    def all(self, tag: int) -> tuple[int, ...]:
        """Every value of a tag, none where it is missing."""
        return self.tags.get(tag, (0, ()))[1]

    @property
    def orientation(self) -> int:
        """1…8; 1 where the tag is missing, of another type or out of range."""
        kind, values = self.tags.get(ORIENTATION, (0, ()))
        known = kind in (_SHORT, _LONG) and len(values) == 1 and 1 <= values[0] <= 8
        return values[0] if known else 1

    @property
    def samples(self) -> int:
        """Samples of a pixel."""
        return self.get(SAMPLES, 1)

    @property
    def is_grey(self) -> bool:
        """Grey, perhaps with alpha."""
        return self.get(INTERPRETATION, 0) in (0, 1) and self.samples in (1, 2)

    @property
    def is_rgb(self) -> bool:
        """RGB, perhaps with more bands, of which none has been multiplied with the colours."""
        return (
            self.get(INTERPRETATION, -1) == 2
            and self.samples >= 3
            and _PREMULTIPLIED not in self.all(EXTRA)
        )

    @property
    def compression(self) -> int:
        """As numbered by TIFF; 1 is none."""
        return self.get(COMPRESSION, NONE)

    @property
    def knows_compression(self) -> bool:
        """Whether the number of the compression has a name here."""
        return self.compression == NONE or self.compression in _COMPRESSIONS

    @property
    def kind(self) -> str:
        """NumPy's name of the samples' type, such as ``u2`` or ``f8``; empty for odd bits."""
        bits, formats = set(self.all(BITS) or (1,)), set(self.all(FORMAT) or (1,))
        if len(bits) == len(formats) == 1:
            letter, size = _KINDS.get(next(iter(formats)), ""), next(iter(bits))
            least = 16 if letter == "f" else 8
            if letter and size in (8, 16, 32, 64) and size >= least:
                return f"{letter}{size // 8}"
        return ""

    def __str__(self) -> str:
        """What it is, for a message: ``float64 grey TIFF, LZW``."""
        bits = "/".join(map(str, dict.fromkeys(self.all(BITS) or (1,))))
        letter = _KINDS.get(self.get(FORMAT, 1), "")
        photometric = self.get(INTERPRETATION, -1)
        colour = _PHOTOMETRIC.get(photometric, f"photometric {photometric}")
        alpha = " with alpha" if self.is_grey and self.samples == 2 else ""
        compression = _COMPRESSIONS.get(self.compression, f"compression {self.compression}")
        packed = "" if self.compression == NONE else f", {compression}"
        many = self.samples > 4 or (photometric in (0, 1) and self.samples > 2)
        bands = f" of {self.samples} bands" if many else ""
        return f"{_NAMES.get(letter, 'complex')}{bits} {colour}{alpha} TIFF{bands}{packed}"

    def can_read(self) -> bool:
        """Whether :meth:`read` knows such a page."""
        return (
            self.kind != ""
            and (self.compression == NONE or self.compression in DEFLATE)
            and self.get(FILL_ORDER, 1) == 1
            and self.get(PREDICTOR, 1) in (1, 2, 3)
            and (self.is_grey or self.is_rgb)
            and self.kind in (("f2", "f4", "f8") if self.get(PREDICTOR, 1) == 3 else _ALL_KINDS)
        )

    def segments(self) -> Iterator[tuple[int, int, int, bytes]]:
        """Plane, top, left and stored bytes of every strip or tile; ItemError when one is cut."""
        width, height = self.get(WIDTH, 0), self.get(HEIGHT, 0)
        tiled = TILE_OFFSETS in self.tags
        wide, high = self.segment_size
        offsets = self.all(TILE_OFFSETS if tiled else OFFSETS)
        counts = self.all(TILE_COUNTS if tiled else COUNTS)
        if not counts and len(offsets) == 1:  # allowed once, when nothing else fills the file
            counts = (len(self.data) - offsets[0],)
        across, down = -(-width // wide), -(-height // high)
        planes = self.samples if self.get(PLANAR, 1) == 2 else 1
        if min(len(offsets), len(counts)) < across * down * planes:
            raise damaged("it lists fewer strips or tiles than its size needs")
        for index in range(across * down * planes):
            plane, rest = divmod(index, across * down)
            top, left = (rest // across) * high, (rest % across) * wide
            stored = self.data[offsets[index] : offsets[index] + counts[index]]
            if len(stored) < counts[index]:
                raise damaged("a strip or tile ends behind the file")
            yield plane, top, left, stored

    @property
    def segment_size(self) -> tuple[int, int]:
        """Width and height of a tile, or of a strip; at least 1 each."""
        width, height = max(self.get(WIDTH, 1), 1), max(self.get(HEIGHT, 1), 1)
        if TILE_OFFSETS in self.tags:
            return max(self.get(TILE_WIDTH, width), 1), max(self.get(TILE_HEIGHT, height), 1)
        return width, min(max(self.get(ROWS, height), 1), height)

    def read(self) -> NDArray[Any]:
        """Samples [H, W, samples] in the machine's byte order; ItemError when damaged."""
        width, height, samples = self.get(WIDTH, 0), self.get(HEIGHT, 0), self.samples
        dtype = np.dtype(self.kind)
        out = np.empty((height, width, samples), dtype)
        per_plane = 1 if self.get(PLANAR, 1) == 2 else samples
        wide, high = self.segment_size
        tiled = TILE_OFFSETS in self.tags
        for plane, top, left, stored in self.segments():
            rows = high if tiled else min(high, height - top)
            size = rows * wide * per_plane * dtype.itemsize
            raw = _inflated(stored, size) if self.compression in DEFLATE else stored
            if len(raw) < size:
                raise damaged("a strip or tile is shorter than its pixels")
            block = self._samples(raw[:size], (rows, wide, per_plane), dtype)
            target = out[top : top + high, left : left + wide]
            if per_plane < samples:
                target = target[..., plane : plane + 1]
            target[...] = block[: target.shape[0], : target.shape[1]]
        return out

    def _samples(
        self, raw: bytes, shape: tuple[int, int, int], dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        predictor = self.get(PREDICTOR, 1)
        if predictor == 3:  # bytes of one significance side by side, then differences
            rows, wide, samples = shape
            planes = np.frombuffer(raw, np.uint8).reshape(rows, -1, samples)
            planes = np.cumsum(planes, axis=1, dtype=np.uint8)
            planes = planes.reshape(rows, dtype.itemsize, wide * samples)
            joined = np.ascontiguousarray(planes.swapaxes(1, 2))
            return joined.view(dtype.newbyteorder(">")).astype(dtype).reshape(shape)
        values = np.frombuffer(raw, dtype.newbyteorder(self.order)).astype(dtype).reshape(shape)
        if predictor == 2:
            values = np.cumsum(values, axis=1, dtype=dtype)
        return values


_ALL_KINDS = tuple(f"{kind}{size}" for kind in "uif" for size in (1, 2, 4, 8))


def _inflated(stored: bytes, size: int) -> bytes:
    """A deflated strip or tile of ``size`` bytes; ItemError unless it ends, its checksum right."""
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(stored, size)
    except zlib.error as error:
        raise _not_inflated(error) from error
    _check_end(stream, stream.unconsumed_tail)
    return raw


def check_inflates(stored: bytes) -> None:
    """Raise ItemError ``decode`` unless a deflated strip or tile ends, its checksum right."""
    _check_end(zlib.decompressobj(), stored)


def _check_end(stream: Any, stored: bytes) -> None:
    try:
        while not stream.eof and (stored or stream.decompress(b"", 1)):
            stream.decompress(stored, 2**20)
            stored = stream.unconsumed_tail
    except zlib.error as error:
        raise _not_inflated(error) from error
    if not stream.eof:
        raise damaged("a deflated strip or tile does not end")


def _not_inflated(error: zlib.error) -> ItemError:
    return damaged(f"a strip or tile does not inflate: {error}")
