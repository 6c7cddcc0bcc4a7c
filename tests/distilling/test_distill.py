"""``distill`` makes a network that screens for the model it was taught by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import deal
from deal.distilling import distill
from deal.distilling.comparing import correlation, reach
from deal.distilling.distill import _drawn, _Reader
from deal.errors import DealError, ModelError, OutputError, PoolError, UsageError
from deal.pool.listing import Pool
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import write_pool

SIZE = (32, 48)
QUICK = {"images": 32, "epochs": 1, "weights": None, "threads": 1, "size": (16, 24)}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A pool of 120 images of which one is broken, and a model."""
    folder = tmp_path_factory.mktemp("world")
    pool = write_pool(folder / "pool", 120, SIZE)
    model = save_model(folder / "model.onnx", props=metadata(input_size=list(SIZE)))
    return folder, pool, model


@pytest.fixture(scope="module")
def distilled(world):
    folder, pool, model = world
    stages = []
    report = distill(
        pool,
        model,
        folder / "small.onnx",
        progress=lambda stage, done, total: stages.append((stage, done, total)),
        **QUICK,
    )
    return report, stages, folder / "small.onnx"


@pytest.mark.slow
def test_the_small_network_keeps_the_contract_of_the_model(distilled, world):
    _, _, small = distilled
    ours, theirs = deal.read_spec(small), deal.read_spec(world[2])
    assert ours.classes == theirs.classes
    assert ours.input_size == (16, 24)
    assert ours.difficulty_head is not None
    assert ours.provenance["distilled"]["model_sha256"] == theirs.digest()
    assert ours.provenance["distilled"]["images"] == 32


@pytest.mark.slow
def test_the_report_says_what_was_measured(distilled):
    report, stages, _ = distilled
    assert (report.images, report.held_out, report.unread) == (32, 6, 0)
    assert list(report.correlations) == list(report.reach) == [
        "ds", "ds:entropy", "entropy", "margin", "de"
    ]  # fmt: skip
    assert all(-1 <= value <= 1 for value in report.correlations.values())
    assert all(1 / 6 <= value <= 1 for value in report.reach.values())
    assert report.cost > 0
    assert list(report.seconds) == ["teaching", "training", "exporting", "measuring"]
    assert [s for s in stages if s[0] == "training"] == [("training", n, 4) for n in range(5)]
    assert ("measuring", 12, 12) in stages


@pytest.mark.slow
def test_it_screens_a_pool_for_the_model(distilled, world, tmp_path):
    _, pool, model = world
    report = deal.score_pool(
        pool, model=model, output=tmp_path / "out", screen=str(distilled[2]), budget="5%"
    )
    assert len(report.selection.ids) == 6
    assert report.screen is not None


@pytest.mark.slow
def test_of_a_model_without_difficulty_none_is_learned_and_none_is_promised(world, tmp_path):
    pool = world[1]
    props = metadata(input_size=list(SIZE), difficulty_head=None)
    model = save_model(tmp_path / "plain.onnx", props=props)
    report = distill(pool, model, tmp_path / "small.onnx", **QUICK)
    assert list(report.correlations) == ["entropy", "margin"]
    spec = deal.read_spec(tmp_path / "small.onnx")
    assert (spec.difficulty_head, spec.difficulty_name) == (None, None)


def test_a_file_that_is_there_is_kept(world, tmp_path):
    _, pool, model = world
    there = tmp_path / "small.onnx"
    there.write_bytes(b"mine")
    with pytest.raises(OutputError, match="--overwrite"):
        distill(pool, model, there, **QUICK)
    with pytest.raises(PoolError):  # a call that fails replaces nothing
        distill(tmp_path / "none", model, there, overwrite=True, **QUICK)
    assert there.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [there]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"images": 31}, "--images must be a whole number of at least 32"),
        ({"images": 40.5}, "--images must be a whole number"),
        ({"epochs": 0}, "--epochs"),
        ({"batch_size": 1}, "--batch-size must be a whole number of at least 2"),
        ({"lr": 0.0}, "--lr must be above 0"),
        ({"lr": float("nan")}, "--lr must be above 0"),
        ({"seed": -1}, "--seed"),
        ({"network": "resnet"}, "network 'resnet' is unknown"),
        ({"size": (0, 24)}, "size"),
        ({"device": "gpu"}, "device"),
        ({"weights": "none.pt"}, "none.pt cannot be read"),
    ],
)
def test_options_that_cannot_work_are_refused_before_any_work(world, tmp_path, changes, words):
    _, pool, model = world
    with pytest.raises(DealError, match=words):
        distill(pool, model, tmp_path / "small.onnx", **{**QUICK, **changes})
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_crops_cannot_be_imitated(world, tmp_path):
    props = metadata(input_size=list(SIZE), resize="crop")
    model = save_model(tmp_path / "crop.onnx", props=props)
    with pytest.raises(ModelError, match="crops images"):
        distill(world[1], model, tmp_path / "small.onnx", **QUICK)


def test_a_model_for_images_of_any_size_needs_a_size(world, tmp_path):
    model = save_model(tmp_path / "any.onnx", props=metadata())
    with pytest.raises(UsageError, match="--size HxW"):
        distill(world[1], model, tmp_path / "small.onnx", **{**QUICK, "size": None})


def test_a_pool_too_small_to_learn_from_is_an_error(world, tmp_path):
    pool = write_pool(tmp_path / "few", 31, (8, 8))
    with pytest.raises(PoolError, match="31 images"):
        distill(pool, world[2], tmp_path / "small.onnx", **QUICK)


def test_images_are_drawn_evenly_and_always_the_same(tmp_path):
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(2000):
        (folder / f"{number:04}.jpg").touch()
    drawn = [item.id for item in _drawn(Pool(folder), 200)]
    assert len(set(drawn)) == 240
    assert drawn == [item.id for item in _drawn(Pool(folder), 200)]
    places = np.array([int(name[:4]) for name in drawn])
    assert abs(places.mean() - 1000) < 150
    assert drawn[:100] == [item.id for item in _drawn(Pool(folder), 400)][:100]


def test_held_out_images_are_not_learned_from_and_broken_ones_are_counted(tmp_path):
    pool = write_pool(tmp_path / "pool", 40, (8, 8))
    reader = _Reader(_drawn(Pool(pool), 100))
    assert len(reader.held) == 6
    assert {i.id for i in reader.held} | {i.id for i in reader.shown} == {
        path.name for path in pool.iterdir()
    }
    (pool / reader.shown[0].id).write_bytes(b"no image")
    assert len(list(reader.read(reader.shown))) == 33
    assert len(list(reader.read(reader.shown))) == 33
    assert reader.unread == 1


def test_reach_is_where_the_last_of_the_best_stands():
    model = np.arange(40.0)
    assert correlation(model, model) == 1
    assert reach(model, model) == 2 / 40
    assert reach(model, -model) == 1
    moved = model.copy()
    moved[39] = 29.5  # ten others stand before it
    assert reach(model, moved) == pytest.approx(10 / 40)
