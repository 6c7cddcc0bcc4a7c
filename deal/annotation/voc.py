"""PASCAL VOC masks, as CVAT exports "Segmentation mask 1.1": colours that ``labelmap.txt`` names.

Format: https://docs.cvat.ai/docs/manual/advanced/formats/format-smask/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.annotation.record import MOST_PIXELS, Drawn, Legend
from deal.errors import PoolError

__all__ = ["LABELS", "MASKS", "read", "read_labels"]

LABELS, MASKS = "labelmap.txt", "SegmentationClass"
_BACKGROUND, _IGNORED = "background", (224, 224, 192)  # the latter as VOC draws borders


def read_labels(data: bytes, name: str) -> list[tuple[str, tuple[int, int, int]]]:
    """Names and colours of ``labelmap.txt``: lines ``name:r,g,b:parts:actions``.

    Raises
    ------
    PoolError
        The text is not UTF-8, or a line does not have that form.
    """
    labels = []
    try:
        lines = data.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise PoolError(f"{name} is not UTF-8 ({error.reason}); export it again") from error
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            label, colour, *_ = line.rsplit(":", 3)
            r, g, b = (int(level) for level in colour.split(","))
            if not 0 <= min(r, g, b) <= max(r, g, b) < 256:
                raise ValueError(colour)
        except ValueError as error:
            raise PoolError(
                f"{name}, line {number}: expected name:r,g,b:parts:actions, found {line!r}"
            ) from error
        labels.append((label, (r, g, b)))
    return labels


def read(
    labels: list[tuple[str, tuple[int, int, int]]],
    masks: list[str],
    content: Callable[[str], bytes],
    legend: Legend,
) -> Iterator[Drawn]:
    """What masks draw. Colours of ``background`` and of nothing that has a name are void.

    Parameters
    ----------
    labels : list of (name, colour)
    masks : list of str
        Paths of the masks; below the folder of masks they are those of the images, but for the
        ending.
    content : callable
        Gives the bytes of such a file.
    legend : Legend
        If ``background`` is one of its classes, it is no void.
    """
    legend.declare([label for label, _ in labels if label != _BACKGROUND])
    for path in masks:
        name = _image_name(path)
        try:
            picture = _colours(content(path), labels)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            reason = " ".join(str(error).split())
            yield Drawn(name, None, skipped=f"damaged: {reason}")
            continue
        yield _drawn(name, picture, labels, legend)


def _image_name(path: str) -> str:
    """The name of a mask's image, whose ending is not known."""
    parts = PurePosixPath(path).with_suffix("").parts
    return "/".join(parts[parts.index(MASKS) + 1 :] if MASKS in parts else parts)


def _drawn(
    name: str,
    picture: NDArray[np.uint32],
    labels: list[tuple[str, tuple[int, int, int]]],
    legend: Legend,
) -> Drawn:
    values, places = np.unique(picture, return_inverse=True)
    names: dict[int, list[str]] = {}
    for label, rgb in labels:
        names.setdefault(_number(rgb), []).append(label)
    table = np.zeros(len(values), dtype=np.uint16)
    counts = np.bincount(places.ravel(), minlength=len(values))
    problems = []
    drawn = False
    for index, (value, count) in enumerate(zip(values.tolist(), counts.tolist(), strict=True)):
        colour = f"{value >> 16},{value >> 8 & 255},{value & 255}"
        if value not in names:
            if value not in (0, _number(_IGNORED)):
                problems.append(f"{count} pixel(s) of a color that {LABELS} lacks: {colour}")
            continue
        found = {_label(name, legend) for name in names[value]}
        if len(found) > 1:
            several = " and ".join(dict.fromkeys(names[value]))
            problems.append(
                f"{count} pixel(s) of the color {colour}, which {several} share: give each its own "
                "in the tool, and export again"
            )
            continue
        number = found.pop()
        if number is None:
            problems.append(f"{count} pixel(s) of the unknown class {names[value][0]!r}")
            continue
        drawn |= names[value] != [_BACKGROUND]
        table[index] = number
    if not drawn:
        return Drawn(name, None, problems=tuple(problems), skipped="nothing is drawn in it")
    return Drawn(name, table[places].reshape(picture.shape), problems=tuple(problems))


def _label(name: str, legend: Legend) -> int | None:
    return legend.label(name) if name != _BACKGROUND or legend.knows(name) else 0


def _colours(data: bytes, labels: list[tuple[str, tuple[int, int, int]]]) -> NDArray[np.uint32]:
    """The colour of every pixel as one number; grey masks hold the index of the label."""
    with Image.open(BytesIO(data), formats=("PNG",)) as image:
        if image.width * image.height > MOST_PIXELS:
            raise ValueError(f"it is {image.width}x{image.height} pixels")
        if image.mode == "L":
            palette = np.zeros(256, dtype=np.uint32)
            palette[: len(labels)] = [_number(colour) for _, colour in labels[:256]]
            grey: NDArray[np.uint32] = palette[np.asarray(image)]
            return grey
        rgb = np.asarray(image.convert("RGB")).astype(np.uint32)
    merged: NDArray[np.uint32] = (rgb * np.array([65536, 256, 1], np.uint32)).sum(-1, np.uint32)
    return merged


def _number(colour: tuple[int, int, int]) -> int:
    return colour[0] << 16 | colour[1] << 8 | colour[2]
