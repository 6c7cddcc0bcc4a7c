from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deal.errors import OutputError, ResultsError
from deal.selection import select

HEADER = "rank,id,score,uri,region,polygon,cost,why\n"
IDS = st.lists(st.text(st.characters(exclude_categories=["Cs"])), unique=True, max_size=20)


def table(ids: list[str], scores: list[float | None], status: list[str] | None = None) -> pa.Table:
    return pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "status": pa.array(status or ["ok"] * len(ids), pa.string()),
            "entropy_mean": pa.array(scores, pa.float64()),
        }
    )


def test_selection_takes_the_best_of_the_ok_rows() -> None:
    rows = table(
        ["a", "b", "c", "d", "e"],
        [0.1, 0.9, None, 0.9, 0.8],
        ["ok", "ok", "error", "ok", "duplicate"],
    )
    selection = select(rows, acquisition="entropy", budget=2)
    assert selection.ids == ("b", "d")
    assert selection.scores.tolist() == [0.9, 0.9]
    assert selection.ranks.tolist() == [1, 2]
    assert selection.notes == ()
    assert selection.metadata["rows"] == 5
    assert selection.metadata["scored"] == 3


def test_percentages_count_ok_rows_only() -> None:
    rows = table(list("abcd"), [0.1, 0.2, 0.3, None], ["ok", "ok", "ok", "error"])
    assert len(select(rows, acquisition="entropy", budget="34%")) == 2


def test_budget_larger_than_the_pool_takes_all_and_says_so() -> None:
    selection = select(table(["a", "b"], [0.1, 0.2]), acquisition="entropy", budget=10)
    assert selection.ids == ("b", "a")
    assert selection.notes == (
        "the budget of 10 is larger than the pool: all 2 images are selected",
    )


def test_a_pool_without_ok_rows_gives_an_empty_selection_with_a_note(tmp_path: Path) -> None:
    selection = select(table(["a"], [None], ["error"]), acquisition="entropy", budget="5%")
    assert len(selection) == 0
    assert selection.notes == ("none of the 1 rows has a score: nothing to rank",)
    selection.write(tmp_path)
    assert (tmp_path / "selection.csv").read_bytes() == HEADER.encode()


@settings(deadline=None, max_examples=25)
@given(st.permutations(range(6)), st.integers(0, 6))
def test_storage_order_and_splits_change_nothing(order: list[int], cut: int) -> None:
    ids, scores = list("abcdef"), [0.5, 0.25, 0.5, 0.125, 0.5, 0.75]
    whole = select(table(ids, scores), acquisition="entropy", budget=3)
    mixed = table([ids[i] for i in order], [scores[i] for i in order])
    split = select([mixed.slice(0, cut), mixed.slice(cut)], acquisition="entropy", budget=3)
    assert split.metadata == whole.metadata
    assert split.ids == whole.ids


def test_the_hash_covers_rows_beyond_the_budget() -> None:
    one = select(table(["a", "b"], [0.9, 0.1]), acquisition="entropy", budget=1)
    other = select(table(["a", "b"], [0.9, 0.2]), acquisition="entropy", budget=1)
    assert one.ids == other.ids
    assert one.metadata["scores_digest"] != other.metadata["scores_digest"]


def test_metadata_names_every_option() -> None:
    hist = [[1] * 240]
    rows = pa.table({"id": ["a"], "status": ["ok"], "difficulty_hist_image": hist})
    metadata = select(rows, acquisition="de", budget="5%", seed=7).metadata
    assert metadata["acquisition"] == "de"
    assert metadata["levels"] == 8
    assert metadata["edges"] == "image"
    assert metadata["seed"] == 7
    assert metadata["budget"] == "5%"
    assert metadata["ties"] == "score descending, then id ascending (UTF-8 bytes)"


@settings(deadline=None, max_examples=50)
@given(ids=IDS)
def test_files_survive_a_round_trip(
    ids: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("out")
    scores: list[float | None] = [1 / (3 + i) for i in range(len(ids))]
    selection = select(table(ids, scores), acquisition="entropy")
    selection.write(folder)
    with (folder / "selection.csv").open(newline="", encoding="utf-8") as file:
        read = [(int(row[0]), row[1], float(row[2])) for row in list(csv.reader(file))[1:]]
    assert read == list(selection.rows())
    document = json.loads((folder / "selection.json").read_text(encoding="utf-8"))
    assert [(r["rank"], r["id"], r["score"]) for r in document["selection"]] == read
    assert {p.name for p in folder.iterdir()} == {"selection.csv", "selection.json"}


def test_awkward_ids_are_quoted() -> None:
    ids = ['a,"b"', "line\nbreak", "carriage\rreturn", "plain name.jpg", ""]
    selection = select(table(ids, [5.0, 4.0, 3.0, 2.0, 1.0]), acquisition="entropy")
    assert selection.to_csv() == (
        HEADER
        + '1,"a,""b""",5.0,,,,1,\n2,"line\nbreak",4.0,,,,1,\n3,"carriage\rreturn",3.0,,,,1,\n'
        '4,plain name.jpg,2.0,,,,1,\n5,"",1.0,,,,1,\n'
    )


def test_an_id_in_two_sources_is_refused() -> None:
    rows = table(["a", "b\n"], [0.1, 0.2])
    with pytest.raises(ResultsError, match=r"id 'b\\n' is in the sources more than once"):
        select([rows, rows.slice(1)], acquisition="entropy")


def test_tables_of_different_settings_are_refused() -> None:
    rows = table(["a"], [0.1]).replace_schema_metadata({"deal.fingerprint": "1" * 64})
    other = table(["b"], [0.1]).replace_schema_metadata({"deal.fingerprint": "2" * 64})
    with pytest.raises(ResultsError, match="different settings"):
        select([rows, other], acquisition="entropy")
    assert select(rows, acquisition="entropy").metadata["fingerprint"] == "1" * 64


def test_a_missing_column_names_the_remedy() -> None:
    with pytest.raises(ResultsError, match=r"lack difficulty_mean.*deal fit-head"):
        select(table(["a"], [0.1]))


def test_a_table_without_ids_is_refused() -> None:
    with pytest.raises(ResultsError, match="no column id"):
        select(table(["a"], [1.0]).drop_columns(["id"]))


def test_unwritable_folder_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    selection = select(table(["a"], [0.1]), acquisition="entropy")
    with pytest.raises(OutputError, match="choose another --output"):
        selection.write(tmp_path / "file" / "out")


def test_equal_scores_and_rows_without_one_are_told() -> None:
    ids, ok = ["b", "a", "c"], ["ok"] * 3
    equal = pa.table({"id": ids, "status": ok, "entropy_mean": [0.5] * 3})
    selection = select(equal, acquisition="entropy")
    assert selection.ids == ("a", "b", "c")
    (note,) = selection.notes
    assert note.startswith("all 3 scores are equal (0.5), so their ids alone decide the order")
    holes = pa.table({"id": ids, "status": ok, "entropy_mean": [0.5, None, float("nan")]})
    (note,) = select(holes, acquisition="entropy").notes
    assert note == "2 of 3 rows are ok but have no value for entropy: they are not ranked"


def test_rows_that_cost_nothing_are_equal_by_their_scores_per_cost() -> None:
    masked = table(["a", "b"], [0.9, 0.1]).append_column("n_pixels", pa.array([0, 0]))
    by_cost = select(masked, acquisition="entropy", budget="pixels:5").notes
    assert by_cost[0] == (
        "all 2 scores per cost are equal (inf), so their ids alone decide the order: choose "
        "another acquisition function, or order by score"
    )
    by_score = select(masked, acquisition="entropy", budget="pixels:5", by="score").notes
    assert not any("equal" in note for note in by_score)
