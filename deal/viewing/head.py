"""What the head of the page says: a title, tiles, facts, the command, notes."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deal.acquisitions.labels import label
from deal.model.palette import class_colours
from deal.results.schema import STATUSES
from deal.run.overlays import magma
from deal.selection.heading import heading
from deal.viewing.commands import filling, rules_told, selecting

if TYPE_CHECKING:
    from deal.viewing.drives import Drives, Facet
    from deal.viewing.rows import Pool

__all__ = ["failures", "head_of"]

_MOST_FAILURES = 2000


def head_of(
    pool: Pool,
    run: Mapping[str, Any] | None,
    facets: list[Facet],
    drives: Drives,
    *,
    near_duplicates: int | None,
    levels: float,
    palette: Any = None,
) -> dict[str, Any]:
    """Return what does not depend on pictures, as JSON values.

    Parameters
    ----------
    run : mapping or None
        The record of the latest run (``runs/*.json``).
    near_duplicates : int or None
        Count among the picks; None where it is not known.
    levels : float
        Grey levels within which two images are near-duplicates.
    """
    selected = pool.selected
    name = label(pool.metadata.get("acquisition") or pool.acquisition)
    regions = pool.metadata.get("table") == "regions"
    what = f"images with selected regions, by {name}" if regions else f"images selected by {name}"
    title = f"{selected:,} of {pool.scored:,} {what}"
    if not selected:
        title = f"{pool.scored:,} images ranked by {label(pool.acquisition)}"
    told = heading(pool.metadata) if pool.metadata.get("scored") is not None else ""
    start = f"selected by {name}"
    story = told.partition(start)[2].lstrip(",; ")
    sequence = next(facet for facet in facets if facet.name == "sequence")
    known = set(sequence.codes[sequence.codes > 0].tolist())
    mine = set(sequence.codes[(sequence.codes > 0) & (pool.picks > 0)].tolist())
    failed = pool.counts["error"]
    tiles: list[list[Any]] = [
        [selected, "selected", ""],
        _variety(pool, len(mine), len(known)),
        [
            "–" if near_duplicates is None else near_duplicates,
            "near-duplicates among picks",
            f"picks whose thumbnail is within {levels:g} grey levels of a higher pick's",
        ],
        [failed, "failed", ""],
    ]
    models = [] if run is None else [Path(path).name for path in run["settings"].get("model", [])]
    subtitle = " · ".join(
        [pool.output.resolve().name, *models[:1], *([] if run is None else [_date(run["started"])])]
    )
    key = sha256(f"{pool.fingerprint} {pool.metadata.get('scores_digest')} {selected}".encode())
    means = pool.shares[np.asarray(pool.places) > 0]
    return {
        "format": 1,
        "title": title,
        "story": story,
        "subtitle": subtitle,
        "label": label(pool.acquisition),
        "why": {
            "opening": pool.reason.opening,
            "of": "" if pool.reason.against_pool else _carried(pool.reason.opening),
        },
        "key": key.hexdigest()[:24],
        "folder": shlex.quote(str(pool.output)),
        "command": selecting(pool, run),
        "filling": filling(pool),
        "tiles": tiles,
        "facts": _facts(pool, run, models),
        "notes": list(pool.notes),
        "rows": len(pool),
        "total": pool.total,
        "scored": pool.scored,
        "statuses": list(STATUSES),
        "classes": list(pool.classes),
        "palette": class_colours(len(pool.classes), palette).tolist(),
        "class_shares": [round(float(v), 6) for v in means.mean(axis=0)] if len(means) else [],
        "ramp": [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in magma(np.linspace(0, 1, 17)).tolist()],
        "facets": [{"name": facet.name, "values": list(facet.values)} for facet in facets],
        "unit": drives.unit,
        "axes": {
            "kind": pool.axes.kind,
            "explained": [round(share, 4) for share in pool.axes.explained],
        },
        "tops": {"difficulty": 1.0, "entropy": math.log(max(len(pool.classes), 2))},
        "compare": None,
    }


def _variety(pool: Pool, mine: int, known: int) -> list[Any]:
    """The tile that says how varied the picks are: by sequence, or else by kind of image."""
    kinds = (pool.metadata.get("spreading") or {}).get("kinds")
    if known or not kinds:
        return [f"{mine} of {known}" if known else "–", "sequences", ""]
    return [kinds, "kinds of images", "groups that the picks were spread over, by their features"]


def _carried(opening: str) -> str:
    """What the shares of classes are shares of: ``most difficulty in `` → difficulty."""
    return opening.removeprefix("most ").removesuffix(" in ") or "score"


def failures(pool: Pool) -> list[list[Any]]:
    """``[row, code, reason]`` of failed images, by code and id; the first 2,000."""
    status = pool.table.column("status").to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(status == "error")[:_MOST_FAILURES]
    taken = pool.table.select(["id", "error_code", "error"]).take(rows).to_pydict()
    found = zip(taken["error_code"], taken["id"], rows.tolist(), taken["error"], strict=True)
    return [[row, code or "", reason or ""] for code, _, row, reason in sorted(found, key=_text)]


def _text(values: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(str(value) for value in values)


def _date(started: str) -> str:
    return started[:16].replace("T", " ") + " UTC"


def _facts(pool: Pool, run: Mapping[str, Any] | None, models: list[str]) -> list[list[str]]:
    metadata = pool.metadata
    facts = [
        ["Output", str(pool.output)],
        ["Images", f"{pool.total:,}"],
        ["By status", ", ".join(f"{n:,} {s}" for s, n in pool.counts.items() if n)],
        ["Score", f"{label(pool.acquisition)}, --acquisition {pool.acquisition}"],
    ]
    if metadata:
        facts.append(["Budget", str(metadata.get("budget") or "everything is ranked")])
    rules = rules_told(metadata) if metadata else []
    if rules:
        facts.append(["Rules", ", ".join(rules)])
    if models:
        facts.append(["Model", ", ".join(models)])
    facts.append(["Classes", ", ".join(pool.classes) or "not stored"])
    if run is not None:
        facts.append(["Scored", f"{_date(run['started'])}, {run.get('device', '')}"])
        facts.append(["Version", f"deal {run.get('versions', {}).get('deal-score', '')}"])
    if pool.fingerprint:
        facts.append(["Fingerprint", pool.fingerprint])
    return facts
