"""Few parts of many: no row is lost, doubled or changed, wherever the process is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import deal
from deal import cli
from deal.errors import OutputError, ResultsError, UsageError
from deal.results import compaction
from deal.results.parts import count_rows, list_parts
from deal.results.reading import read_regions, read_results
from tests.helpers.outputs import as_schema_1, open_output, write
from tests.results.test_batches import rows


def scored(out: Path, parts: int = 5) -> pa.Table:
    """An output of parts of two rows, with regions; its rows in the order of ids."""
    with open_output(out, part_rows=2) as output:
        for number in range(parts):
            write(output, f"{number}a", f"{number}b", version=f"v{number}")
    return content(out)


def content(out: Path) -> tuple[pa.Table, pa.Table]:
    images, regions = read_results(out).table, read_regions(out).table
    return images.sort_by("id"), regions.sort_by([("id", "ascending"), ("region", "ascending")])


def test_parts_are_merged_and_rows_stay(tmp_path: Path) -> None:
    before = scored(tmp_path)
    done = deal.results.compact(tmp_path, part_rows=5)
    assert (done.rows, done.before, done.after, done.removed) == (10, 5, 3, 0)
    assert content(tmp_path) == before
    assert [count_rows(part) for part in list_parts(tmp_path / "images")] == [2, 4, 4]
    assert len(list_parts(tmp_path / "regions")) == 3
    again = deal.results.compact(tmp_path, part_rows=5)
    assert (again.before, again.after) == (3, 3)
    assert deal.results.compact(tmp_path).after == 1
    assert content(tmp_path) == before


def test_a_run_continues_after_it(tmp_path: Path) -> None:
    scored(tmp_path)
    deal.results.compact(tmp_path)
    with open_output(tmp_path, part_rows=2) as output:
        assert output.done_count == 10
        assert output.is_done("3a", "v3")
        write(output, "3a", version="v9")
        output.flush()
        output.check_rows()
    assert len(read_results(tmp_path)) == 10
    assert len(read_regions(tmp_path)) == 20


@pytest.mark.parametrize("wanted", [0, 5.5, True])
def test_rows_per_part_are_a_whole_number(tmp_path: Path, wanted: Any) -> None:
    with pytest.raises(UsageError, match="part_rows must be"):
        deal.results.compact(tmp_path, part_rows=wanted)


def test_rows_of_an_item_that_has_two_become_one(tmp_path: Path) -> None:
    deal.results.write(rows("a", "b"), tmp_path)
    deal.results.write(rows("c", status="error"), tmp_path)
    deal.results.write(rows("a", "c", version="v2"), tmp_path)
    before = read_results(tmp_path).table.sort_by("id")
    done = deal.results.compact(tmp_path)
    assert (done.rows, done.after, done.removed) == (3, 1, 2)
    assert read_results(tmp_path).table.sort_by("id") == before
    deal.results.write(rows("a", version="v3"), tmp_path)
    versions = read_results(tmp_path, ["id", "source_version"]).table.sort_by("id")
    assert versions.column("source_version").to_pylist() == ["v3", "v1", "v2"]


def test_a_part_whose_rows_are_all_second_goes(tmp_path: Path) -> None:
    deal.results.write(rows("a"), tmp_path)
    deal.results.write(rows("a"), tmp_path)
    assert deal.results.compact(tmp_path, part_rows=1).after == 1
    assert len(read_results(tmp_path)) == 1


def test_parts_of_another_schema_are_merged_among_themselves(tmp_path: Path) -> None:
    scored(tmp_path, 2)
    as_schema_1(tmp_path)
    deal.results.write(rows("x"), tmp_path)
    deal.results.write(rows("y"), tmp_path)
    before = content(tmp_path)
    assert deal.results.compact(tmp_path).after == 2
    assert content(tmp_path) == before


@pytest.mark.parametrize("call", range(9))
def test_a_kill_at_any_step_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    before = scored(tmp_path, 3)
    made = 0

    def dying(function: Any) -> Any:
        def step(*arguments: Any, **options: Any) -> Any:
            nonlocal made
            made += 1
            if made > call:
                raise KeyboardInterrupt
            return function(*arguments, **options)

        return step

    with monkeypatch.context() as patch:
        patch.setattr(compaction, "publish_tables", dying(compaction.publish_tables))
        patch.setattr(Path, "unlink", dying(Path.unlink))
        try:
            deal.results.compact(tmp_path)
        except KeyboardInterrupt:
            assert made == call + 1
        else:
            assert made == 8  # two parts, and three of each table that go
    assert content(tmp_path) == before
    if call % 2:
        deal.results.compact(tmp_path)
    open_output(tmp_path).close()
    assert content(tmp_path) == before
    assert len(list_parts(tmp_path / "regions")) == len(list_parts(tmp_path / "images"))
    assert sum(map(count_rows, list_parts(tmp_path / "images"))) == 6


def test_it_waits_for_no_run_and_needs_results(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
        output.flush()
        with pytest.raises(OutputError, match="is in use by process"):
            deal.results.compact(tmp_path)
    with pytest.raises(ResultsError, match="holds no results"):
        deal.results.compact(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="part_rows must be at least 1"):
        deal.results.compact(tmp_path, part_rows=0)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["while a part is written", "before parts go"])
def test_a_process_that_is_killed_loses_and_doubles_nothing(tmp_path: Path, moment: str) -> None:
    before = scored(tmp_path, 3)
    program = (
        "import sys, pathlib, deal.results.compaction as c\n"
        "from deal.results import parts\n"
        "wait = lambda *a, **k: (print('here', flush=True), sys.stdin.read())\n"
        "if 'written' in sys.argv[2]:\n"
        "    parts.write_tables = lambda schema, tables, file: (file.write(b'PAR1'), wait())\n"
        "else:\n"
        "    pathlib.Path.unlink = wait\n"
        "c.compact(sys.argv[1])\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), moment],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
    assert content(tmp_path) == before
    assert deal.results.compact(tmp_path).after == 1
    assert content(tmp_path) == before


def test_the_command_says_what_it_did(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    scored(tmp_path, 3)
    assert cli.run(cli.deal, ["compact", str(tmp_path)], "deal") == 0
    assert capfd.readouterr().out == f"{tmp_path}: 6 rows, 3 → 1 parts\n"
    assert cli.run(cli.deal, ["compact", str(tmp_path), "--json"], "deal") == 0
    assert json.loads(capfd.readouterr().out)["after"] == 1
    assert cli.run(cli.deal, ["compact", str(tmp_path / "none")], "deal") == 1
    assert "holds no results" in capfd.readouterr().err
