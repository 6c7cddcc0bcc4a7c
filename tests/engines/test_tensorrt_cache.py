"""The cache of TensorRT engines: what is built once, built again, waited for and refused."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from deal.engines.tensorrt_cache import EngineCache, NotUsableError, default_folder
from deal.errors import EngineUnavailableError, ModelError

FACTS = {
    "model": "9f" * 32,
    "tensorrt": "10.16.1.11",
    "gpu": "NVIDIA H200",
    "compute_capability": "9.0",
    "driver": "580.159.03",
    "machine": "one",
    "inputs": {"image": [[1, 48, 64, 3], [8, 48, 64, 3], [8, 48, 64, 3]]},
}


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


class Builder:
    """Counts what it builds; every engine is another."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> SimpleNamespace:
        self.count += 1
        return SimpleNamespace(plan=b"plan %d" % self.count, layers='{"Layers": []}')


def test_an_engine_is_built_once_for_what_it_depends_on(cache):
    build = Builder()
    assert cache.get(FACTS, bytes, build) == b"plan 1"
    assert cache.get(FACTS, bytes, build) == b"plan 1"
    assert EngineCache(cache.folder).get(dict(reversed(FACTS.items())), bytes, build) == b"plan 1"
    assert build.count == 1


@pytest.mark.parametrize("name", FACTS)
def test_anything_else_is_another_engine(cache, name):
    build = Builder()
    cache.get(FACTS, bytes, build)
    assert cache.get(FACTS | {name: "another"}, bytes, build) == b"plan 2"
    assert cache.get(FACTS, bytes, build) == b"plan 1"


def test_a_model_under_another_name_has_the_same_engine(cache):
    build = Builder()
    cache.get(FACTS, bytes, build, name="a.onnx")
    assert cache.get(FACTS, bytes, build, name="b.onnx") == b"plan 1"
    assert [entry.name for entry in cache.entries()] == ["a.onnx"]


def test_facts_and_layers_lie_beside_the_engine(cache):
    cache.get(FACTS, bytes, Builder())
    (entry,) = cache.entries()
    assert entry.facts == FACTS
    assert entry.size == len(b"plan 1")
    assert json.loads(entry.path.with_suffix(".layers").read_text()) == {"Layers": []}
    assert not [path for path in cache.folder.iterdir() if path.name.startswith("_")]


def test_an_engine_that_is_not_taken_is_built_again_once_and_the_reason_logged(cache, caplog):
    build = Builder()
    cache.get(FACTS, bytes, build)

    def use(plan: bytes) -> bytes:
        if plan == b"plan 1":
            raise NotUsableError("serialization assertion failed")
        return plan

    assert cache.get(FACTS, use, build) == b"plan 2"
    assert "serialization assertion failed" in caplog.text
    assert cache.get(FACTS, use, build) == b"plan 2"
    assert build.count == 2


def test_an_engine_that_is_never_taken_ends_with_the_reason(cache):
    build = Builder()

    def use(plan: bytes) -> bytes:
        raise NotUsableError("not enough memory")

    with pytest.raises(ModelError, match="just built: not enough memory"):
        cache.get(FACTS, use, build)
    assert build.count == 1


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(b"pla"), "its bytes"),
        (lambda path: path.with_suffix(".json").write_text("{"), "no JSON"),
        (lambda path: path.with_suffix(".json").write_text("[]"), "something else"),
    ],
    ids=["truncated", "half a description", "another description"],
)
def test_a_damaged_entry_is_never_used(cache, caplog, damage, reason):
    build, used = Builder(), []
    cache.get(FACTS, bytes, build)
    damage(cache.entries()[0].path)
    assert cache.get(FACTS, lambda plan: used.append(plan) or plan, build) == b"plan 2"
    assert used == [b"plan 2"]
    assert reason in caplog.text


def test_an_engine_copied_under_the_key_of_another_machine_is_not_used(cache, caplog):
    build = Builder()
    other = FACTS | {"machine": "two"}
    cache.get(other, bytes, build)
    foreign = cache.entries()[0].path
    cache.get(FACTS, bytes, build)
    (own,) = (entry.path for entry in cache.entries() if entry.path != foreign)
    for suffix in (".engine", ".json"):
        own.with_suffix(suffix).write_bytes(foreign.with_suffix(suffix).read_bytes())
    assert cache.get(FACTS, bytes, build) == b"plan 3"
    assert "something else" in caplog.text


def test_a_build_that_is_killed_leaves_nothing_that_is_taken_for_an_engine(cache, monkeypatch):
    build, replace = Builder(), os.replace
    for survived in range(3):  # of its three files
        done = []

        def rename(path, target, done=done, survived=survived):
            if len(done) == survived:
                raise KeyboardInterrupt
            done.append(target)
            replace(path, target)

        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", rename)
            with pytest.raises(KeyboardInterrupt):
                cache.get(FACTS, bytes, build)
        assert cache.entries() == []
    assert cache.get(FACTS, bytes, build) == b"plan 4"
    assert cache.get(FACTS, bytes, build) == b"plan 4"


def _build_until(waited_for, folder: Path, started, results) -> None:
    def build() -> SimpleNamespace:
        started.set()
        waited_for.wait(60)
        return SimpleNamespace(plan=str(os.getpid()).encode(), layers="{}")

    said: list[str] = []
    plan = EngineCache(folder).get(FACTS, bytes, build, said.append)
    results.put((os.getpid(), plan, said))


def test_of_two_processes_one_builds_and_the_other_waits_and_says_so(cache):
    context = multiprocessing.get_context("spawn")
    waited_for, started, results = context.Event(), context.Event(), context.Queue()
    first = context.Process(target=_build_until, args=(waited_for, cache.folder, started, results))
    first.start()
    assert started.wait(60)
    build, said = Builder(), []

    def say(text: str) -> None:
        said.append(text)
        waited_for.set()

    plan = cache.get(FACTS, bytes, build, say)
    pid, built, _ = results.get(timeout=60)
    first.join()
    assert plan == built == str(pid).encode()
    assert build.count == 0
    assert said == ["another process is building this engine: waiting for it"]


def test_a_folder_that_others_can_write_is_refused(tmp_path):
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(EngineUnavailableError, match=r"chmod go-w .*shared"):
        EngineCache(folder)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(EngineUnavailableError, match="set DEAL_CACHE"):
        EngineCache(tmp_path / "file/engines")


def test_the_folder_is_the_users_own_and_can_be_moved(monkeypatch, tmp_path):
    monkeypatch.delenv("DEAL_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_folder() == tmp_path / ".cache/deal/engines"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert default_folder() == tmp_path / "x/deal/engines"
    monkeypatch.setenv("DEAL_CACHE", str(tmp_path / "own"))
    assert default_folder() == tmp_path / "own/engines"


def test_measured_kernels_are_shared_by_the_engines_of_a_gpu(cache):
    one = cache.timing_cache(FACTS)
    assert cache.timing_cache(FACTS | {"model": "another"}) == one
    assert cache.timing_cache(FACTS | {"gpu": "another"}) != one


@pytest.fixture(autouse=True)
def _logged(caplog):
    caplog.set_level(logging.INFO, "deal.tensorrt")
