"""Benchmarks: their arithmetic, their checks and their output; never their figures."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import deal
import deal.diversity
from deal.bench.report import Report, Row
from deal.bench.timing import Spread, interleave, ratios, spread
from tests.models import metadata, save_model


def test_spread_is_median_and_quartiles():
    assert spread([5.0, 1.0, 3.0, 2.0, 4.0]) == Spread(3.0, 2.0, 4.0, 5)
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0, 1)


def test_ratios_are_taken_round_by_round():
    assert ratios([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]).median == 3.0


def test_candidates_take_turns_and_warm_up_rounds_do_not_count():
    calls = []
    seconds = interleave(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=3, warmup=1
    )
    assert "".join(calls) == "abababab"
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


@pytest.mark.parametrize(
    ("target", "reached"),
    [(">= 10", True), (">= 12.5", False), ("<= 12", True), ("<= 11", False), (None, None)],
)
def test_a_row_knows_whether_it_met_its_target(target, reached):
    assert Row("x", Spread(12.0, 1.0, 90.0, 5), "ratio", target).reached is reached


def test_the_eager_peer_computes_what_the_kernel_computes():
    torch = pytest.importorskip("torch")
    from deal.bench.kernel import eager_statistics, smooth_logits

    z = smooth_logits(5, (15, 20), 2)
    d = np.random.default_rng(0).normal(size=(2, 1, 8, 9)).astype(np.float32)
    size, cell = (60, 80), 20
    theirs = eager_statistics(torch.from_numpy(z), torch.from_numpy(d), size, cell)
    ours = deal.score_logits(z, size=size, difficulty=d, regions=deal.Grid(cell))
    for name in [name for name in theirs if name.endswith("_mean")]:
        np.testing.assert_allclose(ours.images[name], theirs[name], atol=1e-5, err_msg=name)
    for b in range(2):
        for mine, other in (
            ("class_pixels", "class_pixels"),
            ("class_difficulty_sum", "class_d"),
            ("class_entropy_sum", "class_h"),
            ("class_difficulty_weighted_entropy_sum", "class_dh"),
        ):
            np.testing.assert_allclose(
                ours.images[mine][b], theirs[f"{other}_{b}"], atol=0.05, err_msg=mine
            )
        for mine, other in (
            ("difficulty_hist", "hist"),
            ("difficulty_hist_image", "hist_image"),
            ("entropy_hist", "entropy_hist"),
        ):
            moved = np.abs(ours.images[mine][b] - theirs[f"{other}_{b}"].numpy()).sum() / 2
            assert moved <= 20, mine  # of 4800 pixels: float32 all the way in the peer
    names = list(ours.regions)
    means = [name for name in names if name.endswith("_mean")]
    assert theirs["region_means"].shape == (2, len(means), 3, 4)
    np.testing.assert_allclose(
        ours.regions["entropy_mean"].reshape(2, 3, 4), theirs["region_means"][:, 0], atol=1e-5
    )


def test_a_report_is_written_with_its_environment(tmp_path):
    report = Report("q", "deal bench q", {"n": 1}, (Row("r", spread([1.0, 2.0]), "s", "<= 3"),))
    report.write(tmp_path / "q.json")
    found = json.loads((tmp_path / "q.json").read_text())
    assert found["rows"][0]["reached"] is True
    assert found["environment"]["python"] == sys.version.split()[0]
    assert "isa=" in found["environment"]["kernel"]


def test_every_function_that_scores_is_timed():
    from deal.bench.acquisition import run

    report = run(rows=50, classes=4, rounds=1)
    names = {*deal.acquisition_names()} - {"ds", "core-set"}
    assert {row.name for row in report.rows} == names


def test_the_core_set_is_checked_timed_and_weighed():
    from deal.bench.core_set import make_features, numpy_k_center, run

    x = make_features(300, 20, "noise")
    order = deal.diversity.k_center_greedy(x, 10, centers=[0])[0]
    assert numpy_k_center(x, 10)[0].tolist() == order.tolist()
    _, distances, greatest = numpy_k_center(x, 10, order[::-1])
    assert (distances < greatest).any()  # what the check would not let pass
    report = run(rows=300, width=20, picks=10, threads=1, rounds=1)
    assert [row.unit for row in report.rows] == ["s", "s", "ratio"] * 2 + ["MiB", "ratio"]
    assert all(row.value.median > 0 for row in report.rows)


def test_the_command_prints_json():
    from deal.cli.bench import command

    result = CliRunner().invoke(command, ["startup", "--rounds", "1", "--json"])
    assert result.exit_code == 0, result.output
    rows = json.loads(result.output)["rows"]
    assert [row["name"] for row in rows] == ["deal-score --help", "python -c pass"]
    assert all(row["value"]["median"] > 0 for row in rows)


def test_the_command_prints_a_table():
    from deal.cli.bench import command

    result = CliRunner().invoke(command, ["startup", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    assert "deal-score --help" in result.output
    assert "<= 0.3" in result.output


def test_the_figures_replace_what_stands_between_the_markers():
    from deal.bench.table import BEGIN, END, render, update

    missed = Row("r", spread([1.0, 2.0, 4.0]), "s", "<= 1")
    met = Row("a / b", spread([12.0]), "ratio", ">= 10")
    plain = [
        Row(name, spread([value]), "ms") for name, value in (("x", 7.0), ("y", 1.0), ("z", 9.0))
    ]
    table = render(
        Report("q", f"deal bench {name}", {}, rows).to_dict()
        for name, rows in (("q", (plain[0], plain[1], missed, met)), ("p", tuple(plain)))
    )
    assert (
        "| `deal bench q` | x **7** ms; r **2** (1.5 – 3) s, ≤ 1 ✗; a / b **12**, ≥ 10 ✓ |" in table
    )
    assert "| `deal bench p` | y **1** ms; z **9** ms |" in table
    text = update(f"above\n{BEGIN}\nold\n{END}\nbelow\n", table)
    assert text == f"above\n{BEGIN}\n{table}\n{END}\nbelow\n"
    assert update(text, table) == text
    with pytest.raises(ValueError, match="needs the lines"):
        update("no markers", table)


def test_decoding_is_checked_and_its_scores_compared(tmp_path):
    from deal.bench.decode import _check, run

    model = save_model(tmp_path / "m.onnx", props=metadata(input_size=[360, 480]))
    report = run(model=model, images=2, rounds=1, feed=500)
    units = ["CPU ms/image"] * 4 + ["% of CPU"] * 2 + ["images/s", "cores"]
    assert [row.unit for row in report.rows] == [*units, *units, "1"]
    rate, cores = (row.value.median for row in report.rows[6:8])
    assert rate * cores == pytest.approx(500)
    assert report.rows[-1].value.median <= 1
    with pytest.raises(AssertionError, match="no input_size"):
        _check(b"", None)
