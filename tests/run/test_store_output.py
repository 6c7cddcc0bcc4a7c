"""A pool scored into object storage: killed and continued, ranked, looked at, handed on."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deal.pool.remote_path import place
from tests.helpers.runs import Deal, assert_refused, rows, write_pool
from tests.helpers.stores import NUMBERS, Bucket, s3_server, store_environment

COUNT = 6


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture
def out(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    store_environment(monkeypatch, endpoint)
    return f"s3://{Bucket(endpoint, f'output-{next(NUMBERS)}').name}/round-1"


@pytest.mark.slow
def test_a_killed_run_goes_on_with_one_row_per_image(
    deal: Deal, model: Path, tmp_path: Path, out: str
) -> None:
    write_pool(tmp_path / "pool", COUNT)
    program = (
        "import sys, deal.run.ledger as ledger; ledger._FLUSH_SECONDS = 0\n"
        "from deal.run.pipeline import score_pool\n"
        "wait = lambda p: p.done > 3 and (print(p.done, flush=True), sys.stdin.read())\n"
        "pool, model, output = sys.argv[1:]\n"
        "score_pool(pool, model=model, output=output, progress=wait)"
    )
    arguments = [str(tmp_path / "pool"), str(model), out]
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    command = ["score", tmp_path / "pool", "--model", model]
    code, stdout, stderr = deal(*command, "--output", out)
    assert code == 0, stderr
    assert "0 stored before" not in stdout
    assert f"ranking      {out}/selection.csv" in stdout
    deal(*command, "--output", tmp_path / "local")
    local = rows(tmp_path / "local")
    assert len(local) == COUNT
    assert rows(place(out)) == local


@pytest.mark.slow
def test_what_reads_results_reads_them_in_a_store(
    deal: Deal,
    model: Path,
    tmp_path: Path,
    out: str,
    endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_pool(tmp_path / "pool", COUNT)
    scored = ["score", tmp_path / "pool", "--model", model, "--spread", "off"]
    code, stdout, stderr = deal(*scored, "--output", out, "--previews", 2)
    assert code == 0, stderr
    assert f"previews     {out}/previews.jpg" in stdout
    assert (place(out) / "previews.jpg").read_bytes()[:2] == b"\xff\xd8"
    deal(*scored, "--output", tmp_path / "local")
    for name in ("selection.csv",):
        assert (place(out) / name).read_bytes() == (tmp_path / "local" / name).read_bytes()

    ranked = f"{out.rpartition('/')[0]}/ranked"
    command = ["select", out, "--budget", "2", "--spread", "off", "--output", ranked]
    code, stdout, stderr = deal(*command, "--acquisition", "entropy")
    assert code == 0, stderr
    assert f"ranking  {ranked}/selection.csv" in stdout
    assert len((place(ranked) / "selection.csv").read_text().splitlines()) == 3

    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert deal("select", out, "--endpoint-url", endpoint)[0] == 0

    page = tmp_path / "pool.html"
    code, _, stderr = deal("view", out, "--selection", ranked, "--output", page)
    assert code == 0, stderr
    assert out.rpartition("/")[2] in page.read_text(encoding="utf-8")
    assert_refused(deal("view", out), 2, "give --output FILE.html")

    tasks = ["annotate", out, "--to", "label-studio", "--output", tmp_path / "tasks"]
    code, _, stderr = deal(*tasks)
    assert code == 0, stderr
    assert len(list((tmp_path / "tasks/images").iterdir())) == COUNT

    code, stdout, stderr = deal("report", "pool", out, "--budget", "2")
    assert code == 0, stderr
    assert "entropy" in stdout


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--overwrite"], "--overwrite removes nothing in object storage"),
        (["--store-maps", "selected"], "--store-maps needs an --output on this machine"),
        (["--output", "https://host/out"], "web servers store nothing"),
        (["--output", "hdfs://host/out"], "is an address, not a path"),
    ],
)
def test_what_a_store_cannot_do_is_refused_before_the_model_is_opened(
    deal: Deal, out: str, option: list[str], said: str
) -> None:
    assert_refused(deal("score", "pool", "--model", "none", "--output", out, *option), 2, said)


@pytest.mark.parametrize(
    "command",
    [
        ["annotate", "out", "--to", "coco", "--output"],
        ["collect", "out", "--from", "coco", "--output"],
        ["view", "out", "--output"],
        ["report", "pool", "out", "--output"],
    ],
)
def test_what_is_only_written_here_says_so(
    deal: Deal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(deal(*command, "s3://bucket/x.html"), 2, "on this machine")
    assert list(tmp_path.iterdir()) == []
