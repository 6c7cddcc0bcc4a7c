"""What a cluster promises when things die, on clusters of their own: minutes (``make ray``)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import ray
from pyarrow import parquet
from ray.cluster_utils import Cluster

import deal
from deal.ray import score
from deal.run.batch_scorer import BatchScorer
from tests.helpers.runs import rows
from tests.helpers.stores import NUMBERS, Bucket, s3_server, store_environment

pytestmark = pytest.mark.filterwarnings("ignore")  # ray's own


class Slow(BatchScorer):
    """Takes a while for every block, so that something can happen meanwhile."""

    def __call__(self, items: pa.Table) -> pa.Table:
        time.sleep(0.4)
        return super().__call__(items)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    here = sys.modules[__name__]
    ray.cloudpickle.register_pickle_by_value(here)
    monkeypatch.setattr("deal.run.batch_scorer.BatchScorer", Slow)
    yield
    ray.cloudpickle.unregister_pickle_by_value(here)


@pytest.fixture
def two_nodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """Two nodes with a CPU each, the first of which takes clients, too."""
    # As if deal were installed on their machines.
    monkeypatch.setenv("PYTHONPATH", str(Path(deal.__file__).parent.parent))
    ray.shutdown()  # the cluster of the tests before
    head = {"num_cpus": 1, "ray_client_server_port": 20123}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def parts(output: Path) -> list[Path]:
    return sorted((output / "images").glob("*.parquet"))


@pytest.mark.usefixtures("cluster")
def test_a_manifest_of_one_block_and_a_data_set_of_bytes_are_divided(
    pool: Path, model: Path, stored: Path, tmp_path: Path
) -> None:
    expected = rows(stored)
    ids = sorted(expected)
    table = pa.table(
        {
            "id": ids,
            "uri": [expected[one]["uri"] for one in ids],
            "bytes": [(pool / one).read_bytes() for one in ids],
        }
    )
    parquet.write_table(table, tmp_path / "images.parquet")
    parquet.write_table(table.drop_columns("bytes"), tmp_path / "manifest.parquet")

    one_block = ray.data.read_parquet(str(tmp_path / "manifest.parquet"))
    out = tmp_path / "uris"
    assert score(one_block, model=model, output=out, block_rows=4).scored == 11
    assert rows(out) == expected
    assert len(parts(out)) == 3

    content = ray.data.read_parquet(str(tmp_path / "images.parquet"))
    out = tmp_path / "bytes"
    assert score(content, model=model, output=out, block_rows=5).scored == 11
    for row in rows(out).values():
        del row["source_version"]
        assert row == {k: v for k, v in expected[row["id"]].items() if k in row}
    report = score(content, model=model, output=out, block_rows=5)
    assert (report.skipped, report.scored, report.errors) == (11, 0, {"decode": 1})


@pytest.mark.usefixtures("slow")
def test_a_node_that_is_lost_costs_no_image(
    two_nodes: Cluster, pool: Path, model: Path, stored: Path, tmp_path: Path
) -> None:
    second = two_nodes.add_node(num_cpus=1)
    ray.init(address=two_nodes.address, log_to_driver=False)
    killed: list[int] = []

    def kill(progress: deal.Progress) -> None:
        if not killed and progress.done >= 2:
            killed.append(progress.done)
            two_nodes.remove_node(second, allow_graceful=False)

    out = tmp_path / "out"
    report = score(pool, model=model, output=out, actors=2, block_rows=1, progress=kill)
    assert killed
    assert killed[0] < 12
    assert (report.total, report.scored, report.errors) == (12, 11, {"decode": 1})
    assert rows(out) == rows(stored)


DRIVER = """
import sys, time, ray
import deal.ray.scoring as scoring
from deal.run.batch_scorer import BatchScorer
class Slow(BatchScorer):
    def __call__(self, items):
        time.sleep(0.4)
        return super().__call__(items)
scoring.BatchScorer = Slow
pool, model, out = sys.argv[1:]
def say(progress):
    print(ray.get_runtime_context().gcs_address, progress.done, flush=True)
report = scoring.score(pool, model=model, output=out, block_rows=1, progress=say)
print(report.skipped, report.scored, report.errors, flush=True)
"""


def test_a_driver_that_is_killed_loses_what_it_had_begun_and_no_more(
    pool: Path, model: Path, stored: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-c", DRIVER, str(pool), str(model), str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while not process.stdout.readline().rstrip().endswith(" 4"):
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    time.sleep(2)  # workers may finish what they have begun
    known = rows(out)
    assert 4 <= len(known) < 12
    ok = sum(row["status"] == "ok" for row in known.values())
    report = score_in_a_cluster_of_its_own(pool, model, out)
    assert report == f"{ok} {11 - ok} {{'decode': 1}}"
    assert rows(out) == rows(stored)


def score_in_a_cluster_of_its_own(pool: Path, model: Path, out: Path) -> str:
    command = [sys.executable, "-c", DRIVER, str(pool), str(model), str(out)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    return done.stdout.splitlines()[-1]


def test_a_cluster_that_runs_on_the_machine_is_left_alone(
    two_nodes: Cluster, pool: Path, model: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", DRIVER, str(pool), str(model), str(tmp_path / "out")]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    addresses = {line.split()[0] for line in done.stdout.splitlines()[:-1]}
    assert len(addresses) == 1
    assert two_nodes.address not in addresses


def test_the_command_scores_on_a_cluster_elsewhere(
    two_nodes: Cluster, pool: Path, model: Path, stored: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    options = ["--model", model, "--output", out, "--on", "ray://127.0.0.1:20123"]
    command = [sys.executable, "-m", "deal", "score", pool, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 3, done.stderr
    assert "12 images: 11 scored, 0 stored before, 1 failed" in done.stdout
    assert "12/12 images" in done.stderr
    assert rows(out) == rows(stored)


def test_an_interrupted_run_says_so_and_continues(
    pool: Path, model: Path, stored: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    script = DRIVER.replace("print(ray", "assert ray; print(ray")
    command = [sys.executable, "-c", script, str(pool), str(model), str(out)]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, env={**os.environ, "PYTHONUNBUFFERED": "1"}) as process:
        assert process.stdout is not None
        while not process.stdout.readline().rstrip().endswith(" 4"):
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=120)
    assert "the same command continues from there" in stderr
    assert len(rows(out)) >= 4
    score_in_a_cluster_of_its_own(pool, model, out)
    assert rows(out) == rows(stored)


def test_pool_and_results_may_lie_in_object_storage(
    pool: Path, model: Path, stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("moto")
    with s3_server() as endpoint:
        store_environment(monkeypatch, endpoint)
        bucket = f"ray{next(NUMBERS)}"
        Bucket(endpoint, bucket).fill(pool, "pool/")
        names = f"s3://{bucket}/pool/", str(model), f"s3://{bucket}/out"
        command = [sys.executable, "-c", DRIVER, *names]
        found = [
            subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
            for _ in range(2)
        ]
        said = [done.stdout.splitlines()[-1] for done in found]
        assert said == ["0 11 {'decode': 1}", "11 0 {'decode': 1}"]
        expected = rows(stored)
        for row in deal.read_results(f"s3://{bucket}/out").table.to_pylist():
            for name in ("uri", "source_version"):
                del row[name]
            assert row == {key: expected[row["id"]][key] for key in row}
