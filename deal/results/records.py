"""``runs/<shard>.json``: what a run says of itself, and those of the runs before it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deal.pool.ids import Shard
from deal.results.parts import write_json_atomic

__all__ = ["record_paths", "write_record"]


def record_paths(root: Path, shard: Shard) -> list[Path]:
    """The record of a shard's latest run, there or not, and those of earlier ones."""
    path = root / "runs" / f"{shard.index}-of-{shard.count}.json"
    numbered = re.compile(re.escape(path.stem) + r"-\d+\.json")
    earlier = [old for old in path.parent.glob("*.json") if numbered.fullmatch(old.name)]
    return [path, *earlier]


def write_record(root: Path, shard: Shard, fingerprint: str, record: Mapping[str, Any]) -> Path:
    """Write the record of a shard's run; that of the run before it gets the next number.

    Raises OSError.
    """
    path, *earlier = record_paths(root, shard)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        last = max((int(old.stem.rpartition("-")[2]) for old in earlier), default=0)
        path.rename(path.with_name(f"{path.stem}-{last + 1:04}.json"))
    write_json_atomic(path, {**record, "shard": str(shard), "fingerprint": fingerprint})
    return path
