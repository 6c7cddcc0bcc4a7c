"""Maps of stored images, as PNG files: predicted classes, difficulty, entropy.

``OUT/maps/KIND/`` holds one file per image, at the path of its id. A file also says which settings
and which version of the image it comes from, so that a resumed run knows what it need not draw
again. Outputs in object storage have none.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from deal.errors import ResultsError, UsageError
from deal.machine.files import replacing, writing
from deal.pool.remote_path import RemotePath, place

__all__ = [
    "KINDS",
    "from_stored",
    "map_path",
    "map_stamp",
    "read_map",
    "remove_foreign_maps",
    "remove_maps",
    "to_stored",
    "write_map",
]

KINDS = ("classes", "difficulty", "entropy")
"""The maps that can be stored."""

_LONGEST, _LONGEST_NAME = 1000, 200  # bytes; file systems end at 4096 and 255
# What has a meaning to a file system, here or on the machine the folder is copied to.
_UNSAFE = re.compile(r'[\x00-\x1f\x7f%\\:*?"<>|]')
_STAMP = "deal"


def map_path(output: str | os.PathLike[str], kind: str, item_id: str) -> Path:
    """Path of an image's map: ``OUT/maps/KIND/<id>.png``; two ids never share one.

    Parts of an id that would leave the folder or that file systems refuse are percent-encoded,
    and so are folders whose name ends in ``.png``, which could be the file of another id. A very
    long part is cut and gets a hash.

    Raises
    ------
    UsageError
        The kind is none of `KINDS`.
    """
    if kind not in KINDS:
        raise UsageError(f"no map {kind!r}; there are {', '.join(KINDS)}")
    *folders, name = map(_safe, item_id.split("/"))
    folders = [re.sub(r"\.(?=png$)", "%2E", folder, flags=re.I) for folder in folders]
    path = "/".join([*folders, name])
    if len(path.encode()) > _LONGEST:
        path = f"%-{_digest(item_id)}"
    return place(output) / "maps" / kind / f"{path}.png"


def to_stored(kind: str, values: NDArray[Any], num_classes: int) -> NDArray[Any]:
    """Return a map as its file holds it, uint8 [H, W] (classes above 255: uint16).

    Parameters
    ----------
    kind : str
    values : ndarray [H, W]
        ``classes``: the index of each pixel's class, or the largest number of the dtype for void;
        ``difficulty``: 0…1; ``entropy``: nats.
    num_classes : int
        C.

    Returns
    -------
    ndarray [H, W]
        ``classes``: class + 1, or 0 for void; ``difficulty``: 0…255 for 0…1; ``entropy``: 0…255
        for 0…ln C.
    """
    if kind == "classes":
        stored: NDArray[Any] = values + values.dtype.type(1)  # void wraps to 0
        return stored
    return np.rint(np.clip(values / _top(kind, num_classes), 0, 1) * 255).astype(np.uint8)


def from_stored(kind: str, stored: NDArray[Any], num_classes: int) -> NDArray[Any]:
    """Invert :func:`to_stored`: class indices (void is the largest number), or float32."""
    if kind == "classes":
        values: NDArray[Any] = stored - stored.dtype.type(1)
        return values
    return (stored * (_top(kind, num_classes) / 255)).astype(np.float32)


def write_map(
    output: str | os.PathLike[str],
    kind: str,
    item_id: str,
    stored: NDArray[Any],
    *,
    stamp: str = "",
) -> Path:
    """Write a map whole or not at all, and return its path.

    Parameters
    ----------
    output : path
        The output folder.
    kind : str
        One of `KINDS`.
    item_id : str
    stored : ndarray of uint8 or uint16 [H, W]
        As :func:`to_stored` gives it, at the size of the oriented original.
    stamp : str
        What the map was made from; :func:`map_stamp` reads it back.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    path = map_path(output, kind, item_id)
    info = PngInfo()
    info.add_text(_STAMP, stamp)
    with writing(Path(output)):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, alone=True) as file:
            Image.fromarray(stored).save(file, format="PNG", pnginfo=info, compress_level=3)
    return path


def read_map(output: str | os.PathLike[str], kind: str, item_id: str) -> NDArray[Any] | None:
    """Read a map as its file holds it (:func:`from_stored` inverts that); None if there is none.

    Raises
    ------
    ResultsError
        The file is there but cannot be read.
    """
    path = map_path(output, kind, item_id)
    if isinstance(path, RemotePath):
        return None
    try:
        with Image.open(path) as image:
            values = np.asarray(image)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ResultsError(
            f"cannot read {path}: {error}; delete it, and store the maps again"
        ) from error
    return values if values.dtype == np.uint8 else values.astype(np.uint16)


def map_stamp(output: str | os.PathLike[str], kind: str, item_id: str) -> str | None:
    """What a stored map was made from; None if there is no readable map."""
    return _stamp_of(map_path(output, kind, item_id))


def remove_maps(output: str | os.PathLike[str], item_id: str) -> None:
    """Remove the maps of an image whose row is about to change."""
    if isinstance(output, RemotePath):
        return
    for kind in KINDS:
        with suppress(FileNotFoundError, NotADirectoryError):
            map_path(output, kind, item_id).unlink()


def remove_foreign_maps(output: str | os.PathLike[str], fingerprint: str) -> None:
    """Remove maps that were made with other settings than those of ``fingerprint``."""
    for kind in KINDS:
        for path in (Path(output) / "maps" / kind).rglob("*.png"):
            stamp = _stamp_of(path)
            if stamp is not None and not stamp.startswith(fingerprint):
                path.unlink(missing_ok=True)


def _stamp_of(path: Path) -> str | None:
    if isinstance(path, RemotePath):
        return None
    try:
        with Image.open(path) as image:
            return str(image.info.get(_STAMP, ""))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None


def _top(kind: str, num_classes: int) -> float:
    return 1.0 if kind == "difficulty" else math.log(max(num_classes, 2))


def _safe(part: str) -> str:
    """Return a part of an id as the name of a file, one to one."""
    if not part or part.strip(".") == "":
        return "%" + part.replace(".", "%2E")  # a lone % stands for nothing
    name = _UNSAFE.sub(lambda match: f"%{ord(match[0]):02X}", part)
    if name.startswith("_"):
        name = "%5F" + name[1:]  # names of temporary files begin with it
    raw = name.encode()
    if len(raw) <= _LONGEST_NAME:
        return name
    head = raw[: _LONGEST_NAME - 40].decode(errors="ignore")
    return f"{head}%-{_digest(part)}"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
