"""Images inside other files give the rows that they give as files of their own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
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
from tests.helpers.runs import SIZE, Deal, rows, write_pool

COUNT = 12
WHENCE = (
    *("id", "uri", "source_version", "sequence", "camera", "timestamp_ns", "attributes"),
    "color_mode",
)


@dataclass(frozen=True)
class Source:
    """Files that hold the images of a pool.

    ``first`` names the file that holds the first of them; ``name_of`` makes the name of a file of
    an id.
    """

    named: str
    first: str
    name_of: Callable[[str], str]
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def arguments(self) -> list[str]:
        return [text for name, value in self.options.items() for text in (f"--{name}", value)]


def tar(pool: Path, folder: Path) -> Source:
    names = sorted(path.name for path in pool.iterdir())
    for shard, part in enumerate((names[:7], names[7:])):
        command = ["tar", "-cf", folder / f"shard-{shard:03}.tar", *part]
        subprocess.run(command, cwd=pool, check=True)
    return Source(
        f"{folder}/shard-{{000..001}}.tar",
        f"{folder}/shard-000.tar",
        lambda item_id: item_id.partition("/")[2],
    )


def parquet(pool: Path, folder: Path) -> Source:
    """As ``Dataset.to_parquet`` of Hugging Face writes a column of images."""
    names = sorted(path.name for path in pool.iterdir())
    for shard, part in enumerate((names[:7], names[7:])):
        images = [{"bytes": (pool / name).read_bytes(), "path": name} for name in part]
        table = pa.table({"image": images, "label": range(len(part))})
        pq.write_table(table, folder / f"train-{shard:03}.parquet", row_group_size=3)

    def name_of(item_id: str) -> str:
        file, _, row = item_id.partition("#")
        return names[int(row) + (7 if "001" in file else 0)]

    return Source(f"{folder}/train-*.parquet", f"{folder}/train-000.parquet", name_of)


def video(pool: Path, folder: Path) -> Source:
    """A film without loss, 8 frames per second, with B-frames."""
    av = pytest.importorskip("av")
    paths = sorted(pool.iterdir())
    with av.open(folder / "drive.mp4", "w") as film:
        stream = film.add_stream("libx264rgb", rate=8, options={"crf": "0", "g": "5", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = *SIZE, "rgb24"
        for path in paths:
            image = np.array(Image.open(path))
            film.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        film.mux(stream.encode())

    def name_of(item_id: str) -> str:
        return paths[round(float(item_id.partition("#t=")[2]) * 8)].name

    file = f"{folder}/drive.mp4"
    return Source(file, file, name_of, {"every": "1f"})


SOURCES = {"tar": tar, "parquet": parquet, "video": video}


def statistics(output: Path, name_of: Callable[[str], str] = str) -> dict[str, dict[str, Any]]:
    return {
        name_of(item_id): {name: value for name, value in row.items() if name not in WHENCE}
        for item_id, row in rows(output).items()
    }


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Source:
    (tmp_path / "inside").mkdir()
    return SOURCES[request.param](write_pool(tmp_path / "pool", COUNT), tmp_path / "inside")


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
        image = decode_bytes(read_file(row["uri"], row["source_version"])).image
        expected = decode_bytes((tmp_path / "pool" / source.name_of(item_id)).read_bytes()).image
        assert (image == expected).all()

    code, stdout, stderr = deal(*command)
    assert code == 0
    assert f"0 scored, {COUNT} stored before" in stdout

    manifest = tmp_path / "inside" / "list.txt"
    manifest.write_text("".join(f"{row['uri']}\n" for row in rows(tmp_path / "out").values()))
    code, _, stderr = deal("score", manifest, "--model", model, "--output", tmp_path / "again")
    assert code == 0, stderr
    assert statistics(tmp_path / "again", source.name_of) == statistics(tmp_path / "files")


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


def test_check_looks_at_the_first_image_inside(deal: Deal, model: Path, source: Source) -> None:
    code, stdout, stderr = deal("check", model, source.first)
    assert code in (0, 3), stderr
    assert "mean entropy" in stdout
