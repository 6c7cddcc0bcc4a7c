"""The whole loop on synthetic scenes: what it leaves and shares, and that kills do not show."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deal.loop.by_recipe as by_recipe
import deal.loop.files as files
from deal.errors import PoolError, UsageError
from deal.loop.experiment import run_loop
from deal.loop.labeled import read_labeled
from deal.loop.pool import open_data
from deal.loop.table import read_experiment
from deal.report.loop import report_loop
from deal.results.reading import read_results
from deal.synthetic.scenes import CLASSES
from deal.training.checkpoint import load_checkpoint
from tests.helpers.cityscapes import write_cityscapes
from tests.helpers.labeled import write_labeled
from tests.helpers.models import metadata, save_model


def outcome(folder: Path) -> dict[str, str]:
    """Every labeled set, selection and metric of the runs, by place."""
    kept = ("labeled.csv", "selection.csv", "metrics.json", "results.csv")
    paths = [p for p in sorted(folder.rglob("*")) if p.name in kept and "results" not in p.parts]
    return {
        str(path.relative_to(folder)): path.read_text().replace(str(folder), "") for path in paths
    }


@pytest.mark.slow
@pytest.mark.usefixtures("kept_exports")
def test_methods_share_the_first_round_and_pick_by_the_exported_network(make_config):
    config = make_config(
        rounds__labeled=[3, 5], scoring__engine="ort", methods={"ds": {"acquisition": "ds"}}
    )
    run_loop(config)
    common, run = config.folder / "common" / "seed0", config.folder / "ds-seed0"
    assert (common / "model.onnx").stat().st_size > 10_000
    assert (common / "metrics.json").read_text() == (run / "round-1" / "metrics.json").read_text()
    picks = json.loads((run / "round-1" / "selection.json").read_text())
    first, second = (read_labeled(run / f"round-{i}" / "labeled.csv") for i in (1, 2))
    assert second == (*first, *(row["id"] for row in picks["selection"]))
    assert picks["acquisition"] == "ds:none"
    assert not (run / "round-2" / "checkpoint.pt").exists()
    with open(config.folder / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["method"], row["round"], row["labeled"]) for row in rows] == [
        ("ds", "1", "3"),
        ("ds", "2", "5"),
    ]
    assert 0 <= float(rows[1]["miou"]) <= 1


@pytest.mark.slow
def test_networks_of_later_rounds_are_deleted_with_their_dropout_inputs_too(
    make_config, monkeypatch
):
    exports = []

    def export(checkpoint, model, *, dropout, **options):
        exports.append(model)
        count = len(CLASSES)
        masks = [{"input": "mask", "channels": count, "rate": 0.5}] if dropout else []
        props = metadata(count, dropout=masks)
        save_model(model, num_classes=count, dropout=dropout, props=props)

    monkeypatch.setattr("deal.export.onnx.export_checkpoint", export)
    method = {"acquisition": "bald", "dropout_passes": 2}
    config = make_config(
        rounds__labeled=[3, 4, 5],
        training__epochs=1,
        scoring__engine="ort",
        methods={"bald": method},
    )
    run_loop(config)
    assert [path.name for path in exports] == ["model-dropout.onnx"] * 2
    assert list(config.folder.rglob("*.onnx")) == exports[:1]
    assert {path.parent.parent.name for path in config.folder.rglob("*.pt")} == {"common"}


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.slow
def test_a_run_killed_before_and_after_every_file_ends_with_the_same_selections_and_metrics(
    make_config, tmp_path, monkeypatch
):
    whole = make_config(output=str(tmp_path / "whole"))
    run_loop(whole)
    config = make_config()
    seen: dict[Path, int] = {}

    def deadly(write, place):
        def wrapped(*arguments):
            path = next(a for a in arguments if isinstance(a, Path))
            seen[path] = seen.get(path, 0) + 1
            if seen[path] == 1 and place == "before":
                raise Killed
            write(*arguments)
            if seen[path] == 1:
                raise Killed

        return wrapped

    kills = 0
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_text", deadly(files.write_text, "after"))
        patch.setattr(by_recipe, "save_atomically", deadly(by_recipe.save_atomically, "before"))
        patch.setattr(by_recipe, "save_checkpoint", deadly(by_recipe.save_checkpoint, "after"))
        while True:
            try:
                run_loop(config)
                break
            except Killed:
                kills += 1
    assert kills > 20
    assert outcome(config.folder) == outcome(whole.folder)


@pytest.mark.slow
def test_a_round_that_was_deleted_comes_back_the_same(make_config):
    """Its picks need the network of the round before, which is trained once more."""
    config = make_config(methods={"ds": {"acquisition": "ds"}}, training__epochs=1)
    run_loop(config)
    before = read_experiment(config.folder).runs
    shutil.rmtree(config.folder / "ds-seed0/round-3")
    run_loop(config)
    assert read_experiment(config.folder).runs == before


@pytest.mark.slow
def test_two_methods_of_a_seed_have_one_start_and_two_seeds_have_two(make_config):
    config = make_config(seeds=[0, 1], rounds__labeled=[3, 5], training__epochs=1)
    report = run_loop(config)
    assert report.finished == ("random-seed0", "ds-seed0", "random-seed1", "ds-seed1")
    runs = read_experiment(config.folder).runs
    first = {(run.method, run.seed): run.rounds[0] for run in runs}
    assert first["random", 0] == first["ds", 0]
    assert first["random", 0].labeled != first["random", 1].labeled
    # Methods and seeds come later; what is there is not run again.
    more = make_config(
        seeds=[0, 1],
        rounds__labeled=[3, 5],
        training__epochs=1,
        methods={
            "random": {"acquisition": "random"},
            "plain": {"acquisition": "entropy", "difficulty_loss": False},
            "own": {"acquisition": "ds", "uncertainty": True},
        },
    )
    run_loop(more, seeds=[0])
    after = read_experiment(config.folder)
    assert after.methods() == ("ds", "own", "plain", "random")
    own = next(run for run in after.runs if run.method == "own")
    assert own.rounds[0].labeled == first["ds", 0].labeled
    run = json.loads((config.folder / "ds-seed0/run.json").read_text())
    assert "uncertainty" not in run["settings"]
    head = load_checkpoint(config.folder / "common/seed0-with-uncertainty/checkpoint.pt")[0].head()
    assert head.uncertainty_weight is not None
    plain = next(run for run in after.runs if run.method == "plain")
    assert plain.rounds[0].labeled == first["ds", 0].labeled
    assert plain.rounds[0].metrics != first["ds", 0].metrics
    text = report_loop([config.folder])[0].to_markdown()
    assert "| ds |" in text
    assert "## Difference to random" in text


@pytest.mark.slow
def test_the_pool_of_a_round_can_be_a_common_random_part(make_config, monkeypatch):
    config = make_config(rounds__pool_subset="40%", training__epochs=1)
    run_loop(config, methods=["random"])
    seen, _ = open_data(config)
    for number in (1, 2):
        folder = config.folder / "random-seed0"
        before = read_labeled(folder / f"round-{number}" / "labeled.csv")
        after = read_labeled(folder / f"round-{number + 1}" / "labeled.csv")
        size = config.rounds.subset(12 - len(before))
        assert set(after[len(before) :]) <= seen.candidates(0, number, before, size)


@pytest.mark.slow
def test_fixed_steps_are_the_same_number_in_every_round(make_config):
    config = make_config(training__epochs=None, training__steps=4, rounds__labeled=[3, 5])
    run_loop(config, methods=["random"])
    for folder in (config.folder / "common" / "seed0", config.folder / "random-seed0" / "round-2"):
        records = [
            json.loads(line) for line in (folder / "training.jsonl").read_text().splitlines()
        ]
        assert sum(record["steps"] for record in records) == 4
        assert json.loads((folder / "timing.json").read_text())["steps"] == 4


@pytest.fixture
def folder_data(tmp_path):
    """A folder of 6 images each for train and val."""
    root = tmp_path / "data"
    rng = np.random.default_rng(0)
    pairs = [
        (rng.integers(0, 256, (32, 48, 3), np.uint8), rng.integers(0, 2, (32, 48)))
        for _ in range(6)
    ]
    for split in ("train", "val"):
        write_labeled(root, split, pairs)
    (root / "classes.json").write_text('{"classes": ["road", "sky"]}')
    return root


@pytest.mark.slow
@pytest.mark.parametrize("killed_in", ["training", "picking"])
def test_a_half_done_run_goes_on_where_its_folder_and_the_data_were_moved(
    make_config, folder_data, tmp_path, monkeypatch, killed_in
):
    def config(output, root, **changes):
        data = {"dataset": "folder", "root": str(root), "sequence_from": "^(frame)"}
        methods = {"ds": {"acquisition": "ds", "min_gap": "1f"}}
        rounds = {"labeled": [2, 4, 5]}
        return make_config(output=str(output), data=data, methods=methods, rounds=rounds, **changes)

    def without_roots(folder):
        roots = str(folder_data), str(tmp_path / "disk")  # picks say where their images lay
        texts = outcome(folder)
        return {n: text.replace(roots[0], "").replace(roots[1], "") for n, text in texts.items()}

    save = by_recipe.save_atomically

    def kill_after_an_epoch(values, path):
        save(values, path)
        if "round-2" in str(path):
            raise Killed

    def kill_once_scored(*sources, **options):
        raise Killed

    whole, here = (config(tmp_path / name, folder_data) for name in ("whole", "here"))
    run_loop(whole)
    with monkeypatch.context() as patch:
        if killed_in == "training":
            patch.setattr(by_recipe, "save_atomically", kill_after_an_epoch)
        else:
            patch.setattr("deal.loop.picking.select", kill_once_scored)
        with pytest.raises(Killed):
            run_loop(here)
    assert (here.folder / "ds-seed0/round-2/training.pt").exists() == (killed_in == "training")
    for source, target in ((folder_data, "disk"), (tmp_path / "here", "there")):
        source.rename(tmp_path / target)
    for path in (tmp_path / "disk").rglob("*.png"):  # as a copy that keeps no times
        os.utime(path, (1, 1))
    there = config(tmp_path / "there", tmp_path / "disk", training__device="cpu")
    assert run_loop(there).finished == ("ds-seed0",)
    assert without_roots(there.folder) == without_roots(whole.folder)


def relabel(path: Path, value: int, size: tuple[int, int] = (48, 32)) -> None:
    Image.new("L", size, value).save(path)


def without_images(root: Path) -> None:
    for path in (root / "val/images").iterdir():
        path.unlink()


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda root: (root / "val/labels/frame_000.png").unlink(), "frame_000.png has no label"),
        (
            lambda root: relabel(root / "train/labels/frame_001.png", 0, (40, 32)),
            "frame_001.png is 40x32, but its image is 48x32",
        ),
        (
            lambda root: relabel(root / "train/labels/frame_002.png", 2),
            "frame_002.png has index 2; allowed are 0…1 and 255",
        ),
        (without_images, "val/images has no images; every split needs at least one"),
        (lambda root: (root / "train").rename(root / "training"), "No such file or directory"),
        (
            lambda root: [relabel(path, 255) for path in (root / "val/labels").iterdir()],
            "has no labeled pixel",
        ),
        (lambda root: (root / "classes.json").unlink(), "it must hold"),
        (
            lambda root: (root / "train/images/frame_003.png").write_bytes(b"no image"),
            "frame_003.png cannot be read",
        ),
    ],
)
def test_data_are_checked_before_training(make_config, folder_data, untrained, break_it, message):
    break_it(folder_data)
    config = make_config(
        data={"dataset": "folder", "root": str(folder_data)}, rounds__labeled=[2, 4]
    )
    with pytest.raises(PoolError, match=message):
        run_loop(config)
    assert not config.folder.exists()


def test_a_data_set_without_test_cannot_be_evaluated_on_it(make_config, folder_data, untrained):
    config = make_config(
        data={"dataset": "folder", "root": str(folder_data), "evaluate": "test"},
        rounds__labeled=[2, 4],
    )
    with pytest.raises(PoolError, match="has no test split to evaluate on"):
        run_loop(config)


@pytest.mark.slow
def test_cityscapes_is_a_pool_of_its_cities_without_what_is_held_out(make_config, tmp_path):
    root = tmp_path / "cityscapes"
    write_cityscapes(root, train={"aachen": 8, "ulm": 4}, val={"lindau": 3})
    config = make_config(
        data={
            "dataset": "cityscapes",
            "root": str(root),
            "size": [32, 64],
            "sequence_from": "^([^_]+)_",
        },
        rounds__labeled=[4, 6],
        training__epochs=1,
        methods={"ds": {"acquisition": "ds"}},
    )
    run_loop(config)
    pool, data = open_data(config)
    val = {sample.path.name for sample in data.val}
    assert len(pool.ids) == 10
    assert set(pool.drives) == {"aachen", "ulm"}
    assert not val & set(pool.ids)
    scored = read_results(config.folder / "ds-seed0/round-1/results")
    assert scored["id"].to_pylist() == list(pool.ids)
    assert set(scored["width"].to_pylist()) == {64}
    assert len(read_labeled(config.folder / "ds-seed0/round-2/labeled.csv")) == 6
    metrics = json.loads((config.folder / "ds-seed0/round-2/metrics.json").read_text())
    assert len(metrics["iou"]) == 19


@pytest.mark.slow
def test_full_supervision_is_trained_once_a_seed_and_is_no_method_of_the_table(make_config):
    config = make_config(full=True)
    report = run_loop(config, methods=["full"])
    assert report.finished == ("full-seed0",)
    assert len(read_labeled(config.folder / "full-seed0" / "labeled.csv")) == 12
    experiment = read_experiment(config.folder)
    assert experiment.runs == ()
    assert 0 < experiment.full[0]["miou"] < 1
    first = (config.folder / "full-seed0" / "metrics.json").stat().st_mtime_ns
    run_loop(config, methods=["full"])
    assert (config.folder / "full-seed0" / "metrics.json").stat().st_mtime_ns == first
    with pytest.raises(
        UsageError, match="no method 'full': the methods are random, ds; full = true"
    ):
        run_loop(make_config(), methods=["full"])
