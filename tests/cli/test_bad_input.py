"""Bad images, names, models, masks and outputs, through the command line."""

from __future__ import annotations

import csv
import os
import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deal.pool.ids import id_to_path
from tests.helpers.models import metadata, save_model, scenes
from tests.helpers.runs import SIZE, Deal, assert_refused, rows


def jpeg(image: Image.Image, **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def png_chunk(name: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def hollow_png(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [png_chunk(b"IHDR", header), png_chunk(b"IDAT"), png_chunk(b"IEND")]
    )


WHOLE = jpeg(Image.fromarray(scenes(1, SIZE)[0]))

BAD_IMAGES = {
    "truncated.jpg": (WHOLE[: len(WHOLE) * 2 // 3], "decode"),
    "empty.jpg": (b"", "decode"),
    "oversized.png": (hollow_png(20_001, 10_000), "too_large"),
    "text.tif": (b"this is no image", "decode"),
    "zeros.webp": (bytes(5000), "decode"),
    "hollow.png": (hollow_png(32, 24), "decode"),
}


def test_a_bad_image_is_a_row_with_a_reason_and_the_run_goes_on(
    score: Deal, pool: Path, tmp_path: Path
) -> None:
    for name, (content, _) in BAD_IMAGES.items():
        (pool / name).write_bytes(content)
    (pool / "gone.png").symlink_to(pool / "nowhere")
    code, stdout, stderr = score()
    assert code == 3
    assert stderr == ""
    assert "7 failed" in stdout
    assert "quarantined  5 decode, 1 io, 1 too_large" in stdout
    stored = rows(tmp_path / "out")
    expected = {name: error for name, (_, error) in BAD_IMAGES.items()} | {"gone.png": "io"}
    assert {k: v["error_code"] for k, v in stored.items() if v["status"] == "error"} == expected
    for name in expected:
        assert stored[name]["error"]
        assert "\n" not in stored[name]["error"]
        assert stored[name]["difficulty_mean"] is None
    assert [row["status"] for row in stored.values()].count("ok") == 4
    assert len((tmp_path / "out/selection.csv").read_text().splitlines()) == 5


def test_the_limit_on_pixels_can_be_moved(score: Deal, pool: Path, tmp_path: Path) -> None:
    Image.new("RGB", (64, 48)).save(pool / "large.png")
    assert score("--max-pixels", 24 * 32)[0] == 3
    assert rows(tmp_path / "out")["large.png"]["error_code"] == "too_large"
    assert score("--max-pixels", 48 * 64)[0] == 0
    assert rows(tmp_path / "out")["large.png"]["status"] == "ok"


def test_a_folder_that_cannot_be_listed_is_a_row(
    score: Deal, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (pool / "secret").mkdir()
    scandir = os.scandir

    def guarded(path: Any = ".") -> Any:
        if os.fsdecode(path).rstrip("/").endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert score()[0] == 3
    row = rows(tmp_path / "out")["secret/"]
    assert (row["status"], row["error_code"]) == ("error", "io")
    assert "Permission denied" in row["error"]
    assert len(rows(tmp_path / "out")) == 5


@pytest.mark.skipif(os.geteuid() == 0, reason="permission bits do not bind root")
def test_a_folder_and_a_file_without_permission_are_rows(
    score: Deal, pool: Path, tmp_path: Path
) -> None:
    (pool / "secret").mkdir()
    (pool / "secret").chmod(0)
    (pool / "good0.png").chmod(0)
    try:
        assert score()[0] == 3
    finally:
        (pool / "secret").chmod(0o700)
    stored = rows(tmp_path / "out")
    assert stored["secret/"]["error_code"] == stored["good0.png"]["error_code"] == "io"


def test_every_image_failing_is_a_run_with_an_empty_ranking(
    score: Deal, pool: Path, tmp_path: Path
) -> None:
    for path in pool.iterdir():
        path.write_bytes(b"")
    code, _, stderr = score()
    assert code == 3
    assert stderr == "note: none of the 4 rows has a score: nothing to rank\n"
    assert (tmp_path / "out/selection.csv").read_text().count("\n") == 1


def test_max_errors_decides_between_0_and_1(score: Deal, pool: Path) -> None:
    (pool / "empty.jpg").write_bytes(b"")
    assert score()[0] == 3
    assert score("--max-errors", "1")[0] == 0
    assert score("--max-errors", "20%")[0] == 0
    code, stdout, stderr = score("--max-errors", "19%")
    assert (code, stdout, len(stderr.splitlines())) == (1, "", 1)
    assert "1 of 5 images failed (1 decode)" in stderr


def test_formats_are_converted_and_recorded(score: Deal, pool: Path, tmp_path: Path) -> None:
    for path in pool.iterdir():
        path.unlink()
    colour = Image.fromarray(scenes(1, SIZE)[0])
    alpha = colour.copy()
    alpha.putalpha(Image.new("L", colour.size, 7))
    sixteen = Image.fromarray(np.asarray(colour.convert("L")).astype(np.uint16) * 257)
    turned = Image.Exif()
    turned[0x0112] = 6
    colour.save(pool / "colour.png")
    colour.convert("L").save(pool / "grey.png")
    alpha.save(pool / "alpha.png")
    sixteen.save(pool / "sixteen.png")
    colour.save(pool / "animated.webp", save_all=True, append_images=[alpha], lossless=True)
    colour.convert("CMYK").save(pool / "cmyk.tiff")
    colour.save(pool / "colour.bmp")
    (pool / "turned.jpg").write_bytes(jpeg(colour, exif=turned))
    assert score()[0] == 0
    stored = rows(tmp_path / "out")
    modes = {name: row["color_mode"] for name, row in stored.items()}
    assert modes["grey.png"] == "L"
    assert modes["alpha.png"] == "RGBA"
    assert modes["sixteen.png"].startswith("I")
    assert modes["cmyk.tiff"] == "CMYK"
    assert modes["animated.webp"].endswith(";animated")
    turned_row = stored["turned.jpg"]
    assert (turned_row["orientation"], turned_row["width"], turned_row["height"]) == (6, 24, 32)
    means = {name: row["entropy_mean"] for name, row in stored.items()}
    # Alpha is dropped, 16 bits divided by 257, the first frame taken: the same pixels each time.
    same = ("colour.png", "alpha.png", "colour.bmp", "animated.webp")
    assert len({means[name] for name in same}) == 1
    assert means["sixteen.png"] == means["grey.png"]


def test_names_survive_a_round_trip(score: Deal, pool: Path, tmp_path: Path) -> None:
    names = [b"with space.png", b"new\nline.png", b"caf\xe9.png", "ü,\"'.png".encode(), b"\r.png"]
    for name, image in zip(names, scenes(len(names), SIZE, seed=3), strict=True):
        Image.fromarray(image).save(os.fsdecode(os.fsencode(pool) + b"/" + name))
    code, stdout, _ = score()
    assert code == 0
    assert "\r" not in stdout
    with (tmp_path / "out/selection.csv").open(newline="", encoding="utf-8") as file:
        selected = [row["id"] for row in csv.DictReader(file)]
    good = [f"good{index}.png".encode() for index in range(4)]
    assert sorted(os.fsencode(id_to_path(item)) for item in selected) == sorted(names + good)
    for item, row in rows(tmp_path / "out").items():
        assert (pool / id_to_path(item)).samefile(id_to_path(row["uri"]))
    again = score()
    assert "9 stored before" in again[1]


def test_one_image_with_nonfinite_logits_is_quarantined(
    score: Deal, pool: Path, tmp_path: Path
) -> None:
    blind = save_model(tmp_path / "nan.onnx", props=metadata(), nan_above=250)
    Image.new("RGB", SIZE[::-1], "white").save(pool / "white.png")
    assert score("--model", blind)[0] == 3
    assert rows(tmp_path / "out")["white.png"]["error_code"] == "nonfinite"


def test_only_nonfinite_logits_fail_the_run(score: Deal, tmp_path: Path) -> None:
    blind = save_model(tmp_path / "nan.onnx", props=metadata(), nan_above=-1)
    code, stdout, stderr = score("--model", blind)
    assert (code, stdout, len(stderr.splitlines())) == (1, "", 1)
    assert "weights" in stderr
    assert "half precision" in stderr


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ({"kind": "argmax"}, ["argmax is baked in", "re-export"]),
        ({"kind": "argmax3"}, ["argmax is baked in", "re-export"]),
        ({"kind": "softmax"}, ["softmax is baked in", "output_kind"]),
        ({"num_classes": 7, "props": metadata()}, ["7 channels", "classes names 5"]),
        ({"props": {}}, ["does not say its classes"]),
    ],
)
def test_a_model_that_breaks_the_contract_is_refused_before_any_work(
    score: Deal, tmp_path: Path, network: dict[str, Any], words: list[str]
) -> None:
    model = save_model(tmp_path / "bad.onnx", **{"props": metadata(), **network})
    assert_refused(score("--model", model), 1, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_a_model_file_that_is_missing_or_none_is_refused(
    score: Deal, tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "missing.onnx"
    if content is not None:
        path.write_bytes(content)
    assert_refused(score("--model", path), 1, "missing.onnx")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["file/out", "file"])
def test_an_output_that_cannot_be_written_is_refused(
    score: Deal, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("in the way")
    assert_refused(score("--output", tmp_path / place), 1, "cannot write to", "--output")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.skipif(os.geteuid() == 0, reason="permission bits do not bind root")
def test_an_output_without_permission_is_refused(score: Deal, tmp_path: Path) -> None:
    (tmp_path / "locked").mkdir(mode=0o500)
    assert_refused(score("--output", tmp_path / "locked/out"), 1, "Permission denied")


def test_a_mask_of_another_size_is_refused(score: Deal, tmp_path: Path) -> None:
    Image.new("L", (10, 10), 255).save(tmp_path / "mask.png")
    assert_refused(score("--mask", tmp_path / "mask.png"), 2, "10×10", "24×32")
    assert not (tmp_path / "out").exists()


def test_a_mask_that_is_not_there_is_refused(score: Deal, tmp_path: Path) -> None:
    assert_refused(score("--mask", tmp_path / "mask.png"), 2, "mask.png")


def test_a_pool_that_is_not_there_is_refused(deal: Deal, model: Path, tmp_path: Path) -> None:
    result = deal("score", tmp_path / "none", "--model", model, "--output", tmp_path / "out")
    assert_refused(result, 1, "does not exist")
    assert not (tmp_path / "out").exists()


def test_a_difficulty_head_of_another_model_is_refused(score: Deal, tmp_path: Path) -> None:
    head = tmp_path / "head.json"
    head.write_text('{"gamma": 1, "weight": [1, 2], "bias": 0, "grid": null}')
    assert_refused(score("--difficulty-head", head), 1, "2 weights", "5 classes")
