"""``deal train`` on the command line."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from click.testing import CliRunner

from deal.cli.train import command

TINY = ["--dataset", "synthetic", "--scenes", "5", "--size", "32x48", "--width", "0.1"]
TINY += ["--epochs", "1", "--batch-size", "2", "--grid", "4x6"]


@pytest.mark.slow
def test_training_ends_with_iou_by_class_and_the_checkpoint(tmp_path):
    output = tmp_path / "run"
    result = CliRunner().invoke(command, [*TINY, "--output", str(output)])
    assert result.exit_code == 0, result.output
    assert "pedestrian" in result.stdout
    assert "AUROC difficulty" in result.stdout
    assert f"checkpoint: {output}/best.pt" in result.stdout
    again = CliRunner().invoke(command, [*TINY, "--output", str(output), "--json"])
    assert json.loads(again.stdout)["best_epoch"] == 1


@pytest.mark.parametrize("size", ["360", "0x10", "axb", "1x2x3"])
def test_a_malformed_size_is_a_usage_error(tmp_path, size):
    result = CliRunner().invoke(
        command, ["--dataset", "synthetic", "--output", str(tmp_path), "--size", size]
    )
    assert result.exit_code == 2
    assert "is not HxW, such as 360x480" in result.stderr


def test_every_option_of_the_configuration_is_on_the_command_line():
    from dataclasses import fields

    from deal.training.config import TrainConfig

    options = {parameter.name for parameter in command.params if parameter.expose_value}
    extra = {"overwrite", "as_json"}
    assert {field.name for field in fields(TrainConfig)} - {"momentum"} == options - extra


def test_every_data_set_is_on_the_command_line():
    from deal.labeled.datasets import DATASETS

    (option,) = (parameter for parameter in command.params if parameter.name == "dataset")
    assert tuple(option.type.choices) == DATASETS


def test_defaults_agree_with_the_configuration():
    from deal.training.config import TrainConfig

    defaults = TrainConfig(dataset="synthetic", output="out")
    context = command.make_context("train", ["--dataset", "synthetic", "--output", "out"])
    given = {k: v for k, v in context.params.items() if k not in ("overwrite", "as_json")}
    assert TrainConfig(**given) == defaults


def test_help_needs_no_torch():
    code = (
        "import sys; from deal.cli.train import command; command(['--help'], "
        "standalone_mode=False); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert b"--batch-size" in done.stdout
    assert b"\n  deal train --dataset camvid --data CamVid --output runs/camvid\n" in done.stdout
