"""A Ray cluster gives what ``deal-score`` gives, and refuses what cannot be before any work."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

import deal
from deal.run.batch_scorer import BatchScorer
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import Deal, rows

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("cluster"),
    pytest.mark.filterwarnings("ignore"),  # ray's own
]


def score(*arguments: Any, **options: Any) -> deal.RunReport:
    from deal.ray import score

    return score(*arguments, **options)


def parts(output: Path) -> list[Path]:
    return sorted((output / "images").glob("*.parquet"))


class Poisoned(BatchScorer):
    """Ends its process when it meets certain images."""

    def __call__(self, items: pa.Table) -> pa.Table:
        if "007.png" in items.column("id").to_pylist():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(items)


@pytest.fixture
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    from ray import cloudpickle

    here = sys.modules[__name__]
    cloudpickle.register_pickle_by_value(here)
    monkeypatch.setattr("deal.run.batch_scorer.BatchScorer", Poisoned)
    yield
    cloudpickle.unregister_pickle_by_value(here)


def test_a_cluster_stores_what_deal_score_stores_and_continues_it(
    pool: Path, model: Path, stored: Path, tmp_path: Path
) -> None:
    out, seen = tmp_path / "out", []
    report = score(pool, model=model, output=out, block_rows=3, progress=seen.append)
    assert (report.total, report.scored, report.errors, report.exit_code) == (
        *(12, 11, {"decode": 1}),
        3,
    )
    assert (seen[-1].total, seen[-1].finished, seen[-1].errors) == (12, 12, 1)
    assert len(parts(out)) == 4
    expected = rows(stored)
    assert rows(out) == expected
    for name in ("selection.csv", "selection.json"):
        assert (out / name).read_bytes() == (stored / name).read_bytes()
    assert deal.select(out, budget=3).ids == deal.select(stored, budget=3).ids

    Image.open(pool / "001.png").save(out / "mended.png")
    broken, damaged = pool / "broken.png", (pool / "broken.png").read_bytes()
    times = broken.stat().st_atime_ns, broken.stat().st_mtime_ns
    try:
        (out / "mended.png").replace(broken)
        report = score(pool, model=model, output=out)  # the error is tried again
        assert (report.skipped, report.scored, report.errors) == (11, 1, {})
        assert rows(out)["broken.png"]["status"] == "ok"
        report = deal.score_pool(pool, model=model, output=out)
        assert (report.skipped, report.scored) == (12, 0)
    finally:
        broken.write_bytes(damaged)
        os.utime(broken, ns=times)


@pytest.mark.usefixtures("poisoned")
def test_an_image_that_ends_its_process_is_a_row_and_the_others_are_scored(
    pool: Path, model: Path, stored: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    report = score(pool, model=model, output=out, block_rows=6)
    assert (report.total, report.scored, report.errors) == (12, 10, {"crash": 1, "decode": 1})
    found, expected = rows(out), rows(stored)
    row = found.pop("007.png")
    assert (row["status"], row["error_code"]) == ("error", "crash")
    assert "the process that reads and scores it ended 5 times" in row["error"]
    assert row["uri"] == expected.pop("007.png")["uri"]
    assert found == expected


def test_other_settings_and_repeated_ids_are_refused_before_any_work(
    pool: Path, model: Path, stored: Path, tmp_path: Path
) -> None:
    before = [(part.name, part.stat().st_mtime_ns) for part in parts(stored)]
    other = save_model(tmp_path / "other.onnx", seed=8, props=metadata())
    with pytest.raises(deal.OutputError, match="holds results of other settings"):
        score(pool, model=other, output=stored)
    assert [(part.name, part.stat().st_mtime_ns) for part in parts(stored)] == before
    twice = pa.table({"id": ["a", "b", "a"], "uri": ["1", "2", "3"]})
    with pytest.raises(deal.PoolError, match="'a': give every image an id of its own"):
        score(twice, model=model, output=tmp_path / "out")
    with pytest.raises(deal.UsageError, match="did you mean 'camera'"):
        score(twice.append_column("cameras", [["x"] * 3]), model=model, output=tmp_path / "out")
    with pytest.raises(deal.UsageError, match="ranks by difficulty"):
        score(
            pool,
            model=save_model(tmp_path / "bare.onnx"),
            output=tmp_path / "out",
            model_options={"classes": 5, "input_format": "rgb8"},
        )
    assert not (tmp_path / "out").exists()


def test_too_few_resources_are_said_and_nothing_waits_for_ever(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    import ray

    run = {"model": model, "output": tmp_path / "out"}
    with pytest.raises(deal.UsageError, match="no node of the cluster has 64 CPUs"):
        score(pool, **run, threads=64)
    with pytest.raises(deal.UsageError, match="no node of the cluster has 1 CPU and 1 GPU"):
        score(pool, **run, device="cuda")
    with pytest.raises(deal.UsageError, match="3 actors with 1 CPU each do not fit"):
        score(pool, **run, actors=3)

    @ray.remote(num_cpus=2)
    class Other:
        def there(self) -> None: ...

    other = Other.remote()
    ray.get(other.there.remote(), timeout=60)
    started = time.monotonic()
    with pytest.raises(deal.DealError, match="no worker with 1 CPU started within 1 s"):
        score(pool, **run, patience=1)
    assert time.monotonic() - started < 30
    ray.kill(other)


def test_a_model_that_workers_do_not_find_is_said_before_any_work(
    pool: Path, tmp_path: Path
) -> None:
    with pytest.raises(deal.ModelError, match="nowhere"):
        score(pool, model=tmp_path / "nowhere.onnx", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_command_scores_on_ray_and_shows_its_progress(
    deal: Deal, pool: Path, model: Path, stored: Path, tmp_path: Path
) -> None:
    run = ["score", pool, "--model", model, "--output", tmp_path / "out", "--on", "ray", "--json"]
    code, out, err = deal(*run)
    assert code == 3
    assert json.loads(out)["scored"] == 11
    assert "12/12 images" in err
    assert rows(tmp_path / "out") == rows(stored)
