"""The commands ``deal annotate`` and ``deal collect``: what they print, and their exit status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.helpers.annotation import accept_predictions
from tests.helpers.runs import Deal, assert_refused


@pytest.fixture
def out(score: Deal, tmp_path: Path) -> Path:
    assert score()[0] == 0
    return tmp_path / "out"


@pytest.fixture
def export(deal: Deal, out: Path, tmp_path: Path) -> Path:
    assert deal("annotate", out, "--to", "label-studio", "-o", tmp_path / "tasks")[0] == 0
    return accept_predictions(tmp_path / "tasks" / "tasks.json", tmp_path / "export.json")


def test_annotate_says_how_many_and_how_to_import(deal, out, tmp_path):
    code, stdout, stderr = deal("annotate", out, "--to", "cvat", "-o", tmp_path / "tasks")
    assert (code, stderr) == (0, "")
    first, *command = stdout.splitlines()
    assert first == f"4 images in {tmp_path / 'tasks'}; import them from there:"
    assert command[0].strip().startswith("cvat-cli ")
    code, stdout, _ = deal("annotate", out, "--to", "masks", "-o", tmp_path / "masks")
    assert (code, stdout) == (0, f"4 images in {tmp_path / 'masks'}\n")


def test_images_that_are_left_out_are_named_and_give_status_3(deal, out, pool, tmp_path):
    (pool / "good1.png").unlink()
    code, stdout, stderr = deal("annotate", out, "--to", "coco", "-o", tmp_path / "tasks")
    assert (code, stdout.splitlines()[0][:8]) == (3, "3 images")
    assert stderr == ("left out  good1.png: cannot read the file: No such file or directory\n")


def test_annotate_prints_one_document_for_programs(deal, out, tmp_path):
    options = ("--to", "masks", "--images", "link", "--min-area", 3, "--json")
    code, stdout, stderr = deal("annotate", out, *options, "-o", tmp_path / "tasks")
    assert (code, stderr) == (0, "")
    found = json.loads(stdout)
    assert (found["output"], found["count"]) == (str(tmp_path / "tasks"), 4)
    assert (found["left_out"], found["of_regions"]) == ([], False)


def test_collect_says_what_there_is_now(deal, export, tmp_path):
    arguments = ("collect", export, "--from", "label-studio", "--tasks", tmp_path / "tasks")
    code, stdout, stderr = deal(*arguments, "-o", tmp_path / "labeled", "--val", 0.5)
    assert (code, stderr) == (0, "")
    assert stdout.startswith(f"4 labeled images collected; {tmp_path / 'labeled'} has ")
    assert stdout.endswith(" val, 5 classes\n")
    code, stdout, _ = deal(*arguments, "-o", tmp_path / "labeled", "--add", "--json")
    found = json.loads(stdout)
    assert (code, found["count"], sum(found["splits"].values())) == (0, 4, 4)


def test_collect_tells_of_what_it_leaves_out_and_ends_with_status_3(deal, export, tmp_path):
    tasks = json.loads(export.read_text())
    (first, second, *_) = tasks
    first["annotations"] = []
    second["annotations"][0]["result"].append({"type": "rectanglelabels", "value": {}})
    export.write_text(json.dumps(tasks))
    code, stdout, stderr = deal(
        *("collect", export, "--from", "label-studio", "--tasks", tmp_path / "tasks"),
        *("-o", tmp_path / "labeled"),
    )
    assert (code, stdout[:9]) == (3, "3 labeled")
    shape, missing = sorted(stderr.splitlines(), reverse=True)
    assert missing == f"missing: {first['data']['id']}: nobody has labeled it"
    assert shape.startswith(f"shape: {second['data']['id']}: 1 shape(s) left out")


def test_collect_names_images_that_would_replace_others_and_ends_with_status_3(
    deal, export, tmp_path
):
    tasks = tmp_path / "tasks"
    options = ("--from", "label-studio", "--tasks", tasks, "-o", tmp_path / "labeled")
    assert deal("collect", export, *options)[0] == 0
    shown = json.loads(export.read_text())[0]["data"]
    path = tasks / "images" / Path(shown["image"]).name
    with Image.open(path) as image:
        size = image.size
    Image.new("RGB", size, "red").save(path, format="PNG")
    code, stdout, stderr = deal("collect", export, *options, "--add")
    assert (code, stdout[:9]) == (3, "3 labeled")
    assert stderr.startswith(f"conflict: {shown['id']}: the data set has another image of this id")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--to", "paint", "-o", "t"), 2, ["to 'paint': choose one of cvat, label-studio"]),
        (("--to", "cvat", "-o", ""), 2, ["the name of --output is empty"]),
        (("--to", "cvat"), 2, ["Missing option", "--output"]),
        (("--to", "cvat", "-o", "t", "--selection", "none.csv"), 2, ["none.csv", "--selection"]),
        (("--to", "cvat", "-o", "t", "--model", "none.onnx"), 1, ["none.onnx"]),
    ],
)
def test_annotate_refuses_what_it_cannot_do(
    deal, out, monkeypatch, tmp_path, arguments, code, words
):
    monkeypatch.chdir(tmp_path)
    assert_refused(deal("annotate", out, *arguments), code, *words)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("export.json", "--from", "paint", "-o", "l"), 2, ["choose one of cvat, label-studio"]),
        (("none.zip", "--from", "cvat", "-o", "l"), 1, ["none.zip: No such file", "ZIP file"]),
        (("export.json", "--from", "coco", "-o", "l"), 1, ["is not COCO"]),
        (("export.json", "--from", "cvat", "-o", ""), 2, ["the name of --output is empty"]),
        (("tasks", "--from", "label-studio", "-o", "l"), 1, ["is what deal annotate wrote"]),
        (
            ("export.json", "--from", "label-studio", "--images", "none", "-o", "l"),
            2,
            ["images 'none': there is no such folder"],
        ),
    ],
)
def test_collect_refuses_what_it_cannot_do(
    deal, export, monkeypatch, tmp_path, arguments, code, words
):
    monkeypatch.chdir(tmp_path)
    assert_refused(deal("collect", *arguments), code, *words)
    assert not (tmp_path / "l").exists()
