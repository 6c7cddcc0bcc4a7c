from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deal.errors import OutputError
from deal.run.pipeline import score_pool
from deal.run.previews import Preview, contact_sheet, magma, write_previews
from deal.scoring.scorer import Scorer
from deal.selection import Selection, select
from tests.helpers.models import metadata, save_model, scenes


def write_pool(folder: Path, count: int) -> Path:
    folder.mkdir()
    for index, image in enumerate(scenes(count, (24, 32))):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "m.onnx", props=metadata())


@pytest.fixture
def scored(model: Path, tmp_path: Path) -> tuple[Path, Selection]:
    score_pool(write_pool(tmp_path / "pool", 6), model=model, output=tmp_path / "out")
    return tmp_path / "out", select(tmp_path / "out")


def colour(level: int) -> tuple[int, int, int]:
    """A green that neither text nor colour scale contains."""
    return level, 240, 10


def shown(sheet: Image.Image, pixel: object) -> np.ndarray:
    """Rows and columns [n, 2] of the pixels of a colour."""
    return np.argwhere((np.asarray(sheet) == pixel).all(axis=2))


def preview(rank: int, level: int, difficulty: float | None, size: tuple[int, int]) -> Preview:
    """An image of the colour of a level beside a constant map; ``size`` is (width, height)."""
    values = None if difficulty is None else np.full(size[::-1], difficulty, np.float32)
    return Preview(rank, f"{rank}.png", 0.5, Image.new("RGB", size, colour(level)), values)


def test_magma_runs_from_black_to_pale_yellow_growing_brighter() -> None:
    colours = magma(np.linspace(0, 1, 256)).astype(float)
    assert magma(np.array([-1.0, 0.0])).tolist() == [[0, 0, 4], [0, 0, 4]]
    assert magma(np.array([1.0, 2.0])).tolist() == [[252, 253, 191], [252, 253, 191]]
    luminance = colours @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) >= 0).all()


def test_the_sheet_shows_image_and_map_side_by_side() -> None:
    sheet = contact_sheet([preview(1, 90, 0.4, (200, 100))], "title")
    image = shown(sheet, colour(90))
    assert len(image) == 200 * 100
    top, left = image[0]
    # The scale ends at 0.40, so a constant map of 0.4 has its brightest colour.
    brightest = shown(sheet, magma(np.array(1.0)))
    beside = brightest[(brightest[:, 1] >= left + 200) & (brightest[:, 0] >= top)]
    assert len(beside) == 200 * 100
    assert beside[0][0] == top


def test_all_maps_share_one_scale() -> None:
    sheet = contact_sheet([preview(1, 90, 0.8, (100, 100)), preview(2, 120, 0.2, (100, 100))], "t")
    assert len(shown(sheet, magma(np.array(0.25)))) >= 100 * 100


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (2, 2), (4, 2), (10, 3), (24, 3)])
def test_entries_stand_in_rows(count: int, columns: int) -> None:
    entries = [preview(rank, 100 + rank, 0.5, (264, 20)) for rank in range(1, count + 1)]
    sheet = contact_sheet(entries, "title")
    corners = [tuple(shown(sheet, colour(100 + rank))[0]) for rank in range(1, count + 1)]
    assert corners == sorted(corners)
    tops = [top for top, _ in corners]
    full, rest = divmod(count, columns)
    in_rows = [tops.count(top) for top in sorted(set(tops))]
    assert in_rows == [columns] * full + [rest] * (rest > 0)


def test_an_empty_sheet_is_a_sheet() -> None:
    assert contact_sheet([], "nothing").height > 0


def test_very_narrow_pictures_keep_their_caption() -> None:
    narrow = preview(1, 100, 0.5, (1, 264))
    below = np.asarray(contact_sheet([narrow], "title"))[76 + 264 :]
    columns = np.flatnonzero((below.max(axis=2) < 60).any(axis=0))
    assert np.ptp(columns) > 200  # rank at the left and score at the right


def test_long_and_odd_ids_fit() -> None:
    odd = Preview(1, "folder/" * 60 + "\n\x1b.png", 0.5, Image.new("RGB", (100, 50)), None)
    sheet = np.asarray(contact_sheet([odd], "title")).astype(int)
    ink = np.abs(sheet - sheet[-1, -1]).max(axis=2) > 60
    below = ink[76 + 50 :]
    assert below.any()
    assert np.flatnonzero(below.any(axis=0)).max() <= 28 + 264


def test_previews_draw_the_top_ranks(scored: tuple[Path, Selection], model: Path) -> None:
    out, selection = scored
    with Scorer(model) as scorer:
        path, notes = write_previews(out, selection, scorer, count=4)
        first = path.read_bytes()
        write_previews(out, selection, scorer, count=4)
    assert (path, notes) == (out / "previews.jpg", [])
    assert path.read_bytes() == first
    with Image.open(path) as sheet:
        assert sheet.size == (1152, 614)
    assert not list(out.glob("_previews*"))


def test_more_previews_than_images_draw_them_all(
    scored: tuple[Path, Selection], model: Path
) -> None:
    out, selection = scored
    with Scorer(model) as scorer:
        assert write_previews(out, selection, scorer, count=100)[1] == []


def test_an_image_that_is_gone_is_a_note(scored: tuple[Path, Selection], model: Path) -> None:
    out, selection = scored
    (out.parent / "pool" / selection.ids[0]).unlink()
    with Scorer(model) as scorer:
        _, notes = write_previews(out, selection, scorer, count=2)
    assert len(notes) == 1
    assert notes[0].startswith(f"no preview of {selection.ids[0]!r}: ")


def test_a_model_without_difficulty_shows_the_images_alone_and_says_so(tmp_path: Path) -> None:
    model = save_model(tmp_path / "bare.onnx", props=metadata(difficulty_head=None))
    report = score_pool(
        write_pool(tmp_path / "pool", 3),
        model=model,
        output=tmp_path / "out",
        acquisition="entropy",
        previews=3,
    )
    assert report.previews == tmp_path / "out/previews.jpg"
    assert report.notes == ("the model has no difficulty: the previews show only the images",)


def test_a_run_without_ok_rows_draws_nothing(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    report = score_pool(tmp_path / "empty.png", model=model, output=tmp_path / "out", previews=3)
    assert report.previews is None


def test_a_sheet_that_cannot_be_written_is_an_output_error(
    scored: tuple[Path, Selection], model: Path
) -> None:
    out, selection = scored
    (out / "previews.jpg").mkdir()
    with Scorer(model) as scorer, pytest.raises(OutputError, match=r"previews\.jpg"):
        write_previews(out, selection, scorer, count=1)
