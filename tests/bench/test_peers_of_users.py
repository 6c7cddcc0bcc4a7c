"""``deal bench peers``: what is compared, and what is said of peers that are not installed."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

from deal.bench import peers
from deal.bench.failed import FailedCheckError
from deal.errors import UsageError


@pytest.fixture
def nothing_installed(monkeypatch):
    monkeypatch.setattr(peers, "find_spec", lambda name: None)


def test_peers_that_are_not_installed_are_named(nothing_installed):
    report = peers.run(sections=["core-set"], features=40, rounds=1)
    assert [row.name for row in report.rows] == ["20 of 40 x 256 by k-center: deal"]
    assert report.notes == ("lightly-mundig is left out: pip install lightly-mundig",)


def test_decoders_agree_before_they_are_timed(nothing_installed, monkeypatch):
    monkeypatch.setattr(peers, "_DECODED", 1)
    names = [row.name for row in peers.run(sections=["decode"], rounds=1).rows]
    assert names[0] == "JPEG of 360×480 to 360×480: deal"
    assert names[-1] == "JPEG of 1080×1920 to 360×480: time of Pillow / deal"
    monkeypatch.setattr(peers, "_pillow", lambda data: np.zeros((360, 480, 3), np.uint8))
    with pytest.raises(FailedCheckError, match="Pillow: pixels differ"):
        peers.run(sections=["decode"], rounds=1)


def test_a_peer_that_picks_badly_is_not_timed(monkeypatch):
    class Selection:
        def add_diversifying_strategy(self, features, strength):
            self.features = features

        def run_selection(self, chosen, rows, picks):
            return [*range(picks)]

    module = ModuleType("lightly_mundig")
    module.Selection = Selection
    monkeypatch.setitem(sys.modules, "lightly_mundig", module)
    monkeypatch.setattr(peers, "find_spec", lambda name: name)
    with pytest.raises(FailedCheckError, match="picks the first 0 rows alike"):
        peers.run(sections=["core-set"], features=100, rounds=1)


def test_an_unknown_section_is_named():
    with pytest.raises(UsageError, match="'decoders' is unknown; choose of core-set, top"):
        peers.run(sections=["decoders"])
