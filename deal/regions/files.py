"""Read segments that the user drew: one file per image, found by id.

The file of an image is ``DIR/<id>.png`` or ``DIR/<id>.npz``, where the id is read as a path without
the suffix of the image format: segments of ``drive/0001.jpg`` are ``DIR/drive/0001.png``. The file
must have the size of the oriented original; its own EXIF orientation is ignored. Region ids are 0
to 65,534.

* PNG: 8- or 16-bit grey, or palette indices. The highest value of the format (255 or 65,535) means
  no region, as in the label images of most data sets.
* NPZ: one array of integers [H, W]; negative values mean no region.
"""

from __future__ import annotations

import os
import stat
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from deal.errors import ItemError
from deal.machine.files import check_regular
from deal.pool.formats import IMAGE_SUFFIXES
from deal.pool.ids import id_to_path, path_to_id

__all__ = ["MAX_REGIONS", "checked_ids", "find_segments", "nearest", "read_segments"]

MAX_REGIONS = 65_535
"""Region ids of an image are below this number."""

Size = tuple[int, int]
Ids = NDArray[np.int32]


def find_segments(folder: str | os.PathLike[str], item_id: str) -> tuple[Path, str]:
    """The file of an image and its version, ``"<size>-<mtime_ns>"``.

    Raises
    ------
    ItemError
        ``segments``: there is no file, or both a PNG and an NPZ, or the id leads out of the folder.
    """
    name = id_to_path(item_id)
    suffix = next((end for end in IMAGE_SUFFIXES if name.lower().endswith(end)), "")
    name = name[: len(name) - len(suffix)]
    if not name or "\0" in name or name.startswith("/") or ".." in name.split("/"):
        raise ItemError("segments", "the id is not a path within the folder of segments")
    found = []
    for end in (".png", ".npz"):
        path = Path(folder, name + end)
        try:
            status = path.stat()
        except OSError:
            continue
        if stat.S_ISREG(status.st_mode):
            found.append((path, f"{status.st_size}-{status.st_mtime_ns}"))
    if len(found) != 1:
        shown = path_to_id(os.fspath(Path(folder, name)))
        reason = "there are both" if found else "there is no file"
        raise ItemError("segments", f"{reason} {shown}.png {'and' if found else 'or'} .npz")
    return found[0]


def read_segments(folder: str | os.PathLike[str], item_id: str, size: Size) -> Ids:
    """Region ids int32 [H, W] of an image of ``size`` (H, W); negative for no region.

    Raises
    ------
    ItemError
        ``segments``: the file is missing or unreadable, has another size, or holds invalid ids.
    """
    path, _ = find_segments(folder, item_id)
    try:
        check_regular(path)
        if path.suffix == ".png":
            return _read_png(path.read_bytes(), size)
        return _read_npz(path, size)
    except OSError as error:
        reason = error.strerror or f"damaged ({error})"
    except ItemError as error:
        reason = error.message
    except Exception as error:  # damaged files make the decoders raise almost anything
        reason = f"damaged ({' '.join(str(error).split()) or type(error).__name__})"
    raise ItemError("segments", f"{path_to_id(os.fspath(path))}: {reason}")


def checked_ids(ids: Any, size: Size) -> Ids:
    """Check an array of region ids and return it as int32 [H, W].

    Raises
    ------
    ItemError
        ``segments``: the array does not hold integers [H, W] of ``size``, or ids are too large.
    """
    if not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu" or ids.ndim != 2:
        what = f"{ids.dtype} {list(ids.shape)}" if isinstance(ids, np.ndarray) else type(ids)
        raise ItemError("segments", f"segments must be an array of integers [H, W], not {what}")
    _check_size((ids.shape[0], ids.shape[1]), size)
    if ids.size and ids.max() >= MAX_REGIONS:
        raise ItemError(
            "segments",
            f"region id {ids.max()} is above the limit of {MAX_REGIONS - 1}: number the regions of "
            "an image from 0",
        )
    return np.maximum(ids.astype(np.int64), -1).astype(np.int32)


def nearest(ids: Ids, size: Size) -> Ids:
    """Resize by nearest neighbour: pixel i of n shows pixel ⌊(2i + 1)·N / 2n⌋ of N.

    Pixel centres are matched, as when images are resized, also if the model has ``align_corners``.
    """
    if ids.shape == size:
        return ids
    y, x = (
        (2 * np.arange(new) + 1) * old // (2 * new)
        for new, old in zip(size, ids.shape, strict=True)
    )
    resized: Ids = ids[y[:, np.newaxis], x]
    return resized


def _check_size(found: Size, size: Size) -> None:
    if found != size:
        raise ItemError(
            "segments",
            f"the segments are {found[0]}×{found[1]} (H×W), but the oriented image is "
            f"{size[0]}×{size[1]}",
        )


def _read_png(data: bytes, size: Size) -> Ids:
    # Pillow does not notice a missing end of the file once it has all rows
    if data.rfind(b"\0\0\0\0IEND\xaeB`\x82") < 0:
        raise ItemError("segments", "a truncated PNG")
    file = PngImageFile(BytesIO(data))
    _check_size((file.height, file.width), size)
    depth, color = data[24], data[25]  # of the header: PNG specification, 11.2.1
    if color not in (0, 3) or (color == 0 and depth < 8):
        raise ItemError(
            "segments",
            "the PNG must hold ids as 8- or 16-bit grey or as palette indices; convert ids coded "
            "as colours (R + 256 G + 65536 B), or with fewer bits, to one of these or to an NPZ",
        )
    ids = np.asarray(file).astype(np.int32)
    ids[ids == (65_535 if depth == 16 else 255)] = -1
    return ids


def _read_npz(path: Path, size: Size) -> Ids:
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) != 1 or not members[0].filename.endswith(".npy"):
            names = [member.filename.removesuffix(".npy") for member in members]
            raise ItemError("segments", f"the NPZ must hold one array, not {names}")
        if members[0].file_size > 8 * size[0] * size[1] + 4096:
            raise ItemError("segments", f"the array is larger than {size[0]}×{size[1]} (H×W)")
        with archive.open(members[0]) as file:
            array = np.lib.format.read_array(file, allow_pickle=False)
    return checked_ids(array, size)
