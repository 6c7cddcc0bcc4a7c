"""Regions and masks through a whole run: files, resumption, quarantine, what is stored."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deal import cli, read_regions, read_results
from deal._demo import demo_file
from deal.cli import run
from deal.run.pipeline import RunReport, score_pool
from tests.helpers.models import scenes

SIZE = (24, 32)
QUARTERS = np.add.outer(np.arange(24) // 12 * 2, np.arange(32) // 16).astype(np.uint8)

Score = Callable[..., RunReport]


@pytest.fixture
def score(tmp_path: Path, model: Path) -> Score:
    """Score ``pool`` (made with six images) into ``out``."""
    folder = tmp_path / "pool"
    folder.mkdir()
    for index, image in enumerate(scenes(6, SIZE)):
        Image.fromarray(image).save(folder / f"{index}.png")

    def call(**options: Any) -> RunReport:
        options = {"pool": folder, "output": tmp_path / "out", **options}
        return score_pool(model=model, **options)

    return call


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    folder = tmp_path / "segments"
    folder.mkdir()
    for index in range(6):
        Image.fromarray(QUARTERS).save(folder / f"{index}.png")
    return folder


def image_rows(output: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in read_results([output]).to_pylist()}


def region_rows(output: Path) -> list[dict[str, Any]]:
    return sorted(read_regions([output]).to_pylist(), key=lambda row: (row["id"], row["region"]))


def test_segments_of_files_are_stored(score: Score, segments: Path, tmp_path: Path) -> None:
    report = score(regions=f"segments:{segments}")
    assert (report.scored, report.exit_code) == (6, 0)
    rows = region_rows(tmp_path / "out")
    assert [row["region"] for row in rows] == [0, 1, 2, 3] * 6
    assert [(row["x0"], row["y0"], row["x1"], row["y1"]) for row in rows[:4]] == [
        (0, 0, 16, 12),
        (16, 0, 32, 12),
        (0, 12, 16, 24),
        (16, 12, 32, 24),
    ]
    assert {row["n_pixels"] for row in rows} == {12 * 16}
    settings = json.loads((tmp_path / "out/runs/0-of-1.json").read_text())["settings"]
    assert settings["regions"] == f"segments:{segments}"


def test_the_size_of_segments_is_that_of_the_oriented_image(
    score: Score, segments: Path, tmp_path: Path
) -> None:
    image = Image.fromarray(scenes(1, SIZE)[0])
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "pool/0.png", exif=exif)
    score(regions=f"segments:{segments}")
    row = image_rows(tmp_path / "out")["0.png"]
    assert (row["width"], row["height"], row["error_code"]) == (24, 32, "segments")
    Image.fromarray(QUARTERS.T).save(segments / "0.png")
    score(regions=f"segments:{segments}")
    assert image_rows(tmp_path / "out")["0.png"]["status"] == "ok"


def test_images_whose_segments_do_not_fit_are_quarantined_and_tried_again(
    score: Score, segments: Path, tmp_path: Path
) -> None:
    (segments / "0.png").unlink()
    (segments / "1.png").write_bytes(b"")
    Image.fromarray(QUARTERS[1:]).save(segments / "2.png")
    np.savez(segments / "3.npz", QUARTERS)
    report = score(regions=f"segments:{segments}")
    assert (report.scored, report.errors, report.exit_code) == (2, {"segments": 4}, 3)
    rows = image_rows(tmp_path / "out")
    for index, says in enumerate(("no file", "truncated", "23×32", "both")):
        row = rows[f"{index}.png"]
        assert (row["status"], row["error_code"]) == ("error", "segments")
        assert (row["width"], row["height"]) == (32, 24)
        assert says in row["error"]
    assert {row["id"] for row in region_rows(tmp_path / "out")} == {"4.png", "5.png"}
    for index in range(4):
        Image.fromarray(QUARTERS).save(segments / f"{index}.png")
    (segments / "3.npz").unlink()
    again = score(regions=f"segments:{segments}")
    assert (again.skipped, again.scored, again.exit_code) == (2, 4, 0)
    assert Counter(row["id"] for row in region_rows(tmp_path / "out")).most_common(1)[0][1] == 4


def test_an_image_is_scored_again_when_its_segments_change(
    score: Score, segments: Path, tmp_path: Path
) -> None:
    first = score(regions=f"segments:{segments}")
    assert score(regions=f"segments:{segments}").skipped == first.scored == 6
    Image.fromarray(QUARTERS * 0).save(segments / "2.png")
    os.utime(segments / "2.png", ns=(1, 1))
    again = score(regions=f"segments:{segments}")
    assert (again.skipped, again.scored) == (5, 1)
    found = Counter(row["id"] for row in region_rows(tmp_path / "out"))
    assert found["2.png"] == 1
    assert found["3.png"] == 4


def test_a_manifests_ids_name_the_files(score: Score, segments: Path, tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_text("uri,id\npool/0.png,drive/a\npool/1.png,../../1.png\n")
    (segments / "drive").mkdir()
    np.savez(segments / "drive/a.npz", QUARTERS.astype(np.int64) - 1)
    score(pool=tmp_path / "pool.csv", regions=f"segments:{segments}")
    rows = image_rows(tmp_path / "out")
    assert rows["drive/a"]["status"] == "ok"
    assert rows["../../1.png"]["error_code"] == "segments"
    assert [row["region"] for row in region_rows(tmp_path / "out")] == [0, 1, 2]


@pytest.mark.parametrize("regions", ["slic:12", "components:8", "segments"])
def test_the_same_inputs_give_the_same_rows(
    score: Score, segments: Path, tmp_path: Path, regions: str
) -> None:
    regions = f"segments:{segments}" if regions == "segments" else regions
    options: dict[str, Any] = {"regions": regions, "outlines": True}
    score(**options, sessions=1, decode_threads=1, output=tmp_path / "a")
    score(**options, sessions=3, decode_threads=4, batch_size=4, output=tmp_path / "b")
    rows = region_rows(tmp_path / "a")
    assert rows == region_rows(tmp_path / "b")
    assert {row["id"] for row in rows} == {f"{index}.png" for index in range(6)}
    assert all(row["polygon"].startswith(("POLYGON ((", "MULTIPOLYGON (((")) for row in rows)


def test_other_regions_or_outlines_are_other_settings(score: Score, tmp_path: Path) -> None:
    from deal.errors import OutputError

    score(regions="slic:12")
    for change in (
        {"regions": "slic:13"},
        {"regions": "components"},
        {"regions": "slic:12", "outlines": True},
        {"regions": "slic:12", "keep_regions": 2},
    ):
        with pytest.raises(OutputError, match="other settings"):
            score(**change)


def test_kept_regions_are_those_that_the_acquisition_function_ranks_highest(
    score: Score, tmp_path: Path
) -> None:
    score(regions="grid:8", acquisition="ripu", keep_regions=2)
    score(regions="grid:8", acquisition="ripu", output=tmp_path / "all")
    every = [row for row in region_rows(tmp_path / "all") if row["id"] == "0.png"]
    best = sorted(every, key=lambda row: -row["impurity"] * row["entropy_mean"])[:2]
    kept = [row["region"] for row in region_rows(tmp_path / "out") if row["id"] == "0.png"]
    assert kept == sorted(row["region"] for row in best)


def test_a_note_says_what_else_ranks_the_regions_of_one_image(score: Score) -> None:
    report = score(regions="grid:8", acquisition="de", keep_regions=2)
    assert [note for note in report.notes if "de cannot rank the regions" in note]
    assert not score(regions="grid:8", acquisition="ds", keep_regions=2, overwrite=True).notes


def test_components_of_the_bundled_model_are_areas_of_one_class(tmp_path: Path) -> None:
    out = tmp_path / "out"
    images = sorted(Path(str(demo_file("pool"))).iterdir())[:3]
    report = score_pool(
        images,
        model=demo_file("model.onnx"),
        output=out,
        regions="components:100",
        keep_regions=5,
        outlines=True,
    )
    assert report.scored == 3
    rows = region_rows(out)
    assert 3 < len(rows) <= 15
    for row in rows:
        assert row["n_pixels"] >= 100
        assert row["impurity"] == 0
        assert row["polygon"].startswith("POLYGON ((")
        assert 0 <= row["x0"] < row["x1"] <= 320


def test_masks_go_by_the_camera_of_the_manifest(score: Score, tmp_path: Path) -> None:
    (tmp_path / "pool.csv").write_text(
        "uri,camera\npool/0.png,front\npool/1.png,rear\npool/2.png,\n"
    )
    for camera, rows in (("front", 6), ("rear", 12)):
        mask = np.full(SIZE, 255, np.uint8)
        mask[:rows] = 0
        Image.fromarray(mask).save(tmp_path / f"{camera}.png")
    texts = [f"{camera}={tmp_path}/{camera}.png" for camera in ("front", "rear")]
    report = score(pool=tmp_path / "pool.csv", mask=texts, regions="grid:8")
    assert {row["id"]: row["n_pixels"] for row in image_rows(tmp_path / "out").values()} == {
        "pool/0.png": 18 * 32,
        "pool/1.png": 12 * 32,
        "pool/2.png": 24 * 32,
    }
    assert len([note for note in report.notes if "1 images are from cameras without" in note]) == 1


# ---- the command line -------------------------------------------------------------------------


def refused(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, model: Path, arguments: list[str]
) -> str:
    command = ["score", str(tmp_path / "pool"), "--model", str(model), "-o", str(tmp_path / "out")]
    assert run(cli.deal, [*command, *arguments], "deal") == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert not (tmp_path / "out").exists()
    return err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--regions", "segments:none"], "segments:none: no such folder"),
        (["--regions", "slic:many"], "slic:N"),
        (["--regions", "components:0"], "components[:MINPIXELS]"),
        (["--outlines"], "--outlines needs --regions"),
        (["--mask", "front=none.png"], "mask 'none.png' cannot be read"),
    ],
)
def test_bad_regions_and_masks_are_one_line_before_work(
    score: Score,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    model: Path,
    arguments: list[str],
    says: str,
) -> None:
    error = refused(capfd, tmp_path, model, arguments)
    assert says in error
    assert len(error.splitlines()) == 1


def test_masks_by_camera_and_outlines_are_options(
    score: Score, capfd: pytest.CaptureFixture[str], tmp_path: Path, model: Path
) -> None:
    Image.fromarray(np.ones(SIZE, np.uint8)).save(tmp_path / "m.png")
    command = ["score", str(tmp_path / "pool"), "--model", str(model), "-o", str(tmp_path / "out")]
    masks = ["--mask", f"front={tmp_path}/m.png", "--mask", str(tmp_path / "m.png")]
    regions = ["--regions", "components:10", "--outlines", "--keep-regions", "1"]
    assert run(cli.deal, [*command, *masks, *regions], "deal") == 0
    assert "no image of this pool is from camera 'front'" in capfd.readouterr().err
    assert [row["polygon"][:7] for row in region_rows(tmp_path / "out")] == ["POLYGON"] * 6
