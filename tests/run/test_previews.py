from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deal import select
from deal.errors import OutputError
from deal.model.placing import Placement
from deal.pool.locator import LocalFile
from deal.run import previews
from deal.run.pictures import draw_pictures
from deal.run.pipeline import score_pool
from deal.run.reopen import reopen
from deal.run.sheet import Entry, Key
from deal.scoring import kept
from deal.scoring.inputs import InputGroup
from deal.scoring.mapmaker import MapMaker
from deal.types import EngineOutput, PoolItem
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import Deal, assert_refused, write_pool

Sheet = tuple[list[Entry], list[Entry], Key]


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Sheet]:
    """What sheets are drawn of, as they are drawn."""
    sheets: list[Sheet] = []
    draw = previews.contact_sheet

    def contact_sheet(entries: list[Entry], contrast: list[Entry], key: Key) -> Image.Image:
        sheets.append((list(entries), list(contrast), key))
        return draw(entries, contrast, key)

    monkeypatch.setattr(previews, "contact_sheet", contact_sheet)
    return sheets


@pytest.fixture
def scored(tmp_path: Path, model: Path) -> Callable[..., Path]:
    def run(count: int = 9, **options: Any) -> Path:
        folder = tmp_path / "pool"
        if not folder.exists():
            write_pool(folder, count)
        options = {"model": model, "output": tmp_path / "out", "device": "cpu", **options}
        score_pool(folder, **options)
        return Path(options["output"])

    return run


def test_a_run_draws_its_top_ranks(scored: Callable[..., Path], drawn: list[Sheet]) -> None:
    output = scored(previews=3)
    with Image.open(output / "previews.jpg") as sheet:
        assert sheet.format == "JPEG"
        assert sheet.width > 900
    entries, contrast, key = drawn[0]
    ranked = json.loads((output / "selection.json").read_text())["selection"]
    assert [entry.id for entry in entries] == [row["id"] for row in ranked[:3]]
    assert [entry.name for entry in entries] == ["#1", "#2", "#3"]
    assert [entry.why for entry in entries] == [row["why"] for row in ranked[:3]]
    assert key.title == "9 of 9 selected by difficulty (DS)"
    assert key.shown == "the first 3"
    assert (key.measure, key.unit) == ("difficulty", "")
    assert [entry.name for entry in contrast] == ["median", "easiest"]
    assert [entry.id for entry in contrast] == [ranked[4]["id"], ranked[8]["id"]]
    assert [entry.standing for entry in (*entries, *contrast)] == [
        "highest of 9 images",
        "higher than 78 % of 9 images",
        "higher than 67 % of 9 images",
        "the middle of 9 images",
        "lowest of 9 images",
    ]
    for entry in (*entries, *contrast):
        assert entry.frame.shape[:2] == entry.heat.shape == entry.classes.shape
        assert 0.1 < entry.carried < 1
        assert len(entry.outlines) == 1
    assert not list(output.glob("_previews*"))


def test_the_heat_is_that_of_the_function_that_ranks(
    scored: Callable[..., Path], drawn: list[Sheet], tmp_path: Path
) -> None:
    output = scored()
    expected = {
        "entropy": ("entropy", "nats"),
        "ds:entropy": ("difficulty × entropy", "nats"),
        "margin": ("margin uncertainty", ""),
        "de": ("difficulty", ""),
        "random": ("difficulty", ""),
    }
    for name, (measure, unit) in expected.items():
        drawn.clear()
        draw_pictures(
            output,
            select(output, acquisition=name),
            folder=tmp_path,
            previews=2,
            acquisition=name,
        )
        _, contrast, key = drawn[0]
        assert (key.measure, key.unit) == (measure, unit)
        assert "ds:" not in key.title
        assert bool(contrast) == (name != "random")  # the median of a draw says nothing


def test_a_model_without_difficulty_shows_entropy(
    scored: Callable[..., Path], drawn: list[Sheet], tmp_path: Path
) -> None:
    bare = save_model(tmp_path / "bare.onnx", exact=True, props=metadata(difficulty_head=None))
    scored(model=bare, acquisition="entropy", previews=2)
    entries, _, key = drawn[0]
    assert key.measure == "entropy"
    assert all(entry.heat.max() > 0 for entry in entries)


def test_stored_regions_that_carry_the_score_are_outlined(
    scored: Callable[..., Path], drawn: list[Sheet]
) -> None:
    output = scored(previews=2, regions="grid:8")
    entries, contrast, key = drawn[0]
    for entry in entries:
        named = entry.why.rpartition("regions ")[2].split(", ")
        assert [text for _, text in entry.outlines] == named
        assert entry.carried is None
        for rings, _ in entry.outlines:
            (x0, y0), (x1, y1) = np.min(rings[0], axis=0), np.max(rings[0], axis=0)
            assert (x1 - x0, y1 - y0) == pytest.approx(
                (100, 100), abs=1
            )  # 8 of 32 pixels, 400 wide
    assert all(len(entry.outlines) == 3 for entry in contrast)
    assert key.outlined == "the regions that carry the score"
    assert (output / "previews.jpg").exists()


def test_a_pick_of_regions_shows_each_region_in_its_image(
    scored: Callable[..., Path], drawn: list[Sheet]
) -> None:
    output = scored(previews=3, regions="grid:8", budget="regions:5")
    entries, contrast, key = drawn[0]
    ranked = json.loads((output / "selection.json").read_text())["selection"]
    for entry, row in zip(entries, ranked, strict=False):
        assert [text for _, text in entry.outlines] == [str(row["region"])]
    assert key.title == "5 of 108 regions selected by difficulty (DS)"
    assert [len(entry.outlines) for entry in contrast] == [1, 1]


def test_the_median_and_the_easiest_are_not_shown_twice(
    scored: Callable[..., Path], drawn: list[Sheet]
) -> None:
    scored(previews=100)
    entries, contrast, _ = drawn[0]
    assert (len(entries), contrast) == (9, [])
    assert entries[-1].standing == "lowest of 9 images"


def test_a_sheet_ends_where_a_jpeg_does(
    scored: Callable[..., Path],
    drawn: list[Sheet],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    output = scored()
    monkeypatch.setattr(previews, "MOST", 4)
    pictures = draw_pictures(output, select(output), folder=tmp_path, previews=5)
    assert pictures.notes == ("previews.jpg shows the first 4: a JPEG cannot be taller",)
    assert len(drawn[0][0]) == 4
    assert draw_pictures(output, select(output, budget=4), folder=tmp_path, previews=5).notes == ()


def test_an_image_that_is_gone_is_a_note(scored: Callable[..., Path], tmp_path: Path) -> None:
    output = scored()
    selection = select(output)
    (tmp_path / "pool" / selection.ids[0]).unlink()
    pictures = draw_pictures(output, selection, folder=output, previews=2)
    assert len(pictures.notes) == 1
    assert pictures.notes[0].startswith(f"no preview of {selection.ids[0]!r}: cannot read")
    assert pictures.previews == output / "previews.jpg"


def test_a_run_without_ok_rows_draws_nothing(model: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    report = score_pool(tmp_path / "empty.png", model=model, output=tmp_path / "out", previews=3)
    assert report.previews is None


def test_a_sheet_that_cannot_be_written_is_an_output_error(scored: Callable[..., Path]) -> None:
    output = scored()
    (output / "previews.jpg").mkdir()
    with pytest.raises(OutputError, match=r"previews\.jpg"):
        draw_pictures(output, select(output), folder=output, previews=1)


def test_functions_that_pick_by_distance_are_drawn_without_scores(
    scored: Callable[..., Path], drawn: list[Sheet], tmp_path: Path
) -> None:
    output = scored()
    selection = select(output, acquisition="core-set", budget=3)
    draw_pictures(output, selection, folder=tmp_path, previews=3, acquisition="core-set", budget=3)
    entries, contrast, key = drawn[0]
    assert (len(entries), contrast) == (3, [])
    assert entries[0].standing == ""
    assert key.title == "3 of 9 selected by distance (core-set)"
    assert key.shown == "all of them"


def test_select_draws_the_same_sheet_as_the_run(
    scored: Callable[..., Path], drawn: list[Sheet], deal: Deal, tmp_path: Path
) -> None:
    output = scored(previews=4)
    code, out, err = deal("select", output, "-o", tmp_path / "again", "--previews", 4)
    assert code == 0
    assert err.startswith("6/6 previews drawn, ")
    assert f"previews {tmp_path / 'again'}/previews.jpg" in out
    one, other = (np.asarray(Image.open(f / "previews.jpg")) for f in (output, tmp_path / "again"))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"raster": "half", "regions": "grid:8"},
        {"flip": True, "acquisition": "vote-entropy"},
    ],
)
def test_pictures_of_a_small_pool_need_no_second_run_of_the_network(
    scored: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    options: dict[str, Any],
) -> None:
    options = {"previews": 3, "store_maps": "all", **options}
    monkeypatch.setattr(kept, "_MOST", 0)
    ran: list[int] = []
    group = MapMaker._group

    def counted(self: MapMaker, images: InputGroup, *given: Any, **named: Any) -> Any:
        ran.append(len(images.indices))
        return group(self, images, *given, **named)

    monkeypatch.setattr(MapMaker, "_group", counted)
    again = scored(output=tmp_path / "again", **options)
    assert sum(ran) >= 9 + 3
    monkeypatch.undo()
    monkeypatch.setattr(MapMaker, "_group", None)
    once = scored(**options)
    names = sorted(path.relative_to(once) for path in once.rglob("*") if path.suffix != ".parquet")
    pictures = [name for name in names if name.suffix in (".jpg", ".png")]
    assert len(pictures) > 2 * 9
    for name in pictures:
        one, other = (np.asarray(Image.open(folder / name)) for folder in (once, again))
        np.testing.assert_array_equal(one, other)


def test_outputs_beyond_the_bound_are_all_forgotten() -> None:
    outputs = kept.KeptOutputs(most=2 * 4 * 12)
    items = [PoolItem(str(n), f"/{n}", LocalFile(f"/{n}"), "v") for n in range(4)]
    place = Placement((4, 4), (4, 4))
    group = InputGroup((4, 4), [0, 1], originals=[(4, 4)] * 2, placements=[place] * 2)
    logits = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2)
    outputs.put(items[:2], group, [0, 1], EngineOutput(logits))
    found = outputs.get(items[1])
    assert found is not None
    np.testing.assert_array_equal(found.output.logits, logits[1:])
    assert outputs.get(replace(items[1], source_version="w")) is None
    outputs.put(items[2:], group, [0], EngineOutput(logits))
    assert [outputs.get(item) for item in items] == [None] * 4
    outputs.put(items[2:], group, [1], EngineOutput(logits))
    assert outputs.get(items[3]) is None


def test_select_refuses_previews_it_cannot_draw(
    scored: Callable[..., Path], deal: Deal, tmp_path: Path
) -> None:
    model = save_model(tmp_path / "m.onnx", exact=True, props=metadata())
    output = scored(model=model)
    assert_refused(deal("select", output, "--previews", 3), 2, "--output")
    assert_refused(deal("select", output, "--previews", -3, "-o", tmp_path), 2, "at least 0")
    model.rename(tmp_path / "moved.onnx")
    refused = deal("select", output, "--previews", 3, "-o", tmp_path / "x")
    assert refused[0] == 1
    assert refused[2].splitlines()[-1].startswith("error: the model that scored")
    assert (tmp_path / "x/selection.csv").exists()  # the ranking needs no model
    moved = ("--model", tmp_path / "moved.onnx")
    assert deal("select", output, "--previews", 3, "-o", tmp_path / "x", *moved)[0] == 0


def test_several_outputs_are_drawn_as_one_pool(
    scored: Callable[..., Path], drawn: list[Sheet], tmp_path: Path
) -> None:
    outputs = [scored(output=tmp_path / f"out{n}", shard=f"{n}/2") for n in range(2)]
    selection = select(outputs, budget=4)
    pictures = draw_pictures(outputs, selection, folder=tmp_path / "new", previews=4, budget=4)
    assert pictures.notes == ()
    entries, _, key = drawn[0]
    assert [entry.id for entry in entries] == list(selection.ids)
    assert key.title.startswith("4 of 9 selected by difficulty (DS)")
    assert (tmp_path / "new/previews.jpg").exists()


def test_a_committee_reopened_with_one_model_shows_difficulty(
    scored: Callable[..., Path], drawn: list[Sheet], model: Path, tmp_path: Path
) -> None:
    second = save_model(tmp_path / "2.onnx", exact=True, seed=8, props=metadata())
    output = scored(model=[model, second], acquisition="bald", previews=2)
    assert drawn[0][2].measure == "mutual information"
    selection = select(output, acquisition="bald")
    draw_pictures(output, selection, model=model, folder=tmp_path, previews=2, acquisition="bald")
    assert drawn[1][2].measure == "difficulty"
    with reopen(output) as session:
        assert session.has_committee


def test_a_folder_in_the_place_of_the_sheet_is_told(scored: Callable[..., Path]) -> None:
    sheet = scored(previews=1) / "previews.jpg"
    sheet.unlink()
    sheet.mkdir()
    with pytest.raises(OutputError, match=r"cannot write to .*out: .*; choose another --output"):
        scored()
