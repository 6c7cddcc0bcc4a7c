"""AVIF, HEIC and JPEG XL, where the packages that read them are installed."""

from __future__ import annotations

import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, features

from deal.errors import ItemError
from deal.pool.decode import decode_bytes, pixels_of
from deal.pool.plugins import jxl_size
from tests.helpers.images import RGB, encode, exif, large

needs_avif = pytest.mark.skipif(not features.check("avif"), reason="Pillow is built without AVIF")


def heic(image: Image.Image, **options: object) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif")
    buffer = BytesIO()
    pillow_heif.from_pillow(image).save(buffer, quality=-1, **options)
    return buffer.getvalue()


def jxl(image: Image.Image, **options: object) -> bytes:
    module = pytest.importorskip("pillow_jxl")
    encoder = module.Encoder(mode=image.mode, lossless=True, **options)
    return bytes(encoder(image.tobytes(), image.width, image.height, False))


def fails(data: bytes, **options: int) -> ItemError:
    with pytest.raises(ItemError) as caught:
        decode_bytes(data, **options)
    return caught.value


@needs_avif
@pytest.mark.parametrize("orientation", [1, 6, 8])
def test_avif_is_decoded_and_turned(orientation: int) -> None:
    image = large(64, 96)
    decoded = decode_bytes(encode(image, "AVIF", quality=100, exif=exif(orientation)))
    expected = np.rot90(np.asarray(image), {1: 0, 6: -1, 8: 1}[orientation]).astype(int)
    assert decoded.orientation == orientation
    assert np.abs(decoded.image - expected).mean() < 8


@needs_avif
def test_an_avif_whose_tail_is_zeros_is_damaged() -> None:
    data = encode(large(128, 192), "AVIF")
    for lost in (16, len(data) // 4):
        assert fails(data[:-lost] + bytes(lost)).code == "decode"
    flat = decode_bytes(encode(Image.new("RGB", (300, 200)), "AVIF"))
    assert flat.image.max() <= 1


@pytest.mark.parametrize("orientation", [None, 6])
def test_heic_is_turned_once_by_its_own_transform(orientation: int | None) -> None:
    image = large(64, 96)
    options = {} if orientation is None else {"exif": exif(orientation).tobytes()}
    decoded = decode_bytes(heic(image, **options))
    expected = np.rot90(np.asarray(image), 0 if orientation is None else -1).astype(int)
    assert (decoded.orientation, decoded.color_mode) == (1, "RGB")
    assert np.abs(decoded.image - expected).mean() < 8


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_lossless_jpeg_xl_gives_the_same_pixels(mode: str) -> None:
    source = RGB.convert(mode)
    decoded = decode_bytes(jxl(source))
    np.testing.assert_array_equal(decoded.image, np.asarray(source.convert("RGB")))
    assert decoded.color_mode == mode


@pytest.mark.parametrize("size", [(8, 8), (24, 40), (300, 400), (37, 1000), (640, 1280), (96, 64)])
def test_the_size_of_a_jpeg_xl_is_read_from_its_header(size: tuple[int, int]) -> None:
    assert jxl_size(jxl(large(*size))) == size[::-1]
    assert jxl_size(b"\xff\x0a") == (1, 1)  # no more than the mark
    assert jxl_size(b"\0\0\0\x0cJXL \r\n\x87\n") == (0, 0)


def test_the_pixels_of_every_format_are_told_from_the_header() -> None:
    for data in (heic(large(64, 96)), jxl(large(64, 96))):
        assert pixels_of(data) == 64 * 96
        assert fails(data, max_pixels=64 * 96 - 1).code == "too_large"


@needs_avif
def test_truncated_files_are_errors() -> None:
    for data in (encode(large(64, 96), "AVIF"), heic(large(64, 96)), jxl(large(64, 96))):
        for cut in (20, len(data) // 3, len(data) * 2 // 3):
            assert fails(data[:cut]).code == "decode"


@pytest.mark.parametrize(
    ("data", "module", "extra"),
    [
        (b"\0\0\0\x18ftypheic" + bytes(40), "pillow_heif", "heif"),
        (b"\xff\x0a" + bytes(40), "pillow_jxl", "jxl"),
    ],
)
def test_without_the_package_the_row_says_what_to_install(
    data: bytes, module: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    assert f"[{extra}]" in fails(data).message
