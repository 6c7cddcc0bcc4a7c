"""Arrow without pandas, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from deal.machine.arrow import without_pandas
without_pandas()
import pyarrow as pa
table = pa.table({"a": pa.array([1, 2])})
assert "pandas" not in sys.modules
assert table.to_pandas()["a"].tolist() == [1, 2]
"""


@pytest.mark.slow
def test_pandas_is_imported_only_for_a_data_frame() -> None:
    pytest.importorskip("pandas")
    subprocess.run([sys.executable, "-c", CODE], check=True)
