"""What a loop refuses before it trains anything, and what it does not have to ask for."""

from __future__ import annotations

import json
import sys

import pytest

import deal.loop.by_recipe as by_recipe
from deal.acquisitions import registry
from deal.acquisitions.plugins import load_plugin
from deal.errors import DealError, EngineUnavailableError, OutputError, UsageError
from deal.loop.config import parse_config
from deal.loop.experiment import run_loop
from tests.helpers.labeled import colour_fields, write_labeled

SCENES = {"dataset": "synthetic", "scenes": 12, "size": [32, 48], "sequence_from": "^(scene)"}
GRID = {"labeled": [3, 5], "regions": "grid:8"}
STEPS = {"steps": 2, "width": 0.1, "batch_size": 2, "grid": [4, 6], "threads": 1}


@pytest.fixture
def no_cuda(monkeypatch):
    torch = pytest.importorskip("torch")

    def none(*arguments):
        raise EngineUnavailableError("there is no driver: go on")

    monkeypatch.setattr("deal.engines.tensorrt_library.find_driver", none)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def method(acquisition="random", **options):
    return {"other": {"acquisition": acquisition, **options}}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"scoring__engine": "nonsense"},
            UsageError,
            r"\[scoring\] engine 'nonsense' is unknown; choose one of ort, openvino, trt, torch",
        ),
        ({"scoring__device": "gpu"}, UsageError, r"\[scoring\] .*'gpu'"),
        (
            {"scoring__engine": "trt", "scoring__device": "auto"},
            EngineUnavailableError,
            r"\[scoring\] engine trt: there is no driver: go on with --engine ort",
        ),
        (
            {"scoring__device": "cuda"},
            EngineUnavailableError,
            r"\[scoring\] device cuda: PyTorch .* sees 0 CUDA devices; install",
        ),
        (
            {"training__device": "cuda"},
            EngineUnavailableError,
            r"\[training\] --device cuda: no CUDA device, .*; use --device cpu",
        ),
        ({"scoring__sessions": 0}, UsageError, r"\[scoring\] .* sessions must be at least 1"),
        (
            {"methods": method(flip=True, dropout_passes=3)},
            UsageError,
            r"\[methods.other\]: dropout passes work with a single model only: leave out",
        ),
        (
            {"methods": method("bald")},
            UsageError,
            r"\[methods.other\] acquisition 'bald': .* lack mutual_information_mean; .*"
            "flip = true or dropout_passes of a method makes a committee",
        ),
        (
            {"methods": method("ds:entropy", difficulty_loss=False)},
            UsageError,
            r"\[methods.other\] ds:entropy ranks by difficulty, but difficulty_loss = false",
        ),
        (
            {"methods": method("focus:entropy", focus=["unicorn"])},
            UsageError,
            r"\[methods.other\] .*unicorn.*road",
        ),
        (
            {"methods": method(quota="camera=50%")},
            UsageError,
            r"\[methods.other\] quota camera=50%: none of 12 rows has a camera; .* no manifest",
        ),
        ({"methods": method(quota="weather:rain=1")}, UsageError, "none of 12 rows has a weather"),
        (
            {"methods": method(quota="sequence=50%")},
            UsageError,
            r"none of 12 rows has a sequence; .* sequence_from of \[data\] gives sequences",
        ),
        ({"methods": method(min_gap="3f")}, UsageError, "min_gap 3f: 12 of 12 rows have no seq"),
        (
            {"data": SCENES, "methods": method(min_gap="3s")},
            UsageError,
            "min_gap 3s: .* no timestamp_ns; .* give the gap in frames",
        ),
        (
            {"methods": method(quota="folder=1")},
            DealError,
            r"other-seed0 round 1: the rules of \[methods.other\] allow only 1 of the 2 images",
        ),
        (
            {"methods": method(quota="folder=10%")},
            UsageError,
            "quota folder=10% of a budget of 2 is 0.2, less than any row costs: give a larger",
        ),
        (
            {
                "data": {**SCENES, "sequence_from": "^(scene-1?)"},  # of 1, 10, 11, and the others
                "rounds": {"labeled": [3, 5, 9]},
                "methods": method(quota=["sequence:scene-=2", "sequence:scene-1=1"]),
            },
            DealError,
            r"round 2: the rules of \[methods.other\] allow only 3 of the 4 images",
        ),
        (
            {"data": SCENES, "methods": method(min_gap="40f")},
            DealError,
            r"round 1: the rules of \[methods.other\] allow only 1 of the 2 images",
        ),
        (
            {"rounds": GRID, "training": STEPS, "methods": method(max_per_image=1)},
            DealError,
            r"round 1: the rules of \[methods.other\] allow only regions of 576 of the 3072 pixels",
        ),
        (
            {"rounds": GRID, "training": STEPS, "methods": method(quota="camera=50%")},
            UsageError,
            "none of 288 rows has a camera",
        ),
    ],
)
def test_what_no_round_could_do_is_refused_before_any_training(
    make_config, untrained, no_cuda, changes, error, message
):
    config = make_config(**changes)
    with pytest.raises(error, match=message):
        run_loop(config)
    assert not (config.folder / "experiment.json").exists()  # so that [rounds] may be mended, too


def test_a_function_of_ones_own_that_reads_what_no_round_stores_is_refused(
    make_config, untrained, tmp_path, monkeypatch
):
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry.registered()))
    plugin = tmp_path / "own.py"
    plugin.write_text(
        "from deal.acquisitions import acquisition\n"
        "@acquisition('by-hand', requires=['hours'], formula='', source='')\n"
        "def by_hand(columns): return columns['hours']\n"
    )
    load_plugin(str(plugin))
    with pytest.raises(UsageError, match=r"\[methods.other\] .*'by-hand': the results lack hours"):
        run_loop(make_config(methods=method("by-hand")))


def test_a_folder_of_other_settings_is_refused_before_the_methods_ahead_of_it_train(
    make_config, untrained
):
    config = make_config()
    run = config.folder / "ds-seed0"
    run.mkdir(parents=True)
    settings = {"method": "ds", "seed": 0, "counts": [3, 5, 7], "settings": {"flip": True}}
    (run / "run.json").write_text(json.dumps(settings))
    with pytest.raises(OutputError, match=r"ds-seed0 holds a run of another \[methods.ds\]"):
        run_loop(config)


def test_methods_that_are_not_asked_for_are_not_checked(make_config):
    methods = {"random": {"acquisition": "random"}, **method("bald")}
    config = make_config(methods=methods, rounds__labeled=[3, 5], training__epochs=1)
    assert run_loop(config, methods=["random"]).finished == ("random-seed0",)


@pytest.mark.slow
def test_what_is_picked_needs_no_engine_and_what_is_not_does(make_config, no_cuda, monkeypatch):
    def config(engine):
        return make_config(
            scoring__engine=engine, full=True, rounds__labeled=[3, 5], training__epochs=1
        )

    finished = run_loop(config("torch")).finished
    folder = config("torch").folder
    assert run_loop(config("trt")).finished == finished  # nothing left to do
    metrics = folder / "ds-seed0/round-2/metrics.json"
    before = metrics.read_text()
    metrics.unlink()
    assert run_loop(config("trt")).finished == finished  # the last training was
    assert metrics.read_text() == before
    (folder / "ds-seed0/round-2/labeled.csv").unlink()
    metrics.unlink()
    monkeypatch.setattr(by_recipe, "_Round", None)
    assert run_loop(config("trt"), methods=["random", "full"]).finished == finished[::2]
    with pytest.raises(EngineUnavailableError, match=r"\[scoring\] engine trt"):
        run_loop(config("trt"))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"scoring": {"engine": "trt"}}, EngineUnavailableError, r"\[scoring\] engine trt"),
        ({"methods": method("bald")}, UsageError, "lack mutual_information_mean"),
        ({"methods": method("focus:entropy", focus=["bus"])}, UsageError, "bus.*road"),
        ({"methods": method(quota="folder=1")}, DealError, "allow only 1 of the 2 images"),
        (
            {"methods": method(stratify="sequence")},
            UsageError,
            "stratify sequence: none of 6 rows has a sequence",
        ),
        (
            {"rounds": {"labeled": [2, 4], "regions": "grid:8"}, "methods": method(min_gap="2f")},
            UsageError,
            "min_gap 2f: 6 of 6 rows have no sequence",
        ),
        (
            {"rounds": {"labeled": [2, 4], "regions": "slic:9"}, "methods": method(quota="sun=1%")},
            UsageError,
            "quota sun=1%: none of 6 rows has a sun",
        ),
    ],
)
def test_a_command_is_not_started_for_what_no_round_could_do(
    tmp_path, untrained, no_cuda, changes, error, message
):
    import numpy as np

    for split in ("train", "val"):
        pairs = colour_fields(np.random.default_rng(0), 6, (4, 6), 8)
        write_labeled(tmp_path / "data", split, pairs)
    (tmp_path / "data/classes.json").write_text('{"classes": ["road", "sky", "car"]}')
    values = {
        "experiment": "own",
        "output": str(tmp_path / "runs"),
        "data": {"dataset": "folder", "root": str(tmp_path / "data")},
        "training": {"command": [sys.executable, "{labeled}", "{output}"]},
        "rounds": {"labeled": [2, 4]},
        "scoring": {"device": "cpu"},
        "methods": {"random": {"acquisition": "random"}},
    }
    with pytest.raises(error, match=message):
        run_loop(parse_config({**values, **changes}))
    assert not (tmp_path / "runs/own").exists()


def test_rules_that_could_be_met_but_were_not_end_the_run_with_their_name(make_config):
    # Of frames 0 to 11 a gap of 9 leaves two, but one where the first pick lies amid them.
    config = make_config(
        data=SCENES, methods=method(min_gap="9f"), rounds__labeled=[3, 5], training__epochs=1
    )
    with pytest.raises(DealError, match=r"rules of \[methods.other\] allow only 1 of the 2 images"):
        run_loop(config)
    assert (config.folder / "common/seed0/metrics.json").exists()
