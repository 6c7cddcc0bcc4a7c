"""Pools of files that hold nothing, and their items."""

from __future__ import annotations

from pathlib import Path

from deal.pool.listing import Pool
from deal.types import PoolItem


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")


def ids(*sources: str | Path, **options: object) -> list[str]:
    return [entry.id for entry in items(*sources, **options)]


def items(*sources: str | Path, **options: object) -> list[PoolItem]:
    entries = list(Pool(sources, **options))
    assert all(isinstance(entry, PoolItem) for entry in entries)
    return entries
