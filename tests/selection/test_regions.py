"""Regions of stored folders: ranked, joined with their images, explained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

from deal import read_regions, select
from deal.errors import ResultsError, UsageError
from deal.results.output import Output
from deal.selection import sources, why

CLASSES = ["road", "pole"]
SCORES = {"a/1.png": [0.9, 0.8, 0.1], "b/2.png": [0.7, 0.6, 0.5], "c/3.png": [0.4, 0.2, 0.3]}


def score(
    path: Path, ids: list[str], *, regions: bool = True, failed: str = "", model: str = "m"
) -> None:
    """One image a part, three regions each; entropies are those of `SCORES`."""
    with Output.open(path, settings={"model": model}, classes=CLASSES, part_rows=1) as output:
        for name in ids:
            ok = name != failed
            images: dict[str, Any] = {
                "id": [name],
                "uri": [f"/pool/{name}"],
                "source_version": ["v"],
                "status": ["ok" if ok else "error"],
                "camera": [name[0]],
                "sequence": ["s"],
                "timestamp_ns": [int(name[2]) * 10**9],
            }
            if ok:
                images["entropy_mean"] = [max(SCORES[name])]
                images["class_entropy_sum"] = np.array([[1.0, 3.0]])
                images["n_pixels"] = [30]
            table = {
                "id": [name] * 3,
                "region": [0, 1, 2],
                **{
                    key: [value] * 3
                    for key, value in zip(("y0", "x1", "y1"), (0, 4, 8), strict=True)
                },
                "x0": [0, 1, 2],
                "entropy_mean": SCORES[name],
                "n_pixels": [5, 10, 15],
                "majority_class": [0, 1, 1],
                "polygon": [None, None, "POLYGON ((0 0, 1 0, 1 1, 0 0))"],
            }
            output.write(images, table if regions and ok else None)


def names(selection: Any) -> list[tuple[str, int]]:
    return [(row["id"], row["region"]) for row in selection.records()]


def test_a_budget_of_regions_ranks_regions(tmp_path: Path) -> None:
    score(tmp_path, list(SCORES))
    selection = select(tmp_path, acquisition="entropy", budget="regions:3")
    assert names(selection) == [("a/1.png", 0), ("a/1.png", 1), ("b/2.png", 0)]
    assert selection.metadata["table"] == "regions"
    assert selection.metadata["scored"] == 9
    assert list(selection.records(1)) == [
        {
            "rank": 1,
            "id": "a/1.png",
            "score": 0.9,
            "uri": "/pool/a/1.png",
            "region": 0,
            "polygon": "POLYGON ((0 0, 4 0, 4 8, 0 8, 0 0))",
            "cost": 1,
            "why": "road",
        }
    ]


def test_a_stored_outline_wins_over_the_box(tmp_path: Path) -> None:
    score(tmp_path, list(SCORES))
    rows = list(select(tmp_path, acquisition="entropy", table="regions").records())
    outlines = {row["region"]: row["polygon"] for row in rows}
    assert outlines[2] == "POLYGON ((0 0, 1 0, 1 1, 0 0))"


def test_an_image_gives_at_most_so_many_regions(tmp_path: Path) -> None:
    score(tmp_path, list(SCORES))
    options: dict[str, Any] = {"acquisition": "entropy", "budget": "regions:4"}
    selection = select(tmp_path, max_per_image=1, **options)
    assert names(selection) == [("a/1.png", 0), ("b/2.png", 0), ("c/3.png", 0)]
    both = select(tmp_path, max_per_image=2, quota="camera=50%", **options)
    assert names(both) == [("a/1.png", 0), ("a/1.png", 1), ("b/2.png", 0), ("b/2.png", 1)]


def test_a_budget_larger_than_the_pool_says_when_the_rules_leave_regions(tmp_path: Path) -> None:
    score(tmp_path, list(SCORES))
    options: dict[str, Any] = {"acquisition": "entropy", "budget": "regions:400"}
    selection = select(tmp_path, max_per_image=1, **options)
    scored = selection.metadata["scored"]
    assert selection.notes == (
        f"the budget of 400 is larger than the pool: the rules leave 3 of its {scored} regions, "
        "which are selected",
    )


def test_regions_of_one_image_are_no_gap_apart(tmp_path: Path) -> None:
    score(tmp_path, list(SCORES))
    options = {"acquisition": "entropy", "table": "regions", "gap_per": "sequence"}
    selection = select(tmp_path, min_gap="2s", **options)
    assert {name for name, _ in names(selection)} == {"a/1.png", "c/3.png"}
    assert len(selection) == 6


def test_pixels_of_a_region_are_its_own(tmp_path: Path) -> None:
    score(tmp_path, list(SCORES))
    selection = select(tmp_path, acquisition="entropy", table="regions", budget="pixels:15")
    assert names(selection) == [("a/1.png", 0), ("b/2.png", 0), ("c/3.png", 0)]
    assert [row["cost"] for row in selection.records()] == [5, 5, 5]


def test_a_selection_of_regions_excludes_these_regions_alone(tmp_path: Path) -> None:
    score(tmp_path / "out", list(SCORES))
    first = select(tmp_path / "out", acquisition="entropy", budget="regions:2")
    first.write(tmp_path)
    labeled = tmp_path / "selection.csv"
    options: dict[str, Any] = {"acquisition": "entropy", "exclude": labeled}
    second = select(tmp_path / "out", budget="regions:2", **options)
    assert names(second) == [("b/2.png", 0), ("b/2.png", 1)]
    assert second.notes == ()
    assert select(tmp_path / "out", **options).ids == ("b/2.png", "c/3.png")


def test_regions_of_images_that_are_not_ok_do_not_exist(tmp_path: Path) -> None:
    score(tmp_path, list(SCORES))
    image = next((tmp_path / "images").glob("*000000*"))
    table = parquet.read_table(image)
    broken = table.set_column(table.column_names.index("status"), "status", [["error"]])
    parquet.write_table(broken, image)
    next((tmp_path / "images").glob("*000001*")).unlink()  # killed before the image was done
    selection = select(tmp_path, acquisition="entropy", table="regions")
    assert {name for name, _ in names(selection)} == {"c/3.png"}
    assert set(read_regions(tmp_path, ["id"]).column("id").to_pylist()) == {"c/3.png"}


def test_shards_of_regions_rank_as_one(tmp_path: Path) -> None:
    ids = list(SCORES)
    score(tmp_path / "whole", ids)
    score(tmp_path / "one", [ids[2]])
    score(tmp_path / "two", [ids[1], ids[0]])
    options: dict[str, Any] = {"acquisition": "entropy", "budget": "regions:50%"}
    merged = select([tmp_path / "one", tmp_path / "two"], **options)
    assert merged.to_json() == select(tmp_path / "whole", **options).to_json()


def test_an_image_says_which_classes_and_regions_carry_its_score(tmp_path: Path) -> None:
    score(tmp_path / "with", list(SCORES), failed="b/2.png")
    score(tmp_path / "without", list(SCORES), regions=False)
    rows = select(tmp_path / "with", acquisition="entropy").records()
    assert [row["why"] for row in rows] == [
        "pole 75 %, road 25 %; regions 0, 1, 2",
        "pole 75 %, road 25 %; regions 0, 2, 1",
    ]
    rows = select(tmp_path / "without", acquisition="entropy").records()
    assert [row["why"] for row in rows] == ["pole 75 %, road 25 %"] * 3
    rows = select(tmp_path / "with", acquisition="random").records()
    assert [row["why"] for row in rows] == ["random draw"] * 2


def test_the_best_regions_are_the_same_however_many_pieces_they_come_in() -> None:
    rng = np.random.default_rng(5)
    image = np.repeat(np.arange(60), 7)
    region = np.tile(np.arange(7, dtype=np.int32), 60)
    scores = rng.integers(0, 4, len(image)) / 4  # with ties
    whole = np.empty(len(image), why._REGION)
    whole["image"], whole["region"], whole["score"] = image, region, scores
    expected = [
        (number, place)
        for number in range(60)
        for place in sorted(range(7), key=lambda r: (-scores[7 * number + r], r))[:3]
    ]
    mixed = rng.permutation(whole)
    halves = why._best(np.concatenate([why._best(mixed[:200]), mixed[200:]]))
    for best in (why._best(mixed), halves):
        assert list(zip(best["image"].tolist(), best["region"].tolist(), strict=True)) == expected
    assert len(why._best(whole[:2])) == 2


def test_texts_do_not_depend_on_the_blocks_they_are_made_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    score(tmp_path, list(SCORES))
    options: list[dict[str, Any]] = [{}, {"budget": "regions:100%"}]
    whole = [select(tmp_path, acquisition="entropy", **each).to_json() for each in options]
    for module, name in ((why, "_BLOCK"), (why, "_MERGE"), (sources, "_TAKEN_ROWS")):
        monkeypatch.setattr(module, name, 1)
    assert [select(tmp_path, acquisition="entropy", **each).to_json() for each in options] == whole
    assert "regions 0, 2, 1" in whole[0]


def test_folders_without_regions_and_functions_of_images_are_refused(tmp_path: Path) -> None:
    score(tmp_path, list(SCORES), regions=False)
    with pytest.raises(ResultsError, match="holds no regions: score with --regions"):
        select(tmp_path, acquisition="entropy", table="regions")
    with pytest.raises(UsageError, match="'de' scores images, not regions"):
        select(tmp_path, acquisition="de", table="regions")


def test_a_folder_that_was_scored_without_regions_is_refused_by_name(tmp_path: Path) -> None:
    score(tmp_path / "some", ["a/1.png"])
    score(tmp_path / "failed", ["b/2.png"], failed="b/2.png")
    score(tmp_path / "without", ["c/3.png"], regions=False, model="n")
    found = select([tmp_path / "failed", tmp_path / "some"], acquisition="entropy", table="regions")
    assert len(found) == 3
    with pytest.raises(ResultsError, match=r"without were scored with different settings"):
        select([tmp_path / "some", tmp_path / "without"], acquisition="entropy", table="regions")


def test_parts_without_later_columns_read_as_nulls(tmp_path: Path) -> None:
    score(tmp_path, list(SCORES))
    image = next((tmp_path / "images").glob("*000000*"))
    parquet.write_table(parquet.read_table(image).drop_columns(["boundary_corners"]), image)
    assert len(select(tmp_path, acquisition="entropy")) == 3
    with pytest.raises(ResultsError, match="3 of 3 rows have no boundary_corners"):
        select(tmp_path, acquisition="entropy", budget="clicks:5")


def test_folders_of_different_settings_are_refused_by_name(tmp_path: Path) -> None:
    ids = list(SCORES)
    score(tmp_path / "one", ids[:1])
    score(tmp_path / "two", ids[1:], model="other")
    with pytest.raises(ResultsError, match=r'one and .*two were scored .*"m" → "other"'):
        select([tmp_path / "one", tmp_path / "two"], acquisition="entropy")
    with pytest.raises(ResultsError, match=r"the id 'a/1.png' stands in two rows"):
        select([tmp_path / "one"] * 2, acquisition="entropy")
