"""Damaged images of every format: refused with a reason, or pixels; never anything else."""

from __future__ import annotations

import random
import resource
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

from deal.errors import ItemError
from deal.pool.decode import decode_bytes
from tests.helpers.images import encode, picture
from tests.helpers.tiffs import tiff
from tests.torture.cases import Case, Finding
from tests.torture.mutations import damaged

__all__ = ["images", "originals"]

_MAX_PIXELS = 4_000_000
_MOST_KIBIBYTES = 512 * 1024
_CODES = {"decode", "too_large", "memory"}


def originals() -> dict[str, list[bytes]]:
    """Whole files by format, of those that this installation reads."""
    colour = Image.fromarray(np.repeat(np.repeat(picture(), 3, axis=0), 3, axis=1))
    colour = Image.fromarray(
        (np.asarray(colour).astype(int) + np.arange(72 * 120 * 3).reshape(72, 120, 3) % 23)
        .clip(0, 255)
        .astype(np.uint8)
    )
    grey = colour.convert("L")
    deep = np.asarray(grey).astype(np.uint16) * 257
    found = {
        "JPEG": [
            encode(colour, "JPEG", quality=90),
            encode(grey, "JPEG", quality=70, optimize=True),
            encode(colour.convert("CMYK"), "JPEG", quality=80),
        ],
        "JPEG progressive": [encode(colour, "JPEG", quality=85, progressive=True)],
        "JPEG restarts": [encode(colour, "JPEG", quality=85, restart_marker_rows=1)],
        "PNG": [
            encode(colour, "PNG"),
            encode(colour.convert("P"), "PNG"),
            encode(colour.convert("RGBA"), "PNG"),
            encode(Image.fromarray(deep), "PNG"),
        ],
        "WebP": [encode(colour, "WEBP", quality=80)],
        "WebP lossless": [encode(colour, "WEBP", lossless=True)],
        "BMP": [encode(colour, "BMP"), encode(colour.convert("P"), "BMP")],
        "TIFF": [
            encode(colour, "TIFF"),
            tiff(deep, order=">", inverted=True),
            tiff(np.asarray(colour), tile=(16, 16)),
            tiff((deep / 65535).astype(np.float32), big=True),
        ],
        "TIFF deflate": [
            encode(colour, "TIFF", compression="tiff_deflate"),
            tiff(deep, deflate=True, predictor=2),
        ],
        "TIFF LZW": [encode(colour, "TIFF", compression="tiff_lzw")],
        "TIFF JPEG": [encode(colour, "TIFF", compression="jpeg")],
        "TIFF PackBits": [encode(colour, "TIFF", compression="packbits")],
    }
    for name, fmt, module in (
        ("AVIF", "AVIF", None),
        ("HEIC", "HEIF", "pillow_heif"),
        ("JPEG XL", "JXL", "pillow_jxl"),
    ):
        try:
            if module == "pillow_heif":
                from pillow_heif import register_heif_opener

                register_heif_opener()
            elif module == "pillow_jxl":
                import pillow_jxl  # noqa: F401
            found[name] = [encode(colour, fmt, quality=75)]
        except (ImportError, KeyError, OSError):
            continue
    return found


@contextmanager
def images(folder: Path) -> Iterator[Case]:
    """Every format in turn, as whole files that were damaged."""
    files = originals()
    pixels = {data: decode_bytes(data).image for group in files.values() for data in group}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    def case(rng: random.Random) -> str:
        nonlocal peak
        name = rng.choice(list(files))
        data = rng.choice(files[name])
        other = rng.choice(files[rng.choice(list(files))])
        kind, hurt = damaged(rng, data, other)
        at_least = rng.choice([None, (9, 15), (40, 60)])
        try:
            decoded = decode_bytes(hurt, max_pixels=_MAX_PIXELS, at_least=at_least)
        except ItemError as error:
            outcome = "refused"
            if error.code not in _CODES or not error.message.strip():
                raise Finding(f"{name}, {kind}: {error.code!r} {error.message!r}") from error
        else:
            image = decoded.image
            whole = image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8
            if not whole or image.size > 3 * _MAX_PIXELS:
                raise Finding(f"{name}, {kind}: {image.dtype} {image.shape}")
            outcome = "the same pixels"
            expected = pixels[data]
            if at_least is not None and "JPEG" in name:
                expected = decode_bytes(data, at_least=at_least).image
            if image.shape != expected.shape or not np.array_equal(image, expected):
                outcome = "other pixels"
        now = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        grown, peak = now - peak, max(now, peak)
        if grown > _MOST_KIBIBYTES:
            raise Finding(f"{name}, {kind}: took {grown} KiB, header {struct.pack('40s', hurt)!r}")
        return f"{name} {outcome}"

    yield case
