"""Loops that label regions: as many pixels as images have, and labels that show no others."""

from __future__ import annotations

import csv
import json
from collections import Counter
from itertools import product

import numpy as np
import pytest
from PIL import Image

import deal.loop.files as files
from deal import select
from deal.errors import DealError, UsageError
from deal.loop.experiment import run_loop
from deal.loop.labeled import (
    Region,
    area,
    image_of,
    images_of,
    only_regions,
    read_labeled,
    regions_of,
)
from deal.loop.table import read_experiment
from deal.report.loop import report_loop
from deal.results.reading import read_regions
from tests.helpers.region_loops import ROUNDS, SIZE


def pixels(items) -> int:
    total = 0
    for item in items:
        label = np.zeros(SIZE, np.uint8)
        if isinstance(item, Region):
            label = only_regions(label, [item], ROUNDS, 1).label
        total += int((label == 0).sum())
    return total


@pytest.mark.slow
def test_a_round_labels_as_many_pixels_as_its_images_have_and_the_best_regions(make_regions):
    config = make_regions()
    run_loop(config)
    run = config.folder / "ds-seed0"
    before = read_labeled(run / "round-1/labeled.csv")
    assert all(isinstance(item, str) for item in before)
    for number, count in ((2, 3), (3, 5)):
        labeled = read_labeled(run / f"round-{number}/labeled.csv")
        assert labeled[: len(before)] == before
        assert len(set(labeled)) == len(labeled)
        whole = {item for item in labeled if isinstance(item, str)}
        assert whole == set(before[:2])
        assert not whole & {item.image for item in labeled if isinstance(item, Region)}
        assert 0 <= count * SIZE[0] * SIZE[1] - pixels(labeled) < 64
        # Nothing that was left out is better than what was taken of whole cells.
        table = read_regions(run / f"round-{number - 1}/results").to_pydict()
        scores = {
            (image, region): score
            for image, region, score in zip(
                table["id"], table["region"], table["difficulty_mean"], strict=True
            )
        }
        picks = [(item.image, item.number) for item in labeled[len(before) :]]
        known = {(i.image, i.number) for i in before if isinstance(i, Region)}
        left = [k for k in scores if k not in known and k not in picks and k[0] not in whole]
        assert min(scores[key] for key in picks[:-5]) >= max(scores[key] for key in left)
        before = labeled
    with open(config.folder / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["labeled"] for row in rows] == ["2", "3", "5"]


@pytest.mark.slow
def test_a_loop_killed_after_every_file_picks_the_same_regions(make_regions, tmp_path, monkeypatch):
    methods = {"ds": {"acquisition": "ds", "stochastic": "power"}}
    whole = make_regions(output=str(tmp_path / "whole"), methods=methods)
    run_loop(whole)
    config, kills, write, seen = make_regions(methods=methods), 0, files.write_text, set()

    class Killed(BaseException):
        pass

    def deadly(path, text):
        write(path, text)
        if path not in seen:
            seen.add(path)
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_text", deadly)
        while True:
            try:
                run_loop(config)
                break
            except Killed:
                kills += 1
    assert kills > 10
    assert read_experiment(config.folder).runs == read_experiment(whole.folder).runs


@pytest.mark.slow
def test_methods_may_pick_whole_images_or_few_regions_of_each(make_regions):
    methods = {
        "random": {"acquisition": "random"},
        "few": {"acquisition": "entropy", "max_per_image": 9},
        "images": {"acquisition": "random", "table": "images"},
    }
    config = make_regions(methods=methods, seeds=[0, 1])
    run_loop(config)
    experiment = read_experiment(config.folder)
    runs = {run.method: run for run in experiment.runs if run.seed == 0}
    assert {type(item) for item in runs["images"].picks()} == {str}
    assert len(runs["images"].picks()) == 3
    other = next(r for r in experiment.runs if (r.method, r.seed) == ("random", 1))
    assert (
        json.loads((config.folder / "random-seed1/round-1/selection.json").read_text())["seed"] == 1
    )
    assert other.picks() != runs["random"].picks()
    for name in ("random", "few"):
        assert {type(item) for item in runs[name].picks()} == {Region}
    assert not (config.folder / "images-seed0/round-1/results/regions").exists()
    second = runs["few"].rounds[1].labeled[2:]
    assert max(Counter(map(image_of, second)).values()) <= 9
    text = report_loop([config.folder])[0].to_markdown()
    assert "regions, `grid:8`, with as many pixels as that number of images; whole images" in text
    assert "| images | 3.0 | 3.0 | 1.0 |" in text  # of three picks three images, one of each
    picks = [run.picks() for run in experiment.runs if run.method == "few"]
    counted = [sum(map(len, picks)) / 2, sum(len(set(map(image_of, p))) for p in picks) / 2]
    assert f"| few | {counted[0]:.1f} | {counted[1]:.1f} |" in text
    assert counted[0] > 4 * counted[1]
    overlap = text.split("## Overlap of picks")[1].split("\n## ")[0]
    assert "| images | - |" in overlap
    assert "## Drives and scenes among the picks" in text


@pytest.mark.slow
def test_segments_get_their_dominant_class_for_one_click_each(make_regions, coloured):
    config = make_regions(
        rounds={
            "labeled": [2, 3, 4],
            "regions": "components:9",
            "label": "dominant",
            "sieve": 0.7,
            "budget": "clicks:4",
        },
        methods={
            "clasp": {"acquisition": "clasp"},
            "images": {"acquisition": "random", "table": "images"},
        },
        keep_models=True,
    )
    run_loop(config)
    run, seen = config.folder / "clasp-seed0", {}
    for number in (1, 2, 3):
        labeled = read_labeled(run / f"round-{number}/labeled.csv")
        clicked = [item for item in labeled if isinstance(item, Region)]
        assert len(clicked) == 4 * (number - 1)
        counted = json.loads((run / f"round-{number}/metrics.json").read_text())["labels"]
        assert (counted["images"], counted["clicks"]) == (2, len(clicked))
        full = {
            name: np.array(Image.open(coloured / "train/labels" / name))
            for name in images_of(labeled)
        }
        given, pixels = {}, 0
        for name, regions in regions_of(labeled).items():
            partly = only_regions(full[name], regions, config.rounds, 9)
            given[name], pixels = partly.label, pixels + int((partly.label != 9).sum())
        assert counted["pixels"] == pixels + sum(
            (full[n] != 9).sum() for n in full if n not in given
        )
        if number > 1:
            with open(run / f"round-{number}/training/labeled.csv", newline="") as file:
                for row in csv.DictReader(file):
                    if row["id"] in given:
                        shown = np.array(Image.open(row["label"]))
                        assert (shown == given[row["id"]]).all()
        for item in clicked:  # what is clicked is new, at least by half
            inside = area(item, item.raster, None)
            before = seen.setdefault(item.image, {})
            if item not in before:
                old = [mask for mask, round_ in before.values() if round_ < number]
                overlap = np.any(old, axis=0) & inside if old else np.zeros_like(inside)
                assert 2 * overlap.sum() < inside.sum()
                before[item] = inside, number
    whole = read_labeled(config.folder / "images-seed0/round-3/labeled.csv")
    assert len(whole) == 4
    with open(config.folder / "results.csv", newline="") as file:
        rows = {(row["method"], row["round"]): row for row in csv.DictReader(file)}
    assert rows["clasp", "3"]["clicks"] == "8"
    assert rows["images", "3"]["clicks"] == "0"
    assert float(rows["images", "3"]["wrong"]) == 0


@pytest.mark.slow
def test_superpixels_may_be_labeled_to_as_many_pixels_as_images_have(make_regions):
    pytest.importorskip("skimage")
    config = make_regions(rounds={"labeled": [2, 3, 4], "regions": "slic:12"})
    run_loop(config)
    for number, count in ((2, 3), (3, 4)):
        labeled = read_labeled(config.folder / f"ds-seed0/round-{number}/labeled.csv")
        spent = sum(SIZE[0] * SIZE[1] if isinstance(i, str) else i.pixels for i in labeled)
        largest = max(item.pixels for item in labeled if isinstance(item, Region))
        assert 0 <= count * SIZE[0] * SIZE[1] - spent < 2 * largest
        names = [(i.image, i.number) for i in labeled if isinstance(i, Region)]
        assert len(set(names)) == len(names)  # superpixels stay, so none is picked twice


@pytest.mark.slow
@pytest.mark.parametrize("table", ["regions", "images"])
def test_a_method_may_draw_by_its_scores_anew_in_every_round(make_regions, tmp_path, table):
    methods = {"power": {"acquisition": "ds", "stochastic": "power:1..9", "table": table}}
    config = make_regions(methods=methods, seeds=[0, 1])
    run_loop(config)
    asked = {}
    for seed, number in product((0, 1), (1, 2)):
        folder = config.folder / f"power-seed{seed}/round-{number}"
        document = json.loads((folder / "selection.json").read_text())
        how = {1: "power:1", 2: "power:9"}[number]
        assert document["stochastic"] == how
        asked[seed, number] = document["seed"]
        picks = [(row["id"], row["region"]) for row in document["selection"]][:10]
        options = {"acquisition": "ds", "exclude": folder / "labeled.csv", "table": table}
        drawn = select(folder / "results", **options, stochastic=how, seed=document["seed"])
        ranked = [(row["id"], row["region"]) for row in drawn.records()]
        assert picks == ranked[: len(picks)]
        if table == "regions":
            best = [
                (row["id"], row["region"])
                for row in select(folder / "results", **options).records()
            ]
            assert picks != best[:10]
    assert len(set(asked.values())) == 4
    again = make_regions(methods=methods, output=str(tmp_path / "again"))
    run_loop(again)
    name = "power-seed0/round-3/labeled.csv"
    assert (again.folder / name).read_bytes() == (config.folder / name).read_bytes()


def test_rules_that_leave_too_few_regions_end_the_run_with_their_name(make_regions):
    config = make_regions(methods={"strict": {"acquisition": "ds", "max_per_image": 1}})
    with pytest.raises(
        DealError,
        match=r"strict-seed0 round 1: the rules of \[methods.strict\] allow only regions of",
    ):
        run_loop(config)


def test_a_pool_without_enough_regions_is_not_called_a_matter_of_rules(make_regions):
    rounds = {"labeled": [2, 3], "regions": "components", "label": "dominant"}
    config = make_regions(rounds={**rounds, "budget": "clicks:99999"})
    with pytest.raises(
        DealError,
        match=r"regions of \d+ clicks are left in the pool, fewer than the 99999 .* end earlier",
    ):
        run_loop(config)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rounds": {"labeled": [2, 3], "regions": "hexagons:4"}}, r"must be grid:PX, slic:N or"),
        ({"rounds": {"labeled": [2, 3], "regions": "grid:0"}}, r"must be grid:PX"),
        (
            {"rounds": {"labeled": [2, 3], "regions": "grid:8", "pool_subset": "50%"}},
            "pool_subset works on images only",
        ),
        (
            {"training": {"epochs": 3, "batch_size": 2}},
            r"regions needs \[training\] steps instead of epochs",
        ),
        (
            {"methods": {"own": {"acquisition": "ds", "cost": "clicks"}}},
            r"\[methods.own\] a budget in pixels does not go with a cost in clicks",
        ),
        (
            {"methods": {"far": {"acquisition": "core-set"}}},
            r"\[methods.far\] .*regions",
        ),
        (
            {"methods": {"far": {"acquisition": "ds", "diverse": 2}}},
            r"\[methods.far\] diverse compares features of images",
        ),
        (
            {
                "rounds": {"labeled": [2, 3]},
                "methods": {"ds": {"acquisition": "ds", "max_per_image": 2}},
            },
            r"\[methods.ds\] max_per_image needs regions: give \[rounds\] regions",
        ),
    ],
)
def test_what_does_not_go_with_regions_is_refused(make_regions, changes, message):
    with pytest.raises(UsageError, match=message):
        make_regions(**changes)


def test_an_experiment_of_images_is_stored_as_before_there_were_regions(make_regions):
    shared = make_regions(rounds={"labeled": [2, 3]}).shared()
    assert "regions" not in shared["rounds"]
    assert make_regions().shared()["rounds"]["regions"] == "grid:8"
