"""``deal stream``: frames in, files of the best of them out, while they come.

Frames are scored in batches, pushed into a `Recorder` in their order, and written as it decides.
The command can be killed at any moment: run again over the same frames, it goes on, and ends with
the same files.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from deal.acquisitions import Bound
from deal.errors import ItemError, PoolError, UsageError
from deal.machine.files import write_text
from deal.pool.decode import decode_bytes
from deal.pool.locator import locate
from deal.rig.recorder import Recorder
from deal.selection.document import Selection, quote
from deal.selection.stream import number_of
from deal.types import FailedItem, PoolItem

if TYPE_CHECKING:
    from deal.scoring.scorer import Scorer

__all__ = ["StreamReport", "read_lines", "record_pool"]

_BATCH = 8
_KEYS = {"uri": str, "id": str, "sequence": str, "camera": str, "timestamp_ns": int}


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
    """

    kept: int = 0
    frames: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def read_lines(file: IO[str]) -> Iterator[PoolItem | FailedItem]:
    """Read frames from JSON, one object per line; raises PoolError at a line that is none.

    ``uri`` is a path; ``id`` (by default the uri), ``timestamp_ns``, ``sequence`` and ``camera``
    may be there.
    """
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
        except ValueError as error:
            raise PoolError(
                f"line {number} is not JSON ({error}): write one object per line"
            ) from None
        wrong = (
            [
                name
                for name, kind in _KEYS.items()
                if given.get(name) is not None and type(given[name]) is not kind
            ]
            if isinstance(given, dict)
            else ["the line"]
        )
        if wrong or not given.get("uri"):
            raise PoolError(
                f"line {number}: {wrong[0] if wrong else 'uri'} is missing or of another type: "
                'write {"uri": "a.jpg", "timestamp_ns": 1700000000000000000}'
            )
        uri = given["uri"]
        item = PoolItem(
            id=given.get("id") or uri,
            uri=uri,
            locator=locate(uri),
            source_version="",
            sequence=given.get("sequence"),
            camera=given.get("camera"),
            timestamp_ns=given.get("timestamp_ns"),
        )
        yield item


def record_pool(
    items: Iterable[PoolItem | FailedItem],
    scorer: Scorer,
    bound: Bound,
    recorder: Recorder,
    *,
    needs_times: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> StreamReport:
    """Score and record frames, and write ``selection.csv`` and ``decisions.csv``.

    Parameters
    ----------
    items : iterable of PoolItem or FailedItem
        In the order in which they came; after a stop the same ones again, from the first on.
    scorer : Scorer
    bound : Bound
        The acquisition function; one that needs no totals of a pool.
    recorder : Recorder
        Opened with ``remember=True``; with ``again=True`` if a later run sees the same items.
    needs_times : str, optional
        The rule that needs a timestamp of every frame.
    metadata : mapping, optional
        Settings for ``selection.json``.

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
    report = StreamReport()
    order: list[str] = []
    batch: list[tuple[PoolItem, bytes]] = []
    for found in items:
        item = found.item if isinstance(found, FailedItem) else found
        order.append(item.id)
        if isinstance(found, FailedItem):
            report.failed[item.id] = found.error_code
            continue
        if needs_times is not None and item.timestamp_ns is None:
            raise UsageError(
                f"{needs_times} needs the time of every frame, and {item.id} has none: give a "
                "manifest with a column timestamp_ns, or leave the rule out"
            )
        if recorder.is_done(item.id):
            continue
        try:
            batch.append((item, _content(item)))
        except ItemError as error:
            report.failed[item.id] = error.code
        if len(batch) == _BATCH:
            _score(batch, scorer, bound, recorder, report)
            batch = []
    _score(batch, scorer, bound, recorder, report)
    recorder.end()
    report.frames = len(order)
    report.kept = len(recorder.kept())
    scored = len(order) - len(report.failed)
    _write_selection(recorder, bound, {**(metadata or {}), "rows": len(order), "scored": scored})
    _write_decisions(recorder, order, report)
    return report


def _content(item: PoolItem) -> bytes:
    """The content of the file; of a frame that lies decoded in a video a PNG. ItemError."""
    found = item.locator.read()
    if isinstance(found, bytes):
        return found
    from PIL import Image

    file = BytesIO()
    Image.fromarray(found.image).save(file, "png")
    return file.getvalue()


def _score(
    batch: list[tuple[PoolItem, bytes]],
    scorer: Scorer,
    bound: Bound,
    recorder: Recorder,
    report: StreamReport,
) -> None:
    decoded = []
    for item, data in batch:
        try:
            decoded.append((item, data, decode_bytes(data).image))
        except ItemError as error:
            report.failed[item.id] = error.code
    if not decoded:
        return
    columns = scorer.score(
        [image for _, _, image in decoded], cameras=[item.camera for item, _, _ in decoded]
    )
    ok = np.asarray(columns["status"]) == "ok"
    table = {**columns, "id": np.array([item.id for item, _, _ in decoded], object)}
    scores = bound.scores(table) if ok.any() else np.full(len(decoded), np.nan)
    for index, (item, data, image) in enumerate(decoded):
        if not ok[index]:
            report.failed[item.id] = str(columns["error_code"][index])
            continue
        recorder.push(
            item.id,
            data,
            score=float(scores[index]),
            timestamp_ns=item.timestamp_ns or 0,
            sequence=item.sequence,
            camera=item.camera,
            image=image,
        )


def _write_selection(recorder: Recorder, bound: Bound, metadata: Mapping[str, Any]) -> None:
    import pyarrow as pa

    kept = [decision for decision in recorder.kept() if decision.why != "context"]
    nothing = pa.nulls(len(kept), pa.string())
    table = pa.table(
        {
            "id": pa.array([d.id for d in kept], pa.large_string()),
            "score": pa.array([d.score for d in kept], pa.float64()),
            "uri": pa.array([os.fspath(recorder.path_of(d.id)) for d in kept], pa.string()),
            "region": pa.nulls(len(kept), pa.int32()),
            "polygon": nothing,
            "cost": pa.array([1.0] * len(kept), pa.float64()),
            "why": nothing,
        }
    )
    head = {
        "format": 1,
        "acquisition": bound.name,
        **bound.options,
        "stochastic": None,
        "table": "images",
        "cost": "count",
        "ties": "score descending, then arrival",
        **metadata,
        "selected": len(kept),
    }
    Selection(table, head).write(recorder.folder)


def _write_decisions(recorder: Recorder, order: list[str], report: StreamReport) -> None:
    lines = ["arrival,id,score,action,why\n"]
    for arrival, name in enumerate(order):
        decision = recorder.decided.get(number_of(name))
        if decision is None:
            cells = ("", "drop", report.failed.get(name, "repeated"))
        else:
            cells = (repr(decision.score), decision.action, decision.why)
        lines.append(f"{arrival},{quote(name)},{','.join(cells)}\n")
    write_text(recorder.folder / "decisions.csv", "".join(lines))
