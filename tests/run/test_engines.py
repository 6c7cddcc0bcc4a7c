"""Runs by one engine or another: what is recorded, and what a later run may add to."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deal import BatchScorer, read_results
from deal.engines import choosing
from deal.errors import OutputError, UsageError
from deal.results.reading import iter_results
from deal.run.pipeline import score_pool
from deal.run.reopen import reopen
from tests.helpers.openvino import skip_without_openvino
from tests.helpers.runs import write_pool


@pytest.fixture(autouse=True)
def openvino() -> None:
    skip_without_openvino()


@pytest.fixture
def in_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that has bf16, and computes it as it can."""
    monkeypatch.setattr("deal.engines.openvino.has_bfloat16", lambda: True)
    monkeypatch.setattr("deal.engines.openvino._HINTS", {"fp32": "f32", "bf16": "f32"})


def settings_of(output: Path) -> dict[str, Any]:
    metadata = next(iter_results(output, ["id"])).schema.metadata
    found: dict[str, Any] = json.loads(metadata[b"deal.settings"])
    return found


def test_openvino_goes_on_where_onnx_runtime_stopped(model: Path, tmp_path: Path) -> None:
    pool, output = write_pool(tmp_path / "pool", 6), tmp_path / "out"
    score_pool(pool, model=model, output=output, skip=("003.png", "004.png", "005.png"))
    report = score_pool(pool, model=model, output=output, engine="openvino", sessions=2)
    assert (report.skipped, report.scored) == (3, 3)
    record = json.loads((output / "runs/0-of-1.json").read_text())
    assert record["versions"]["openvino"]
    whole = tmp_path / "whole"
    score_pool(pool, model=model, output=whole)
    both = [read_results(path).table.sort_by("id") for path in (output, whole)]
    for name in ("difficulty_mean", "entropy_mean"):
        values, expected = (table.column(name).to_pylist() for table in both)
        assert values == pytest.approx(expected, rel=1e-4)


@pytest.mark.usefixtures("in_bf16")
def test_bf16_and_float32_are_never_in_one_table(model: Path, tmp_path: Path) -> None:
    pool, output = write_pool(tmp_path / "pool", 2), tmp_path / "out"
    options: dict[str, Any] = {"model": model, "output": output, "engine": "openvino"}
    score_pool(pool, **options, precision="bf16")
    assert settings_of(output)["precision"] == "bf16"
    assert score_pool(pool, **options, precision="bf16").skipped == 2
    with pytest.raises(OutputError, match=r'other settings \(precision: "bf16" → null\)'):
        score_pool(pool, **options)
    with pytest.raises(OutputError, match=r'precision: "bf16" → null'):
        score_pool(pool, model=model, output=output, engine="ort")


@pytest.mark.usefixtures("in_bf16")
def test_members_of_a_committee_are_computed_in_the_same_precision(
    model: Path, tmp_path: Path
) -> None:
    pool = write_pool(tmp_path / "pool", 1)
    options: dict[str, Any] = {"engine": "openvino", "precision": "bf16"}
    score_pool(pool, model=[model, model], output=tmp_path / "out", **options)
    found = settings_of(tmp_path / "out")
    assert found["precision"] == found["committee"]["models"][0]["precision"] == "bf16"


def test_pictures_are_drawn_by_the_engine_that_scored(model: Path, tmp_path: Path) -> None:
    pool, output = write_pool(tmp_path / "pool", 1), tmp_path / "out"
    score_pool(pool, model=model, output=output, engine="openvino")
    with reopen(output) as session:
        assert session.engine == "openvino"


@pytest.fixture
def fastest(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Makes an engine the one that a measurement finds."""

    def make(name: str) -> None:
        speeds = {"ort": 1.0, "openvino": 1.0, name: 2.0}
        monkeypatch.setattr(choosing, "_measured", lambda engines, size: (speeds, []))

    return make


def test_auto_says_what_it_took_and_a_resumed_run_takes_the_same(
    model: Path, tmp_path: Path, fastest: Callable[[str], None]
) -> None:
    pool, output = write_pool(tmp_path / "pool", 3), tmp_path / "out"
    options: dict[str, Any] = {"model": model, "output": output, "engine": "auto"}
    fastest("openvino")
    first = score_pool(pool, **options, skip="002.png")
    assert "--engine auto took openvino (ort 1.0, openvino 2.0 images/s" in "\n".join(first.notes)
    assert json.loads((output / "runs/0-of-1.json").read_text())["settings"]["engine"] == "openvino"
    (output / "runs/0-of-1.json").unlink()  # as if the run had been killed
    fastest("ort")
    again = score_pool(pool, **options)
    assert (again.skipped, again.scored) == (2, 1)
    assert again.notes[0] == f"--engine auto took openvino, as for the results in {output} so far"
    fresh = score_pool(pool, **options, overwrite=True)
    assert fresh.notes[0].startswith("--engine auto took ort (")


def test_auto_says_why_a_resumed_run_takes_another_engine(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, output = write_pool(tmp_path / "pool", 2), tmp_path / "out"
    score_pool(pool, model=model, output=output, engine="openvino")
    monkeypatch.delitem(sys.modules, "deal.engines.openvino", raising=False)
    monkeypatch.setitem(sys.modules, "openvino", None)
    report = score_pool(pool, model=model, output=output, engine="auto")
    assert report.notes[:2] == (
        f"the results in {output} so far are of openvino, which does not run here: not installed",
        "--engine auto took ort (openvino left out: not installed)",
    )


def test_processes_beside_each_other_need_the_name_of_an_engine(model: Path) -> None:
    with pytest.raises(UsageError, match="name one"):
        BatchScorer(model, engine="auto")
