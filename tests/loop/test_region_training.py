"""What trainings get of labeled regions: no other pixel than these."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PIL import Image

import deal.loop.by_recipe as by_recipe
from deal.errors import ModelError, OutputError
from deal.loop.by_recipe import RecipeLearner
from deal.loop.experiment import run_loop
from deal.loop.labeled import (
    Region,
    image_of,
    only_regions,
    read_labeled,
    write_labeled,
)
from deal.loop.table import read_experiment
from tests.helpers.cityscapes import write_cityscapes
from tests.helpers.region_loops import GRID, ROUNDS, SIZE, changed


@pytest.mark.slow
def test_the_command_gets_labels_that_show_the_labeled_regions_alone(make_regions, coloured):
    config = make_regions(keep_models=True)
    run_loop(config)
    folder = config.folder / "ds-seed0/round-3"
    labeled = read_labeled(folder / "labeled.csv")
    with open(folder / "training/labeled.csv", newline="") as file:
        rows = {row["id"]: row for row in csv.DictReader(file)}
    assert rows.keys() == set(map(image_of, labeled))
    partly = 0
    for name, row in rows.items():
        label = np.asarray(Image.open(coloured / "train/labels" / name))
        given = np.asarray(Image.open(row["label"]))
        numbers = [i.number for i in labeled if isinstance(i, Region) and i.image == name]
        if name in labeled:
            assert row["label"] == str(coloured / "train/labels" / name)
            assert not numbers
            continue
        partly += 1
        columns = GRID.shape(SIZE)[1]
        for y in range(SIZE[0]):
            for x in range(SIZE[1]):
                shown = y // 8 * columns + x // 8 in numbers
                assert given[y, x] == (label[y, x] if shown else 9)
    assert partly > 1


@pytest.mark.slow
def test_a_model_whose_images_have_another_size_than_before_cannot_pick(make_regions, tmp_path):
    resize = (
        "model = onnx.load(sys.argv[2])\n"
        "contract = json.loads(model.metadata_props[0].value)\n"
        "contract['input_size'] = [8 * len(open(sys.argv[1]).readlines()), 52]\n"
        "model.metadata_props[0].value = json.dumps(contract)\n"
        "onnx.save(model, sys.argv[2])\n"
    )
    config = make_regions(training=changed(tmp_path, after=resize))
    with pytest.raises(ModelError, match=r"has several \(24x52, .*, the same in every round"):
        run_loop(config)


def test_images_of_several_sizes_have_no_common_cells(make_regions, coloured):
    for kind in ("images", "labels"):
        path = coloured / "train" / kind / "frame_004.png"
        Image.open(path).resize((48, 24), Image.Resampling.NEAREST).save(path)
    with pytest.raises(ModelError, match=r"several \(24x48, 36x52\): give it an input_size"):
        run_loop(make_regions())


@pytest.fixture
def trained_by_deal(make_regions, coloured):
    """An experiment that deal trains itself."""

    def configure(**changes):
        training = {"steps": 9, "width": 0.1, "batch_size": 2, "grid": [4, 6], "threads": 1}
        return make_regions(
            data={"dataset": "folder", "root": str(coloured), "size": [32, 48]},
            training=training,
            scoring={"engine": "torch", "device": "cpu", "sessions": 1, "threads": 1},
            **changes,
        )

    return configure


@pytest.mark.slow
def test_deal_trains_on_the_labeled_regions_alone(trained_by_deal, monkeypatch):
    seen = []
    config = trained_by_deal()
    from deal.training.batches import batch_maker

    def recorded(samples, augment, device):
        seen.append(samples)
        return batch_maker(samples, augment, device)

    monkeypatch.setattr("deal.training.epochs.batch_maker", recorded)
    run_loop(config)
    pool = RecipeLearner(config, config.training).pool
    labeled = read_labeled(config.folder / "ds-seed0/round-3/labeled.csv")
    samples = seen[-1]
    assert [f"{sample.name}.png" for sample in samples] == [
        pool.ids[index] for index in pool.indices({*map(image_of, labeled)})
    ]
    for sample in samples:
        regions = [item for item in labeled if image_of(item) == f"{sample.name}.png"]
        full = np.asarray(Image.open(sample.path.parent.parent / "labels" / sample.path.name))
        if regions[0] != f"{sample.name}.png":
            assert regions[0].raster == (32, 48)
            full = only_regions(full, regions, ROUNDS, 9).label
        assert (sample.label == full).all()


@pytest.mark.slow
def test_a_training_on_regions_goes_on_after_a_kill_unless_they_are_others(
    trained_by_deal, tmp_path, monkeypatch
):
    rounds = {"labeled": [2, 4], "regions": "grid:8"}
    whole = trained_by_deal(output=str(tmp_path / "whole"), rounds=rounds)
    run_loop(whole)
    config = trained_by_deal(rounds=rounds)
    write, seen = by_recipe.save_atomically, []

    class Killed(BaseException):
        pass

    def deadly(values, path):
        write(values, path)
        seen.append(path)
        if "round-2" in str(path):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(by_recipe, "save_atomically", deadly)
        with pytest.raises(Killed):
            run_loop(config)
    folder = config.folder / "ds-seed0/round-2"
    labeled = read_labeled(folder / "labeled.csv")
    write_labeled(folder / "labeled.csv", labeled[:-1])
    with pytest.raises(OutputError, match="was trained on other images"):
        run_loop(config)
    write_labeled(folder / "labeled.csv", labeled)
    run_loop(config)
    assert sum("round-2" in str(path) for path in seen) == 1
    assert read_experiment(config.folder).runs == read_experiment(whole.folder).runs


@pytest.mark.slow
def test_void_of_cityscapes_files_is_255(make_regions, tmp_path):
    root = tmp_path / "cityscapes"
    write_cityscapes(root, train={"aachen": 6, "ulm": 4}, val={"lindau": 3})
    classes = (
        "train_colours.NAMES = tuple('abcdefghijklmnopqrs')\n"
        "train_colours.HEAD['weight'] = [0.1] * 19\n"
    )
    config = make_regions(
        data={"dataset": "cityscapes", "root": str(root)},
        training=changed(tmp_path, before=classes),
        rounds={"labeled": [2, 3], "regions": "grid:8"},
        keep_models=True,
    )
    run_loop(config)
    written = sorted((config.folder / "ds-seed0/round-2/training/labels").iterdir())
    assert written
    for path in written:
        city, name = path.name.split("_")[0], path.name.removesuffix("_leftImg8bit.png.png")
        label = np.asarray(Image.open(root / f"gtFine/train/{city}/{name}_gtFine_labelIds.png"))
        given = np.asarray(Image.open(path))
        assert (given == 255).any()
        assert (given == label)[given != 255].all()
