"""Files of segments: what is read, what is refused, and how they are resized."""

from __future__ import annotations

import struct
import zlib
from fractions import Fraction
from math import floor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from deal.errors import ItemError
from deal.pool.ids import path_to_id
from deal.regions.files import find_segments, nearest, read_segments

SIZE = (3, 4)
IDS = np.arange(12, dtype=np.uint8).reshape(SIZE)


def read(folder: Path, item_id: str = "a.jpg") -> np.ndarray:
    return read_segments(folder, item_id, SIZE)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def grey_png(depth: int, rows: list[bytes]) -> bytes:
    header = struct.pack(">IIBBBBB", SIZE[1], SIZE[0], depth, 0, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = [chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_grey_of_8_bits_holds_ids_and_255_is_no_region(tmp_path: Path) -> None:
    ids = IDS.copy()
    ids[0, :2] = 254, 255
    Image.fromarray(ids).save(tmp_path / "a.png")
    found = read(tmp_path)
    assert found.dtype == np.int32
    assert found[0].tolist() == [254, -1, 2, 3]
    assert found[1:].tolist() == IDS[1:].tolist()


def test_grey_of_16_bits_holds_ids_and_65535_is_no_region(tmp_path: Path) -> None:
    ids = IDS.astype(np.uint16)
    ids[0] = 255, 256, 65534, 65535
    Image.fromarray(ids).save(tmp_path / "a.png")
    assert read(tmp_path)[0].tolist() == [255, 256, 65534, -1]


def test_a_palette_gives_its_indices_not_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(IDS)
    palette = Image.new("P", SIZE[::-1])
    palette.putpalette([200, 10, 10] * 256)
    palette.putdata(list(image.get_flattened_data()))
    palette.save(tmp_path / "a.png", transparency=3)
    palette.save(tmp_path / "b.png", bits=4)
    assert read(tmp_path).tolist() == read(tmp_path, "b.jpg").tolist() == IDS.tolist()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint64, ">i4"])
def test_an_array_holds_ids_and_what_is_negative_is_no_region(tmp_path: Path, dtype: Any) -> None:
    ids = IDS.astype(dtype)
    expected = IDS.astype(np.int32)
    if ids.dtype.kind == "i":
        ids[0, :2] = -7, -1
        expected[0, :2] = -1
    np.savez_compressed(tmp_path / "a.npz", ids=np.asfortranarray(ids))
    found = read(tmp_path)
    assert found.dtype == np.int32
    assert found.tolist() == expected.tolist()


def test_files_are_found_by_the_id_without_the_suffix_of_its_format(tmp_path: Path) -> None:
    (tmp_path / "drive").mkdir()
    names = {
        "drive/0001.jpg": "drive/0001",
        "drive/x.JPEG": "drive/x",
        "v1.2": "v1.2",
        path_to_id("100%25.png"): "100%25",
        path_to_id("b\udcff.png"): "b\udcff",
        "ü b.tif": "ü b",
    }
    for name in names.values():
        np.savez(tmp_path / f"{name}.npz", IDS)
    for item_id, name in names.items():
        path, version = find_segments(tmp_path, item_id)
        assert str(path) == f"{tmp_path}/{name}.npz"
        assert version == f"{path.stat().st_size}-{path.stat().st_mtime_ns}"


@pytest.mark.parametrize("item_id", ["../a.png", "/a.png", "b/../../a.png", ".png", "a\0.png"])
def test_ids_that_lead_out_of_the_folder_are_refused(tmp_path: Path, item_id: str) -> None:
    (tmp_path / "in/b").mkdir(parents=True)
    Image.fromarray(IDS).save(tmp_path / "a.png")
    with pytest.raises(ItemError, match="not a path within the folder") as info:
        read(tmp_path / "in", item_id)
    assert info.value.code == "segments"


def write_damaged(path: Path, kind: str) -> None:
    colours = np.repeat(IDS[..., None], 3, axis=2)
    if kind == "colours":
        Image.fromarray(colours).save(path)
    elif kind == "alpha":
        Image.fromarray(IDS).convert("LA").save(path)
    elif kind == "bits":
        path.write_bytes(grey_png(1, [b"\xa0"] * 3))
    elif kind == "size":
        Image.fromarray(IDS.T).save(path)
    elif kind == "truncated":
        Image.fromarray(IDS).save(path)
        path.write_bytes(path.read_bytes()[:-8])
    elif kind == "pixels":
        data = grey_png(8, [b"1234"] * 3)
        path.write_bytes(data.replace(b"IDAT", b"IDAT\0\0\0\0"))
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_bytes(kind.encode())


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("colours", r"8- or 16-bit grey .*R \+ 256 G"),
        ("alpha", "8- or 16-bit grey"),
        ("bits", "8- or 16-bit grey"),
        ("size", r"the segments are 4×3 \(H×W\), but the oriented image is 3×4"),
        ("truncated", "truncated PNG"),
        ("pixels", "damaged"),
        ("folder", "there is no file"),
        ("", "truncated PNG"),
        ("GIF89a", "truncated PNG"),
    ],
)
def test_a_png_that_holds_no_ids_fails_its_image(tmp_path: Path, kind: str, says: str) -> None:
    write_damaged(tmp_path / "a.png", kind)
    with pytest.raises(ItemError, match=says) as info:
        read(tmp_path)
    assert info.value.code == "segments"
    assert f"{tmp_path}/a" in info.value.message


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"a": IDS.astype(np.float32)}, r"integers \[H, W\], not float32"),
        ({"a": IDS > 3}, r"integers \[H, W\], not bool"),
        ({"a": IDS[None]}, r"not uint8 \[1, 3, 4\]"),
        ({"a": IDS.T}, "the segments are 4×3"),
        ({"a": np.full(SIZE, 65_535)}, "region id 65535 is above the limit of 65534"),
        ({"a": np.full(SIZE, 2**64 - 1, np.uint64)}, "region id 18446744073709551615"),
        ({"a": np.zeros((300, 400), np.int64)}, "larger than 3×4"),
        ({"a": IDS, "b": IDS}, r"one array, not \['a', 'b'\]"),
        ({}, r"one array, not \[\]"),
        ({"a": np.full(SIZE, None)}, "damaged"),  # pickled
    ],
)
def test_an_npz_that_holds_no_ids_fails_its_image(
    tmp_path: Path, arrays: dict[str, Any], says: str
) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ItemError, match=says):
        read(tmp_path)


def test_a_damaged_npz_fails_its_image(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", IDS)
    whole = (tmp_path / "a.npz").read_bytes()
    for content in (b"", b"PK", whole[:60], whole[:150] + b"!!!!" + whole[154:]):
        (tmp_path / "a.npz").write_bytes(content)
        with pytest.raises(ItemError, match="damaged"):
            read(tmp_path)


def test_missing_and_doubled_files_fail_their_image(tmp_path: Path) -> None:
    with pytest.raises(ItemError, match=r"there is no file .*/a\.png or \.npz"):
        read(tmp_path)
    Image.fromarray(IDS).save(tmp_path / "a.png")
    np.savez(tmp_path / "a.npz", IDS)
    with pytest.raises(ItemError, match=r"there are both .*/a\.png and \.npz"):
        read(tmp_path)


@given(
    original=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    raster=st.tuples(st.integers(1, 50), st.integers(1, 50)),
)
def test_a_raster_pixel_shows_the_pixel_its_centre_falls_on(
    original: tuple[int, int], raster: tuple[int, int]
) -> None:
    ids = np.arange(original[0] * original[1], dtype=np.int32).reshape(original)
    y, x = (
        [floor((i + Fraction(1, 2)) * old / new) for i in range(new)]
        for old, new in zip(original, raster, strict=True)
    )
    assert (nearest(ids, raster) == ids[np.ix_(y, x)]).all()
