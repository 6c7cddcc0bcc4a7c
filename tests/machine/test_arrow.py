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


UNUSED = """
import sys
import deal.run.pipeline
from deal.machine.arrow import compute, parquet
assert not {"pyarrow.compute", "pyarrow.parquet", "numpy.random"} & set(sys.modules)
assert compute.equal(1, 1).as_py() and parquet.ParquetFile
assert {"pyarrow.compute", "pyarrow.parquet"} < set(sys.modules)
"""


@pytest.mark.slow
def test_larger_modules_of_arrow_are_imported_on_first_use() -> None:
    subprocess.run([sys.executable, "-c", UNUSED], check=True)
