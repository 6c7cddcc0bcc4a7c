"""Acquisition functions: stored statistics in, one score a row out; higher is labeled sooner.

Every function is pure and small, and registered once under its name. A user's own joins the same
way, from a notebook, a module or a file (``--plugin``, :func:`load_plugin`), or an installed
package (entry points of the group ``deal.acquisition``)::

    import deal

    @deal.acquisition("boundary", requires=["boundary_pixels", "n_pixels"])
    def boundary(columns):
        return columns["boundary_pixels"] / columns["n_pixels"]

    deal.acquisition_scores(table, "boundary")

Names are imported on first use: listing the functions, as ``--help`` does, imports no NumPy.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from deal.acquisition.registry import (
    Acquisition,
    acquisition,
    acquisition_names,
    canonical_name,
)

if TYPE_CHECKING:
    from deal.acquisition.binding import (
        Bound,
        acquisition_options,
        acquisition_scores,
        bind,
        required_columns,
    )
    from deal.acquisition.columns import Columns, Scores
    from deal.acquisition.plugins import load_plugin

__all__ = [
    "Acquisition",
    "Bound",
    "Columns",
    "Scores",
    "acquisition",
    "acquisition_names",
    "acquisition_options",
    "acquisition_scores",
    "bind",
    "canonical_name",
    "load_plugin",
    "required_columns",
]

_HOMES = {
    **dict.fromkeys(
        ("Bound", "acquisition_options", "acquisition_scores", "bind", "required_columns"),
        "deal.acquisition.binding",
    ),
    **dict.fromkeys(("Columns", "Scores"), "deal.acquisition.columns"),
    "load_plugin": "deal.acquisition.plugins",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'deal.acquisition' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


class _Decorator(ModuleType):
    """Makes the module callable: ``@deal.acquisition(…)`` registers a function."""

    __call__ = staticmethod(acquisition)


sys.modules[__name__].__class__ = _Decorator
