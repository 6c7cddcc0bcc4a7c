"""Images on their way to a tool: original bytes where every tool shows what the network saw."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.pool.decode import MAX_PIXELS, decode_bytes
from deal.pool.ids import id_to_path, path_to_id
from deal.pool.locator import read_file

__all__ = [
    "BROWSER",
    "EVERY",
    "RAW_KEYS",
    "ReadImage",
    "address",
    "decoded_image",
    "file_of",
    "name_of",
    "png",
    "read_image",
    "safe_name",
    "suffix_of",
]

_MAGIC = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n\x1a\n", ".png"),
    (b"BM", ".bmp"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
)
BROWSER = frozenset({".jpg", ".png", ".webp", ".bmp"})
"""What browsers show, by the usual ending."""

EVERY = BROWSER | {".tif"}
"""What Pillow reads without another package."""

_NOT_UTF8 = re.compile("[\udc80-\udcff]")
_UNSAFE = re.compile(r"[^A-Za-z0-9.-]+")
_LONGEST = 80  # characters of an id in a name: what is before them is the folder, as a rule
_PLAIN = frozenset({"RGB", "L", "P", "1", "RGBA", "LA"})
RAW_KEYS = ("s3:", "gs:", "azure-blob:")
"""How addresses begin whose names are taken as they are."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """An image and the file it came from.

    Attributes
    ----------
    pixels : ndarray of uint8 [H, W, 3]
        Upright RGB, as the network sees it.
    data : bytes
        The file.
    suffix : str
        The usual ending of its format; empty for one that is not in `EVERY`.
    turned : bool
        Its EXIF orientation is not upright, and some tools would show it unturned.
    plain : bool
        It has 8 bits per channel and is grey, RGB or a palette.
    """

    pixels: NDArray[np.uint8]
    data: bytes
    suffix: str
    turned: bool
    plain: bool

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.pixels.shape[0], self.pixels.shape[1]

    def is_shown_alike(self, suffixes: frozenset[str]) -> bool:
        """Whether a tool that reads these formats shows the file as the network saw it."""
        return self.suffix in suffixes and not self.turned


def read_image(
    uri: str, version: str = "", *, max_pixels: int = MAX_PIXELS, is_uri: bool = True
) -> ReadImage:
    """Read the image of a stored uri, or of a path as ``open`` takes it.

    Its bytes are those that are stored, or a PNG of a frame that has none of its own.

    Raises
    ------
    ItemError
        It can no longer be read or decoded.
    """
    data = read_file(uri if is_uri else path_to_id(uri), version, max_pixels=max_pixels)
    return decoded_image(data, max_pixels=max_pixels)


def file_of(uri: str) -> Path | None:
    """The file that a stored uri is; None for what lies inside another file, or elsewhere."""
    path = Path(id_to_path(uri))
    return path if path.is_file() else None


def name_of(item_id: str) -> str:
    """The name of an image, without the escapes of its id.

    One that is not UTF-8 keeps them, since no document of a tool can hold it.
    """
    name = id_to_path(item_id)
    return item_id if _NOT_UTF8.search(name) else name


def decoded_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ReadImage:
    """Decode the content of an image file; raises ItemError."""
    decoded = decode_bytes(data, max_pixels=max_pixels)
    plain = decoded.color_mode in _PLAIN
    return ReadImage(decoded.image, data, suffix_of(data), decoded.orientation != 1, plain)


def suffix_of(data: bytes) -> str:
    """The usual ending of a format of `EVERY`, by the content; empty for another."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return ".webp"
    return next((suffix for magic, suffix in _MAGIC if data.startswith(magic)), "")


def safe_name(item_id: str) -> str:
    """What is left of an id in a file's name: ASCII letters, digits, ``.``, ``-`` and ``_``.

    Its ending goes if it is one of an image. Two ids may have the same: callers put something
    before it that differs.
    """
    stem, dot, ending = item_id.rpartition(".")
    stem = stem if dot and 3 <= len(ending) <= 4 and ending.isalnum() else item_id
    return _UNSAFE.sub("_", stem)[-_LONGEST:].strip("._-") or "image"


def address(prefix: str, item_id: str) -> str:
    """Where an image lies below a prefix, ``s3://…`` or ``https://…``, which has its id as path.

    Web addresses are percent-encoded; names in buckets stand as they are.
    """
    prefix = prefix.rstrip("/")
    if prefix.startswith(RAW_KEYS):
        return f"{prefix}/{name_of(item_id)}"
    return f"{prefix}/{quote(os.fsencode(id_to_path(item_id)))}"


def png(pixels: NDArray[np.unsignedinteger]) -> bytes:
    """An image or label map (uint8 or uint16) as PNG."""
    file = BytesIO()
    Image.fromarray(pixels).save(file, format="PNG", compress_level=3)
    return file.getvalue()
