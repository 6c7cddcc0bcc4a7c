"""``view``: what the page says is what results and selection say; what cannot be shown is said."""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from deal import (
    DealError,
    OutputError,
    ResultsError,
    UsageError,
    read_results,
    score_pool,
    select,
    view,
)
from deal.bench.made_up import write_results
from deal.results.maps import map_path, read_map
from deal.viewing.pack import Pack
from deal.viewing.pictures import KINDS
from deal.viewing.view import MAX_BYTES, make_page
from tests.helpers.models import metadata, save_model
from tests.helpers.runs import Deal, assert_refused, write_pool
from tests.viewing.conftest import DEMO, SCRIPT
from tests.viewing.test_pack import unpacked


def shown(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The head of a page and its columns."""
    found = re.search(r'<script type="application/json" id="head">(.*)</script>', text)
    packed = re.search(r'<script type="text/plain" id="columns">(.*)</script>', text)
    assert found is not None
    assert packed is not None
    head = json.loads(found[1])
    pack = Pack()
    pack.header = head["columns"]
    pack.base64 = lambda: packed[1]  # type: ignore[method-assign]
    return head, unpacked(pack)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up results of 3,000 images, of which 50 are selected; no image is there."""
    folder = tmp_path_factory.mktemp("large") / "scored"
    write_results(folder, 3000)
    select(folder, budget=50).write(folder)
    return folder


def test_every_row_is_there_with_its_score_place_and_rank(scored: Path, page: Path) -> None:
    head, columns = shown(page.read_text(encoding="utf-8"))
    rows = {row["id"]: row for row in read_results(scored).to_pylist()}
    assert sorted(columns["id"]) == sorted(rows)
    selection = json.loads((scored / "selection.json").read_bytes())["selection"]
    ranks = {row["id"]: row["rank"] for row in selection}
    by_score = sorted(
        (row for row in rows.values() if row["status"] == "ok"),
        key=lambda row: (-row["difficulty_mean"], row["id"].encode()),
    )
    places = {row["id"]: place for place, row in enumerate(by_score, 1)}
    for number, item in enumerate(columns["id"]):
        row = rows[item]
        assert head["statuses"][columns["status"][number]] == row["status"]
        assert columns["pick"][number] == ranks.get(item, 0)
        assert columns["place"][number] == places.get(item, 0)
        if row["status"] == "ok":
            assert columns["score"][number] == np.float32(row["difficulty_mean"])
            pixels = np.array(row["class_pixels"])
            share = columns["share"].reshape(len(pixels), -1)[:, number] / 255
            assert np.abs(share**2 - pixels / pixels.sum()).max() < 1 / 250
            assert np.array_equal(share > 0, pixels > 0)
        else:
            assert np.isnan(columns["score"][number])


def test_filters_have_the_values_of_the_manifest(scored: Path, page: Path) -> None:
    head, columns = shown(page.read_text(encoding="utf-8"))
    rows = {row["id"]: row for row in read_results(scored).to_pylist()}
    names = [facet["name"] for facet in head["facets"]]
    assert names == ["sequence", "camera", "folder", "time of day"]
    for number, facet in enumerate(head["facets"]):
        for code, item in zip(columns[f"facet{number}"], columns["id"], strict=True):
            row = rows[item]
            expected = {
                "folder": item.rpartition("/")[0],
                "time of day": dict(row["attributes"]).get("time of day"),
            }.get(facet["name"], row.get(facet["name"]))
            assert facet["values"][code] == (expected or "")


def test_time_orders_the_images_of_each_drive(scored: Path, page: Path) -> None:
    _, columns = shown(page.read_text(encoding="utf-8"))
    rows = {row["id"]: row for row in read_results(scored).to_pylist()}
    along = [rows[columns["id"][row]] for row in columns["along"]]
    keys = [(row["sequence"], row["camera"], row["timestamp_ns"]) for row in along]
    assert keys == sorted(keys)
    drives = columns["drive"][columns["along"]]
    assert len(set(drives)) == len({key[:2] for key in keys})


def test_failed_images_stand_there_with_their_reasons(scored: Path, page: Path) -> None:
    head, columns = shown(page.read_text(encoding="utf-8"))
    rows = {r["id"]: r for r in read_results(scored, status="error").to_pylist()}
    told = {columns["id"][row]: (code, reason) for row, code, reason in head["failed"]}
    assert told == {name: (row["error_code"], row["error"]) for name, row in rows.items()}
    assert head["failed_total"] == 2
    assert [tile[0] for tile in head["tiles"] if tile[1] == "failed"] == [2]


def test_the_twin_of_an_image_is_folded_under_the_one_that_ranks_first(page: Path) -> None:
    _, columns = shown(page.read_text(encoding="utf-8"))
    row = {item: number for number, item in enumerate(columns["id"])}
    twin, original = row["day/twin.jpg"], row[SCRIPT]
    leader = min(twin, original, key=lambda r: columns["place"][r])
    other = original if leader == twin else twin
    assert columns["stack"][other] == leader + 1
    assert columns["stack"][leader] == 0


def test_the_same_results_make_the_same_page(scored: Path, page: Path, tmp_path: Path) -> None:
    again = view(scored, output=tmp_path / "again.html")
    assert again is not None
    assert again.read_bytes() == page.read_bytes()


@pytest.mark.slow
def test_a_larger_pool_is_sampled_with_every_pick(large: Path) -> None:
    made = make_page(large, rows=200, thumbnails=0)
    head, columns = shown(made.text)
    ids = set(select(large, budget=50).ids)
    assert len(columns["id"]) == 200
    assert {i for i, rank in zip(columns["id"], columns["pick"], strict=True) if rank} == ids
    assert columns["place"].max() > 200
    assert head["total"] == 3000
    assert any("shows 200 of 3,000 images" in note for note in made.notes)
    assert shown(make_page(large, rows=200, thumbnails=0).text)[1]["id"] == columns["id"]


def test_images_that_are_gone_are_said_not_hidden(large: Path) -> None:
    made = make_page(large, thumbnails=20)
    head, _ = shown(made.text)
    assert len(head["unreadable"]) == 20
    assert any("cannot be read" in note for note in made.notes)
    assert "There are no overlays" in head["no_maps"]


@pytest.mark.slow
def test_pictures_get_smaller_until_the_page_has_room(
    scored: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_page(scored)
    monkeypatch.setattr("deal.viewing.view.MAX_BYTES", len(whole.text) + 1_000_000 - 60_000)
    small = make_page(scored)
    assert len(small.text) < len(whole.text) <= MAX_BYTES
    assert len(shown(small.text)[1]["id"]) == len(shown(whole.text)[1]["id"])


def test_without_a_budget_nothing_counts_as_selected(tmp_path: Path) -> None:
    output = tmp_path / "all"
    score_pool(DEMO / "pool", model=DEMO / "model.onnx", output=output)
    head, columns = shown(make_page(output).text)
    assert head["title"] == "24 images ranked by difficulty (DS)"
    assert not columns["pick"].any()
    assert head["no_maps"].startswith("Nothing is selected")


def test_another_selection_of_the_same_results_can_be_shown(scored: Path, tmp_path: Path) -> None:
    chosen = select(scored, acquisition="entropy", budget=3)
    chosen.write(tmp_path / "round2")
    head, columns = shown(make_page(scored, selection=tmp_path / "round2").text)
    order = np.argsort(columns["pick"], kind="stable")[-3:]
    assert [columns["id"][row] for row in order] == list(chosen.ids)
    assert head["label"] == "entropy"
    assert "deal select" in head["command"]


def test_a_model_without_difficulty_is_ranked_by_entropy(tmp_path: Path) -> None:
    plain = save_model(tmp_path / "plain.onnx", props=metadata(difficulty_head=None))
    write_pool(tmp_path / "pool", 5)
    output = tmp_path / "out"
    score_pool(tmp_path / "pool", model=plain, output=output, acquisition="entropy", budget=2)
    (output / "selection.json").unlink()
    head, columns = shown(make_page(output).text)
    assert head["label"] == "entropy"
    assert not np.isnan(columns["score"]).any()


def test_two_rounds_are_compared_by_rank_and_class(scored: Path, tmp_path: Path) -> None:
    earlier = tmp_path / "earlier"
    shutil.copytree(scored, earlier)
    select(earlier, acquisition="entropy", budget=5).write(earlier)
    head, columns = shown(make_page([earlier, scored]).text)
    entropy = {r["id"]: r["entropy_mean"] for r in read_results(scored, status="ok").to_pylist()}
    order = sorted(entropy, key=lambda item: (-entropy[item], item.encode()))
    places = dict(zip(columns["id"], columns["before_place"], strict=True))
    assert sorted(order, key=lambda item: places[item]) == order
    before = set(select(scored, acquisition="entropy", budget=5).ids)
    now = {i for i, rank in zip(columns["id"], columns["pick"], strict=True) if rank}
    assert head["compare"]["both"] == len(before & now)
    rows = read_results(scored, status="ok").to_pylist()
    for name, first, second in head["compare"]["by_class"]:
        number = head["classes"].index(name)
        pixels = sum(row["class_pixels"][number] for row in rows)
        mean = sum(row["class_difficulty_sum"][number] for row in rows) / pixels
        assert first == second == pytest.approx(mean, abs=1e-6)


def test_rounds_over_other_images_are_refused(scored: Path, large: Path) -> None:
    with pytest.raises(ResultsError, match="no image in common"):
        make_page([large, scored])


def test_the_page_goes_into_the_output_folder_by_default(large: Path) -> None:
    assert view(large, thumbnails=0) == large / "view.html"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rows": 0}, "--rows 0"),
        ({"rows": 1_000_000}, "--rows 1000000"),
        ({"thumbnails": -1}, "--thumbnails -1"),
        ({"maps": -1}, "--maps -1"),
        ({"output": "page.pdf"}, "end the name in .html"),
        ({"serve": "0.0.0.0:8000"}, "this machine"),
        ({"serve": "8000", "output": "x.html"}, "drop --output"),
    ],
)
def test_options_out_of_range_are_refused(
    large: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        view(large, **options)


def test_a_folder_is_no_page(large: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="it is a folder"):
        view(large, output=tmp_path)


def test_what_holds_no_results_is_refused(deal: Deal, tmp_path: Path) -> None:
    assert_refused(deal("view", str(tmp_path)), 1, "holds no results")
    assert_refused(deal("view", "a", "b", "c"), 2, "two rounds to compare")


def test_a_selection_that_is_not_there_is_refused(large: Path, tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"selection\.json"):
        make_page(large, selection=tmp_path)


def test_a_model_that_is_gone_leaves_the_reason_for_missing_overlays(
    scored: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    shutil.copytree(scored, output)
    run = next((output / "runs").glob("*.json"))
    record = json.loads(run.read_bytes())
    record["settings"]["model"] = [str(tmp_path / "gone.onnx")]
    run.write_text(json.dumps(record))
    head, _ = shown(make_page(output).text)
    assert "--model FILE" in head["no_maps"]
    with pytest.raises(DealError, match=r"other\.onnx"):
        make_page(output, model=tmp_path / "other.onnx")


def test_the_command_says_where_the_page_is(deal: Deal, large: Path, tmp_path: Path) -> None:
    target = tmp_path / "pool.html"
    code, out, err = deal("view", str(large), "-o", str(target), "--thumbnails", "3", "--maps", "0")
    assert (code, out) == (0, f"page  {target}\n")
    assert "note: 3 of 3,000 images have a thumbnail" in err
    assert target.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_selected_regions_are_outlined_on_their_images(tmp_path: Path) -> None:
    output = tmp_path / "out"
    score_pool(
        DEMO / "pool",
        model=DEMO / "model.onnx",
        output=output,
        regions="grid:80",
        budget="regions:6",
    )
    head, columns = shown(make_page(output, maps=0).text)
    selection = json.loads((output / "selection.json").read_bytes())["selection"]
    ids = [row["id"] for row in selection]
    assert head["title"].startswith(f"{len(set(ids))} of 24 images with selected regions")
    for item in set(ids):
        row = columns["id"].index(item)
        assert columns["pick"][row] == ids.index(item) + 1
        found = [np.array(polygon).reshape(-1, 2) for polygon in head["regions"][str(row)]]
        expected = [
            np.array([p.split() for p in pick["polygon"][10:-2].split(", ")], float) / [320, 240]
            for pick in selection
            if pick["id"] == item
        ]
        for a, b in zip(found, expected, strict=True):
            assert a == pytest.approx(b, abs=1e-4)


def test_a_pool_in_which_nothing_could_be_scored_is_shown(tmp_path: Path) -> None:
    from tests.helpers.outputs import open_output, write

    with open_output(tmp_path / "out") as output:
        write(output, "a.jpg", "b.jpg", status="error")
    head, columns = shown(make_page(tmp_path / "out").text)
    assert columns["id"] == ["a.jpg", "b.jpg"]
    assert head["failed_total"] == 2
    assert not columns["place"].any()


@pytest.mark.slow
def test_stored_maps_are_laid_over_the_picks_unless_the_image_has_changed(tmp_path: Path) -> None:
    pool, output = tmp_path / "pool", tmp_path / "out"
    shutil.copytree(DEMO / "pool", pool)
    settings: dict[str, Any] = {"output": output, "budget": 4, "store_maps": "selected"}
    score_pool(pool, model=DEMO / "model.onnx", **settings)
    record = next((output / "runs").glob("*.json"))
    record.write_text(record.read_text().replace("model.onnx", "gone.onnx"))
    made = make_page(output)
    head, columns = shown(made.text)
    kinds = [KINDS[kind] for kind in columns["blob_kind"]]
    assert {kind: kinds.count(kind) for kind in KINDS[1:]} == dict.fromkeys(KINDS[1:], 4)
    assert len(head["regions"]) == 4
    assert head["no_maps"] == ""
    blobs = re.search(r'<script type="text/plain" id="images">(.*)</script>', made.text)
    assert blobs is not None
    number = kinds.index("classes")
    start, length = columns["blob_start"][number], columns["blob_chars"][number]
    picture = Image.open(BytesIO(b64decode(blobs[1][start : start + length])))
    item = columns["id"][columns["blob_row"][number]]
    assert np.array_equal(np.asarray(picture)[..., 0], read_map(output, "classes", item))
    stamped = [map_path(output, kind, item) for kind in ("classes", "difficulty", "entropy")]
    for path in stamped:
        Image.open(path).save(path)  # without what says where it comes from
    _, columns = shown(make_page(output).text)
    assert [KINDS[kind] for kind in columns["blob_kind"]].count("classes") == 3
    other = columns["id"][next(row for row in columns["blob_row"] if columns["id"][row] != item)]
    Image.open(pool / other).rotate(180).save(pool / other)
    made = make_page(output)
    _, columns = shown(made.text)
    assert [KINDS[kind] for kind in columns["blob_kind"]].count("classes") == 2
    assert "1 picks have no maps: the file has changed since it was scored" in str(made.notes)


@pytest.mark.parametrize(
    ("options", "title", "command"),
    [
        ({"acquisition": "core-set"}, "distance (core-set)", "--acquisition core-set"),
        (
            {"acquisition": "focus:difficulty", "focus": "car"},
            "difficulty of chosen classes",
            "--acquisition focus:difficulty --focus car",
        ),
        ({"stratify": "class:66%"}, "difficulty (DS)", "--stratify class:66%"),
        ({"stochastic": "power", "seed": 3}, "difficulty (DS)", "--stochastic power:1 --seed 3"),
    ],
)
def test_the_head_says_how_it_was_selected(
    scored: Path, tmp_path: Path, options: dict[str, Any], title: str, command: str
) -> None:
    select(scored, budget=3, **options).write(tmp_path)
    head, columns = shown(make_page(scored, selection=tmp_path, maps=0, thumbnails=0).text)
    assert head["title"] == f"3 of 17 images selected by {title}"
    assert command in head["command"]
    assert not np.isnan(columns["score"][columns["pick"] > 0]).any()


def test_a_function_that_is_not_loaded_is_said(scored: Path, tmp_path: Path) -> None:
    select(scored, budget=3).write(tmp_path)
    path = tmp_path / "selection.json"
    path.write_text(path.read_text().replace('"ds:none"', '"mine"'))
    made = make_page(scored, selection=tmp_path, maps=0, thumbnails=0)
    assert any("mine is not known here" in note and "--plugin" in note for note in made.notes)
    assert "selected by mine" in shown(made.text)[0]["title"]
