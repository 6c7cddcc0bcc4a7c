"""Where an image lies in the network's input: stretched, boxed or cropped.

Two conventions follow the frameworks from which models are exported: ``letterbox`` rounds and
centres like Ultralytics' ``LetterBox``, ``crop`` like torchvision's ``Resize`` (shorter edge)
followed by ``CenterCrop``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deal.errors import ItemError

if TYPE_CHECKING:
    from deal.model.spec import ModelSpec

__all__ = ["Placement", "half_size", "nearest_multiple", "placement", "raster_size"]

Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Placement:
    """An image resized to ``content``, of which the network sees a window of ``size``.

    Attributes
    ----------
    size : (H, W)
        The network's input.
    content : (h, w)
        The whole image, resized.
    offset : (top, left)
        Position of the content within the window; negative if the image is cropped.
    """

    size: Size
    content: Size
    offset: tuple[int, int] = (0, 0)

    @property
    def is_whole(self) -> bool:
        """Whether the image fills the window and no part of the image is cut off."""
        return self.content == self.size

    @property
    def inside(self) -> tuple[slice, slice]:
        """Rows and columns of the window that show the image."""
        (height, width), (top, left) = self.size, self.offset
        return (
            slice(max(top, 0), min(top + self.content[0], height)),
            slice(max(left, 0), min(left + self.content[1], width)),
        )

    @property
    def shown(self) -> tuple[slice, slice]:
        """Rows and columns of the resized image that the window shows."""
        rows, columns = self.inside
        top, left = self.offset
        return (
            slice(rows.start - top, rows.stop - top),
            slice(columns.start - left, columns.stop - left),
        )


def placement(spec: ModelSpec, height: int, width: int) -> Placement:
    """Where an image of ``height`` × ``width`` pixels lies in the network's input.

    Raises
    ------
    ItemError
        Code ``size``: the model cannot take this size.
    """
    if spec.resize == "letterbox":
        return _letterbox(spec, height, width)
    if spec.resize == "crop":
        return _crop(spec, height, width)
    size = raster_size(spec, height, width)
    return Placement(size, size)


def raster_size(spec: ModelSpec, height: int, width: int) -> Size:
    """Size (H, W) of the network's input for an image of ``height`` × ``width`` pixels.

    It is ``input_size`` if the model has one. Otherwise it is the image's own size, rounded to a
    multiple of ``size_multiple``: to the nearest with ``stretch`` (at least one multiple), up with
    ``letterbox``, down with ``crop``.

    Raises
    ------
    ItemError
        Code ``size``: the model does not resize and cannot take this size.
    """
    multiple = spec.size_multiple
    if spec.resize in ("letterbox", "crop"):
        return placement(spec, height, width).size
    if spec.resize == "stretch":
        if spec.input_size is not None:
            return spec.input_size
        return nearest_multiple(height, multiple), nearest_multiple(width, multiple)
    if spec.input_size is not None and spec.input_size != (height, width):
        need = f"{spec.input_size[0]}×{spec.input_size[1]}"
    elif height % multiple or width % multiple:
        need = f"multiples of {multiple}"
    else:
        return height, width
    raise ItemError(
        "size", f"the image is {height}×{width} (H×W), but the model takes {need} without resizing"
    )


def half_size(size: Size) -> Size:
    """Half of a height and a width, rounded up."""
    return (size[0] + 1) // 2, (size[1] + 1) // 2


def nearest_multiple(length: int, multiple: int) -> int:
    """The multiple of ``multiple`` nearest to ``length``, at least ``multiple`` itself."""
    return max((length + multiple // 2) // multiple, 1) * multiple


def _letterbox(spec: ModelSpec, height: int, width: int) -> Placement:
    if spec.input_size is None:
        multiple = spec.size_multiple
        size = -(-height // multiple) * multiple, -(-width // multiple) * multiple
        content = height, width
    else:
        size = spec.input_size
        scale = min(size[0] / height, size[1] / width)
        content = (
            min(max(round(height * scale), 1), size[0]),
            min(max(round(width * scale), 1), size[1]),
        )
    if spec.pad_position == "top-left":
        return Placement(size, content)
    return Placement(size, content, ((size[0] - content[0]) // 2, (size[1] - content[1]) // 2))


def _crop(spec: ModelSpec, height: int, width: int) -> Placement:
    if spec.input_size is None:
        multiple = spec.size_multiple
        size = height // multiple * multiple, width // multiple * multiple
        content = height, width
        if 0 in size:
            raise ItemError(
                "size",
                f"the image is {height}×{width} (H×W), too small for a model that crops to "
                f"multiples of {multiple}",
            )
    else:
        size = spec.input_size
        if size[0] * width >= size[1] * height:
            content = size[0], max(width * size[0] // height, size[1])
        else:
            content = max(height * size[1] // width, size[0]), size[1]
    # Halves are rounded to the even number, as in torchvision.
    top, left = round((content[0] - size[0]) / 2), round((content[1] - size[1]) / 2)
    return Placement(size, content, (-top, -left))
