"""One image that fails anywhere between the listing and Parquet is a row, and the others go on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from deal.errors import DealError, ModelError
from deal.machine.room import Room
from deal.results.output import Output
from deal.run import ledger as ledger_module
from deal.run import steps as steps_module
from deal.run.pipeline import score_pool
from deal.scoring.batch_scores import BatchScores
from deal.scoring.session import Session
from deal.types import Decoded
from tests.helpers.images import encode
from tests.helpers.runs import rows, stage_threads, write_pool
from tests.helpers.tiffs import orientation, tiff


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return write_pool(tmp_path / "pool", 12)


def picky(takes: Callable[[np.ndarray], bool], error: Callable[[], Exception]) -> Any:
    """``Session.score_batch`` of a network that some images end."""
    score_batch = Session.score_batch

    def run(self: Session, images: Any, extras: Any) -> BatchScores:
        if not all(takes(image) for image in images):
            raise error()
        return score_batch(self, images, extras)

    return run


def is_usual(image: np.ndarray) -> bool:
    return image.shape[:2] == (24, 32)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_size_that_the_network_does_not_take_is_a_row_with_the_reason(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch_size: int
) -> None:
    Image.new("RGB", (97, 61)).save(pool / "005b.png")
    monkeypatch.setattr(Session, "score_batch", picky(is_usual, lambda: ModelError("no such size")))
    run = {"model": model, "output": tmp_path / "out", "batch_size": batch_size}
    report = score_pool(pool, **run)
    assert (report.scored, report.errors, report.exit_code) == (12, {"size": 1}, 3)
    row = rows(tmp_path / "out")["005b.png"]
    assert (row["error_code"], row["error"]) == ("size", "no such size")
    assert (row["width"], row["height"], row["color_mode"]) == (97, 61, "RGB")
    monkeypatch.undo()
    report = score_pool(pool, **run)
    assert (report.skipped, report.scored, report.exit_code) == (12, 1, 0)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (MemoryError(), "memory"),
        (ModelError("Failed to allocate memory for requested buffer"), "memory"),
        (RuntimeError("std::bad_alloc"), "memory"),
        (RuntimeError("something else"), "internal"),
    ],
)
def test_batch_mates_of_an_image_that_fails_in_the_network_are_scored(
    pool: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    code: str,
) -> None:
    Image.new("RGB", (32, 24), "white").save(pool / "004.png")
    bright = picky(lambda image: image.mean() < 250, lambda: error)
    monkeypatch.setattr(Session, "score_batch", bright)
    report = score_pool(pool, model=model, output=tmp_path / "out", batch_size=4)
    assert (report.scored, report.errors) == (11, {code: 1})
    stored = rows(tmp_path / "out")
    assert stored["004.png"]["error_code"] == code
    assert str(error) in stored["004.png"]["error"]
    assert stored["005.png"]["status"] == "ok"
    assert stage_threads() == []


def test_a_network_that_fails_at_a_size_it_has_taken_is_not_called_a_matter_of_size(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (32, 24), "white").save(pool / "011.png")
    bright = picky(lambda image: image.mean() < 250, lambda: ModelError("no such content"))
    monkeypatch.setattr(Session, "score_batch", bright)
    score_pool(pool, model=model, output=tmp_path / "out", sessions=1)
    assert rows(tmp_path / "out")["011.png"]["error_code"] == "network"


def test_a_lack_of_memory_that_passes_costs_no_image(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: list[int] = []
    score_batch, decode = Session.score_batch, steps_module.decode

    def once(self: Session, images: Any, extras: Any) -> BatchScores:
        if len(failed) < 1:
            failed.append(1)
            raise MemoryError
        return score_batch(self, images, extras)

    def once_decoded(item: Any, **options: Any) -> Decoded:
        if options["room"] is not None and item.id == "003.png":
            raise MemoryError
        return decode(item, **options)

    monkeypatch.setattr(Session, "score_batch", once)
    monkeypatch.setattr(steps_module, "decode", once_decoded)
    report = score_pool(pool, model=model, output=tmp_path / "out")
    assert (report.scored, report.errors) == (12, {})


def test_a_network_that_takes_no_image_ends_the_run_with_the_cause(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = picky(lambda image: False, lambda: ModelError("set size_multiple"))
    monkeypatch.setattr(Session, "score_batch", none)
    words = r"none of the 12 images .* the first, '0\d\d\.png': set size_multiple"
    with pytest.raises(DealError, match=words):
        score_pool(pool, model=model, output=tmp_path / "out")
    assert {row["error_code"] for row in rows(tmp_path / "out").values()} == {"size"}


def test_a_network_that_takes_none_of_the_first_images_is_not_tried_on_all(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = picky(lambda image: False, lambda: ModelError("set size_multiple"))
    monkeypatch.setattr(Session, "score_batch", none)
    monkeypatch.setattr(ledger_module, "_PROOF", 4)
    with pytest.raises(DealError, match="none of the 4 images"):
        score_pool(pool, model=model, output=tmp_path / "out")


def test_a_device_that_dies_during_a_run_does_not_quarantine_the_rest(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []

    def alive(image: np.ndarray) -> bool:
        scored.append(1)
        return len(scored) <= 3

    monkeypatch.setattr(Session, "score_batch", picky(alive, lambda: ModelError("device lost")))
    monkeypatch.setattr(ledger_module, "_PROOF", 4)
    with pytest.raises(DealError, match=r"4 images in a row failed in the network.*device lost"):
        score_pool(pool, model=model, output=tmp_path / "out", sessions=1)
    stored = rows(tmp_path / "out")
    assert sum(row["status"] == "ok" for row in stored.values()) == 3
    monkeypatch.undo()
    assert score_pool(pool, model=model, output=tmp_path / "out").skipped == 3


@pytest.mark.parametrize("error", [RuntimeError("odd"), MemoryError("much"), KeyError("gone")])
def test_whatever_ends_decoding_or_preparing_is_a_row(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    prepared = Session.prepared

    def fail(self: Session, image: Any, **options: Any) -> Any:
        if options["item_id"] == "002.png":
            raise error
        return prepared(self, image, **options)

    monkeypatch.setattr(Session, "prepared", fail)
    report = score_pool(pool, model=model, output=tmp_path / "out")
    code = "memory" if isinstance(error, MemoryError) else "internal"
    assert (report.scored, report.errors) == (11, {code: 1})
    row = rows(tmp_path / "out")["002.png"]
    assert str(error) in row["error"]
    assert "\n" not in row["error"]
    assert row["width"] == 32


@pytest.mark.parametrize("regions", [None, "grid:8"])
def test_a_value_that_cannot_be_stored_costs_its_row_alone(
    pool: Path,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    regions: str | None,
) -> None:
    expected = score_pool(pool, model=model, output=tmp_path / "right", regions=regions)
    assert expected.scored == 12
    decode = steps_module.decode

    def odd(item: Any, **options: Any) -> Decoded:
        decoded = decode(item, **options)
        orientation = 255 if item.id == "007.png" else 1  # int8 in the schema
        return Decoded(decoded.image, orientation, decoded.color_mode)

    monkeypatch.setattr(steps_module, "decode", odd)
    report = score_pool(pool, model=model, output=tmp_path / "out", regions=regions)
    assert (report.scored, report.errors, report.exit_code) == (11, {"internal": 1}, 3)
    stored, right = rows(tmp_path / "out"), rows(tmp_path / "right")
    row = stored.pop("007.png")
    assert row["status"] == "error"
    assert "cannot be stored: Value 255 too large" in row["error"]
    del right["007.png"]
    assert stored == right
    if regions:
        tables = [
            parquet.read_table(tmp_path / name / "regions").to_pylist() for name in ("out", "right")
        ]
        kept = [region for region in tables[1] if region["id"] != "007.png"]
        assert len(kept) == 11 * 12
        key = itemgetter("id", "region")
        assert sorted(tables[0], key=key) == sorted(kept, key=key)


def test_an_odd_orientation_in_a_tiff_neither_ends_a_run_nor_is_stored(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    pixels = np.asarray(Image.open(pool / "000.png"))
    tags = (orientation(3, [255]), orientation(2, b"6\0"), orientation(3, [0]), orientation(1, [9]))
    for number, tag in enumerate(tags):
        (pool / f"odd{number}.tif").write_bytes(tiff(pixels, tags=tag))
    report = score_pool(pool, model=model, output=tmp_path / "out")
    assert (report.scored, report.exit_code) == (16, 0)
    stored = rows(tmp_path / "out")
    for number in range(len(tags)):
        assert stored[f"odd{number}.tif"]["orientation"] == 1
        assert stored[f"odd{number}.tif"]["entropy_mean"] == stored["000.png"]["entropy_mean"]


def test_a_failure_of_the_disk_is_no_fault_of_a_row(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[Any] = []

    def full(self: Output, *columns: Any) -> None:
        written.append(columns)
        raise OSError("input/output error")

    monkeypatch.setattr(Output, "write", full)
    with pytest.raises(OSError, match="input/output error"):
        score_pool(pool, model=model, output=tmp_path / "out")
    assert stage_threads() == []


def test_threads_hold_no_more_bytes_than_there_is_room_and_a_large_one_is_not_passed_by() -> None:
    room, held, most = Room(10), [0], [0]
    lock = threading.Lock()

    def work(count: int) -> None:
        for _ in range(50):
            with room.take(count):
                with lock:
                    held[0] += min(count, 10)
                    most[0] = max(most[0], held[0])
                with lock:
                    held[0] -= min(count, 10)

    threads = [threading.Thread(target=work, args=(count,)) for count in (1, 3, 4, 7, 10, 99)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert 0 < most[0] <= 10


def test_decoding_asks_for_room_by_the_header(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, take = [], Room.take

    def counted(self: Room, count: int) -> Any:
        asked.append(count)
        return take(self, count)

    monkeypatch.setattr(Room, "take", counted)
    score_pool(pool, model=model, output=tmp_path / "out")
    assert asked == [24 * 32 * 8] * 12


def test_sessions_are_measured_on_an_image_that_the_network_takes(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (97, 61)).save(pool / "0.png")
    monkeypatch.setattr("deal.run.sessions.available_cores", lambda: 2)
    monkeypatch.setattr(Session, "score_batch", picky(is_usual, lambda: ModelError("no such size")))
    report = score_pool(pool, model=model, output=tmp_path / "out", sessions="auto")
    assert (report.scored, report.errors) == (12, {"size": 1})


def test_a_preview_that_does_not_fit_into_memory_is_a_note(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Session, images: Any, **options: Any) -> Any:
        raise MemoryError

    monkeypatch.setattr(Session, "maps_or_errors", full)
    monkeypatch.setattr(Session, "score_maps_or_errors", full)
    options = {"previews": 1, "store_maps": "selected"}
    report = score_pool(pool, model=model, output=tmp_path / "out", **options)
    assert report.exit_code == 0
    for what in ("no preview of", "no maps of"):
        assert any(what in note and "memory" in note for note in report.notes)


def test_what_was_odd_of_images_that_were_scored_is_noted(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    frame = Image.open(pool / "000.png")
    whole = encode(frame, "JPEG")
    (pool / "stray.jpg").write_bytes(whole[:20] + b"\x11\x22" + whole[20:])
    (pool / "dark.tif").write_bytes(tiff(np.full((24, 32), 4000, np.uint16)))
    notes = score_pool(pool, model=model, output=tmp_path / "out").notes
    assert any(note.startswith("1 JPEGs have stray bytes") for note in notes)
    assert any(note.startswith("1 images of 16-bit grey stay below 4096") for note in notes)
    stored = rows(tmp_path / "out")
    assert stored["stray.jpg"]["color_mode"] == "RGB;extraneous-bytes"
    assert stored["dark.tif"]["color_mode"] == "I;16;below-4096"
