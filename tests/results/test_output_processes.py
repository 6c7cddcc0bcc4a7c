"""Output folders under several processes: locks, shards, and kills at every step."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.errors import OutputError
from deal.pool.ids import Shard
from tests.helpers.outputs import files, open_output, region_versions, stored, write

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


@pytest.mark.parametrize("call", ["pwrite", "open", "fsync"])
def test_after_any_error_of_the_disk_the_same_process_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    def run() -> None:
        with open_output(tmp_path) as output:
            write(output, "a")
            if call != "pwrite":
                patch.setattr(os, call, fail)

    with monkeypatch.context() as patch:
        if call == "pwrite":  # while the lock is taken; the others while rows are written
            patch.setattr(os, call, fail)
        with pytest.raises(OutputError, match=r"cannot write to .*: Input/output error"):
            run()
    with open_output(tmp_path) as output:
        write(output, "a")
    assert list(stored(tmp_path)) == ["a"]


def test_an_error_while_leaving_does_not_hide_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def run() -> None:
        with open_output(tmp_path):
            patch.setattr(os, "open", fail)
            raise KeyError("the cause")

    with monkeypatch.context() as patch, pytest.raises(KeyError, match="the cause"):
        run()
    open_output(tmp_path).close()


def test_a_lock_whose_holder_could_not_write_its_name_is_still_a_lock(tmp_path: Path) -> None:
    with open_output(tmp_path):
        (tmp_path / "_lock-0-of-1").write_text("{")
        with pytest.raises(OutputError, match=r"in use by process \(unknown\)"):
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


@pytest.mark.slow
def test_a_kill_at_any_step_leaves_one_row_an_item_after_resuming(tmp_path: Path) -> None:
    earlier_run(tmp_path / "earlier")
    for step in itertools.count():
        path = shutil.copytree(tmp_path / "earlier", tmp_path / str(step))
        with killed_before(step) as was_killed:
            run(path)
        stored(path)  # never two rows of an item, not even before the resume
        run(path)
        check_complete(path)
        if not was_killed():
            break
    assert step > 30


@pytest.mark.slow
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


@pytest.mark.slow
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
        while time.monotonic() - before < 60 and len(list(tmp_path.glob("images/p*"))) <= done:
            time.sleep(0.001)
        time.sleep(patience)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        assert len(stored(tmp_path)) > 2 * done
        done = len(list(tmp_path.glob("images/p*")))
    score_all()
    assert sorted(stored(tmp_path)) == sorted(names)
    assert sorted(region_versions(tmp_path)) == sorted(names)
