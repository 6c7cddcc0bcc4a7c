"""One cluster of two CPUs on this machine, for all tests that need no particular one."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import deal
from tests.helpers.runs import write_pool


@pytest.fixture(scope="session")
def cluster() -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="needs the extra ray: pip install 'ray[client,data]'")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images, one of which is damaged."""
    folder = write_pool(tmp_path_factory.mktemp("spread") / "pool", 11)
    (folder / "broken.png").write_bytes((folder / "000.png").read_bytes()[:60])
    return folder


@pytest.fixture(scope="module")
def stored(pool: Path, model: Path) -> Path:
    """What ``deal-score`` makes of the pool."""
    output = pool.parent / "reference"
    deal.score_pool(pool, model=model, output=output)
    return output
