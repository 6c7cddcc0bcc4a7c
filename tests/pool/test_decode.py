"""Image files of every format, orientation and mode, in full and to scale."""

from __future__ import annotations

import itertools
import os
import struct
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from deal.pool.decode import decode, decode_bytes
from tests.helpers.images import RGB, VARIANTS, H, W, encode, exif, item, large, picture, png


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


@pytest.mark.parametrize("fmt", ["PNG", "WEBP", "TIFF"])
def test_the_first_frame_of_several_counts(fmt: str) -> None:
    options = {"lossless": True} if fmt == "WEBP" else {}
    frames = {"save_all": True, "append_images": [ImageOps.invert(RGB)]}
    decoded = decode_bytes(encode(RGB, fmt, **frames, **options))
    np.testing.assert_array_equal(decoded.image, picture())
    assert decoded.color_mode == "RGB;animated"


def test_the_content_decides_and_not_the_name(tmp_path: Path) -> None:
    path = tmp_path / "really.png.jpg"
    path.write_bytes(VARIANTS["png"])
    np.testing.assert_array_equal(decode(item(path)).image, picture())


def test_names_that_are_not_utf8_are_read(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/a\xff\n b.png")
    Path(path).write_bytes(VARIANTS["png"])
    np.testing.assert_array_equal(decode(item(Path(path))).image, picture())


def test_threads_decode_alike() -> None:
    names = list(itertools.islice(itertools.cycle(VARIANTS), 80))
    with ThreadPoolExecutor(4) as pool:
        images = list(pool.map(lambda name: decode_bytes(VARIANTS[name]).image, names))
    for name, image in zip(names, images, strict=True):
        np.testing.assert_array_equal(image, decode_bytes(VARIANTS[name]).image)


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


def test_other_formats_and_cmyk_are_decoded_in_full() -> None:
    image = large(96, 160)
    for data in (encode(image, "PNG"), encode(image.convert("CMYK"), "JPEG")):
        assert decode_bytes(data, at_least=(8, 8)).image.shape == (96, 160, 3)
