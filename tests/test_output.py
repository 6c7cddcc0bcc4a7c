"""Output folders: resume, replace, overwrite, shards, locks, and kills at every step."""

from __future__ import annotations

import errno
import itertools
import json
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from deal.errors import OutputError, ResultsError
from deal.output import Output
from deal.pool import Shard
from deal.results import read_regions, read_results

SETTINGS = {"model": "abc", "raster": "input"}
CLASSES = ["road", "sky"]


def open_output(path: Path, **options: Any) -> Output:
    return Output.open(path, **{"settings": SETTINGS, "classes": CLASSES, **options})


def write(output: Output, *ids: str, version: str = "v1", status: str = "ok") -> None:
    """One row an item; rows that are ok have two regions whose ``x0`` tells the version."""
    count = len(ids)
    regions = None
    if status == "ok":
        regions = {
            "id": [item_id for item_id in ids for _ in range(2)],
            "region": [0, 1] * count,
            "x0": [int(version[1:])] * 2 * count,
            "y0": [0] * 2 * count,
            "x1": [9] * 2 * count,
            "y1": [9] * 2 * count,
        }
    images = {
        "id": ids,
        "uri": ids,
        "source_version": [version] * count,
        "status": [status] * count,
        "entropy_mean": np.full(count, 0.5),
    }
    output.write(images, regions)


def stored(path: Path) -> dict[str, tuple[str, str]]:
    """Id → (status, version); read_results refuses an id that stands twice."""
    table = read_results(path, ["id", "status", "source_version"])
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return {item_id: (status, version) for item_id, status, version in rows}


def region_versions(path: Path) -> dict[str, list[str]]:
    table = read_regions(path, ["id", "x0"])
    found: dict[str, list[str]] = {}
    for item_id, version in zip(*(c.to_pylist() for c in table.columns), strict=True):
        found.setdefault(item_id, []).append(f"v{version}")
    return found


def files(path: Path) -> list[str]:
    return sorted(str(p.relative_to(path)) for p in path.rglob("*") if p.is_file())


# --- writing and resuming


def test_parts_have_deterministic_names_and_continue(tmp_path: Path) -> None:
    for batch in (["a", "b", "c"], ["d"]):
        with open_output(tmp_path, part_rows=2) as output:
            for item_id in batch:
                write(output, item_id)
    numbers = ["part-0-of-1-000000", "part-0-of-1-000001", "part-0-of-1-000002"]
    assert files(tmp_path) == ["_lock"] + [
        f"{folder}/{name}.parquet" for folder in ("images", "regions") for name in numbers
    ]
    assert list(stored(tmp_path)) == ["a", "b", "c", "d"]


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        with open_output(tmp_path / name) as output:
            write(output, "a", "b")
    for part in ("images/part-0-of-1-000000.parquet", "regions/part-0-of-1-000000.parquet"):
        assert (tmp_path / "one" / part).read_bytes() == (tmp_path / "two" / part).read_bytes()


def test_rows_are_invisible_until_their_part_is_complete(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
        with pytest.raises(ResultsError, match="no results"):
            read_results(tmp_path)
        output.flush()
        assert stored(tmp_path) == {"a": ("ok", "v1")}
        write(output, "b")
    assert list(stored(tmp_path)) == ["a", "b"]


def test_an_exception_leaves_buffered_rows_unwritten_and_the_folder_free(tmp_path: Path) -> None:
    def fail() -> None:
        with open_output(tmp_path) as output:
            write(output, "a")
            output.flush()
            write(output, "b")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(stored(tmp_path)) == ["a"]
    open_output(tmp_path).close()


def test_what_is_done_is_known_after_reopening(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        assert not output.is_done("a", "v1")
        write(output, "a")
        write(output, "d", status="duplicate")
        write(output, "s", status="skipped")
        write(output, "e", status="error")
    with open_output(tmp_path) as output:
        assert output.done_count == 3
        assert all(output.is_done(item_id, "v1") for item_id in "ads")
        assert not output.is_done("a", "v2")
        assert not output.is_done("e", "v1")
    assert set(stored(tmp_path)) == {"a", "d", "s"}  # the failed row waits for its retry


def test_a_part_of_failed_rows_alone_goes_and_its_number_is_used_again(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a", "b", status="error")
    with open_output(tmp_path) as output:
        write(output, "a", "b")
    assert stored(tmp_path) == {"a": ("ok", "v1"), "b": ("ok", "v1")}
    assert [name for name in files(tmp_path) if name.startswith("images")] == [
        "images/part-0-of-1-000000.parquet"
    ]


def test_a_changed_image_replaces_its_row_and_regions(tmp_path: Path) -> None:
    with open_output(tmp_path, part_rows=3) as output:
        write(output, "a", "b", "c")
        write(output, "d")
    with open_output(tmp_path) as output:
        write(output, "b", "d", version="v2")
    expected = {"a": "v1", "c": "v1", "b": "v2", "d": "v2"}
    assert stored(tmp_path) == {item_id: ("ok", v) for item_id, v in expected.items()}
    assert region_versions(tmp_path) == {item_id: [v] * 2 for item_id, v in expected.items()}


def test_writing_an_item_again_in_one_run_replaces_it(tmp_path: Path) -> None:
    with open_output(tmp_path, part_rows=1) as output:
        write(output, "a")
        write(output, "a", version="v2", status="error")
        assert output.done_count == 1
    assert stored(tmp_path) == {"a": ("error", "v2")}
    assert region_versions(tmp_path) == {}


def test_an_item_twice_in_one_part_is_a_mistake(tmp_path: Path) -> None:
    output = open_output(tmp_path)
    write(output, "a", "a")
    with pytest.raises(ValueError, match="written twice"):
        output.flush()
    output.close()


def test_every_footer_names_schema_fingerprint_settings_and_classes(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
        fingerprint = output.fingerprint
    for folder in ("images", "regions"):
        (part,) = (tmp_path / folder).iterdir()
        metadata = parquet.read_metadata(part).metadata
        assert metadata[b"deal.schema"] == b"1"
        assert metadata[b"deal.fingerprint"].decode() == fingerprint
        assert json.loads(metadata[b"deal.settings"]) == SETTINGS
        assert json.loads(metadata[b"deal.classes"]) == CLASSES


def test_footers_survive_the_dropping_of_rows(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
        write(output, "e", status="error")
    open_output(tmp_path).close()
    (part,) = (tmp_path / "images").iterdir()
    assert b"deal.fingerprint" in parquet.read_metadata(part).metadata
    assert read_results(tmp_path).schema.metadata[b"deal.schema"] == b"1"


def test_run_records_name_shard_and_fingerprint(tmp_path: Path) -> None:
    with open_output(tmp_path, shard=Shard(1, 3)) as output:
        path = output.write_run({"command": "deal-score ü", "counts": {"ok": 1}})
    assert path == tmp_path / "runs/1-of-3.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert record["shard"] == "1/3"
    assert record["fingerprint"] == output.fingerprint
    assert record["command"] == "deal-score ü"


# --- refusals and overwriting


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
    with pytest.raises(OutputError, match=r'raster: "input" → "image".*--overwrite'):
        open_output(tmp_path, settings={**SETTINGS, "raster": "image"})
    assert list(stored(tmp_path)) == ["a"]
    open_output(tmp_path).close()  # the refusal has given the lock back


def test_overwrite_removes_what_deal_wrote_and_nothing_else(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
        output.write_run({})
    (tmp_path / "selection.csv").write_text("old")
    (tmp_path / "previews.jpg").write_text("old")
    (tmp_path / "images/notes.txt").write_text("mine")
    (tmp_path / "thesis.pdf").write_text("mine")
    other = {**SETTINGS, "raster": "image"}
    with open_output(tmp_path, settings=other, overwrite=True) as output:
        assert output.done_count == 0
    assert files(tmp_path) == ["_lock", "images/notes.txt", "thesis.pdf"]


def test_overwrite_with_equal_settings_starts_afresh(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a", "b")
    with open_output(tmp_path, overwrite=True) as output:
        assert not output.is_done("a", "v1")
        write(output, "a")
    assert list(stored(tmp_path)) == ["a"]


def test_overwrite_replaces_damaged_parts_that_are_refused_otherwise(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
    part = tmp_path / "images/part-0-of-1-000000.parquet"
    part.write_bytes(part.read_bytes()[:100])
    with pytest.raises(OutputError, match="damaged; delete it"):
        open_output(tmp_path)
    open_output(tmp_path, overwrite=True).close()
    assert not part.exists()


@pytest.mark.parametrize("name", ["other.parquet", "part-0-of-1-000000.parquet"])
def test_tables_of_someone_else_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "images").mkdir()
    parquet.write_table(pa.table({"id": ["x"]}), tmp_path / "images" / name)
    with pytest.raises(OutputError, match="not written by deal-score"):
        open_output(tmp_path)
    assert (tmp_path / "images" / name).exists()


def test_another_schema_is_refused(tmp_path: Path) -> None:
    with open_output(tmp_path) as output:
        write(output, "a")
    (part,) = (tmp_path / "images").iterdir()
    table = parquet.read_table(part, partitioning=None)
    metadata = {**table.schema.metadata, b"deal.schema": b"2"}
    parquet.write_table(table.replace_schema_metadata(metadata), part)
    with pytest.raises(OutputError, match="schema 2, not 1; use --overwrite"):
        open_output(tmp_path)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "out"):
        with pytest.raises(OutputError, match=r"cannot write to .*another --output"):
            open_output(path)


def test_a_folder_without_permission_is_refused() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        root = os.geteuid() == 0
        if root:  # who may write anywhere
            os.seteuid(65534)
        try:
            with pytest.raises(OutputError, match=r"cannot write to .*: Permission denied"):
                open_output(Path(folder) / "out")
        finally:
            if root:
                os.seteuid(0)


def test_a_full_disk_is_one_clear_error_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with open_output(tmp_path) as output:
        write(output, "a")
    output = open_output(tmp_path)
    write(output, "b")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OutputError, match="No space left on device; make room"):
            output.flush()
    output.close()
    assert list(stored(tmp_path)) == ["a"]


@pytest.mark.parametrize(
    "columns",
    [
        {"colour": ["red"]},
        {"status": ["ok", "ok"]},
        {"status": [None]},
        {"uri": None},
        {"entropy_hist": np.zeros((1, 12))},
        {"class_pixels": np.zeros((1, 3))},
        {"class_pixels": [[1, 2, 3]]},
    ],
)
def test_rows_that_do_not_fit_the_schema_are_a_mistake(
    tmp_path: Path, columns: dict[str, Any]
) -> None:
    row = {"id": ["a"], "uri": ["a"], "source_version": ["v"], "status": ["ok"]}
    output = open_output(tmp_path)
    with pytest.raises(ValueError, match="column"):
        output.write({**row, **columns})
    output.close()


# --- two processes


def test_a_second_process_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    with (
        open_output(tmp_path),
        pytest.raises(OutputError, match=f"in use by process {os.getpid()}"),
    ):
        open_output(tmp_path)
    open_output(tmp_path).close()


def test_closing_twice_is_harmless(tmp_path: Path) -> None:
    output = open_output(tmp_path)
    output.close()
    with open_output(tmp_path):
        output.close()  # must not free the lock of the other
        with pytest.raises(OutputError, match="in use"):
            open_output(tmp_path)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_killed_process_frees_the_folder(tmp_path: Path) -> None:
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        output = open_output(tmp_path)
        write(output, "a")
        output.flush()
        write(output, "b")
        os.write(tell, b"x")
        time.sleep(60)
        os._exit(1)
    os.read(ready, 1)
    with pytest.raises(OutputError, match=f"process {child} "):
        open_output(tmp_path)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    with open_output(tmp_path) as output:
        assert output.is_done("a", "v1")
        write(output, "b")
    assert set(stored(tmp_path)) == {"a", "b"}


def in_shard(shard: Shard, count: int = 6) -> list[str]:
    names = (f"{number}.jpg" for number in itertools.count())
    return list(itertools.islice(filter(shard.contains, names), count))


def test_shards_write_one_folder_at_the_same_time(tmp_path: Path) -> None:
    shards = [Shard(0, 2), Shard(1, 2)]
    outputs = [open_output(tmp_path, shard=shard, part_rows=2) for shard in shards]
    for names in zip(*map(in_shard, shards), strict=True):
        for output, item_id in zip(outputs, names, strict=True):
            write(output, item_id)
    for output in outputs:
        output.flush()
    with pytest.raises(OutputError, match="in use"):
        open_output(tmp_path, shard=Shard(1, 2))
    for output in outputs:
        output.close()
    everything = set(in_shard(shards[0]) + in_shard(shards[1]))
    assert set(stored(tmp_path)) == everything
    with open_output(tmp_path) as output:
        assert output.done_count == 12
        assert all(output.is_done(item_id, "v1") for item_id in everything)


def test_a_shard_knows_and_retries_only_its_own_items_of_an_unsharded_run(tmp_path: Path) -> None:
    mine, other = in_shard(Shard(0, 2), 3), in_shard(Shard(1, 2), 3)
    with open_output(tmp_path) as output:
        write(output, *mine[:2], *other[:2])
        write(output, mine[2], other[2], status="error")
    with open_output(tmp_path, shard=Shard(0, 2)) as output:
        assert output.done_count == 2
        assert stored(tmp_path)[other[2]] == ("error", "v1")
        write(output, mine[2])
        write(output, mine[0], version="v2")
    rows = stored(tmp_path)
    assert rows[mine[0]] == ("ok", "v2")
    assert rows[mine[2]] == ("ok", "v1")
    assert rows[other[2]] == ("error", "v1")
    assert len(rows) == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shard": None}, "into 2 shards, not 1"),
        ({"shard": Shard(1, 3)}, "into 2 shards, not 3"),
        ({"shard": Shard(1, 2), "settings": {"model": "other"}}, "with other settings"),
    ],
)
def test_processes_that_would_get_in_each_others_way_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with open_output(tmp_path, shard=Shard(0, 2)):
        with pytest.raises(OutputError, match=message):
            open_output(tmp_path, **options)
        open_output(tmp_path, shard=Shard(1, 2)).close()
    open_output(tmp_path, **options).close()


def test_a_shard_that_opens_leaves_the_unfinished_part_of_another_alone(tmp_path: Path) -> None:
    first, second = Shard(0, 2), Shard(1, 2)
    unfinished = tmp_path / "regions/part-0-of-2-000000.parquet"
    with open_output(tmp_path, shard=first) as output:
        write(output, *in_shard(first))
        output.flush()
        (tmp_path / "images" / unfinished.name).rename(tmp_path / "images" / f"_{unfinished.name}")
        with open_output(tmp_path, shard=second) as other:  # the first is between its two renames
            write(other, *in_shard(second))
        (tmp_path / "images" / f"_{unfinished.name}").rename(tmp_path / "images" / unfinished.name)
    assert len(stored(tmp_path)) == 12
    assert len(region_versions(tmp_path)) == 12


def test_temporary_files_of_a_killed_run_go_and_those_of_a_living_shard_stay(
    tmp_path: Path,
) -> None:
    own, other, unsharded = (
        tmp_path / "images" / f"_part-{shard}-000099.parquet"
        for shard in ("0-of-2", "1-of-2", "0-of-1")
    )
    with open_output(tmp_path, shard=Shard(1, 2)):
        for path in (own, other, unsharded):
            path.write_text("half a part")
        open_output(tmp_path, shard=Shard(0, 2)).close()
        assert [path.exists() for path in (own, other, unsharded)] == [False, True, False]


def test_shards_that_overwrite_do_not_remove_each_others_rows(tmp_path: Path) -> None:
    shards = [Shard(0, 2), Shard(1, 2)]
    with open_output(tmp_path, settings={"model": "old"}) as output:
        write(output, *map(str, range(20)))
    for shard in shards:
        with open_output(tmp_path, shard=shard, overwrite=True) as output:
            write(output, *in_shard(shard))
    assert len(stored(tmp_path)) == 12
    with open_output(tmp_path, shard=shards[0], overwrite=True):
        pass
    assert set(stored(tmp_path)) == set(in_shard(shards[1]))


# --- kills


class Killed(BaseException):
    """Stands for SIGKILL: nothing on the disk changes behind it."""


@contextmanager
def killed_before(step: int) -> Iterator[Callable[[], bool]]:
    """End at the given change to the disk (rename, removal, synchronisation); tells if it did."""
    steps = itertools.count()
    dead = False

    def guard(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal dead
            lock = isinstance(arguments[0], Path) and arguments[0].name.startswith("_lock")
            if not lock:  # the kernel frees locks
                dead = dead or next(steps) == step
                if dead:
                    raise Killed
            return real(*arguments, **options)

        return call

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", guard(os.replace))
        patch.setattr(os, "unlink", guard(os.unlink))
        patch.setattr(os, "fsync", guard(lambda file: None))
        try:
            yield lambda: dead
        except Killed:
            assert dead


POOL = {"a": "v2", "b": "v1", "c": "v1", "d": "v2", "e": "v1", "f": "v1", "g": "v1", "h": "v1"}


def earlier_run(path: Path) -> None:
    with open_output(path, part_rows=3) as output:
        write(output, "a", "b")
        write(output, "e", status="error")
        write(output, "c", "d")
        write(output, "f", status="error")


def run(path: Path) -> None:
    with open_output(path, part_rows=2) as output:
        for item_id, version in POOL.items():
            if not output.is_done(item_id, version):
                write(output, item_id, version=version)


def check_complete(path: Path) -> None:
    assert stored(path) == {item_id: ("ok", version) for item_id, version in POOL.items()}
    assert region_versions(path) == {item_id: [version] * 2 for item_id, version in POOL.items()}
    assert not [name for name in files(path) if "/_" in name]


def test_a_kill_at_any_step_leaves_one_row_an_item_after_resuming(tmp_path: Path) -> None:
    for step in itertools.count():
        path = tmp_path / str(step)
        earlier_run(path)
        with killed_before(step) as was_killed:
            run(path)
        stored(path)  # never two rows of an item, not even before the resume
        run(path)
        check_complete(path)
        if not was_killed():
            break
    assert step > 30


@settings(deadline=None, max_examples=15)
@given(st.lists(st.integers(0, 40), min_size=2, max_size=5))
def test_kill_after_kill_leaves_one_row_an_item(
    tmp_path_factory: pytest.TempPathFactory, kills: list[int]
) -> None:
    path = tmp_path_factory.mktemp("out")
    earlier_run(path)
    for step in kills:
        with killed_before(step):
            run(path)
        stored(path)
    run(path)
    check_complete(path)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_kill_9_at_any_moment_loses_no_finished_part(tmp_path: Path) -> None:
    names = [f"{number}.jpg" for number in range(300)]

    def score_all() -> None:
        with open_output(tmp_path, part_rows=2) as output:
            for name in names:
                if not output.is_done(name, "v1"):
                    write(output, name)

    done = 0
    for patience in (0.05, 0.02, 0.08, 0.03):
        child = os.fork()
        if child == 0:
            score_all()
            os._exit(0)
        before = time.monotonic()
        while time.monotonic() - before < 10 and len(list(tmp_path.glob("images/p*"))) <= done:
            time.sleep(0.001)
        time.sleep(patience)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert len(stored(tmp_path)) > 2 * done
        done = len(list(tmp_path.glob("images/p*")))
    score_all()
    assert sorted(stored(tmp_path)) == sorted(names)
    assert sorted(region_versions(tmp_path)) == sorted(names)
