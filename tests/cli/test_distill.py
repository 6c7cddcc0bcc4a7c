"""``deal distill`` on the command line."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from deal.cli.distill import _lines, command


def report():
    from deal.distilling import DistillReport

    names = ("ds", "entropy")
    return DistillReport(
        input_size=(180, 240),
        images=500,
        held_out=100,
        unread=2,
        correlations=dict.fromkeys(names, 0.9637),
        reach=dict.fromkeys(names, 0.07),
        cost=0.144,
        seconds={"teaching": 20.4, "training": 300.0},
    )


def test_the_report_says_how_alike_both_order_images():
    assert _lines(report()) == [
        "learned from 500 images, at 180×240; measured on 100 others",
        "score         Spearman   the model's top 5 % is within its first",
        "ds               0.964                                        7%",
        "entropy          0.964                                        7%",
        "an image takes 0.14 of the model's time, decoding aside",
        "teaching 20 s, training 300 s",
    ]


def test_json_holds_the_report_and_options_reach_the_call(monkeypatch, tmp_path):
    given = {}

    def distill(pool, **options):
        given.update(options, pool=pool)
        return report()

    monkeypatch.setattr("deal.distilling.distill", distill)
    arguments = ["a/", "b/", "--model", "m.onnx", "-o", "s.onnx", "--weights", "none"]
    arguments += [
        "--every",
        "10f",
        "--size",
        "90x120",
        "--json",
        "--model-option",
        "input_size=[360,480]",
    ]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["output"] == "s.onnx"
    assert document["correlations"] == {"ds": 0.9637, "entropy": 0.9637}
    assert "note: 2 of the drawn images cannot be read or scored" in result.stderr
    assert given["pool"] == ["a/", "b/"]
    assert given["weights"] is None
    assert given["reading"].every == "10f"
    assert given["size"] == (90, 120)
    assert given["model_options"] == {"input_size": [360, 480]}


def test_defaults_are_those_of_the_call():
    from deal.distilling import distill

    context = command.make_context("distill", ["pool", "-o", "small.onnx"])
    for name, parameter in inspect.signature(distill).parameters.items():
        if name not in ("pool", "model", "output", "progress", "model_options", "skip", "reading"):
            assert context.params[name] == parameter.default, name


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["--model", "m.onnx"], "no pool"), (["pool/"], "no model")],
)
def test_a_missing_pool_or_model_is_named(monkeypatch, arguments, words):
    monkeypatch.delenv("DEAL_MODEL", raising=False)
    result = CliRunner().invoke(command, [*arguments, "-o", "small.onnx"])
    assert result.exit_code == 2 or words in str(result.exception)
    assert words in result.output + str(result.exception)


def test_without_pytorch_the_remedy_is_named():
    code = (
        "import sys; sys.modules['torch'] = None; from deal.cli import run; "
        "from deal.cli.distill import command; "
        "sys.exit(run(command, ['pool', '--model', 'm.onnx', '-o', 's.onnx'], 'deal distill'))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "distilling needs torch" in done.stderr
    assert "[train,ort,weights]" in done.stderr
    assert not Path("s.onnx").exists()


def test_help_needs_no_torch():
    code = (
        "import sys; from deal.cli.distill import command; command(['--help'], "
        "standalone_mode=False); sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
