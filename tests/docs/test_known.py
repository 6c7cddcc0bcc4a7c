"""The pages of results are made of the runs, by ``docs/known.py``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from deal.loop.config import read_config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def known():
    spec = importlib.util.spec_from_file_location("known", ROOT / "docs/known.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def trial(known, tmp_path, monkeypatch):
    """Three seeds in which b is 1, 2 and 3 points above a, after a common first round."""
    monkeypatch.setattr(known, "DATA", tmp_path)
    lines = ["method,seed,round,labeled,miou,iou:pole"]
    for method, gain in (("random", 0), ("b", 1)):
        for seed in range(3):
            for number, labeled in enumerate((8, 16, 32), 1):
                later = gain * (seed + 1) / 100 if number > 1 else 0
                lines.append(f"{method},{seed},{number},{labeled},{0.3 + number / 10 + later},0.5")
    (tmp_path / "trial.csv").write_text("\n".join(lines) + "\n")
    full = "".join(f"{seed},{0.6 / 0.95}\n" for seed in range(3))
    (tmp_path / "all-full.csv").write_text(f"seed,miou\n{full}")
    return known


def test_the_pages_are_those_of_the_runs(known):
    assert known.main(["--check"]) == 0, "run: python docs/known.py"


def test_an_effect_is_the_paired_difference_over_the_rounds(trial):
    row = {"experiment": "trial", "method": "b", "against": "random"}
    assert trial.effect(row) == ("+2.0 ± 2.5", "3")  # t of 2 degrees of freedom: 4.303 / sqrt(3)
    assert trial.effect({**row, "experiment": "none"}) == ("Not run yet", "–")


def test_a_page_gets_tables_and_what_was_not_run_says_so(trial):
    end = "<!-- /known -->"
    page = f"<!-- known rounds trial -->old{end} <!-- known classes none -->{end}"
    text = trial.filled(page, [])
    assert "old" not in text
    assert "| `random` | 40.0 ± 0.0 | 50.0 ± 0.0 | 60.0 ± 0.0 |" in text
    assert "Not run yet." in text
    assert trial.filled(text, []) == text


def test_labels_needed_are_compared_with_random_seed_by_seed(trial):
    lines = trial.needed_table("trial", "all")
    assert "| `random` | 32 | 1 |" in lines
    (mine,) = [line for line in lines if line.startswith("| `b` |")]
    assert float(mine.split("|")[2]) == pytest.approx(32 - 16 * 2 / 10, abs=0.1)


def test_every_preregistered_experiment_can_be_read():
    files = sorted(ROOT.glob("docs/results/pretrained/*.toml"))
    assert len(files) == 13
    for file in files:
        config = read_config(file)
        assert config.experiment == file.stem
        test = config.data.evaluate == "test"
        assert config.seeds == (tuple(range(200, 210)) if test else tuple(range(100, 105)))


def test_a_baseline_that_does_not_get_there_counts_with_its_last_number_of_labels(trial):
    assert trial._ratio(24.0, float("inf"), 64.0) == 24 / 64
    assert trial._ratio(float("inf"), float("inf"), 64.0) == 1
    assert trial._ratio(24.0, 48.0, 64.0) == 0.5
