"""What folders and globs leave out, and that it is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from deal.errors import PoolError, UsageError
from deal.pool.listing import Pool
from tests.helpers.runs import Deal, rows, write_pool


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def ids(*sources: Path | str, skip: tuple[str, ...] = ()) -> list[str]:
    return [entry.id for entry in Pool(list(map(str, sources)), skip=skip)]


def notes(source: Path | str, skip: tuple[str, ...] = ()) -> list[str]:
    pool = Pool(str(source), skip=skip)
    pool.count()
    return pool.notes()


def test_hidden_names_are_left_out_and_counted(tmp_path: Path) -> None:
    touch(
        tmp_path, "a.jpg", "._a.jpg", ".ipynb_checkpoints/a-checkpoint.jpg", "b/.c.png", "b/d.png"
    )
    touch(tmp_path, ".git/x", ".DS_Store", ".hidden.txt")
    assert ids(tmp_path) == ["a.jpg", "b/d.png"]
    assert notes(tmp_path) == ["passed over: 4 hidden names"]


def test_a_hidden_folder_or_pattern_that_is_named_is_taken(tmp_path: Path) -> None:
    touch(tmp_path, ".frames/a.jpg", ".frames/.b.jpg", "c.jpg")
    assert ids(tmp_path / ".frames") == ["a.jpg"]
    assert ids(f"{tmp_path}/.*/*.jpg") == [".frames/a.jpg"]
    assert ids(f"{tmp_path}/.frames/.*.jpg") == [".b.jpg"]
    assert ids(tmp_path / ".frames" / ".b.jpg") == [".b.jpg"]


def test_other_formats_and_symlinked_folders_are_counted(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    touch(pool, "a.jpg", "x.GIF", "b/y.gif", "b/z.jp2", "notes.txt", "labels.npy")
    touch(tmp_path, "elsewhere/c.jpg")
    (pool / "link").symlink_to(tmp_path / "elsewhere")
    assert ids(pool) == ["a.jpg"]
    assert notes(pool) == ["passed over: 2 .gif, 1 .jp2, 1 symlinked folder"]
    assert notes(f"{pool}/*.jpg") == ["passed over: 1 symlinked folder"]


def test_formats_of_an_extra_name_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deal.pool.walk.IMAGE_SUFFIXES", (".jpg",))
    monkeypatch.setattr("deal.pool.walk.OTHER_SUFFIXES", frozenset({".heic"}))
    touch(tmp_path, "a.jpg", "1.heic", "2.heic", "3.HEIC")
    (note,) = notes(tmp_path)
    assert note.startswith("passed over: 3 .heic (pip install ")
    assert "[heif]" in note


def test_a_pool_of_what_is_passed_over_alone_says_so(tmp_path: Path) -> None:
    pool = tmp_path / "pool"
    touch(pool, "x.gif", ".y.jpg")
    touch(tmp_path, "elsewhere/c.jpg")
    (pool / "link").symlink_to(tmp_path / "elsewhere")
    words = "no image found.*passed over: 1 .gif, 1 hidden name, 1 symlinked folder"
    with pytest.raises(PoolError, match=words):
        list(Pool(str(pool)))


@pytest.mark.parametrize(
    ("skip", "left"),
    [
        (("*_mask.png",), ["a.jpg", "b/c.jpg", "b/masks/d.jpg"]),
        (("masks",), ["a.jpg", "a_mask.png", "b/c.jpg"]),
        (("b/*.jpg",), ["a.jpg", "a_mask.png", "b/masks/d.jpg"]),
        (("b/**/*.jpg",), ["a.jpg", "a_mask.png"]),
        (("b/",), ["a.jpg", "a_mask.png"]),
        (("./b", "a*"), []),
        (("*.JPG",), ["a.jpg", "a_mask.png", "b/c.jpg", "b/masks/d.jpg"]),
    ],
)
def test_skipped_globs_leave_out_images_and_folders(
    tmp_path: Path, skip: tuple[str, ...], left: list[str]
) -> None:
    touch(tmp_path, "a.jpg", "a_mask.png", "b/c.jpg", "b/masks/d.jpg")
    if not left:
        with pytest.raises(PoolError, match="4 skipped names"):
            ids(tmp_path, skip=skip)
        return
    assert ids(tmp_path, skip=skip) == left
    dropped = 4 - len(left)
    plural = "s" if dropped > 1 else ""
    expected = [f"passed over: {dropped} skipped name{plural}"] if dropped else []
    assert notes(tmp_path, skip) == expected


def test_a_manifest_is_skipped_by_its_ids(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "m.csv").write_text("uri,id\na.jpg,front/1\nb.jpg,rear/1\n")
    assert ids(tmp_path / "m.csv", skip=("rear",)) == ["front/1"]


def test_an_empty_glob_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    with pytest.raises(UsageError, match="--skip '' names nothing"):
        Pool(str(tmp_path), skip=("",))


def test_the_command_line_skips_and_notes(deal: Deal, model: Path, tmp_path: Path) -> None:
    pool = write_pool(tmp_path / "frames", 3)
    touch(pool, "._000.png", "x.gif")
    code, _, err = deal(
        "score", pool, "--model", model, "-o", tmp_path / "out", "--skip", "001.*", "--quiet"
    )
    assert code == 0
    assert "passed over: 1 .gif, 1 hidden name, 1 skipped name" in err
    assert sorted(rows(tmp_path / "out")) == ["000.png", "002.png"]
