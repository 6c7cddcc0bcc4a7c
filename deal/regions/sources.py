"""Sources of an image's regions: a grid, files, superpixels, or the prediction itself.

Each kind is a frozen record. ``settings()`` is its part of the fingerprint, the settings that
change stored numbers of every image; ``str()`` is its text on the command line.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deal._install import pip_install
from deal._options import plain
from deal.errors import ItemError, UsageError
from deal.kernel.geometry import components
from deal.kernel.regions import Grid, Segments
from deal.regions.files import MAX_REGIONS, find_segments, read_segments

__all__ = ["Components", "GivenSegments", "RegionSource", "Superpixels", "parse_regions"]

Size = tuple[int, int]

_FORMS = "none, grid:PX, segments:DIR, slic:N or components[:MINPIXELS]"


@dataclass(frozen=True)
class GivenSegments:
    """Regions that the user drew: one file per image (:mod:`deal.regions.files`), or arrays.

    Parameters
    ----------
    folder : str or Path, optional
        Folder of the files. Without it, the segments are given with the images, as in
        ``Scorer.score(images, segments=[…])``.

    Raises
    ------
    UsageError
        The folder does not exist.
    """

    folder: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.folder is not None and not Path(self.folder).is_dir():
            raise UsageError(
                f"segments:{os.fspath(self.folder)}: no such folder; give the folder that holds a "
                ".png or .npz for each image, named by the image's id"
            )

    def __str__(self) -> str:
        return "segments" if self.folder is None else f"segments:{os.fspath(self.folder)}"

    def settings(self) -> dict[str, Any]:
        """Settings as JSON values; the content of a file changes the image's ``source_version``."""
        return {"kind": "segments"}

    def version(self, item_id: str) -> str | None:
        """``"<size>-<mtime_ns>"`` of the image's file; None if there is no such file."""
        if self.folder is None:
            return None
        try:
            return find_segments(self.folder, item_id)[1]
        except ItemError:
            return None

    def read(self, item_id: str, size: Size) -> NDArray[np.int32]:
        """Ids [H, W] of an image, negative for no region; ItemError ``segments``."""
        if self.folder is None:
            raise ItemError("segments", "no segments were given for this image")
        return read_segments(self.folder, item_id, size)


@dataclass(frozen=True)
class Superpixels:
    """SLIC superpixels of the image at raster size, by scikit-image (extra ``superpixel``).

    The method is that of Achanta et al., "SLIC superpixels compared to state-of-the-art superpixel
    methods", PAMI 2012, in its zero-parameter variant: compactness adapts to the texture of each
    superpixel, so that their number is near ``count`` in noisy images too. It works in Lab, on an
    image blurred by 1 pixel, and makes connected regions. The same image gives the same regions.

    Parameters
    ----------
    count : int
        Approximate number of superpixels per image; the exact number depends on the image.

    Raises
    ------
    UsageError
        ``count`` is out of range, or scikit-image is missing.
    """

    count: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "count", plain(self.count))  # a number of NumPy too
        if not (isinstance(self.count, int) and 1 <= self.count <= MAX_REGIONS):
            raise UsageError(f"slic:{self.count}: give a number of superpixels, 1 to {MAX_REGIONS}")
        try:
            import skimage.segmentation  # noqa: F401
        except ImportError as error:
            raise UsageError(
                f"slic:{self.count} needs scikit-image ({error}): {pip_install('superpixel')}"
            ) from error

    def __str__(self) -> str:
        return f"slic:{self.count}"

    def settings(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": "slic", "count": self.count}

    def segments(self, image: NDArray[np.uint8]) -> NDArray[np.int32]:
        """Ids [H, W] of an RGB image uint8 [H, W, 3], 0 to R − 1."""
        from skimage.segmentation import slic

        found = slic(image, self.count, slic_zero=True, sigma=1.0, start_label=0, channel_axis=-1)
        return np.asarray(found, dtype=np.int32)


@dataclass(frozen=True)
class Components:
    """Connected areas of one predicted class, which are the paper's semantic areas.

    Parameters
    ----------
    min_pixels : int
        Smallest area, in raster pixels; smaller areas are not regions.

    Raises
    ------
    UsageError
        ``min_pixels`` is not a whole number of at least 1.
    """

    min_pixels: int = 64

    def __post_init__(self) -> None:
        object.__setattr__(self, "min_pixels", plain(self.min_pixels))  # a number of NumPy too
        if not (isinstance(self.min_pixels, int) and self.min_pixels >= 1):
            raise UsageError(f"components:{self.min_pixels}: give a number of pixels, at least 1")

    def __str__(self) -> str:
        return f"components:{self.min_pixels}"

    def settings(self) -> dict[str, Any]:
        """JSON values."""
        return {"kind": "components", "min_pixels": self.min_pixels}

    def segments(
        self,
        logits: Any,
        size: Size,
        align_corners: bool,
        mask: NDArray[np.uint8] | None,
        threads: int | None,
    ) -> tuple[Segments, dict[int, ItemError]]:
        """The areas of a batch, as from :func:`deal.components`, and errors by image.

        An image with too many areas has none, and an ItemError ``segments``.
        """
        areas = components(
            logits,
            size=size,
            align_corners=align_corners,
            mask=mask,
            min_pixels=self.min_pixels,
            threads=threads,
            stream=getattr(logits, "stream", None),
        )
        crowded: dict[int, ItemError] = {}
        for row, ids in enumerate(areas.map):
            if (found := int(ids.max()) + 1) > MAX_REGIONS:
                ids[:] = -1
                crowded[row] = ItemError(
                    "segments",
                    f"{found} components, more than {MAX_REGIONS}: raise MINPIXELS of "
                    "components:MINPIXELS",
                )
        return (Segments(areas.map) if crowded else areas), crowded


RegionSource = Grid | GivenSegments | Superpixels | Components


def parse_regions(regions: str | RegionSource | None) -> RegionSource | None:
    """Read ``none``, ``grid:PX``, ``segments:DIR``, ``slic:N`` or ``components[:MINPIXELS]``.

    Sizes are in pixels of the raster. Raises UsageError otherwise.
    """
    if regions is None or not isinstance(regions, str):
        return regions
    kind, separator, value = regions.partition(":")
    number = int(value) if value.isdecimal() and value.isascii() else None
    if regions == "none":
        return None
    if kind == "grid" and number:
        return Grid(number)
    if kind == "segments" and value:
        return GivenSegments(value)
    if kind == "slic" and number:
        return Superpixels(number)
    if kind == "components" and not separator:
        return Components()
    if kind == "components" and number:
        return Components(number)
    raise UsageError(f"--regions must be {_FORMS}, such as grid:40; not {regions!r}")
