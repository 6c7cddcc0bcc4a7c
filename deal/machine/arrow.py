"""Arrow at the start of a process: without pandas, and its larger modules on first use."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING, Any

__all__ = ["compute", "parquet", "without_pandas"]


class _OnFirstUse:
    """A module that is imported when the first of its names is asked for."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        value = getattr(import_module(self._module), name)
        setattr(self, name, value)
        return value


if TYPE_CHECKING:
    from pyarrow import compute, parquet
else:  # a run scores its first image before it has a row to compare or to write
    compute = _OnFirstUse("pyarrow.compute")
    parquet = _OnFirstUse("pyarrow.parquet")


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
