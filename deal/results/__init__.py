"""What is stored: schema, parts, lock, reading; and the doors for engines that score in parallel.

``deal.results.write(table, output)`` adds rows, ``deal.results.open(output).missing(pool)`` tells
what has no row yet, ``deal.results.compact(output)`` makes few parts of many. Any number of
processes may write at once, and may write an item twice: see :mod:`deal.results.repeats`.

Names are imported on first use, so that ``import deal`` stays light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deal.results.batches import StoredResults, open, write  # noqa: A004
    from deal.results.compaction import compact
else:  # type checkers assume that a module with __getattr__ has every name
    from deal._lazy import on_first_use

    __getattr__ = on_first_use(
        __name__,
        {
            "StoredResults": "deal.results.batches",
            "compact": "deal.results.compaction",
            "open": "deal.results.batches",
            "write": "deal.results.batches",
        },
    )

__all__ = ["StoredResults", "compact", "open", "write"]


def __dir__() -> list[str]:
    return sorted(__all__)
