"""Damaged, foreign and oversized image files are errors with a reason."""

from __future__ import annotations

import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from deal.errors import ItemError
from deal.pool.decode import decode, decode_bytes
from tests.helpers.images import RGB, VARIANTS, H, W, encode, item, large, png


def fails(data: bytes, **options: int) -> ItemError:
    with pytest.raises(ItemError) as caught:
        decode_bytes(data, **options)
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize(
    "values",
    [
        np.array([[0, 70000]], np.int32),
        np.array([[-1, 5]], np.int32),
        np.array([[0, 255]], np.float32),
        np.array([[0, np.nan]], np.float32),
    ],
)
def test_grey_out_of_range_is_an_error_and_not_clipped(values: np.ndarray) -> None:
    error = fails(encode(Image.fromarray(values), "TIFF"))
    assert error.code == "decode"
    assert "8 or 16 bits" in error.message


@pytest.mark.parametrize("name", VARIANTS)
def test_every_truncated_file_is_an_error(name: str) -> None:
    data = VARIANTS[name]
    cuts = {*range(1, 64), *range(64, len(data), 41), *range(len(data) - 20, len(data))}
    for cut in cuts:
        assert fails(data[:cut]).code == "decode", cut


def test_empty_foreign_and_unsupported_content_are_errors() -> None:
    assert "empty" in fails(b"").message
    assert "not a JPEG" in fails(b"<html>not an image</html>").message
    assert "not a JPEG" in fails(encode(RGB.convert("P"), "GIF")).message


def test_stray_bytes_in_a_jpeg_are_skipped_and_recorded() -> None:
    data = VARIANTS["jpeg"]
    decoded = decode_bytes(data[:20] + b"\x11\x22\x33" + data[20:])
    assert decoded.color_mode == "RGB;extraneous-bytes"
    np.testing.assert_array_equal(decoded.image, decode_bytes(data).image)
    fails(data[:20] + b"\x11\x22" + data[20:-60])


def test_a_strange_jfif_revision_is_no_damage() -> None:
    data = bytearray(VARIANTS["jpeg"])
    assert data[6:11] == b"JFIF\0"
    data[11] = 9
    np.testing.assert_array_equal(
        decode_bytes(bytes(data)).image, decode_bytes(VARIANTS["jpeg"]).image
    )


def test_zeros_in_the_middle_of_a_jpeg_scan_are_damage() -> None:
    data = bytearray(VARIANTS["jpeg"])
    scan = data.index(b"\xff\xda") + 14
    data[scan : scan + 40] = b"\xff" * 40
    assert fails(bytes(data)).code == "decode"


@pytest.mark.parametrize("name", VARIANTS)
def test_too_many_pixels_are_refused_with_the_size_and_the_option(name: str) -> None:
    error = fails(VARIANTS[name], max_pixels=H * W - 1)
    assert error.code == "too_large"
    assert f"{W}×{H} pixels" in error.message
    assert "--max-pixels" in error.message
    assert decode_bytes(VARIANTS[name], max_pixels=H * W).image.shape == (H, W, 3)


@pytest.mark.parametrize("kind", [b"VP8X", b"VP8L", b"VP8 "])
def test_webp_headers_are_checked_before_a_canvas_is_made(kind: bytes) -> None:
    size = {
        b"VP8X": bytes(4) + b"\xff\xff\xff" * 2,
        b"VP8L": b"\x2f" + struct.pack("<I", 2**28 - 1) + bytes(5),
        b"VP8 ": b"\0\0\0\x9d\x01\x2a" + struct.pack("<HH", 16383, 16383),
    }[kind]
    data = b"RIFF\xff\0\0\0WEBP" + kind + struct.pack("<I", 10) + size
    assert fails(data).code == "too_large"


def test_a_bomb_is_refused_by_its_header() -> None:
    data = bytearray(png(np.zeros((1, 1, 3), np.uint8), 2))
    data[16:24] = struct.pack(">II", 30000, 30000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    assert "30000×30000" in fails(bytes(data)).message


@pytest.mark.parametrize("name", [name for name in VARIANTS if "webp" not in name])
def test_pillows_own_limit_does_not_interfere(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_bytes(VARIANTS[name]).image.shape == (H, W, 3)
    assert Image.MAX_IMAGE_PIXELS == 10


def test_files_too_long_for_the_pixels_allowed_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "sparse.tif"
    with path.open("wb") as file:
        file.write(b"II*\0")
        file.truncate(2**31)
    with pytest.raises(ItemError, match="--max-pixels") as caught:
        decode(item(path), max_pixels=1000)
    assert caught.value.code == "too_large"


def test_unreadable_files_are_io_errors(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    for name, reason in (("gone.png", "No such file"), ("folder.png", "Is a directory")):
        with pytest.raises(ItemError, match=reason) as caught:
            decode(item(tmp_path / name))
        assert caught.value.code == "io"


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(sorted(VARIANTS)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
)
def test_damage_never_raises_anything_but_an_item_error(
    name: str, changes: list[tuple[float, int]]
) -> None:
    data = bytearray(VARIANTS[name])
    for place, value in changes:
        data[int(place * len(data))] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow remarks on damaged tags
        code, image = outcome(bytes(data))
    assert code in ("ok", "decode", "too_large")
    assert (image is not None) == (code == "ok")


def outcome(data: bytes) -> tuple[str, np.ndarray | None]:
    try:
        return "ok", decode_bytes(data, max_pixels=10**6).image
    except ItemError as error:
        return error.code if "\n" not in error.message else "two lines", None


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_refused_at_every_scale(keep: float, progressive: bool) -> None:
    data = encode(large(192, 320), "JPEG", progressive=progressive)
    for at_least in ((96, 160), (48, 80), (8, 8)):
        with pytest.raises(ItemError, match="JPEG"):
            decode_bytes(data[: int(len(data) * keep)], at_least=at_least)
