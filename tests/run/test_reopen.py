"""From results back to the model and the images: for pictures and maps of single images."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from deal import read_results, score_pool
from deal.errors import ItemError, ResultsError
from deal.run.reopen import latest_run, map_pass, ranking_function, reopen, stored_images
from deal.scoring.maps import Maps, void
from tests.helpers.images import exif
from tests.helpers.models import metadata, save_model, scenes
from tests.helpers.runs import write_pool

if TYPE_CHECKING:
    from tests.helpers.checkpoints import Exported

Scored = Callable[..., Path]


@pytest.fixture
def scored(tmp_path: Path, pool: Path, model: Path) -> Scored:
    def run(**options: Any) -> Path:
        options = {"model": model, "output": tmp_path / "out", "device": "cpu", **options}
        score_pool(options.pop("pool", pool), **options)
        return Path(options["output"])

    return run


def maps_of(output: Path, **options: Any) -> dict[str, Maps]:
    """The maps of all images, which all succeed."""
    found = {}
    with reopen(output, **options) as session:
        for item_id, pixels, maps in map_pass(output, stored_images(output), session):
            assert isinstance(maps, Maps), maps
            assert pixels is not None
            assert maps.classes.shape == pixels.shape[:2]
            found[item_id] = maps
    return found


def check_counts(output: Path, found: dict[str, Maps]) -> None:
    """Maps have as many pixels of each class as the results count, at raster size."""
    rows = read_results(output, ["id", "class_pixels"]).to_pylist()
    assert len(rows) == len(found) > 0
    for row in rows:
        classes = found[row["id"]].classes
        counts = np.bincount(classes[~void(classes)], minlength=len(row["class_pixels"]))
        assert counts.tolist() == row["class_pixels"]


def test_a_reopened_model_gives_the_stored_classes(scored: Scored) -> None:
    output = scored()
    check_counts(output, maps_of(output))


def test_the_settings_of_the_run_apply_again(scored: Scored, model: Path, tmp_path: Path) -> None:
    head = {"gamma": 0.1, "weight": [1.0, 0.0, 0.0, 0.0, -1.0], "bias": 0.3, "grid": None}
    (tmp_path / "head.json").write_text(json.dumps(head))
    output = scored(
        model_options={"align_corners": False},
        difficulty_head=tmp_path / "head.json",
        raster="image",
        regions="components:9",
    )
    (tmp_path / "head.json").unlink()  # what was used is in the results
    found = maps_of(output)
    check_counts(output, found)
    for row in read_results(output, ["id", "difficulty_mean"]).to_pylist():
        difficulty = found[row["id"]].difficulty
        assert difficulty is not None
        assert difficulty.mean() == pytest.approx(row["difficulty_mean"], abs=2e-6)


def test_masks_are_kept_with_the_results(scored: Scored, tmp_path: Path) -> None:
    mask = np.ones((24, 32), np.uint8)
    mask[16:] = 0
    Image.fromarray(255 * mask).save(tmp_path / "mask.png")
    output = scored(mask=str(tmp_path / "mask.png"))
    (tmp_path / "mask.png").unlink()
    found = maps_of(output)
    check_counts(output, found)
    for maps in found.values():
        np.testing.assert_array_equal(void(maps.classes), mask == 0)
    kept = next((output / "runs").glob("mask-*"))
    kept.write_bytes(b"")
    with pytest.raises(ResultsError, match="same deal-score command again"):
        reopen(output)
    kept.unlink()
    with pytest.raises(ResultsError, match="same deal-score command again"):
        reopen(output)


def test_masks_by_camera_find_their_images(scored: Scored, pool: Path, tmp_path: Path) -> None:
    lines = ["uri,camera"] + [
        f"{pool}/good{n}.png,{'left' if n < 2 else 'right'}" for n in range(4)
    ]
    (tmp_path / "pool.csv").write_text("\n".join(lines))
    left = np.ones((24, 32), np.uint8)
    left[:, :8] = 0
    output = scored(pool=tmp_path / "pool.csv", mask={"left": left})
    found = maps_of(output)
    check_counts(output, found)
    assert sorted(void(maps.classes).sum() for maps in found.values()) == [0, 0, 192, 192]


def test_a_committee_is_opened_again(scored: Scored, model: Path, tmp_path: Path) -> None:
    second = save_model(tmp_path / "2.onnx", exact=True, seed=8, props=metadata())
    output = scored(model=[model, second], acquisition="bald")
    found = maps_of(output)
    check_counts(output, found)
    for row in read_results(output, ["id", "mutual_information_mean"]).to_pylist():
        mean = found[row["id"]].score.mean()
        assert mean == pytest.approx(row["mutual_information_mean"], abs=2e-6)
    alone = maps_of(output, model=model)  # is enough for classes and difficulty
    check_counts(output, alone)


def test_the_score_map_is_that_of_the_stored_selection(scored: Scored) -> None:
    output = scored(acquisition="ds:entropy")
    assert ranking_function(output) == {"acquisition": "ds:entropy"}
    found = maps_of(output)
    for row in read_results(output, ["id", "difficulty_weighted_entropy_mean"]).to_pylist():
        mean = found[row["id"]].score.mean()
        assert mean == pytest.approx(row["difficulty_weighted_entropy_mean"], abs=2e-6)


def test_a_selection_by_a_function_that_is_not_here_has_no_function(scored: Scored) -> None:
    output = scored()
    document = json.loads((output / "selection.json").read_text())
    (output / "selection.json").write_text(json.dumps({**document, "acquisition": "of someone"}))
    assert ranking_function(output) is None
    assert len(maps_of(output)) == 4


def test_rotated_images_are_mapped_upright(scored: Scored, tmp_path: Path) -> None:
    folder = tmp_path / "turned"
    folder.mkdir()
    Image.fromarray(scenes(1, (24, 32))[0]).save(folder / "a.png", exif=exif(6))
    output = scored(pool=folder, output=tmp_path / "turned-out")
    found = maps_of(output)
    assert found["a.png"].classes.shape == (32, 24)
    check_counts(output, found)


def test_one_image_that_is_gone_or_changed_does_not_stop_the_others(
    scored: Scored, pool: Path
) -> None:
    output = scored()
    (pool / "good0.png").unlink()
    (pool / "good1.png").write_bytes(b"no image")
    Image.fromarray(scenes(1, (30, 30))[0]).save(pool / "good2.png")
    ids = ["good0.png", "good1.png", "good2.png", "good3.png", "never.png"]
    with reopen(output) as session:
        found = {item_id: maps for item_id, _, maps in map_pass(output, ids, session)}
    assert list(found) == ids
    errors = [maps for maps in found.values() if isinstance(maps, ItemError)]
    assert [error.code for error in errors] == ["io", "decode", "size", "io"]
    assert "score the pool again" in errors[2].message
    assert isinstance(found["good3.png"], Maps)


def test_the_reason_of_the_network_is_told(tmp_path: Path) -> None:
    model = save_model(tmp_path / "m.onnx", exact=True, nan_above=200, props=metadata())
    folder = write_pool(tmp_path / "pool", 2)
    Image.fromarray(np.full((24, 32, 3), 255, np.uint8)).save(folder / "white.png")
    score_pool(folder, model=model, output=tmp_path / "out", device="cpu")
    with reopen(tmp_path / "out") as session:
        found = list(map_pass(tmp_path / "out", ["white.png"], session))
    assert isinstance(found[0][2], ItemError)
    assert found[0][2].code == "nonfinite"


def test_a_model_that_moved_is_given_anew(scored: Scored, tmp_path: Path) -> None:
    model = save_model(tmp_path / "old.onnx", exact=True, props=metadata())
    output = scored(model=model)
    model.rename(tmp_path / "new.onnx")
    with pytest.raises(ResultsError, match="--model FILE") as error:
        reopen(output)
    assert "old.onnx" in str(error.value)
    check_counts(output, maps_of(output, model=tmp_path / "new.onnx"))


def test_another_model_is_refused(scored: Scored, tmp_path: Path) -> None:
    output = scored()
    other = save_model(tmp_path / "other.onnx", exact=True, seed=9, props=metadata())
    with pytest.raises(ResultsError, match="is not the model that scored"):
        reopen(output, other)


def test_a_relative_model_is_found_from_another_folder(
    scored: Scored, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    output = scored(model=model.name)
    monkeypatch.chdir(tmp_path)
    check_counts(output, maps_of(output))


def test_without_a_record_of_the_run_the_model_must_be_given(scored: Scored, model: Path) -> None:
    output = scored()
    shutil.rmtree(output / "runs")
    assert latest_run(output) is None
    with pytest.raises(ResultsError, match="--model FILE"):
        reopen(output)
    check_counts(output, maps_of(output, model=model))


def test_a_damaged_record_is_one_line(scored: Scored) -> None:
    output = scored()
    (output / "runs/0-of-1.json").write_text("{")
    with pytest.raises(ResultsError, match=r"0-of-1\.json cannot be read") as error:
        reopen(output)
    assert len(str(error.value).splitlines()) == 1


def test_the_latest_of_several_runs_counts(scored: Scored) -> None:
    output = scored()
    scored()
    record = latest_run(output)
    assert record == json.loads((output / "runs/0-of-1.json").read_text())


def test_shards_in_folders_of_their_own_are_one_pool(scored: Scored, tmp_path: Path) -> None:
    outputs = [scored(output=tmp_path / f"out{n}", shard=f"{n}/2") for n in range(2)]
    ids = list(stored_images(outputs))
    assert len(ids) == 4
    with reopen(outputs[0]) as session:
        assert all(isinstance(maps, Maps) for _, _, maps in map_pass(outputs, ids, session))


def test_a_folder_without_results_says_so(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="holds no results"):
        reopen(tmp_path)


@pytest.mark.slow
def test_a_checkpoint_that_scored_is_opened_by_its_engine(
    light: Exported, pool: Path, tmp_path: Path
) -> None:
    options = {"engine": "torch", "device": "cpu", "threads": 1}
    score_pool(pool, model=light.checkpoint, output=tmp_path / "out", **options)
    assert len(maps_of(tmp_path / "out")) == 4
    with pytest.raises(ResultsError, match="is not the model that scored"):
        reopen(tmp_path / "out", light.model, engine="ort")
