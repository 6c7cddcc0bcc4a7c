"""Image files of every format, mode and kind of damage."""

from __future__ import annotations

import itertools
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from deal.decode import decode, decode_bytes
from deal.errors import ItemError
from deal.types import PoolItem

H, W = 24, 40


def picture() -> np.ndarray:
    """Blocks of colour, [24, 40, 3]: no symmetry, survives JPEG."""
    rng = np.random.default_rng(7)
    blocks = rng.integers(0, 256, (3, 5, 3), dtype=np.uint8)
    return np.repeat(np.repeat(blocks, 8, axis=0), 8, axis=1)


def encode(image: Image.Image, fmt: str, **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


RGB = Image.fromarray(picture())
VARIANTS = {
    "jpeg": encode(RGB, "JPEG", quality=90),
    "jpeg-progressive": encode(RGB, "JPEG", progressive=True),
    "png": encode(RGB, "PNG"),
    "webp": encode(RGB, "WEBP"),
    "webp-lossless": encode(RGB, "WEBP", lossless=True),
    "bmp": encode(RGB, "BMP"),
    "tiff": encode(RGB, "TIFF"),
    "tiff-lzw": encode(RGB, "TIFF", compression="tiff_lzw"),
    "tiff-deflate": encode(RGB, "TIFF", compression="tiff_deflate"),
    "tiff-jpeg": encode(RGB, "TIFF", compression="jpeg"),
}


def png(pixels: np.ndarray, color_type: int) -> bytes:
    """A PNG of uint8 or uint16 samples [H, W, ...], by hand: Pillow cannot write 16 bits."""
    depth = pixels.dtype.itemsize
    rows = b"".join(b"\0" + row.astype(f">u{depth}").tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(
        ">IIBBBBB", pixels.shape[1], pixels.shape[0], 8 * depth, color_type, 0, 0, 0
    )
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def exif(orientation: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = orientation
    return block


def item(path: Path) -> PoolItem:
    return PoolItem(id=path.name, uri=str(path), path=str(path), source_version="")


def fails(data: bytes, **options: int) -> ItemError:
    with pytest.raises(ItemError) as caught:
        decode_bytes(data, **options)
    assert "\n" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("name", VARIANTS)
def test_every_format_gives_the_pixels_pillow_gives(name: str) -> None:
    decoded = decode_bytes(VARIANTS[name])
    expected = np.asarray(Image.open(BytesIO(VARIANTS[name])).convert("RGB"))
    np.testing.assert_array_equal(decoded.image, expected)
    assert (decoded.width, decoded.height) == (W, H)
    assert (decoded.orientation, decoded.color_mode) == (1, "RGB")
    assert decoded.image.dtype == np.uint8
    assert decoded.image.flags.c_contiguous
    assert decoded.image.flags.writeable


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(fmt: str, orientation: int) -> None:
    data = encode(RGB, fmt, exif=exif(orientation))
    decoded = decode_bytes(data)
    expected = ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB")
    np.testing.assert_array_equal(decoded.image, np.asarray(expected))
    assert decoded.orientation == orientation
    assert decoded.image.shape[:2] == ((H, W) if orientation < 5 else (W, H))
    assert decoded.image.flags.c_contiguous


def test_orientation_six_turns_the_picture_clockwise() -> None:
    decoded = decode_bytes(encode(RGB, "PNG", exif=exif(6)))
    np.testing.assert_array_equal(decoded.image, np.rot90(picture(), -1))


def test_orientation_of_a_big_endian_exif_block_after_other_segments() -> None:
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, 8, 0)
    block = b"Exif\0\0MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)
    segments = b"\xff\xfe\0\x05abc" + b"\xff\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    data = VARIANTS["jpeg"]
    decoded = decode_bytes(data[:2] + segments + data[2:])
    assert decoded.orientation == 8
    assert decoded.image.shape == (W, H, 3)


def test_orientation_in_the_legacy_text_of_imagemagick() -> None:
    from PIL.PngImagePlugin import PngInfo

    profile = exif(3).tobytes()
    info = PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(profile):8}\n{profile.hex()}\n", zip=True)
    decoded = decode_bytes(encode(RGB, "PNG", pnginfo=info))
    assert decoded.orientation == 3
    np.testing.assert_array_equal(decoded.image, picture()[::-1, ::-1])


@pytest.mark.parametrize(
    "block",
    [
        b"",
        b"Exif\0\0",
        b"Exif\0\0garbage and more garbage",
        b"Exif\0\0II*\0" + struct.pack("<I", 10**9),
        exif(6).tobytes()[:-12],
        exif(0).tobytes(),
        exif(9).tobytes(),
    ],
)
def test_malformed_exif_means_no_rotation(block: bytes) -> None:
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    data = VARIANTS["jpeg"]
    decoded = decode_bytes(data[:2] + segment + data[2:])
    assert decoded.orientation == 1
    assert decoded.image.shape == (H, W, 3)


GREY = np.asarray(RGB.convert("L"))


@pytest.mark.parametrize(
    ("mode", "fmt", "color_mode"),
    [
        ("L", "PNG", "L"),
        ("L", "JPEG", "L"),
        ("L", "BMP", "L"),
        ("LA", "PNG", "LA"),
        ("RGBA", "PNG", "RGBA"),
        ("RGBA", "TIFF", "RGBA"),
        ("RGBA", "WEBP", "RGBA"),
        ("CMYK", "TIFF", "CMYK"),
        ("1", "PNG", "1"),
        ("P", "PNG", "P"),
        ("P", "BMP", "P"),
    ],
)
def test_modes_become_rgb_and_are_recorded(mode: str, fmt: str, color_mode: str) -> None:
    source = RGB.convert(mode)
    if "A" in mode:
        source.putalpha(77)
    options = {"lossless": True, "exact": True} if fmt == "WEBP" else {}
    decoded = decode_bytes(encode(source, fmt, **options))
    assert decoded.color_mode == color_mode
    without_alpha = source.convert("RGB")
    np.testing.assert_allclose(decoded.image, np.asarray(without_alpha), atol=4)


def test_alpha_is_dropped_and_not_composited() -> None:
    clear = np.dstack([picture(), np.zeros((H, W), np.uint8)])
    np.testing.assert_array_equal(decode_bytes(png(clear, 6)).image, picture())


def test_a_palette_with_transparency_keeps_its_colours() -> None:
    palette = RGB.convert("P")
    data = encode(palette, "PNG", transparency=bytes(range(256)))
    decoded = decode_bytes(data)
    np.testing.assert_array_equal(decoded.image, np.asarray(palette.convert("RGB")))
    assert decoded.color_mode == "P"


def test_cmyk_jpeg_is_inverted_as_adobe_stores_it() -> None:
    decoded = decode_bytes(encode(RGB.convert("CMYK"), "JPEG", quality=95))
    assert decoded.color_mode == "CMYK"
    np.testing.assert_allclose(decoded.image, picture(), atol=12)


def test_sixteen_bit_grey_is_divided_by_257_and_rounded() -> None:
    values = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    tiff = encode(Image.fromarray(values), "TIFF")
    for data in (png(values, 0), tiff):
        decoded = decode_bytes(data)
        assert decoded.color_mode == "I;16"
        expected = np.rint(values / 257).astype(np.uint8)
        np.testing.assert_array_equal(decoded.image, np.repeat(expected[..., None], 3, axis=2))


@pytest.mark.parametrize(("color_type", "channels", "mode"), [(2, 3, "RGB"), (6, 4, "RGBA")])
def test_sixteen_bit_colour_is_within_a_level_of_division(
    color_type: int, channels: int, mode: str
) -> None:
    values = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    decoded = decode_bytes(png(np.dstack([values] * channels), color_type))
    assert decoded.color_mode == f"{mode};16"
    assert np.abs(decoded.image - (values / 257)[..., None]).max() < 1


def test_wide_grey_counts_as_sixteen_bits_and_float_grey_as_fractions() -> None:
    wide = np.array([[0, 257, 65535]], np.int32)
    decoded = decode_bytes(encode(Image.fromarray(wide), "TIFF"))
    assert decoded.image[0, :, 0].tolist() == [0, 1, 255]
    fractions = np.array([[0, 0.5, 1]], np.float32)
    decoded = decode_bytes(encode(Image.fromarray(fractions), "TIFF"))
    assert decoded.image[0, :, 0].tolist() == [0, 128, 255]
    assert decoded.color_mode == "F"


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


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_several_counts(fmt: str) -> None:
    options = {"lossless": True} if fmt == "WEBP" else {}
    frames = {"save_all": True, "append_images": [ImageOps.invert(RGB)]}
    decoded = decode_bytes(encode(RGB, fmt, **frames, **options))
    np.testing.assert_array_equal(decoded.image, picture())
    assert decoded.color_mode == "RGB;animated"


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


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "really.png.jpg"
    path.write_bytes(VARIANTS["png"])
    np.testing.assert_array_equal(decode(item(path)).image, picture())


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


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/a\xff\n b.png")
    Path(path).write_bytes(VARIANTS["png"])
    np.testing.assert_array_equal(decode(item(Path(path))).image, picture())


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


def test_threads_decode_alike() -> None:
    names = list(itertools.islice(itertools.cycle(VARIANTS), 80))
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda name: decode_bytes(VARIANTS[name]).image, names))
    for name, image in zip(names, images, strict=True):
        np.testing.assert_array_equal(image, decode_bytes(VARIANTS[name]).image)


# ---- decoding to scale ---------------------------------------------------------------------------


def large(height: int, width: int) -> Image.Image:
    return RGB.resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize(
    ("at_least", "factor"),
    [(None, 1), ((101, 10), 1), ((51, 81), 2), ((52, 81), 1), ((26, 41), 4), ((5, 5), 8)],
)
def test_a_jpeg_is_decoded_to_the_smallest_scale_that_is_large_enough(
    at_least: tuple[int, int] | None, factor: int
) -> None:
    data = encode(large(101, 161), "JPEG", quality=95)
    decoded = decode_bytes(data, at_least=at_least)
    assert decoded.image.shape[:2] == (-(-101 // factor), -(-161 // factor))
    assert (decoded.height, decoded.width) == (101, 161)
    draft = Image.open(BytesIO(data))
    draft.draft("RGB", (161 // factor, 101 // factor))
    assert np.array_equal(decoded.image, np.asarray(draft))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_scale_and_original_size_follow_the_orientation(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(large(96, 160), "JPEG", exif=exif, subsampling=0, quality=95)
    whole = decode_bytes(data)
    at_least = (80, 48) if orientation >= 5 else (48, 80)
    half = decode_bytes(data, at_least=at_least)
    assert half.image.shape[:2] == at_least
    assert half.size == whole.size == whole.image.shape[:2]
    averaged = whole.image.reshape(at_least[0], 2, at_least[1], 2, 3).mean(axis=(1, 3))
    assert np.abs(averaged - half.image).mean() < 2
    assert decode_bytes(data, at_least=at_least[::-1]).image.shape == whole.image.shape


@pytest.mark.parametrize("keep", [0.3, 0.7, 0.99])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_truncated_jpeg_is_refused_at_every_scale(keep: float, progressive: bool) -> None:
    data = encode(large(192, 320), "JPEG", progressive=progressive)
    for at_least in ((96, 160), (48, 80), (8, 8)):
        with pytest.raises(ItemError, match="JPEG"):
            decode_bytes(data[: int(len(data) * keep)], at_least=at_least)


def test_other_formats_and_cmyk_are_decoded_in_full() -> None:
    image = large(96, 160)
    for data in (encode(image, "PNG"), encode(image.convert("CMYK"), "JPEG")):
        assert decode_bytes(data, at_least=(8, 8)).image.shape == (96, 160, 3)
