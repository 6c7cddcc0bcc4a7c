"""How much damage does decoding notice, and does it refuse what is whole?

::

    python -m deal.bench.damage FRAMES... --whole 10000 --damaged 400

FRAMES are images (or folders and globs of them). Two tables come out, as Markdown. *Whole*: frames
of several encoders, of which none may be refused: as they are, cut, turned, enlarged, flat, with
black bars, and drawn scenes. *Damaged*: files with one injury each; how many are refused, and of
those that are not how many pixels differ by more than 8 levels.

Encoders beside Pillow's are used where they are installed: ``cjpeg``, PyAV's mjpeg
(``pip install av``), mozjpeg (``pip install mozjpeg-lossless-optimization``).
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from itertools import count, cycle, islice
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image, ImageDraw, ImageOps, features

from deal.errors import ItemError
from deal.export.images import image_of
from deal.pool.decode import decode_bytes
from deal.pool.listing import Pool
from deal.types import PoolItem

__all__ = ["damaged_table", "encoders", "injuries", "main", "whole_table"]

Encoder = Callable[[Image.Image], bytes]
Injury = Callable[[bytes, random.Random], bytes]

_LEVELS = 8  # a pixel is wrong when a channel is further off
_SECTOR = 512


def encoders() -> dict[str, Encoder]:
    """Encoders that are installed, by name."""
    found: dict[str, Encoder] = {
        "JPEG, libjpeg-turbo 4:2:0": lambda image: _pillow(image, "JPEG", quality=90),
        "JPEG, libjpeg-turbo 4:4:4 optimised": lambda image: _pillow(
            image, "JPEG", quality=95, subsampling=0, optimize=True
        ),
        "JPEG, libjpeg-turbo 4:2:2": lambda image: _pillow(
            image, "JPEG", quality=75, subsampling=1
        ),
        "JPEG, libjpeg-turbo grey": lambda image: _pillow(image.convert("L"), "JPEG", quality=90),
        "JPEG, libjpeg-turbo with restarts": lambda image: _pillow(
            image, "JPEG", quality=90, restart_marker_rows=1
        ),
        "JPEG, libjpeg-turbo progressive": lambda image: _pillow(
            image, "JPEG", quality=85, progressive=True
        ),
        "JPEG, simplejpeg": lambda image: simplejpeg.encode_jpeg(
            np.asarray(image.convert("RGB")), quality=85, colorsubsampling="420"
        ),
        "PNG": lambda image: _pillow(image, "PNG", compress_level=1),
        "WebP": lambda image: _pillow(image, "WEBP", quality=80, method=2),
        "WebP lossless": lambda image: _pillow(image, "WEBP", lossless=True, method=0),
        "TIFF deflate": lambda image: _pillow(image, "TIFF", compression="tiff_deflate"),
        "TIFF LZW": lambda image: _pillow(image, "TIFF", compression="tiff_lzw"),
        "TIFF JPEG": lambda image: _pillow(image, "TIFF", compression="jpeg"),
    }
    if features.check("avif"):
        found["AVIF"] = lambda image: _pillow(image, "AVIF", quality=75, speed=10)
    if find_spec("pillow_heif"):
        found["HEIC"] = _heic
    if find_spec("pillow_jxl"):
        found["JPEG XL"] = _jxl
    if shutil.which("cjpeg"):
        found["JPEG, cjpeg 4:4:0"] = lambda image: _cjpeg(image, "-quality", "80", "-sample", "1x2")
        found["JPEG, cjpeg float, restarts of 7 blocks"] = lambda image: _cjpeg(
            image, "-quality", "92", "-dct", "float", "-restart", "7B"
        )
    if find_spec("av"):
        found["JPEG, FFmpeg mjpeg"] = _mjpeg
    if find_spec("mozjpeg_lossless_optimization"):
        mozjpeg: Any = import_module("mozjpeg_lossless_optimization")
        found["JPEG, mozjpeg"] = lambda image: bytes(
            mozjpeg.optimize(_pillow(image, "JPEG", quality=80))
        )
    return found


def injuries() -> dict[str, Injury]:
    """What happens to files, by name; each leaves the header alone."""
    return {
        "tail of zeros (power cut)": _zero_tail,
        "cut short": lambda data, rng: data[: _place(data, rng)],
        "512 random bytes": lambda data, rng: _over(data, rng, rng.randbytes(_SECTOR)),
        "512 zeros (a lost sector)": lambda data, rng: _over(data, rng, bytes(_SECTOR)),
        "512 bytes of elsewhere in the file": _shuffled,
        "1 to 511 bytes missing": _missing,
        "one byte": lambda data, rng: _over(data, rng, rng.randbytes(1)),
        "one bit": _bit,
    }


def frames(images: Sequence[Image.Image], seed: int) -> Iterator[Image.Image]:
    """Frames without end: the images cut, turned, enlarged, flattened, and drawn scenes."""
    rng = random.Random(seed)
    for number, image in zip(count(), cycle(images), strict=False):
        width, height = image.size
        match number % 8:
            case 0:
                yield image
            case 1:
                yield image.crop(
                    (rng.randrange(width // 2), rng.randrange(height // 2), *image.size)
                )
            case 2:
                yield image.transpose(Image.Transpose(rng.randrange(7)))
            case 3:
                side = rng.randrange(33, 400)
                yield image.resize((side, rng.randrange(33, 400)), Image.Resampling.BICUBIC)
            case 4:  # black bars, whose edges are those of blocks
                bar = 16 * rng.randrange(1, 4)
                yield ImageOps.expand(image.crop((0, bar, width, height - bar)), (0, bar))
            case 5:
                colour = tuple(rng.choices((0, 255, rng.randrange(256)), k=3))
                flat = Image.new("RGB", image.size, colour)
                flat.paste(image.crop((0, 0, width // 4, height // 4)), (width // 8, height // 2))
                yield flat if rng.random() < 0.8 else Image.new("RGB", image.size, colour)
            case 6:
                yield ImageOps.posterize(image, rng.randrange(1, 5))
            case _:
                yield _scene(rng, image.size)


def whole_table(
    images: Sequence[Image.Image], number: int, only: str = "", seed: int = 0
) -> list[list[str]]:
    """Rows of encoder, frames and how many were refused, with the first reason."""
    rows = []
    for name, encode in _chosen(only):
        refused = []
        for frame in islice(frames(images, seed), number):
            try:
                decode_bytes(encode(frame))
            except ItemError as error:
                refused.append(error.message)
        rows.append([name, str(number), str(len(refused)), *refused[:1]])
        print("|", " | ".join(rows[-1]), "|", flush=True)
    return rows


def damaged_table(
    images: Sequence[Image.Image], number: int, only: str = "", seed: int = 0
) -> list[list[str]]:
    """Rows of encoder and injury: files, refused, wrong pixels of those that are not."""
    rows = []
    for name, encode in _chosen(only):
        files = [encode(image) for image in islice(cycle(images), min(len(images), 40))]
        for injury, injure in injuries().items():
            rng, tried, wrong = random.Random(seed), 0, []
            for data in islice(cycle(files), number):
                hurt = injure(data, rng)
                if hurt == data:
                    continue
                tried += 1
                try:
                    image = decode_bytes(hurt).image.astype(int)
                except ItemError:
                    continue
                off = np.abs(image - decode_bytes(data).image).max(axis=2) > _LEVELS
                wrong.append(float(off.mean()))
            share = f"{1 - len(wrong) / tried:.1%}"
            pixels = f"{np.median(wrong):.0%} ({max(wrong):.0%})" if wrong else ""
            rows.append([name, injury, str(tried), share, pixels])
            print("|", " | ".join(rows[-1]), "|", flush=True)
    return rows


def _chosen(only: str) -> list[tuple[str, Encoder]]:
    return [(name, encode) for name, encode in encoders().items() if only in name]


def _pillow(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _heic(image: Image.Image) -> bytes:
    buffer = BytesIO()
    import_module("pillow_heif").from_pillow(image).save(buffer, quality=75)
    return buffer.getvalue()


def _jxl(image: Image.Image) -> bytes:
    encoder = import_module("pillow_jxl").Encoder(mode="RGB", quality=85, effort=1)
    return bytes(encoder(image.convert("RGB").tobytes(), image.width, image.height, False))


def _cjpeg(image: Image.Image, *options: str) -> bytes:
    return subprocess.run(
        ["cjpeg", *options], input=_pillow(image, "PPM"), capture_output=True, check=True
    ).stdout


def _mjpeg(image: Image.Image) -> bytes:
    av: Any = import_module("av")
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height = image.size
    context.pix_fmt = "yuvj420p"
    context.time_base = Fraction(1, 25)
    frame = av.VideoFrame.from_image(image).reformat(format="yuvj420p")
    return b"".join(bytes(packet) for packet in [*context.encode(frame), *context.encode(None)])


def _scene(rng: random.Random, size: tuple[int, int]) -> Image.Image:
    image = Image.new("RGB", size, tuple(rng.choices(range(256), k=3)))
    draw = ImageDraw.Draw(image)
    for _ in range(rng.randrange(1, 20)):
        x, y = (sorted(rng.choices(range(length), k=2)) for length in size)
        draw.rectangle((x[0], y[0], x[1], y[1]), fill=tuple(rng.choices(range(256), k=3)))
    return image


def _place(data: bytes, rng: random.Random, room: int = 16) -> int:
    """A place behind the header, with room to the end."""
    scan = data.find(b"\xff\xda")
    start = scan + 14 if data.startswith(b"\xff\xd8") else 1024 if data[4:8] == b"ftyp" else 64
    return rng.randrange(start, max(len(data) - room, start + 1))


def _zero_tail(data: bytes, rng: random.Random) -> bytes:
    place = _place(data, rng)
    return data[:place] + bytes(len(data) - place)


def _over(data: bytes, rng: random.Random, new: bytes) -> bytes:
    place = _place(data, rng, len(new) + 16)
    return (data[:place] + new + data[place + len(new) :])[: len(data)]


def _shuffled(data: bytes, rng: random.Random) -> bytes:
    source = _place(data, rng, _SECTOR + 16)
    return _over(data, rng, data[source : source + _SECTOR])


def _missing(data: bytes, rng: random.Random) -> bytes:
    place = _place(data, rng, _SECTOR + 16)
    return data[:place] + data[place + rng.randrange(1, _SECTOR) :]


def _bit(data: bytes, rng: random.Random) -> bytes:
    hurt = bytearray(data)
    hurt[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(hurt)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(prog="deal.bench.damage", description=__doc__)
    parser.add_argument("frames", nargs="+", help="images, folders or globs")
    parser.add_argument("--whole", type=int, default=0, help="frames an encoder, undamaged")
    parser.add_argument("--damaged", type=int, default=0, help="files an encoder and injury")
    parser.add_argument("--only", default="", help="encoders whose name holds this")
    parser.add_argument("--images", type=int, default=200, help="frames to read")
    chosen = parser.parse_args(arguments)
    items = [item for item in Pool(chosen.frames) if isinstance(item, PoolItem)]
    items = items[:: max(len(items) // chosen.images, 1)][: chosen.images]
    images = [Image.fromarray(image_of(item)) for item in items]
    if chosen.whole:
        print("| encoder | whole frames | refused |\n|---|---|---|")
        whole_table(images, chosen.whole, chosen.only)
    if chosen.damaged:
        print("| encoder | injury | files | refused | wrong pixels of the others (most) |")
        print("|---|---|---|---|---|")
        damaged_table(images, chosen.damaged, chosen.only)


if __name__ == "__main__":
    main()
