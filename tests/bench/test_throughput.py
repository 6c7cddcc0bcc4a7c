"""A run whose network takes no time stores what it should."""

from __future__ import annotations

import pytest

from deal.bench import throughput
from deal.bench.failed import FailedCheckError


@pytest.mark.slow
def test_rows_and_files_are_timed_and_stored() -> None:
    report = throughput.run(rows=1100, images=3, rounds=1)
    rates = {row.name: row.value.median for row in report.rows}
    assert all(rate > 0 for rate in rates.values())
    assert len(rates) == 10


def test_a_run_that_loses_rows_is_no_measurement(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(throughput._Run, "__init__", lambda self: None)
    monkeypatch.setattr(throughput._Run, "run", lambda self, in_memory: tmp_path)
    monkeypatch.setattr(
        throughput,
        "read_results",
        lambda _: throughput_results(),
    )
    with pytest.raises(FailedCheckError, match="1 rows, 1 ids of 2"):
        throughput._Run().check(2)


def throughput_results() -> object:
    import pyarrow as pa

    class Found:
        table = pa.table({"id": ["a"], "status": ["ok"]})

    return Found()
