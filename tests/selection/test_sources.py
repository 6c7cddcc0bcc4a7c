"""How rows of many parts are read: in any grouping, the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from deal.errors import ResultsError
from deal.results.output import Output
from deal.results.reading import read_results
from deal.selection import sources as module
from deal.selection.sources import Sources


def write(path: Path, parts: int) -> None:
    """Parts of two rows, and one of one."""
    with Output.open(path, settings={}, classes=["road"], part_rows=2) as output:
        for number in range(parts):
            ids = [f"{number:02}a", f"{number:02}b"][: 1 if number == parts - 1 else 2]
            entropy = number + 0.5 * np.arange(len(ids))
            output.write(
                {
                    "id": ids,
                    "uri": [f"file:///{name}" for name in ids],
                    "source_version": ["v"] * len(ids),
                    "status": ["ok"] * len(ids),
                    "entropy_mean": entropy,
                }
            )


@pytest.mark.parametrize(("task", "large", "piece"), [(1, 1, 1), (1, 9, 3), (2000, 9, 5)])
def test_tasks_and_pieces_of_any_size_give_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: int, large: int, piece: int
) -> None:
    write(tmp_path, 8)
    table = pa.table(
        {"id": ["t"], "uri": ["t"], "entropy_mean": [9.0]},
        metadata=read_results(tmp_path).schema.metadata,
    )
    monkeypatch.setattr(module, "_TASK_BYTES", task)
    monkeypatch.setattr(module, "_LARGE_ROWS", large)
    monkeypatch.setattr(module, "_PIECE_ROWS", piece)
    sources = Sources([table, tmp_path])
    pieces = list(sources.read(["id", "entropy_mean"]))
    ids = [name for part in pieces for name in part.column("id").to_pylist()]
    assert ids == ["t", *(f"{number:02}{row}" for number in range(8) for row in "ab")][:16]
    rows = np.array([14, 0, 7, 6, 15])
    taken = sources.take(rows, ["uri", "entropy_mean"])
    assert taken.column("entropy_mean").to_pylist() == [6.5, 9.0, 3.0, 2.5, 7.0]
    assert taken.column("uri").to_pylist()[2] == f"file:///{ids[7]}"


def test_a_part_that_changes_between_the_passes_is_noticed(tmp_path: Path) -> None:
    write(tmp_path, 3)
    sources = Sources(tmp_path)
    list(sources.read(["id"]))
    sorted((tmp_path / "images").iterdir())[1].unlink()
    with pytest.raises(ResultsError, match=r"000001\.parquet has changed while it was read"):
        sources.take(np.array([0, 3]), ["uri"])
