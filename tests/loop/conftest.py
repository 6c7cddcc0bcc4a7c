"""Loops of tests: networks so small that a second thread only costs."""

from __future__ import annotations

import pytest

import deal.loop.by_command as by_command
from deal.loop.config import parse_config
from tests.helpers.painting import paint_once
from tests.helpers.region_loops import COMMAND, GRID, write_colours
from tests.loop import train_colours


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("deal.engines.torch.available_cores", lambda: 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def painted(monkeypatch):
    paint_once(monkeypatch)


@pytest.fixture
def untrained(monkeypatch):
    """Nothing may be trained, neither by deal nor by a command."""

    def trained(*arguments, **options):
        raise AssertionError("a training began")

    monkeypatch.setattr("deal.loop.by_recipe._Round", trained)
    monkeypatch.setattr("deal.loop.by_command.CommandLearner._train", trained)


@pytest.fixture
def make_config(tmp_path):
    def make(**changes):
        values = {
            "experiment": "trial",
            "output": str(tmp_path / "runs"),
            "data": {"dataset": "synthetic", "scenes": 12, "size": [32, 48]},
            "training": {
                "epochs": 2,
                "width": 0.1,
                "batch_size": 2,
                "lr": 0.05,
                "grid": [4, 6],
                "threads": 1,
            },
            "rounds": {"labeled": [3, 5, 7]},
            "scoring": {"engine": "torch", "device": "cpu", "sessions": 1, "threads": 1},
            "methods": {
                "random": {"acquisition": "random"},
                "ds": {"acquisition": "ds:entropy", "diverse": 2},
            },
        }
        for name, value in changes.items():
            section, _, key = name.partition("__")
            if key:
                values[section] = {**values[section], key: value}
            else:
                values[section] = value
        return parse_config(values)

    return make


@pytest.fixture
def coloured(tmp_path):
    """A data set of three colours."""
    root = tmp_path / "data"
    write_colours(root)
    return root


@pytest.fixture
def make_regions(tmp_path, coloured, monkeypatch):
    """Make the configuration of a loop over cells of that data set.

    Its command runs in this process: what it is as another, test_by_command.py tests.
    """
    run = by_command._run

    def run_here(arguments, log, lock, say):
        if arguments[:2] != COMMAND[:2]:
            return run(arguments, log, lock, say)
        train_colours.main(*arguments[2:])
        return 0

    monkeypatch.setattr(by_command, "_run", run_here)

    def make(**changes):
        values = {
            "experiment": "regions",
            "output": str(tmp_path / "runs"),
            "data": {"dataset": "folder", "root": str(coloured), "sequence_from": "^([^_]+)_"},
            "training": {"command": COMMAND},
            "rounds": {"labeled": [2, 3, 5], "regions": str(GRID)},
            "scoring": {"device": "cpu", "sessions": 1, "threads": 1},
            "methods": {"ds": {"acquisition": "ds"}},
        }
        return parse_config({**values, **changes})

    return make


@pytest.fixture
def weights(tmp_path):
    """A small network of the kind that comes from ImageNet, as a checkpoint."""
    torch = pytest.importorskip("torch")
    from deal.training.checkpoint import CheckpointMeta, build_module, save_checkpoint
    from deal.training.recipe import normalization_of

    torch.manual_seed(0)
    mean, std = normalization_of("lite0")
    meta = CheckpointMeta(
        network="lite0", width=0.1, classes=("a", "b"), palette=((0, 0, 0),) * 2, ignore_index=255,
        mean=mean, std=std, align_corners=True, grid=None, input_size=(32, 48), provenance={},
    )  # fmt: skip
    module = build_module(meta)
    with torch.no_grad():  # statistics that fit the untrained weights, as released ones have
        module.train()
        module(torch.randint(0, 256, (8, 3, 64, 96)))
        module(torch.randint(0, 256, (8, 3, 64, 96)))
    path = tmp_path / "encoder.pt"
    save_checkpoint(path, module, meta)
    return path
