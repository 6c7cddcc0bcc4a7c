"""TIFFs of instruments: samples, layouts and orientations that Pillow misreads."""

from __future__ import annotations

import itertools
import struct

import numpy as np
import pytest

from deal.errors import ItemError
from deal.pool.decode import decode_bytes
from tests.helpers.images import RGB, encode, picture
from tests.helpers.tiffs import orientation, tiff

TOPS = {"u2": 65535, "i2": 32767, "u4": 65535, "i4": 65535, "f2": 1, "f4": 1, "f8": 1}


def values(kind: str) -> np.ndarray:
    rng = np.random.default_rng(3)
    if kind[0] == "f":
        return rng.random((13, 21)).astype(kind)
    return rng.integers(0, TOPS[kind] + 1, (13, 21)).astype(kind)


@pytest.mark.parametrize("kind", TOPS)
@pytest.mark.parametrize(("order", "big"), list(itertools.product("<>", (False, True))))
def test_grey_of_any_width_order_and_sign_fills_the_range(kind: str, order: str, big: bool) -> None:
    grey = values(kind)
    expected = np.rint(grey * (255 / TOPS[kind]))
    for options in (
        {},
        {"deflate": True},
        {"deflate": True, "predictor": 3 if kind[0] == "f" else 2},
        {"tile": (16, 16), "deflate": True},
    ):
        decoded = decode_bytes(tiff(grey, order=order, big=big, **options))
        np.testing.assert_array_equal(decoded.image[..., 0], expected)
        np.testing.assert_array_equal(decoded.image[..., 2], expected)


@pytest.mark.parametrize("kind", TOPS)
@pytest.mark.parametrize("order", "<>")
def test_grey_whose_white_is_zero_is_turned_back(kind: str, order: str) -> None:
    grey = values(kind)
    inverted = (TOPS[kind] - grey).astype(kind)
    decoded = decode_bytes(tiff(inverted, order=order, inverted=True))
    np.testing.assert_allclose(
        decoded.image[..., 0], np.rint(grey * (255 / TOPS[kind])), atol=0 if kind != "f2" else 1
    )


@pytest.mark.parametrize(("kind", "mode"), [("u1", "LA"), ("u2", "I;16;alpha"), ("f4", "F;alpha")])
def test_alpha_beside_grey_is_dropped(kind: str, mode: str) -> None:
    grey = values(kind) if kind != "u1" else picture()[..., 0]
    decoded = decode_bytes(tiff(np.dstack([grey, np.zeros_like(grey)])))
    top = TOPS.get(kind, 255)
    np.testing.assert_array_equal(decoded.image[..., 1], np.rint(grey * (255 / top)))
    assert decoded.color_mode == mode


@pytest.mark.parametrize(("order", "big"), list(itertools.product("<>", (False, True))))
def test_rgb_of_any_byte_order_and_size_of_file(order: str, big: bool) -> None:
    decoded = decode_bytes(tiff(picture(), order=order, big=big))
    np.testing.assert_array_equal(decoded.image, picture())
    wide = picture().astype(np.uint16) * 257
    decoded = decode_bytes(tiff(wide, order=order, big=big))
    np.testing.assert_array_equal(decoded.image, picture())
    assert decoded.color_mode == "RGB;16"


@pytest.mark.parametrize("bands", [3, 4, 5, 8])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_bands_that_lie_one_after_the_other_are_those_of_each_pixel(kind, order, bands) -> None:
    rng = np.random.default_rng(bands)
    pixels = rng.integers(0, 256, (13, 21, bands))
    samples = (pixels * (257 if kind == "u2" else 1)).astype(kind)
    layouts = [{"apart": True}, {"apart": True, "tile": (16, 16)}, {"apart": True, "deflate": True}]
    for layout in (*layouts, {}, {"deflate": True}):
        decoded = decode_bytes(tiff(samples, order=order, **layout))
        np.testing.assert_array_equal(decoded.image, pixels[..., :3])
        assert decoded.color_mode.startswith("RGB")


def test_planes_of_other_colours_than_rgb_are_refused_instead_of_misread() -> None:
    cmyk = np.random.default_rng(0).integers(0, 2**16, (4, 4, 4)).astype("u2")
    tags = {262: (3, b"\5\0"), 338: (3, b"")}
    with pytest.raises(ItemError, match="not supported: uint16 CMYK TIFF"):
        decode_bytes(tiff(cmyk, apart=True, tags=tags))


def test_a_picture_of_many_bands_says_how_many(capfd: pytest.CaptureFixture[str]) -> None:
    bands = np.zeros((4, 4, 8), np.uint16)
    with pytest.raises(ItemError, match="not supported: uint16 grey TIFF of 8 bands"):
        decode_bytes(tiff(bands, tags={262: (3, b"\1\0")}))
    assert capfd.readouterr().err == ""


def test_twelve_bits_in_sixteen_come_out_dark_and_are_marked() -> None:
    grey = np.array([[0, 4095]], np.uint16)
    decoded = decode_bytes(tiff(grey))
    assert decoded.color_mode == "I;16;below-4096"
    assert decoded.image[0, :, 0].tolist() == [0, 16]
    for top in (255, 4096):  # a mask, and one that is only darkish
        assert decode_bytes(tiff(np.array([[0, top]], np.uint16))).color_mode == "I;16"


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.zeros((4, 4), "u8"), "uint64 grey"),
        (np.zeros((4, 4), "i1"), "int8 grey"),
        (np.zeros((4, 4, 3), "f8"), "float64 RGB"),
        (np.zeros((4, 4, 8), "f4"), "float32 RGB TIFF of 8 bands"),
    ],
)
def test_what_is_not_supported_is_called_by_its_name_and_not_damaged(
    samples: np.ndarray, words: str
) -> None:
    with pytest.raises(ItemError, match=f"not supported: {words}.*convert it") as caught:
        decode_bytes(tiff(samples, order=">"))
    assert caught.value.code == "decode"
    assert "damaged" not in caught.value.message


@pytest.mark.parametrize(
    "tag",
    [
        *(orientation(3, [value]) for value in (0, 9, 255, 65535)),
        orientation(3, [6, 6]),
        orientation(4, [2**32 - 1]),
        orientation(1, [6]),
        orientation(2, b"6\0"),
        orientation(5, [6, 1]),
        orientation(8, [-1]),
        orientation(11, struct.pack("<f", 6)),
        orientation(11, struct.pack("<f", float("nan"))),
    ],
)
def test_an_orientation_of_another_type_or_range_is_upright(tag: dict[int, tuple]) -> None:
    for samples in (picture(), picture()[..., 0].astype(np.uint16) * 257):
        decoded = decode_bytes(tiff(samples, tags=tag))
        assert (type(decoded.orientation), decoded.orientation) == (int, 1)
        expected = picture() if samples.ndim == 3 else picture()[..., :1].repeat(3, axis=2)
        np.testing.assert_array_equal(decoded.image, expected)


@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("order", "<>")
def test_a_valid_orientation_turns_every_kind_of_page(kind: int, order: str) -> None:
    tag = orientation(kind, [6], order)
    grey = picture()[..., 0].astype(np.uint16) * 257
    for samples, channel in ((picture(), slice(None)), (grey, slice(1))):
        decoded = decode_bytes(tiff(samples, order=order, tags=tag))
        assert decoded.orientation == 6
        np.testing.assert_array_equal(
            decoded.image[..., channel], np.rot90(picture()[..., channel], -1)
        )


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_a_deflated_strip_with_a_wrong_checksum_is_damaged(kind: str) -> None:
    grey = picture()[..., 0] if kind == "u1" else values(kind)
    data = bytearray(tiff(grey, deflate=True))
    counts = struct.pack("<HHI", 279, 4, 1)
    (length,) = struct.unpack_from("<I", data, data.index(counts) + 8)
    data[8 + length - 1] ^= 1  # the last byte of the stream: its checksum
    with pytest.raises(ItemError, match=r"damaged or truncated TIFF: .*incorrect data check"):
        decode_bytes(bytes(data))


def test_zeros_in_the_place_of_lzw_codes_are_damage(capfd: pytest.CaptureFixture[str]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = bytearray(encode(RGB.resize((64, 64)), "TIFF", compression="tiff_lzw"))
    assert decode_bytes(bytes(data)).image.shape == (64, 64, 3)
    data[100:160] = bytes(60)
    with pytest.raises(ItemError, match="zeros in the place of LZW codes"):
        decode_bytes(bytes(data))
    data[100:160] = noise.tobytes()[:60]  # libtiff has a remark on that
    with pytest.raises(ItemError, match="TIFF"):
        decode_bytes(bytes(data))
    assert capfd.readouterr() == ("", "")
