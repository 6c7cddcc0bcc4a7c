"""Where deal keeps what it made and can make again."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cache_folder"]


def cache_folder(kind: str) -> Path:
    """``$DEAL_CACHE/KIND``, else ``$XDG_CACHE_HOME/deal/KIND``, else ``~/.cache/deal/KIND``."""
    if own := os.environ.get("DEAL_CACHE"):
        return Path(own) / kind
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "deal" / kind
