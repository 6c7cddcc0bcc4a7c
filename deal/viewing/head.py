"""What the head of the page says: a title, tiles, facts, the command, notes."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deal.acquisitions.labels import label
from deal.acquisitions.lookup import find
from deal.errors import UsageError
from deal.model.palette import class_colours
from deal.results.schema import STATUSES
from deal.run.overlays import magma
from deal.selection.heading import heading

if TYPE_CHECKING:
    from deal.viewing.drives import Drives, Facet
    from deal.viewing.rows import Pool

__all__ = ["failures", "head_of"]

_PROGRAMS = {"deal": "deal", "deal-score": "deal-score", "__main__.py": "deal"}
_MOST_FAILURES = 2000
_FUNCTION_OPTIONS = ("levels", "edges", "tail", "focus")
_RULES = {
    "spread": "--spread",
    "near_duplicates": "--near-duplicates",
    "min_gap": "--min-gap",
    "diverse": "--diverse",
    "stratify": "--stratify",
    "stochastic": "--stochastic",
    "max_per_image": "--max-per-image",
}


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
    selected = int((pool.picks > 0).sum())
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
        "command": _command(pool, run),
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


def _command(pool: Pool, run: Mapping[str, Any] | None) -> str:
    """The command that selects as it is: that of the run, or a ``deal select``."""
    ran = {} if run is None else run.get("selection") or {}
    if run is not None and ran and all(pool.metadata.get(k) == v for k, v in ran.items()):
        program, *words = run.get("command") or [""]
        first = _PROGRAMS.get(Path(program).name)
        if first is not None and words:
            return shlex.join([first, *words])
    name = pool.metadata.get("acquisition") or pool.acquisition
    words = ["deal", "select", str(pool.output), "--acquisition", name, *_own(pool.metadata)]
    if pool.metadata.get("budget") is not None:
        words += ["--budget", str(pool.metadata["budget"])]
    for name, option in _RULES.items():
        if pool.metadata.get(name) not in (None, [], "", "auto"):
            words += [option, str(pool.metadata[name])]
    for quota in pool.metadata.get("quota") or []:
        words += ["--quota", quota]
    if pool.metadata.get("seed"):
        words += ["--seed", str(pool.metadata["seed"])]
    return shlex.join(words)


def _own(metadata: Mapping[str, Any]) -> Iterator[str]:
    """Options of the function that are not its defaults, as the command line takes them."""
    try:
        entry = find(metadata["acquisition"])
    except (KeyError, UsageError):
        return
    for name, default in entry.options.items():
        value = metadata.get(name, default)
        if name in _FUNCTION_OPTIONS and value != default:
            listed = ",".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
            yield from (f"--{name.replace('_', '-')}", listed)


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
    rules = [
        f"{o} {metadata[n]}" for n, o in _RULES.items() if metadata.get(n) not in (None, [], "auto")
    ]
    rules += [f"--quota {quota}" for quota in metadata.get("quota") or []]
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
