"""Every command in the table of sources runs, and gives the ids that the table shows."""

from __future__ import annotations

import io
import re
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deal import read_results
from tests.helpers.logs import writing_log
from tests.helpers.pages import ROOT, Shell, run_page
from tests.helpers.stores import Bucket, s3_server, store_environment

STAMP = 1_714_557_604_033_333_333
_ROW = re.compile(
    r"^\| (?P<source>[^|]+) \| `(?P<command>deal-score [^`]+)`[^|]* \| (?P<ids>.+) \|$"
)


def jpeg(level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((48, 64, 3), level, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def fill(folder: Path) -> None:
    """What the table calls frames, drives, shards, data, drive.mp4 and trip.mcap."""
    av = pytest.importorskip("av")
    pytest.importorskip("mcap_ros2")
    for name in ("frames/a.jpg", "drives/17/front/000120.jpg"):
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_bytes(jpeg(90))
    (folder / "drives.csv").write_text("uri,camera\ndrives/17/front/000120.jpg,front\n")
    (folder / "shards").mkdir()
    (folder / "000120.jpg").write_bytes(jpeg(60))
    for shard in ("000", "001"):
        command = ["tar", "-cf", f"shards/shard-{shard}.tar", "000120.jpg"]
        subprocess.run(command, cwd=folder, check=True)
    (folder / "data").mkdir()
    images = [{"bytes": jpeg(level), "path": None} for level in range(13)]
    pq.write_table(pa.table({"image": images}), folder / "data/train-00000.parquet")
    with av.open(folder / "drive.mp4", "w") as film:
        stream = film.add_stream("libx264", rate=30)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for level in range(90):
            image = np.full((48, 64, 3), level, np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        film.mux(stream.encode())
    with writing_log(folder / "trip.mcap") as log:
        log.compressed("/front/image/compressed", jpeg(30), STAMP + 9, STAMP)
        log.compressed("/rear/image/compressed", jpeg(40), STAMP + 9, STAMP)


@pytest.mark.slow
def test_the_commands_of_the_table_of_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    page = (ROOT / "docs/howto/pool.md").read_text(encoding="utf-8")
    lines = [match for match in map(_ROW.match, page.splitlines()) if match]
    folder = tmp_path / "reader"
    folder.mkdir()
    fill(folder)
    found: dict[str, set[str]] = {}
    with s3_server() as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        Bucket(endpoint, "bucket").fill(folder / "drives", "drives/")
        shell = Shell(folder, tmp_path / "programs")
        for number, line in enumerate(lines):
            output = f"--model deal/demo/model.onnx --output out{number} --quiet"
            shell.run(f"{line['command']} {output}")
            assert shell.code == 0, line["command"]
            stored = read_results(folder / f"out{number}")
            found[line["source"]] = set(stored["id"].to_pylist())
    assert found == {
        "folder": {"a.jpg"},
        "glob": {"17/front/000120.jpg"},
        "image": {"a.jpg"},
        "manifest": {"drives/17/front/000120.jpg"},
        "tar archives": {"shard-000.tar/000120.jpg", "shard-001.tar/000120.jpg"},
        "Parquet with images": {f"train-00000.parquet#{row}" for row in range(13)},
        "video": {f"drive.mp4#t={second}.000" for second in range(3)},
        "robot log (MCAP)": {f"trip.mcap#/front/image/compressed@{STAMP}"},
        "object storage": {"17/front/000120.jpg"},
    }
    for line in lines:
        for shown in re.findall(r"`([^`]+[#/][^`]+)`", line["ids"]):
            pattern = re.sub(r"\d+", r"\\d+", re.escape(shown))
            assert any(re.fullmatch(pattern, item_id) for item_id in found[line["source"]])


@pytest.mark.slow
def test_the_page_of_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "reader"
    folder.mkdir()
    fill(folder)
    (folder / "model.onnx").symlink_to(ROOT / "deal/demo/model.onnx")
    with s3_server() as endpoint:
        store_environment(monkeypatch, endpoint)
        bucket = Bucket(endpoint, "bucket")
        bucket.fill(folder / "drives", "drives/")
        bucket.fill(folder / "shards", "shards/")
        assert run_page(ROOT / "docs/sources.md", Shell(folder, tmp_path / "programs")) >= 18
