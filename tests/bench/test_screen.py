"""The benchmark of screening says what runs with and without it picked."""

from __future__ import annotations

from pathlib import Path

import pytest

from deal.bench.screen import run
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import write_pool


@pytest.mark.slow
def test_picks_of_a_run_that_keeps_nearly_all_are_the_best(tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "pool", 110, (16, 24))
    props = metadata(input_size=[16, 24], difficulty_head=None)  # such as a SegFormer's
    model = save_model(tmp_path / "model.onnx", props=props)
    report = run(
        pool=[str(pool)],
        model=str(model),
        screen_keep=0.9999,
        functions=("entropy",),
        budgets=("5%",),
        rounds=1,
    )
    values = {row.name: row.value.median for row in report.rows}
    assert values["entropy at 5%: mean score / best"] == pytest.approx(1)
    assert values["entropy at 5%: scored exactly"] == 1
    assert values["entropy at 5%: ratio"] > 0
    assert report.settings["images"] == 110
