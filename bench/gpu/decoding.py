"""What nvImageCodec would decode on this GPU, and whether it refuses what ``deal-score`` refuses.

``deal-score`` decodes on the CPU. Whether a decoder on the GPU could take its place hangs on what
no document says: does each of its backends refuse a damaged file, and how far are its pixels?
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deal.bench.gpu.device import open_device
from deal.bench.gpu.record import Record, SkipError
from deal.synthetic.scenes import write_pool

__all__ = ["decoding"]

_BACKENDS = ("HW_GPU_ONLY", "HYBRID_CPU_GPU", "GPU_ONLY")
_BATCH = 64
_LEVELS = 2.0
_KEPT = 0.9
_CPU = -99999  # NVIMGCODEC_DEVICE_CPU_ONLY of nvimgcodec.h


def decoding(record: Record) -> None:
    """Time each backend on JPEG files in memory, one decoder with one CPU thread."""
    try:
        from nvidia import nvimgcodec
    except ImportError as error:
        raise SkipError(
            "nvImageCodec is not installed: bring the wheel of nvidia-nvimgcodec-cu13 and, where "
            "the CUDA toolkit lacks libnvjpeg, that of nvidia-nvjpeg"
        ) from error
    size = (96, 128) if record.rehearsal else (360, 480)
    with tempfile.TemporaryDirectory(prefix="deal-bench-") as name:
        pool = write_pool(Path(name) / "pool", 4 if record.rehearsal else _BATCH, size)
        paths = sorted(pool.iterdir())
        data = [path.read_bytes() for path in paths]
        expected = []
        for path in paths:
            with Image.open(path) as image:
                expected.append(np.asarray(image.convert("RGB")))
    for kind in ("CPU_ONLY",) if record.rehearsal else _BACKENDS:
        decoder = nvimgcodec.Decoder(
            device_id=_CPU if record.rehearsal else 0,
            max_num_cpu_threads=1,
            backends=[nvimgcodec.Backend(getattr(nvimgcodec.BackendKind, kind))],
        )
        _time(record, kind, decoder, data, expected)


def _time(
    record: Record,
    kind: str,
    decoder: Any,
    data: Sequence[bytes],
    expected: Sequence[NDArray[np.uint8]],
) -> None:
    device = open_device(record.device)
    images = decoder.decode(list(data))
    if any(image is None for image in images):
        record.note(f"{kind} is left out: it decodes nothing here")
        return
    found = [np.asarray(image.cpu()) for image in images]
    apart = max(
        float(np.abs(a.astype(np.int16) - b).mean()) for a, b in zip(found, expected, strict=True)
    )
    record.check(f"pixels of {kind}", apart <= _LEVELS, f"{apart:.2g} levels from Pillow's")
    cut = decoder.decode([file[: int(_KEPT * len(file))] for file in data])
    taken = sum(image is not None for image in cut)
    record.row(f"truncated files that {kind} takes for whole", [100 * taken / len(cut)], "%")
    seconds = []
    for _ in range(3 if record.rehearsal else 12):
        start = time.perf_counter()
        images = decoder.decode(list(data), images=images)
        device.synchronize()
        seconds.append(time.perf_counter() - start)
    rates = [len(data) / s for s in seconds[2:]]
    record.row(f"nvImageCodec {kind}, batch {len(data)}", rates, "images/s")
