"""Options by keyword: checked at the door, and numbers of NumPy are numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

import deal
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import write_pool


@pytest.fixture
def model(tmp_path):
    return save_model(tmp_path / "m.onnx", props=metadata())


@pytest.mark.parametrize("batch_size", [0, -3, 2.5, "2", True])
def test_a_scorer_refuses_a_batch_that_is_none(model, batch_size):
    with pytest.raises(deal.UsageError, match="batch_size must be"):
        deal.Scorer(model, device="cpu", batch_size=batch_size)


@pytest.mark.parametrize(
    "options",
    [{"threads": 0}, {"threads": "2"}, {"dropout_passes": "2"}, {"keep_regions": 2.5}],
)
def test_a_scorer_refuses_what_is_no_whole_number(model, options):
    with pytest.raises(deal.UsageError, match=f"{next(iter(options))} must be"):
        deal.Scorer(model, device="cpu", regions="grid:16", **options)


def test_a_head_that_is_neither_file_nor_head_is_a_usage_error(model):
    with pytest.raises(deal.UsageError, match=r"DifficultyHead\.from_dict reads a dictionary"):
        deal.Scorer(model, device="cpu", difficulty_head={"gamma": 1})


@pytest.mark.slow
def test_numbers_of_numpy_are_stored_and_select_as_pythons_do(model, tmp_path):
    pool = write_pool(tmp_path / "pool", 6)
    ids = []
    for kind, real, output in ((int, float, "a"), (np.int64, np.float32, "b")):
        report = deal.score_pool(
            pool, model=model, output=tmp_path / output, device="cpu",
            batch_size=kind(2), threads=kind(1), sessions=kind(1), decode_threads=kind(1),
            seed=kind(3), previews=kind(0), max_pixels=kind(10**6), budget=kind(4),
            stochastic="power", dedup=real(0.5), acquisition="tail:entropy",
        )  # fmt: skip
        ids.append(report.selection.ids)
        again = deal.select(tmp_path / output, budget=kind(4), seed=kind(3), stochastic="power")
        ids.append(again.ids)
    assert ids[:2] == ids[2:]
    first, second = (
        json.loads((tmp_path / output / "selection.json").read_text()) for output in "ab"
    )
    assert first["scores_digest"] == second["scores_digest"]


def test_a_factor_of_screening_may_be_a_number(model, tmp_path):
    pool = write_pool(tmp_path / "pool", 6)
    for place, screen in enumerate((0.5, np.float64(0.5), "0.5")):
        report = deal.score_pool(
            pool, model=model, output=tmp_path / str(place), device="cpu", budget=2, screen=screen,
            model_options={"input_size": [48, 64]},
        )  # fmt: skip
        assert len(report.selection.ids) == 2
