"""Arrow for a process that has no use for pandas."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec

__all__ = ["without_pandas"]


def without_pandas() -> None:
    """Import Arrow and have it believe that pandas is not installed, unless it is imported already.

    The first array that Arrow makes imports pandas, which takes a quarter of a second. Told once
    that there is none, Arrow imports it only when it is asked for a DataFrame, but no longer takes
    a Series for an array. So this is for a command in a process of its own.
    """
    if "pandas" in sys.modules:
        return
    import pyarrow as pa

    sys.meta_path.insert(0, _NoPandas)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(_NoPandas)


class _NoPandas:
    """A finder that says that pandas is not installed."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name == "pandas":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return None
