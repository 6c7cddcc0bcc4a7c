"""Which names are images, which are images that this installation does not read."""

from __future__ import annotations

from importlib.util import find_spec

__all__ = ["CONTAINER_SUFFIXES", "IMAGE_SUFFIXES", "OTHER_SUFFIXES", "VIDEO_SUFFIXES", "extra_for"]

_ALWAYS = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_EXTRAS = {".avif": "heif", ".heic": "heif", ".heif": "heif", ".jxl": "jxl"}
_MODULES = {"heif": "pillow_heif", "jxl": "pillow_jxl"}


def _is_read(suffix: str) -> bool:
    if suffix == ".avif":  # Pillow has it, in most builds
        return find_spec("PIL._avif") is not None
    return find_spec(_MODULES[_EXTRAS[suffix]]) is not None


IMAGE_SUFFIXES = (*_ALWAYS, *(suffix for suffix in _EXTRAS if _is_read(suffix)))
"""Ends of the names, in lower case, that folders and globs are searched for."""

VIDEO_SUFFIXES = (".avi", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpg", ".mts", ".ts", ".webm")
"""Ends of the names of videos, in lower case."""

CONTAINER_SUFFIXES = (".mcap", ".tar", *VIDEO_SUFFIXES)
"""Ends of the names, in lower case, of files that hold images and are read if they are named."""

_OTHERS = (
    ".arw .cr2 .cr3 .dng .exr .gif .hdr .ico .j2k .jp2 .nef .orf .pbm .pgm .pnm .ppm .psd .raf "
    ".raw .rw2 .svg .tga"
)
OTHER_SUFFIXES = frozenset((*_EXTRAS, *_OTHERS.split())).difference(IMAGE_SUFFIXES)
"""Of images that are passed over."""


def extra_for(suffix: str) -> str | None:
    """The extra of this package that reads such files; None where there is none."""
    return _EXTRAS.get(suffix)
