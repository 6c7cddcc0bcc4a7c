"""``deal.annotate``: a selection becomes a folder of tasks."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import deal
from deal.annotation import coco, cvat, label_studio
from deal.annotation.pictures import Maker
from deal.errors import OutputError, ResultsError, UsageError
from deal.pool.decode import decode_bytes
from deal.results.maps import map_path
from deal.run.reopen import reopen
from deal.run.storing import store_maps
from tests.helpers.annotation import exported, legend
from tests.helpers.models import CLASSES, scenes
from tests.helpers.runs import SIZE

FORMATS = ("cvat", "label-studio", "coco", "masks", "fiftyone", "lightly")


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "tasks.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def predicted(model: Path, path: Path) -> np.ndarray:
    """Class + 1 of every pixel, by the public Scorer."""
    with deal.Scorer(model) as scorer:
        (classes,) = scorer.predict([decode_bytes(path.read_bytes()).image])
    return classes + np.uint8(1)


def label_maps(folder: Path, to: str) -> Iterator[np.ndarray | None]:
    """Label maps of a folder of tasks, in the order of its documents."""
    if to == "cvat":
        data = (folder / "annotations.xml").read_bytes()
        yield from (d.labels for d in cvat.read(io.BytesIO(data), "", legend(CLASSES)))
    elif to == "coco":
        value = json.loads((folder / "annotations.json").read_bytes())
        yield from (d.labels for d in coco.read(value, "", legend(CLASSES)))
    elif to == "label-studio":
        tasks = exported(json.loads((folder / "tasks.json").read_bytes()))
        yield from (d.labels for d in label_studio.read(tasks, "", legend(CLASSES)))
    else:
        for path in sorted((folder / "masks").iterdir()):
            yield np.asarray(Image.open(path))


@pytest.mark.parametrize("to", FORMATS)
def test_images_and_predictions_are_written_in_rank_order(out, pool, model, tmp_path, to):
    ids = deal.select(out).ids
    found = deal.annotate(out, to=to, output=tmp_path / "tasks")
    folder = tmp_path / "tasks"
    assert (found.count, found.left_out, found.notes) == (len(ids), (), ())
    assert [row["id"] for row in rows(folder)] == list(ids)
    names = sorted(path.name for path in (folder / "images").iterdir())
    assert names == [row["file"] for row in rows(folder)]
    for item_id, name, labels in zip(ids, names, label_maps(folder, to), strict=True):
        assert (folder / "images" / name).read_bytes() == (pool / item_id).read_bytes()
        assert (labels == predicted(model, pool / item_id)).all()
    readme = (folder / "README.txt").read_text()
    assert found.command in readme


def test_difficulty_lies_beside_the_masks(out, pool, model, tmp_path):
    deal.annotate(out, to="masks", output=tmp_path / "tasks")
    (first, *_) = rows(tmp_path / "tasks")
    with deal.Scorer(model) as scorer:
        image = decode_bytes((pool / first["id"]).read_bytes()).image
        (difficulty,) = scorer.difficulty_maps([image])
    heat = np.asarray(Image.open(tmp_path / "tasks" / "difficulty" / first["mask"]))
    assert np.abs(heat.astype(float) - 255 * difficulty).max() <= 0.51


@pytest.mark.parametrize("to", ["label-studio", "coco", "masks"])
def test_batches_are_folders(out, tmp_path, to):
    deal.annotate(out, to=to, output=tmp_path / "tasks", batch=4)
    folders = [path.name for path in sorted((tmp_path / "tasks").iterdir()) if path.is_dir()]
    assert folders == ["batch-001", "batch-002"]
    for row in rows(tmp_path / "tasks"):
        assert row["folder"] == f"batch-00{row['batch']}"
        assert (tmp_path / "tasks" / row["folder"] / "images" / row["file"]).is_file()
    assert [row["batch"] for row in rows(tmp_path / "tasks")] == list("111122")


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
    names = [f"images/{row['file']}" for row in rows(found.output)]
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


def odd_names(folder: Path) -> list[str]:
    folder.mkdir()
    (folder / "a").mkdir()
    names = ["<script>.png", "a'b\".png", "a\nb.png", "a/b.png", "a_b.png", "ü,é.png", "-.png"]
    raw = [os.fsencode(name) for name in names] + [b"\xff.png"]
    for name, image in zip(raw, scenes(len(raw), SIZE), strict=True):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:  # noqa: PTH118
            Image.fromarray(image).save(file, format="PNG")
    return [*names, "%FF.png"]


@pytest.mark.parametrize("to", FORMATS)
def test_odd_names_become_safe_ones_that_do_not_collide(model, tmp_path, to):
    ids = odd_names(tmp_path / "pool")
    deal.score_pool(tmp_path / "pool", model=model, output=tmp_path / "out")
    deal.annotate(tmp_path / "out", to=to, output=tmp_path / "tasks")
    found = rows(tmp_path / "tasks")
    assert {row["id"] for row in found} == set(ids)
    for row in found:
        assert row["file"].isascii()
        assert set(row["file"]).isdisjoint("<>'\"\n/, ")
    assert len({row["file"].casefold() for row in found}) == len(ids)
    assert len(list(label_maps(tmp_path / "tasks", to))) == len(ids)


def test_images_that_exif_turns_are_written_upright(model, tmp_path):
    """Tools differ in what they make of the tag, so no picture has it."""
    (tmp_path / "pool").mkdir()
    (image,) = scenes(1, (16, 24))
    tags = Image.Exif()
    tags[0x0112] = 6
    Image.fromarray(image).save(tmp_path / "pool" / "turned.jpg", exif=tags)
    Image.fromarray(image).save(tmp_path / "pool" / "upright.jpg")
    deal.score_pool(tmp_path / "pool", model=model, output=tmp_path / "out")
    deal.annotate(tmp_path / "out", to="coco", output=tmp_path / "tasks", images="link")
    for row in rows(tmp_path / "tasks"):
        path = tmp_path / "tasks" / "images" / row["file"]
        with Image.open(path) as shown:  # as a tool that does not know of EXIF
            assert shown.getexif().get(0x0112, 1) == 1
            assert shown.size == (int(row["width"]), int(row["height"]))
            pixels = np.asarray(shown.convert("RGB"))
        original = (tmp_path / "pool" / row["id"]).read_bytes()
        assert (pixels == decode_bytes(original).image).all()
        assert path.suffix == (".png" if row["id"] == "turned.jpg" else ".jpg")
    sizes = {row["id"]: (row["width"], row["height"]) for row in rows(tmp_path / "tasks")}
    assert sizes == {"turned.jpg": ("16", "24"), "upright.jpg": ("24", "16")}
    found = deal.annotate(tmp_path / "out", to="coco", output=tmp_path / "none", images="none")
    assert "1 images are turned by EXIF" in found.notes[0]


def test_formats_that_a_tool_does_not_show_become_png(model, tmp_path):
    (tmp_path / "pool").mkdir()
    for name, image in zip(("a.tif", "b.bmp"), scenes(2, SIZE), strict=True):
        Image.fromarray(image).save(tmp_path / "pool" / name)
    deal.score_pool(tmp_path / "pool", model=model, output=tmp_path / "out")
    suffixes = {}
    for to in ("label-studio", "cvat"):
        deal.annotate(tmp_path / "out", to=to, output=tmp_path / to)
        suffixes[to] = {row["id"]: Path(row["file"]).suffix for row in rows(tmp_path / to)}
    assert suffixes == {
        "label-studio": {"a.tif": ".png", "b.bmp": ".bmp"},
        "cvat": {"a.tif": ".tif", "b.bmp": ".bmp"},
    }


def test_images_that_are_gone_or_changed_are_left_out_and_named(out, pool, tmp_path):
    first, second, third, *others = deal.select(out).ids
    (pool / first).unlink()
    (pool / second).write_bytes(b"no image")
    Image.new("RGB", (9, 9)).save(pool / third)
    found = deal.annotate(out, to="coco", output=tmp_path / "tasks")
    assert found.count == len(others)
    assert [line.partition(":")[0] for line in found.left_out] == [first, second, third]
    assert [bool(row["error"]) for row in rows(tmp_path / "tasks")] == [True] * 3 + [False] * 3
    assert "cannot read the file" in (tmp_path / "tasks" / "README.txt").read_text()
    value = json.loads((tmp_path / "tasks" / "annotations.json").read_bytes())
    assert [image["deal_rank"] for image in value["images"]] == [4, 5, 6]
    for item_id in others:
        (pool / item_id).unlink()
    with pytest.raises(OutputError, match="mount the pool where it was"):
        deal.annotate(out, to="coco", output=tmp_path / "none")


def test_images_alone_need_no_model(out, model, tmp_path):
    kept = model.read_bytes()
    model.unlink()
    try:
        with pytest.raises(ResultsError, match="give the same model as --model FILE"):
            deal.annotate(out, to="cvat", output=tmp_path / "tasks")
        assert not (tmp_path / "tasks").exists()
        found = deal.annotate(out, to="cvat", output=tmp_path / "tasks", predictions=False)
    finally:
        model.write_bytes(kept)
    assert found.count == 6
    assert "annotation_path" not in found.command
    assert list(label_maps(tmp_path / "tasks", "cvat")) == [None] * 6


def test_a_folder_that_holds_something_is_refused_and_ours_replaced_on_demand(out, tmp_path):
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(OutputError, match=r"not written by deal annotate \(mine.txt"):
            deal.annotate(out, to="cvat", output=folder, overwrite=overwrite)
    (folder / "mine.txt").unlink()
    deal.annotate(out, to="coco", output=folder, batch=2)
    with pytest.raises(OutputError, match="use --overwrite to replace them"):
        deal.annotate(out, to="cvat", output=folder)
    (folder / "export.zip").write_text("drawn by people")
    (folder / "batch-001" / "notes.txt").write_text("mine")
    (out / "picked.csv").write_text(f"id\n{deal.select(out).ids[3]}\n")
    deal.annotate(
        out, to="cvat", output=folder, overwrite=True, selection=out / "picked.csv", batch=2
    )
    left = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    (picture,) = (row["file"] for row in rows(folder))
    assert left == sorted(
        [
            *("README.txt", "annotate.json", "annotations.xml", "classes.json", "labels.json"),
            *("batch-001/notes.txt", "export.zip", "tasks.csv", f"images/{picture}"),
        ]
    )


def test_an_interrupted_run_leaves_no_half_of_a_document(out, tmp_path, monkeypatch):
    made = Maker._picture
    count = 0

    def interrupted(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt
        return made(*arguments)

    monkeypatch.setattr(Maker, "_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        deal.annotate(out, to="cvat", output=tmp_path / "tasks")
    left = sorted(path.name for path in (tmp_path / "tasks").iterdir())
    assert left == ["annotate.json", "images"]
    found = deal.annotate(out, to="cvat", output=tmp_path / "tasks", overwrite=True)
    assert found.count == 6


def test_links_lead_to_the_images(out, pool, tmp_path):
    deal.annotate(out, to="cvat", output=tmp_path / "tasks", images="link")
    for row in rows(tmp_path / "tasks"):
        link = tmp_path / "tasks" / "images" / row["file"]
        assert link.is_symlink()
        assert link.resolve() == (pool / row["id"]).resolve()


@pytest.mark.parametrize(
    ("to", "prefix", "expected"),
    [
        ("label-studio", "s3://bucket/frames/", "s3://bucket/frames/{}"),
        ("label-studio", "https://host/x", "https://host/x/{}"),
        ("cvat", "s3://bucket/frames", "frames/{}"),
        ("cvat", "https://host/x", "https://host/x/{}"),
        ("coco", "s3://bucket/frames", "{}"),
    ],
)
def test_images_are_named_below_a_prefix(out, tmp_path, to, prefix, expected):
    found = deal.annotate(out, to=to, output=tmp_path / "tasks", image_url=prefix)
    assert not (tmp_path / "tasks" / "images").exists()
    ids = deal.select(out).ids
    if to == "label-studio":
        tasks = json.loads((tmp_path / "tasks" / "tasks.json").read_bytes())
        names = [task["data"]["image"] for task in tasks]
    elif to == "cvat":
        names = (tmp_path / "tasks" / "images.txt").read_text().splitlines()
        assert ("remote" if "https" in prefix else "--cloud_storage_id") in found.command
        assert "--sorting-method predefined" in found.command
    else:
        value = json.loads((tmp_path / "tasks" / "annotations.json").read_bytes())
        names = [image["file_name"] for image in value["images"]]
    assert names == [expected.format(item_id) for item_id in ids]


def test_a_list_of_picks_needs_only_ids(out, tmp_path):
    ids = deal.select(out).ids
    picked = tmp_path / "picked.csv"
    picked.write_text(f"id,note\n{ids[4]},x\n{ids[1]},\nnone.jpg,\n{ids[4]},again\n")
    found = deal.annotate(out, to="coco", output=tmp_path / "tasks", selection=picked)
    assert [row["id"] for row in rows(tmp_path / "tasks")] == [ids[4], ids[1], "none.jpg"]
    assert found.left_out == ("none.jpg: it is not among the results",)
    assert found.notes == (f"{ids[4]} is in picked.csv more than once: the first counts",)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name\na\n", "has no column id"),
        ("id\n", "names no image"),
        ("id,score\na,b\n", "score 'b' is not a number"),
        ("id,region\na,b\n", "region 'b' is not a number"),
        ("id,x\n,1\n", "the id is empty"),
        ("id\nnone.jpg\n", "holds none of the images of the selection"),
        (None, "No such file or directory; give a selection.csv"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused_before_anything_is_written(
    out, tmp_path, text, words
):
    picked = tmp_path / "picked.csv"
    if text is not None:
        picked.write_text(text)
    with pytest.raises((UsageError, ResultsError), match=words):
        deal.annotate(out, to="coco", output=tmp_path / "tasks", selection=picked)
    assert not (tmp_path / "tasks").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"to": "paint"}, "to 'paint': choose one of cvat, label-studio"),
        ({"shape": "box"}, "shape 'box': choose one of mask, polygon"),
        ({"to": "masks", "shape": "polygon"}, "masks takes masks only"),
        ({"to": "label-studio", "images": "none"}, "say where the images are with image_url"),
        ({"to": "fiftyone", "image_url": "s3://a"}, "fiftyone opens files only"),
        ({"to": "lightly", "images": "none"}, "use copy or link"),
        ({"tolerance": float("nan")}, "tolerance nan: a number from 0 on is needed"),
        ({"batch": 0}, "batch 0: a number from 1 on is needed"),
    ],
)
def test_options_that_do_not_go_together_are_refused(out, tmp_path, options, words):
    with pytest.raises(UsageError, match=words):
        deal.annotate(out, **{"to": "cvat", "output": tmp_path / "tasks", **options})
    assert not (tmp_path / "tasks").exists()


def test_polygons_and_small_areas(out, pool, model, tmp_path):
    deal.annotate(
        out, to="cvat", output=tmp_path / "tasks", shape="polygon", tolerance=0.0, min_area=5
    )
    maps = label_maps(tmp_path / "tasks", "cvat")
    for row, labels in zip(rows(tmp_path / "tasks"), maps, strict=True):
        whole = predicted(model, pool / row["id"])
        assert ((labels == whole) | (labels == 0)).all()
        assert 0.5 < (labels == whole).mean() < 1


@pytest.fixture
def of_regions(pool: Path, model: Path, tmp_path: Path) -> Path:
    deal.score_pool(
        pool, model=model, output=tmp_path / "out", regions=deal.Grid(12), budget="regions:5"
    )
    return tmp_path / "out"


def selected(out: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads((out / "selection.json").read_bytes())["selection"]
    return rows


def test_a_region_becomes_a_crop(of_regions, pool, model, tmp_path):
    found = deal.annotate(of_regions, to="masks", output=tmp_path / "tasks")
    assert (found.count, found.of_regions) == (5, True)
    for row, pick in zip(rows(tmp_path / "tasks"), selected(of_regions), strict=True):
        assert (row["id"], int(row["region"])) == (pick["id"], pick["region"])
        x0, y0, w, h = (int(row[key]) for key in ("x0", "y0", "width", "height"))
        assert (x0 % 12, y0 % 12) == (0, 0)
        shown = np.asarray(Image.open(tmp_path / "tasks" / "images" / row["file"]))
        whole = np.asarray(Image.open(pool / row["id"]))
        assert (shown == whole[y0 : y0 + h, x0 : x0 + w]).all()
        labels = np.asarray(Image.open(tmp_path / "tasks" / "masks" / row["mask"]))
        assert (labels == predicted(model, pool / row["id"])[y0 : y0 + h, x0 : x0 + w]).all()


def test_regions_of_an_image_stand_out_in_one_picture(of_regions, pool, tmp_path):
    deal.annotate(of_regions, to="coco", output=tmp_path / "tasks", regions="image")
    picks = selected(of_regions)
    assert [row["id"] for row in rows(tmp_path / "tasks")] == list(
        dict.fromkeys(pick["id"] for pick in picks)
    )
    maps = label_maps(tmp_path / "tasks", "coco")
    for row, labels in zip(rows(tmp_path / "tasks"), maps, strict=True):
        shown = np.asarray(Image.open(tmp_path / "tasks" / "images" / row["file"]))
        whole = np.asarray(Image.open(pool / row["id"]))
        inside = np.zeros(SIZE, bool)
        for region in map(int, row["region"].split(";")):
            y, x = divmod(region, -(-SIZE[1] // 12))
            inside[12 * y : 12 * y + 12, 12 * x : 12 * x + 12] = True
        assert (shown[inside] == whole[inside]).all()
        assert 120 <= shown[~inside].min() <= shown[~inside].max() <= 184  # faint
        assert ((labels > 0) == inside).all()


def test_the_outline_of_a_region_is_looked_up_where_the_list_has_none(of_regions, tmp_path):
    pick = selected(of_regions)[0]
    (tmp_path / "picked.csv").write_text(f"id,region\n{pick['id']},{pick['region']}\n")
    listed = {"selection": tmp_path / "picked.csv", "to": "coco"}
    deal.annotate(of_regions, output=tmp_path / "a", **listed)
    deal.annotate(of_regions, output=tmp_path / "b", to="coco")
    keys = ("x0", "y0", "width", "height")
    assert [rows(tmp_path / "a")[0][key] for key in keys] == [
        rows(tmp_path / "b")[0][key] for key in keys
    ]
    (tmp_path / "picked.csv").write_text(f"id,region\n{pick['id']},999\n")
    with pytest.raises(ResultsError, match=r"region 999 of .* is not among the stored regions"):
        deal.annotate(of_regions, output=tmp_path / "c", **listed)


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


def test_the_script_for_fiftyone_loads_images_masks_and_heat(out, tmp_path):
    folder = deal.annotate(out, to="fiftyone", output=tmp_path / "tasks").output
    last = (
        "print(json.dumps([[s.args[0], s.fields['deal_rank'], s.fields['deal_id'], "
        "s.fields['prediction'].kw['mask_path'], s.fields['difficulty'].kw] for s in calls]))"
    )
    loaded = run_script(folder, "load_fiftyone.py", FAKE_FIFTYONE, last)
    for (path, rank, item_id, mask, heat), row in zip(loaded, rows(folder), strict=True):
        assert (rank, item_id) == (int(row["rank"]), row["id"])
        assert Path(path).name == row["file"]
        assert all(Path(file).is_file() for file in (path, mask, heat["map_path"]))
        assert heat["range"] == [0, 255]


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
    assert {row["deal_id"] for row in metadata} == {row["id"] for row in rows(folder)}


def test_masks_of_a_model_without_difficulty_come_with_their_entropy(pool, tmp_path):
    from tests.helpers.models import metadata, save_model

    props = metadata(difficulty_head=None)
    model = save_model(tmp_path / "plain.onnx", exact=True, props=props)
    deal.score_pool(pool, model=model, output=tmp_path / "out", acquisition="entropy")
    deal.annotate(tmp_path / "out", to="fiftyone", output=tmp_path / "tasks")
    assert len(list((tmp_path / "tasks" / "entropy").iterdir())) == 6
    assert not (tmp_path / "tasks" / "difficulty").exists()


def test_progress_is_told(out, tmp_path):
    seen: list[tuple[int, int]] = []
    deal.annotate(
        out, to="coco", output=tmp_path / "tasks", progress=lambda *done: seen.append(done)
    )
    assert seen == [(number, 6) for number in range(1, 7)]


def test_stored_maps_spare_the_network(out, pool, model, tmp_path):
    deal.annotate(out, to="masks", output=tmp_path / "a")
    first = deal.select(out).ids[0]
    with reopen(out) as session:
        store_maps(out, session)
    kept = model.read_bytes()
    model.unlink()
    try:
        deal.annotate(out, to="masks", output=tmp_path / "b")
        map_path(out, "classes", first).unlink()
        with pytest.raises(ResultsError, match="give the same model as --model FILE"):
            deal.annotate(out, to="masks", output=tmp_path / "c")
    finally:
        model.write_bytes(kept)
    for path in (tmp_path / "a").glob("*/*.png"):
        there = tmp_path / "b" / path.relative_to(tmp_path / "a")
        assert (np.asarray(Image.open(path)) == np.asarray(Image.open(there))).all()
    (tmp_path / "picked.csv").write_text(f"id\n{first}\n")
    Image.new("RGB", SIZE[::-1], (200, 9, 9)).save(pool / first)  # of which no maps are stored
    deal.score_pool(pool, model=model, output=out)
    deal.annotate(out, to="masks", output=tmp_path / "d", selection=tmp_path / "picked.csv")
    (mask,) = (tmp_path / "d" / "masks").iterdir()
    assert (np.asarray(Image.open(mask)) == predicted(model, pool / first)).all()
