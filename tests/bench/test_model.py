"""``deal bench model``: figures of somebody's own model."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from click.testing import CliRunner

from deal.bench import model as bench
from deal.bench.model import STAGES, run
from deal.cli.bench import command
from deal.errors import ModelError, UsageError
from tests.helpers.models import MEAN, STD, metadata, save_model
from tests.helpers.runs import write_pool

SIZE = (48, 64)


@pytest.fixture
def own(tmp_path):
    return save_model(tmp_path / "own.onnx", props=metadata(precision="fp32"))


@pytest.fixture
def two_cores(monkeypatch):
    monkeypatch.setattr(bench, "available_cores", lambda: 2)


@pytest.mark.slow
@pytest.mark.usefixtures("two_cores")
def test_every_stage_of_every_model_has_its_percentiles(own, tmp_path):
    other = save_model(tmp_path / "other.onnx", props=metadata(precision="fp16"), seed=8)
    told = []
    report = run(own, also=[other], size=SIZE, frames=3, progress=lambda *at: told.append(at))
    assert [(row.model, row.threads, row.stage) for row in report.rows] == [
        (name, threads, stage)
        for name in ("own.onnx", "other.onnx")
        for threads in (1, 2)
        for stage in STAGES
    ]
    for row in report.rows:
        assert 0 < row.p50 <= row.p90 <= row.p99
    assert told == [*(("scoring", n, 3) for n in (1, 2, 3)), *(("memory", n, 2) for n in (1, 2))]
    ours, theirs = report.variants
    assert (ours.precision, ours.input_size, ours.agreement) == ("fp32", SIZE, 1)
    assert 0 < theirs.agreement < 1
    assert ours.megabytes == own.stat().st_size / 1e6
    assert ours.peak_memory > 10


def test_percentiles_are_those_of_the_images(own, monkeypatch):
    taken = iter([9.0, 1.0, 2.0, 3.0, 4.0, 5.0])  # the first image does not count

    def score(line, item):
        line.input_size = SIZE
        return dict.fromkeys(STAGES, next(taken) / 1000), np.zeros((2, 2), int)

    monkeypatch.setattr(bench, "available_cores", lambda: 1)
    monkeypatch.setattr(bench._Line, "score", score)
    monkeypatch.setattr(bench, "_peak", lambda *_: 2**20)
    row = run(own, frames=5).rows[0]
    assert (row.p50, row.p90, row.p99) == pytest.approx((3, 4.6, 4.96))


@pytest.mark.parametrize(
    ("stated", "given", "size"),
    [
        ({"size": (40, 56)}, None, (40, 56)),
        ({"size": (40, 56), "batch": 2}, None, (40, 56)),
        ({"floating": True}, (30, 40), (30, 40)),
        ({}, None, (360, 480)),
    ],
)
def test_a_model_is_measured_at_its_own_size(tmp_path, monkeypatch, stated, given, size):
    monkeypatch.setattr(bench, "available_cores", lambda: 1)
    monkeypatch.setattr(bench, "_peak", lambda *_: 0)
    if stated.get("floating"):
        props = metadata(input_format="float-rgb", mean=MEAN, std=STD)
    else:
        props = metadata()
    path = save_model(tmp_path / "m.onnx", props=props, **stated)
    report = run(path, size=given, frames=1)
    assert report.variants[0].input_size == size


def test_grids_that_differ_are_not_compared(own, tmp_path, monkeypatch):
    monkeypatch.setattr(bench, "_peak", lambda *_: 0)
    other = save_model(tmp_path / "other.onnx", props=metadata(), size=(40, 56))
    report = run(own, also=[other], images=str(write_pool(tmp_path / "pool", 2)), frames=2)
    assert math.isnan(report.variants[1].agreement)
    assert report.to_dict()["variants"][1]["agreement"] is None


@pytest.mark.slow
def test_the_command_prints_a_plain_table_or_json(own, tmp_path):
    pool, file = write_pool(tmp_path / "pool", 2), tmp_path / "r.json"
    words = ["model", str(own), "--images", str(pool), "--frames", "3", "-o", str(file)]
    done = CliRunner().invoke(command, words)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["model", "threads", "stage", "p50", "p90", "p99"]
    assert lines[2].startswith("own.onnx  1")
    assert "24×32" in lines[-2]
    stored = json.loads(file.read_text())
    assert stored["command"] == f"deal bench model --images {pool} --frames 3 {own}"
    assert stored["settings"]["distinct_images"] == 2
    printed = CliRunner().invoke(command, [*words, "--json"])
    assert json.loads(printed.stdout)["question"] == "model"


def test_what_cannot_be_measured_says_so(own, tmp_path):
    with pytest.raises(UsageError, match="a model is given twice"):
        run(own, also=[own])
    bare = save_model(tmp_path / "bare.onnx", props=None)
    with pytest.raises(ModelError, match="does not say its classes"):
        run(bare)
    fixed = save_model(tmp_path / "fixed.onnx", props=metadata(), size=(40, 56))
    with pytest.raises(ModelError, match="set input_size to the size that the graph takes"):
        run(fixed, size=SIZE)
    nan = save_model(tmp_path / "nan.onnx", props=metadata(), nan_above=0)
    with pytest.raises(ModelError, match="gives NaN or infinite logits"):
        run(nan, frames=1)
