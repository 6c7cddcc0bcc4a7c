"""What ``deal.collect`` does not take for an export, and why."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import deal
from deal.errors import OutputError, PoolError, UsageError
from tests.helpers.annotation import zipped
from tests.helpers.runs import SIZE
from tests.helpers.tool_exports import box, document, from_cvat, image


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"car": 1}', "'car' becomes 1; give a name, or null for void"),
        ('["car"]', "map"),
        ("{", "map"),
    ],
)
def test_a_map_that_does_not_fit_is_refused(tasks, export, tmp_path, text, words):
    (tmp_path / "map.json").write_text(text)
    with pytest.raises((UsageError, PoolError), match=words):
        deal.collect(
            export,
            from_="cvat",
            output=tmp_path / "labeled",
            tasks=tasks,
            class_map=tmp_path / "map.json",
        )
    assert not (tmp_path / "labeled").exists()


def test_a_folder_with_other_files_is_refused(tasks, export, tmp_path):
    (tmp_path / "l").mkdir()
    (tmp_path / "l" / "mine.txt").write_text("mine")
    for add in (True, False):
        with pytest.raises(OutputError, match=r"not written by deal collect \(mine.txt"):
            deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks, add=add)


def test_a_collection_that_fails_leaves_nothing(tasks, export, tmp_path):
    data = (tasks / "annotations.xml").read_bytes()
    (tmp_path / "cut.xml").write_bytes(data[: len(data) // 2])
    with pytest.raises(PoolError, match="damaged or not XML"):
        deal.collect(tmp_path / "cut.xml", from_="cvat", output=tmp_path / "l", tasks=tasks)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(("l", "_l"))]


def damaged(kind: str, path: Path) -> Path:
    if kind == "slip":
        return zipped(path, {"../../annotations.xml": document()})
    if kind == "absolute":
        return zipped(path, {"/etc/annotations.xml": document()})
    zipped(path, {"annotations.xml": document(image("a", box("car", 0, 0, 1, 1)))})
    data = bytearray(path.read_bytes())
    if kind == "cut":
        data = data[:-30]
    elif kind == "locked":
        data[6] |= 1
        data[data.index(b"PK\x01\x02") + 8] |= 1
    elif kind == "bomb":  # says that it unpacks to 2 GiB
        place = data.index(b"PK\x01\x02") + 24
        data[place : place + 4] = (2**31).to_bytes(4, "little")
    elif kind == "flipped":
        data[data.index(b"annotations.xml") + 30] ^= 255
    path.write_bytes(bytes(data))
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("slip", "names the file '../../annotations.xml', which is outside of it"),
        ("absolute", "which is outside of it"),
        ("cut", "is no whole ZIP file"),
        ("locked", "locked by a password"),
        ("flipped", "cannot be read|damaged"),
        ("bomb", "would unpack to 2147483648 bytes, too many for its size"),
    ],
)
def test_a_zip_file_that_is_no_export_is_refused(tasks, tmp_path, kind, words):
    path = damaged(kind, tmp_path / "export.zip")
    with pytest.raises(PoolError, match=words) as refused:
        deal.collect(path, from_="cvat", output=tmp_path / "l", tasks=tasks)
    assert len(str(refused.value).splitlines()) == 1
    assert not (tmp_path / "l").exists()


@pytest.mark.parametrize(
    ("from_", "name", "data", "words"),
    [
        ("cvat", "a.json", b"{}", "holds no .xml file, as cvat exports it"),
        ("coco", "a.xml", b"<a/>", "holds no .json file"),
        ("coco", "a.json", b"{", "is damaged or not JSON"),
        ("coco", "a.json", b"\xff{}", "is damaged or not JSON in UTF-8"),
        ("coco", "a.json", b"[" * 100_000, "is damaged or not JSON"),
        ("label-studio", "a.json", b"{}", "is not a list of tasks"),
        ("voc", "a.txt", b"", "holds no labelmap.txt"),
        ("paint", "a.json", b"{}", "from 'paint': choose one of cvat"),
    ],
)
def test_a_file_that_is_no_export_is_refused(tasks, tmp_path, from_, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises((PoolError, UsageError), match=words):
        deal.collect(tmp_path / name, from_=from_, output=tmp_path / "l", tasks=tasks)
    assert not (tmp_path / "l").exists()


def test_paths_that_do_not_exist_or_are_empty_are_refused(tasks, export, tmp_path):
    (tmp_path / "empty").mkdir()
    for source, words in ((tmp_path / "none", "No such file"), (tmp_path / "empty", "is empty")):
        with pytest.raises(PoolError, match=words):
            deal.collect(source, from_="cvat", output=tmp_path / "l", tasks=tasks)
    with pytest.raises(PoolError, match="not a folder that deal annotate wrote"):
        deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tmp_path / "empty")


def test_predictions_are_told_from_what_people_drew(tasks, tmp_path):
    with pytest.raises(PoolError, match="is what deal annotate wrote; name what the labeling tool"):
        deal.collect(tasks, from_="cvat", output=tmp_path / "l", tasks=tasks)
    found = deal.collect(
        tasks / "annotations.xml", from_="cvat", output=tmp_path / "l", tasks=tasks
    )
    assert "these labels are the model's, not people's" in found.notes[0]


def test_predictions_in_a_folder_of_a_batch_are_told_too(out, tmp_path):
    tasks = deal.annotate(out, to="coco", output=tmp_path / "tasks", batch=3).output
    found = deal.collect(
        tasks / "batch-001" / "annotations.json", from_="coco", output=tmp_path / "l", tasks=tasks
    )
    assert "these labels are the model's, not people's" in found.notes[0]


def test_an_export_that_lies_among_the_tasks_is_no_prediction(tasks, tmp_path):
    (tasks / "export").mkdir()
    path = (tasks / "annotations.xml").rename(tasks / "export" / "annotations.xml")
    found = deal.collect(path, from_="cvat", output=tmp_path / "l", tasks=tasks)
    assert (found.count, found.notes) == (6, ())


def test_a_pool_that_has_moved_is_asked_for(out, pool, tmp_path):
    tasks = deal.annotate(out, to="cvat", output=tmp_path / "tasks", images="link").output
    export = from_cvat(tasks, tmp_path)
    pool.rename(tmp_path / "moved")
    with pytest.raises(PoolError, match=r"No such file.*; name the folder .* with --images\)$"):
        deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks)
    found = deal.collect(
        export, from_="cvat", output=tmp_path / "l", tasks=tasks, images=tmp_path / "moved"
    )
    assert found.count == 6
    (tmp_path / "empty").mkdir()
    with pytest.raises(PoolError, match=r"no image in .*empty has this name\)$"):
        deal.collect(
            export, from_="cvat", output=tmp_path / "m", tasks=tasks, images=tmp_path / "empty"
        )


def test_an_export_of_other_tasks_is_an_error_that_says_so(tasks, tmp_path):
    text = document(image("stranger.png", box("car", 0, 0, 9, 9)))
    (tmp_path / "a.xml").write_bytes(text)
    with pytest.raises(PoolError, match=r"none of the tasks.*; name with --tasks the"):
        deal.collect(tmp_path / "a.xml", from_="cvat", output=tmp_path / "l", tasks=tasks)


def test_a_folder_of_images_that_does_not_exist_is_refused(tasks, export, tmp_path):
    with pytest.raises(UsageError, match=r"images '.*nope': there is no such folder"):
        deal.collect(
            export, from_="cvat", output=tmp_path / "l", tasks=tasks, images=tmp_path / "nope"
        )
    assert not (tmp_path / "l").exists()


def test_an_export_without_labels_is_an_error_that_says_why(out, tmp_path):
    folder = deal.annotate(out, to="label-studio", output=tmp_path / "tasks").output
    (tmp_path / "export.json").write_bytes((folder / "tasks.json").read_bytes())
    with pytest.raises(PoolError, match=r"no labels were found .*nobody has labeled it"):
        deal.collect(
            tmp_path / "export.json", from_="label-studio", output=tmp_path / "l", tasks=folder
        )


def test_a_share_that_is_none_is_refused(tasks, export, tmp_path):
    with pytest.raises(UsageError, match="val 2: a share from 0 to 1"):
        deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks, val=2)


@pytest.mark.parametrize("name", ["../secret.png", "{}/secret.png"])
def test_images_are_looked_for_nowhere_but_in_their_folder(tmp_path, name):
    (tmp_path / "images").mkdir()
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "secret.png")
    text = document(image(name.format(tmp_path), box("car", 0, 0, 9, 9)))
    (tmp_path / "a.xml").write_bytes(text)
    with pytest.raises(PoolError, match="no labels were found"):
        deal.collect(
            tmp_path / "a.xml", from_="cvat", output=tmp_path / "l", images=tmp_path / "images"
        )


def test_a_list_that_leads_out_of_its_folder_is_refused(tasks, export, tmp_path):
    deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks)
    path = tmp_path / "l" / "labeled.csv"
    path.write_text(path.read_text().replace('"train"', '"../pool"'))
    with pytest.raises(PoolError, match="a place outside of the data set"):
        deal.collect(export, from_="cvat", output=tmp_path / "l", tasks=tasks, add=True)
