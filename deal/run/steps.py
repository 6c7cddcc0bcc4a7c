"""The two steps of every image: from an item to an image for the network, and on to an outcome.

Every way of scoring takes them, `deal.run.workers.Line` in the threads of a run and
`deal.BatchScorer` for a table of items. So all ways store the same bits, and the same reasons for
images that fail.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from deal.errors import DealError, ItemError, ModelError
from deal.machine.room import Room
from deal.pool.decode import decode
from deal.pool.fetch import without_content
from deal.pool.signature import Thumbnail, thumbnail
from deal.regions.sources import GivenSegments, RegionSource
from deal.run.rows import Outcome, Shape
from deal.scoring.faults import fault, network_fault
from deal.scoring.inputs import ImageExtras
from deal.scoring.kept import KeptOutputs
from deal.scoring.session import Session
from deal.types import PoolItem

__all__ = ["Batch", "Ready", "Steps", "batched", "with_segments"]

# Batches that may wait for more images of their size before the fullest goes incomplete.
_OPEN_BATCHES = 4
# Bytes that all threads together decode at once: one of the largest images, or many usual ones.
_IN_FLIGHT = 2**31


@dataclass(frozen=True, slots=True)
class Ready:
    """An image prepared for the network, with its extras; all images of a batch share ``size``."""

    item: PoolItem
    shape: Shape
    image: NDArray[np.uint8]
    extras: ImageExtras
    size: tuple[tuple[int, int], tuple[int, int]]
    thumbnail: Thumbnail


Batch = list[Ready]


class Steps:
    """The two steps, for any number of threads.

    Parameters
    ----------
    session : Session
        Prepares the images; its meter gets the busy seconds of ``decode``.
    max_pixels : int
        Images with more pixels are not decoded.
    kept : KeptOutputs, optional
        Gets what the network gives.
    """

    def __init__(
        self, session: Session, *, max_pixels: int, kept: KeptOutputs | None = None
    ) -> None:
        self._session = session
        self._kept = kept
        self._max_pixels = max_pixels
        self._room = Room(_IN_FLIGHT)
        self._alone = threading.Lock()
        self._sizes_run: set[object] = set()

    def decoded(self, item: PoolItem) -> Ready | Outcome:
        """Read, decode and prepare an image; an error becomes its outcome."""
        with self._session.meter("decode"):
            ready = self._attempt(item)
            if isinstance(ready, Outcome) and ready.failures[0].code == "memory":
                with self._room.take(self._room.size):  # other threads may have held the memory
                    ready = self._attempt(item, alone=True)
            return ready

    def scored(self, session: Session, batch: Batch) -> Iterator[Outcome]:
        """Score a batch; if it fails, score image by image, so that one cannot fail the others.

        ``session`` is of the calling thread.
        """
        try:
            yield self._together(session, batch)
            return
        except Exception as error:
            if isinstance(error, DealError) and not isinstance(error, ModelError):
                raise
            failure = self._failure(error, batch[0])
        if len(batch) > 1:
            for ready in batch:
                yield from self.scored(session, [ready])
            return
        outcome = None
        if failure.code == "memory":
            with self._alone:  # another session may have used up the memory
                try:
                    outcome = self._together(session, batch)
                except (MemoryError, ModelError, RuntimeError) as error:
                    failure = self._failure(error, batch[0])
        yield outcome or Outcome.failure(batch[0].item, failure, batch[0].shape)

    def _attempt(self, item: PoolItem, *, alone: bool = False) -> Ready | Outcome:
        shape = None
        try:
            session = self._session
            decoded = decode(
                item,
                max_pixels=self._max_pixels,
                at_least=session.at_least,
                room=None if alone else self._room,
            )
            item = without_content(item)
            small = thumbnail(decoded.image)
            shape = Shape.of(decoded, small.tobytes())
            image, extras = session.prepared(
                decoded.image, original=decoded.size, item_id=item.id, camera=item.camera
            )
            return Ready(item, shape, image, extras, session.sizes(decoded.size), small)
        except DealError:
            raise
        except Exception as error:
            item = without_content(item)
            return Outcome.failure(item, fault(error, "decoding and preparing it"), shape)

    def _together(self, session: Session, batch: Batch) -> Outcome:
        images, extras = [ready.image for ready in batch], [ready.extras for ready in batch]
        if self._kept is None:
            scores = session.score_batch(images, extras)
        else:
            keep = functools.partial(self._kept.put, [ready.item for ready in batch])
            scores = session.score_batch(images, extras, keep=keep)
        self._sizes_run.update(ready.size for ready in batch)
        return Outcome([(ready.item, ready.shape) for ready in batch], scores, scores.failures)

    def _failure(self, error: Exception, ready: Ready) -> ItemError:
        return network_fault(error, ready.size[0], fits=ready.size in self._sizes_run)


def batched(decoded: Iterable[Ready | Outcome], batch_size: int) -> Iterator[Batch | Outcome]:
    """Gather images of one size into batches; yield what needs no network as it comes."""
    groups: dict[object, Batch] = {}
    for ready in decoded:
        if isinstance(ready, Outcome):
            yield ready
            continue
        group = groups.setdefault(ready.size, [])
        group.append(ready)
        if len(group) == batch_size:
            yield groups.pop(ready.size)
        elif sum(map(len, groups.values())) == _OPEN_BATCHES * batch_size:
            yield groups.pop(max(groups, key=lambda key: len(groups[key])))
    yield from groups.values()


def with_segments(item: PoolItem, regions: RegionSource | None) -> PoolItem:
    """Make an item's version also depend on its file of segments, if there is one."""
    version = regions.version(item.id) if isinstance(regions, GivenSegments) else None
    if version is None:
        return item
    return replace(item, source_version=f"{item.source_version}+{version}")
