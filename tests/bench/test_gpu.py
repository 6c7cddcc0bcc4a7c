"""``deal bench gpu`` without a GPU: its parts, its rehearsal and what it makes of failures."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import deal
from deal import cli
from deal.bench.gpu import kernel, machine, run
from deal.bench.gpu.record import CheckError, Record, read_lines
from deal.bench.gpu.section import Section
from deal.bench.gpu.show import lines
from deal.bench.kernel import eager_statistics, smooth_logits
from deal.bench.table import render
from deal.cli.bench import command
from deal.kernel import statistics as regions

torch = pytest.importorskip("torch")

HEAD = deal.DifficultyHead(0.8, np.linspace(-1, 1, 5), -0.4, (8, 9))
SIZE = (60, 80)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_call_of_the_c_abi_gives_the_tables_of_score_logits(dtype):
    from deal.bench.gpu.abi import Call

    z = torch.from_numpy(smooth_logits(5, (15, 20), 2)).to(dtype)
    call = Call(z, SIZE, head=HEAD, cell=20, lines=True)
    expected = deal.score_logits(z.float(), size=SIZE, head=HEAD, regions=deal.Grid(20))
    for _ in range(2):
        call.run(None)
        for found, wanted in ((call.images, expected.images), (call.regions, expected.regions)):
            assert found.keys() - {"nonfinite"} == wanted.keys()
            for name in wanted:
                np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)
    call.close()
    given = torch.randn(2, 1, 8, 9, generator=torch.manual_seed(0))
    call = Call(z, SIZE, difficulty=given)
    call.run(None)
    expected = deal.score_logits(z.float(), size=SIZE, difficulty=given)
    np.testing.assert_array_equal(
        call.images["difficulty_hist"], expected.images["difficulty_hist"]
    )
    call.close()
    call = Call(z, SIZE, head=HEAD, grid_only=True)
    call.run(None)
    np.testing.assert_array_equal(call.grid, regions.difficulty_grid(z.float(), HEAD))
    call.close()


def test_the_call_of_the_c_abi_says_what_does_not_fit():
    from deal.bench.gpu.abi import Call

    with pytest.raises(RuntimeError, match="256"):
        Call(torch.zeros(1, 300, 4, 4), (8, 8))


def test_the_batched_peer_computes_what_the_eager_one_does():
    from deal.bench.gpu.peers import batched_statistics

    z = torch.from_numpy(smooth_logits(5, (15, 20), 2))
    d = torch.randn(2, 1, 8, 9, generator=torch.manual_seed(0))
    found, expected = (f(z, d, SIZE, 20) for f in (batched_statistics, eager_statistics))
    for name in [name for name in expected if name.endswith("_mean")]:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=1e-4)
    region_means = found["region_means"], expected["region_means"]
    torch.testing.assert_close(*region_means, atol=1e-5, rtol=1e-4)
    for mine, other in (
        ("difficulty_hist", "hist"),
        ("difficulty_hist_image", "hist_image"),
        ("entropy_hist", "entropy_hist"),
        ("class_pixels", "class_pixels"),
        ("class_difficulty_sum", "class_d"),
        ("class_entropy_sum", "class_h"),
        ("class_difficulty_weighted_entropy_sum", "class_dh"),
    ):
        for b in range(2):
            moved = (found[mine][b] - expected[f"{other}_{b}"]).abs().sum() / 2
            assert moved <= 5, mine  # pixels at the edge of a level


@pytest.mark.parametrize("fused", [True, False])
def test_the_attention_peers_compute_what_the_head_does(fused):
    from deal.bench.gpu.peers import attention

    z = smooth_logits(5, (8, 9), 2)
    weight = torch.tensor(np.asarray(HEAD.weight), dtype=torch.float32)
    found = attention(torch.from_numpy(z), weight, HEAD.gamma, HEAD.bias, fused=fused)
    np.testing.assert_allclose(found, regions.difficulty_grid(z, HEAD), atol=2e-5)


class FakeEvent:
    now = 0.0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        FakeEvent.now += 2.0
        self.at = FakeEvent.now

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return end.at - self.at  # milliseconds


class FakeGraph:
    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def replay(self):
        pass


def test_on_cuda_calls_are_timed_by_events_after_a_flush(monkeypatch):
    from deal.bench.gpu import device

    properties = SimpleNamespace(L2_cache_size=2**20)
    for name, value in (
        ("get_device_properties", lambda index: properties),
        ("current_stream", lambda: SimpleNamespace(cuda_stream=7)),
        ("Event", FakeEvent),
        ("CUDAGraph", FakeGraph),
        ("graph", lambda graph: graph),
        ("synchronize", lambda: None),
    ):
        monkeypatch.setattr(torch.cuda, name, value)
    monkeypatch.setattr(device.CudaDevice, "name", "cpu")
    cuda = device.CudaDevice()
    assert cuda.stream == 7
    calls = []
    cuda.graph(lambda: calls.append(1))()
    found = device.interleave(cuda, {"a": lambda: calls.append(2)}, rounds=3, warmup=1, calls=4)
    assert calls == [1] + [2] * 16
    assert found == {"a": [pytest.approx(0.0005)] * 3}
    cuda.synchronize()


def test_without_a_gpu_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert cli.run(command, ["gpu"], "deal bench") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "no GPU: nvidia-smi names none" in err


def test_the_probe_tells_what_the_build_needs(monkeypatch, tmp_path, capsys):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 9.0\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert machine.find_capability() == "90"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert machine.main() == 0
    assert capsys.readouterr().out == "90\n"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.main() == 2
    assert "sees no GPU" in capsys.readouterr().err


def test_the_highest_clock_is_that_of_the_multiprocessors(monkeypatch):
    monkeypatch.setattr(machine, "_ask", lambda fields: {"clocks.max.sm": "1980 MHz"})
    assert machine.max_gigahertz() == 1.98
    monkeypatch.setattr(machine, "_ask", lambda fields: {"clocks.max.sm": "[N/A]"})
    assert machine.max_gigahertz() is None


def test_statistics_are_compared_with_the_issue_of_their_instructions(monkeypatch, tmp_path):
    record = Record(tmp_path / "lines", "cpu", seconds=60)
    z = kernel._inputs(record, "camvid", 32, torch.float16)
    asked = []

    def bounds(*arguments):
        asked.append(arguments)
        return [SimpleNamespace(microseconds=2.0), SimpleNamespace(microseconds=1.0)]

    monkeypatch.setattr(kernel, "bounds", bounds)
    kernel._issue_bound(record, "x", z, [32 * 4.5e-6], "code", "gpu")
    bound, ratio = read_lines(record.path).rows
    assert bound["value"]["median"] == 3.0
    assert ratio["value"]["median"] == pytest.approx(1.5)
    assert (ratio["target"], ratio["reached"]) == ("<= 2", True)
    classes, logits, raster, grid = kernel._REHEARSED["camvid"]
    assert asked == [("code", classes, logits, raster, grid, "float16", "gpu")]


def test_without_known_rates_of_issue_a_note_says_so(monkeypatch, tmp_path):
    record = Record(tmp_path / "lines", "cuda", seconds=60)
    monkeypatch.setattr(kernel, "find_capability", lambda: "120")
    monkeypatch.setattr(kernel, "max_gigahertz", lambda: 2.0)
    assert kernel._machine_code(record) is None
    assert "compute capability 90" in read_lines(record.path).notes[0]


@pytest.mark.slow
def test_nothing_that_proves_kernels_needs_onnx_runtime_or_a_decoder():
    modules = [f"deal.bench.gpu.{path.stem}" for path in Path(run.__file__).parent.glob("*.py")]
    modules.remove("deal.bench.gpu.__init__")
    modules += [
        "tests.kernel.test_cuda",
        "tests.kernel.test_cuda_calls",
        "tests.helpers.cuda_cases",
        "tests.conftest",
    ]
    modules += ["tests.engines.test_device", "tests.engines.test_torch_cuda"]
    code = "import sys; sys.modules['onnxruntime'] = sys.modules['simplejpeg'] = None; import "
    done = subprocess.run(
        [sys.executable, "-c", code + ", ".join(modules)],
        check=False,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_what_a_section_wrote_survives_its_end(tmp_path):
    record = Record(tmp_path / "lines", "cpu", 10.0)
    record.row("speed", [1.0, 2.0, 3.0], "GB/s", ">= 1")
    record.note("left out: that")
    with pytest.raises(CheckError, match="sums: off by 1"):
        record.check("sums", False, "off by 1")
    with (tmp_path / "lines").open("a") as file:
        file.write('{"row": {"name"')
    found = read_lines(tmp_path / "lines")
    assert [row["reached"] for row in found.rows] == [True]
    assert found.notes == ["left out: that"]
    assert found.checks == [{"name": "sums", "passed": False, "detail": "off by 1"}]


def test_a_rehearsed_section_is_stored_and_marked(tmp_path, capsys):
    output = tmp_path / "results" / "r.json"
    arguments = ["gpu", "--device", "cpu", "--section", "sanitizer", "--output", str(output)]
    assert cli.run(command, arguments, "deal bench") == 0
    assert "rehearsal" in capsys.readouterr().out
    found = json.loads(output.read_text())
    assert found["rehearsal"] is True
    assert found["command"] == "deal bench gpu --device cpu --section sanitizer"
    assert [one["name"] for one in found["sections"]] == ["sanitizer"]
    assert [check["name"] for check in found["sections"][0]["checks"]] == ["memcheck", "racecheck"]
    assert found["environment"]["gpu"]["name"] == "none"
    with pytest.raises(ValueError, match="rehearsal"):
        render([found])


def test_a_section_that_overruns_is_cut_and_without_a_budget_it_is_left_out(monkeypatch):
    monkeypatch.setattr(run, "_LEAST", 0.1)
    limits = {"tests": Section("checks.tests", 0.2, proves=True), "rates": Section("", 0.0)}
    monkeypatch.setattr(run, "SECTIONS", limits)
    found = run.run(device="cpu", budget=600.0)
    assert [one["status"] for one in found["sections"]] == ["cut", "left out"]
    assert "cut after" in "\n".join(lines(found))
    assert run.failed(found) == ["tests"]


def test_a_section_that_dies_is_a_failure_with_its_last_words():
    one = run._run_section("no such section", "cpu", 60.0, {})
    assert one["status"] == "crashed"
    assert "no such section" in one["notes"][0]


def made_up(**changes):
    value = {"median": 2.5, "low": 2.0, "high": 3.0, "count": 9}
    row = {"name": "statistics", "value": value, "unit": "µs/image"}
    section = {"seconds": 1.0, "checks": [], "rows": [], "notes": [], "skipped": None}
    return {
        "question": "gpu",
        "command": "deal bench gpu",
        "rehearsal": False,
        "environment": {"gpu": {"name": "GPU X", "driver_version": "1.2"}},
        "sections": [
            section
            | {
                "name": "kernel",
                "status": "done",
                "rows": [row | {"target": "<= 3", "reached": True}],
                "checks": [{"name": "a", "passed": True, "detail": ""}],
            },
            section | {"name": "engines", "status": "skipped", "skipped": "no engine"},
            section | {"name": "head", "status": "cut", "notes": ["cut after 9 s"]},
        ],
    } | changes


def test_the_readme_has_a_table_for_the_gpu():
    assert "Nothing has been measured on a GPU" in render([])
    table = render([made_up()])
    assert "Nothing has been measured" not in table
    assert "On GPU X, driver 1.2" in table
    assert "| kernel | 1 of 1 checks passed; statistics **2.5** (2 – 3) µs/image, ≤ 3 ✓ |" in table
    assert "| engines | **skipped: no engine** |" in table
    assert "| head | **cut: cut after 9 s** |" in table


def test_only_what_disproves_something_fails_the_command():
    found = made_up()
    assert run.failed(found) == []
    found["sections"][0]["status"] = "failed"
    assert run.failed(found) == ["kernel"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc")
def test_the_program_that_counts_exponentials_compiles(tmp_path):
    from deal.bench.gpu.rates import exponential_program

    assert exponential_program(tmp_path, "90").exists()
