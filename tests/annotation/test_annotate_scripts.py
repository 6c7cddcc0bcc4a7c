"""The commands and scripts that import a folder of tasks."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import deal
from tests.helpers.models import CLASSES
from tests.helpers.runs import write_pool
from tests.helpers.tool_exports import task_rows


def test_batches_are_jobs_in_cvat(out, tmp_path):
    found = deal.annotate(out, to="cvat", output=tmp_path / "tasks", batch=4)
    assert "--segment_size 4 --overlap 0" in found.command
    assert len(list((tmp_path / "tasks" / "images").iterdir())) == 6


def arguments(found: deal.Annotation) -> list[str]:
    """What a shell makes of the command that imports a folder into CVAT."""
    done = subprocess.run(
        ["bash", "-c", f"cvat-cli() {{ printf '%s\\n' \"$@\"; }}\n{found.command}"],
        cwd=found.output,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_the_command_for_cvat_names_the_images_in_rank_order(out, tmp_path):
    found = deal.annotate(out, to="cvat", output=tmp_path / "tasks")
    given = arguments(found)
    names = [f"images/{row['file']}" for row in task_rows(found.output)]
    assert given[given.index("local") + 1 :] == names
    for option in ("--labels", "--annotation_path"):
        assert (found.output / given[given.index(option) + 1]).is_file()


def test_the_program_of_cvat_understands_the_command(out, tmp_path, monkeypatch):
    commands = pytest.importorskip("cvat_cli._internal.commands_all", reason="needs cvat-cli")
    common = pytest.importorskip("cvat_cli._internal.common")
    found = deal.annotate(out, to="cvat", output=tmp_path / "tasks", batch=4)
    parser = argparse.ArgumentParser()
    common.configure_common_arguments(parser)
    commands.COMMANDS.configure_parser(parser)
    monkeypatch.chdir(found.output)
    parsed = parser.parse_args(arguments(found))
    assert [label["name"] for label in parsed.labels] == list(CLASSES)
    assert (parsed.segment_size, parsed.overlap, parsed.image_quality) == (4, 0, 95)
    assert (parsed.sorting_method, parsed.annotation_format) == ("lexicographical", "CVAT 1.1")


FAKE = """
import sys, types
calls = []
class Thing:
    def __init__(self, *args, **kw): self.args, self.kw, self.fields = args, kw, {}
    def __setitem__(self, name, value): self.fields[name] = value
"""


FAKE_FIFTYONE = (
    FAKE
    + """
class Dataset(Thing):
    name = "picks"
    def add_samples(self, samples): calls.extend(samples)
module = types.ModuleType("fiftyone")
module.Dataset, module.Sample, module.Segmentation, module.Heatmap = Dataset, Thing, Thing, Thing
"""
)


FAKE_LIGHTLY = (
    FAKE
    + """
import pathlib
class ImageDataset(Thing):
    @classmethod
    def create(cls, name): return cls(name)
    def add_samples_from_pascal_voc_segmentations(self, **kw): self.added = kw
    def add_images_from_path(self, path, embed): self.added = {"images_path": path}
    def __iter__(self):
        for number, path in enumerate(sorted(self.added["images_path"].iterdir(), reverse=True)):
            yield types.SimpleNamespace(sample_id=number, file_path_abs=str(path))
    def update_metadata(self, rows): calls.append((self.added, rows))
module = types.ModuleType("lightly_studio")
module.ImageDataset, module.start_gui = ImageDataset, lambda: None
"""
)


def run_script(folder: Path, name: str, fake: str, last: str) -> Any:
    """What a script does to a stand-in of its tool."""
    code = f"{fake}\nsys.modules[module.__name__] = module\nsys.argv[1:] = ['picks']\n"
    code += f"import runpy; runpy.run_path({str(folder / name)!r})\nimport json\n{last}"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    return json.loads(done.stdout.splitlines()[-1])


def test_fiftyone_gets_files_of_images_that_are_none_where_they_are_only_named(
    model: Path, tmp_path: Path
) -> None:
    pool = write_pool(tmp_path / "pool", 2)
    subprocess.run(["tar", "-cf", tmp_path / "a.tar", "000.png"], cwd=pool, check=True)
    (pool / "000.png").unlink()
    deal.score_pool([pool, tmp_path / "a.tar"], model=model, output=tmp_path / "out", spread="off")
    tasks = tmp_path / "tasks"
    found = deal.annotate(tmp_path / "out", to="fiftyone", images="none", output=tasks)
    assert (found.count, found.left_out) == (2, ())
    assert "1 images are no files of their own" in found.notes[0]
    last = "print(json.dumps([[s.args[0], s.fields['deal_id']] for s in calls]))"
    loaded = run_script(tasks, "load_fiftyone.py", FAKE_FIFTYONE, last)
    files = {item_id: Path(path) for path, item_id in loaded}
    assert files["001.png"] == pool / "001.png"
    assert files["a.tar/000.png"].parent == tasks / "images"
    assert all(path.is_file() for path in files.values())


def test_the_script_for_fiftyone_loads_images_masks_and_heat(out, tmp_path):
    folder = deal.annotate(out, to="fiftyone", output=tmp_path / "tasks").output
    last = (
        "print(json.dumps([[s.args[0], s.fields['deal_rank'], s.fields['deal_id'], "
        "s.fields['prediction'].kw['mask_path'], s.fields['difficulty'].kw] for s in calls]))"
    )
    loaded = run_script(folder, "load_fiftyone.py", FAKE_FIFTYONE, last)
    for (path, rank, item_id, mask, heat), row in zip(loaded, task_rows(folder), strict=True):
        assert (rank, item_id) == (int(row["rank"]), row["id"])
        assert Path(path).name == row["file"]
        assert all(Path(file).is_file() for file in (path, mask, heat["map_path"]))
        assert heat["range"] == [0, 255]


@pytest.mark.parametrize("batch", [None, 4])
def test_the_command_for_coco_reads_the_annotations(out, tmp_path, batch):
    pytest.importorskip("pycocotools.coco")
    found = deal.annotate(out, to="coco", output=tmp_path / "tasks", batch=batch)
    command = found.command.splitlines()[0].strip()
    assert command.startswith("python ")
    done = subprocess.run(
        ["bash", "-c", command.replace("python", sys.executable, 1)],
        cwd=found.output,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "index created!" in done.stdout


@pytest.mark.parametrize("predictions", [True, False])
def test_the_script_for_lightly_loads_masks_and_ranks(out, tmp_path, predictions):
    folder = deal.annotate(
        out, to="lightly", output=tmp_path / "tasks", predictions=predictions
    ).output
    last = (
        "added, rows = calls[0]\n"
        "print(json.dumps([added.get('class_id_to_name'), [row for _, row in rows]]))"
    )
    names, metadata = run_script(folder, "load_lightly.py", FAKE_LIGHTLY, last)
    expected = {str(number): name for number, name in enumerate(["unlabeled", *CLASSES])}
    assert names == (expected if predictions else None)
    assert [row["deal_rank"] for row in metadata] == [6, 5, 4, 3, 2, 1]
    assert {row["deal_id"] for row in metadata} == {row["id"] for row in task_rows(folder)}
