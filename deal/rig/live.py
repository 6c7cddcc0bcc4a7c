"""``deal stream``: frames in, files of the best of them out, while they come.

Frames are scored in batches, pushed into a `Recorder` in their order, and written as it decides.
The command can be killed at any moment: run again over the same frames, it goes on, and ends with
the same files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deal.acquisitions import Bound
from deal.errors import ItemError, UsageError
from deal.pool.decode import decode_bytes
from deal.rig.documents import write_decisions, write_selection, write_sent
from deal.rig.names import file_parts
from deal.rig.reasons import Reasons
from deal.rig.recorder import Recorder
from deal.types import FailedItem, PoolItem

if TYPE_CHECKING:
    from deal.scoring.scorer import Scorer

__all__ = ["StreamReport", "record_pool"]

_BATCH = 8


@dataclass
class StreamReport:
    """What became of the frames.

    Attributes
    ----------
    kept : int
    frames : int
        Frames that came, those of earlier runs and those that failed among them.
    failed : dict of str to str
        Id → why a frame could not be scored.
    sent : int
        Frames that went over a link.
    """

    kept: int = 0
    frames: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    sent: int = 0


def record_pool(
    items: Iterable[PoolItem | FailedItem | None],
    scorer: Scorer,
    bound: Bound,
    recorder: Recorder,
    *,
    needs_times: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    between: Callable[[], object] | None = None,
    at_end: Callable[[], object] | None = None,
) -> StreamReport:
    """Score and record frames, and write ``selection.csv`` and ``decisions.csv``.

    Parameters
    ----------
    items : iterable of PoolItem, FailedItem or None
        In the order in which they came; after a stop the same ones again, from the first on. None
        says that the next one takes a while: what waits for a batch is scored then.
    scorer : Scorer
    bound : Bound
        The acquisition function; one that needs no totals of a pool.
    recorder : Recorder
        Opened with ``remember=True``; with ``again=True`` if a later run sees the same items.
    needs_times : str, optional
        The rule that needs a timestamp of every frame.
    metadata : mapping, optional
        Settings for ``selection.json``.
    between : callable, optional
        Called after every batch, and while nothing comes.
    at_end : callable, optional
        Called once all frames are decided.

    Raises
    ------
    UsageError
        The function needs totals or has no scores, or a frame lacks the time that a rule needs.
    OutputError
        The folder cannot be written.
    """
    if bound.greedy or bound.needs_totals:
        raise UsageError(
            f"acquisition {bound.name!r} needs the whole pool, which a stream does not know: "
            "choose one that scores images one by one"
        )
    run = _Run(scorer, bound, recorder)
    order: list[str] = []
    for found in items:
        if found is None:
            run.score()
        else:
            item = found.item if isinstance(found, FailedItem) else found
            order.append(item.id)
            if isinstance(found, FailedItem):
                run.failed[item.id] = found.error_code
                continue
            if needs_times is not None and item.timestamp_ns is None:
                raise UsageError(
                    f"{needs_times} needs the time of every frame, and {item.id} has none: give a "
                    "manifest with a column timestamp_ns, or leave the rule out"
                )
            if not run.take(item):
                continue
        if between is not None:
            between()
    run.score()
    recorder.end()
    if at_end is not None:
        at_end()
    kept = [decision for decision in recorder.kept() if decision.why != "context"]
    report = StreamReport(len(recorder.kept()), len(order), run.failed, len(recorder.sent_ids()))
    head = {**(metadata or {}), "rows": len(order), "scored": len(order) - len(run.failed)}
    write_selection(recorder, bound, head, kept, run.reasons_of([d.id for d in kept]))
    write_decisions(recorder, order, run.failed)
    write_sent(recorder)
    return report


class _Run:
    """Frames that wait for a batch, and what became of those that failed."""

    def __init__(self, scorer: Scorer, bound: Bound, recorder: Recorder) -> None:
        self.failed: dict[str, str] = {}
        self._scorer, self._bound, self._recorder = scorer, bound, recorder
        self._reasons = Reasons(bound, scorer.spec.num_classes)
        self._batch: list[tuple[PoolItem, bytes]] = []

    def take(self, item: PoolItem) -> bool:
        """Read a frame unless it is done; True if that filled a batch, which is scored then."""
        if self._recorder.is_done(item.id):
            return False
        try:
            file_parts(item.id)
            self._batch.append((item, content_of(item)))
        except ItemError as error:
            self.failed[item.id] = error.code
        except UsageError:  # no file can have such a name
            self.failed[item.id] = "name"
        if len(self._batch) < _BATCH:
            return False
        self.score()
        return True

    def score(self) -> None:
        """Score and push what waits."""
        batch, self._batch = self._batch, []
        decoded = []
        for item, data in batch:
            try:
                decoded.append((item, data, decode_bytes(data).image))
            except ItemError as error:
                self.failed[item.id] = error.code
        if not decoded:
            return
        columns = self._columns(
            [item.id for item, _, _ in decoded],
            [image for _, _, image in decoded],
            [item.camera for item, _, _ in decoded],
        )
        ok = columns["status"] == "ok"
        scores = self._bound.scores(columns) if ok.any() else np.full(len(decoded), np.nan)
        for index, (item, data, image) in enumerate(decoded):
            if not ok[index]:
                self.failed[item.id] = str(columns["error_code"][index])
                continue
            self._recorder.push(
                item.id,
                data,
                score=float(scores[index]),
                timestamp_ns=item.timestamp_ns or 0,
                sequence=item.sequence,
                camera=item.camera,
                image=image,
            )

    def reasons_of(self, ids: list[str]) -> list[str | None]:
        """Why kept frames were taken; those of an earlier run are scored once more."""
        lacking = self._reasons.lacking(ids)
        for start in range(0, len(lacking), _BATCH):
            found = {}
            for name in lacking[start : start + _BATCH]:
                with suppress(OSError, ItemError):  # lost in a stop
                    data = self._recorder.path_of(name).read_bytes()
                    found[name] = decode_bytes(data).image
            if found:
                cameras = [self._recorder.place_of(name)[1] for name in found]
                self._columns(list(found), list(found.values()), cameras)
        return self._reasons.texts(ids)

    def _columns(
        self, ids: list[str], images: list[NDArray[np.uint8]], cameras: list[str | None]
    ) -> dict[str, Any]:
        columns = dict(self._scorer.score(images, cameras=cameras))
        columns["status"] = np.asarray(columns["status"])
        self._reasons.note(ids, columns, self._recorder.is_known)
        columns["id"] = np.array(ids, object)
        return columns


def content_of(item: PoolItem) -> bytes:
    """The content of the file; of a frame that lies decoded in a video a PNG. ItemError."""
    found = item.locator.read()
    if isinstance(found, bytes):
        return found
    from PIL import Image

    file = BytesIO()
    Image.fromarray(found.image).save(file, "png")
    return file.getvalue()
