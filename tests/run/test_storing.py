"""Maps as files: what a run and ``deal select`` store beside the tables."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deal import read_results, select
from deal.errors import UsageError
from deal.results.maps import from_stored, map_path, read_map
from deal.run.pipeline import score_pool
from deal.run.progress import Progress
from deal.run.reopen import reopen
from deal.run.storing import store_maps
from tests.helpers.images import exif
from tests.helpers.models import metadata, save_model, scenes
from tests.helpers.runs import Deal, write_pool


@pytest.fixture
def scored(tmp_path: Path, model: Path) -> Callable[..., Path]:
    def run(count: int = 6, **options: Any) -> Path:
        folder = options.pop("pool", tmp_path / "pool")
        if not folder.exists():
            write_pool(folder, count)
        options = {"model": model, "output": tmp_path / "out", "device": "cpu", **options}
        score_pool(folder, **options)
        return Path(options["output"])

    return run


def files(output: Path) -> dict[str, tuple[int, int]]:
    """Stored maps by path, with inode and time of change, which tell whether one was written."""
    found = {}
    for path in sorted((output / "maps").rglob("*.png")):
        status = path.stat()
        found[str(path.relative_to(output / "maps"))] = (status.st_ino, status.st_mtime_ns)
    return found


def test_nothing_is_stored_unless_asked(scored: Callable[..., Path]) -> None:
    assert not (scored() / "maps").exists()


def test_the_maps_of_what_is_selected_agree_with_the_tables(scored: Callable[..., Path]) -> None:
    output = scored(store_maps="selected", budget=2)
    rows = {row["id"]: row for row in read_results(output).to_pylist()}
    chosen = select(output, budget=2).ids
    assert set(files(output)) == {
        f"{kind}/{item_id}.png"
        for kind in ("classes", "difficulty", "entropy")
        for item_id in chosen
    }
    for item_id in chosen:
        row = rows[item_id]
        classes = read_map(output, "classes", item_id)
        assert classes is not None
        counts = np.bincount(classes.ravel(), minlength=6)
        assert counts.tolist() == [0, *row["class_pixels"]]
        for kind in ("difficulty", "entropy"):
            stored = read_map(output, kind, item_id)
            assert stored is not None
            mean = from_stored(kind, stored, 5).mean()
            assert mean == pytest.approx(row[f"{kind}_mean"], abs=0.005)
    names = json.loads((output / "maps/classes.json").read_text())
    assert names["classes"][0] == "road"


def test_all_stores_every_image_that_is_ok(scored: Callable[..., Path], tmp_path: Path) -> None:
    write_pool(tmp_path / "pool", 3)
    (tmp_path / "pool/broken.png").write_bytes(b"")
    output = scored(store_maps="all", budget=1)
    assert len(files(output)) == 9


def test_a_model_without_difficulty_has_two_maps_per_image(
    scored: Callable[..., Path], tmp_path: Path
) -> None:
    bare = save_model(tmp_path / "bare.onnx", exact=True, props=metadata(difficulty_head=None))
    output = scored(2, model=bare, acquisition="entropy", store_maps="all")
    assert {path.split("/")[0] for path in files(output)} == {"classes", "entropy"}


def test_maps_that_are_there_are_not_made_again(scored: Callable[..., Path]) -> None:
    output = scored(store_maps="selected", budget=2)
    before = files(output)
    scored(store_maps="all")
    after = files(output)
    assert len(after) == 18
    assert {path: after[path] for path in before} == before
    map_path(output, "entropy", "000.png").unlink()  # as after a kill between two files
    scored(store_maps="all")
    assert set(files(output)) == set(after)


def test_an_image_that_changed_gets_new_maps(scored: Callable[..., Path], tmp_path: Path) -> None:
    output = scored(store_maps="all")
    path = tmp_path / "pool/000.png"
    Image.fromarray(scenes(9, (24, 32))[8]).save(path)
    os.utime(path, ns=(1, 1))
    scored()  # without maps: the old one is gone, rather than wrong
    assert read_map(output, "classes", "000.png") is None
    assert read_map(output, "classes", "001.png") is not None
    scored(store_maps="all")
    row = read_results(output).to_pylist()
    pixels = {entry["id"]: entry["class_pixels"] for entry in row}["000.png"]
    classes = read_map(output, "classes", "000.png")
    assert classes is not None
    assert np.bincount(classes.ravel(), minlength=6)[1:].tolist() == pixels


def test_overwriting_with_another_model_removes_maps_of_the_old(
    scored: Callable[..., Path], tmp_path: Path
) -> None:
    output = scored(store_maps="all")
    other = save_model(tmp_path / "other.onnx", exact=True, seed=8, props=metadata())
    scored(model=other, overwrite=True)
    assert files(output) == {}


def test_maps_of_rotated_and_large_images_have_their_upright_size(
    scored: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "turned"
    folder.mkdir()
    Image.fromarray(scenes(1, (60, 100))[0]).save(folder / "a.jpg", exif=exif(6))
    small = {"model_options": {"input_size": [24, 32]}}
    output = scored(pool=folder, output=tmp_path / "out2", store_maps="all", **small)
    for kind in ("classes", "difficulty", "entropy"):
        found = read_map(output, kind, "a.jpg")
        assert found is not None
        assert found.shape == (100, 60)


def test_masked_pixels_are_0(scored: Callable[..., Path]) -> None:
    mask = np.ones((24, 32), np.uint8)
    mask[10:] = 0
    output = scored(2, mask=mask, store_maps="all")
    for kind in ("classes", "difficulty", "entropy"):
        found = read_map(output, kind, "000.png")
        assert found is not None
        assert not found[10:].any()
        assert found[:10].any()


def test_an_image_that_is_gone_is_a_note_and_the_others_are_stored(
    scored: Callable[..., Path], tmp_path: Path
) -> None:
    output = scored()
    for number in range(5):
        (tmp_path / f"pool/00{number}.png").unlink()
    with reopen(output) as session:
        notes = store_maps(output, session)
    assert len(notes) == 4
    assert notes[0].startswith("no maps of '000.png': cannot read")
    assert notes[3] == "no maps of 2 other images either"
    assert len(files(output)) == 3


def test_progress_counts_what_was_there(scored: Callable[..., Path]) -> None:
    output = scored(store_maps="selected", budget=2)
    seen: list[Progress] = []
    with reopen(output) as session:
        store_maps(output, session, progress=seen.append)
    assert [(state.finished, state.total) for state in seen] == [(n, 6) for n in (3, 4, 5, 6)]
    assert seen[0].what == "images mapped"


def test_shards_store_their_own_images(scored: Callable[..., Path], tmp_path: Path) -> None:
    output = scored(store_maps="all", shard="0/2")
    first = len(files(output))
    scored(store_maps="all", shard="1/2")
    assert 0 < first < 18
    assert len(files(output)) == 18


def test_select_stores_maps_into_the_folder_of_each_image(
    scored: Callable[..., Path], deal: Deal, tmp_path: Path
) -> None:
    outputs = [scored(output=tmp_path / f"out{n}", shard=f"{n}/2") for n in range(2)]
    options = ("--store-maps", "selected", "--acquisition", "entropy")
    code, out, _ = deal("select", *outputs, *options)
    assert code == 0
    assert f"maps     {outputs[0]}/maps, {outputs[1]}/maps" in out
    stored = [set(files(output)) for output in outputs]
    assert all(stored)
    assert len(stored[0] | stored[1]) == 18
    for output in outputs:
        own = set(read_results(output, ["id"]).column("id").to_pylist())
        assert {path.partition("/")[2].removesuffix(".png") for path in files(output)} == own


def test_an_unknown_choice_is_refused(scored: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none, selected or all"):
        scored(store_maps="some")


def test_odd_ids_have_maps_too(scored: Callable[..., Path], tmp_path: Path) -> None:
    folder = write_pool(tmp_path / "odd", 1)
    lines = ["id,uri", f'"../../up, ""x"".png",{folder}/000.png', f"{'y' * 300},{folder}/000.png"]
    (tmp_path / "odd.csv").write_text("\n".join(lines))
    output = scored(pool=tmp_path / "odd.csv", output=tmp_path / "out3", store_maps="all")
    assert len(files(output)) == 6
    assert read_map(output, "classes", '../../up, "x".png') is not None
    assert not (tmp_path / 'up, "x".png.png').exists()
