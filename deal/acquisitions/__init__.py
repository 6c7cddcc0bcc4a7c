"""Acquisition functions turn stored statistics into one score per row; higher is labeled sooner.

Every function is pure and small, and is registered once under its name. Users register their own
functions in the same way, from a notebook, a module or a file (``--plugin``, :func:`load_plugin`),
or an installed package (entry points of the group ``deal.acquisition``)::

    import deal

    @deal.acquisition("boundary", requires=["boundary_pixels", "n_pixels"])
    def boundary(columns):
        return columns["boundary_pixels"] / columns["n_pixels"]

    deal.acquisition_scores(table, "boundary")

Names are imported on first use: listing the functions, as ``--help`` does, imports no NumPy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deal.acquisitions.registry import (
    Acquisition,
    acquisition,
    acquisition_names,
)

if TYPE_CHECKING:
    from deal.acquisitions.binding import (
        Bound,
        acquisition_options,
        acquisition_scores,
        bind,
        required_columns,
    )
    from deal.acquisitions.columns import Columns, Scores
    from deal.acquisitions.lookup import canonical_name
    from deal.acquisitions.plugins import load_plugin
else:  # type checkers assume that a module with __getattr__ has every name
    from deal._lazy import on_first_use

    __getattr__ = on_first_use(
        __name__,
        {
            **dict.fromkeys(
                ("Bound", "acquisition_options", "acquisition_scores", "bind", "required_columns"),
                "deal.acquisitions.binding",
            ),
            **dict.fromkeys(("Columns", "Scores"), "deal.acquisitions.columns"),
            "canonical_name": "deal.acquisitions.lookup",
            "load_plugin": "deal.acquisitions.plugins",
        },
    )

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


def __dir__() -> list[str]:
    return sorted(__all__)
