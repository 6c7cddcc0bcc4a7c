"""``deal score`` as a command: what it prints, and what it makes of its options."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from deal import _demo
from deal._install import pip_install
from tests.helpers.models import save_model
from tests.helpers.runs import Deal, write_pool


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return write_pool(tmp_path / "pool", 6, name="{}.png")


def test_score_prints_the_top_ranks_and_where_results_lie(
    deal: Deal, pool: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = deal(
        "score", pool, "--model", model, "--output", out, "--budget", 3, "--acquisition", "de"
    )
    assert code == 0
    selected = (out / "selection.csv").read_text().splitlines()[1:]
    ranks = re.findall(r"│ +(\d+) │ (\d\.\d{6}) │ (\S+)", stdout)
    assert [(rank, name) for rank, _, name in ranks] == [
        (line.split(",")[0], line.split(",")[1]) for line in selected
    ]
    assert "6 images: 6 scored, 0 stored before, 0 failed" in stdout
    assert str(out / "selection.csv") in stdout
    assert stderr.splitlines()[-1].startswith("6/6 images, ")


def test_top_limits_what_is_printed(deal: Deal, pool: Path, model: Path, tmp_path: Path) -> None:
    arguments = ("score", pool, "--model", model, "--output", tmp_path / "out")
    assert len(re.findall(r"│ +\d+ │", deal(*arguments, "--top", 2)[1])) == 2
    assert "│" not in deal(*arguments, "--top", 0)[1]


def test_json_is_one_document_on_stdout(
    deal: Deal, pool: Path, model: Path, tmp_path: Path
) -> None:
    (pool / "empty.png").write_bytes(b"")
    code, stdout, _ = deal(
        "score", pool, "--model", model, "--output", tmp_path / "out", "--json", "--top", 2
    )
    assert code == 3
    document = json.loads(stdout)
    assert (document["total"], document["scored"], document["errors"]) == (7, 6, {"decode": 1})
    assert document["exit_code"] == 3
    assert document["selection"]["acquisition"] == "ds:none"
    assert [row["rank"] for row in document["top"]] == [1, 2]


def test_quiet_leaves_stderr_empty(deal: Deal, pool: Path, model: Path, tmp_path: Path) -> None:
    assert deal("score", pool, "--model", model, "-o", tmp_path / "out", "--quiet")[2] == ""


def test_the_model_may_come_from_the_environment(
    deal: Deal, pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DEAL_MODEL", str(model))
    assert deal("score", pool, "--output", tmp_path / "out")[0] == 0


def test_without_a_model_the_error_names_the_three_ways(
    deal: Deal, pool: Path, tmp_path: Path
) -> None:
    code, stdout, stderr = deal("score", pool, "--output", tmp_path / "out")
    assert (code, stdout) == (2, "")
    assert len(stderr.splitlines()) == 1
    assert all(way in stderr for way in ("--model", "DEAL_MODEL", "--demo"))


def test_without_an_output_the_error_names_it(deal: Deal, pool: Path, model: Path) -> None:
    code, _, stderr = deal("score", pool, "--model", model)
    assert (code, len(stderr.splitlines())) == (2, 1)
    assert "--output DIR" in stderr


def test_without_a_pool_the_error_names_it(deal: Deal, model: Path, tmp_path: Path) -> None:
    code, _, stderr = deal("score", "--model", model, "--output", tmp_path / "out")
    assert (code, len(stderr.splitlines())) == (2, 1)
    assert "no pool" in stderr


@pytest.fixture
def demo(pool: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"model.onnx": model, "pool": pool}
    monkeypatch.setattr(_demo, "demo_file", files.__getitem__)


@pytest.mark.usefixtures("demo")
def test_demo_scores_the_bundled_pool_whatever_the_environment_says(
    deal: Deal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DEAL_MODEL", "/nowhere.onnx")
    code, stdout, _ = deal("score", "--demo")
    assert code == 0
    assert "6 images: 6 scored" in stdout
    assert (tmp_path / "deal-demo/selection.csv").is_file()


@pytest.mark.usefixtures("demo")
@pytest.mark.parametrize("arguments", [["pool"], ["--model", "m.onnx"]])
def test_demo_takes_neither_pool_nor_model(deal: Deal, arguments: list[str]) -> None:
    code, _, stderr = deal("score", "--demo", *arguments)
    assert code == 2
    assert "leave out POOL and --model" in stderr


def test_model_options_describe_a_foreign_model(deal: Deal, pool: Path, tmp_path: Path) -> None:
    model = save_model(tmp_path / "foreign.onnx", floating=True, output="out")
    arguments = [
        "score",
        pool,
        "--model",
        model,
        "-o",
        tmp_path / "out",
        "--acquisition",
        "entropy",
    ]
    code, _, stderr = deal(*arguments)
    assert code == 1
    assert "classes" in stderr
    options = {"classes": 5, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "output": "out"}
    for key, value in options.items():
        text = value if isinstance(value, str) else json.dumps(value)
        arguments += ["--model-option", f"{key}={text}"]
    assert deal(*arguments)[0] == 0


def test_a_model_option_without_value_is_a_usage_error(deal: Deal, pool: Path) -> None:
    code, _, stderr = deal("score", pool, "--model-option", "classes")
    assert code == 2
    assert "KEY=VALUE" in stderr


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--acquisition", "entrpy"], "Did you mean 'entropy'"),
        (["--levels", "8"], "takes no levels"),
        (["--levels", "x"], "'x' is not a valid integer"),
        (["--budget", "0"], "budget must be"),
        (["--regions", "slic"], "slic:N"),
        (["--shard", "4/4"], "shard"),
        (["--max-errors", "many"], "--max-errors"),
        (["--engine", "tflite"], "engine 'tflite' is unknown"),
        (["--device", "tpu"], "device 'tpu' is unknown"),
        (["--sessions", "0"], "sessions must be at least 1"),
        (["--raster", "huge"], "'huge' is not one of"),
        (["--sequence-from", "("], "not a regular expression"),
        (["--no-such-option"], "No such option '--no-such-option'"),
        (["--output", ""], "no output: give --output"),
        (["--model", ""], "no model: give --model"),
    ],
)
def test_usage_errors_are_one_line_and_exit_2(
    deal: Deal, pool: Path, model: Path, tmp_path: Path, arguments: list[str], match: str
) -> None:
    out = tmp_path / "out"
    code, stdout, stderr = deal("score", pool, "--model", model, "--output", out, *arguments)
    assert (code, stdout) == (2, "")
    assert len(stderr.splitlines()) == 1
    assert stderr.startswith("error: ")
    assert match in stderr
    assert not out.exists()


def test_a_named_image_that_cannot_be_read_is_left_to_the_run(
    deal: Deal, pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = pool / "0.png"
    image.write_bytes(b"")
    monkeypatch.setattr("os.access", lambda path, *args, **kwargs: path != str(image))
    code, stdout, _ = deal("score", image, pool / "1.png", "--model", model, "-o", tmp_path / "o")
    assert (code, "1 scored, 0 stored before, 1 failed" in stdout) == (3, True)


def test_a_device_that_is_not_there_says_what_to_install(
    deal: Deal, pool: Path, model: Path, tmp_path: Path
) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime is built with CUDA")
    code, _, stderr = deal(
        "score", pool, "--model", model, "-o", tmp_path / "o", "--device", "cuda"
    )
    assert code == 1
    assert pip_install("ort-gpu") in stderr


def test_ids_cannot_break_the_terminal(deal: Deal, pool: Path, model: Path, tmp_path: Path) -> None:
    Image.new("RGB", (32, 24)).save(pool / "[red]\n\x1b[2J.png")
    code, stdout, stderr = deal("score", pool, "--model", model, "--output", tmp_path / "out")
    assert code == 0
    assert "\x1b" not in stdout + stderr
    assert r"[red]\n\x1b[2J.png" in stdout
