"""The pages of results are made of the runs, by ``docs/known.py``."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path

import pytest

from deal.loop.config import read_config
from deal.loop.statistics import student_quantile
from deal.loop.table import Experiment, Round, Run

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


def test_runs_that_are_not_finished_are_in_no_table(trial):
    """Neither a seed that lacks its last round nor a method that has no whole run."""

    def tables():
        makers = (trial.round_table, trial.class_table)
        return [*(make("trial") for make in makers), trial.effect_table("trial", [])]

    whole = tables()
    needed = trial.needed_table("trial", "all")
    text = (trial.DATA / "trial.csv").read_text()
    begun = "".join(
        f"{name},9,{number},{labeled},0.9,0.9\n"
        for name in ("random", "b", "new")
        for number, labeled in ((1, 8), (2, 16))
    )
    (trial.DATA / "trial.csv").write_text(text + begun)
    (trial.DATA / "all-full.csv").write_text((trial.DATA / "all-full.csv").read_text() + "9,0.5\n")
    assert tables() == whole
    row = {"experiment": "trial", "method": "b", "against": "random"}
    assert trial.effect(row) == ("+2.0 ± 2.5", "3")
    assert trial.effect({**row, "method": "new"}) == ("Not run yet", "–")
    assert trial.needed_table("trial", "all")[2:] == needed[2:]


def test_every_preregistered_experiment_can_be_read():
    files = sorted(ROOT.glob("docs/results/pretrained/*.toml"))
    assert len(files) == 15
    for file in files:
        config = read_config(file)
        assert config.experiment == file.stem
        test = config.data.evaluate == "test"
        tested = range(300, 305) if config.experiment == "pretrained-layers" else range(200, 210)
        assert config.seeds == tuple(tested if test else range(100, 105))


def test_claims_name_the_functions_that_their_experiments_ran():
    """DS alone and DS × entropy are two functions; a claim about one is none about the other."""
    rows = tomllib.loads((ROOT / "docs/results/known.toml").read_text())["rows"]
    checked = 0
    for row in rows:
        file = ROOT / f"docs/results/pretrained/{row.get('experiment')}.toml"
        if file.exists():
            methods = read_config(file).methods
            assert row["against"] in methods
            acquisition = methods[row["method"]].selection["acquisition"]
            product = " × entropy" in row["claim"]
            assert product == (acquisition == "ds:entropy"), row["claim"]
            checked += 1
    assert checked > 10


def test_a_baseline_that_does_not_get_there_counts_with_its_last_number_of_labels(trial):
    assert trial._ratio(24.0, float("inf"), 64.0) == 24 / 64
    assert trial._ratio(float("inf"), float("inf"), 64.0) == 1
    assert trial._ratio(24.0, 48.0, 64.0) == 0.5


def test_a_row_may_ask_for_a_surer_interval_and_the_tables_say_so(trial):
    row = {"experiment": "trial", "method": "b", "against": "random", "level": 0.975}
    half = student_quantile(0.9875, 2) / 3**0.5
    assert trial.effect(row) == (f"+2.0 ± {half:.1f} (97.5 %)", "3")
    with pytest.raises(SystemExit, match=r"write a share such as 0\.975"):
        trial.effect({**row, "level": 97.5})
    line = f"| `b` − `random` | +2.0 ± {half:.1f} (97.5 %) | +2.0 ± 2.5 | +2.0 ± 2.5 | 3 |"
    assert trial.effect_table("trial", [row])[2:] == [line]
    assert "%" not in trial.effect_table("trial", [])[2]


def test_effects_are_differences_from_every_baseline_each_pair_once(trial):
    text = (trial.DATA / "trial.csv").read_text()
    body = text.splitlines()[1:7]
    images = [line.replace("random", "images") for line in body if line.startswith("random")]
    (trial.DATA / "trial.csv").write_text(text + "\n".join(images) + "\n")
    pairs = [line.split("|")[1].strip() for line in trial.effect_table("trial", [])[2:]]
    assert pairs == ["`b` − `random`", "`images` − `random`", "`b` − `images`"]


def experiment_of(picks, rounds=2):
    """One run of ``b`` that began with a.jpg and picked ``picks``."""
    first = ("a.jpg",)
    each = (Round(1, first, {}), Round(2, (*first, *picks), {}))[:rounds]
    shared = {"counts": [1, 3], "drives": dict.fromkeys(("a.jpg", "b.jpg", "c.jpg", "d.jpg"))}
    return Experiment(Path("trial"), shared, (Run("b", 7, {}, each),), {})


def test_picks_are_counted_by_kind_beside_the_pool(trial):
    kinds = {"a.jpg": "dark", "b.jpg": "dark", "c.jpg": "dark", "d.jpg": "rare", "e.jpg": "other"}
    rows = trial.picks_by_kind(experiment_of(["c.jpg", "d.jpg"]), kinds)
    assert rows == [["b", 7, "dark", 1, 3], ["b", 7, "rare", 1, 1]]
    assert trial.picks_by_kind(experiment_of(["c.jpg"], rounds=1), kinds) == []
    with pytest.raises(SystemExit, match=r"no kind, such as a\.jpg"):
        trial.picks_by_kind(experiment_of(["c.jpg"]), {"b.jpg": "", "c.jpg": "", "d.jpg": ""})
    table = ["method,seed,kind,picks,pool", *(",".join(map(str, row)) for row in rows)]
    (trial.DATA / "trial-kinds.csv").write_text("\n".join(table) + "\n")
    lines = trial.kind_table("trial")
    assert lines[2:] == ["| pool | 75.0 | 25.0 | – |", "| `b` | 50.0 | 50.0 | 1 |"]
    page = trial.filled("<!-- known kinds none --><!-- /known -->", [])
    assert "Not run yet." in page


def test_kinds_come_from_a_file_with_ids_and_kinds(trial, tmp_path, capsys):
    (tmp_path / "images.csv").write_text("id,split,kind\na.jpg,train,dark\n")
    assert trial.read_kinds(tmp_path / "images.csv") == {"a.jpg": "dark"}
    (tmp_path / "bad.csv").write_text("name,kind\n")
    with pytest.raises(SystemExit, match="needs the columns id and kind"):
        trial.read_kinds(tmp_path / "bad.csv")
    with pytest.raises(SystemExit):
        trial.main(["--kinds", "images.csv"])
    assert "give their folder with --from" in capsys.readouterr().err
