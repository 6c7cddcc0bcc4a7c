"""Pictures of the page: thumbnails, larger previews of the picks, and maps that lie over them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.errors import ItemError
from deal.machine.cores import available_cores
from deal.machine.threads import ordered
from deal.pool.decode import MAX_PIXELS, decode
from deal.pool.signature import thumbnail
from deal.run.overlays import Rings, hot_cells, rings_of_cells
from deal.types import PoolItem

if TYPE_CHECKING:
    from deal.viewing.rows import Pool

__all__ = [
    "KINDS",
    "Mapped",
    "Pictures",
    "draw_pictures",
    "flat_rings",
    "shrunk",
    "small_maps",
    "wanted_rows",
    "webp",
]

KINDS = ("thumbnail", "preview", "classes", "difficulty", "entropy")
"""Pictures in the order of the codes that the page knows them by."""

# Longest side in pixels and quality of WebP: the first that fits the room there is.
_THUMBNAILS = ((288, 72), (256, 66), (224, 60), (192, 52), (160, 46), (128, 40))
_PREVIEWS = ((1120, 74), (960, 70), (800, 66), (640, 60), (480, 56))
_PREVIEW_SHARE = 0.3  # of the room, for previews and maps together
_MAP_SIDE, _CLASS_SIDE = 240, 480
_TRIED = 24  # pictures that are drawn to see how large they get

Decoded = NDArray[np.uint8]
Mapped = tuple[int, Decoded, dict[str, NDArray[Any]]]


@dataclass
class Pictures:
    """Pictures and what they say.

    Attributes
    ----------
    rows, kinds : list of int
        Row and code in `KINDS` of each picture.
    data : list of bytes
        WebP.
    signatures : dict of row to ndarray of uint8 [12, 16]
        What near-duplicates are told by, for results that store none.
    regions : dict of row to list of polygons
        Outlines of the regions that carry the score, each as x, y, x, y, … in 0…1.
    tops : dict of str to float
        What the greatest value of a stored map stands for.
    unreadable : dict of row to str
        Why an image has no picture.
    shape : float
        Height / width of most pictures.
    left_out : int
        Pictures that found no room.
    """

    rows: list[int] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    data: list[bytes] = field(default_factory=list)
    signatures: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    regions: dict[int, list[list[float]]] = field(default_factory=dict)
    tops: dict[str, float] = field(default_factory=dict)
    unreadable: dict[int, str] = field(default_factory=dict)
    shape: float = 0.75
    left_out: int = 0

    def add(self, row: int, kind: str, data: bytes) -> None:
        """Append a picture."""
        self.rows.append(row)
        self.kinds.append(KINDS.index(kind))
        self.data.append(data)


def wanted_rows(pool: Pool, count: int, along: NDArray[np.uint32], where: Any) -> list[int]:
    """Rows that get a thumbnail, the most important first.

    The picks by rank; what comes right before and after them; half of the rest by place; then rows
    evenly over all places, so that the median and the easiest are there.
    """
    readable = np.asarray(pool.table.column("status").to_numpy(zero_copy_only=False) != "error")
    picks = np.flatnonzero(pool.picks)
    picks = picks[np.argsort(pool.picks[picks], kind="stable")]
    position = where[picks].astype(np.int64)
    beside = [along[np.clip(position + step, 0, len(along) - 1)] for step in (-1, 1, -2, 2)]
    scored = np.flatnonzero(pool.places)
    by_place = scored[np.argsort(pool.places[scored], kind="stable")]
    order = dict.fromkeys(picks.tolist())
    order.update(dict.fromkeys(np.concatenate([*beside, picks]).tolist()))
    room = max(count - len(order), 0)
    fresh = [row for row in by_place.tolist() if row not in order]
    order.update(dict.fromkeys(fresh[: room // 2]))
    rest = fresh[room // 2 :]
    even = np.unique(np.linspace(0, len(rest) - 1, max(room - room // 2, 0)).astype(int))
    order.update(dict.fromkeys(rest[i] for i in even if rest))
    others = np.flatnonzero(pool.places == 0).tolist() if len(order) < count else []
    order.update(dict.fromkeys(others))
    return [row for row in order if readable[row]][:count]


def draw_pictures(
    pool: Pool,
    rows: Sequence[int],
    *,
    room: int,
    mapped: Iterable[Mapped] = (),
    mapped_count: int = 0,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int, int], None] | None = None,
) -> Pictures:
    """Read images and draw them small; what fits into ``room`` bytes stays.

    Parameters
    ----------
    rows : sequence of int
        Rows that get a thumbnail, the most important first.
    mapped : iterable of (row, pixels, maps)
        Picks that also get a preview and maps: ``classes`` (class + 1, 0 is void), ``difficulty``
        (0…1), ``entropy`` (nats) and ``score``, as :func:`small_maps` gives them.
    mapped_count : int
        About how many.
    progress : callable, optional
        Called with the number of images drawn and of all.
    """
    found = Pictures()
    items = pool.items(rows)
    side, quality = _THUMBNAILS[0]
    previews = int(room * _PREVIEW_SHARE)
    shapes: list[float] = []

    def small(item: PoolItem) -> Decoded | str:
        try:
            return shrunk(decode(item, max_pixels=max_pixels, at_least=(side, side)).image, side)
        except ItemError as error:
            return f"{error.code}: {error.message}"

    with ThreadPoolExecutor(available_cores()) as executor:
        tried = [
            image for image in executor.map(small, items[:_TRIED]) if not isinstance(image, str)
        ]
        side, quality = _fitting(_THUMBNAILS, tried, len(rows), room - previews)
        left = room - previews
        done = ordered(executor, small, items, 2 * available_cores())
        for number, (_, image) in enumerate(done):
            row = rows[number]
            if isinstance(image, str):
                found.unreadable[row] = image
            else:
                shapes.append(image.shape[0] / image.shape[1])
                found.signatures[row] = thumbnail(image)
                data = webp(image, quality)
                left -= 4 * len(data) // 3
                if left >= 0:
                    found.add(row, "thumbnail", data)
                else:
                    found.left_out += 1
            if progress is not None:
                progress(number + 1, len(rows) + mapped_count)
    found.shape = float(np.clip(np.median(shapes), 0.4, 1.6)) if shapes else 0.75
    counted = _counted(mapped, len(rows), mapped_count, progress)
    _draw_maps(found, counted, mapped_count, max(left, 0) + previews)
    return found


def _counted(
    mapped: Iterable[Mapped], before: int, count: int, progress: Callable[[int, int], None] | None
) -> Iterator[Mapped]:
    for number, item in enumerate(mapped, before + 1):
        yield item
        if progress is not None:
            progress(number, before + count)
    if progress is not None:
        progress(before + count, before + count)


def shrunk(image: Decoded, side: int) -> Decoded:
    """An image [H, W, 3] no longer than ``side`` on any side, with Pillow's Lanczos filter."""
    height, width = image.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return image
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    resized = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.asarray(resized)


def webp(image: Decoded, quality: int) -> bytes:
    """An image [H, W, 3] or a map [H, W] as WebP; quality 100 of a map keeps every value."""
    file = BytesIO()
    picture = Image.fromarray(image)
    if image.ndim == 2:
        picture.convert("RGB").save(
            file, "WEBP", lossless=quality >= 100, quality=quality, method=4
        )
    else:
        picture.save(file, "WEBP", quality=quality, method=4)
    return file.getvalue()


def _fitting(
    steps: Sequence[tuple[int, int]], tried: Sequence[Decoded], count: int, room: int
) -> tuple[int, int]:
    """The first size and quality with which ``count`` pictures like those tried fit the room."""
    for side, quality in steps:
        sizes = [len(webp(shrunk(image, side), quality)) for image in tried]
        if not sizes or 4 / 3 * count * float(np.mean(sizes)) <= 0.97 * room:
            return side, quality
    return steps[-1]


def _draw_maps(found: Pictures, mapped: Iterable[Mapped], count: int, room: int) -> None:
    """Add previews and maps of the picks, as far as there is room; images come one by one."""
    share = 0.6 * room / max(count, 1)
    step = 0
    kept: list[tuple[int, dict[str, NDArray[Any]]]] = []
    for row, image, maps in mapped:
        data = b""
        while step < len(_PREVIEWS):
            side, quality = _PREVIEWS[step]
            data = webp(shrunk(image, side), quality)
            if 4 * len(data) / 3 <= 1.5 * share:
                break
            step += 1
        room -= 4 * len(data) // 3
        if room >= 0 and step < len(_PREVIEWS):
            found.add(row, "preview", data)
        if "score" in maps:
            cells, _ = hot_cells(maps["score"])
            found.regions[row] = flat_rings(rings_of_cells(cells, (1, 1)))
        kept.append((row, maps))
    for kind in ("difficulty", "entropy"):
        tops = [np.quantile(maps[kind], 0.995) for _, maps in kept if kind in maps]
        found.tops[kind] = max(float(np.ceil(max(tops, default=0.0) * 20)) / 20, 0.05)
    for row, maps in kept:
        for kind, data in _map_files(maps, found.tops):
            room -= 4 * len(data) // 3
            if room >= 0:
                found.add(row, kind, data)
            else:
                found.left_out += 1


def flat_rings(outlines: Rings) -> list[list[float]]:
    """Outlines as the page takes them: x, y, x, y, … with four digits."""
    return [[round(value, 4) for point in ring for value in point] for ring in outlines]


def _map_files(
    maps: dict[str, NDArray[Any]], tops: dict[str, float]
) -> Iterator[tuple[str, bytes]]:
    if "classes" in maps:
        yield "classes", webp(maps["classes"], 100)
    for kind in ("difficulty", "entropy"):
        if kind in maps:
            levels = np.rint(np.clip(maps[kind] / tops[kind], 0, 1) * 255).astype(np.uint8)
            yield kind, webp(levels, 60)


def small_maps(maps: dict[str, NDArray[Any] | None]) -> dict[str, NDArray[Any]]:
    """Maps of the size the page takes them in: classes by nearest pixel, measures by their mean."""
    small: dict[str, NDArray[Any]] = {}
    for kind, values in maps.items():
        if values is None:
            continue
        side = _CLASS_SIDE if kind == "classes" else _MAP_SIDE
        scale = min(side / max(values.shape), 1.0)
        size = max(round(values.shape[1] * scale), 1), max(round(values.shape[0] * scale), 1)
        if kind == "classes":
            image = Image.fromarray(np.minimum(values, 255).astype(np.uint8))
            small[kind] = np.asarray(image.resize(size, Image.Resampling.NEAREST))
        else:
            image = Image.fromarray(values.astype(np.float32))
            small[kind] = np.asarray(image.resize(size, Image.Resampling.BOX))
    return small
