"""Rounds on the kept features of a frozen encoder."""

from __future__ import annotations

import dataclasses
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

import deal.loop.by_features as by_features
from deal.errors import OutputError, UsageError
from deal.export.onnx import export_checkpoint
from deal.loop.experiment import run_loop
from deal.loop.table import read_experiment
from deal.results.reading import read_regions, read_results
from deal.run.pipeline import score_pool


@pytest.fixture
def features_config(make_config, weights):
    def make(**changes):
        training = {
            "network": "lite0", "width": 0.1, "weights": str(weights), "freeze": 7,
            "pixels": 64, "steps": 12, "optimizer": "adamw", "lr": 0.01, "grid": [4, 6],
            "threads": 1,
        }  # fmt: skip
        return make_config(**{"training": training, **changes})

    return make


def _regions(features_config, regions="grid:16"):
    return features_config(
        rounds={"labeled": [3, 5, 7], "regions": regions},
        methods={"ds": {"acquisition": "ds:entropy", "stochastic": "power"}},
        keep_models=True,
    )


@pytest.mark.slow
def test_a_round_that_was_deleted_comes_back_the_same(features_config):
    """Its picks need the network of the round before, which is trained once more."""
    config = features_config(methods={"ds": {"acquisition": "ds"}})
    run_loop(config)
    before = read_experiment(config.folder).runs
    shutil.rmtree(config.folder / "ds-seed0/round-3")
    run_loop(config)
    assert read_experiment(config.folder).runs == before


@pytest.mark.usefixtures("kept_exports")
@pytest.mark.parametrize(
    ("engine", "regions"),
    [
        ("torch", "grid:16"),
        pytest.param("torch", "slic:6", marks=pytest.mark.slow),
        pytest.param("ort", "grid:16", marks=pytest.mark.slow),
    ],
)
def test_a_round_stores_the_statistics_that_the_exported_model_gives(
    features_config, tmp_path, engine, regions
):
    if regions.startswith("slic"):
        pytest.importorskip("skimage")
    config = _regions(features_config, regions)
    run_loop(config)
    folder = config.folder / "ds-seed0" / "round-2"
    model = folder / "checkpoint.pt"
    if engine == "ort":
        model = tmp_path / "model.onnx"
        image = np.zeros((32, 48, 3), np.uint8)
        export_checkpoint(folder / "checkpoint.pt", model, images=[image], embedding=True)
    images = sorted((config.folder / "common" / "images").glob("*.png"))
    score_pool(
        images, model=model, output=tmp_path / "scored", engine=engine, device="cpu", threads=1,
        sessions=1, regions=regions, outlines=config.rounds.grid is None, acquisition="entropy",
    )  # fmt: skip
    tables = {}
    for name, source in {"kept": folder / "results", "run": tmp_path / "scored"}.items():
        images = read_results(source).sort_by("id")
        regions = read_regions(source).sort_by([("id", "ascending"), ("region", "ascending")])
        tables[name] = images, regions
    for kept, run in zip(tables["kept"], tables["run"], strict=True):
        assert len(kept)
        assert kept.schema.names == run.schema.names
        means = [name for name in kept.schema.names if name.endswith("_mean")]
        assert "difficulty_weighted_entropy_mean" in means
        for column in means:
            one, other = kept.column(column).to_pylist(), run.column(column).to_pylist()
            if one[0] is not None or other[0] is not None:
                assert one == pytest.approx(other, rel=0.01, abs=1e-3), column
        for column in ("id", "uri", "thumbnail", "width", "raster_height", "region", "x0", "y1"):
            if column in kept.schema.names:
                assert kept.column(column).to_pylist() == run.column(column).to_pylist()
    one, other = (tables[name][0].column("embedding").to_pylist() for name in ("kept", "run"))
    np.testing.assert_allclose(one, other, rtol=1e-2, atol=1e-3)
    assert np.std(tables["kept"][0].column("difficulty_mean").to_pylist()) > 0


@pytest.mark.slow
def test_a_round_learns_and_measures_like_a_training_of_images(features_config):
    config = features_config(training__steps=150)
    run_loop(config, methods=["random"])
    (run,) = read_experiment(config.folder).runs
    metrics = run.rounds[-1].metrics
    assert metrics["accuracy"] > 0.6
    assert metrics["auroc"]["difficulty"] > 0.5
    assert (config.folder / "common/seed0/checkpoint.pt").exists()
    assert not list(config.folder.glob("random-seed0/round-*/checkpoint.pt"))


def _outcome(folder):
    names = ("*/round-*/labeled.csv", "*/round-*/metrics.json")
    return {
        str(path.relative_to(folder)): path.read_text()
        for name in names
        for path in sorted(folder.glob(name))
    }


@pytest.mark.slow
def test_a_run_that_was_killed_ends_with_the_same_selections_and_metrics(
    features_config, tmp_path, monkeypatch
):
    whole = _regions(features_config)
    run_loop(whole)
    broken = dataclasses.replace(whole, output=str(tmp_path / "killed"))
    with monkeypatch.context() as patch:
        saved = by_features.save_checkpoint

        def killed(path, *values):
            saved(path, *values)
            if "round-2" in str(path):
                raise KeyboardInterrupt

        patch.setattr(by_features, "save_checkpoint", killed)
        with pytest.raises(KeyboardInterrupt):
            run_loop(broken)
    run_loop(broken)
    assert _outcome(broken.folder) == _outcome(whole.folder)
    assert len(_outcome(whole.folder)) == 6


def test_all_seeds_and_experiments_share_one_file_of_features(features_config):
    rounds = {"labeled": [3, 5]}
    run_loop(features_config(seeds=[0], rounds=rounds), methods=["random"])
    config = features_config(seeds=[1], rounds=rounds, experiment="another")
    before = {path: path.stat().st_mtime_ns for path in config.folder.parent.glob("features/*.npy")}
    run_loop(config, methods=["random"])
    after = {path: path.stat().st_mtime_ns for path in config.folder.parent.glob("features/*.npy")}
    assert len(before) == 2
    assert after == before


def test_too_small_a_disk_is_refused_before_training(features_config, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=1000))
    monkeypatch.setattr(by_features, "fit_decoder", None)
    with pytest.raises(OutputError, match="are free: use another output"):
        run_loop(features_config(), methods=["random"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("network", "lite0-aspp", "needs network lite0 or lite1 or lite2"),
        ("freeze", 3, r"give freeze \(7\)"),
        ("weights", None, "give weights"),
        ("blur", 0.2, "blur has no effect with pixels"),
        ("device", "cuda", "trains on the CPU"),
        ("cache", 2, "cache has no effect with pixels"),
        ("pixels", 0, "pixels must be positive"),
    ],
)
def test_settings_that_cannot_work_on_features_are_refused(features_config, key, value, message):
    with pytest.raises(UsageError, match=message):
        dataclasses.replace(features_config().training, **{key: value})


def test_frozen_stages_need_weights(features_config):
    with pytest.raises(UsageError, match="freeze would keep an encoder of random weights"):
        dataclasses.replace(features_config().training, pixels=None, weights=None)


def test_committees_are_refused_on_features(features_config):
    with pytest.raises(UsageError, match=r"flip does not work with .training. pixels"):
        features_config(methods={"vote": {"acquisition": "vote-entropy", "flip": True}})
