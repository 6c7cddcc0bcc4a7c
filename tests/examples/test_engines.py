"""The recipes for other engines, as far as they can be held without those engines."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import deal
from deal.cli.score import command
from deal.pool.ids import Shard, parse_shard

ENGINES = Path(deal.__file__).parent.parent / "examples" / "engines"


def test_every_task_of_a_slurm_array_scores_its_part_with_options_that_exist(
    tmp_path: Path,
) -> None:
    program = tmp_path / "deal-score"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    shards = []
    for task in range(3):
        array = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": "3"}
        done = subprocess.run(
            ["sh", ENGINES / "slurm.sh", "pool.parquet", "model.onnx", "out dir"],
            env={**os.environ, **array, "PATH": path},
            capture_output=True,
            text=True,
            check=True,
        )
        given = command.make_context("deal-score", done.stdout.splitlines()).params
        assert given["pool"] == ("pool.parquet",)
        assert given["model"] == ("model.onnx",)
        assert given["output"] == "out dir"
        shards.append(parse_shard(given["shard"]))
    assert shards == [Shard(task, 3) for task in range(3)]


@pytest.mark.parametrize("name", ["with_spark.py", "with_daft.py"])
def test_recipes_write_what_the_scorer_gives(name: str) -> None:
    text = (ENGINES / name).read_text(encoding="utf-8")
    compile(text, name, "exec")
    assert "deal.BatchScorer(model)" in text
    assert "deal.results.write(rows, output)" in text
