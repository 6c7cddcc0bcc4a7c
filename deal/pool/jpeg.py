"""JPEG: decoded by libjpeg-turbo, strictly; at its first remark the file is damaged.

Inside a scan a JPEG has no checksum: damage shows where the decoder runs out of bytes, or of
blocks, before the next marker ("premature end", "extraneous bytes before marker"). Either means
that it lost its place, and what it drew since is noise. The same bytes between the segments of the
header belong to nothing and do no harm: they are taken out, and the file is decoded as strictly
as any other.

docs/reference/damage.md says what of this was measured.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from functools import lru_cache
from io import BytesIO

import numpy as np
import simplejpeg
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from deal.errors import ItemError
from deal.pool.pixels import STRAY, check_size, exif_orientation, loaded, oriented, turned
from deal.types import Decoded

__all__ = ["decode_jpeg", "jpeg_size"]

_ZEROS, _END = bytes(64), b"\xff\xd9"
_SOF = frozenset({0xC0, 0xC1, 0xC2})  # baseline, extended, progressive: all with Huffman codes
_SCAN = b"\xff\xda"
_COMMON = 4096  # bytes that several files may share before their scans: tables, without a preview


def decode_jpeg(data: bytes, max_pixels: int, at_least: tuple[int, int] | None) -> Decoded:
    """Decode a JPEG; parameters as of :func:`deal.pool.decode.decode_bytes`.

    Raises ItemError (``decode``, ``too_large``), or ValueError with libjpeg's words.
    """
    header = _Header.of(data)
    header.check(data)
    orientation = exif_orientation(header.exif)
    try:
        return _strict(data, orientation, max_pixels, at_least)
    except ValueError as error:
        remark = str(error)
    # In full, as every version has decoded these.
    if "subsampling" in remark:  # TurboJPEG knows the usual ones alone
        image, mode = loaded(JpegImageFile(BytesIO(data)), max_pixels)
        return Decoded(oriented(image, orientation), orientation, mode)
    if "extraneous bytes" in remark and header.stray:
        data = _without(data, header.stray)
        decoded = _strict(data, orientation, max_pixels, None)
        mode = decoded.color_mode + STRAY
        return Decoded(decoded.image, orientation, mode)
    mended = header.mended(data, remark)
    if mended is None:
        raise ValueError(remark)
    return _strict(mended, orientation, max_pixels, None)


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Width and height by the header of a frame; 0 where there is none."""
    return _Header.of(data, only_size=True).size


def _strict(
    data: bytes, orientation: int, max_pixels: int, at_least: tuple[int, int] | None
) -> Decoded:
    """Decode a JPEG; ValueError at any remark of libjpeg."""
    height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    check_size(int(width), int(height), max_pixels)
    if colorspace in ("CMYK", "YCCK"):
        ink = simplejpeg.decode_jpeg(data, "CMYK")
        np.subtract(255, ink, out=ink)  # Adobe's convention, which all writers keep
        image = np.array(Image.frombuffer("CMYK", (width, height), ink).convert("RGB"))
        return Decoded(oriented(image, orientation), orientation, "CMYK")
    factor, scaled = _scale((int(height), int(width)), orientation, at_least)
    image = simplejpeg.decode_jpeg(
        data, "RGB", min_height=scaled[0], min_width=scaled[1], min_factor=factor
    )
    mode = "L" if colorspace == "Gray" else "RGB"
    original = None if factor == 1 else turned((int(height), int(width)), orientation)
    return Decoded(oriented(image, orientation), orientation, mode, original)


def _scale(
    stored: tuple[int, int], orientation: int, at_least: tuple[int, int] | None
) -> tuple[int, tuple[int, int]]:
    """By what to divide a JPEG of a stored size (H, W), 1, 2, 4 or 8, and the size it then has."""
    if at_least is not None:
        height, width = turned(at_least, orientation)
        for factor in (8, 4, 2):
            scaled = -(-stored[0] // factor), -(-stored[1] // factor)
            if scaled[0] >= height and scaled[1] >= width:
                return factor, scaled
    return 1, stored


@dataclass(slots=True)
class _Header:
    """The segments before the first scan.

    Attributes
    ----------
    exif : bytes
        Empty when there is none.
    stray : list of (start, end)
        Bytes between segments that belong to none.
    kind : int
        Marker of the frame header; 0 when there is none before the scan.
    size : (width, height)
    blocks : int
        8×8 blocks of all components of the frame.
    scan : int
        Where the first scan's header begins.
    segments : list of (marker, start of its content)
    first : dict of table to symbol
        What bits of zero alone mean by each table of Huffman codes for AC coefficients.
    """

    exif: bytes = b""
    stray: list[tuple[int, int]] = field(default_factory=list)
    kind: int = 0
    size: tuple[int, int] = (0, 0)
    blocks: int = 0
    scan: int = 0
    segments: list[tuple[int, int]] = field(default_factory=list)
    first: dict[int, int] = field(default_factory=dict)
    components: int = 0

    @classmethod
    def of(cls, data: bytes, *, only_size: bool = False) -> _Header:
        """Read segment headers only; what is malformed is left to the decoder.

        ``only_size`` ends with the first frame header.
        """
        scan = data.find(_SCAN, 0, _COMMON)
        known = _known(data[: scan + 4]) if 0 < scan <= len(data) - 4 else None
        return known or cls._read(data, only_size=only_size)

    @classmethod
    def _read(cls, data: bytes, *, only_size: bool = False) -> _Header:
        header, position = cls(), 2
        while position + 4 <= len(data):
            marker = data[position + 1]
            if data[position] != 0xFF or marker in (0, 0xFF):  # stray bytes, or padding
                found = position
                while data[position] != 0xFF or data[position + 1 : position + 2] in (b"\0", b""):
                    position = data.find(b"\xff", position + 1)
                    if position < 0:
                        return header
                if position > found:
                    header.stray.append((found, position))
                while data[position + 1 : position + 2] == b"\xff":
                    position += 1
                marker = int.from_bytes(data[position + 1 : position + 2], "big")
            if marker in (0xDA, 0xD9):  # start of scan, end of image
                header.scan = position
                break
            end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
            if only_size and marker not in _SOF:
                position = end
                continue
            header._take(marker, data[position + 4 : end])
            if only_size and header.kind:
                break
            header.segments.append((marker, position + 4))
            position = end
        return header

    def _take(self, marker: int, body: bytes) -> None:
        if marker == 0xE1 and body.startswith(b"Exif\0\0") and not self.exif:
            self.exif = body[6:]
        elif marker == 0xDB:
            _check_quantisation(body)
        elif marker == 0xC4:
            self._take_codes(body)
        elif marker in _SOF and len(body) >= 6:
            self.kind = marker
            height, width, self.components = struct.unpack_from(">HHB", body, 1)
            self.size = width, height
            factors = [(body[i] >> 4, body[i] & 15) for i in range(7, min(len(body), 18), 3)]
            if len(factors) == self.components and all(h and v for h, v in factors):
                wide, high = (max(values) for values in zip(*factors, strict=True))
                self.blocks = sum(
                    -(-width * h // (8 * wide)) * -(-height * v // (8 * high)) for h, v in factors
                )

    def _take_codes(self, tables: bytes) -> None:
        position = 0
        while position + 18 <= len(tables):
            symbols = sum(tables[position + 1 : position + 17])
            if tables[position] >> 4 and symbols:  # of AC coefficients
                self.first[tables[position] & 15] = tables[position + 17]
            position += 17 + symbols

    def check(self, data: bytes) -> None:
        """Raise ItemError ``decode`` for a scan that cannot be what an encoder wrote.

        Either the file is too short for its blocks, each of which takes at least two bits, its
        mean and its end (one in a progressive file); or zeros stand in the place of codes.
        """
        bits = 1 if self.kind == 0xC2 else 2
        if self.blocks * bits > 8 * len(data):
            raise ItemError(
                "decode",
                f"damaged or truncated JPEG: its header claims {self.blocks} blocks of 8×8 "
                f"pixels, which {len(data)} bytes cannot hold",
            )
        if self._zeros_are_noise(data):
            zeros = data.find(_ZEROS, self.scan)
            if zeros >= 0 and data.find(_END, self.scan, zeros) < 0:
                raise ItemError("decode", "damaged JPEG: zeros in the place of its codes")

    def _zeros_are_noise(self, data: bytes) -> bool:
        """Whether zeros are coefficients in some component: in flat areas they may be blocks."""
        count = data[self.scan + 4] if self.scan + 5 < len(data) else 0
        if self.kind not in (0xC0, 0xC1) or not 0 < count == self.components:
            return False
        start = self.scan + 5
        tables = [table & 15 for table in data[start + 1 : start + 2 * count : 2]]
        return any(self.first.get(table, 0) for table in tables)

    def mended(self, data: bytes, remark: str) -> bytes | None:
        """The file with the field put right that libjpeg remarked on, if no pixel hangs on it."""
        changed = bytearray(data)
        if "JFIF revision" in remark:
            for marker, body in self.segments:
                if marker == 0xE0 and data[body : body + 5] == b"JFIF\0":
                    changed[body + 5] = 1
        elif "Adobe color transform" in remark:
            for marker, body in self.segments:
                if marker == 0xEE and data[body : body + 5] == b"Adobe":
                    # what libjpeg assumes when it does not know the number
                    changed[body + 11] = 2 if self.components == 4 else 1
        elif "Invalid SOS parameters" in remark:
            for match in re.finditer(rb"\xff\xda\0.[\x01-\x04]", data[self.scan :], re.DOTALL):
                count = match[0][4]
                start = self.scan + match.end() + 2 * count
                changed[start : start + 3] = b"\0\x3f\0"
        return None if changed == data else bytes(changed)


@lru_cache(maxsize=64)
def _known(beginning: bytes) -> _Header | None:
    """The header that ends with these bytes, if one does: frames of one camera often share it.

    ``beginning`` ends behind the first marker of a scan and its length. If that marker ends the
    header, whatever follows in the file, nothing behind it was looked at.
    """
    try:
        header = _Header._read(beginning)
    except ItemError:
        return None
    frames = sum(marker in _SOF for marker, _ in header.segments)
    return header if header.scan == len(beginning) - 4 and frames == 1 else None


def _check_quantisation(tables: bytes) -> None:
    """Raise ItemError ``decode`` for a divisor of zero, which no encoder writes."""
    position = 0
    while position < len(tables):
        wide = tables[position] >> 4 != 0
        table = tables[position + 1 : position + 1 + (128 if wide else 64)]
        count = len(table) // 2
        if 0 in (struct.unpack(f">{count}H", table[: 2 * count]) if wide else table):
            raise ItemError("decode", "damaged or truncated JPEG: a quantisation table holds zeros")
        position += 1 + len(table)


def _without(data: bytes, stray: list[tuple[int, int]]) -> bytes:
    kept, position = [], 0
    for start, end in stray:
        kept.append(data[position:start])
        position = end
    return b"".join([*kept, data[position:]])
