"""Runs that fail, are refused or interrupted: what surfaces, and what is kept."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deal import read_results
from deal.errors import DealError, OutputError, PoolError, TooManyErrorsError, UsageError
from deal.pool.listing import Pool
from deal.results.output import Output
from deal.run import ledger as ledger_module
from deal.run.pipeline import InterruptedRunError, Progress, RunReport, score_pool
from deal.scoring.batch_scores import BatchScores
from deal.scoring.session import Session
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import rows, stage_threads, write_pool


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return write_pool(tmp_path / "pool", 12)


def test_more_errors_than_allowed_fail_the_run(pool: Path, model: Path, tmp_path: Path) -> None:
    for name in ("001.png", "002.png", "003.png"):
        (pool / name).write_bytes(b"")
    run: Callable[..., RunReport] = lambda limit: score_pool(  # noqa: E731
        pool, model=model, output=tmp_path / "out", max_errors=limit
    )
    assert run("3").exit_code == 0
    assert run("25%").exit_code == 0
    with pytest.raises(TooManyErrorsError, match=r"3 of 12 images failed \(3 decode\).*24\.9%"):
        run("24.9%")
    with pytest.raises(TooManyErrorsError, match="more than --max-errors 2 allows"):
        run("2")
    assert len(read_results([tmp_path / "out"])) == 12


def test_a_count_of_errors_ends_the_run_early(model: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    for index in range(500):
        (pool / f"{index}.png").write_bytes(b"")
    with pytest.raises(TooManyErrorsError):
        score_pool(pool, model=model, output=tmp_path / "out", max_errors=5)
    assert 6 <= len(read_results([tmp_path / "out"])) < 500
    assert stage_threads() == []


def blinding_model(folder: Path, level: float) -> Path:
    """A model that gives NaN for images whose mean level is above ``level``."""
    return save_model(folder / "nan.onnx", props=metadata(), nan_above=level)


def test_one_image_with_nonfinite_logits_is_quarantined(pool: Path, tmp_path: Path) -> None:
    model = blinding_model(tmp_path, 240)
    Image.new("RGB", (32, 24), "white").save(pool / "004.png")
    report = score_pool(pool, model=model, output=tmp_path / "out", batch_size=4)
    assert (report.scored, report.errors, report.exit_code) == (11, {"nonfinite": 1}, 3)
    row = rows(tmp_path / "out")["004.png"]
    assert (row["status"], row["error_code"]) == ("error", "nonfinite")
    assert row["entropy_mean"] is None
    assert (row["width"], row["height"], row["color_mode"]) == (32, 24, "RGB")


def test_only_nonfinite_logits_fail_the_run_with_the_likely_cause(
    pool: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        DealError, match=r"all 12 images .* weights .* mean and std .* half"
    ) as info:
        score_pool(pool, model=blinding_model(tmp_path, -1), output=tmp_path / "out")
    assert info.value.exit_code == 1
    assert {row["error_code"] for row in rows(tmp_path / "out").values()} == {"nonfinite"}


def test_a_hopeless_model_is_not_run_over_the_whole_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = write_pool(tmp_path / "pool", 100, (8, 8))
    monkeypatch.setattr(ledger_module, "_PROOF", 5)
    with pytest.raises(DealError, match="NaN or infinite"):
        score_pool(pool, model=blinding_model(tmp_path, -1), output=tmp_path / "out")
    assert len(read_results([tmp_path / "out"])) < 60


def test_a_retry_of_nonfinite_images_alone_does_not_blame_the_model(
    pool: Path, tmp_path: Path
) -> None:
    model = blinding_model(tmp_path, 240)
    Image.new("RGB", (32, 24), "white").save(pool / "004.png")
    score_pool(pool, model=model, output=tmp_path / "out")
    report = score_pool(pool, model=model, output=tmp_path / "out")
    assert (report.skipped, report.errors, report.exit_code) == (11, {"nonfinite": 1}, 3)


def test_a_mask_of_another_size_is_refused_before_any_work(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    (pool / "000.png").write_bytes(b"")
    with pytest.raises(UsageError, match=r"mask has 10×20 pixels .*'001\.png' 24×32"):
        score_pool(
            pool, model=model, output=tmp_path / "out", mask=np.ones((10, 20), dtype=np.uint8)
        )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("acquisition", ["ds", "ds:margin", "de"])
def test_difficulty_without_a_head_is_refused_before_any_work(
    pool: Path, tmp_path: Path, acquisition: str
) -> None:
    model = save_model(tmp_path / "bare.onnx", props=metadata(difficulty_head=None))
    with pytest.raises(UsageError, match="deal fit-head"):
        score_pool(pool, model=model, output=tmp_path / "out", acquisition=acquisition)
    assert not (tmp_path / "out").exists()
    report = score_pool(pool, model=model, output=tmp_path / "out", acquisition="entropy")
    assert report.exit_code == 0
    assert rows(tmp_path / "out")["000.png"]["difficulty_mean"] is None


def test_an_empty_pool_is_refused_before_any_work(model: Path, tmp_path: Path) -> None:
    (tmp_path / "pool").mkdir()
    with pytest.raises(PoolError, match="no image found"):
        score_pool(tmp_path / "pool", model=model, output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_failure_of_the_network_surfaces_and_keeps_finished_rows(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score_batch, calls = Session.score_batch, []

    def fail_later(self: Session, images: Any, extras: Any) -> BatchScores:
        calls.append(len(images))
        if len(calls) > 4:
            raise DealError("out of memory")
        return score_batch(self, images, extras)

    monkeypatch.setattr(Session, "score_batch", fail_later)
    with pytest.raises(DealError, match="out of memory"):
        score_pool(pool, model=model, output=tmp_path / "out")
    assert stage_threads() == []
    assert len(read_results([tmp_path / "out"])) == 4
    monkeypatch.undo()
    assert score_pool(pool, model=model, output=tmp_path / "out").skipped == 4


def test_a_session_that_does_not_open_surfaces(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Session, **options: Any) -> Session:
        raise DealError("no memory for another session")

    monkeypatch.setattr(Session, "again", fail)
    with pytest.raises(DealError, match="another session"):
        score_pool(pool, model=model, output=tmp_path / "out", sessions=2)
    assert stage_threads() == []


def test_a_failure_of_the_pool_surfaces(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> Any:
        raise PoolError("manifest gone")
        yield

    monkeypatch.setattr(Pool, "__iter__", broken)
    with pytest.raises(PoolError, match="manifest gone"):
        score_pool(pool, model=model, output=tmp_path / "out")
    assert stage_threads() == []


def test_a_failure_of_the_output_surfaces(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Output, *columns: Any) -> None:
        raise OutputError("no space left on device")

    monkeypatch.setattr(Output, "write", full)
    with pytest.raises(OutputError, match="no space left"):
        score_pool(pool, model=model, output=tmp_path / "out")
    assert stage_threads() == []


def test_a_failure_of_the_progress_callback_surfaces(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    def broken(state: Progress) -> None:
        raise RuntimeError("terminal gone")

    with pytest.raises(RuntimeError, match="terminal gone"):
        score_pool(pool, model=model, output=tmp_path / "out", progress=broken)
    assert stage_threads() == []
    assert len(read_results([tmp_path / "out"])) == 1


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_keeps_finished_rows_and_the_next_run_goes_on(
    model: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    pool, out = write_pool(tmp_path / "pool", 80, (8, 8)), tmp_path / "out"
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def progress(state: Progress) -> None:
        if state.done == 5 and not state.stopping:
            os.kill(os.getpid(), number)

    with pytest.raises(InterruptedRunError, match=r"of 80 images are stored; .*continues") as info:
        score_pool(pool, model=model, output=out, progress=progress)
    assert info.value.exit_code == code
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    assert stage_threads() == []
    stored = len(read_results([out]))
    assert 5 <= stored < 80
    report = score_pool(pool, model=model, output=out)
    assert (report.skipped, report.scored) == (stored, 80 - stored)
    assert len(read_results([out])) == 80


def test_a_second_interrupt_does_not_wait(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, release, score_batch = threading.Event(), threading.Event(), Session.score_batch

    def stuck(self: Session, images: Any, extras: Any) -> BatchScores:
        if threading.current_thread().name == "deal-session-1":
            begun.set()
            release.wait()
        begun.wait()
        return score_batch(self, images, extras)

    def progress(state: Progress) -> None:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Session, "score_batch", stuck)
    with pytest.raises(KeyboardInterrupt) as info:
        score_pool(pool, model=model, output=tmp_path / "out", sessions=2, progress=progress)
    assert not isinstance(info.value, InterruptedRunError)
    assert len(read_results([tmp_path / "out"])) >= 1
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("deal-"):
            thread.join(20)
    assert stage_threads() == []
