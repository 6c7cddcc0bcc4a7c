"""Files that hold images, damaged at random: rows or one error, and no id twice."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deal.errors import DealError, ItemError
from deal.pool.inside import Reading
from deal.pool.listing import Pool
from deal.pool.locator import read_uri
from deal.types import FailedItem
from tests.helpers.logs import writing_log


def tar(folder: Path) -> Path:
    names = ["a/1.jpg", "a/2.jpg", "b.jpg", "b.json"]
    (folder / "a").mkdir()
    for name in names:
        (folder / name).write_bytes(b'{"weather": "rain"}' * 30)
    subprocess.run(["tar", "-cf", "whole.tar", *names], cwd=folder, check=True)
    return folder / "whole.tar"


def parquet(folder: Path) -> Path:
    images = [{"bytes": b"\xff\xd8\xff" + bytes(range(200)), "path": "x"}] * 9
    table = pa.table({"image": images, "id": list("abcdefghi"), "timestamp_ns": range(9)})
    pq.write_table(table, folder / "whole.parquet", row_group_size=4)
    return folder / "whole.parquet"


def video(folder: Path) -> Path:
    av = pytest.importorskip("av")
    with av.open(folder / "whole.mp4", "w") as film:
        stream = film.add_stream("libx264", rate=10, options={"g": "4", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = 32, 32, "yuv420p"
        for level in range(20):
            image = np.full((32, 32, 3), 10 * level, np.uint8)
            film.mux(stream.encode(av.VideoFrame.from_ndarray(image)))
        film.mux(stream.encode())
    return folder / "whole.mp4"


def log(folder: Path) -> Path:
    pytest.importorskip("mcap_ros2")
    with writing_log(folder / "whole.mcap", chunk_size=600) as written:
        for index in range(8):
            written.compressed("/front", b"\xff\xd8\xff" + bytes(200), 10**18 + index)
    return folder / "whole.mcap"


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Cut, with bytes changed anywhere or near an end, or with some put in or taken out."""
    found = bytearray(data)
    kind, near = rng.random(), min(600, len(data))
    if kind < 0.3:
        return bytes(found[: rng.randrange(len(found) + 1)])
    if kind < 0.8:
        for _ in range(rng.choice((1, 1, 3, 20))):
            ends = rng.randrange(near), len(found) - 1 - rng.randrange(near)
            place = rng.choice((rng.randrange(len(found)), *ends))
            found[place] = rng.choice((0, 255, rng.randrange(256)))
    else:
        place = rng.randrange(len(found))
        found[place : place + rng.choice((0, 1, 8, 512))] = rng.randbytes(rng.choice((1, 8, 512)))
    return bytes(found)


@pytest.mark.slow
@pytest.mark.parametrize("make", [tar, parquet, video, log])
def test_damage_gives_rows_or_one_error(make: object, tmp_path: Path) -> None:
    assert callable(make)
    whole = make(tmp_path)
    data, rng = whole.read_bytes(), random.Random(0)
    for number in range(150):
        path = whole.with_stem(f"damaged{number}")
        path.write_bytes(damaged(data, rng))
        try:
            entries = list(Pool(path, reading=Reading(every="1f")))
        except DealError as error:
            assert "\n" not in str(error)  # noqa: PT017
            continue
        ids = [(e.item if isinstance(e, FailedItem) else e).id for e in entries]
        assert len(set(ids)) == len(ids)
        for entry in entries:
            if isinstance(entry, FailedItem):
                assert "\n" not in entry.error
                continue
            for read in (entry.locator.read, lambda: read_uri(entry.uri, entry.source_version)):  # noqa: B023
                try:
                    read()
                except ItemError as error:
                    assert "\n" not in error.message  # noqa: PT017
        path.unlink()
