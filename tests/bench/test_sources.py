"""The benchmark of sources checks what it times; the figures are no matter here."""

from __future__ import annotations

import pytest

from deal.bench import sources


@pytest.mark.slow
def test_every_reader_is_held_against_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("mcap_ros2", "moto", "obstore"):
        pytest.importorskip(name)
    monkeypatch.setattr(sources, "_SIZE", (90, 160))
    report = sources.run(images=3, rounds=1, rows=1000, objects=3, latency=1)
    names = {row.name for row in report.rows}
    assert {"tar: read", "Parquet: read", "MCAP: read", "object storage: fetch"} <= names
    assert all(row.value.median >= 0 for row in report.rows)
    assert "bound by" in report.notes[-1]


def test_bytes_that_differ_are_told() -> None:
    with pytest.raises(sources.FailedCheckError, match="tar: other bytes"):
        sources._check("tar", [], {"a": b"x"})
