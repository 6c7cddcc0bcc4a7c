"""Image files that tests decode."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from deal.pool.locator import LocalFile
from deal.types import PoolItem

H, W = 24, 40


def picture() -> np.ndarray:
    """Blocks of colour, [24, 40, 3]: no symmetry, survives JPEG."""
    rng = np.random.default_rng(7)
    blocks = rng.integers(0, 256, (3, 5, 3), dtype=np.uint8)
    return np.repeat(np.repeat(blocks, 8, axis=0), 8, axis=1)


def encode(image: Image.Image, fmt: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


RGB = Image.fromarray(picture())
VARIANTS = {
    "jpeg": encode(RGB, "JPEG", quality=90),
    "jpeg-progressive": encode(RGB, "JPEG", progressive=True),
    "png": encode(RGB, "PNG"),
    "webp": encode(RGB, "WEBP"),
    "webp-lossless": encode(RGB, "WEBP", lossless=True),
    "bmp": encode(RGB, "BMP"),
    "tiff": encode(RGB, "TIFF"),
    "tiff-lzw": encode(RGB, "TIFF", compression="tiff_lzw"),
    "tiff-deflate": encode(RGB, "TIFF", compression="tiff_deflate"),
    "tiff-jpeg": encode(RGB, "TIFF", compression="jpeg"),
}


def png(pixels: np.ndarray, color_type: int) -> bytes:
    """A PNG of uint8 or uint16 samples [H, W, ...], by hand: Pillow cannot write 16 bits."""
    depth = pixels.dtype.itemsize
    rows = b"".join(b"\0" + row.astype(f">u{depth}").tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(
        ">IIBBBBB", pixels.shape[1], pixels.shape[0], 8 * depth, color_type, 0, 0, 0
    )
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def item(path: Path) -> PoolItem:
    return PoolItem(id=path.name, uri=str(path), locator=LocalFile(str(path)), source_version="")


def large(height: int, width: int) -> Image.Image:
    return RGB.resize((width, height), Image.Resampling.BICUBIC)
