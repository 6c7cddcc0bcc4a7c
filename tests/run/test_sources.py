"""Images inside other files give the rows that they give as files of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deal.pool.decode import decode_bytes
from deal.pool.locator import read_file
from deal.run.pipeline import score_pool
from tests.helpers.runs import Deal, assert_refused, rows, write_pool
from tests.helpers.sources import COUNT, REMOTE, SOURCES, Source
from tests.helpers.stores import Between, Bucket, s3_server, serving, store_environment

WHENCE = (
    *("id", "uri", "source_version", "sequence", "camera", "timestamp_ns", "attributes"),
    "color_mode",
)


def statistics(output: Path, name_of: Callable[[str], str] = str) -> dict[str, dict[str, Any]]:
    return {
        name_of(item_id): {name: value for name, value in row.items() if name not in WHENCE}
        for item_id, row in rows(output).items()
    }


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(
    params=[
        # What is special of these is tested in tests/pool/test_remote_inside.py.
        pytest.param(name, marks=[pytest.mark.slow] if name.startswith("remote-") else [])
        for name in SOURCES
    ]
)
def source(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Source:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    (tmp_path / "inside").mkdir()
    endpoint = request.getfixturevalue("endpoint") if request.param in REMOTE else ""
    pool = write_pool(tmp_path / "pool", COUNT)
    return SOURCES[request.param](pool, tmp_path / "inside", endpoint)


def test_images_inside_files_are_scored_previewed_and_found_again(
    deal: Deal, model: Path, tmp_path: Path, source: Source
) -> None:
    score_pool(tmp_path / "pool", model=model, output=tmp_path / "files")
    command = ["score", source.named, *source.arguments, "--model", model]
    command += ["--output", tmp_path / "out", "--previews", 3]
    code, stdout, stderr = deal(*command)
    assert (code, "no preview" in stderr) == (0, False), stderr
    assert statistics(tmp_path / "out", source.name_of) == statistics(tmp_path / "files")
    for item_id, row in rows(tmp_path / "out").items():
        reached = {"endpoint_url": source.options.get("endpoint_url")}
        image = decode_bytes(read_file(row["uri"], row["source_version"], **reached)).image
        expected = decode_bytes((tmp_path / "pool" / source.name_of(item_id)).read_bytes()).image
        assert (image == expected).all()

    code, stdout, stderr = deal(*command)
    assert code == 0
    assert f"0 scored, {COUNT} stored before" in stdout

    manifest = tmp_path / "inside" / "list.txt"
    manifest.write_text("".join(f"{row['uri']}\n" for row in rows(tmp_path / "out").values()))
    command = ["score", manifest, *source.arguments, "--model", model]
    code, _, stderr = deal(*command, "--output", tmp_path / "again")
    assert code == 0, stderr
    again = {Path(name).name: row for name, row in rows(tmp_path / "again").items()}
    for item_id, row in rows(tmp_path / "out").items():
        other = again[Path(item_id).name]
        assert (other["uri"], other["source_version"]) == (row["uri"], row["source_version"])
        assert other["entropy_hist"] == row["entropy_hist"]


@pytest.mark.slow
def test_a_killed_run_goes_on_with_one_row_per_image(
    model: Path, tmp_path: Path, source: Source
) -> None:
    program = (
        "import json, sys, deal.run.ledger as ledger; ledger._FLUSH_SECONDS = 0\n"
        "from deal.run.pipeline import score_pool\n"
        "wait = lambda p: p.done > 3 and (print(p.done, flush=True), sys.stdin.read())\n"
        "pool, model, output, options = sys.argv[1:]\n"
        "score_pool(pool, model=model, output=output, progress=wait, **json.loads(options))"
    )
    arguments = [source.named, str(model), str(tmp_path / "out"), json.dumps(source.options)]
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    report = score_pool(source.named, model=model, output=tmp_path / "out", **source.options)
    assert 0 < report.skipped < COUNT
    assert report.skipped + report.scored == COUNT
    score_pool(tmp_path / "pool", model=model, output=tmp_path / "files")
    assert statistics(tmp_path / "out", source.name_of) == statistics(tmp_path / "files")


def test_near_duplicates_are_compared_within_what_they_lie_in(
    model: Path, tmp_path: Path, source: Source
) -> None:
    options = {**source.options, "dedup": 255}  # everything resembles what precedes it
    report = score_pool(source.named, model=model, output=tmp_path / "out", **options)
    stored = rows(tmp_path / "out").items()
    groups = {row["sequence"] or item_id.rpartition("/")[0] for item_id, row in stored}
    assert report.scored == len(groups)
    assert report.duplicates == COUNT - len(groups)
    again = score_pool(source.named, model=model, output=tmp_path / "out", **options)
    assert again.skipped == COUNT


def test_check_looks_at_the_first_image_inside(
    deal: Deal, model: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source.options.get("endpoint_url"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", source.options["endpoint_url"])
    code, stdout, stderr = deal("check", model, source.first)
    assert code in (0, 3), stderr
    assert "mean entropy" in stdout


def test_a_saved_manifest_is_the_pool(
    deal: Deal, model: Path, tmp_path: Path, source: Source
) -> None:
    manifest = tmp_path / "saved.jsonl"
    common = [*source.arguments, "--model", model, "--output", tmp_path / "out"]
    code, _, stderr = deal("score", source.named, *common, "--save-manifest", manifest)
    assert code == 0, stderr
    stored = rows(tmp_path / "out")
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert {line["id"]: line["uri"] for line in lines} == {i: r["uri"] for i, r in stored.items()}
    code, stdout, stderr = deal("score", manifest, *common)
    assert code == 0, stderr
    assert f"0 scored, {COUNT} stored before" in stdout
    described = ("sequence", "camera", "timestamp_ns", "attributes")
    for item_id, row in rows(tmp_path / "out").items():
        assert [row[name] for name in described] == [stored[item_id][name] for name in described]
    code, _, stderr = deal("score", source.named, *common, "--save-manifest", "list.csv")
    assert code == 2
    assert "must end with .jsonl" in stderr


def test_requests_that_are_repeated_are_told_once(
    endpoint: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setattr("deal.pool.remote.FIRST_WAIT", 0.001)
    bucket = Bucket(endpoint, "throttled")
    bucket.fill(write_pool(tmp_path / "pool", COUNT))
    with serving(Between(endpoint)) as between:

        def refuse(method: str, path: str, count: int) -> int | None:
            if "007" in path:
                return 403
            return 503 if path.endswith(".png") and count <= 2 else None

        between.refuse = refuse
        report = score_pool(
            "s3://throttled", model=model, output=tmp_path / "out", endpoint_url=between.address
        )
    assert (report.scored, report.errors, report.exit_code) == (COUNT - 1, {"io": 1}, 3)
    (note,) = [note for note in report.notes if "repeated" in note]
    count = 2 * (COUNT - 1)
    assert f"{count} requests for images were repeated ({count} × 503" in note
    row = rows(tmp_path / "out")["007.png"]
    assert (row["error_code"], row["error"][:3]) == ("io", "403")


def test_the_shards_of_a_manifest_resume_and_leave_each_other_alone(
    model: Path, tmp_path: Path
) -> None:
    write_pool(tmp_path / "pool", COUNT)
    broken = tmp_path / "pool" / "001.png"
    whole = broken.read_bytes()
    broken.write_bytes(b"broken")
    names = [f"{number:03}.png" for number in range(COUNT)]
    manifest = tmp_path / "pool" / "list.parquet"
    pq.write_table(pa.table({"uri": names}), manifest, row_group_size=5)

    def run(shard: str, output: str) -> tuple[int, int, dict[str, int]]:
        report = score_pool(manifest, model=model, output=tmp_path / output, shard=shard)
        return report.scored, report.skipped, dict(report.errors)

    assert run("0/2", "out") == (5, 0, {"decode": 1})
    assert run("1/2", "out") == (6, 0, {})
    broken.write_bytes(whole)
    assert run("1/2", "out") == (0, 6, {})
    assert run("0/2", "out") == (1, 5, {})
    assert sorted(rows(tmp_path / "out")) == names

    assert run("0/1", "whole") == (COUNT, 0, {})  # then by two machines
    assert [run(f"{index}/2", "whole") for index in (0, 1)] == [(0, 6, {})] * 2
    assert run("2/3", "whole") == (0, 4, {})
    assert rows(tmp_path / "whole") == rows(tmp_path / "out")


@pytest.mark.parametrize("known", [True, False])
def test_a_store_that_nobody_answers_for_ends_the_run_in_one_line(
    deal: Deal, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    store_environment(monkeypatch, "http://127.0.0.1:9")
    monkeypatch.setattr("deal.pool.remote.FIRST_WAIT", 0.001)
    lines = [
        {"uri": f"s3://gone/{i}.png", **({"source_version": "9-x"} if known else {})}
        for i in range(3 * COUNT)
    ]
    manifest = tmp_path / "list.jsonl"
    manifest.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    command = ["score", manifest, "--model", model, "--output", tmp_path / "out", "--quiet"]
    assert_refused(
        deal(*command), 1, "nobody answers for any of the first images", "--endpoint-url"
    )


@pytest.mark.slow
def test_a_store_that_goes_away_for_a_while_costs_rows_and_not_the_run(
    endpoint: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_environment(monkeypatch, endpoint)
    monkeypatch.setattr("deal.pool.remote.FIRST_WAIT", 0.001)
    bucket = Bucket(endpoint, "flickering")
    bucket.fill(write_pool(tmp_path / "pool", COUNT))
    with serving(Between(endpoint)) as between:
        late = {f"/flickering/{number:03}.png" for number in range(2, COUNT)}
        answered = threading.Event()

        def refuse(method: str, path: str, count: int) -> int | None:
            if path in late:
                answered.wait(60)
                return 0  # the connection is cut
            answered.set()
            return None

        between.refuse = refuse
        report = score_pool(
            "s3://flickering", model=model, output=tmp_path / "out", endpoint_url=between.address
        )
    assert (report.scored, report.errors) == (2, {"io": COUNT - 2})


def test_many_objects_are_on_their_way_at_once(
    endpoint: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    bucket = Bucket(endpoint, "distant")
    bucket.fill(write_pool(tmp_path / "pool", COUNT))
    together = threading.Barrier(COUNT, timeout=60)
    with serving(Between(endpoint)) as between:

        def wait(method: str, path: str, count: int) -> None:
            if path.endswith(".png"):
                together.wait()  # for a request of every image

        between.refuse = wait
        report = score_pool(
            "s3://distant",
            model=model,
            output=tmp_path / "out",
            endpoint_url=between.address,
            decode_threads=1,
        )
    assert report.scored == COUNT


def test_tasks_for_annotators_hold_the_pictures(
    deal: Deal, model: Path, tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    if source.options.get("endpoint_url"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", source.options["endpoint_url"])
    command = ["score", source.named, *source.arguments, "--model", model, "--spread", "off"]
    code, _, stderr = deal(*command, "--output", tmp_path / "out")
    assert code == 0, stderr
    command = ["annotate", tmp_path / "out", "--to", "label-studio", "--images", "link"]
    code, _, stderr = deal(*command, "--output", tmp_path / "tasks")
    assert code == 0, stderr
    ranked = [line.split(",") for line in (tmp_path / "out/selection.csv").read_text().splitlines()]
    pictures = sorted((tmp_path / "tasks/images").iterdir())
    assert len(pictures) == len(ranked) - 1 == COUNT
    for picture, (_, item_id, *_rest) in zip(pictures, ranked[1:], strict=True):
        expected = Image.open(tmp_path / "pool" / source.name_of(item_id)).convert("RGB")
        assert (np.array(Image.open(picture).convert("RGB")) == np.array(expected)).all()
