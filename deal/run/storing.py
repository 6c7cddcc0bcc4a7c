"""Class, difficulty and entropy maps of stored images as files, in one further pass over them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from deal.errors import ItemError, ModelError
from deal.machine.files import write_text
from deal.pool.decode import MAX_PIXELS
from deal.pool.ids import Shard
from deal.results.maps import KINDS, map_stamp, to_stored, write_map
from deal.results.reading import iter_results
from deal.run.makers import Makers
from deal.run.progress import Progress
from deal.run.reopen import StoredImage, decode_and_map, stored_images
from deal.scoring.faults import fault
from deal.scoring.kept import KeptOutputs
from deal.scoring.session import Session

__all__ = ["store_maps"]

_NAMED = 3

Source = str | os.PathLike[str]


def store_maps(
    outputs: Source | Sequence[Source],
    session: Session,
    ids: Iterable[str] | None = None,
    *,
    shard: Shard | None = None,
    max_pixels: int = MAX_PIXELS,
    endpoint_url: str | None = None,
    progress: Callable[[Progress], None] | None = None,
    kept: KeptOutputs | None = None,
) -> list[str]:
    """Store the maps of images below ``maps/`` of the output folder that holds each.

    Maps that are stored already, from the same settings and version of the image, are not made
    again, so an interrupted pass continues. Scoring is not slowed down: where the outputs of the
    network are not kept, it runs a second time, on these images alone.

    Parameters
    ----------
    outputs : path or sequence of paths
        Output folders of ``deal-score``.
    session : Session
        The model that scored them (:func:`deal.run.reopen.reopen`).
    ids : iterable of str, optional
        Only these images; by default all that are ok.
    shard : Shard, optional
        Only images of this part of the pool.
    max_pixels : int
        Larger images are left out.
    endpoint_url : str, optional
        As in `deal.pool.inside.Reading`.
    progress : callable, optional
        Called after every image.
    kept : KeptOutputs, optional
        What the network gave before.

    Returns
    -------
    list of str
        Notes on images without maps, and why.

    Raises
    ------
    OutputError
        A map cannot be written.
    """
    folders = [outputs] if isinstance(outputs, (str, os.PathLike)) else outputs
    wanted = None if ids is None else set(ids)
    part = shard or Shard()
    failed: list[tuple[str, str]] = []
    for folder in map(Path, folders):
        images = [
            image
            for image in stored_images(folder, wanted, endpoint_url=endpoint_url).values()
            if image.status == "ok" and part.contains(image.item.id)
        ]
        images.sort(key=lambda image: image.item.id.encode())
        if images:
            failed += _Folder(folder, session, max_pixels, kept).store(images, progress)
    notes = [f"no maps of {item_id!r}: {reason}" for item_id, reason in failed[:_NAMED]]
    if len(failed) > _NAMED:
        notes.append(f"no maps of {len(failed) - _NAMED} other images either")
    return notes


class _Folder:
    """The maps of one output folder."""

    def __init__(
        self, path: Path, session: Session, max_pixels: int, kept: KeptOutputs | None
    ) -> None:
        metadata = next(iter_results(path, ["id"])).schema.metadata or {}
        self._fingerprint = metadata[b"deal.fingerprint"].decode()
        self._path, self._session, self._max_pixels = path, session, max_pixels
        self._kept = kept
        self._kinds = [kind for kind in KINDS if kind != "difficulty" or session.has_difficulty]

    def store(
        self, images: Sequence[StoredImage], progress: Callable[[Progress], None] | None
    ) -> list[tuple[str, str]]:
        """Store what is missing; return id and reason of each image that fails."""
        names = {"classes": list(self._session.spec.classes), "void": 0, "first_class": 1}
        text = json.dumps(names, indent=1, ensure_ascii=False)
        write_text(self._path / "maps" / "classes.json", text + "\n")
        todo = [image for image in images if not self._is_stored(image)]
        started, skipped = time.monotonic(), len(images) - len(todo)
        failed: list[tuple[str, str]] = []
        with Makers(self._session, len(todo)) as makers:
            made = makers.each(self._make, todo)
            for done, (image, reason) in enumerate(made, 1):
                if reason is not None:
                    failed.append((image.item.id, reason))
                if progress is not None:
                    seconds = time.monotonic() - started
                    counts = len(images), skipped, done, len(failed), seconds
                    progress(Progress(*counts, what="images mapped"))
        return failed

    def _make(self, session: Session, image: StoredImage) -> str | None:
        """Store the maps of one image; or the reason why there are none."""
        try:
            _, maps = decode_and_map(
                image,
                session.maps_or_errors,
                acquisition=None,
                max_pixels=self._max_pixels,
                known=None if self._kept is None else self._kept.get(image.item),
            )
        except (ItemError, MemoryError, ModelError, RuntimeError) as error:
            return fault(error, "drawing its maps").message
        for kind in self._kinds:
            stored = to_stored(kind, getattr(maps, kind), session.spec.num_classes)
            write_map(self._path, kind, image.item.id, stored, stamp=self._stamp(image))
        return None

    def _is_stored(self, image: StoredImage) -> bool:
        stamps = {map_stamp(self._path, kind, image.item.id) for kind in self._kinds}
        return stamps == {self._stamp(image)}

    def _stamp(self, image: StoredImage) -> str:
        return f"{self._fingerprint} {image.item.source_version}"
