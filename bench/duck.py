"""DuckDB as a peer: it finds the best rows of an output folder by SQL, in a process of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from deal.machine.cores import available_cores

__all__ = ["peer"]

_RUN = """
import sys
import duckdb
threads, query = sys.argv[1:]
connection = duckdb.connect()
connection.execute(f"set threads = {threads}")
connection.execute(query)
"""


def peer(results: Path, score: str, columns: Sequence[str], count: int, output: Path) -> list[str]:
    """The command that writes the ``count`` best rows by a column as CSV, ties by id.

    The CSV file has ``id``, the score and other ``columns``.
    """
    files = str(results / "images" / "*.parquet").replace("'", "''")
    chosen = ", ".join(["id", score, *columns])
    best = (
        f"select {chosen} from read_parquet('{files}') where status = 'ok' "
        f"order by {score} desc, id limit {count}"
    )
    target = str(output).replace("'", "''")
    query = f"copy ({best}) to '{target}' (format csv)"
    return [sys.executable, "-c", _RUN, str(available_cores()), query]
