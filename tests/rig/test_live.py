"""`deal stream`: frames in, the best as files out, as `deal select` would have it."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import deal
from deal import cli
from deal.pool.ids import id_to_path
from deal.pool.locator import read_file

DEMO = Path(deal.__file__).parent / "demo"
MODEL = str(DEMO / "model.onnx")
POOL = DEMO / "pool"
SECOND = 10**9
RULES = ["--acquisition", "ds:entropy", "--budget", "5"]


@pytest.fixture
def trip(tmp_path: Path) -> Path:
    """A manifest of the bundled images, two per second, and one that is no image."""
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no image")
    lines = ["uri,id,sequence,camera,timestamp_ns"]
    for index, path in enumerate([*sorted(POOL.glob("*.jpg")), broken]):
        lines.append(f"{path},{path.name},trip,front,{index * 500_000_000}")
    manifest = tmp_path / "trip.csv"
    manifest.write_text("\n".join(lines) + "\n")
    return manifest


def stream(*arguments: Any) -> int:
    return cli.run(cli.deal, ["stream", *map(str, arguments), "--model", MODEL], "deal")


def picked(folder: Path) -> list[str]:
    with (folder / "selection.csv").open(newline="") as file:
        return [row["id"] for row in csv.DictReader(file)]


def reading(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def kept(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "frames").iterdir()}


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("scored") / "out"
    deal.score_pool(POOL, model=MODEL, output=output, threads=1)
    return output


def test_a_stream_keeps_the_files_that_select_picks_from_the_whole_pool(scored, tmp_path, capsys):
    out = tmp_path / "kept"
    assert stream(POOL, *RULES, "-o", out) == 0
    assert "5 of 24 frames kept" in capsys.readouterr().out
    off: dict[str, Any] = {"spread": "off", "near_duplicates": "off"}
    desk = deal.select(scored, acquisition="ds:entropy", budget=5, **off)
    assert picked(out) == list(desk.ids)
    assert kept(out) == {name: (POOL / name).read_bytes() for name in desk.ids}
    columns = ("rank", "id", "score", "region", "polygon", "cost", "why")
    rows, expected = (
        [[r[c] for c in columns] for r in reading(text)]
        for text in (
            (out / "selection.csv").read_text(),
            desk.to_csv(),
        )
    )
    assert rows == expected
    assert all("%" in row[-1] for row in rows)
    assert stream(POOL, *RULES, "-o", out) == 0  # scores the kept frames once more
    assert [[r[c] for c in columns] for r in reading((out / "selection.csv").read_text())] == rows
    document = json.loads((out / "selection.json").read_text())
    assert document["selected"] == 5
    assert [row["score"] for row in document["selection"]] == desk.scores.tolist()


def test_kept_frames_are_found_by_their_uris_from_anywhere(tmp_path, monkeypatch, capsys):
    pool = tmp_path / "pool"
    pool.mkdir()
    names = ("50%.jpg", "a%25b.jpg", "☃ x,q.jpg")
    for name, path in zip(names, sorted(POOL.glob("*.jpg")), strict=False):
        shutil.copy(path, pool / name)
    monkeypatch.chdir(tmp_path)
    assert stream("pool", *RULES, "-o", "kept") == 0
    monkeypatch.chdir("/")
    with (tmp_path / "kept/selection.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3
    for row in rows:
        assert read_file(row["uri"]) == (pool / id_to_path(row["id"])).read_bytes()


def test_every_frame_has_a_reason_and_a_second_run_changes_nothing(trip, tmp_path, capsys):
    out = tmp_path / "kept"
    arguments = [trip, *RULES, "--min-gap", "1s", "-o", out]
    assert stream(*arguments) == 0
    assert "1 of 25 frames failed, such as broken.jpg (decode)" in capsys.readouterr().err
    names = ("selection.csv", "selection.json", "decisions.csv")
    before = {name: (out / name).read_bytes() for name in names} | kept(out)
    with (out / "decisions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 25
    assert rows[-1]["why"] == "decode"
    assert {row["id"] for row in rows if row["action"] == "keep"} == set(picked(out))
    assert {"gap", "frames"} & {row["why"] for row in rows}
    assert stream(*arguments) == 0
    assert {name: (out / name).read_bytes() for name in names} | kept(out) == before


@pytest.mark.slow
def test_frames_come_as_json_lines(trip, tmp_path, monkeypatch, capsys):
    lines = [
        json.dumps({"uri": str(path), "id": path.name, "timestamp_ns": index * 500_000_000})
        for index, path in enumerate(sorted(POOL.glob("*.jpg")))
    ]
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(lines)))
    assert stream("-", *RULES, "--min-gap", "1s", "-o", tmp_path / "piped") == 0
    assert stream(trip, *RULES, "--min-gap", "1s", "-o", tmp_path / "listed") == 0
    assert picked(tmp_path / "piped") == picked(tmp_path / "listed")
    capsys.readouterr()
    for wrong in ("{", "[1]", '{"id": "a"}', '{"uri": "a", "timestamp_ns": "noon"}'):
        monkeypatch.setattr(sys, "stdin", io.StringIO(wrong))
        assert stream("-", *RULES, "-o", tmp_path / "wrong") == 1
        assert "line 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--budget", "5", "--min-gap", "2s"], "--min-gap needs the time of every frame"),
        (["--budget", "5", "--acquisition", "core-set"], "needs the whole pool"),
        (["--budget", "5", "--acquisition", "balanced:entropy"], "needs the whole pool"),
        (["--budget", "1GB", "--max-bytes", "1GB"], "leave --max-bytes out"),
        (["--budget", "some"], "budget must be a positive number"),
        (["--budget", "5%"], "--budget '5%': write a number of frames, or bytes"),
        (["--budget", "5", "--until-idle", "9s"], "--until-idle needs --watch"),
        (["--budget", "5", "--watch", "more"], "--watch watches one folder, not 2"),
        (["--budget", "5", "--link", "cp '"], "close the quote"),
    ],
)
def test_what_a_stream_cannot_do_is_refused(arguments, message, tmp_path, capsys):
    assert stream(POOL, *arguments, "-o", tmp_path / "out") == 2
    assert message in capsys.readouterr().err


def test_a_budget_in_bytes_is_kept(tmp_path):
    out = tmp_path / "kept"
    assert stream(POOL, "--budget", "60kB", "-o", out) == 0
    assert 0 < sum(map(len, kept(out).values())) <= 60_000


@pytest.mark.slow
def test_a_killed_command_ends_in_the_same_files_after_a_rerun(trip, tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "killed"
    arguments = [str(trip), *RULES, "--min-gap", "1s", "--model", MODEL]
    assert cli.run(cli.deal, ["stream", *arguments, "-o", str(whole)], "deal") == 0
    command = [sys.executable, "-m", "deal", "stream", *arguments, "-o", str(out)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        journal = out / "journal.bin"
        while process.poll() is None and not (journal.exists() and journal.stat().st_size > 2000):
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert cli.run(cli.deal, ["stream", *arguments, "-o", str(out)], "deal") == 0
    assert kept(out) == kept(whole)
    for name in ("selection.csv", "decisions.csv"):
        text = (out / name).read_text().replace(str(out), str(whole))
        assert text == (whole / name).read_text()


@pytest.mark.parametrize("name", ["entropy", "de", "random", "margin", "tail:difficulty"])
def test_why_is_what_select_says(name, scored, tmp_path):
    out = tmp_path / "kept"
    assert stream(POOL, "--acquisition", name, "--budget", 4, "-o", out) == 0
    desk = deal.select(scored, acquisition=name, budget=4, spread="off", near_duplicates="off")
    found = [(row["id"], row["why"]) for row in reading((out / "selection.csv").read_text())]
    assert found == [(row["id"], row["why"]) for row in desk.records()]


def test_windows_and_bytes_keep_what_select_picks(trip, tmp_path):
    limits = ["--acquisition", "ds:entropy", "--min-gap", "1s"]
    limits += ["--window", "4s", "--window-budget", "2", "--budget", "200kB"]
    deal.score_pool(trip, model=MODEL, output=tmp_path / "scored", threads=1, max_errors=1)
    command = ["select", str(tmp_path / "scored"), *limits, "-o", str(tmp_path / "desk")]
    assert cli.run(cli.deal, command, "deal") == 0
    assert stream(trip, *limits, "-o", tmp_path / "rig") == 0
    assert picked(tmp_path / "rig") == picked(tmp_path / "desk")
    assert 0 < len(picked(tmp_path / "rig")) < 24


@pytest.mark.parametrize("ending", [pytest.param("idle", marks=pytest.mark.slow), "signal"])
def test_a_watched_folder_ends_as_its_frames_listed_at_once(ending, tmp_path):
    spool, out = tmp_path / "spool", tmp_path / "kept"
    spool.mkdir()
    names = sorted(path.name for path in POOL.glob("*.jpg"))[:6]
    for index, name in enumerate(names[:3]):
        (spool / name).write_bytes((POOL / name).read_bytes())
        os.utime(spool / name, ns=(index * SECOND, index * SECOND))
    command = [sys.executable, "-m", "deal", "stream", str(spool), "--watch", "--model", MODEL]
    command += ["--budget", "3", "--min-gap", "1s", "-o", str(out), "--threads", "1"]
    command += ["--until-idle", "3s"] if ending == "idle" else []
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        journal = out / "journal.bin"
        _wait(lambda: journal.exists() and journal.stat().st_size >= 4 * 264)
        for index, name in enumerate(names[3:], 3):
            part = spool / f".{name}"
            part.write_bytes((POOL / name).read_bytes())
            os.utime(part, ns=(index * SECOND, index * SECOND))
            part.rename(spool / name)
        _wait(lambda: journal.stat().st_size >= 7 * 264)
        if ending == "signal":
            process.send_signal(signal.SIGTERM)
        told = process.communicate(timeout=60)[0]
    assert process.returncode == 0
    assert "3 of 6 frames kept" in told
    manifest = tmp_path / "trip.csv"
    lines = [f"{POOL / name},{name},{index * SECOND}" for index, name in enumerate(names)]
    manifest.write_text("\n".join(["uri,id,timestamp_ns", *lines]) + "\n")
    assert stream(manifest, "--budget", 3, "--min-gap", "1s", "-o", tmp_path / "listed") == 0
    assert picked(out) == picked(tmp_path / "listed")
    assert (out / "decisions.csv").read_text() == (tmp_path / "listed/decisions.csv").read_text()


def _wait(condition: Any) -> None:
    stop = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < stop
        time.sleep(0.02)
