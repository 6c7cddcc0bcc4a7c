"""``deal recommend``: a policy from what a scored pool shows."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from deal.cli import deal, run
from deal.errors import ResultsError
from deal.report.recommend import PoolFacts, pool_facts, recommend
from deal.results.output import Output

ROOT = Path(__file__).parents[2]
PLAIN = PoolFacts(images=100, duplicates=0.05, regions=False, difficulty=True)


def _stored(folder, thumbnails, *, regions=None, **more):
    count = len(thumbnails)
    names = [f"{index}.jpg" for index in range(count)]
    columns = {
        "id": names, "uri": names, "source_version": ["v"] * count, "status": ["ok"] * count,
        "n_pixels": [100] * count, "entropy_mean": [0.1] * count, "thumbnail": thumbnails, **more,
    }  # fmt: skip
    with Output.open(folder, settings={}, classes=("road",)) as output:
        output.write(columns, regions)
    return folder


def _thumbnails(kinds):
    rng = np.random.default_rng(0)
    scenes = rng.integers(0, 256, (max(kinds) + 1, 192), dtype=np.uint8)
    return [scenes[kind].tobytes() for kind in kinds]


def test_facts_are_counted_from_the_rows(tmp_path):
    kinds = [0, 0, 0, 1, 2, 2, 3, 0]
    out = _stored(tmp_path / "out", _thumbnails(kinds))
    facts = pool_facts(out)
    assert facts == PoolFacts(8, 0.5, regions=False, difficulty=False)
    assert recommend(facts).options == "--acquisition entropy --diverse 3 --budget N"


def test_images_that_were_only_screened_count_as_images_of_the_pool(tmp_path, capsys):
    kinds = [0, 0, 0, 1, 2, 3, 4, 5]
    status = ["ok"] * 3 + ["skipped"] * 4 + ["error"]
    difficulty = [0.5] * 3 + [None] * 5
    out = _stored(
        tmp_path / "out", _thumbnails(kinds), status=status, difficulty_mean=difficulty,
    )  # fmt: skip
    facts = pool_facts(out)
    assert facts == PoolFacts(7, 1 - 5 / 7, regions=False, difficulty=True, skipped=4)
    assert run(deal, ["recommend", str(out)], "deal") == 0
    assert "note: 4 of these were only screened" in capsys.readouterr().err


def test_results_without_signatures_and_without_images_say_so(tmp_path):
    out = _stored(tmp_path / "out", [None, None])
    assert pool_facts(out).duplicates is None
    failed = _stored(tmp_path / "bad", [None], status=["error"], error_code=["io"])
    with pytest.raises(ResultsError, match="score the pool first"):
        pool_facts(failed)


@pytest.mark.parametrize(
    ("changes", "labeled", "options"),
    [
        ({}, None, "--acquisition random --budget N"),
        ({"duplicates": 0.8}, 50, "--acquisition ds:entropy --diverse 3 --budget N"),
        ({"duplicates": 0.8, "regions": True}, 0, "--acquisition random --budget N"),
        (
            {"regions": True},
            50,
            "--acquisition balanced:entropy --stochastic power --budget regions:N",
        ),
        ({"duplicates": None}, 50, "--acquisition random --budget N"),
    ],
)
def test_rules(changes, labeled, options):
    values = {name: getattr(PLAIN, name) for name in PLAIN.__dataclass_fields__}
    advice = recommend(PoolFacts(**{**values, **changes}), labeled)
    assert advice.options == options
    assert (ROOT / "docs" / advice.page).exists()


@pytest.mark.parametrize(
    ("name", "kinds", "alike"), [("my out", [0, 1, 2, 3], "0%"), ("-out", [0, 0, 0, 1], "50%")]
)
def test_the_command_prints_a_selection_that_runs(
    tmp_path, monkeypatch, capsys, name, kinds, alike
):
    monkeypatch.chdir(tmp_path)
    pixels = [[100]] * len(kinds)
    _stored(tmp_path / name, _thumbnails(kinds), class_pixels=pixels, class_entropy_sum=pixels)
    assert run(deal, ["recommend", "--", name], "deal") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"4 images, near-duplicates {alike}, no regions stored"
    asked = ["2" if word == "N" else word for word in shlex.split(lines[1])[1:]]
    assert run(deal, asked, "deal") == 0
    capsys.readouterr()
    assert run(deal, ["recommend", "--labeled", "0", "--json", "--", name], "deal") == 0
    assert json.loads(capsys.readouterr().out)["shown"] is False


def test_what_is_said_of_regions_selects_regions(tmp_path):
    """Both for cells and for components that get one click each, which is a region each."""
    regions = {
        "id": ["0.jpg", "0.jpg"], "region": [0, 1], "x0": [0, 5], "y0": [0, 0], "x1": [5, 10],
        "y1": [10, 10], "n_pixels": [50, 50], "entropy_mean": [0.1, 0.9],
        "majority_class": [0, 0],
    }  # fmt: skip
    out = _stored(tmp_path / "out", _thumbnails([0]), regions=regions, class_pixels=[[100]])
    advice = recommend(pool_facts(out))
    said = [advice.options, *re.findall(r"--acquisition .* regions:N", advice.why)]
    assert len(said) == 2
    for options in said:
        asked = options.replace("regions:N", "regions:1").split()
        assert run(deal, ["select", str(out), *asked, "--output", str(tmp_path)], "deal") == 0
        with open(tmp_path / "selection.csv", newline="") as file:
            picks = [row["region"] for row in csv.DictReader(file)]
        assert len(picks) == 1
        assert picks == ["1"] or "--stochastic" in options
