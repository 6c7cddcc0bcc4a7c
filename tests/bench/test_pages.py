"""Benchmarks: their arithmetic, their checks and their output; never their figures."""

from __future__ import annotations

import datetime
import errno
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import deal
import deal.acquisitions.k_center
from deal.bench.checkout import commit
from deal.bench.report import Report, Row
from deal.bench.timing import Spread, interleave, ratios, single, spread
from deal.errors import DealError, OutputError, UsageError
from tests.helpers.models import metadata, save_model, scenes


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


def test_the_eager_peer_with_attention_computes_what_the_kernel_computes():
    torch = pytest.importorskip("torch")
    from deal.bench.kernel import eager_with_attention, smooth_logits

    z = smooth_logits(5, (15, 20), 2)
    head = deal.DifficultyHead(0.8, (0.5, -1.0, 2.0, 0.3, 0.0), -0.4, (8, 9))
    theirs = eager_with_attention(torch.from_numpy(z), head, (60, 80), 20)
    ours = deal.score_logits(z, size=(60, 80), head=head, regions=deal.Grid(20))
    for name in [name for name in theirs if name.endswith("_mean")]:
        np.testing.assert_allclose(ours.images[name], theirs[name], atol=1e-5, err_msg=name)
    assert np.ptp(ours.images["difficulty_mean"]) > 1e-3


@pytest.fixture
def small_kernel(monkeypatch):
    from deal.bench import kernel

    pytest.importorskip("torch")
    monkeypatch.setitem(kernel.SHAPES, "camvid", (5, (15, 20), (60, 80), (8, 9)))
    monkeypatch.setattr(kernel, "_CALLS", 0)
    return kernel


HEAD_RATIO = "eager PyTorch with attention / native kernel with head"


@pytest.mark.slow
def test_the_kernel_is_timed_with_its_head_and_in_cycles(small_kernel, monkeypatch):
    calls = []
    monkeypatch.setattr(small_kernel, "chain", lambda turns: lambda: calls.append(1))
    report = small_kernel.run(rounds=1)
    rows = {(row.name, row.unit): row.value.median for row in report.rows}
    assert calls
    assert not report.notes
    assert report.rows[-1].name == HEAD_RATIO
    wall = rows["native kernel", "ns/(pixel·class)"]
    clock = rows["clock, by dependent additions", "GHz"]
    assert rows["native kernel", "cycles/(pixel·class)"] == pytest.approx(wall * clock)
    assert not any("cycles" in row.unit for row in small_kernel.run(rounds=1, threads=2).rows)


@pytest.mark.slow
def test_what_cannot_be_timed_with_the_kernel_is_said(small_kernel, monkeypatch):
    def nowhere(turns):
        raise UsageError("no compiler")

    monkeypatch.setattr(small_kernel, "chain", nowhere)
    monkeypatch.setattr(small_kernel, "nominal_clock", lambda: 2e9)
    monkeypatch.setattr(small_kernel, "MATRIX_BYTES", 100)
    report = small_kernel.run(rounds=1)
    assert [note.partition(":")[0] for note in report.notes] == [
        "eager PyTorch with attention is left out",
        "the clock is not measured",
    ]
    rows = {(row.name, row.unit): row.value.median for row in report.rows}
    assert all(HEAD_RATIO not in name for name, _ in rows)
    nominal = rows["native kernel, at nominal 2.00 GHz", "cycles/(pixel·class)"]
    assert nominal == pytest.approx(2 * rows["native kernel", "ns/(pixel·class)"])


def test_rasters_are_compared_function_by_function(tmp_path):
    from deal.bench import raster

    model = save_model(tmp_path / "m.onnx", props=metadata())
    for number, image in enumerate(scenes(12)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    report = raster.run(pool=[str(tmp_path)], model=str(model), images=11)
    assert report.settings["images"] == 11
    rows = {row.name: row.value.median for row in report.rows}
    for name in ("ds:none", "ds:entropy", "de", "entropy", "margin", "ripu"):
        assert 0.5 < rows[f"{name}: Spearman"] <= 1
        assert 0 <= rows[f"{name}: top 10 % shared"] <= 1
    assert rows["kernel, half / input"] > 0
    with pytest.raises(UsageError, match="give 10 or more"):
        raster.run(pool=[str(tmp_path / "0.png")], model=str(model))


def test_threads_are_held_to_one_and_timed_beside_pytorch(monkeypatch):
    pytest.importorskip("torch")
    from deal.bench import threads

    for name, value in {"_CALLS": 1, "_PAUSE": 0.0, "_PRODUCT": 16}.items():
        monkeypatch.setattr(threads, name, value)
    rows = {row.name: row.value.median for row in threads.run(threads=2, rounds=1).rows}
    for kind in ("smooth", "noisy"):
        for way in ("1 thread", "2 threads", "2 threads beside PyTorch's"):
            assert rows[f"{kind}: {way}"] > 0


def test_the_chain_of_the_clock_adds_once_a_cycle():
    from deal.bench import clock

    try:
        chain = clock.chain()
    except UsageError as error:
        pytest.skip(str(error))
    assert chain() == clock.CYCLES
    assert clock.chain(3)() == 3 * clock.CYCLES


def test_a_report_is_written_with_its_environment(tmp_path):
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
    report = Report("q", {"n": 1}, (Row("r", spread([1.0, 2.0]), "s", "<= 3"),))
    report.write(tmp_path / "q.json")
    found = json.loads((tmp_path / "q.json").read_text())
    assert found["rows"][0]["reached"] is True
    machine = found["environment"]
    assert machine["python"] == sys.version.split()[0]
    assert "isa=" in machine["kernel"]
    assert before <= datetime.datetime.fromisoformat(machine["date"])
    assert "commit" in machine


def test_a_commit_is_dirty_by_what_could_change_a_figure(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=tmp_path, check=True)

    assert commit(tmp_path) is None  # no repository
    git("init", "--quiet")
    for name in ("code.py", "README.md", "bench/results/q.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    git("add", ".")
    git("commit", "--quiet", "-m", "one")
    clean = commit(tmp_path)
    assert re.fullmatch("[0-9a-f]{10,}", clean)
    for name in ("README.md", "bench/results/q.json"):
        (tmp_path / name).write_text("two")
    assert commit(tmp_path) == clean
    (tmp_path / "code.py").write_text("two")
    assert commit(tmp_path) == f"{clean}-dirty"


def test_every_function_that_scores_is_timed():
    from deal.bench.acquisition import run

    report = run(rows=50, classes=4, rounds=1)
    names = {*deal.acquisition_names()} - {"ds", "core-set", "typiclust"}
    assert {row.name for row in report.rows} == names


@pytest.mark.slow
def test_the_core_set_is_checked_timed_and_weighed():
    from deal.bench.core_set import make_features, numpy_k_center, run

    x = make_features(300, 20, "noise")
    order = deal.acquisitions.k_center.k_center_greedy(x, 10, centers=[0])[0]
    assert numpy_k_center(x, 10)[0].tolist() == order.tolist()
    _, distances, greatest = numpy_k_center(x, 10, order[::-1])
    assert (distances < greatest).any()  # what the check would not let pass
    report = run(rows=300, width=20, picks=10, threads=1, rounds=1)
    assert [row.unit for row in report.rows] == ["s", "s", "ratio"] * 2 + ["MiB", "ratio"]
    assert all(row.value.median > 0 for row in report.rows)


@pytest.fixture
def quick_startup(monkeypatch):
    from deal.bench import startup

    row = Row("deal-score --help", single(0.25), "s", "<= 0.3")
    monkeypatch.setattr(startup, "run", lambda rounds: Report("startup", {"n": rounds}, (row,)))


def test_the_command_prints_json(quick_startup):
    from deal.cli.bench import command

    result = CliRunner().invoke(command, ["startup", "--rounds", "1", "--json"])
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.output)["rows"]
    assert (row["name"], row["reached"]) == ("deal-score --help", True)


@pytest.mark.parametrize("name", ["file/x.json", ".", "s3://bucket/x.json"])
def test_an_output_that_cannot_be_written_is_refused_before_the_measurement(
    monkeypatch, tmp_path, name
):
    from deal.bench import startup
    from deal.cli.bench import command

    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(startup, "run", lambda **_: pytest.fail("it was measured"))
    result = CliRunner().invoke(command, ["startup", "-o", name])
    assert result.exit_code != 0
    assert isinstance(result.exception, (SystemExit, DealError)), result.output


def test_what_was_measured_is_printed_though_the_file_cannot_be_written(
    quick_startup, monkeypatch, tmp_path
):
    from deal.cli.bench import command

    def full(report, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Report, "write", full)
    output = tmp_path / "new" / "x.json"
    result = CliRunner().invoke(command, ["startup", "--json", "-o", str(output)])
    assert json.loads(result.stdout)["question"] == "startup"
    assert isinstance(result.exception, OutputError)
    assert str(result.exception).startswith(f"cannot write {output}: No space left on device")


def test_the_command_prints_a_table(quick_startup):
    from deal.cli.bench import command

    result = CliRunner().invoke(command, ["startup", "--rounds", "1"])
    assert result.exit_code == 0, result.output
    assert "deal-score --help" in result.output
    assert "<= 0.3" in result.output


def made_up_environment(date=None):
    """As older files have it without a date."""
    recorded = {"date": date, "commit": "abc"} if date else {}
    return {"processor": "P", "cores": 2, **recorded}


def test_the_table_shows_the_tail_of_latency_beside_its_median():
    from deal.bench.table import render

    names = ("median", "p99", "p99.9", "max")
    rows = [Row(f"one frame, {name}", single(float(i)), "ms") for i, name in enumerate(names, 1)]
    rows.append(Row("allocations", single(0.0), "calls", "<= 0"))
    report = Report("latency", {}, tuple(rows), (), "c", made_up_environment())
    assert (
        "| `c` | one frame, median **1** ms; one frame, p99 **2** ms; one frame, p99.9 **3** ms; "
        "allocations **0** calls, ≤ 0 ✓ |" in render([report.to_dict()])
    )


def test_the_figures_replace_what_stands_between_the_markers():
    from deal.bench.table import BEGIN, END, render, update

    missed = Row("r", spread([1.0, 2.0, 4.0]), "s", "<= 1")
    met = Row("a / b", spread([12.0]), "ratio", ">= 10")
    plain = [
        Row(name, spread([value]), "ms") for name, value in (("x", 7.0), ("y", 1.0), ("z", 9.0))
    ]
    table = render(
        Report(name, {}, rows, notes, f"deal bench {name}", made_up_environment(date)).to_dict()
        for name, rows, notes, date in (
            ("q", (plain[0], plain[1], missed, met), (), "2026-03-04T05:06:07+00:00"),
            ("p", tuple(plain), ("w is left out: a|b",), None),
        )
    )
    assert (
        "| `deal bench q` | x **7** ms; r **2** (1.5 – 3) s, ≤ 1 ✗; a / b **12**, ≥ 10 ✓ "
        "| 2026-03-04, `abc` |\n" in table
    )
    assert "| `deal bench p` | y **1** ms; z **9** ms; w is left out: a\\|b |  |\n" in table
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
    with pytest.raises(UsageError, match="no input_size"):
        _check(b"", None)
