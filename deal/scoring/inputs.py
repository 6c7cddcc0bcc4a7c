"""Decoded images with masks and segments → batches of one size for network and kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal import _native
from deal.errors import ItemError, UsageError
from deal.model.placing import Placement, half_size, placement
from deal.model.spec import ModelSpec
from deal.regions.files import MAX_REGIONS, checked_ids, nearest
from deal.regions.sources import GivenSegments, RegionSource, Superpixels
from deal.scoring.masks import Masks

__all__ = ["ImageExtras", "InputGroup", "Inputs", "check_images", "extras_of"]

Image8 = NDArray[np.uint8]
Size = tuple[int, int]


@dataclass(frozen=True, slots=True)
class ImageExtras:
    """Data that belongs to an image besides its pixels.

    Attributes
    ----------
    camera : str, optional
        The camera, which decides the mask.
    segments : ndarray of integers [H, W], optional
        Region ids below 65,535, negative for no region, at the size of the oriented original or
        of the raster.
    original : (H, W), optional
        Size of the oriented original; the image may be a smaller version of it.
    """

    camera: str | None = None
    segments: NDArray[Any] | None = None
    original: Size | None = None


@dataclass(frozen=True, slots=True)
class InputGroup:
    """Images of a batch that share network input and raster size.

    Attributes
    ----------
    size : (H, W) of the raster
    indices : list of int
        Positions of the images in the batch.
    images : list of ndarray of uint8 [H', W', 3]
        At the network's input size.
    originals : list of (H, W)
        Sizes of the oriented originals.
    placements : list of Placement
        Where the originals lie in the raster.
    masks : list of ndarray of uint8 [H, W] on the raster, or None
    segments : list of ndarray of int32 [H, W] on the raster
        Empty if no segments come with the images.
    """

    size: Size
    indices: list[int] = field(default_factory=list)
    images: list[Image8] = field(default_factory=list)
    originals: list[Size] = field(default_factory=list)
    placements: list[Placement] = field(default_factory=list)
    masks: list[Image8 | None] = field(default_factory=list)
    segments: list[NDArray[np.int32]] = field(default_factory=list)

    @property
    def mask(self) -> Image8 | None:
        """The masks as the kernel takes them: None, one for all [H, W], or [B, H, W]."""
        first = self.masks[0] if self.masks else None
        if all(mask is first for mask in self.masks):
            return first
        whole = np.ones(self.size, np.uint8)
        return np.stack([whole if mask is None else mask for mask in self.masks])

    def part(self, row: int) -> InputGroup:
        """The group of one of its images."""
        one = slice(row, row + 1)
        values = (getattr(self, item.name) for item in fields(self)[1:])
        return InputGroup(self.size, *(value[one] for value in values))


class Inputs:
    """Resizes images by the convention of the model and groups them by size.

    Parameters
    ----------
    spec : ModelSpec
    raster : ``input``, ``half`` or ``image``
        The size on which statistics are computed: the network's input, half of its height and
        width (rounded up), or the oriented original. A model that boxes or crops images
        (``resize``) needs ``input``: padding is masked, and parts that are cut off do not count.
    masks : Masks, optional
        Resized to the raster by nearest neighbour.
    regions : RegionSource, optional
    scaled_decode : bool
        Whether :attr:`at_least` may ask for images decoded to scale.

    Attributes
    ----------
    at_least : (H, W) or None
        Images may be decoded to a scale no smaller than this
        (:func:`deal.pool.decode.decode_bytes`), since the network sees them averaged down to this
        size anyway. None means: decode in full.

    Raises
    ------
    UsageError
        The raster is unknown, or is not ``input`` for a model that boxes or crops.
    """

    def __init__(
        self,
        spec: ModelSpec,
        raster: str,
        masks: Masks | None = None,
        regions: RegionSource | None = None,
        *,
        scaled_decode: bool = False,
    ) -> None:
        if raster not in ("input", "half", "image"):
            raise UsageError(f"raster {raster!r} is unknown; choose input, half or image")
        if raster != "input" and spec.resize in ("letterbox", "crop"):
            fitting = " (deal fit-head needs raster image, so it cannot take this model)"
            raise UsageError(
                f"model {spec.path} takes images by resize {spec.resize}, so its statistics can "
                f"only be computed on its input: use raster input{fitting * (raster == 'image')}"
            )
        self._spec = spec
        self._raster = raster
        self._masks = masks or Masks()
        self._raster_masks: dict[int, Image8] = {}  # a mask fits images of one size only
        self._regions = regions
        # "nearest" picks single pixels of the original, which a scaled image no longer has
        averages = spec.resize != "none" and spec.interpolation != "nearest"
        is_seen_alone = raster != "image" and averages
        self.at_least = spec.input_size if scaled_decode and is_seen_alone else None

    def sizes(self, original: Size) -> tuple[Size, Size]:
        """Sizes of the network's input and of the raster for an image of this size (H, W).

        Raises ItemError ``size`` if the model cannot take the image.
        """
        seen, raster = self._placed(original)
        return seen.size, raster.size

    def _placed(self, original: Size) -> tuple[Placement, Placement]:
        """Where an image lies in the network's input, and in the raster."""
        seen = placement(self._spec, *original)
        if self._raster == "input":
            return seen, seen
        size = original if self._raster == "image" else half_size(seen.size)
        return seen, Placement(size, size)

    def prepared(
        self,
        image: Image8,
        *,
        original: Size | None = None,
        item_id: str | None = None,
        camera: str | None = None,
    ) -> tuple[Image8, ImageExtras]:
        """Return an image at the network's input size, and its segments at raster size.

        ``original`` is the size of the oriented original if the image is a smaller version of it.
        Any thread may call this. Raises ItemError ``segments`` or ``size``.
        """
        whole = original or (image.shape[0], image.shape[1])
        seen, raster = self._placed(whole)
        given = None
        if isinstance(self._regions, GivenSegments) and item_id is not None:
            given = self._regions.read(item_id, whole)
        segments = self._segments(image, whole, raster, given)
        return self._at_place(image, seen), ImageExtras(camera, segments, whole)

    def groups(
        self, images: Sequence[Image8], extras: Sequence[ImageExtras] | None = None
    ) -> tuple[list[InputGroup], dict[int, ItemError]]:
        """Return groups, and failures by index: images that do not fit model, mask or segments.

        Without ``extras`` there are neither masks nor segments.

        Raises
        ------
        UsageError
            An item is not a uint8 RGB image, or there is not one entry of ``extras`` per image.
        """
        if extras is not None and len(extras) != len(images):
            raise UsageError(f"{len(images)} images, but {len(extras)} extras: give one per image")
        groups: dict[tuple[Size, Size], InputGroup] = {}
        failures = {}
        for index, image in enumerate(images):
            if not _is_image8(image, rank=3) or image.shape[2] != 3 or not image.size:
                raise UsageError(
                    f"image {index} is {_described(image)}; a NumPy array of uint8 [H, W, 3] is "
                    "needed"
                )
            if isinstance(image, np.ma.MaskedArray):
                raise UsageError(
                    f"image {index} is a masked array, and its mask would be ignored: give its "
                    "data, and open the Scorer with mask="
                )
            original = image.shape[0], image.shape[1]
            if extras is not None:
                original = extras[index].original or original
            is_placed = original != image.shape[:2]  # then it may come from prepared()
            try:
                seen, raster = self._placed(original)
                mask = _content_mask(raster)
                segments = None
                if extras is not None:
                    mask = self._raster_mask(extras[index].camera, original, raster)
                    segments = self._segments(image, original, raster, extras[index].segments)
            except ItemError as error:
                failures[index] = error
                continue
            group = groups.setdefault((seen.size, raster.size), InputGroup(raster.size))
            group.masks.append(mask)
            group.placements.append(raster)
            if segments is not None:
                group.segments.append(segments)
            group.indices.append(index)
            is_placed &= image.shape[:2] == seen.size
            group.images.append(image if is_placed else self._at_place(image, seen))
            group.originals.append(original)
        return list(groups.values()), failures

    def fingerprint_settings(self) -> dict[str, Any]:
        """Raster, masks and whether images are decoded to scale, as JSON values."""
        scaled = {} if self.at_least is None else {"scaled_decode": True}
        return {"raster": self._raster, "mask": self._masks.settings(), **scaled}

    def _at_place(self, image: Image8, place: Placement) -> Image8:
        resized = self._at_size(image, place.content)
        if place.is_whole:
            return resized
        window = np.empty((*place.size, 3), np.uint8)
        window[:] = self._spec.pad_value
        window[place.inside] = resized[place.shown]
        return window

    def _at_size(self, image: Image8, size: Size) -> Image8:
        interpolation = self._spec.interpolation
        if interpolation == "nearest":
            return _nearest(image, size)
        if image.shape[:2] == size:
            return image
        dense = np.ascontiguousarray(image)
        return _native.resample(dense, *size, interpolation == "bicubic-antialias")

    def own_mask(self, camera: str | None, original: Size) -> Image8 | None:
        """The mask of a camera at the image's own size; raises ItemError ``mask``."""
        mask = self._masks.get(camera)
        if mask is not None and mask.shape != original:
            raise ItemError(
                "mask",
                f"the mask is {mask.shape[0]}×{mask.shape[1]} (H×W), the oriented "
                f"image {original[0]}×{original[1]}: give a mask of the image's size",
            )
        return mask

    def _raster_mask(self, camera: str | None, original: Size, raster: Placement) -> Image8 | None:
        mask = self.own_mask(camera, original)
        if mask is None:
            return _content_mask(raster)
        if id(mask) not in self._raster_masks:
            placed = _placed_map(_nearest(mask, raster.content), raster, 0)
            self._raster_masks[id(mask)] = placed
        return self._raster_masks[id(mask)]

    def _segments(
        self, image: Image8, original: Size, raster: Placement, given: NDArray[Any] | None
    ) -> NDArray[np.int32] | None:
        """Region ids on the raster; None if no segments come with the image."""
        if given is not None:
            if not isinstance(self._regions, (GivenSegments, Superpixels)):
                raise UsageError(
                    "an image has segments, but the Scorer uses other regions: open the Scorer "
                    "with regions=GivenSegments()"
                )
            if isinstance(given, np.ndarray) and given.shape == raster.size != original:
                return nearest(checked_ids(given, raster.size), raster.size)
            ids = nearest(checked_ids(given, original), raster.content)
            return _placed_map(ids, raster, -1)
        if isinstance(self._regions, GivenSegments):
            raise ItemError("segments", "no segments were given for this image")
        if isinstance(self._regions, Superpixels):
            resized = self._at_size(image, raster.content)[raster.shown]
            segments = self._regions.segments(np.ascontiguousarray(resized))
            if segments.max() >= MAX_REGIONS:
                raise ItemError("segments", f"more than {MAX_REGIONS} superpixels: ask for fewer")
            if segments.shape == raster.size:
                return segments
            framed = np.full(raster.size, -1, np.int32)
            framed[raster.inside] = segments
            return framed
        return None


@lru_cache(maxsize=64)
def _content_mask(place: Placement) -> Image8 | None:
    """1 where the raster shows the image; None if it does so everywhere."""
    if place.is_whole:
        return None
    mask = np.zeros(place.size, np.uint8)
    mask[place.inside] = 1
    return None if mask.all() else mask


def _placed_map(resized: NDArray[Any], place: Placement, outside: int) -> NDArray[Any]:
    """Place a map of the resized image on the raster."""
    if place.is_whole:
        return resized
    window = np.full(place.size, outside, resized.dtype)
    window[place.inside] = resized[place.shown]
    return window


def extras_of(
    n: int,
    segments: Sequence[NDArray[Any]] | None = None,
    cameras: Sequence[str | None] | None = None,
) -> list[ImageExtras]:
    """Make the extras of n images; raises UsageError unless there is one of each per image."""
    for name, values in (("segments", segments), ("cameras", cameras)):
        if values is not None and len(values) != n:
            raise UsageError(f"{n} images, but {len(values)} {name}: give one per image")
    none: list[None] = [None] * n
    return [
        ImageExtras(camera, ids)
        for camera, ids in zip(cameras or none, segments or none, strict=True)
    ]


def check_images(images: Any) -> None:
    """Raise UsageError unless ``images`` has a length and can be sliced, as lists and arrays."""
    is_sliced = hasattr(images, "__len__") and hasattr(images, "__getitem__")
    if not is_sliced or isinstance(images, (str, bytes, Mapping)):
        raise UsageError(
            f"images are a list of NumPy arrays of uint8 [H, W, 3], not {_described(images)}"
        )


def _is_image8(value: Any, rank: int) -> bool:
    return isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == rank


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} {list(value.shape)}"
    return f"a {type(value).__name__}"


def _nearest(image: Image8, size: Size) -> Image8:
    if image.shape[:2] == size:
        return image
    return np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.NEAREST))
