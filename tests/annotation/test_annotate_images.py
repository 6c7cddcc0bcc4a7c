"""Images on their way to a labeling tool: names, bytes, what cannot be read."""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deal
from deal.errors import OutputError
from deal.pool.decode import decode_bytes
from tests.helpers.annotation import accept_predictions
from tests.helpers.images import encode
from tests.helpers.logs import writing_log
from tests.helpers.models import scenes
from tests.helpers.runs import SIZE
from tests.helpers.tool_exports import label_maps, task_rows

FORMATS = ("cvat", "label-studio", "coco", "masks", "fiftyone", "lightly")


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
    found = task_rows(tmp_path / "tasks")
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
    for row in task_rows(tmp_path / "tasks"):
        path = tmp_path / "tasks" / "images" / row["file"]
        with Image.open(path) as shown:  # as a tool that does not know of EXIF
            assert shown.getexif().get(0x0112, 1) == 1
            assert shown.size == (int(row["width"]), int(row["height"]))
            pixels = np.asarray(shown.convert("RGB"))
        original = (tmp_path / "pool" / row["id"]).read_bytes()
        assert (pixels == decode_bytes(original).image).all()
        assert path.suffix == (".png" if row["id"] == "turned.jpg" else ".jpg")
    sizes = {row["id"]: (row["width"], row["height"]) for row in task_rows(tmp_path / "tasks")}
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
        suffixes[to] = {row["id"]: Path(row["file"]).suffix for row in task_rows(tmp_path / to)}
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
    assert [bool(row["error"]) for row in task_rows(tmp_path / "tasks")] == [True] * 3 + [False] * 3
    assert "cannot read the file" in (tmp_path / "tasks" / "README.txt").read_text()
    value = json.loads((tmp_path / "tasks" / "annotations.json").read_bytes())
    assert [image["deal_rank"] for image in value["images"]] == [4, 5, 6]
    for item_id in others:
        (pool / item_id).unlink()
    with pytest.raises(OutputError, match="mount the pool where it was"):
        deal.annotate(out, to="coco", output=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_links_lead_to_the_images(out, pool, tmp_path):
    deal.annotate(out, to="cvat", output=tmp_path / "tasks", images="link")
    for row in task_rows(tmp_path / "tasks"):
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
        assert ("manifest.jsonl" in str(found.notes)) is ("s3" in prefix)
    else:
        value = json.loads((tmp_path / "tasks" / "annotations.json").read_bytes())
        names = [image["file_name"] for image in value["images"]]
    assert names == [expected.format(item_id) for item_id in ids]


@pytest.mark.parametrize(
    ("to", "options", "expected"),
    [
        ("cvat", {"images": "none"}, "K%C3%B6ln.png"),
        ("coco", {"images": "none"}, "K%C3%B6ln.png"),
        ("cvat", {"image_url": "s3://b/p"}, "p/K%C3%B6ln.png"),
        ("label-studio", {"image_url": "s3://b/p"}, "s3://b/p/K%C3%B6ln.png"),
        ("label-studio", {"image_url": "https://h/p"}, "https://h/p/K%25C3%25B6ln.png"),
    ],
)
def test_images_are_named_as_their_files_are(model, tmp_path, to, options, expected):
    (tmp_path / "pool").mkdir()
    for name, pixels in zip((b"K%C3%B6ln.png", b"\xff.png"), scenes(2, SIZE), strict=True):
        Image.fromarray(pixels).save(tmp_path / "pool" / os.fsdecode(name))
    deal.score_pool(tmp_path / "pool", model=model, output=tmp_path / "out")
    found = deal.annotate(tmp_path / "out", to=to, output=tmp_path / "t", **options)
    assert any("not UTF-8" in note for note in found.notes) is (expected[:5] != "https")
    if to == "label-studio":
        tasks = json.loads((tmp_path / "t" / "tasks.json").read_bytes())
        names = {task["data"]["image"] for task in tasks}
    elif to == "cvat":
        names = set((tmp_path / "t" / "images.txt").read_text().splitlines())
    else:
        value = json.loads((tmp_path / "t" / "annotations.json").read_bytes())
        names = {image["file_name"] for image in value["images"]}
    assert expected in names


def test_names_that_a_shell_would_change_come_with_a_remedy_that_works(model, tmp_path):
    names = {"a b.png", "-x.png", "[a-z]*.png"}
    (tmp_path / "pool").mkdir()
    for name, pixels in zip(sorted(names), scenes(3, SIZE), strict=True):
        Image.fromarray(pixels).save(tmp_path / "pool" / name)
    deal.score_pool(tmp_path / "pool", model=model, output=tmp_path / "out")
    found = deal.annotate(tmp_path / "out", to="cvat", output=tmp_path / "t", images="none")
    (note,) = found.notes
    lines, given = re.findall(r"run (.*) and write (.*) for \$\(cat images.txt\)", note)[0]
    program = "import argparse, json; p = argparse.ArgumentParser(); p.add_argument('names', "
    program += "nargs='*'); print(json.dumps(p.parse_args().names))"
    run = subprocess.run(
        ["bash", "-c", f"{lines}; {shlex.join([sys.executable, '-c', program])} {given}"],
        cwd=tmp_path / "t",
        capture_output=True,
        check=True,
    )
    assert set(json.loads(run.stdout)) == names
    (tmp_path / "pool" / "a b.png").rename(tmp_path / "pool" / "a\nb.png")
    deal.score_pool(tmp_path / "pool", model=model, output=tmp_path / "out", overwrite=True)
    found = deal.annotate(tmp_path / "out", to="cvat", output=tmp_path / "u", images="none")
    assert found.notes[0].startswith("images.txt cannot hold names with line breaks")


@pytest.mark.parametrize("images", ["copy", "link"])
def test_images_in_an_archive_keep_their_bytes(pool, model, tmp_path, images):
    with tarfile.open(tmp_path / "frames.tar", "w") as archive:
        for path in sorted(pool.iterdir()):
            archive.add(path, f"a/{path.name}")
    deal.score_pool(tmp_path / "frames.tar", model=model, output=tmp_path / "out")
    tasks = deal.annotate(
        tmp_path / "out", to="cvat", output=tmp_path / "tasks", images=images
    ).output
    found = task_rows(tasks)
    assert len(found) == 6
    for row in found:
        original = pool / Path(row["id"]).name
        assert (tasks / "images" / row["file"]).read_bytes() == original.read_bytes()
    labeled = deal.collect(
        tasks / "annotations.xml", from_="cvat", output=tmp_path / "l", tasks=tasks
    )
    assert labeled.count == 6
    found = deal.annotate(tmp_path / "out", to="coco", output=tmp_path / "c", images="none")
    again = deal.collect(
        tmp_path / "c" / "annotations.json", from_="coco", output=tmp_path / "m", tasks=found.output
    )
    assert again.count == 6  # the pool has the images


def test_images_in_a_log_keep_their_bytes_and_frames_of_a_video_become_png(model, tmp_path):
    pytest.importorskip("mcap_ros2.writer", reason="mcap-ros2-support is not installed")
    av = pytest.importorskip("av")
    pictures = scenes(3, (16, 32))
    files = []
    with writing_log(tmp_path / "drive.mcap") as log:
        for number, pixels in enumerate(pictures, 1):
            files.append(encode(Image.fromarray(pixels), "JPEG"))
            log.compressed("/front", files[-1], 10**9 * number)
    with av.open(tmp_path / "drive.mp4", "w") as container:
        stream = container.add_stream("libx264", rate=1)
        stream.height, stream.width, stream.pix_fmt = 16, 32, "yuv420p"
        for pixels in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode())
    pool = [tmp_path / "drive.mcap", tmp_path / "drive.mp4"]
    deal.score_pool(pool, model=model, output=tmp_path / "out")
    tasks = deal.annotate(tmp_path / "out", to="label-studio", output=tmp_path / "tasks").output
    of_log, of_video = [], 0
    for row in task_rows(tasks):
        data = (tasks / "images" / row["file"]).read_bytes()
        if row["id"].startswith("drive.mcap"):
            of_log.append(data)
        else:
            of_video += 1
            assert Path(row["file"]).suffix == ".png"
            with Image.open(io.BytesIO(data)) as frame:
                assert frame.size == (32, 16)
    assert sorted(of_log) == sorted(files)
    assert of_video == 3
    export = accept_predictions(tasks / "tasks.json", tmp_path / "export.json")
    found = deal.collect(export, from_="label-studio", output=tmp_path / "l", tasks=tasks)
    assert (found.count, found.problems) == (6, ())
