"""What share of a core's time do decoding and resizing take beside the network?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import deal
from deal.bench.failed import FailedCheckError
from deal.bench.networks import random_model
from deal.bench.report import Report, Row
from deal.bench.timing import Spread, spread
from deal.errors import ItemError, UsageError
from deal.export.images import image_of
from deal.metrics import spearman
from deal.pool.decode import decode_bytes
from deal.pool.listing import Pool
from deal.pool.locator import read_file
from deal.pool.signature import thumbnail
from deal.scoring.inputs import ImageExtras
from deal.scoring.session import Session
from deal.synthetic.scenes import write_pool
from deal.types import PoolItem

__all__ = ["run"]

_SIZES = {"360×480": (360, 480), "1080×1920": (1080, 1920)}
_TARGETS = {"360×480": "<= 3", "1080×1920": "<= 10"}
_FUNCTIONS = ("ds", "ds:entropy", "de", "entropy", "margin", "least-confidence")


def run(
    *,
    pool: Sequence[str] = (),
    model: str | None = None,
    images: int = 40,
    rounds: int = 5,
    feed: float = 10_000.0,
) -> Report:
    """Take the CPU time of one thread for each stage, image by image.

    Frames of the larger size are the same frames, enlarged (bicubic, JPEG quality 90, 4:2:0).
    Shares are of decoding, resizing, network and kernel together. ``feed`` is what a network on a
    GPU takes, in images a second: how many cores decode and resize for it? With a ``model``, which
    is trained, its scores of the larger frames are compared with those of frames decoded in full.

    Raises UsageError for a model that takes no frames decoded to scale, and FailedCheckError where
    what is to be timed is not correct.
    """
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        folder = Path(name)
        sources = list(pool) or [str(write_pool(folder / "pool", images, (360, 480)))]
        path = Path(model) if model else random_model(folder, "light")
        found = [item for item in Pool(sources) if isinstance(item, PoolItem)]
        found = found[:: max(len(found) // images, 1)][:images]
        pools = {label: _frames(found, size) for label, size in _SIZES.items()}
        rows = []
        with (
            Session.open(path, threads=1, device="cpu") as scaled,
            Session.open(path, threads=1, device="cpu", scaled_decode=False) as full,
        ):
            _check(pools["1080×1920"][0], scaled.at_least)
            for label, files in pools.items():
                rows += _shares(label, files, scaled, full, rounds, feed)
            if model:  # scores of random weights rank noise
                rows.append(_fidelity(pools["1080×1920"], scaled, full))
        return Report(
            question="decode",
            settings={
                "images": len(found),
                "network": path.name if model else "light",
                "rounds": rounds,
                "feed": feed,
            },
            rows=tuple(rows),
        )


def _frames(items: Sequence[PoolItem], size: tuple[int, int]) -> list[bytes]:
    """JPEG files at a size (H, W): as they are, or enlarged."""
    frames = []
    for item in items:
        data = read_file(item.uri)
        image = image_of(item)
        if image.shape[:2] != size or not data.startswith(b"\xff\xd8"):
            file = BytesIO()
            resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.BICUBIC)
            resized.save(file, "JPEG", quality=90)
            data = file.getvalue()
        frames.append(data)
    return frames


def _check(data: bytes, at_least: tuple[int, int] | None) -> None:
    """Hold scaled decoding against decoding in full."""
    if at_least is None:
        raise UsageError(
            "the model has no input_size, so nothing is decoded to scale for it: "
            "measure it with deal bench model"
        )
    whole, scaled = decode_bytes(data), decode_bytes(data, at_least=at_least)
    if scaled.image.shape == whole.image.shape:
        raise UsageError(
            f"the model's input of {at_least[0]}×{at_least[1]} is too large for frames of "
            f"{whole.size[0]}×{whole.size[1]} to be decoded to scale: measure it with deal bench "
            "model"
        )
    if scaled.size != whole.size or scaled.image.shape >= whole.image.shape:
        raise FailedCheckError(f"decoded to {scaled.image.shape} of {scaled.size}")
    height, width, _ = scaled.image.shape
    factor = whole.height // height
    averaged = whole.image[: factor * height, : factor * width]
    averaged = averaged.reshape(height, factor, width, factor, 3).mean(axis=(1, 3))
    if np.abs(averaged - scaled.image).mean() > 3:
        raise FailedCheckError("a scaled image is not the average of the whole")
    try:
        decode_bytes(data[: len(data) * 9 // 10], at_least=at_least)
    except ItemError:
        return
    raise FailedCheckError("a truncated JPEG was decoded")


def _prepared(data: bytes, scorer: Session) -> tuple[NDArray[np.uint8], ImageExtras]:
    decoded = decode_bytes(data, at_least=scorer.at_least)
    return scorer.prepared(decoded.image, original=decoded.size)


def _shares(
    label: str,
    files: Sequence[bytes],
    scaled: Session,
    full: Session,
    rounds: int,
    feed: float,
) -> list[Row]:
    names = ("decode", "full", "thumbnail", "network")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(1 + rounds):
        spent = dict.fromkeys(names, 0.0)
        for data in files:
            times = [time.thread_time()]
            _prepared(data, full)
            times.append(time.thread_time())
            decoded = decode_bytes(data, at_least=scaled.at_least)
            image, extras = scaled.prepared(decoded.image, original=decoded.size)
            times.append(time.thread_time())
            thumbnail(decoded.image)
            times.append(time.thread_time())
            scaled.score_batch([image], [extras])
            times.append(time.thread_time())
            for name, start, end in zip(
                ("full", "decode", "thumbnail", "network"), times, times[1:], strict=False
            ):
                spent[name] += end - start
        if turn:
            for name in names:
                seconds[name].append(spent[name])

    def row(title: str, name: str) -> Row:
        return Row(title, spread([s * 1000 / len(files) for s in seconds[name]]), "CPU ms/image")

    def share(name: str) -> Spread:
        pairs = zip(seconds[name], seconds["network"], strict=True)
        return spread([100 * ours / (ours + network) for ours, network in pairs])

    return [
        row(f"{label}: network and kernel", "network"),
        row(f"{label}: decode to scale and resize", "decode"),
        row(f"{label}: decode in full and resize", "full"),
        row(f"{label}: thumbnail", "thumbnail"),
        Row(f"{label}: decode to scale and resize", share("decode"), "% of CPU", _TARGETS[label]),
        Row(f"{label}: decode in full and resize", share("full"), "% of CPU"),
        Row(
            f"{label}: one core decodes to scale and resizes",
            spread([len(files) / s for s in seconds["decode"]]),
            "images/s",
        ),
        Row(
            f"{label}: cores for {feed:,.0f} images/s",
            spread([feed * s / len(files) for s in seconds["decode"]]),
            "cores",
        ),
    ]


def _fidelity(files: Sequence[bytes], scaled: Session, full: Session) -> Row:
    """Rank correlation of the scores of images decoded to scale and in full."""
    tables = []
    for scorer in (scaled, full):
        batches = [_prepared(data, scorer) for data in files]
        parts = [scorer.score_batch([image], [extras]).columns for image, extras in batches]
        tables.append({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
    found = [
        spearman(*(deal.acquisition_scores(table, function) for table in tables))
        for function in _FUNCTIONS
    ]
    title = f"Spearman of scores to scale and in full: least of {', '.join(_FUNCTIONS)}"
    return Row(title, spread([min(found)]), "1", ">= 0.99")
