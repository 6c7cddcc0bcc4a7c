"""Masks: pixels that do not count (car hood, vignette), for all images or by camera."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.errors import ItemError, ResultsError, UsageError
from deal.machine.files import check_regular, replacing, writing
from deal.pool.decode import decode
from deal.pool.listing import Pool
from deal.types import FailedItem

__all__ = ["Masks", "check_masks", "load_mask", "load_masks", "parse_masks", "save_masks"]

Image8 = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Masks:
    """The mask of every camera.

    Parameters
    ----------
    every : ndarray of uint8 [H, W], optional
        The mask for images whose camera has no mask of its own; 0 = ignore, in pixels of the
        oriented original.
    cameras : mapping of camera to ndarray of uint8 [H, W]

    Raises
    ------
    UsageError
        A mask has another dtype or rank, or is all 0.
    """

    every: Image8 | None = None
    cameras: Mapping[str, Image8] = field(default_factory=dict)

    def __post_init__(self) -> None:
        masks = [*self.cameras.values(), *([] if self.every is None else [self.every])]
        for mask in masks:
            array = isinstance(mask, np.ndarray)
            if not array or mask.dtype != np.uint8 or mask.ndim != 2 or not mask.any():
                what = f"{mask.dtype} {list(mask.shape)}" if array else type(mask).__name__
                raise UsageError(
                    "the mask must be a NumPy array of uint8 [H, W] with something left to score "
                    f"(0 = ignore), not {what}{'' if np.any(mask) else ', all 0'}"
                )

    @classmethod
    def of(cls, mask: Image8 | Mapping[str, Image8] | Masks | None) -> Masks:
        """Make masks from one array, or from arrays by camera; ``""`` is every other camera."""
        if isinstance(mask, Masks):
            return mask
        if isinstance(mask, Mapping):
            cameras = dict(mask)
            return cls(cameras.pop("", None), cameras)
        return cls(mask)

    def get(self, camera: str | None) -> Image8 | None:
        """The mask for images of a camera; None if every pixel counts."""
        return self.every if camera is None else self.cameras.get(camera, self.every)

    def settings(self) -> dict[str, Any] | None:
        """Sizes and contents as JSON values, for the fingerprint."""
        every = None if self.every is None else _digest(self.every)
        if not self.cameras:
            return every
        return {"every": every, "cameras": {key: _digest(m) for key, m in self.cameras.items()}}


def parse_masks(masks: Any) -> Masks | None:
    """Read masks as `score_pool` and ``--mask`` take them; None if there are none.

    Parameters
    ----------
    masks : None, Masks, array, path, mapping of camera to either, or sequence of texts
        A text is ``FILE`` or ``CAMERA=FILE``. With an empty camera, as in ``=FILE``, the mask is
        for every camera that has no mask of its own.

    Raises
    ------
    UsageError
        A file cannot be read, or a camera is named twice.
    """
    if masks is None or isinstance(masks, Masks):
        return masks
    if isinstance(masks, np.ndarray) or not isinstance(masks, (Iterable, os.PathLike)):
        return Masks.of(masks)
    if isinstance(masks, Mapping):
        return Masks.of({camera: load_mask(mask) for camera, mask in masks.items()})
    texts = [masks] if isinstance(masks, (str, os.PathLike)) else masks
    loaded: dict[str, Image8] = {}
    for text in texts:
        camera, path = _camera_and_path(text)
        if camera in loaded:
            what = f"camera {camera!r}" if camera else "every camera"
            raise UsageError(f"two masks for {what}: give one --mask for each")
        loaded[camera] = load_mask(path)
    return Masks.of(loaded) if loaded else None


def load_mask(path: str | os.PathLike[str] | NDArray[Any]) -> Image8:
    """Read an image as a mask, uint8 [H, W]: 0 = ignore; UsageError if it cannot be read."""
    if isinstance(path, np.ndarray):
        return path
    try:
        check_regular(path)
        with Image.open(path) as image:
            return np.asarray(image.convert("L"))
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise UsageError(
            f"mask {os.fspath(path)!r} cannot be read as an image ({error}): give a grey image, "
            "0 where pixels are ignored, as FILE or CAMERA=FILE (=FILE if the name contains =)"
        ) from error


def save_masks(masks: Masks | None, output: Path) -> None:
    """Keep masks with results, as ``runs/mask-<SHA-256>.npy``, so that maps can be drawn again.

    Raises OutputError.
    """
    if masks is None:
        return
    for mask in (*masks.cameras.values(), *([] if masks.every is None else [masks.every])):
        path = _kept(output, _digest(mask))
        if not path.exists():
            with writing(output):
                path.parent.mkdir(exist_ok=True)
                with replacing(path) as file:
                    np.save(file, np.ascontiguousarray(mask), allow_pickle=False)


def load_masks(output: Path, settings: Mapping[str, Any]) -> Masks:
    """Load the masks of stored results, by the settings in their footer.

    Raises
    ------
    ResultsError
        A mask is not kept there, or is another one.
    """

    def load(digest: Mapping[str, Any] | None) -> Image8 | None:
        if digest is None:
            return None
        path = _kept(output, digest)
        try:
            mask = np.load(BytesIO(path.read_bytes()), allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise ResultsError(
                f"the mask that {output} was scored with cannot be read ({path}): run the same "
                "deal-score command again, which stores it"
            ) from error
        if mask.dtype != np.uint8 or _digest(mask) != dict(digest):
            raise ResultsError(
                f"{path} is not the mask that {output} was scored with: delete it, and run the "
                "same deal-score command again"
            )
        return np.asarray(mask)

    if "cameras" not in settings:
        return Masks(load(settings))
    cameras = {camera: load(digest) for camera, digest in settings["cameras"].items()}
    return Masks(load(settings["every"]), {c: m for c, m in cameras.items() if m is not None})


def check_masks(masks: Masks | None, pool: Pool, *, max_pixels: int) -> list[str]:
    """Compare the size of each mask with the first readable image that it applies to.

    Returns
    -------
    list of str
        Notes on cameras without images, and on images without a mask.

    Raises
    ------
    UsageError
        The sizes of a mask and an image differ.
    """
    if masks is None:
        return []
    checked: set[str] = set()
    seen: Counter[str] = Counter()
    for entry in pool:
        if isinstance(entry, FailedItem):
            continue
        mask = masks.get(entry.camera)
        owner = entry.camera or ""
        owner = owner if owner in masks.cameras else ""
        seen[owner] += 1
        if mask is not None and owner not in checked:
            try:
                size = decode(entry, max_pixels=max_pixels).image.shape[:2]
            except ItemError:
                continue
            checked.add(owner)
            if size != mask.shape:
                which = f"the mask of camera {owner!r}" if owner else "the mask"
                raise UsageError(
                    f"{which} has {mask.shape[0]}×{mask.shape[1]} pixels (H×W), image "
                    f"{entry.id!r} {size[0]}×{size[1]} once oriented: give a mask of the images' "
                    "size"
                )
        if not masks.cameras and checked:
            return []
    notes = [
        f"no image of this pool is from camera {camera!r}, so its mask is not used (the column "
        "camera of a manifest names the cameras)"
        for camera in masks.cameras
        if not seen[camera]
    ]
    if masks.cameras and masks.every is None and seen[""]:
        notes.append(f"{seen['']} images are from cameras without a mask; all their pixels count")
    return notes


def _camera_and_path(text: str | os.PathLike[str]) -> tuple[str, str | os.PathLike[str]]:
    camera, separator, path = text.partition("=") if isinstance(text, str) else ("", "", text)
    return (camera, path) if separator else ("", text)


def _kept(output: Path, digest: Mapping[str, Any]) -> Path:
    return output / "runs" / f"mask-{digest['sha256']}.npy"


def _digest(mask: Image8) -> dict[str, Any]:
    digest = hashlib.sha256(np.ascontiguousarray(mask).data)
    return {"size": list(mask.shape), "sha256": digest.hexdigest()}
