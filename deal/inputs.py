"""Decoded images → batches of one size, as the network and the kernel want them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.errors import ItemError, UsageError
from deal.model import ModelSpec, raster_size

__all__ = ["InputGroup", "Inputs"]

_FILTERS = {
    "bilinear-antialias": Image.Resampling.BILINEAR,
    "bicubic-antialias": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}

Image8 = NDArray[np.uint8]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class InputGroup:
    """Images of a batch that share network input and raster size.

    Attributes
    ----------
    size : (H, W) of the raster
    mask : ndarray of uint8 [H, W] on the raster, or None
    indices : list of int
        Where the images stand in the batch.
    images : list of ndarray of uint8 [H', W', 3]
        At the network's input size.
    originals : list of (H, W)
        Sizes of the oriented originals.
    """

    size: Size
    mask: Image8 | None
    indices: list[int] = field(default_factory=list)
    images: list[Image8] = field(default_factory=list)
    originals: list[Size] = field(default_factory=list)


class Inputs:
    """Resizes images by the convention of the model and groups them by size.

    Parameters
    ----------
    spec : ModelSpec
    raster : ``input`` or ``image``
        Statistics on the network's input size, or on the oriented original's.
    mask : ndarray of uint8 [H, W], optional
        0 = ignore, in pixels of the oriented original; resized to the raster by nearest.

    Raises
    ------
    UsageError
        Unknown raster; a mask of another dtype or rank, or all 0.
    """

    def __init__(self, spec: ModelSpec, raster: str, mask: Image8 | None) -> None:
        if raster not in ("input", "image"):
            raise UsageError(f"raster {raster!r} is unknown; choose input or image")
        if mask is not None and (not _is_image8(mask, rank=2) or not mask.any()):
            raise UsageError(
                "the mask must be a NumPy array of uint8 [H, W] with something left to score "
                f"(0 = ignore), not {_described(mask)}{'' if np.any(mask) else ', all 0'}"
            )
        self._spec = spec
        self._raster = raster
        self._mask = mask

    def groups(self, images: Sequence[Image8]) -> tuple[list[InputGroup], dict[int, ItemError]]:
        """Groups, and the images that fit neither model nor mask, by index.

        Raises
        ------
        UsageError
            Something is not a uint8 RGB image.
        """
        groups: dict[tuple[Size, Size], InputGroup] = {}
        failures = {}
        for index, image in enumerate(images):
            if not _is_image8(image, rank=3) or image.shape[2] != 3 or not image.size:
                raise UsageError(
                    f"image {index} is {_described(image)}; a NumPy array of uint8 [H, W, 3] is "
                    "needed"
                )
            original = image.shape[0], image.shape[1]
            try:
                seen = raster_size(self._spec, *original)
                size = seen if self._raster == "input" else original
                mask = self._raster_mask(original, size)
            except ItemError as error:
                failures[index] = error
                continue
            group = groups.setdefault((seen, size), InputGroup(size, mask))
            group.indices.append(index)
            group.images.append(_resized(image, seen, _FILTERS[self._spec.interpolation]))
            group.originals.append(original)
        return list(groups.values()), failures

    def fingerprint_settings(self) -> dict[str, Any]:
        """Raster and mask, as JSON values."""
        mask = None
        if self._mask is not None:
            digest = hashlib.sha256(np.ascontiguousarray(self._mask).data)
            mask = {"size": list(self._mask.shape), "sha256": digest.hexdigest()}
        return {"raster": self._raster, "mask": mask}

    def _raster_mask(self, original: Size, size: Size) -> Image8 | None:
        if self._mask is None:
            return None
        if self._mask.shape != original:
            raise ItemError(
                "mask",
                f"the mask is {self._mask.shape[0]}×{self._mask.shape[1]} (H×W), the oriented "
                f"image {original[0]}×{original[1]}: give a mask of the image's size",
            )
        return _resized(self._mask, size, Image.Resampling.NEAREST)


def _is_image8(value: Any, rank: int) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == rank


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return f"a {type(value).__name__}"


def _resized(image: Image8, size: Size, resample: Image.Resampling) -> Image8:
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], resample))
