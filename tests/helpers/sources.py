"""Files and buckets that hold the images of a pool: each kind that deal reads."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.helpers.logs import writing_log
from tests.helpers.runs import SIZE
from tests.helpers.stores import NUMBERS, Bucket

__all__ = ["COUNT", "REMOTE", "SOURCES", "Source"]

COUNT = 12
REMOTE = ("store", "remote-tar", "remote-parquet", "remote-video", "remote-log")


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
        given = {name.replace("_", "-"): value for name, value in self.options.items()}
        return [text for name, value in given.items() for text in (f"--{name}", value)]


def tar(pool: Path, folder: Path, endpoint: str) -> Source:
    names = sorted(path.name for path in pool.iterdir())
    for shard, part in enumerate((names[:7], names[7:])):
        command = ["tar", "-cf", folder / f"shard-{shard:03}.tar", *part]
        subprocess.run(command, cwd=pool, check=True)
    return Source(
        f"{folder}/shard-{{000..001}}.tar",
        f"{folder}/shard-000.tar",
        lambda item_id: item_id.partition("/")[2],
    )


def parquet(pool: Path, folder: Path, endpoint: str) -> Source:
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


def video(pool: Path, folder: Path, endpoint: str) -> Source:
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


def far(local: Callable[[Path, Path, str], Source]) -> Callable[[Path, Path, str], Source]:
    """The same files in a bucket."""

    def source(pool: Path, folder: Path, endpoint: str) -> Source:
        here = local(pool, folder, endpoint)
        bucket = Bucket(endpoint, f"pool-{next(NUMBERS)}")
        bucket.fill(folder, "data/")
        named, first = (
            text.replace(f"{folder}/", f"s3://{bucket.name}/data/")
            for text in (here.named, here.first)
        )
        return Source(named, first, here.name_of, {**here.options, "endpoint_url": endpoint})

    return source


def log(pool: Path, folder: Path, endpoint: str) -> Source:
    pytest.importorskip("mcap_ros2")
    names = sorted(path.name for path in pool.iterdir())
    with writing_log(folder / "trip.mcap", chunk_size=3000) as written:
        for index, name in enumerate(names):
            written.compressed("/front", (pool / name).read_bytes(), 10**18 + index)
    file = f"{folder}/trip.mcap"
    return Source(file, file, lambda item_id: names[int(item_id.partition("@")[2]) - 10**18])


def store(pool: Path, folder: Path, endpoint: str) -> Source:
    bucket = Bucket(endpoint, f"pool-{next(NUMBERS)}")
    bucket.fill(pool, "drives/d1/")
    place = f"s3://{bucket.name}/drives/d1"
    first = min(path.name for path in pool.iterdir())
    return Source(place, f"{place}/{first}", str, {"endpoint_url": endpoint})


SOURCES = {
    "tar": tar,
    "parquet": parquet,
    "video": video,
    "store": store,
    "log": log,
    "remote-tar": far(tar),
    "remote-parquet": far(parquet),
    "remote-video": far(video),
    "remote-log": far(log),
}
