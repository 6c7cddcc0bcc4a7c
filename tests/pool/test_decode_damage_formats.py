"""What each format lets know of its damage, and that whole files of any shape pass."""

from __future__ import annotations

import random
import struct

import numpy as np
import pytest
from PIL import Image

from deal.errors import ItemError
from deal.pool.decode import decode_bytes, pixels_of
from tests.helpers.images import RGB, encode, large


def noisy(height: int, width: int) -> Image.Image:
    rng = np.random.default_rng(5)
    pixels = np.asarray(large(height, width)).astype(int) + rng.integers(
        -20, 20, (height, width, 3)
    )
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


FRAME = noisy(120, 160)
JPEGS = {
    "baseline": encode(FRAME, "JPEG", quality=90),
    "optimised": encode(FRAME, "JPEG", quality=90, optimize=True),
    "grey": encode(FRAME.convert("L"), "JPEG", quality=90),
    "restarts": encode(FRAME, "JPEG", quality=90, restart_marker_rows=1),
    "progressive": encode(FRAME, "JPEG", quality=90, progressive=True),
    "CMYK": encode(FRAME.convert("CMYK"), "JPEG", quality=90),
}


def reason(data: bytes) -> str:
    with pytest.raises(ItemError) as caught:
        decode_bytes(data)
    assert caught.value.code == "decode"
    return caught.value.message


def is_refused(data: bytes) -> bool:
    try:
        decode_bytes(data)
    except ItemError as error:
        return error.code == "decode"
    return False


def scan_of(data: bytes) -> int:
    start = data.index(b"\xff\xda")
    return start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")


def overwritten(data: bytes, place: int, new: bytes) -> bytes:
    return data[:place] + new + data[place + len(new) :]


@pytest.mark.parametrize("name", JPEGS)
def test_random_bytes_in_a_scan_are_damage(name: str) -> None:
    data, rng = JPEGS[name], random.Random(2)
    scan = scan_of(data)
    places = [rng.randrange(scan, len(data) - 514) for _ in range(20)]
    refused = [is_refused(overwritten(data, place, rng.randbytes(512))) for place in places]
    assert sum(refused) >= 19  # a decoder may find its place by chance


@pytest.mark.parametrize("name", JPEGS)
def test_a_tail_of_zeros_is_damage(name: str) -> None:
    data = JPEGS[name]
    for place in range(scan_of(data), len(data), 997):
        assert is_refused(data[:place] + bytes(len(data) - place)), place


def test_bytes_left_in_a_scan_are_no_stray_bytes() -> None:
    data = JPEGS["baseline"]
    left = data[:-2] + b"\x12\x34" * 20 + data[-2:]
    assert "extraneous bytes before marker 0xd9" in reason(left)
    both = left[:20] + b"\x11\x22\x33" + left[20:]  # harmless ones in the header do not excuse them
    assert "extraneous bytes" in reason(both)


def test_restart_markers_out_of_order_are_damage() -> None:
    data = JPEGS["restarts"]
    swapped = data.replace(b"\xff\xd1", b"\xff\xd8#").replace(b"\xff\xd2", b"\xff\xd1")
    assert "JPEG" in reason(swapped.replace(b"\xff\xd8#", b"\xff\xd2"))


@pytest.mark.parametrize("name", ["baseline", "grey", "restarts"])
def test_a_lost_sector_in_a_scan_is_damage(name: str) -> None:
    data = JPEGS[name]
    for place in range(scan_of(data), len(data) - 514, 311):
        assert is_refused(overwritten(data, place, bytes(512))), place


def test_zeros_that_are_flat_areas_or_lie_behind_the_end_are_not() -> None:
    flat = Image.new("RGB", (1600, 1200), (90, 120, 30))
    data = encode(flat, "JPEG", optimize=True)
    assert bytes(64) in data
    assert decode_bytes(data).image.shape == (1200, 1600, 3)
    padded = JPEGS["baseline"] + bytes(4096)
    np.testing.assert_array_equal(decode_bytes(padded).image, decode_bytes(JPEGS["baseline"]).image)


def test_what_only_the_header_says_oddly_is_mended_and_the_scan_still_judged() -> None:
    data = bytearray(JPEGS["baseline"])
    data[11] = 9  # the revision of JFIF
    expected = decode_bytes(JPEGS["baseline"]).image
    np.testing.assert_array_equal(decode_bytes(bytes(data)).image, expected)
    damaged = overwritten(bytes(data), scan_of(data) + 700, bytes(range(256)) * 2)
    assert "JPEG" in reason(damaged)
    parameters = scan_of(data) - 3  # of a progressive scan, in one that is not
    spectral = overwritten(JPEGS["baseline"], parameters, b"\0\x09\0")
    np.testing.assert_array_equal(decode_bytes(spectral).image, expected)
    adobe = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x07"  # a colour transform of no known number
    start = 2 + 2 + 16
    marked = JPEGS["baseline"][:start] + adobe + JPEGS["baseline"][start:]
    np.testing.assert_array_equal(decode_bytes(marked).image, expected)


def test_a_header_that_an_earlier_file_had_judges_each_file_by_its_own_bytes() -> None:
    data = JPEGS["baseline"]
    whole = decode_bytes(data)
    damaged = overwritten(data, scan_of(data) + 700, bytes(512))[: scan_of(data) + 1212]
    assert "JPEG" in reason(damaged)
    np.testing.assert_array_equal(decode_bytes(data).image, whole.image)
    # A preview has a scan of its own, before that of the image.
    preview = encode(noisy(24, 32), "JPEG", quality=50)
    directory = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    exif = b"Exif\0\0" + directory + preview
    framed = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    assert framed.index(b"\xff\xda") < framed.index(preview) + len(preview)
    for _ in range(2):
        decoded = decode_bytes(framed)
        assert (decoded.orientation, decoded.image.shape) == (6, (160, 120, 3))
        assert pixels_of(framed) == pixels_of(data) == 120 * 160


def test_a_header_of_more_blocks_than_the_file_can_hold_is_refused_before_decoding() -> None:
    for name, bits in (("baseline", 12), ("progressive", 6)):
        data = bytearray(JPEGS[name])
        frame = data.index(b"\xff\xc2" if name == "progressive" else b"\xff\xc0")
        struct.pack_into(">HH", data, frame + 5, 14000, 14000)
        assert 875 * 875 * bits > 8 * len(data)
        message = reason(bytes(data))
        assert "its header claims" in message
        assert f"{len(data)} bytes cannot hold" in message


def test_a_flat_image_of_the_fewest_bits_passes() -> None:
    for options in ({"optimize": True}, {"progressive": True}, {}):
        data = encode(Image.new("L", (4000, 4000)), "JPEG", quality=1, **options)
        assert decode_bytes(data).image.max() <= 2


def test_a_quantisation_of_zero_is_damage() -> None:
    data = bytearray(JPEGS["baseline"])
    data[data.index(b"\xff\xdb") + 5 + 10] = 0
    assert "quantisation" in reason(bytes(data))


@pytest.mark.parametrize("seed", range(10))
def test_one_bit_of_a_png_is_enough(seed: int) -> None:
    data = bytearray(encode(FRAME, "PNG"))
    pixels = data.index(b"IDAT") + 4
    data[random.Random(seed).randrange(pixels, len(data) - 20)] ^= 4
    assert "PNG" in reason(bytes(data))


@pytest.mark.parametrize("options", [{"quality": 90}, {"lossless": True}])
def test_zeros_in_the_place_of_webp_codes_are_damage(options: dict[str, object]) -> None:
    data = encode(noisy(240, 320), "WEBP", **options)
    for place in range(600, len(data) - 16, len(data) // 13):
        assert is_refused(data[:place] + bytes(len(data) - place)), place
    lost = [overwritten(data, place, bytes(512)) for place in range(600, len(data) - 600, 1511)]
    refused = sum(map(is_refused, lost))
    assert refused >= 0.9 * len(lost)


def test_a_whole_webp_needs_its_last_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Flat pictures are coded as zeros; whatever is looked at twice has to pass."""
    monkeypatch.setattr("deal.pool.webp._ZEROS", b"")
    flat = np.zeros((300, 400, 3), np.uint8)
    flat[::50, ::3] = 200
    for image in (Image.fromarray(flat), FRAME, RGB, Image.new("RGB", (64, 64))):
        for options in ({"lossless": True}, {"lossless": True, "method": 0}, {"quality": 80}):
            data = encode(image, "WEBP", **options)
            assert decode_bytes(data).image.shape == (image.height, image.width, 3)
            frames = {"save_all": True, "append_images": [image.rotate(180)]}
            animated = decode_bytes(encode(image, "WEBP", **frames, **options))
            assert animated.image.shape == (image.height, image.width, 3)
