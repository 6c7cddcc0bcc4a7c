"""``deal bench view`` drives a browser over a small pool."""

from __future__ import annotations

import shutil

import pytest

from deal import UsageError
from deal.bench.view import run
from tests.helpers.browser import alone


@pytest.mark.slow
def test_a_small_page_is_measured_and_held_to_numpy() -> None:
    pytest.importorskip("playwright", reason="pip install playwright")
    if shutil.which("chromium") is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    report = alone(run, rows=1500, thumbnails=20, rounds=1)
    names = [row.name for row in report.rows]
    assert names[:2] == ["page", "open"]
    assert {"filter by histogram", "filter by text", "filter by lasso"} <= set(names)
    assert all(row.value.median > 0 for row in report.rows)


def test_a_browser_that_is_not_there_is_said() -> None:
    with pytest.raises(UsageError, match="apt-get install chromium"):
        run(rows=10, browser="no such browser")
