"""What do rows of manifests cost, and readers of archives, tables, logs and stores per image?"""

from __future__ import annotations

import http.client
import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image
from pyarrow import parquet

import deal
from deal._demo import demo_file
from deal.bench.failed import FailedCheckError
from deal.bench.report import Report, Row
from deal.bench.timing import Spread, single, spread
from deal.machine.meter import Meter
from deal.pool.decode import decode_bytes
from deal.pool.fetch import Fetcher
from deal.pool.ids import Shard
from deal.pool.inside import Reading
from deal.pool.listing import Pool
from deal.types import PoolItem

__all__ = ["run"]

_SIZE = (720, 1280)
_SIGNED = (
    "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, "
    "Signature=0"
)
_MOST_PIXELS = 10**8


def run(
    *,
    images: int = 100,
    rounds: int = 5,
    rows: int = 300_000,
    objects: int = 200,
    latency: int = 30,
) -> Report:
    """Take the CPU time of this process: of listing rows, and of reading images one after another.

    Images are JPEG files of 1280×720, quality 90. Every reader must give their bytes. Objects in a
    store come from moto in another process; ``latency`` milliseconds are added to each request
    when a pool of ``objects`` is scored from there.

    Raises FailedCheckError where a reader gives something else.
    """
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        folder = Path(name)
        files = _frames(folder / "pool", images)
        found = [*_manifest(folder, rows, rounds), *_readers(folder, files, rounds, notes)]
        if importlib.util.find_spec("moto") and importlib.util.find_spec("obstore"):
            found += _store(folder, files, rounds, objects, latency, notes)
        else:
            notes.append("object storage is left out: pip install 'moto[s3]' flask obstore")
    return Report(
        question="sources",
        settings={
            "images": images,
            "rounds": rounds,
            "rows": rows,
            "objects": objects,
            "latency": latency,
        },
        rows=tuple(found),
        notes=tuple(notes),
    )


def _frames(folder: Path, count: int) -> dict[str, bytes]:
    folder.mkdir()
    views = sorted(path for path in Path(demo_file("pool")).iterdir() if path.suffix == ".jpg")
    files = {}
    for index in range(count):
        view = np.roll(np.asarray(Image.open(views[index % len(views)])), 7 * index, axis=1)
        file = BytesIO()
        large = Image.fromarray(view).resize(_SIZE[::-1], Image.Resampling.BICUBIC)
        large.save(file, "JPEG", quality=90)
        files[f"{index:05}.jpg"] = file.getvalue()
        (folder / f"{index:05}.jpg").write_bytes(file.getvalue())
    return files


def _manifest(folder: Path, rows: int, rounds: int) -> list[Row]:
    table = pa.table(
        {
            "uri": [f"drives/d{i % 100:03}/front/{i:09}.jpg" for i in range(rows)],
            "sequence": [f"d{i % 100:03}" for i in range(rows)],
            "timestamp_ns": pa.array(range(10**18, 10**18 + rows), pa.int64()),
        }
    )
    path = str(folder / "manifest.parquet")
    parquet.write_table(table, path, row_group_size=65_536)

    def microseconds(shard: Shard) -> list[float]:
        spent = []
        for _ in range(rounds):
            pool = Pool(path, shard=shard)
            start = time.process_time()
            count = pool.count()
            listed = sum(1 for _ in pool.listed())
            spent.append((time.process_time() - start) / rows * 1e6)
            if count != listed or abs(count - rows / shard.count) > 1:
                raise FailedCheckError(f"shard {shard} has {count} and {listed} of {rows} rows")
        return spent

    return [
        Row("manifest: count and list", spread(microseconds(Shard())), "CPU µs/row", "<= 3"),
        Row(
            "manifest: the same, shard 0/4", spread(microseconds(Shard(0, 4))), "CPU µs/row", "<= 3"
        ),
    ]


def _readers(folder: Path, files: dict[str, bytes], rounds: int, notes: list[str]) -> list[Row]:
    with tarfile.open(folder / "a.tar", "w") as tar:
        for name in files:
            tar.add(folder / "pool" / name, name)
    cells = [{"bytes": data, "path": name} for name, data in files.items()]
    parquet.write_table(
        pa.table({"image": cells}), folder / "a.parquet", row_group_size=100, compression="none"
    )
    sources = {"file": "pool", "tar": "a.tar", "Parquet": "a.parquet"}
    if importlib.util.find_spec("mcap_ros2"):
        _log(folder / "a.mcap", files)
        sources["MCAP"] = "a.mcap"
    else:
        notes.append("MCAP is left out: pip install 'deal-score[mcap]'")
    pools = {name: _items(str(folder / source)) for name, source in sources.items()}
    for name, items in pools.items():
        _check(name, items, files)
    decoding = [
        _cpu(lambda: [decode_bytes(data) for data in files.values()]) for _ in range(rounds)
    ]
    found = [Row("decode a JPEG in full", _each(decoding, files), "CPU ms/image")]
    for name, items in pools.items():
        spent = [_cpu(partial(_read, items)) for _ in range(rounds + 1)][1:]
        shares = [100 * ours / theirs for ours, theirs in zip(spent, decoding, strict=True)]
        found.append(Row(f"{name}: read", _each(spent, files), "CPU ms/image"))
        found.append(Row(f"{name}: read, of decoding", spread(shares), "%", "<= 5"))
    return found


def _store(
    folder: Path,
    files: dict[str, bytes],
    rounds: int,
    objects: int,
    latency: int,
    notes: list[str],
) -> list[Row]:
    model = str(demo_file("model.onnx"))
    names = list(files)
    many = {f"{i:06}.jpg": files[names[i % len(names)]] for i in range(objects)}
    with _environment(), _served(0.0, files) as near, _served(latency / 1000, many) as far:
        items = _items("s3://bench/", endpoint_url=near)
        _check("object storage", items, files)

        def fetch() -> None:
            fetcher = Fetcher(Meter(), max_pixels=_MOST_PIXELS)
            for item in fetcher(items):
                item.locator.read(_MOST_PIXELS)

        spent = [_cpu(fetch) for _ in range(rounds + 1)][1:]
        report = deal.score_pool(
            "s3://bench/", model=model, output=folder / "scored", endpoint_url=far, spread="off"
        )
    if report.scored != objects:
        raise FailedCheckError(f"{report.scored} of {objects} objects were scored")
    notes.append(
        f"scored from a store {latency} ms away: bound by {report.bound_by}; busy seconds "
        + ", ".join(f"{stage} {value:.1f}" for stage, value in report.busy_seconds.items())
    )
    return [
        Row("object storage: fetch", _each(spent, files), "CPU ms/image", "<= 1.5"),
        Row(
            f"scored from a store {latency} ms away",
            single(report.scored / report.seconds),
            "images/s",
        ),
        Row(
            f"bound by the network, from a store {latency} ms away",
            single(float(report.bound_by == "network")),
            "1",
            ">= 1",
        ),
    ]


def _items(source: str, endpoint_url: str | None = None) -> list[PoolItem]:
    pool = Pool(source, reading=Reading(endpoint_url=endpoint_url))
    return [entry for entry in pool if isinstance(entry, PoolItem)]


def _read(items: Sequence[PoolItem]) -> None:
    for item in items:
        item.locator.read(_MOST_PIXELS)


def _check(name: str, items: Sequence[PoolItem], files: dict[str, bytes]) -> None:
    if [item.locator.read(_MOST_PIXELS) for item in items] != list(files.values()):
        raise FailedCheckError(f"{name}: other bytes were read than are stored")


def _cpu(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _each(seconds: Sequence[float], files: dict[str, bytes]) -> Spread:
    return spread([1000 * one / len(files) for one in seconds])


def _log(path: Path, files: dict[str, bytes]) -> None:
    from mcap_ros2.writer import Writer

    header = "=" * 80
    definition = (
        "std_msgs/Header header\nstring format\nuint8[] data\n"
        f"{header}\nMSG: std_msgs/Header\nbuiltin_interfaces/Time stamp\nstring frame_id\n"
        f"{header}\nMSG: builtin_interfaces/Time\nint32 sec\nuint32 nanosec\n"
    )
    with path.open("wb") as file:
        writer = Writer(file)
        schema = writer.register_msgdef("sensor_msgs/msg/CompressedImage", definition)
        for index, data in enumerate(files.values()):
            stamp = {"sec": 10**9, "nanosec": index}
            message = {"header": {"stamp": stamp, "frame_id": "c"}, "format": "jpeg", "data": data}
            writer.write_message("/c", schema, message, 10**18 + index, 10**18 + index)
        writer.finish()  # type: ignore[no-untyped-call]


@contextmanager
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "NO_PROXY": "127.0.0.1",
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextmanager
def _served(latency: float, files: dict[str, bytes]) -> Iterator[str]:
    """Address of a store in a process of its own, whose bucket ``bench`` holds the files."""
    command = [sys.executable, "-m", "deal.bench.store_server", str(latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            port = int(process.stdout.readline())
            connection = http.client.HTTPConnection("127.0.0.1", port)
            for path, data in [("", b""), *((f"/{name}", data) for name, data in files.items())]:
                connection.request("PUT", f"/bench{path}", data, {"Authorization": _SIGNED})
                reply = connection.getresponse()
                reply.read()
                if reply.status >= 300:
                    raise FailedCheckError(f"the store refused /bench{path}: {reply.status}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.stdin.close()
            process.terminate()
