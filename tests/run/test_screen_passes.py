"""What a screened run asks for in each of its passes over the pool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deal.pool.locator import LocalFile
from deal.run.pipeline import score_pool
from deal.run.progress import Screened
from deal.run.screened import Screening
from deal.run.workers import Line
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import write_pool

COUNT, AT_ONCE = 160, 16


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pool(tmp_path_factory.mktemp("passes") / "pool", COUNT, (32, 48))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    return save_model(path, props=metadata(input_size=[32, 48]))


def screened(pool: Path, model: Path, output: Path, **options: Any) -> Screened:
    """What a screened run that was worth it reports of its screening."""
    wanted = {"budget": "5%", "screen": "0.5", "screen_keep": 0.8, **options}
    report = score_pool(pool, model=model, output=output, spread="off", **wanted)
    assert report.screen is not None
    assert report.screen.reason is None
    return report.screen


def test_a_pass_scores_sixteen_images_or_all_that_are_left(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored: list[int] = []
    run = Line.run

    def counted(line: Line) -> float:
        before = line._ledger.scored
        seconds = run(line)
        if line._config.output == tmp_path / "out":
            scored.append(line._ledger.scored - before)
        return seconds

    monkeypatch.setattr(Line, "run", counted)
    screened(pool, model, tmp_path / "out")
    _, *passes = scored  # the first is the sample
    assert passes
    assert all(count >= AT_ONCE or sum(scored) == COUNT for count in passes)


def test_versions_are_looked_up_only_of_images_that_a_pass_wants(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = 0
    version = LocalFile.version

    def counted(locator: LocalFile) -> str:
        nonlocal asked
        asked += 1
        return version(locator)

    monkeypatch.setattr(LocalFile, "version", counted)
    found = screened(pool, model, tmp_path / "out")
    sample = 40 * 2  # about 40, by a hash of the ids; it is scored exactly, and screened
    assert asked <= COUNT + found.exact + 2 * sample


def test_a_shard_does_not_score_its_own_images_for_those_that_another_lacks(
    pool: Path, model: Path, tmp_path: Path
) -> None:
    options = {"screen_keep": 0.5, "acquisition": "entropy"}
    for shard, budget in (("0/2", "1"), ("1/2", "15%")):
        found = screened(pool, model, tmp_path / "out", shard=shard, budget=budget, **options)
        assert found.skipped > 0
    assert found.elsewhere > 0


def test_a_screen_of_another_scale_costs_no_more_than_one_of_the_same(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Logits a tenth as large order images alike, with entropies that all exceed the exact ones."""
    flat = save_model(tmp_path / "flat.onnx", gain=0.02, props=metadata(input_size=[32, 48]))
    options = {"acquisition": "entropy", "screen_keep": 0.5}
    monkeypatch.setattr(Screening, "_cost", lambda *_: 0.1)  # a measured one may say: too dear
    same = screened(pool, model, tmp_path / "same", screen=str(model), **options)
    other = screened(pool, model, tmp_path / "other", screen=str(flat), **options)
    assert other.exact <= same.exact + 2 * AT_ONCE
