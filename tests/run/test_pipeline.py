"""Runs over a pool: rows, batches, resuming, shards, and what a run records."""

from __future__ import annotations

import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from deal import read_results, select
from deal.run import ledger as ledger_module
from deal.run import steps as steps_module
from deal.run import workers as workers_module
from deal.run.pipeline import Progress, score_pool
from deal.run.rows import Outcome
from deal.run.sketch import QuantileSketch
from deal.run.steps import Batch, Steps
from deal.scoring.batch_scores import BatchScores
from deal.scoring.scorer import Scorer
from deal.scoring.session import Session
from deal.selection import select_by
from tests.helpers.models import scenes
from tests.helpers.runs import SIZE, rows, write_pool


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return write_pool(tmp_path / "pool", 12)


def selection_bytes(output: Path) -> tuple[bytes, bytes]:
    return (output / "selection.csv").read_bytes(), (output / "selection.json").read_bytes()


def test_every_image_gets_the_columns_of_the_scorer(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    report = score_pool(pool, model=model, output=tmp_path / "out")
    stored = rows(tmp_path / "out")
    with Scorer(model, threads=1) as scorer:
        expected = scorer.score(scenes(12, SIZE))
    assert set(stored) == {f"{index:03}.png" for index in range(12)}
    for index in range(12):
        row = stored[f"{index:03}.png"]
        for name in ("difficulty_mean", "entropy_mean", "n_pixels", "width", "raster_height"):
            assert row[name] == expected[name][index]
        assert row["difficulty_hist"] == expected["difficulty_hist"][index].tolist()
        assert (row["status"], row["color_mode"], row["orientation"]) == ("ok", "RGB", 1)
        assert row["uri"] == str(pool / f"{index:03}.png")
    assert (report.total, report.scored, report.skipped, report.exit_code) == (12, 12, 0, 0)


def test_the_ranking_is_that_of_select_on_the_stored_table(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    report = score_pool(pool, model=model, output=out, acquisition="de", levels=10, budget="50%")
    again = select(out, acquisition="de", levels=10, budget="50%")
    assert report.selection.ids == again.ids
    assert len(again) == 6
    assert report.selection.metadata == again.metadata
    assert (out / "selection.csv").read_text() == again.to_csv()


@pytest.mark.parametrize(
    "other",
    [
        {"sessions": 1},
        {"sessions": 3, "decode_threads": 4},
        {"threads": 2},
        {"decode_threads": 1},
    ],
)
def test_the_same_inputs_give_the_same_bytes(
    pool: Path, model: Path, tmp_path: Path, other: dict[str, int]
) -> None:
    score_pool(pool, model=model, output=tmp_path / "a", budget=5)
    score_pool(pool, model=model, output=tmp_path / "b", budget=5, **other)
    assert selection_bytes(tmp_path / "a") == selection_bytes(tmp_path / "b")


def recorded_batches(
    monkeypatch: pytest.MonkeyPatch, run: Callable[[], object]
) -> list[list[tuple[int, ...]]]:
    batches: list[list[tuple[int, ...]]] = []
    score_batch = Session.score_batch

    def record(self: Session, images: Any, extras: Any) -> BatchScores:
        batches.append([(*image.shape[:2], int(image[0, 0, 0])) for image in images])
        return score_batch(self, images, extras)

    with monkeypatch.context() as patch:
        patch.setattr(Session, "score_batch", record)
        run()
    return batches


def test_batches_hold_images_of_one_size_in_the_order_of_the_pool(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    for index in range(14):
        shape = (16, 24, 3) if index % 2 else (24, 16, 3)
        Image.fromarray(np.full(shape, index, np.uint8)).save(pool / f"{index:02}.png")
    options = {"model": model, "batch_size": 3, "sessions": 1, "decode_threads": 4}
    batches = recorded_batches(
        monkeypatch, lambda: score_pool(pool, output=tmp_path / "out", **options)
    )
    assert batches == [
        [(24, 16, 0), (24, 16, 2), (24, 16, 4)],
        [(16, 24, 1), (16, 24, 3), (16, 24, 5)],
        [(24, 16, 6), (24, 16, 8), (24, 16, 10)],
        [(16, 24, 7), (16, 24, 9), (16, 24, 11)],
        [(24, 16, 12)],
        [(16, 24, 13)],
    ]


def backlog(pool: Path, output: Path, monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[int]:
    """How many images were decoded but not yet scored, whenever one is about to be."""
    decoded, waiting = [], []
    begun = itertools.count(0)
    decode, scored = steps_module.decode, steps_module.Steps.scored

    def counting(item: Any, **limits: Any) -> Any:
        decoded.append(item.id)
        return decode(item, **limits)

    def slow(self: Steps, session: Any, batch: Batch) -> Iterator[Outcome]:
        time.sleep(0.002 * len(batch))
        waiting.extend(len(decoded) - next(begun) for _ in batch)
        return scored(self, session, batch)

    monkeypatch.setattr(steps_module, "decode", counting)
    monkeypatch.setattr(steps_module.Steps, "scored", slow)
    score_pool(pool, output=output, **options)
    return waiting


@pytest.mark.parametrize(("place", "queued"), [(2**20, 32), (1, 4)], ids=["small", "large"])
def test_work_in_flight_is_bounded(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int, queued: int
) -> None:
    monkeypatch.setattr(workers_module, "_PLACE", place)  # bytes of images that fill one
    pool = write_pool(tmp_path / "pool", 120, (8, 8))
    options = {"model": model, "sessions": 2, "decode_threads": 2}
    waiting = backlog(pool, tmp_path / "out", monkeypatch, **options)
    assert len(waiting) == 120
    # Decoded ahead 11, with source and sessions 1 + 2.
    assert max(waiting) <= 11 + queued + 3


def test_images_of_many_sizes_do_not_pile_up(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    for index in range(80):
        Image.new("RGB", (16 + index, 16)).save(pool / f"{index:02}.png")
    monkeypatch.setattr(workers_module, "_PLACE", 1)  # bytes of images that fill one
    options = {"model": model, "sessions": 1, "decode_threads": 2, "batch_size": 4}
    waiting = backlog(pool, tmp_path / "out", monkeypatch, **options)
    assert len(waiting) == 80
    # At most 16 wait for company, 14 are decoded ahead; queue, source and session hold 2 + 1 + 1.
    assert max(waiting) <= 34


def test_progress_counts_up_in_the_calling_thread(pool: Path, model: Path, tmp_path: Path) -> None:
    (pool / "empty.png").write_bytes(b"")
    states: list[Progress] = []
    threads = set()

    def progress(state: Progress) -> None:
        states.append(state)
        threads.add(threading.current_thread())

    score_pool(pool, model=model, output=tmp_path / "out", progress=progress)
    assert threads == {threading.current_thread()}
    assert [state.done for state in states] == list(range(1, 14))
    assert (states[-1].total, states[-1].errors) == (13, 1)
    assert states[-1].remaining == 0
    assert states[-1].rate > 0


def test_a_second_run_skips_what_is_done_and_retries_what_failed(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    whole = (pool / "003.png").read_bytes()
    (pool / "003.png").write_bytes(whole[: len(whole) // 2])
    first = score_pool(pool, model=model, output=out)
    assert (first.scored, first.errors, first.exit_code) == (11, {"decode": 1}, 3)
    assert rows(out)["003.png"]["status"] == "error"
    again = score_pool(pool, model=model, output=out)
    assert (again.skipped, again.scored, again.errors, again.exit_code) == (11, 0, {"decode": 1}, 3)
    (pool / "003.png").write_bytes(whole)
    last = score_pool(pool, model=model, output=out)
    assert (last.skipped, last.scored, last.errors, last.exit_code) == (11, 1, {}, 0)
    assert len(read_results([out])) == 12
    score_pool(pool, model=model, output=tmp_path / "fresh")
    assert selection_bytes(out) == selection_bytes(tmp_path / "fresh")


def test_a_changed_image_is_scored_again(pool: Path, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    score_pool(pool, model=model, output=out)
    before = rows(out)["005.png"]["entropy_mean"]
    Image.new("RGB", (32, 24), (200, 30, 90)).save(pool / "005.png")
    os.utime(pool / "005.png", ns=(1, 1))
    report = score_pool(pool, model=model, output=out)
    assert (report.skipped, report.scored) == (11, 1)
    assert len(read_results([out])) == 12
    assert rows(out)["005.png"]["entropy_mean"] != before


def test_images_that_left_the_pool_are_pointed_out(pool: Path, model: Path, tmp_path: Path) -> None:
    score_pool(pool, model=model, output=tmp_path / "out")
    (pool / "000.png").unlink()
    (pool / "001.png").unlink()
    report = score_pool(pool, model=model, output=tmp_path / "out")
    assert report.notes == (
        f"{tmp_path / 'out'} also holds 2 images of earlier runs that are not in this pool; "
        "they are ranked too",
    )


@pytest.mark.parametrize("by_rows", [False, True])
def test_shards_of_one_output_make_the_whole(
    pool: Path, model: Path, tmp_path: Path, *, by_rows: bool
) -> None:
    """Shards by a hash of the id, and shards that are ranges of rows of a manifest."""
    if by_rows:
        names = sorted(path.name for path in pool.iterdir())
        table = pa.table({"id": names, "uri": [str(pool / name) for name in names]})
        pool = tmp_path / "pool.parquet"
        pq.write_table(table, pool, row_group_size=4)
    out = tmp_path / "out"
    reports = [
        score_pool(pool, model=model, output=out, shard=shard, budget=4)
        for shard in ("0/3", "1/3", "2/3")
    ]
    assert sum(report.total for report in reports) == 12
    score_pool(pool, model=model, output=tmp_path / "whole", budget=4)
    assert selection_bytes(out) == selection_bytes(tmp_path / "whole")
    records = [json.loads((out / f"runs/{i}-of-3.json").read_text()) for i in range(3)]
    sketches = [QuantileSketch.from_dict(record["score_sketch"]) for record in records]
    assert sum(sketch.count for sketch in sketches) == 12
    for sketch in sketches[1:]:
        sketches[0].merge(sketch)
    whole = json.loads((tmp_path / "whole/runs/0-of-1.json").read_text())
    assert sketches[0].to_dict() == whole["score_sketch"]


@pytest.mark.slow
def test_the_shard_that_ends_last_ranks_them_all(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, others = tmp_path / "out", []

    def select_while_the_other_shard_runs(*arguments: Any) -> Any:
        selection = select_by(*arguments)
        if not others:
            settings = {"model": model, "output": out, "shard": "1/2"}
            others.append(threading.Thread(target=score_pool, args=(pool,), kwargs=settings))
            others[0].start()
            others[0].join(2)  # time enough to overtake, were it allowed to
        return selection

    monkeypatch.setattr("deal.selection.select_by", select_while_the_other_shard_runs)
    score_pool(pool, model=model, output=out, shard="0/2")
    others[0].join()
    assert len((out / "selection.csv").read_text().splitlines()) == 1 + 12


def test_a_shard_without_images_is_done_at_once(model: Path, tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", 1)
    reports = [
        score_pool(pool, model=model, output=tmp_path / f"out{i}", shard=f"{i}/2") for i in (0, 1)
    ]
    assert sorted(report.total for report in reports) == [0, 1]
    assert [report.exit_code for report in reports] == [0, 0]
    empty = next(report for report in reports if report.total == 0)
    assert (empty.output / "selection.csv").read_text().count("\n") == 1


def test_regions_are_stored_and_ranked_by_the_acquisition_function(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    from deal.results.reading import read_regions

    out = tmp_path / "out"
    options = {"regions": "grid:8", "keep_regions": 2, "acquisition": "entropy"}
    score_pool(pool, model=model, output=out, **options)
    kept = read_regions([out]).to_pylist()
    assert len(kept) == 24
    score_pool(pool, model=model, output=tmp_path / "all", regions="grid:8", acquisition="entropy")
    every = [row for row in read_regions([tmp_path / "all"]).to_pylist() if row["id"] == "000.png"]
    assert len(every) == 12
    best = sorted(every, key=lambda row: -row["entropy_mean"])[:2]
    mine = [row["region"] for row in kept if row["id"] == "000.png"]
    assert sorted(mine) == sorted(row["region"] for row in best)


def test_a_mask_takes_pixels_out(pool: Path, model: Path, tmp_path: Path) -> None:
    mask = np.full(SIZE, 255, np.uint8)
    mask[16:] = 0
    Image.fromarray(mask).save(tmp_path / "mask.png")
    score_pool(pool, model=model, output=tmp_path / "out", mask=tmp_path / "mask.png")
    assert {row["n_pixels"] for row in rows(tmp_path / "out").values()} == {16 * 32}


def test_rows_become_visible_while_the_run_goes_on(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "_FLUSH_SECONDS", 0)
    visible = []

    def progress(state: Progress) -> None:
        visible.append(len(read_results([tmp_path / "out"])))

    score_pool(pool, model=model, output=tmp_path / "out", progress=progress)
    assert visible == list(range(1, 13))


def test_the_run_record_tells_settings_counts_and_timings(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["deal-score", "b\udce4d.jpg"])
    (pool / "empty.png").write_bytes(b"")
    report = score_pool(pool, model=model, output=tmp_path / "out", budget=3, regions="grid:8")
    record = json.loads((tmp_path / "out/runs/0-of-1.json").read_text(encoding="utf-8"))
    assert record["command"] == ["deal-score", "b%E4d.jpg"]
    assert record["settings"]["regions"] == "grid:8"
    assert record["settings"]["ranking"]["budget"] == "3"
    counts = {"total": 13, "skipped": 0, "scored": 12, "duplicates": 0, "errors": {"decode": 1}}
    assert record["counts"] == counts
    assert set(record["busy_seconds"]) == {"decode", "network", "kernel", "write"}
    assert record["bound_by"] == report.bound_by
    assert record["bound_by"] in {"decode", "network", "kernel", "write"}
    assert record["versions"]["onnxruntime"]
    assert 0 < record["peak_memory"]["scored"] <= record["peak_memory"]["ranked"]
    assert record["shard"] == "0/1"
    assert QuantileSketch.from_dict(record["score_sketch"]).count == 12
