"""The same command again: on other settings, after an end half-way, beside another process."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.helpers.models import metadata, save_model
from tests.helpers.runs import SIZE, Deal, assert_refused, rows, write_pool


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (["--raster", "image"], ["raster"]),
        (["--raster", "half"], ["raster"]),
        (["--regions", "grid:8"], ["regions"]),
        (["--model-option", "align_corners=false"], ["align_corners"]),
    ],
)
def test_other_settings_on_an_old_output_are_refused_unless_overwrite(
    score: Deal, tmp_path: Path, change: list[str], words: list[str]
) -> None:
    assert score()[0] == 0
    before = (tmp_path / "out/selection.csv").read_bytes()
    assert_refused(score(*change), 1, "other settings", "--overwrite", *words)
    assert (tmp_path / "out/selection.csv").read_bytes() == before
    assert score(*change, "--overwrite")[0] == 0
    assert len(rows(tmp_path / "out")) == 4


def test_another_model_on_an_old_output_is_refused_unless_overwrite(
    score: Deal, tmp_path: Path
) -> None:
    other = save_model(tmp_path / "other.onnx", props=metadata(), embedding=True)
    assert score()[0] == 0
    assert_refused(score("--model", other), 1, "other settings", "model", "--overwrite")
    assert score("--model", other, "--overwrite")[0] == 0
    assert len(rows(tmp_path / "out")) == 4
    assert rows(tmp_path / "out")["good0.png"]["embedding"] is not None


def test_engine_details_and_budget_do_not_block_a_resume(score: Deal) -> None:
    assert score()[0] == 0
    code, stdout, _ = score("--sessions", 1, "--device", "cpu", "--budget", 2, "--seed", 5)
    assert code == 0
    assert "4 stored before" in stdout


def test_sequences_that_are_named_later_reach_the_stored_rows(score: Deal, tmp_path: Path) -> None:
    assert score()[0] == 0
    assert score("--min-gap", "1f", "--sequence-from", "^([a-z]+)")[0] == 0
    code, stdout, stderr = score("--min-gap", "2f", "--sequence-from", "^([a-z])")
    assert code == 0
    assert "4 stored before" in stdout
    assert "4 images that were stored before got the sequence, camera, time" in stderr
    assert {row["sequence"] for row in rows(tmp_path / "out").values()} == {"g"}
    code, _, stderr = score("--min-gap", "2f")  # what is not given stays
    assert (code, "got the sequence" in stderr) == (0, False)
    assert len(list((tmp_path / "out/runs").iterdir())) == 4


def test_images_of_another_camera_than_before_are_scored_with_its_mask(
    deal: Deal, model: Path, tmp_path: Path
) -> None:
    pool = write_pool(tmp_path / "two", 2)
    Image.fromarray(np.tri(*SIZE, dtype=np.uint8) * 255).save(tmp_path / "mask.png")
    manifest, out = tmp_path / "pool.csv", tmp_path / "out"
    command = ["score", manifest, "--model", model, "--output", out, "--acquisition", "entropy"]
    command += ["--mask", f"front={tmp_path / 'mask.png'}"]
    for cameras in ("rear", "rear"), ("rear", "front"):
        lines = [f"{pool.name}/{index:03}.png,{camera}" for index, camera in enumerate(cameras)]
        manifest.write_text("\n".join(["uri,camera", *lines]))
        code, stdout, _ = deal(*command)
        assert code == 0
    assert "1 scored, 1 stored before" in stdout
    pixels = [row["n_pixels"] for row in rows(out).values()]
    assert max(pixels) == SIZE[0] * SIZE[1] > min(pixels)


# Slows decoding down and makes every row visible at once, so that a run can be caught half-way.
SLOWLY = """
import sys, time
import deal.run.ledger, deal.run.steps as workers
from deal.cli import deal as command, run
from tests.helpers.runs import assert_refused
decode = workers.decode
def slow(item, **limits):
    time.sleep(0.05)
    return decode(item, **limits)
workers.decode = slow
deal.run.ledger._FLUSH_SECONDS = 0
sys.exit(run(command, sys.argv[1:], "deal"))
"""


@pytest.fixture
def half_way(model: Path, tmp_path: Path) -> Any:
    """A process that scores 40 images slowly, and the arguments it runs with."""
    pool, out = write_pool(tmp_path / "many", 40, (8, 8)), tmp_path / "out"
    arguments = ["score", str(pool), "--model", str(model), "--output", str(out), "--quiet"]
    process = subprocess.Popen(
        [sys.executable, "-c", SLOWLY, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while len(list(out.glob("images/part-*.parquet"))) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    yield process, arguments
    process.kill()
    process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_a_run_that_was_ended_goes_on_with_the_same_command(
    half_way: Any, deal: Deal, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    process, arguments = half_way
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=120)
    assert process.returncode == code
    assert stdout == ""
    if number is not signal.SIGKILL:
        assert stderr.strip().splitlines()[-1].startswith("interrupted: ")
        assert "the same command continues from there" in stderr
    stored = len(rows(tmp_path / "out"))
    assert 3 <= stored < 40
    code, stdout, _ = deal(*arguments)
    assert code == 0
    assert f"{40 - stored} scored, {stored} stored before, 0 failed" in stdout
    assert len(rows(tmp_path / "out")) == 40
    fresh = [*arguments[:-2], str(tmp_path / "fresh"), "--quiet"]
    assert deal(*fresh)[0] == 0
    for name in ("selection.csv", "selection.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


STUCK = """
import sys, time
import deal.run.steps as workers
from deal.cli import main
def stuck(item, **limits):
    print("reading", flush=True)
    time.sleep(600)
workers.decode = stuck
main()
"""


def test_a_second_signal_ends_a_run_that_waits_for_a_file_system(
    model: Path, tmp_path: Path
) -> None:
    pool = write_pool(tmp_path / "two", 2)
    command = ["score", pool, "--model", model, "--output", tmp_path / "out", "--decode-threads", 2]
    with subprocess.Popen(
        [sys.executable, "-c", STUCK, *map(str, command)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "reading\n"
        process.send_signal(signal.SIGINT)
        assert "stopping: waiting for the images that are being read" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "interrupted" in stderr
    assert not list((tmp_path / "out").glob("images/*"))


@pytest.mark.slow
def test_a_second_process_on_one_output_is_refused(half_way: Any, deal: Deal) -> None:
    process, arguments = half_way
    assert_refused(deal(*arguments), 1, f"in use by process {process.pid}", "--output")
    assert process.wait(timeout=120) == 0
