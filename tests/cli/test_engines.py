"""``deal engines``: what is kept is listed and removed; what is built ahead is found again."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest

from deal.engines import tensorrt_library
from deal.engines.tensorrt_cache import EngineCache
from deal.machine.driver import Driver
from tests.helpers import fake_tensorrt
from tests.helpers.devices import EMULATED
from tests.helpers.models import metadata, save_model

FACTS = {
    "model": "9f" * 32,
    "tensorrt": "10.16.1.11",
    "gpu": "NVIDIA H200",
    "compute_capability": "9.0",
    "driver": "580.159.03",
    "inputs": {"image": [[1, 48, 64, 3], [8, 48, 64, 3], [8, 48, 64, 3]]},
}


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DEAL_CACHE", str(tmp_path / "cache"))
    return EngineCache()


def keep(cache, *drivers):
    for driver in drivers:
        built = SimpleNamespace(plan=b"plan" * 500_000, layers="{}")
        facts = FACTS | {"driver": driver}
        cache.get(facts, bytes, lambda built=built: built, name="camvid.onnx")
    return {entry.facts["driver"]: entry.path.stem for entry in cache.entries()}


def test_engines_are_listed_with_what_they_are_for(deal, cache):
    assert deal("engines")[:2] == (0, f"0 engines, 0 MB in {cache.folder}\n")
    (key,) = keep(cache, "580.1").values()
    code, told, _ = deal("engines")
    assert code == 0
    first, line = told.splitlines()
    assert first == f"1 engines, 2 MB in {cache.folder}"
    assert line == (
        f"  {key[:12]}     2.0 MB  used 0 days ago  camvid.onnx (9f9f9f9f9f9f)  image 8×48×64×3  "
        "TensorRT 10.16.1.11  NVIDIA H200  driver 580.1"
    )


def test_engines_are_told_as_json(deal, cache):
    (key,) = keep(cache, "580.1").values()
    told = json.loads(deal("engines", "--json")[1])
    assert told["folder"] == str(cache.folder)
    (engine,) = told["engines"]
    assert (engine["key"], engine["name"], engine["bytes"]) == (key, "camvid.onnx", 2_000_000)
    assert engine["facts"] == FACTS | {"driver": "580.1"}


def test_engines_are_removed_by_key_or_all(deal, cache):
    keys = keep(cache, "1", "2", "3")
    code, told, _ = deal("engines", "--remove", keys["2"][:12])
    assert (code, told.splitlines()[0][:9]) == (0, "2 engines")
    assert {entry.facts["driver"] for entry in cache.entries()} == {"1", "3"}
    assert not list(cache.folder.glob(f"{keys['2']}.[ejl]*[!k]"))
    assert deal("engines", "--remove", "all")[0] == 0
    assert cache.entries() == []


@pytest.mark.parametrize("key", ["abcdef", "", "1"])
def test_keys_that_name_no_engine_are_refused(deal, cache, key):
    keep(cache, "1")
    code, _, told = deal("engines", "--remove", key)
    assert code == 2
    assert "letters of a key that deal engines lists" in told
    assert len(cache.entries()) == 1


def test_building_and_removing_do_not_go_together(deal):
    code, _, told = deal("engines", "m.onnx", "--remove", "all")
    assert (code, "give MODELS or --remove" in told) == (2, True)


def test_taking_an_engine_is_using_it(cache):
    import os

    keep(cache, "1")
    (entry,) = cache.entries()
    os.utime(entry.path.with_suffix(".json"), (10, 10))
    assert cache.entries()[0].used == 10
    keep(cache, "1")
    assert cache.entries()[0].used >= entry.used


@pytest.mark.skipif(not EMULATED, reason="the extension does not emulate CUDA")
def test_what_is_built_ahead_is_found_when_scoring(deal, cache, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt)
    monkeypatch.setattr(tensorrt_library, "find_driver", lambda: Driver((13, 0), ("emulated",)))
    path = save_model(tmp_path / "m.onnx", size=(48, 64), props=metadata())
    code, told, _ = deal("engines", path, "--batch-size", 2)
    assert (code, told.splitlines()[0][:9]) == (0, "1 engines")
    assert "image 2×48×64×3" in told
    (entry,) = cache.entries()
    assert deal("engines", path, "--batch-size", 2)[0] == 0
    assert [one.path for one in cache.entries()] == [entry.path]
