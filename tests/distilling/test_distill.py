"""``distill`` makes a network that screens for the model it was taught by."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import deal
from deal.distilling import distill
from deal.distilling.comparing import correlation, reach
from deal.distilling.drawing import drawn, read
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
    assert list(report.seconds) == list(dict.fromkeys(stage for stage, _, _ in stages))
    assert [s for s in stages if s[0] == "training"] == [("training", n, 4) for n in range(5)]
    assert ("teaching", 32, 32) in stages
    assert ("scoring with the small network", 6, 6) in stages


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
        ({"batch_size": 33}, "--batch-size 33 is more than the --images 32"),
        ({"threads": 10**14}, "threads must be at most 4096"),
        ({"threads": 0}, "--threads must be a whole number of at least 1"),
        ({"lr": 0.0}, "--lr must be above 0"),
        ({"lr": float("nan")}, "--lr must be above 0"),
        ({"lr": True}, "--lr must be above 0"),
        ({"seed": -1}, "--seed"),
        ({"seed": 1.0}, "--seed must be a whole number"),
        ({"size": 16}, "--size needs a height and a width"),
        ({"size": (True, True)}, "--size needs a height and a width"),
        ({"model_options": [1]}, "must map keys to values"),
        ({"network": "resnet"}, "network 'resnet' is unknown"),
        ({"size": (0, 24)}, "--size needs a height and a width"),
        ({"size": (90.5, 120)}, "--size needs a height and a width"),
        ({"size": (16, 24, 3)}, "--size needs a height and a width"),
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


def test_what_is_read_is_not_replaced(world):
    _, pool, model = world
    before = model.read_bytes()
    with pytest.raises(UsageError, match="would replace what is read"):
        distill(pool, model, model.parent / "." / model.name, overwrite=True, **QUICK)
    assert model.read_bytes() == before


def test_a_name_that_is_no_onnx_file_or_a_folder_is_refused(world, tmp_path):
    _, pool, model = world
    with pytest.raises(UsageError, match=r"end in \.onnx"):
        distill(pool, model, tmp_path / "small.json", **QUICK)
    (tmp_path / "small.onnx").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        distill(pool, model, tmp_path / "small.onnx", **QUICK)


@pytest.mark.parametrize("says", ['{"align_corners": false}', '{"difficulty_head": null}'])
def test_a_side_car_that_would_change_the_small_network_is_refused(world, tmp_path, says):
    _, pool, model = world
    (tmp_path / "small.json").write_text(says)
    with pytest.raises(OutputError, match=r"side-car"):
        distill(pool, model, tmp_path / "small.onnx", **QUICK)


def test_the_callers_threads_of_pytorch_stay_as_they_are(world, tmp_path):
    torch.set_num_threads(3)
    with pytest.raises(PoolError):
        distill(tmp_path / "none", world[2], tmp_path / "small.onnx", **QUICK)
    assert torch.get_num_threads() == 3


def names(items):
    return [item.id for item in items]


def test_images_are_drawn_evenly_and_always_the_same_in_the_order_of_the_pool(tmp_path):
    folder = tmp_path / "pool"
    folder.mkdir()
    for number in range(2000):
        (folder / f"{number:04}.jpg").touch()
    found = drawn(Pool(folder), 200)
    assert (len(found.learned), len(found.held_out), found.missing) == (200, 40, 0)
    assert not set(names(found.learned)) & set(names(found.held_out))
    assert names(found.learned) == sorted(names(found.learned))
    assert drawn(Pool(folder), 200) == found
    places = np.array([int(name[:4]) for name in names(found.learned)])
    assert abs(places.mean() - 1000) < 150
    both = {*names(found.learned), *names(found.held_out)}
    more = drawn(Pool(folder), 400)
    assert both < {*names(more.learned), *names(more.held_out)}


def test_a_small_pool_is_divided_whole_and_what_is_missing_is_counted(tmp_path):
    pool = write_pool(tmp_path / "pool", 40, (8, 8))
    manifest = tmp_path / "pool.csv"
    lines = [f"{path.name},{path}" for path in sorted(pool.iterdir())]
    manifest.write_text("\n".join(["id,uri", *lines, f"gone.png,{pool / 'gone.png'}"]) + "\n")
    found = drawn(Pool(manifest), 100)
    assert len(found.held_out) in (6, 7)
    readable = [image is not None for _, image in read([*found.learned, *found.held_out])]
    assert sum(readable) == 40
    assert found.missing + len(readable) == 41


def test_reach_is_where_the_last_of_the_best_stands():
    model = np.arange(40.0)
    assert correlation(model, model) == 1
    assert reach(model, model) == 2 / 40
    assert reach(model, -model) == 1
    moved = model.copy()
    moved[39] = 29.5  # ten others stand before it
    assert reach(model, moved) == pytest.approx(10 / 40)
