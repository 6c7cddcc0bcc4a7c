"""What a trip leaves beside its frames: ``selection.csv``, ``decisions.csv``, ``sent.csv``."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from deal.acquisitions import Bound
from deal.machine.files import write_text
from deal.pool.ids import path_to_id
from deal.rig.recorder import Recorder
from deal.selection.document import Selection, quote
from deal.selection.stream import Decision, number_of

__all__ = ["write_decisions", "write_selection", "write_sent"]


def write_selection(
    recorder: Recorder,
    bound: Bound,
    metadata: Mapping[str, Any],
    kept: Sequence[Decision],
    why: Sequence[str | None],
) -> None:
    """Write ``selection.csv`` and ``selection.json`` as `deal.select` does; raises OutputError."""
    import pyarrow as pa

    table = pa.table(
        {
            "id": pa.array([d.id for d in kept], pa.large_string()),
            "score": pa.array([d.score for d in kept], pa.float64()),
            "uri": pa.array([_uri(recorder, d.id) for d in kept], pa.string()),
            "region": pa.nulls(len(kept), pa.int32()),
            "polygon": pa.nulls(len(kept), pa.string()),
            "cost": pa.array([1.0] * len(kept), pa.float64()),
            "why": pa.array(why, pa.string()),
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


def _uri(recorder: Recorder, frame_id: str) -> str:
    return path_to_id(os.fspath(recorder.path_of(frame_id).absolute()))


def write_decisions(recorder: Recorder, order: Sequence[str], failed: Mapping[str, str]) -> None:
    """Write ``decisions.csv``: the last decision about every frame; raises OutputError."""
    lines = ["arrival,id,score,action,why\n"]
    for arrival, name in enumerate(order):
        decision = recorder.decided.get(number_of(name))
        if decision is None:
            cells = ("", "drop", failed.get(name, "repeated"))
        else:
            cells = (repr(decision.score), decision.action, decision.why)
        lines.append(f"{arrival},{quote(name)},{','.join(cells)}\n")
    write_text(recorder.folder / "decisions.csv", "".join(lines))


def write_sent(recorder: Recorder) -> None:
    """Write ``sent.csv`` if a link has sent frames: their ids; raises OutputError."""
    sent = recorder.sent_ids()
    if sent:
        lines = ["id\n", *(f"{quote(name)}\n" for name in sent)]
        write_text(recorder.folder / "sent.csv", "".join(lines))
