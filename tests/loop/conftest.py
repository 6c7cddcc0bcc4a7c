"""Loops of tests: networks so small that a second thread only costs."""

from __future__ import annotations

import pytest

from deal.loop.config import parse_config


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr("deal.engines.torch.available_cores", lambda: 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
