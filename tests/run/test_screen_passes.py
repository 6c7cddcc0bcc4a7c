"""What a screened run asks for in each of its passes over the pool."""

from __future__ import annotations

from pathlib import Path

import pytest

from deal.pool.locator import LocalFile
from deal.run.pipeline import score_pool
from deal.run.workers import Line
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import write_pool

COUNT, AT_ONCE = 160, 16


def test_a_pass_scores_sixteen_images_or_all_that_are_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_model(tmp_path / "model.onnx", props=metadata(input_size=[32, 48]))
    pool = write_pool(tmp_path / "pool", COUNT, (32, 48))
    scored: list[int] = []
    run = Line.run

    def counted(line: Line) -> float:
        before = line._ledger.scored
        seconds = run(line)
        if line._config.output == tmp_path / "out":
            scored.append(line._ledger.scored - before)
        return seconds

    monkeypatch.setattr(Line, "run", counted)
    report = score_pool(
        pool,
        model=model,
        output=tmp_path / "out",
        screen="0.5",
        screen_keep=0.8,
        budget="5%",
        spread="off",
    )
    assert report.screen is not None
    assert report.screen.reason is None
    _, *passes = scored  # the first is the sample
    assert passes
    assert all(count >= AT_ONCE or sum(scored) == COUNT for count in passes)


def test_versions_are_looked_up_only_of_images_that_a_pass_wants(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_model(tmp_path / "model.onnx", props=metadata(input_size=[32, 48]))
    pool = write_pool(tmp_path / "pool", COUNT, (32, 48))
    asked = 0
    version = LocalFile.version

    def counted(locator: LocalFile) -> str:
        nonlocal asked
        asked += 1
        return version(locator)

    monkeypatch.setattr(LocalFile, "version", counted)
    report = score_pool(
        pool,
        model=model,
        output=tmp_path / "out",
        screen="0.5",
        budget="5%",
        spread="off",
        screen_keep=0.8,
    )
    assert report.screen is not None
    assert report.screen.reason is None
    sample = 40 * 2  # exactly and screened; their number is random, but the same in every run
    assert asked <= COUNT + report.screen.exact + 2 * sample


def test_a_shard_does_not_score_its_own_images_for_those_that_another_lacks(
    tmp_path: Path,
) -> None:
    model = save_model(tmp_path / "model.onnx", props=metadata(input_size=[32, 48]))
    pool = write_pool(tmp_path / "pool", COUNT, (32, 48))
    for shard, budget in (("0/2", "1"), ("1/2", "15%")):
        report = score_pool(
            pool,
            model=model,
            output=tmp_path / "out",
            screen="0.5",
            screen_keep=0.5,
            budget=budget,
            acquisition="entropy",
            spread="off",
            shard=shard,
        )
        assert report.screen is not None
        assert report.screen.skipped > 0
    assert report.screen.elsewhere > 0
