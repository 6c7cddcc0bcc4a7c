"""``Scorer`` and ``score_pool`` on the emulated device give what they give on the CPU."""

import json

import numpy as np
import pytest

from deal import _native
from deal.engines.device import DeviceArray
from deal.kernel import geometry
from deal.kernel import statistics as regions
from deal.kernel.regions import Grid
from deal.regions.sources import Components, GivenSegments, Superpixels
from deal.results.reading import read_regions, read_results
from deal.run.pipeline import score_pool
from deal.scoring.scorer import Scorer
from deal.scoring.session import Session
from tests.helpers.models import metadata, save_model, scenes
from tests.helpers.runs import write_pool
from tests.helpers.sessions import no_cuda_provider, ort_on_device

__all__ = ["ort_on_device"]

SIZE = (24, 32)
MASK = np.ones(SIZE, np.uint8)
MASK[20:] = 0


@pytest.fixture
def path(tmp_path):
    return save_model(tmp_path / "m.onnx", props=metadata())


def both(path, **options):
    """Scorers on the CPU, the oracle, and on the device."""
    return (
        Scorer(path, device="cpu", **options),
        Scorer(path, device="cuda", **{"batch_size": 2} | options),
    )


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
        assert found[name].dtype == values.dtype, name


def assert_as_on_the_cpu(cpu, device, images, **extras):
    expected, found = (scorer.score_with_regions(images, **extras) for scorer in (cpu, device))
    assert_same(found[0], expected[0])
    if expected[1] is not None:
        assert_same(found[1], expected[1])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask": MASK},
        {"mask": {"front": MASK}, "regions": Grid(8)},
        {"regions": Components(4), "mask": MASK, "outlines": True},
        {"regions": Superpixels(6), "keep_regions": 2},
        {"raster": "image", "model_options": {"input_size": [24, 32]}},
        {"model_options": {"difficulty_head": None}},
        {"batch_size": 1},
        {"batch_size": 32},
    ],
    ids=lambda options: " ".join(options) or "plain",
)
def test_columns_are_those_of_the_cpu(ort_on_device, path, options):
    cpu, device = both(path, **options)
    assert (cpu.device, device.device) == ("cpu", "cuda:0")
    assert_as_on_the_cpu(
        cpu, device, scenes(5, SIZE), cameras=["front", None, "front", "front", None]
    )


@pytest.mark.parametrize("members", ["one", "models", "passes"])
def test_logits_stay_on_the_device(ort_on_device, tmp_path, monkeypatch, members):
    def to_host(self):
        raise AssertionError("an array left the device")

    layer = {"dropout": [{"input": "mask", "channels": 5, "rate": 0.5}]}
    props = metadata(**layer) if members == "passes" else metadata()
    paths = [
        save_model(tmp_path / f"{seed}.onnx", seed=seed, dropout=members == "passes", props=props)
        for seed in range(3 if members == "models" else 1)
    ]
    options = {"mask": MASK, "regions": Components(4), "dropout_passes": 2 * (members == "passes")}
    device = Scorer(paths, device="cuda", batch_size=2, **options)
    assert device.has_committee == (members != "one")
    monkeypatch.setattr(DeviceArray, "to_host", to_host)
    device.score(scenes(3, SIZE))


def test_segments_go_up_with_their_images(ort_on_device, path):
    rng = np.random.default_rng(0)
    segments = [rng.integers(-1, 5, SIZE) for _ in range(3)]
    assert_as_on_the_cpu(*both(path, regions=GivenSegments()), scenes(3, SIZE), segments=segments)


def test_the_graphs_own_difficulty_and_embedding_count(ort_on_device, tmp_path):
    path = save_model(tmp_path / "m.onnx", difficulty=True, embedding=True, props=metadata())
    cpu, device = both(path)
    images = scenes(3, SIZE)
    assert_as_on_the_cpu(cpu, device, images)
    for ours, theirs in zip(
        device.difficulty_maps(images), cpu.difficulty_maps(images), strict=True
    ):
        assert ours.tobytes() == theirs.tobytes()


def test_maps_are_those_of_the_cpu(ort_on_device, tmp_path):
    paths = [save_model(tmp_path / f"{n}.onnx", seed=n, props=metadata()) for n in range(2)]
    cpu, device = both(paths, mask=MASK)
    images = scenes(3, SIZE)
    for ours, theirs in zip(device.predict(images), cpu.predict(images), strict=True):
        assert ours.tobytes() == theirs.tobytes()
    for name in ("ds:entropy", "margin", "bald"):
        found = [s._session.maps(images, acquisition=name) for s in (device, cpu)]
        for ours, theirs in zip(*found, strict=True):
            for field in ("classes", "score", "difficulty", "entropy"):
                assert getattr(ours, field).tobytes() == getattr(theirs, field).tobytes()


def test_images_that_fail_leave_the_others_alone(ort_on_device, tmp_path):
    path = save_model(tmp_path / "m.onnx", nan_above=200, props=metadata())
    white = np.full((*SIZE, 3), 250, np.uint8)
    images = [white, *scenes(2, SIZE), white, *scenes(1, (16, 24))]
    cpu, device = both(path, regions=Grid(8))
    assert_as_on_the_cpu(cpu, device, images)
    found = device.difficulty_maps(images)
    assert [values is None for values in found] == [True, False, False, True, False]


@pytest.mark.parametrize(
    "members",
    [{"flip": True}, {"dropout_passes": 2}, {"models": 2}, {"models": 2, "half": True}],
    ids=["flip", "dropout", "models", "other dtype"],
)
def test_committees_vote_as_on_the_cpu(ort_on_device, tmp_path, members):
    layer = {"dropout": [{"input": "mask", "channels": 5, "rate": 0.5}]}
    dropout = "dropout_passes" in members
    paths = [
        save_model(
            tmp_path / "0.onnx",
            dropout=dropout,
            difficulty=dropout,
            embedding=dropout,
            props=metadata(**layer if dropout else {}),
        )
    ]
    half = members.pop("half", False) if "half" in members else False
    for seed in range(1, members.pop("models", 1) if "models" in members else 1):
        props = metadata(mean=[0.4] * 3, std=[0.2] * 3, input_format="float-rgb")
        paths.append(
            save_model(tmp_path / f"{seed}.onnx", seed=seed, floating=True, half=half, props=props)
        )
    assert_as_on_the_cpu(*both(paths, **members), scenes(3, SIZE))


def test_probabilities_are_scored_on_the_host(ort_on_device, tmp_path):
    path = save_model(tmp_path / "m.onnx", kind="softmax", difficulty=True)
    options = {"classes": 5, "output_kind": "probabilities", "align_corners": True}
    assert_as_on_the_cpu(*both(path, mask=MASK, model_options=options), scenes(3, SIZE))


def test_a_scorer_opened_again_is_a_lane_of_the_same_session(ort_on_device, path):
    first = Session.open(path, device="cuda", batch_size=2, mask=MASK)
    second = first.again()
    images = scenes(2, SIZE)
    expected = first.score_batch(images).columns
    first.close()
    assert_same(second.score_batch(images).columns, expected)
    assert len(ort_on_device) == 1


def test_stages_of_the_device_are_measured(ort_on_device, path):
    device = Scorer(path, device="cuda", batch_size=2)
    device.score(scenes(3, SIZE))
    assert set(device._session.meter.seconds) == {"staging", "transfer", "network", "kernel"}
    assert all(seconds >= 0 for seconds in device._session.meter.seconds.values())


def test_class_maps_of_device_logits_come_to_the_host(ort_on_device):
    z = np.random.default_rng(0).normal(size=(2, 4, 5, 6)).astype(np.float32)
    stream = _native.Stream(0)
    array = DeviceArray.empty(z.shape, z.dtype, stream)
    stream.copy(array.address, z.ctypes.data, z.nbytes)
    expected, counts = regions.class_map(z, size=(20, 24))
    found, found_counts = regions.class_map(array, size=(20, 24), stream=stream)
    assert found.tolist() == expected.tolist()
    assert found_counts.tolist() == counts.tolist()
    ours = geometry.components(array, size=(20, 24), min_pixels=3)
    theirs = geometry.components(z, size=(20, 24), min_pixels=3)
    assert (ours.map.tolist(), ours.count) == (theirs.map.tolist(), theirs.count)


def test_runs_store_what_runs_on_the_cpu_store(ort_on_device, tmp_path, path):
    pool = write_pool(tmp_path / "pool", 7)
    tables = {}
    for device in ("cpu", "cuda"):
        report = score_pool(
            pool,
            model=path,
            output=tmp_path / device,
            device=device,
            regions="grid:16",
            batch_size=2,
            previews=2,
        )
        assert (report.scored, report.errors) == (7, {})
        found = [read([tmp_path / device]) for read in (read_results, read_regions)]
        tables[device] = [
            table.sort_by([(k, "ascending") for k in keys]).to_pylist()
            for table, keys in zip(found, (["id"], ["id", "region"]), strict=True)
        ]
    assert tables["cuda"] == tables["cpu"]
    record = json.loads(next((tmp_path / "cuda" / "runs").glob("*.json")).read_text())
    assert (record["device"], record["sessions"], record["batch_size"]) == ("cuda:0", 2, 2)
    assert record["device_properties"]["name"] == "emulated"
    stages = {"decode", "staging", "transfer", "network", "kernel", "write"}
    assert set(record["busy_seconds"]) == stages
    assert record["bound_by"] in stages
    assert len(ort_on_device) == 1


@pytest.mark.skipif(no_cuda_provider() is not None, reason=str(no_cuda_provider()))
def test_a_gpu_scores_as_the_cpu(tmp_path, path):
    pool = write_pool(tmp_path / "pool", 7)
    tables = []
    for device in ("cpu", "cuda"):
        run = {"model": path, "output": tmp_path / device, "device": device, "batch_size": 2}
        assert score_pool(pool, **run, regions="components:4").scored == 7
        tables.append(read_results([tmp_path / device]).sort_by("id"))
    cpu, cuda = tables
    assert cuda.schema == cpu.schema
    assert cuda["n_pixels"] == cpu["n_pixels"]
    for name in (
        "difficulty_mean",
        "entropy_mean",
        "margin_mean",
        "difficulty_weighted_entropy_mean",
    ):
        np.testing.assert_allclose(cuda[name], cpu[name], rtol=0, atol=1e-4, err_msg=name)


def test_parts_of_the_device_and_of_the_cpu_are_one_output(ort_on_device, tmp_path, path):
    pool = write_pool(tmp_path / "pool", 6)
    for shard, device in (("0/2", "cpu"), ("1/2", "cuda")):
        score_pool(pool, model=path, output=tmp_path / "out", device=device, shard=shard)
    assert len(read_results([tmp_path / "out"])) == 6
