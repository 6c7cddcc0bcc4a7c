"""Images inside other files give the rows that they give as files of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deal.pool.decode import decode_bytes
from deal.pool.locator import read_file
from deal.run.pipeline import score_pool
from tests.helpers.runs import Deal, rows, write_pool

COUNT = 12
WHENCE = ("id", "uri", "source_version", "sequence", "camera", "timestamp_ns", "attributes")


def tar(pool: Path, folder: Path) -> tuple[str, Callable[[str], str]]:
    names = sorted(path.name for path in pool.iterdir())
    for shard, part in enumerate((names[:7], names[7:])):
        command = ["tar", "-cf", folder / f"shard-{shard:03}.tar", *part]
        subprocess.run(command, cwd=pool, check=True)
    return f"{folder}/shard-{{000..001}}.tar", lambda item_id: item_id.partition("/")[2]


SOURCES = {"tar": tar}


def statistics(output: Path, name_of: Callable[[str], str] = str) -> dict[str, dict[str, Any]]:
    return {
        name_of(item_id): {name: value for name, value in row.items() if name not in WHENCE}
        for item_id, row in rows(output).items()
    }


@pytest.fixture(params=SOURCES)
def source(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Callable[[str], str]]:
    """What a command names, and a function from its ids to the names of the files."""
    (tmp_path / "inside").mkdir()
    made: tuple[str, Callable[[str], str]] = SOURCES[request.param](
        write_pool(tmp_path / "pool", COUNT), tmp_path / "inside"
    )
    return made


def test_images_inside_files_are_scored_previewed_and_found_again(
    deal: Deal, model: Path, tmp_path: Path, source: tuple[str, Callable[[str], str]]
) -> None:
    named, name_of = source
    score_pool(tmp_path / "pool", model=model, output=tmp_path / "files")
    command = ["score", named, "--model", model, "--output", tmp_path / "out", "--previews", 3]
    code, stdout, stderr = deal(*command)
    assert (code, "no preview" in stderr) == (0, False), stderr
    assert statistics(tmp_path / "out", name_of) == statistics(tmp_path / "files")
    for item_id, row in rows(tmp_path / "out").items():
        image = decode_bytes(read_file(row["uri"], row["source_version"])).image
        expected = decode_bytes((tmp_path / "pool" / name_of(item_id)).read_bytes()).image
        assert (image == expected).all()

    code, stdout, stderr = deal(*command)
    assert code == 0
    assert f"0 scored, {COUNT} stored before" in stdout

    manifest = tmp_path / "inside" / "list.txt"
    manifest.write_text("".join(f"{row['uri']}\n" for row in rows(tmp_path / "out").values()))
    code, _, stderr = deal("score", manifest, "--model", model, "--output", tmp_path / "again")
    assert code == 0, stderr
    assert statistics(tmp_path / "again", name_of) == statistics(tmp_path / "files")


def test_a_killed_run_goes_on_with_one_row_per_image(
    model: Path, tmp_path: Path, source: tuple[str, Callable[[str], str]]
) -> None:
    named, name_of = source
    program = (
        "import sys, deal.run.ledger as ledger; ledger._FLUSH_SECONDS = 0\n"
        "from deal.run.pipeline import score_pool\n"
        "wait = lambda p: p.done > 3 and (print(p.done, flush=True), sys.stdin.read())\n"
        "score_pool(sys.argv[1], model=sys.argv[2], output=sys.argv[3], progress=wait)"
    )
    arguments = [named, str(model), str(tmp_path / "out")]
    with subprocess.Popen(
        [sys.executable, "-c", program, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    report = score_pool(named, model=model, output=tmp_path / "out")
    assert 0 < report.skipped < COUNT
    assert report.skipped + report.scored == COUNT
    score_pool(tmp_path / "pool", model=model, output=tmp_path / "files")
    assert statistics(tmp_path / "out", name_of) == statistics(tmp_path / "files")


def test_check_looks_at_the_first_image_inside(
    deal: Deal, model: Path, source: tuple[str, Callable[[str], str]]
) -> None:
    named, _ = source
    first = named.replace("{000..001}", "000")
    code, stdout, stderr = deal("check", model, first)
    assert code in (0, 3), stderr
    assert "mean entropy" in stdout
